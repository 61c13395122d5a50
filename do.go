package flashback

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/flashbacknetwork/flashback-go/internal/call"
	"github.com/flashbacknetwork/flashback-go/internal/redact"
	"github.com/flashbacknetwork/flashback-go/internal/verdict"
)

// Retry is what retrying a request may do on the server (RFC 9110, section 9.2).
type Retry int

// The kinds of requests.
const (
	// RetryByMethod stands for RetrySafe with GET, HEAD, OPTIONS and TRACE, for
	// RetryIdempotent with PUT and DELETE, and for RetryNotIdempotent with any other method.
	RetryByMethod Retry = iota
	// RetrySafe says that the request changes nothing. It is retried, and its outcome is never
	// unknown.
	RetrySafe
	// RetryIdempotent says that a retry changes no more than the first request. It is retried.
	RetryIdempotent
	// RetryNotIdempotent says that a retry may change more than was asked for. The request is
	// retried only after attempts that were certainly not applied.
	RetryNotIdempotent
)

// Request is a call of [Client.Do].
type Request struct {
	Method string
	// Path is the path of the endpoint, as in "/workspace/{workspaceId}/users".
	Path string
	// Segments has the value of each segment of Path in braces. Do escapes the values.
	Segments map[string]string
	// Query is the query. Its keys show in errors, and its values don't. Values of eight bytes
	// and more are also redacted where the server echoes them; for shorter ones, use Secrets.
	Query url.Values
	// Body is encoded as JSON; nil, also that of a type, stands for no body.
	Body any
	// Retry says whether the request may be retried after an ambiguous attempt.
	Retry Retry
	// Name names the operation in errors and logs. Calls with the same name share a gate.
	// "" stands for Method and Path.
	Name string
	// Secrets are texts in Path, Segments, Query or Body, such as a password in the body. They
	// are redacted in errors, logs and headers, however short they are.
	Secrets []Secret
}

// Do calls any endpoint, with the attempts, verdicts and errors of the other calls.
//
// into is where the body of a success goes, with its envelope:
//
//   - What [json.Unmarshal] takes is decoded by it, into itself. A *[json.RawMessage] gets the
//     JSON as it is. A 204 leaves into as it is.
//   - An [io.Writer] gets the body as it is, whatever its type, up to 64 MiB.
//   - nil takes any body or none, but no HTML page, which is a proxy's.
//
// A complete 2xx is a success if into takes its body, it is no 202, and it does not say
// "success": false. A body that does not fit into ends the call with
// [ErrUnexpectedResponse], and may leave into half filled. The error of a writer ends it with
// that error. Unless the request is safe, the outcome is then unknown: the server may have
// applied the request. There is no read-back: behind a proxy that repeats a DELETE, a refused
// one may have been applied.
func (c *Client) Do(ctx context.Context, req Request, into any) error {
	responseFor(ctx) // A call that sends nothing leaves it empty.
	var secrets redact.Secrets
	in := call.Input{}
	for _, secret := range req.Secrets {
		secrets.AddPassword(secret.Reveal())
		in.Secrets = append(in.Secrets, secret.Reveal())
	}
	op, err := req.operation(&in, into)
	if err != nil {
		if shown := secrets.Text(err.Error()); shown != err.Error() {
			err = errors.New(shown)
		}
		return invalid(secrets.Text(req.name()), "", err)
	}
	op.Name = secrets.Text(op.Name)
	var conn connection
	if c != nil {
		conn = c.connection
	}
	_, err = conn.do(ctx, op, expected(op), &in, nil)
	return err
}

// expected is what a success should have.
func expected(op *call.Op) string {
	switch op.Body {
	case call.NoPage:
		return "any success but a page"
	case call.AnyBody:
		return "any success"
	case call.JSON:
	}
	return "JSON that fits the target"
}

// target returns which bodies into takes, and how it takes one.
func target(into any) (call.Body, func(*call.Response) error, error) {
	if into == nil {
		return call.NoPage, func(*call.Response) error { return nil }, nil
	}
	writer, isWriter := into.(io.Writer)
	switch isPointer := reflect.TypeOf(into).Kind() == reflect.Pointer; {
	case isNil(into), !isPointer && !isWriter:
		return 0, nil, fmt.Errorf("the response can't be decoded into a %T; give a pointer, an io.Writer, or nil", into)
	case isWriter:
		return call.AnyBody, func(r *call.Response) error { return write(r.Body, writer) }, nil
	}
	return call.JSON, func(r *call.Response) error { return decode(r.Body, into) }, nil
}

func write(body []byte, into io.Writer) error {
	if _, err := io.Copy(into, bytes.NewReader(body)); err != nil {
		return call.WriteError{Err: err}
	}
	return nil
}

// decode decodes a body into the caller's own value. Its error names no type of many words,
// such as a struct without a name, since errors are cut.
func decode(body []byte, into any) error {
	err := json.Unmarshal(body, into)
	if err == nil {
		return nil
	}
	what := "what does not fit: " + err.Error()
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		goType := wrong.Type.String()
		if len(goType) > 60 {
			goType = wrong.Type.Kind().String()
		}
		what = fmt.Sprintf("%s, which does not fit %s of type %s", wrong.Value, oneLine(cmp.Or(wrong.Field, "the target"), 60), goType)
	}
	return call.MismatchError{What: what}
}

// isNil tells whether value is nil, or a nil of its type.
func isNil(value any) bool {
	switch v := reflect.ValueOf(value); v.Kind() { //nolint:exhaustive // No other can be nil.
	case reflect.Invalid:
		return true
	case reflect.Chan, reflect.Func, reflect.Map, reflect.Pointer, reflect.Slice:
		return v.IsNil()
	default:
		return false
	}
}

func (r *Request) name() string {
	if r.Name != "" {
		return r.Name
	}
	path, _, _ := strings.Cut(r.Path, "?") // which does not belong there, and may be secret
	return r.Method + " " + path
}

// operation returns the operation of one request, and completes what is given to it.
func (r *Request) operation(in *call.Input, into any) (*call.Op, error) {
	if err := r.checkUTF8(); err != nil {
		return nil, err
	}
	retry, err := r.retry()
	if err != nil {
		return nil, err
	}
	if in.Path, err = r.path(); err != nil {
		return nil, err
	}
	if in.Body, err = r.body(); err != nil {
		return nil, err
	}
	op := &call.Op{
		Name: r.name(), Method: r.Method, Query: r.Query.Encode(), Rule: verdict.Rule{Retry: retry},
		Required: true, AllowEmpty: true, MaxBody: maxListBody,
	}
	op.Body, in.Read, err = target(into)
	return op, err
}

func (r *Request) checkUTF8() error {
	texts := []string{r.Path, r.Name}
	for key, values := range r.Query {
		texts = append(append(texts, key), values...)
	}
	if slices.ContainsFunc(texts, func(text string) bool { return !utf8.ValidString(text) }) {
		return errors.New("the path, the name or the query is not valid UTF-8; convert it")
	}
	return nil
}

// body returns the encoded body, or nil if there is none.
func (r *Request) body() ([]byte, error) {
	if isNil(r.Body) {
		return nil, nil
	}
	switch r.Body.(type) {
	case json.Marshaler:
	case io.Reader, []byte:
		return nil, fmt.Errorf("the body is encoded as JSON, and a %T is none; give a value, or a json.RawMessage", r.Body)
	}
	return encode(r.Body)
}

func (r *Request) retry() (verdict.Retry, error) {
	if r.Method == "" || strings.ContainsFunc(r.Method, func(c rune) bool { return c < 'A' || c > 'Z' }) {
		return 0, fmt.Errorf("invalid method %q: use capital letters, such as GET", r.Method)
	}
	switch r.Retry {
	case RetrySafe:
		return verdict.Safe, nil
	case RetryIdempotent:
		return verdict.Idempotent, nil
	case RetryNotIdempotent:
		return verdict.NotIdempotent, nil
	case RetryByMethod:
		switch r.Method {
		case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
			return verdict.Safe, nil
		case http.MethodPut, http.MethodDelete:
			return verdict.Idempotent, nil
		}
		return verdict.NotIdempotent, nil
	}
	return 0, fmt.Errorf("invalid Retry %d: use RetrySafe, RetryIdempotent or RetryNotIdempotent", r.Retry)
}

// path returns the escaped path, with the values of its segments.
func (r *Request) path() (string, error) {
	if !strings.HasPrefix(r.Path, "/") || strings.ContainsAny(r.Path, "?#%\\ ") {
		return "", errors.New("the path must begin with a slash, and have no query, no fragment and nothing escaped; use Query and Segments")
	}
	var escaped strings.Builder
	escaped.Grow(2 * len(r.Path)) // most values are IDs
	for segment := range strings.SplitSeq(r.Path[1:], "/") {
		if name, ok := nameOf(segment); ok {
			value, ok := r.Segments[name]
			if !ok {
				return "", fmt.Errorf("the segment {%s} has no value; add it to Segments", name)
			}
			if err := checkSegment(value); err != nil {
				return "", fmt.Errorf("the segment {%s} %w", name, err)
			}
			segment = value
		} else if name, ok := strings.CutPrefix(segment, ":"); ok {
			return "", fmt.Errorf("the path %q has the segment %q; write {%s}, and give its value in Segments", r.Path, segment, name)
		} else if segment == "." || segment == ".." || strings.ContainsAny(segment, "{}") || strings.ContainsFunc(segment, invisible) {
			return "", fmt.Errorf("the path %q has a segment that can't be one: %q", r.Path, segment)
		}
		escaped.WriteByte('/')
		escaped.WriteString(url.PathEscape(segment))
	}
	for name := range r.Segments {
		if !r.names(name) {
			return "", fmt.Errorf("the path %q has no segment {%s}", r.Path, name)
		}
	}
	return escaped.String(), nil
}

// names tells whether the path has a segment of that name.
func (r *Request) names(name string) bool {
	for segment := range strings.SplitSeq(r.Path[1:], "/") {
		if found, ok := nameOf(segment); ok && found == name {
			return true
		}
	}
	return false
}

// nameOf returns the name of a named segment.
func nameOf(segment string) (string, bool) {
	if len(segment) < len("{}") || segment[0] != '{' || segment[len(segment)-1] != '}' {
		return "", false
	}
	return segment[1 : len(segment)-1], true
}
