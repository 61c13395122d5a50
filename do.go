package flashback

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"strings"

	"github.com/flashbacknetwork/flashback-go/internal/call"
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
	// Query is the query. No error and no log shows its values.
	Query url.Values
	// Body is encoded as JSON; nil stands for no body.
	Body any
	// Retry says whether the request may be retried after an ambiguous attempt.
	Retry Retry
	// Name names the operation in errors and logs. Calls with the same name share a rate limit.
	// "" stands for Method and Path.
	Name string
}

// Do calls any endpoint, with the attempts, verdicts and errors of the other calls, and
// decodes the whole JSON of a success, with its envelope, into the value that into points
// to, as [json.Unmarshal] does. A nil into takes any success; a 204 leaves into as it is.
//
// A 2xx is a success if it is a 204, or JSON that fits into and does not say
// "success": false. A 202, or other JSON, is [ErrUnexpectedResponse]; unless the request is
// safe, the outcome is then unknown, and into may be half filled. There is no read-back:
// behind a proxy that repeats a DELETE, a refused one may have been applied.
func (c *Client) Do(ctx context.Context, req Request, into any) error {
	responseFor(ctx) // A call that sends nothing leaves it empty.
	op, path, err := req.operation(into)
	if err != nil {
		return invalid(req.name(), "", err)
	}
	in := call.Input{Path: path, Read: func(body []byte) error { return decode(body, into) }}
	var conn connection
	if c != nil {
		conn = c.connection
	}
	_, err = conn.do(ctx, op, "JSON that fits the target", &in, req.Body)
	return err
}

// decode decodes a body into the caller's own value.
func decode(body []byte, into any) error {
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(body, into); err != nil {
		return call.MismatchError{What: "what does not fit: " + err.Error()}
	}
	return nil
}

func (r *Request) name() string {
	if r.Name != "" {
		return r.Name
	}
	path, _, _ := strings.Cut(r.Path, "?") // which does not belong there, and may be secret
	return r.Method + " " + path
}

// operation returns the operation of one request, and its escaped path.
func (r *Request) operation(into any) (*call.Op, string, error) {
	retry, err := r.retry()
	if err != nil {
		return nil, "", err
	}
	path, err := r.path()
	if err != nil {
		return nil, "", err
	}
	switch r.Body.(type) {
	case json.Marshaler:
	case io.Reader, []byte:
		return nil, "", fmt.Errorf("the body is encoded as JSON, and a %T is none; give a value, or a json.RawMessage", r.Body)
	}
	target := reflect.TypeOf(into)
	if target != nil && (target.Kind() != reflect.Pointer || reflect.ValueOf(into).IsNil()) {
		return nil, "", fmt.Errorf("the response can't be decoded into a %T; give a pointer, or nil", into)
	}
	return &call.Op{
		Name: r.name(), Method: r.Method, Query: r.Query.Encode(), Rule: verdict.Rule{Retry: retry},
		Required: true, AllowEmpty: true, MaxBody: maxListBody,
	}, path, nil
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
