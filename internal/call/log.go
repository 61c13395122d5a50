package call

import (
	"context"
	"log/slog"
	"time"

	"github.com/flashbacknetwork/flashback-go/internal/verdict"
)

const maxLogged = 4 << 10 // bytes of an error's text in a log

// LogCall logs a record about a call.
func (client *Client) LogCall(ctx context.Context, level slog.Level, msg, op, id string, attempts int, attrs ...slog.Attr) {
	if client.Log == nil {
		return
	}
	client.Log.LogAttrs(ctx, level, msg, append([]slog.Attr{
		slog.String("op", op), slog.String("id", id), slog.Int("attempts", attempts),
	}, attrs...)...)
}

func (c *call) log(level slog.Level, msg string, attrs ...slog.Attr) {
	c.client.LogCall(c.ctx, level, msg, c.op.Name, c.in.ID, c.attempts(), attrs...)
}

func (c *call) logsDebug() bool {
	return c.client.Log != nil && c.client.Log.Enabled(c.ctx, slog.LevelDebug)
}

// logRetry logs the wait that was decided. A retry with another token is logged once there
// is another token.
func (c *call) logRetry() {
	if c.client.Log == nil || c.decision.NewToken && c.state.NextIfNotApplied() == verdict.AttemptWithNewToken {
		return
	}
	var why slog.Attr
	if c.outcome.Failure == nil {
		why = slog.Int("status", c.outcome.Response.Status)
	} else {
		why = slog.String("error", redactTruncate(c.hidden(), c.outcome.Failure.Error(), maxLogged))
	}
	c.log(slog.LevelInfo, "flashback: retrying", why, slog.Duration("wait", c.decision.Wait))
}

func (c *call) logAttempt(begun time.Time) {
	if c.logsDebug() {
		c.log(slog.LevelDebug, "flashback: attempt", append(c.lastResponse(), slog.Duration("duration", time.Since(begun)))...)
	}
}

func (c *call) logOutcome() {
	if c.outcome.Verdict == verdict.Recovered {
		c.log(slog.LevelInfo, "flashback: recovered", slog.String("message", c.outcome.Response.Message))
	}
	if c.logsDebug() {
		c.log(slog.LevelDebug, "flashback: call", append(c.lastResponse(), slog.Duration("duration", time.Since(c.outcome.Begun)))...)
	}
}

// lastResponse returns the attributes of what came of the last attempt: none, if nothing
// was sent.
func (c *call) lastResponse() []slog.Attr {
	o := &c.outcome
	switch {
	case o.Failure != nil:
		return []slog.Attr{slog.String("error", redactTruncate(c.hidden(), o.Failure.Error(), maxLogged))}
	case o.Response != nil:
		attrs := []slog.Attr{slog.Int("status", o.Response.Status)}
		if id := RequestID(o.Response.Header); id != "" {
			attrs = append(attrs, slog.String("request_id", redactTruncate(c.hidden(), id, maxLogged)))
		}
		return attrs
	}
	return nil
}
