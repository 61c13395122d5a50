package call

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/flashbacknetwork/flashback-go/internal/jsonvalue"
	"github.com/flashbacknetwork/flashback-go/internal/redact"
	"github.com/flashbacknetwork/flashback-go/internal/verdict"
)

// Response is a response and what it says.
type Response struct {
	Status   int
	Header   http.Header
	Body     []byte // as far as it came
	Cut      bool   // it is not complete
	Envelope bool
	Message  string // the server's own words
	Code     string // the body's "error_code"
	Found    any    // what the operation has read
	Missing  error  // why it has not
	Denied   bool   // "success" is false
	Known    error  // what the message of a 400 is, if it is a documented one
}

var (
	errNoJSON = errors.New("no JSON")
	bom       = []byte("\xef\xbb\xbf")
)

// understand finds the envelope: a JSON object with a boolean "success", a string or a
// list of strings "message", or both. In a 4xx or 5xx a string "error" or "error_code"
// will do, and in a 2xx what the operation reads.
func (r *Response) understand(op *Op, in *Input) verdict.Response {
	facts := verdict.Response{Status: r.Status, Lacks: op.Required && (!op.Empty || r.Status != http.StatusNoContent)}
	if op.Method == http.MethodHead { // which has no body
		return verdict.Response{Status: r.Status, Body: verdict.Envelope}
	}
	r.Body = bytes.TrimPrefix(r.Body, bom)
	body := r.Body
	if !json.Valid(body) {
		r.Missing = errNoJSON
		return facts
	}
	e := envelopeOf(body)
	refusal := r.Status >= http.StatusBadRequest
	r.Message, r.Code, r.Denied = e.message, e.code, e.denies
	r.Envelope = e.isBool || e.hasMessage
	if refusal && !e.hasMessage {
		r.Message = e.err
		r.Envelope = e.isBool || e.hasErr || e.code != ""
	}
	if !refusal && !e.denies && op.Read != nil {
		r.Found, r.Missing = op.Read(body, in)
		_, isMisfit := errors.AsType[MisfitError](r.Missing)
		facts.Lacks = op.Required && r.Missing != nil || isMisfit
		r.Envelope = r.Envelope || r.Missing == nil || isMisfit
	}
	switch {
	case r.Envelope && e.denies:
		facts.Body = verdict.Denial
	case !refusal && e.odd:
		r.Envelope = false // neither true nor false: it must not pass for a success
	case r.Envelope:
		facts.Body = verdict.Envelope
	}
	r.Known = op.documented(r.Message)
	facts.Known = r.Known != nil
	facts.AlreadySo = op.AlreadySo != "" && same(r.Message, op.AlreadySo)
	return facts
}

const (
	maxKept   = 64 << 10 // bytes of a body, a message or a failure's text
	maxLogged = 4 << 10  // bytes of a failure's text in a log
)

// redact leaves what may be shown.
func (r *Response) redact(op *Op, s *redact.Secrets) {
	if op.Grants && r.Status < http.StatusBadRequest && !r.Denied {
		r.Body = []byte(redact.Mark) // what it grants has not been read, and is a secret
	}
	r.Message = kept(s, r.Message, maxKept)
	if !slices.Contains(op.Codes, r.Code) {
		r.Code = kept(s, r.Code, maxKept)
	}
	r.Body = s.Body(r.Body[:min(len(r.Body), maxKept)], r.Cut || len(r.Body) > maxKept)
	r.Header = s.Header(r.Header)
	if r.Missing != nil {
		r.Missing = errors.New(kept(s, r.Missing.Error(), maxKept)) // it may quote the body
	}
}

// kept is what is kept of a text: no part of a secret, and no part of a letter.
func kept(s *redact.Secrets, text string, limit int) string {
	if len(text) <= limit {
		return s.Text(text)
	}
	return strings.ToValidUTF8(string(s.Body([]byte(text[:limit]), true)), "")
}

// envelope is what an object says of a response.
type envelope struct {
	isBool, denies, odd bool // "success" is a boolean; it is false; it is something else
	hasMessage, hasErr  bool
	message, err, code  string
}

func envelopeOf(body []byte) envelope {
	var e envelope
	for key, value := range jsonvalue.Members(body) {
		switch string(key) {
		case "success":
			switch string(value) {
			case "false":
				e.isBool, e.denies = true, true
			case "true":
				e.isBool = true
			case "null":
			default:
				e.odd = value[0] < '1' || value[0] > '9' // else it counts something
			}
		case "message":
			e.message, e.hasMessage = text(value)
		case "error":
			e.err, e.hasErr = text(value)
		case "error_code":
			e.code, _ = jsonvalue.String(value)
		}
	}
	return e
}

// text reads a string, or a list of strings.
func text(value []byte) (string, bool) {
	if jsonvalue.Kind(value) != '[' {
		return jsonvalue.String(value)
	}
	var all []string
	for element := range jsonvalue.Elements(value) {
		one, ok := jsonvalue.String(element)
		if !ok {
			return "", false
		}
		all = append(all, one)
	}
	return strings.Join(all, "; "), all != nil
}

// documented is what a message of a 400 is documented to be, or nil.
func (op *Op) documented(message string) error {
	for text, kind := range op.Documented {
		if same(message, text) {
			return kind
		}
	}
	return nil
}

// same compares a message with a documented one, without case, surrounding space and
// a final full stop.
func same(message, documented string) bool {
	return strings.EqualFold(strings.TrimSuffix(strings.TrimSpace(message), "."), documented)
}

// requestIDs are the headers by which servers and proxies name a request, the
// most telling first.
var requestIDs = []string{
	"X-Request-Id", "Request-Id", "X-Correlation-Id", "X-Amzn-Requestid", "X-Amzn-Trace-Id", "X-Trace-Id", "Cf-Ray",
}

// RequestID is the server's name for a response, or "".
func RequestID(h http.Header) string {
	for _, name := range requestIDs {
		if id := h.Get(name); id != "" {
			return id
		}
	}
	return ""
}
