package flashback

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// The kinds of failure. Use them with [errors.Is] on any error of this package;
// one error can match several.
var (
	// ErrBadRequest is a 400 with an envelope.
	ErrBadRequest = errors.New("bad request")
	// ErrUserNotDeleted is a 400 with the documented "User is not deleted", where no
	// attempt of this call can have activated the user. It matches [ErrBadRequest] too.
	ErrUserNotDeleted = fmt.Errorf("user not deleted (%w)", ErrBadRequest)
	// ErrUnauthorized is a 401: the token is bad or has expired.
	ErrUnauthorized = errors.New("unauthorized")
	// ErrForbidden is a 403 with an envelope. It is documented for a role below
	// WORKSPACES and for users in different organizations.
	ErrForbidden = errors.New("forbidden")
	// ErrNotFound is a 404 with an envelope. It is documented for an unknown user.
	ErrNotFound = errors.New("not found")
	// ErrRateLimited is a 429, or a call that the client held back after one and whose
	// turn would have come too late.
	ErrRateLimited = errors.New("rate limited")
	// ErrServer is any 5xx.
	ErrServer = errors.New("server error")
	// ErrUnexpectedResponse is an answer that is not the API's: a redirect, another
	// 4xx without an envelope (a proxy's page; is the base URL right?), or a 2xx
	// without an envelope, with "success": false, or without what was to be read.
	ErrUnexpectedResponse = errors.New("unexpected response")
	// ErrOutcomeUnknown is every failure with [Error].OutcomeUnknown set.
	ErrOutcomeUnknown = errors.New("outcome unknown")
	// ErrRetryBudget says that the call was not repeated because the client's own
	// limit, [WithRetryBudget], is used up. The error also matches what failed.
	ErrRetryBudget = errors.New("the client's own retry budget is used up")
	// ErrInvalidArgument is an argument that can't be used. Nothing was sent.
	ErrInvalidArgument = errors.New("invalid argument")
)

// kind is the table of errors: what an answer that ended a call is to errors.Is.
// It is nil for any other 4xx envelope.
func kind(op *operation, a *answer) error {
	switch status := a.status; {
	case status == http.StatusUnauthorized:
		return ErrUnauthorized
	case status == http.StatusTooManyRequests:
		return ErrRateLimited
	case status >= 500 && status < 600:
		return ErrServer
	case status < 400, status >= 600, !a.envelope:
		return ErrUnexpectedResponse
	case a.saysNotNeeded(op):
		return ErrUserNotDeleted
	case status == http.StatusBadRequest:
		return ErrBadRequest
	case status == http.StatusForbidden:
		return ErrForbidden
	case status == http.StatusNotFound:
		return ErrNotFound
	}
	return nil
}

// Error is the error of every failed call. Find it with [errors.As], and its kind
// with [errors.Is].
type Error struct {
	// Op is the operation, such as "organization.users.activate".
	Op string
	// ID is the ID of the user, or the organization, that the call was about; "" for
	// a list and for a user who is to be created.
	ID string

	// StatusCode is that of the last answer; 0 if none came. What a delete was answered
	// when it looked at the user is in the text of Err alone.
	StatusCode int
	// Message is the server's own words in it; "" if it had none.
	Message string
	// Header is that of the last answer: rate limits and the like.
	Header http.Header
	// Body is that of the last answer, at most its first 64 KiB (65,536 bytes).
	Body []byte
	// RequestID is the server's name for the last answer, from X-Request-Id or a
	// header like it; "" if it gave none.
	RequestID string
	// RetryAfter is the wait that the last answer asked for (for a delete, also one to
	// a request that looked); 0 if it asked for none.
	RetryAfter time.Duration

	// Attempts counts the requests sent for this call. One whose connection failed
	// counts; one that the transport repeated by itself counts once.
	Attempts int
	// HeldBack is how long the client held the attempts of this call back, because the
	// server had answered 429 (see the package documentation, "Rate limits").
	HeldBack time.Duration
	// OutcomeUnknown says that an attempt of this call may have taken effect, and
	// that no later answer settled it, whatever the last answer was. Look whether it
	// did or, if twice does no harm, call again; do not report a failure.
	OutcomeUnknown bool

	// Err is the cause: the kind of the last answer, what the last attempt failed
	// with, why there was no further one, or several of these.
	Err error
}

// Error is one line of at most a few hundred characters, without control
// characters and without the token (of a token of less than eight bytes, without
// "Bearer" before it: the server's words may have it for their own sake).
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("flashback: " + e.Op)
	if e.ID != "" {
		b.WriteString(` "` + line(e.ID, 40) + `"`)
	}
	if e.Err != nil {
		b.WriteString(": " + line(e.Err.Error(), 150))
	}
	if e.Message != "" {
		b.WriteString(": " + line(e.Message, 120))
	}
	var facts []string
	if e.StatusCode != 0 {
		facts = append(facts, "HTTP "+strconv.Itoa(e.StatusCode))
	}
	if e.Attempts > 1 {
		facts = append(facts, strconv.Itoa(e.Attempts)+" attempts")
	}
	if e.HeldBack > 0 {
		facts = append(facts, "held back "+e.HeldBack.Round(time.Millisecond).String()+" by the client")
	}
	if e.RequestID != "" {
		facts = append(facts, "request "+line(e.RequestID, 36))
	}
	if e.OutcomeUnknown {
		facts = append(facts, "the outcome is unknown: it may have taken effect")
	}
	if facts != nil {
		b.WriteString(" (" + strings.Join(facts, ", ") + ")")
	}
	return b.String()
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// Is makes an error with OutcomeUnknown set match [ErrOutcomeUnknown]; all other
// kinds are in Err.
func (e *Error) Is(target error) bool {
	return target == ErrOutcomeUnknown && e.OutcomeUnknown
}

// invalid is the error of an argument with which nothing was sent.
func invalid(op, id string, err error) *Error {
	return &Error{Op: op, ID: id, Err: causes{ErrInvalidArgument, err}}
}

// requestIDs are the headers by which servers and proxies name a request, the
// most telling first.
var requestIDs = []string{
	"X-Request-Id", "Request-Id", "X-Correlation-Id", "X-Amzn-Requestid", "X-Amzn-Trace-Id", "X-Trace-Id", "Cf-Ray",
}

// failure is the error of a call that did not succeed.
func (c *call) failure() *Error {
	e := &Error{Op: c.op.name, ID: c.id, Attempts: c.attempts + c.looks, HeldBack: c.held, OutcomeUnknown: c.unsure}
	var all causes
	if a := c.answer; a != nil {
		all = all.and(kind(c.op, a))
		e.RetryAfter = retryAfter(a.header)
		c.redactAnswer(a)
		e.StatusCode, e.Message, e.Header = a.status, a.message, a.header
		e.Body = slices.Clone(a.body[:min(len(a.body), maxErrorBody)]) // and not the rest with it
		for _, name := range requestIDs {
			if e.RequestID == "" {
				e.RequestID = a.header.Get(name)
			}
		}
	}
	e.RetryAfter = max(e.RetryAfter, c.retryAfter)
	all = all.and(c.stop)                                                    // before what may be long
	if ended := c.ctx.Err(); ended == nil || !errors.Is(c.last.err, ended) { // else stop says it
		all = all.and(c.last.err)
	}
	switch len(all) {
	case 0:
	case 1:
		e.Err = all[0]
	default:
		e.Err = all
	}
	return e
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
