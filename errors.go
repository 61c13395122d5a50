package flashback

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/flashbacknetwork/flashback-go/internal/attempt"
	"github.com/flashbacknetwork/flashback-go/internal/call"
	"github.com/flashbacknetwork/flashback-go/internal/verdict"
)

// The kinds of failure, for [errors.Is]. One error can match several.
var (
	// ErrBadRequest is a 400 or 422 with an envelope (see [ErrUnexpectedResponse]).
	ErrBadRequest = errors.New("bad request")
	// The documented 400s of Activate ("User is not deleted": active before the call), Delete,
	// Update, and Update of the organization. Each matches [ErrBadRequest].
	ErrUserNotDeleted  = fmt.Errorf("user not deleted (%w)", ErrBadRequest)
	ErrSelfDeletion    = fmt.Errorf("cannot delete yourself (%w)", ErrBadRequest)
	ErrRoleCombination = fmt.Errorf("invalid role combination (%w)", ErrBadRequest)
	ErrNoFields        = fmt.Errorf("no valid fields to update (%w)", ErrBadRequest)
	// ErrUnauthorized is a 401: the token is bad or has expired.
	ErrUnauthorized = errors.New("unauthorized")
	// ErrSessionLost means that the API has refused the refresh token of a [Session], so that the user
	// has to log in again. It matches [ErrUnauthorized].
	ErrSessionLost = fmt.Errorf("the session is lost: log in again (%w)", ErrUnauthorized)
	// ErrNoTokens means that there are no tokens to go on with, so that the user has to log in: nothing
	// was kept yet, or the session was logged out. It matches [ErrUnauthorized].
	ErrNoTokens = fmt.Errorf("no tokens: log in (%w)", ErrUnauthorized)
	// ErrForbidden is a 403 with an envelope: too low a role, or another organization.
	ErrForbidden = errors.New("forbidden")
	// ErrNotFound is a 404 with an envelope.
	ErrNotFound = errors.New("not found")
	// ErrConflict is a 409 with an envelope.
	ErrConflict = errors.New("conflict")
	// ErrRateLimited is a 429, or a call that was not sent because of an earlier one.
	ErrRateLimited = errors.New("rate limited")
	// ErrServer is a 5xx, or a status outside 100-599.
	ErrServer = errors.New("server error")
	// ErrUnexpectedResponse is a redirect, a 4xx without an envelope (a proxy's page, a wrong
	// base URL), or a 2xx that is no success or lacks what the call reads. An envelope is a
	// JSON object with a boolean "success" or a "message", or in a 4xx or 5xx an "error" or
	// "error_code".
	ErrUnexpectedResponse = errors.New("unexpected response")
	// ErrOutcomeUnknown is a failure with [Error].OutcomeUnknown set.
	ErrOutcomeUnknown = errors.New("outcome unknown")
	// ErrRetryBudget is an empty [WithRetryBudget]. The error also matches what failed.
	ErrRetryBudget = errors.New("the client's retry budget is empty")
	// ErrInvalidArgument is an argument that can't be used. Nothing was sent.
	ErrInvalidArgument = errors.New("invalid argument")
	// ErrNotSent is for your own http.RoundTripper to return or wrap if it has sent nothing.
	ErrNotSent = attempt.ErrNotSent
)

// allKinds are all of these.
var allKinds = []error{
	ErrBadRequest, ErrUserNotDeleted, ErrSelfDeletion, ErrRoleCombination, ErrNoFields, ErrUnauthorized, ErrSessionLost, ErrNoTokens, ErrForbidden,
	ErrNotFound, ErrConflict, ErrRateLimited, ErrServer, ErrUnexpectedResponse, ErrOutcomeUnknown, ErrRetryBudget,
	ErrInvalidArgument, ErrNotSent,
}

// kind is the table of errors: what the response that ended a call is to errors.Is. It
// is nil for any other 4xx envelope.
func kind(op *operation, r *call.Response) error {
	switch status := r.Status; {
	case status == http.StatusUnauthorized:
		return ErrUnauthorized
	case status == http.StatusTooManyRequests:
		return ErrRateLimited
	case status < 100, status >= 500:
		return ErrServer
	case status < 400, !r.Envelope && op.Method != http.MethodHead: // whose response has no body
		return unexpected(op, r)
	case status == http.StatusBadRequest, status == http.StatusUnprocessableEntity:
		if status == http.StatusBadRequest && r.Known != nil {
			return r.Known
		}
		return ErrBadRequest
	case status == http.StatusForbidden:
		return ErrForbidden
	case status == http.StatusNotFound:
		return ErrNotFound
	case status == http.StatusConflict:
		return ErrConflict
	}
	return nil
}

// unexpected says what was expected, and what came.
func unexpected(op *operation, r *call.Response) error {
	var came string
	location := r.Header.Get("Location")
	switch {
	case r.Status >= 300 && r.Status < 400 && location != "":
		came = "a redirect"
		if u, err := url.Parse(location); err == nil { // the rest of it may be secret
			came += " to " + line((&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String(), 60)
		}
	case r.Status == http.StatusAccepted:
		came = "that it will be done later"
	case r.Status < 300 && r.Envelope && r.Missing != nil:
		came = "JSON with " + r.Missing.Error()
	case r.Status < 300 && r.Envelope:
		came = `"success": false`
	case len(bytes.TrimSpace(r.Body)) == 0:
		came = "an empty body"
	default:
		if came = r.Header.Get("Content-Type"); came == "" {
			came = "a body without a Content-Type"
		}
		came += ": " + strconv.Quote(line(strings.Join(strings.Fields(string(r.Body[:min(len(r.Body), 300)])), " "), 40))
	}
	return fmt.Errorf("%w: expected %s, got %s", ErrUnexpectedResponse, op.expects, line(came, 110))
}

// Error is the error of every failed call.
type Error struct {
	// Op is such as "organization.users.activate".
	Op string
	// ID is the user's or organization's; "" for List and Create.
	ID string

	// StatusCode to RequestID are of the last response to the call itself, not to a read-back;
	// 0, "" if none came.
	StatusCode int
	Message    string
	// Code is "error_code".
	Code string
	// Header is at most 64 KiB, without Set-Cookie; Body is the first 64 KiB.
	Header http.Header
	Body   []byte
	// URL has no user info and no query values.
	Method, URL string
	// RequestID is X-Request-Id, or the like.
	RequestID string
	// RetryAfter is how long the server asks to wait; 0 if it does not say.
	RetryAfter time.Duration
	// Throttled is how long the call waited for rate limits.
	Throttled time.Duration
	// Attempts counts the requests, read-backs too.
	Attempts int
	// OutcomeUnknown means that nothing settled an ambiguous attempt: do not report a failure,
	// but read what is there, or call again if that does no harm.
	OutcomeUnknown bool

	Err error

	envelope bool // the last response has one
}

// Error is one line of a few hundred characters, without secrets.
func (e *Error) Error() string {
	if e == nil {
		return "<nil>"
	}
	var b strings.Builder
	b.WriteString("flashback: " + line(e.Op, 80))
	if e.ID != "" {
		b.WriteString(` "` + line(e.ID, 40) + `"`)
	}
	if e.Err != nil {
		b.WriteString(": " + line(e.Err.Error(), 150))
	}
	if text := cmp.Or(e.Message, e.Code); text != "" {
		b.WriteString(": " + line(text, 120))
	}
	var facts []string
	if e.URL != "" {
		facts = append(facts, e.Method+" "+line(e.URL, 130))
	}
	if e.StatusCode != 0 {
		facts = append(facts, "HTTP "+strconv.Itoa(e.StatusCode))
	}
	if e.Attempts > 1 {
		facts = append(facts, strconv.Itoa(e.Attempts)+" attempts")
	}
	if e.Throttled >= time.Millisecond {
		facts = append(facts, "throttled for "+e.Throttled.Round(time.Millisecond).String())
	}
	if e.RequestID != "" {
		facts = append(facts, "request "+line(e.RequestID, 36))
	}
	if e.OutcomeUnknown {
		facts = append(facts, "outcome unknown: it may have been applied")
	}
	if facts != nil {
		b.WriteString(" (" + strings.Join(facts, ", ") + ")")
	}
	return b.String()
}

func (e *Error) Unwrap() error {
	if e == nil {
		return nil
	}
	return e.Err
}

// Is matches [ErrOutcomeUnknown].
func (e *Error) Is(target error) bool {
	return e != nil && e.OutcomeUnknown && target == ErrOutcomeUnknown
}

// fields are what logs and JSON show of an error: keys that stay, and neither its header
// nor its body. Texts are cut at 1,000 characters.
type fields struct {
	Op             string  `json:"op"`
	ID             string  `json:"id,omitempty"`
	Error          string  `json:"error"`
	StatusCode     int     `json:"status,omitempty"`
	Message        string  `json:"message,omitempty"`
	Code           string  `json:"code,omitempty"`
	Method         string  `json:"method,omitempty"`
	URL            string  `json:"url,omitempty"`
	RequestID      string  `json:"request_id,omitempty"`
	RetryAfter     float64 `json:"retry_after_seconds,omitempty"`
	Throttled      float64 `json:"throttled_seconds,omitempty"`
	Attempts       int     `json:"attempts"`
	OutcomeUnknown bool    `json:"outcome_unknown"`
}

func (e *Error) fields() fields {
	if e == nil {
		e = new(Error)
	}
	return fields{
		e.Op, line(e.ID, 1000), e.Error(), e.StatusCode, line(e.Message, 1000), line(e.Code, 1000), e.Method, line(e.URL, 1000), line(e.RequestID, 1000),
		e.RetryAfter.Seconds(), e.Throttled.Seconds(), e.Attempts, e.OutcomeUnknown,
	}
}

// MarshalJSON leaves out Header and Body.
func (e *Error) MarshalJSON() ([]byte, error) { return json.Marshal(e.fields()) }

// LogValue logs what MarshalJSON encodes.
func (e *Error) LogValue() slog.Value {
	shown := reflect.ValueOf(e.fields())
	var attrs []slog.Attr
	for i := range shown.NumField() {
		key, option, _ := strings.Cut(shown.Type().Field(i).Tag.Get("json"), ",")
		if option == "" || !shown.Field(i).IsZero() {
			attrs = append(attrs, slog.Any(key, shown.Field(i).Interface()))
		}
	}
	return slog.GroupValue(attrs...)
}

// invalid is the error of an argument with which nothing was sent.
func invalid(op, id string, err error) *Error {
	return &Error{Op: op, ID: id, Err: causes{ErrInvalidArgument, err}}
}

// failure is the error of a call that did not succeed.
func failure(op *operation, id string, o *call.Outcome) *Error {
	if o.Invalid != nil {
		return invalid(op.Name, id, o.Invalid)
	}
	e := &Error{
		Op: op.Name, ID: id, URL: o.URL,
		Attempts: o.Attempts, Throttled: o.Throttled, RetryAfter: o.RetryAfter, OutcomeUnknown: o.Verdict == verdict.Unknown,
	}
	if o.URL != "" {
		e.Method = op.Method
	}
	var all causes
	if r := o.Response; r != nil {
		all = all.and(kind(op, r))
		e.StatusCode, e.Message, e.Code, e.Header, e.Body = r.Status, r.Message, r.Code, r.Header, r.Body
		e.envelope = r.Envelope
		e.RequestID = call.RequestID(r.Header)
	}
	for _, r := range o.Reasons {
		if r.Why == call.NetworkFailed && !o.Sent && errors.Is(r.Err, ErrNotSent) {
			all = all.and(ErrNotSent) // no attempt was
		}
		if r.Why == call.RateLimited && slices.Contains(all, ErrRateLimited) {
			all = all.and(errors.New(r.Text)) // it has been said
		} else {
			all = all.and(reason(r))
		}
	}
	if len(all) == 1 {
		e.Err = all[0]
	} else if len(all) > 1 {
		e.Err = all
	}
	return e
}

// reason is why a call ended, as an error.
func reason(r call.Reason) error {
	switch r.Why {
	case call.BudgetEmpty:
		return ErrRetryBudget
	case call.RateLimited:
		return fmt.Errorf("%w: %s", ErrRateLimited, r.Text)
	case call.DeadlineNear:
		return fmt.Errorf("%s: %w", r.Text, context.DeadlineExceeded)
	case call.ContextEnded:
		if r.Cause == nil {
			return r.Err
		}
		return ended{newForeign(r.Text, r.Cause), r.Err}
	case call.NoToken, call.NetworkFailed:
		if e, ok := r.Err.(sessionError); ok { //nolint:errorlint // A source's own error is not it, whatever it wraps.
			return e
		}
		return newForeign(r.Text, r.Err)
	case call.WaitTooLong, call.ReadBackFailed:
	}
	return errors.New(r.Text)
}

// ended is the error of a context that has ended with a cause of its own.
type ended struct {
	foreign

	ctx error
}

func (e ended) Unwrap() error { return e.ctx }

// foreign is an error of the network or of the caller's code. It matches what it is, but
// never what only a call itself can say: a kind of failure, an [*Error], or the end of
// the caller's context.
type foreign struct {
	text string
	err  func() error // a function, since no printer must look into a request that an error holds; of nil if it matches nothing
}

func newForeign(text string, err error) foreign {
	return foreign{text, func() error { return err }}
}

func (f foreign) Error() string { return f.text }

func (f foreign) Is(target error) bool {
	_, isError := target.(*Error)
	reserved := isError || target == context.Canceled || target == context.DeadlineExceeded || slices.Contains(allKinds, target)
	return !reserved && errors.Is(f.err(), target)
}

func (f foreign) As(target any) bool {
	switch target.(type) {
	case **Error, **MFARequiredError: // which has a session
		return false
	}
	return errors.As(f.err(), target)
}

// causes are several causes of one error, on one line.
type causes []error

func (c causes) and(err error) causes {
	if err == nil {
		return c
	}
	return append(c, err)
}

func (c causes) Error() string {
	texts := make([]string, len(c))
	for i, err := range c {
		texts[i] = err.Error()
	}
	return strings.Join(texts, ": ")
}

func (c causes) Unwrap() []error { return c }

// line makes a text that is not ours one line of at most n characters.
func line(text string, n int) string {
	count := 0
	for i := range text {
		if count == n {
			text = text[:i] + "…"
			break
		}
		count++
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, text)
}
