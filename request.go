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

// Repeat says what repeating a request does (RFC 9110, section 9.2).
type Repeat int

// The kinds of repetition.
const (
	// RepeatByMethod is Safe for GET, HEAD, OPTIONS and TRACE, Idempotent for PUT and
	// DELETE, and NotIdempotent for all others.
	RepeatByMethod Repeat = iota
	Safe                  // it changes nothing: repeated, and never of unknown outcome
	Idempotent            // it changes no more than the first: repeated
	NotIdempotent         // it may change more: not repeated
)

// Request is a call of [Client.Do].
type Request struct {
	Method string
	// Path is such as "/workspace/{workspaceId}/users".
	Path string
	// Segments are the values of Path's named segments, to be escaped.
	Segments map[string]string
	// Query is in no error and no log.
	Query url.Values
	// Body is encoded as JSON; nil is none.
	Body   any
	Repeat Repeat
	// Name is the operation in errors, logs and rate limits; "" is Method and Path.
	Name string
}

// Do calls any endpoint, with the attempts, verdicts and errors of the other calls, and
// gives the whole JSON of a success, with its envelope, to [json.Unmarshal] with into. A nil
// into takes any success; a 204 leaves into as it is.
//
// A 2xx is a success if it is a 204, or JSON that fits into and does not say
// "success": false. A 202, or other JSON, is [ErrUnexpectedResponse]; unless the request is
// safe, the outcome is then unknown. There is no read-back: behind a proxy that repeats a
// DELETE, a refused one may have been applied.
func (c *Client) Do(ctx context.Context, req Request, into any) error {
	op, err := req.operation(into)
	if err != nil {
		return invalid(req.name(), "", err)
	}
	outcome, err := c.call().do(ctx, op, call.Input{Wanted: into}, req.Body)
	if err != nil {
		return err
	}
	if outcome.Found == nil || into == nil {
		return nil
	}
	if target := reflect.ValueOf(into).Elem(); target.IsZero() {
		target.Set(reflect.ValueOf(outcome.Found).Elem())
		return nil
	}
	if json.Unmarshal(outcome.Response.Body, into) != nil { // what into has may take less than a new one; the error may quote a secret
		return &Error{
			Op: op.Name, Method: op.Method, StatusCode: outcome.Response.Status, Attempts: outcome.Attempts, OutcomeUnknown: op.Rule.Repeat != verdict.Safe,
			Err: fmt.Errorf("%w: it does not fit what the %T has", ErrUnexpectedResponse, into),
		}
	}
	return nil
}

// call is nil for a client that NewClient has not made.
func (c *Client) call() caller {
	if c == nil || c.settings == nil {
		return nil
	}
	return func() *call.Client { return &c.settings().caller }
}

func (r *Request) name() string {
	if r.Name != "" {
		return r.Name
	}
	path, _, _ := strings.Cut(r.Path, "?") // which does not belong there, and may be secret
	return r.Method + " " + path
}

// operation makes the operation of one request.
func (r *Request) operation(into any) (*operation, error) {
	repeat, err := r.repeat()
	if err != nil {
		return nil, err
	}
	path, err := r.path()
	if err != nil {
		return nil, err
	}
	switch r.Body.(type) {
	case json.Marshaler:
	case io.Reader, []byte:
		return nil, fmt.Errorf("the body is encoded as JSON, and a %T is none; give a value, or a json.RawMessage", r.Body)
	}
	target := reflect.TypeOf(into)
	if target != nil && (target.Kind() != reflect.Pointer || reflect.ValueOf(into).IsNil()) {
		return nil, fmt.Errorf("the response can't be decoded into a %T; give a pointer, or nil", into)
	}
	return &operation{expects: "JSON that fits the target", Op: call.Op{
		Name: r.name(), Method: r.Method, Path: path, Query: r.Query.Encode(), Rule: verdict.Rule{Repeat: repeat},
		Read: readInto, Required: true, Empty: true, MaxBody: maxListBody,
	}}, nil
}

// readInto decodes a body into a new value of the kind that into points to: into itself is
// left alone until the call is a success.
func readInto(body []byte, in *call.Input) (any, error) {
	if in.Wanted == nil {
		return nil, nil //nolint:nilnil // Nothing is to be read.
	}
	found := reflect.New(reflect.TypeOf(in.Wanted).Elem()).Interface()
	if err := json.Unmarshal(body, found); err != nil {
		return nil, call.MisfitError{What: "what does not fit: " + err.Error()}
	}
	return found, nil
}

func (r *Request) repeat() (verdict.Repeat, error) {
	if r.Method == "" || strings.ContainsFunc(r.Method, func(c rune) bool { return c < 'A' || c > 'Z' }) {
		return 0, fmt.Errorf("the method %q is none; give one in capitals, such as GET", r.Method)
	}
	switch r.Repeat {
	case Safe:
		return verdict.Safe, nil
	case Idempotent:
		return verdict.Idempotent, nil
	case NotIdempotent:
		return verdict.NotIdempotent, nil
	case RepeatByMethod:
		switch r.Method {
		case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
			return verdict.Safe, nil
		case http.MethodPut, http.MethodDelete:
			return verdict.Idempotent, nil
		}
		return verdict.NotIdempotent, nil
	}
	return 0, fmt.Errorf("the repetition %d is none; give Safe, Idempotent or NotIdempotent", r.Repeat)
}

// path is the escaped path, with the values of its segments.
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

// nameOf is the name of a named segment.
func nameOf(segment string) (string, bool) {
	if len(segment) < len("{}") || segment[0] != '{' || segment[len(segment)-1] != '}' {
		return "", false
	}
	return segment[1 : len(segment)-1], true
}
