package call

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/flashbacknetwork/flashback-go/internal/attempt"
	"github.com/flashbacknetwork/flashback-go/internal/throttle"
)

// turn is where a call stands at the gate of its operation.
type turn struct {
	gate     *throttle.Gate    // nil for none
	position throttle.Position // among the calls that wait
	ticket   throttle.Ticket   // of the last attempt
	held     bool              // the last attempt was refused for load: it does not count, and the gate waits
	counted  int               // attempts that count
}

// awaitTurn waits until the gate lets the next request out.
func (c *call) awaitTurn() (err error) {
	begun, policy := time.Now(), c.client.Retry
	c.turn.ticket, err = c.turn.gate.Wait(c.ctx, &c.turn.position, throttle.Limits{
		FirstWait: policy.Base, MaxRetryAfter: policy.MaxRetryAfter, OutageWait: c.client.OutageWait,
	})
	c.throttledFor(time.Since(begun))
	if err == nil {
		return nil
	}
	closed, ok := errors.AsType[*throttle.ClosedError](err)
	if !ok || errors.Is(err, context.Canceled) {
		return c.end(c.contextEnded())
	}
	c.addReason(c.gateClosed(closed))
	switch {
	case closed.Err != nil:
		c.addReason(c.contextEnded())
	case closed.Deadline:
		c.addReason(deadlineTooNear(closed.For))
	}
	c.outcome.RetryAfter = max(c.outcome.RetryAfter, closed.Asked)
	return errEnded
}

// throttledFor adds a wait because of a rate limit or an outage to what the caller is told.
func (c *call) throttledFor(waited time.Duration) {
	if waited >= time.Millisecond {
		c.outcome.Throttled += waited
		c.log(slog.LevelDebug, "flashback: throttled", slog.Duration("wait", waited))
	}
}

// tellGate tells the gate what came of an attempt.
func (c *call) tellGate(r attempt.Result) {
	o := throttle.Outcome{RetryAfter: c.outcome.RetryAfter, Err: r.Err}
	if r.Response != nil {
		o.Status = r.Response.StatusCode
	}
	switch {
	case c.state.Throttled():
		o.Result = throttle.RateLimited
	case c.state.Responded():
		o.Result = throttle.Accepted
	case r.Err == nil && o.Status >= http.StatusInternalServerError:
		o.Result = throttle.ServerError
	case r.Err == nil, r.TooLarge, c.ctx.Err() != nil:
		o.Result = throttle.Unknown
	case !r.Sent && attempt.Exhausted(r.Err):
		o.Result = throttle.Exhausted
	default:
		o.Result = throttle.NoResponse
	}
	if c.turn.held = c.turn.gate.Done(c.turn.ticket, o); !c.turn.held {
		c.turn.counted++
	}
}

// gateClosed is the reason of a call whose request the gate does not let out.
func (c *call) gateClosed(e *throttle.ClosedError) Reason {
	since := e.Since.Round(time.Millisecond)
	switch {
	case e.State == throttle.Outage && e.Cause.Err != nil:
		r := c.opaque(OutageLasts, e.Cause.Err)
		r.Text = fmt.Sprintf("each request of this operation has failed for %v: %s", since, r.Text)
		return r
	case e.State == throttle.Outage:
		return Reason{Why: OutageLasts, Text: fmt.Sprintf("each request of this operation has failed for %v: HTTP %d", since, e.Cause.Status)}
	case e.Err != nil:
		return Reason{Why: RateLimited, Text: "its turn did not come in time"}
	case e.Asked > 0:
		return Reason{Why: RateLimited, Text: fmt.Sprintf("an earlier response asks to wait %v more", e.Asked.Round(time.Millisecond))}
	}
	return Reason{Why: RateLimited, Text: fmt.Sprintf("the server has accepted no request of this operation for %v", since)}
}
