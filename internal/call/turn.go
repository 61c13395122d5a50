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

// turn is where a call stands at the gate of its operation.
type turn struct {
	gate  *throttle.Throttle // nil for none
	place throttle.Place     // among the calls that wait
	pass  throttle.Pass      // of the last attempt
}

// awaitTurn waits until the gate lets the next request out.
func (c *call) awaitTurn() error {
	t := &c.turn
	if t.gate == nil {
		return nil
	}
	begun := time.Now()
	pass, err := t.gate.Wait(c.ctx, &t.place, c.client.Retry.MaxRetryAfter)
	if waited := time.Since(begun); waited >= time.Millisecond {
		c.outcome.Throttled += waited
		c.log(slog.LevelDebug, "flashback: throttled", slog.Duration("wait", waited))
	}
	if err == nil {
		t.pass = pass
		return nil
	}
	closed, ok := errors.AsType[*throttle.ClosedError](err)
	if !ok {
		if _, queued := errors.AsType[*throttle.QueueError](err); queued && errors.Is(err, context.DeadlineExceeded) {
			c.end(Reason{Why: RateLimited, Text: "its turn did not come in time"})
		}
		return c.end(c.contextEnded())
	}
	text := "the server accepts no request of this operation"
	if closed.Asked > 0 {
		text = fmt.Sprintf("an earlier response asks to wait %v more", closed.Asked.Round(time.Millisecond))
	}
	c.end(Reason{Why: RateLimited, Text: text})
	if closed.Deadline {
		c.end(deadlineTooNear(closed.For))
	}
	c.outcome.RetryAfter = max(c.outcome.RetryAfter, closed.Asked)
	return errEnded
}

// closesGate tells whether the last response closes the gate: a 429, or a 503 that says
// how long to wait.
func (c *call) closesGate() bool {
	return c.turn.gate != nil &&
		(c.state.Throttled() || c.outcome.RetryAfter > 0 && c.outcome.Response.Status == http.StatusServiceUnavailable)
}

// report tells the gate what came of an attempt.
func (t *turn) report(state verdict.State, refused bool, retryAfter time.Duration) {
	switch {
	case refused:
		t.gate.Refused(t.pass, retryAfter)
	case t.gate != nil && state.Responded():
		t.gate.Accepted(t.pass)
	}
}

// wait returns how long the gate stays closed.
func (t *turn) wait() time.Duration {
	if t.gate == nil {
		return 0
	}
	return t.gate.ClosedFor()
}
