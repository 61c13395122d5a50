package call

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/flashbacknetwork/flashback-go/internal/attempt"
	"github.com/flashbacknetwork/flashback-go/internal/verdict"
)

// Outcome is what came of a call.
type Outcome struct {
	Verdict    verdict.Verdict
	Invalid    error     // why nothing could be sent
	Response   *Response // the last that came, redacted
	Found      any       // what was read, here or by the read-back that settled the call
	Reasons    []Reason
	URL        string        // of the last attempt, without a query; "" if there was none
	Attempts   int           // requests, with those of read-backs
	Sent       bool          // one of them may have been sent
	Throttled  time.Duration // how long the call waited because of a rate limit
	RetryAfter time.Duration // what the last response asked for
}

// Why is the kind of a [Reason].
type Why uint8

// Why a call ends.
const (
	NetworkFailed Why = iota // what the last attempt failed with
	ContextEnded             // Err is the context's error, Cause its cause
	DeadlineNear             // the next attempt would come after it
	WaitTooLong              // the server asks for more than the client waits
	RateLimited              // as WaitTooLong, asked of another call
	OutageLasts              // each request of the operation fails; Err is of the network, or nil after a 5xx
	NoToken                  // the source of tokens failed
	ReadBackFailed
)

// Reason is why a call ended, beyond its last response.
type Reason struct {
	Why   Why
	Text  string // redacted
	Err   error  // what it is to errors.Is and errors.As; nil for nothing
	Cause error  // of a context
}

// endsAll tells whether a read-back must not be sent either.
func (r Reason) endsAll() bool {
	return r.Why == ContextEnded || r.Why == NoToken
}

// ended is the reason of a context that has ended.
func (c *call) ended() Reason {
	err, cause := c.ctx.Err(), attempt.Real(context.Cause(c.ctx))
	r := Reason{Why: ContextEnded, Err: context.Canceled}
	if err == nil || errors.Is(err, context.DeadlineExceeded) { // or the connection's timer was ahead of the context's
		r.Err = context.DeadlineExceeded
	}
	r.Text = r.Err.Error()
	if cause == nil || cause.Error() == r.Text {
		return r
	}
	r.Cause, r.Text = cause, kept(c.secrets, cause.Error(), maxKept)
	if !errors.Is(cause, r.Err) {
		r.Text = r.Err.Error() + ": " + r.Text
	}
	return r
}

// deadlineNear is the reason of a wait that would outlast the caller's deadline.
func deadlineNear(wait time.Duration) Reason {
	return Reason{Why: DeadlineNear, Text: fmt.Sprintf("the next attempt, in %v, would come after the deadline", wait.Round(time.Millisecond))}
}

// foreign is the reason of an error of the network or of the caller's code.
func (c *call) foreign(why Why, err error) Reason {
	text := kept(c.secrets, err.Error(), maxKept)
	if text != err.Error() {
		err = nil // it has a secret in it, or may have
	}
	return Reason{Why: why, Text: text, Err: err}
}

// ofContext tells whether an error is but that of the call's context, which its
// reason says already.
func (c *call) ofContext(err error) bool {
	ended := c.ctx.Err()
	return ended != nil && (errors.Is(err, ended) || err.Error() == attempt.Real(context.Cause(c.ctx)).Error()) // which may not be comparable
}

// visible is a URL without the values of its query, which may be secret.
func visible(u *url.URL) string {
	shown := *u
	if query := shown.Query(); len(query) > 0 {
		for key := range query {
			query[key] = []string{""}
		}
		shown.RawQuery = query.Encode()
	}
	return shown.String()
}
