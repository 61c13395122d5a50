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
	"github.com/flashbacknetwork/flashback-go/internal/verdict"
)

// next is what a call knows about its next attempt.
type next struct {
	max      int // retries
	counted  int // attempts that count as one of those
	waiting  bool
	wait     time.Duration
	gate     *throttle.Gate    // of the operation; nil for none
	position throttle.Position // in its queue
	ticket   throttle.Ticket
	held     bool // the gate holds the call, which needs no wait of its own
}

// again decides whether there is another attempt, and after which wait.
func (c *call) again() bool {
	c.next.waiting = len(c.outcome.Reasons) == 0 && c.plan()
	if c.next.waiting {
		var failure slog.Attr
		if c.failure == nil {
			failure = slog.Int("status", c.outcome.Response.Status)
		} else {
			failure = slog.String("error", kept(c.secrets, c.failure.Error(), maxLogged))
		}
		c.log(slog.LevelInfo, "flashback: retrying", failure, slog.Duration("wait", c.next.wait))
	}
	return c.next.waiting
}

func (c *call) plan() bool {
	deadline, bounded := c.ctx.Deadline()
	left := time.Until(deadline)
	over := c.ctx.Err() != nil || bounded && left <= 0 // the connection's timer may be ahead of the context's
	step := c.state.Ahead()
	switch {
	case over && (c.failure != nil || step != verdict.Stop):
		c.stop(c.ended())
		return false
	case step == verdict.Stop, c.next.max == 0, c.next.counted > c.next.max:
		return false
	case step == verdict.TryNewToken:
		return c.renew()
	}
	asked, most := c.outcome.RetryAfter, c.client.Retry.MaxRetryAfter
	if asked > most {
		c.stop(Reason{Why: WaitTooLong, Text: fmt.Sprintf("the server asks to wait %v and the client waits at most %v", asked, most)})
		return false
	}
	least := asked // without jitter: what is certain
	switch {
	case c.next.held:
		c.next.wait = 0 // the gate knows how long
	case asked > 0:
		c.next.wait = spread(asked)
	default:
		least = c.client.Retry.backoff(c.next.counted)
		c.next.wait = least
	}
	if bounded && left <= least {
		c.stop(deadlineNear(least))
		return false
	}
	if bounded {
		c.next.wait = min(c.next.wait, left-1)
	}
	return true
}

// renew goes on with another token, if there is one.
func (c *call) renew() bool {
	if !c.client.Renews || c.op.Auth != Renewed {
		return false
	}
	if old := c.token; !c.askToken(context.WithValue(c.ctx, refused{}, old)) || c.token == old {
		return false
	}
	c.next.wait = 0
	c.state = c.state.AfterRenewal()
	return true
}

// passGate tells the gate what came of the attempt.
func (c *call) passGate(r attempt.Result) {
	o := throttle.Outcome{RetryAfter: c.outcome.RetryAfter, Err: r.Err}
	if r.Response != nil {
		o.Status = r.Response.StatusCode
	}
	switch {
	case c.state.Throttled():
		o.Result = throttle.RateLimited
	case c.state.Heard():
		o.Result = throttle.Accepted
	case r.Err == nil && o.Status >= http.StatusInternalServerError:
		o.Result = throttle.ServerError
	case r.Err == nil || r.TooLarge || c.ctx.Err() != nil:
		o.Result = throttle.Unknown
	case !r.Sent && attempt.Exhausted(r.Err):
		o.Result = throttle.Exhausted
	default:
		o.Result = throttle.NoResponse
	}
	if c.next.held = c.next.gate.Done(c.next.ticket, o); !c.next.held {
		c.next.counted++
	}
}

// awaitTurn waits until the gate lets the request out.
func (c *call) awaitTurn() bool {
	begun, retry := time.Now(), c.client.Retry
	ticket, err := c.next.gate.Wait(c.ctx, &c.next.position, throttle.Limits{
		FirstWait: retry.Base, MaxRetryAfter: retry.MaxRetryAfter, OutageWait: retry.OutageWait,
	})
	if waited := time.Since(begun); waited >= time.Millisecond {
		c.outcome.Throttled += waited
		c.log(slog.LevelDebug, "flashback: throttled", slog.Duration("wait", waited))
	}
	c.next.ticket = ticket
	if err == nil {
		return true
	}
	closed, ok := errors.AsType[*throttle.ClosedError](err)
	if !ok {
		c.stop(c.ended())
		return false
	}
	c.stop(c.closed(closed))
	switch {
	case closed.Err != nil:
		c.stop(c.ended())
	case closed.Deadline:
		c.stop(deadlineNear(closed.For))
	}
	c.outcome.RetryAfter = max(c.outcome.RetryAfter, closed.Asked)
	return false
}

// closed is the reason of a gate that is closed.
func (c *call) closed(e *throttle.ClosedError) Reason {
	since := e.Since.Round(time.Millisecond)
	switch {
	case e.State == throttle.Outage && e.Cause.Err != nil:
		r := c.foreign(OutageLasts, e.Cause.Err)
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
