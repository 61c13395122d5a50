package call

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/flashbacknetwork/flashback-go/internal/throttle"
	"github.com/flashbacknetwork/flashback-go/internal/verdict"
)

// next is what a call knows about its next attempt.
type next struct {
	max      int  // retries
	taken    int  // of these, from the budget
	unsent   bool // the last that was taken has no attempt yet
	owes     bool // one is to be taken when its turn comes
	waiting  bool
	wait     time.Duration
	throttle *throttle.Throttle // of the operation; nil for none
	place    throttle.Place     // in the queue of the operation's rate limit
	pass     throttle.Pass
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
	case step == verdict.TryNewToken: // also if no retry is left, so that the source learns of the 401
		return c.renew()
	case step == verdict.Stop, c.outcome.Attempts > c.next.max:
		return false
	}
	asked, most := c.outcome.RetryAfter, c.client.Retry.MaxRetryAfter
	if asked > most {
		c.stop(Reason{Why: WaitTooLong, Text: fmt.Sprintf("the server asks to wait %v and the client waits at most %v", asked, most)})
		return false
	}
	least := asked // without jitter: what is certain
	switch {
	case c.throttled():
		c.next.wait = 0 // the gate knows how long
	case asked > 0:
		c.next.wait = spread(asked)
	default:
		least = c.client.Retry.backoff(c.outcome.Attempts)
		c.next.wait = least
	}
	if bounded && left <= least {
		c.stop(deadlineNear(least))
		return false
	}
	if bounded {
		c.next.wait = min(c.next.wait, left-1)
	}
	switch {
	case c.state.Throttled(): // which is no outage
		return true
	case c.throttled(): // a crowd whose turns come one by one must not take at once
		c.next.owes = true
		return true
	}
	return c.take()
}

// take takes a retry from the budget.
func (c *call) take() bool {
	if c.next.owes = false; !c.client.Budget.Take() {
		c.stop(Reason{Why: BudgetEmpty})
		return false
	}
	c.next.taken++
	c.next.unsent = true
	return true
}

// renew goes on with another token, if there is one.
func (c *call) renew() bool {
	if !c.client.Renews || c.op.Auth != Renewed {
		return false
	}
	// A func, because the text of a context shows its strings.
	if old := c.token; !c.askToken(context.WithValue(c.ctx, refused{}, func() string { return old })) ||
		c.token == old || c.outcome.Attempts > c.next.max {
		return false
	}
	c.next.wait = 0
	c.state = c.state.AfterRenewal()
	return true
}

// giveBack returns to the budget what the call took, once the server has responded, and
// a tenth if it took nothing. A read-back is a part of another call.
func (c *call) giveBack() {
	budget := c.client.Budget
	switch {
	case c.state.Heard() && c.next.taken > 0:
		budget.Give(float64(c.next.taken))
	case c.state.Heard() && !c.readBack:
		budget.Give(0.1)
	case c.next.unsent:
		budget.Give(1)
	}
}

// throttled tells whether the last response closed the gate of the operation: a 429,
// or a 503 that says how long.
func (c *call) throttled() bool {
	return c.next.throttle != nil &&
		(c.state.Throttled() || c.outcome.RetryAfter > 0 && c.outcome.Response.Status == http.StatusServiceUnavailable)
}

// awaitTurn waits until the request may go out, as far as the operation's rate limit
// is concerned.
func (c *call) awaitTurn() bool {
	t := c.next.throttle
	if t == nil {
		return true
	}
	begun := time.Now()
	pass, err := t.Wait(c.ctx, &c.next.place, c.client.Retry.MaxRetryAfter)
	if waited := time.Since(begun); waited >= time.Millisecond {
		c.outcome.Throttled += waited
		c.log(slog.LevelDebug, "flashback: throttled", slog.Duration("wait", waited))
	}
	if err == nil {
		c.next.pass = pass
		return true
	}
	var closed *throttle.ClosedError
	if !errors.As(err, &closed) {
		if _, queued := errors.AsType[*throttle.QueueError](err); queued && errors.Is(err, context.DeadlineExceeded) {
			c.stop(Reason{Why: RateLimited, Text: "its turn did not come in time"})
		}
		c.stop(c.ended())
		return false
	}
	text := "the server accepts no request of this operation"
	if closed.Asked > 0 {
		text = fmt.Sprintf("an earlier response asks to wait %v more", closed.Asked.Round(time.Millisecond))
	}
	c.stop(Reason{Why: RateLimited, Text: text})
	if closed.Deadline {
		c.stop(deadlineNear(closed.For))
	}
	c.outcome.RetryAfter = max(c.outcome.RetryAfter, closed.Asked)
	return false
}
