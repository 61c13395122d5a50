package call

import (
	"bytes"
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/flashbacknetwork/flashback-go/internal/jsonvalue"
	"github.com/flashbacknetwork/flashback-go/internal/redact"
	"github.com/flashbacknetwork/flashback-go/internal/verdict"
)

// Response is a response and what it says.
type Response struct {
	Status       int
	Header       http.Header
	Body         []byte    // as much of it as came
	Cut          bool      // the body is not complete
	SentAt, At   time.Time // when the request was sent, and when the header came
	Envelope     bool
	Message      string   // the server's own words
	Code         string   // the body's "error_code"
	SuccessFalse bool     // the body says "success": false
	ReadErr      error    // what the body lacks of what the operation reads
	Documented   *Message // the documented message that the body has
}

var bom = []byte("\xef\xbb\xbf") // a byte order mark

// classify reads the body. An envelope is a JSON object with a boolean "success", a string
// or a list of strings "message", or both. In a 4xx or 5xx a string "error" or "error_code"
// will do, and in a 2xx what the operation reads.
func (r *Response) classify(op *Op, in *Input) verdict.Response {
	facts := verdict.Response{Status: r.Status, Incomplete: op.Required && (!op.AllowEmpty || r.Status != http.StatusNoContent)}
	if op.Method == http.MethodHead { // whose response has no body
		return verdict.Response{Status: r.Status, Body: verdict.Envelope}
	}
	text := bytes.TrimPrefix(r.Body, bom)
	if op.Body != AnyBody {
		r.Body = text
	}
	if !json.Valid(text) {
		if r.maySucceed() && (op.Body == AnyBody || op.Body == NoPage && !r.isPage()) {
			r.ReadErr = in.Read(r)
			facts.Body, facts.Incomplete = verdict.Envelope, r.ReadErr != nil
		}
		return facts
	}
	e := envelopeOf(text)
	refusal := r.Status >= http.StatusBadRequest
	r.Message, r.Code, r.SuccessFalse = e.message, e.code, e.successFalse
	r.Envelope = e.isBool || e.hasMessage
	if refusal && !e.hasMessage {
		r.Message = e.err
		r.Envelope = e.isBool || e.hasErr || e.code != ""
	}
	if r.maySucceed() && !e.successFalse && !e.notBool && in.Read != nil {
		r.ReadErr = in.Read(r)
		_, mismatch := errors.AsType[MismatchError](r.ReadErr)
		_, unwritten := errors.AsType[WriteError](r.ReadErr)
		mismatch = mismatch || unwritten
		facts.Incomplete = op.Required && r.ReadErr != nil || mismatch
		facts.Stale = errors.Is(r.ReadErr, errStale)
		r.Envelope = r.Envelope || r.ReadErr == nil || mismatch || facts.Stale
	}
	switch {
	case !refusal && e.notBool && !e.successFalse:
		r.Envelope = false // "success" is neither true nor false: this must not pass for a success.
	case !refusal && e.successFalse && (e.isTrue || e.notBool || e.hasResults || r.Status == http.StatusMultiStatus):
		facts.Body, facts.Incomplete = verdict.Envelope, true // A part may have been applied.
	case r.Envelope && e.successFalse:
		facts.Body = verdict.EnvelopeSuccessFalse
	case r.Envelope:
		facts.Body = verdict.Envelope
	}
	r.Documented = op.documented(r.Message)
	facts.Documented = r.Documented != nil
	facts.AlreadySo = r.Documented != nil && r.Documented.AlreadySo
	return facts
}

// maySucceed tells whether the response is a success if its body is.
func (r *Response) maySucceed() bool {
	return r.Status >= 200 && r.Status < 300 && r.Status != http.StatusAccepted
}

// isPage tells whether the body is an HTML page.
func (r *Response) isPage() bool {
	for _, contentType := range []string{r.Header.Get("Content-Type"), http.DetectContentType(r.Body)} {
		switch kind, _, _ := mime.ParseMediaType(contentType); kind {
		case "text/html", "application/xhtml+xml":
			return true
		}
	}
	return false
}

const maxKept = 64 << 10 // bytes of a body, a message or an error's text

// redact leaves what may be shown.
func (r *Response) redact(op *Op, s *redact.Secrets) {
	if op.Grants && r.Status < http.StatusBadRequest && !r.SuccessFalse {
		r.Body = []byte(redact.Mark) // The tokens in it have not been read, so that they can't be found in it.
	}
	r.Message = redactTruncate(s, r.Message, maxKept)
	if !slices.Contains(op.Codes, r.Code) {
		r.Code = redactTruncate(s, r.Code, maxKept)
	}
	r.Body = s.Body(r.Body[:min(len(r.Body), maxKept)], r.Cut || len(r.Body) > maxKept)
	r.Header = s.Header(r.Header)
	if r.ReadErr != nil {
		r.ReadErr = errors.New(redactTruncate(s, r.ReadErr.Error(), maxKept)) // It may quote the body.
	}
}

// redactTruncate returns at most limit bytes of a text, without secrets: neither with a
// part of one at its end, nor with a part of a character.
func redactTruncate(s *redact.Secrets, text string, limit int) string {
	if len(text) <= limit {
		return s.Text(text)
	}
	return strings.ToValidUTF8(string(s.Body([]byte(text[:limit]), true)), "")
}

// envelope is what the members of a JSON object say.
type envelope struct {
	isBool       bool // "success" is true or false
	isTrue       bool // "success" is true
	successFalse bool // "success" is false
	notBool      bool // "success" is something else, and no number of successes
	hasResults   bool // there are "results", of the parts of the request
	hasMessage   bool
	hasErr       bool
	message      string
	err          string
	code         string
}

func envelopeOf(body []byte) envelope {
	var e envelope
	for key, value := range jsonvalue.Members(body) {
		switch string(key) {
		case "success":
			switch string(value) {
			case "false":
				e.isBool, e.successFalse = true, true
			case "true":
				e.isBool, e.isTrue = true, true
			case "null":
			default:
				e.notBool = value[0] < '1' || value[0] > '9'
			}
		case "results":
			e.hasResults = string(value) != "null" && string(value) != "[]"
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

// text returns a JSON string, or the strings of a list, joined.
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

// documented returns the documented message of a 400 that message is, or nil.
func (op *Op) documented(message string) *Message {
	for i := range op.Documented {
		if sameMessage(message, op.Documented[i].Text) {
			return &op.Documented[i]
		}
	}
	return nil
}

// sameMessage compares a message with a documented one. Case, surrounding space and a final
// full stop do not matter.
func sameMessage(message, documented string) bool {
	return strings.EqualFold(strings.TrimSuffix(strings.TrimSpace(message), "."), documented)
}

// requestIDs are the headers by which servers and proxies name a request. The first one
// that a response has counts.
var requestIDs = []string{
	"X-Request-Id", "Request-Id", "X-Correlation-Id", "X-Amzn-Requestid", "X-Amzn-Trace-Id", "X-Trace-Id", "Cf-Ray",
}

// RequestID returns the server's name for a request, from the header of its response, or "".
func RequestID(h http.Header) string {
	for _, name := range requestIDs {
		if id := h.Get(name); id != "" {
			return id
		}
	}
	return ""
}
