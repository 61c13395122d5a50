package call

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/flashbacknetwork/flashback-go/internal/attempt"
	"github.com/flashbacknetwork/flashback-go/internal/verdict"
)

// Outcome is what came of a call.
type Outcome struct {
	Verdict    verdict.Verdict
	Invalid    error     // why nothing could be sent
	Response   *Response // the last that came, or that of the read-back that settled the call; redacted
	Failure    error     // why the last attempt has no complete response; nil if it has one
	Reasons    []Reason  // why the call ended, beyond its last response
	ReadBacks  []string  // what each read-back found, as the rest of a sentence; redacted
	URL        string    // of the last attempt, without the values of its query; "" if there was none
	Begun      time.Time
	Attempts   int           // requests, with those of read-backs
	Sent       bool          // one of them may have been sent
	Throttled  time.Duration // how long the call waited because of a rate limit
	RetryAfter time.Duration // what the last response asked for
}

// Message returns the server's message of a success: "" if a refusal or a read-back has
// settled the call.
func (o *Outcome) Message() string {
	if o.Verdict != verdict.Success {
		return ""
	}
	return o.Response.Message
}

// notFound tells whether the last attempt got a 404.
func (o *Outcome) notFound() bool {
	return o.Failure == nil && o.Response != nil && o.Response.Status == http.StatusNotFound
}

// Why is the kind of a [Reason].
type Why uint8

// Why a call ends.
const (
	NetworkFailed Why = iota // the last attempt has no complete response
	ContextEnded             // Err is the context's error, Cause its cause
	DeadlineNear             // the next attempt would come after the deadline
	WaitTooLong              // the server asks for a longer wait than the client allows
	RateLimited              // the operation's gate is closed for load, for longer than the call waits
	OutageLasts              // each request of the operation fails, for longer than the call waits; Err is the network's
	NoToken                  // the source of tokens failed
	WriteFailed              // the caller's writer did not take the body of a success
)

// Reason is why a call ended, beyond its last response.
type Reason struct {
	Why   Why
	Text  string // redacted
	Err   error  // what errors.Is and errors.As find; nil for nothing
	Cause error  // of a context
}

// skipsReadBack tells whether the call ended for a reason that would end a read-back too.
func (o *Outcome) skipsReadBack() bool {
	for _, r := range o.Reasons {
		if r.Why == ContextEnded || r.Why == NoToken {
			return true
		}
	}
	return false
}

// contextEnded is the reason of a call whose context has ended, or whose deadline has
// passed: a connection may notice that before the context does.
func (c *call) contextEnded() Reason {
	err, cause := c.ctx.Err(), attempt.NonNil(context.Cause(c.ctx))
	r := Reason{Why: ContextEnded, Err: context.Canceled}
	if err == nil || errors.Is(err, context.DeadlineExceeded) {
		r.Err = context.DeadlineExceeded
	}
	r.Text = r.Err.Error()
	if cause == nil || cause.Error() == r.Text {
		return r
	}
	r.Cause, r.Text = cause, redactTruncate(c.hidden(), cause.Error(), maxKept)
	if !errors.Is(cause, r.Err) {
		r.Text = r.Err.Error() + ": " + r.Text
	}
	return r
}

// deadlineTooNear is the reason of a call that would have to wait past its deadline.
func deadlineTooNear(wait time.Duration) Reason {
	return Reason{Why: DeadlineNear, Text: fmt.Sprintf("the next attempt, in %v, would come after the deadline", wait.Round(time.Millisecond))}
}

func (c *call) retryAfterTooLong() Reason {
	return Reason{Why: WaitTooLong, Text: fmt.Sprintf("the server asks to wait %v and the client waits at most %v", c.outcome.RetryAfter, c.client.Retry.MaxRetryAfter)}
}

// opaque is the reason of an error that the network or the caller's code has made. An error
// whose text has a secret in it is replaced by its redacted text.
func (c *call) opaque(why Why, err error) Reason {
	text := redactTruncate(c.hidden(), err.Error(), maxKept)
	if text != err.Error() {
		err = nil
	}
	return Reason{Why: why, Text: text, Err: err}
}

// isContextError tells whether err is no more than the error of the call's context, for
// which there is a reason already. The texts are compared because a cause need not be
// comparable.
func (c *call) isContextError(err error) bool {
	ended := c.ctx.Err()
	return ended != nil && (errors.Is(err, ended) || err.Error() == attempt.NonNil(context.Cause(c.ctx)).Error())
}
