package flashback

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/flashbacknetwork/flashback-go/internal/call"
	"github.com/flashbacknetwork/flashback-go/internal/verdict"
)

// Error is the error of every failed call.
type Error struct {
	// Op names the call, as in "organization.users.activate".
	Op string
	// ID is the ID that the call was given; "" for a call without one.
	ID string

	// StatusCode, Message, Code, Header, Body and RequestID are those of the last response to
	// the call itself, and not of one to a read-back. They are zero if there was no response.
	StatusCode int
	Message    string
	// Code is the body's "error_code".
	Code string
	// Header has at most 64 KiB, and no Set-Cookie.
	Header http.Header
	// Body has at most the first 64 KiB.
	Body []byte
	// Method and URL are those of the last attempt. URL has no user info and no query values.
	Method, URL string
	// RequestID is the server's name for the request, such as its X-Request-Id.
	RequestID string
	// RetryAfter is how long the server asks to wait; 0 if it does not say.
	RetryAfter time.Duration
	// Throttled is how long the call waited because of a rate limit.
	Throttled time.Duration
	// Attempts is the number of requests, read-backs included.
	Attempts int
	// OutcomeUnknown means that the request may have been applied, and nothing has settled
	// whether it was. Do not report a failure: read what is there, or make the call again if
	// that does no harm. The error matches [ErrOutcomeUnknown].
	OutcomeUnknown bool

	// Err says why the call failed: a kind such as [ErrNotFound], the error of the context or
	// of the network, or several of these. An Error of a mock needs it for [errors.Is], and
	// OutcomeUnknown for [ErrOutcomeUnknown]; the other fields may stay empty.
	Err error

	envelope bool // the last response has one
}

// Error returns one line of a few hundred characters, without secrets. The text of an
// unknown outcome begins by saying so.
func (e *Error) Error() string {
	if e == nil {
		return "<nil>"
	}
	var b strings.Builder
	b.WriteString("flashback: " + oneLine(e.Op, 80))
	if e.ID != "" {
		b.WriteString(` "` + oneLine(e.ID, 40) + `"`)
	}
	if e.OutcomeUnknown {
		b.WriteString(": outcome unknown (it may have been applied)")
	}
	if e.Err != nil {
		b.WriteString(": " + oneLine(e.Err.Error(), 220))
	}
	switch text := cmp.Or(e.Message, e.Code); {
	case text != "" && e.OutcomeUnknown:
		b.WriteString("; the last response says: " + oneLine(text, 120))
	case text != "":
		b.WriteString(": " + oneLine(text, 120))
	}
	if facts := e.facts(); facts != nil {
		b.WriteString(" (" + strings.Join(facts, ", ") + ")")
	}
	return b.String()
}

func (e *Error) facts() (facts []string) {
	if e.URL != "" {
		facts = append(facts, e.Method+" "+oneLine(e.URL, 130))
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
		facts = append(facts, "request "+oneLine(e.RequestID, 36))
	}
	return facts
}

// Unwrap returns e.Err.
func (e *Error) Unwrap() error {
	if e == nil {
		return nil
	}
	return e.Err
}

// Is tells whether target is [ErrOutcomeUnknown] and OutcomeUnknown is set.
func (e *Error) Is(target error) bool {
	return e != nil && e.OutcomeUnknown && target == ErrOutcomeUnknown
}

// MarshalJSON encodes the error without Header and Body, and with at most 1,000 characters
// of a text. The keys are those of LogValue. Durations are in seconds.
func (e *Error) MarshalJSON() ([]byte, error) {
	shown := map[string]any{}
	for _, attr := range e.LogValue().Group() {
		shown[attr.Key] = attr.Value.Any()
	}
	return json.Marshal(shown)
}

// LogValue returns what MarshalJSON encodes, for [log/slog].
func (e *Error) LogValue() slog.Value {
	if e == nil {
		e = new(Error)
	}
	attrs := []slog.Attr{slog.String("op", e.Op), slog.String("error", e.Error()), slog.Int("attempts", e.Attempts), slog.Bool("outcome_unknown", e.OutcomeUnknown)}
	for _, text := range [...]struct{ key, value string }{
		{"id", e.ID}, {"message", e.Message}, {"code", e.Code}, {"method", e.Method}, {"url", e.URL}, {"request_id", e.RequestID},
	} {
		if text.value != "" {
			attrs = append(attrs, slog.String(text.key, oneLine(text.value, 1000)))
		}
	}
	if e.StatusCode != 0 {
		attrs = append(attrs, slog.Int("status", e.StatusCode))
	}
	if e.RetryAfter != 0 {
		attrs = append(attrs, slog.Float64("retry_after_seconds", e.RetryAfter.Seconds()))
	}
	if e.Throttled != 0 {
		attrs = append(attrs, slog.Float64("throttled_seconds", e.Throttled.Seconds()))
	}
	return slog.GroupValue(attrs...)
}

// invalid returns the error of an argument with which nothing was sent.
func invalid(op, id string, err error) *Error {
	return &Error{Op: op, ID: id, Err: join(ErrInvalidArgument, err)}
}

// failure returns the error of a call that did not succeed.
func failure(op *call.Op, expects, id string, o *call.Outcome) *Error {
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
	var causes []error
	if r := o.Response; r != nil {
		e.StatusCode, e.Message, e.Code, e.Header, e.Body = r.Status, r.Message, r.Code, r.Header, r.Body
		e.RequestID, e.envelope = call.RequestID(r.Header), r.Envelope
		kind := kindOf(op, expects, r)
		unwritten := slices.ContainsFunc(o.Reasons, func(r call.Reason) bool { return r.Why == call.WriteFailed })
		if !unwritten && (!e.OutcomeUnknown || !isDecision(kind)) {
			causes = append(causes, kind)
		}
	}
	for _, r := range o.Reasons {
		atGate := r.Why == call.RateLimited || r.Why == call.OutageLasts
		if !o.Sent && (atGate || r.Why == call.NetworkFailed && errors.Is(r.Err, ErrNotSent)) {
			causes = append(causes, ErrNotSent)
		}
		kind := error(nil)
		switch {
		case r.Why == call.RateLimited:
			kind = ErrRateLimited
		case r.Why == call.OutageLasts && r.Err == nil:
			kind = ErrServer
		}
		if !slices.Contains(causes, kind) {
			causes = append(causes, kind)
		}
		causes = append(causes, reason(r))
	}
	if e.Err = join(causes...); e.OutcomeUnknown && o.ReadBacks != nil {
		e.Err = withReadBacks(e.Err, o.ReadBacks)
	}
	return e
}

// withReadBacks adds to the text of err what each read-back has found. Those that found the
// same in a row are counted.
func withReadBacks(err error, found []string) error {
	var texts []string
	if err != nil {
		texts = append(texts, err.Error())
	}
	for len(found) > 0 {
		n := 1
		for n < len(found) && found[n] == found[0] {
			n++
		}
		text := "the read-back " + found[0]
		if n > 1 {
			text = fmt.Sprintf("%d read-backs: each %s", n, found[0])
		}
		texts, found = append(texts, text), found[n:]
	}
	return &multiError{strings.Join(texts, "; "), []error{err}}
}

// isDecision tells whether a kind says what the server has decided. It is not the kind of
// an unknown outcome: an earlier attempt may have been applied.
func isDecision(kind error) bool {
	for _, decision := range []error{ErrBadRequest, ErrForbidden, ErrNotFound, ErrConflict} {
		if errors.Is(kind, decision) {
			return true
		}
	}
	return false
}

// reason returns why a call ended, as an error.
func reason(r call.Reason) error {
	switch r.Why {
	case call.DeadlineNear:
		return fmt.Errorf("%s: %w", r.Text, context.DeadlineExceeded)
	case call.ContextEnded:
		if r.Cause == nil {
			return r.Err
		}
		return &multiError{r.Text, []error{newOpaque(r.Text, r.Cause), r.Err}}
	case call.NoToken, call.NetworkFailed, call.OutageLasts:
		if e, ok := r.Err.(sessionError); ok { //nolint:errorlint // A source's own error is not it, whatever it wraps.
			return e
		}
		return newOpaque(r.Text, r.Err)
	case call.WriteFailed:
		return newOpaque("the response could not be written: "+r.Text, r.Err)
	case call.RateLimited, call.WaitTooLong:
	}
	return errors.New(r.Text)
}
