package flashback

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-retryablehttp"
)

// call is one call of the API, and makes one verdict of all its attempts.
type call struct {
	client *Client
	ctx    context.Context
	op     *operation
	input

	// In the call, and not beside it, these cost no allocation of their own.
	request retryablehttp.Request
	trace   httptrace.ClientTrace

	// What the trace of the attempt told, from any goroutine.
	connection atomic.Int32 // how far it got
	overHTTP2  atomic.Bool
	resent     atomic.Bool // the transport sent it more than once

	token    string   // of the attempt
	spent    []string // tokens of the attempts before, where they were others
	attempts int
	looks    int // requests to look whether an attempt has taken effect
	isLook   bool
	last     attempt
	abort    context.CancelCauseFunc // nil if the attempt may be sent more than once
	then     next                    // what may follow the last attempt
	answer   *answer                 // the last that came, maybe of an attempt before the last
	unsure   bool                    // an attempt may have taken effect

	renewed    bool // a 401 has made the call try another token
	maxRetries int
	retries    int  // taken from the budget
	replaced   int  // of these, by a look that settled the call
	waiting    bool // for the next attempt
	wait       time.Duration
	retryAfter time.Duration // what a look was asked to wait
	held       time.Duration // by the client's pacer
	stop       error         // why there is no next attempt, where the last one does not say it
}

// outcome is a call that succeeded.
type outcome struct {
	answer    *answer
	attempts  int
	recovered bool
}

// do carries out one call of the API.
func (c *Client) do(ctx context.Context, op *operation, in input) (outcome, error) {
	if ctx == nil {
		return outcome{}, invalid(op.name, in.id, errors.New("the context is nil; use context.Background()"))
	}
	run := &call{client: c, ctx: ctx, op: op, input: in, maxRetries: c.maxRetries}
	return run.do() //nolint:contextcheck // It has it.
}

func (c *call) do() (outcome, error) {
	ctx := context.WithValue(httptrace.WithClientTrace(c.ctx, c.watch()), callKey{}, c)
	if err := c.newRequest(ctx); err != nil {
		return outcome{}, invalid(c.op.name, c.id, err)
	}
	if c.prepare(c.request.Request) == nil {
		// Do returns less than the call knows: it drops the last answer where the
		// context ended during a wait.
		_, _ = c.client.retrier.Do(&c.request) //nolint:bodyclose // send has read and closed it.
		if c.waiting {
			c.stop = contextError(c.ctx)
		}
	}
	if c.stop == nil {
		_ = c.settle() // no attempt follows
	}
	return c.verdict()
}

// prepare waits before the next attempt, and for its turn, gets its token, and
// gives its request a header. An empty one, because http.Client copies what is in
// it, for redirects. The turn comes first: what is seen and got before a wait may be
// stale after it.
func (c *call) prepare(req *http.Request) error {
	if c.waiting {
		if err := sleep(c.ctx, c.wait); err != nil {
			return err
		}
	}
	c.waiting = false
	if c.stop = c.hold(); c.stop != nil {
		return c.stop
	}
	looks := c.looks
	if err := c.settle(); err != nil {
		c.replaced = min(1, c.looks-looks)
		return err
	}
	if c.then != renewToken { // else mayRetry has just asked
		token, err := c.askToken()
		if err != nil {
			return err
		}
		c.use(token)
	}
	req.Header = http.Header{}
	return nil
}

// askToken asks for the token of the next attempt; an error ends the call.
func (c *call) askToken() (string, error) {
	token, err := c.client.token(c.ctx)
	if err != nil {
		c.stop = c.describe(c.ctx, err)
		if c.ctx.Err() != nil {
			c.stop = causes{contextError(c.ctx), c.stop} // the source need not say so
		}
	}
	return token, err
}

func (c *call) use(token string) {
	if c.token != "" && c.token != token {
		c.spent = append(c.spent, c.token)
	}
	c.token = token
}

// record adds the last attempt to what the call knows.
func (c *call) record() {
	effect, then := c.last.judge(c.op)
	c.unsure = c.unsure || c.op.repeat != reads && (effect || c.resent.Load())
	c.then = then
	if c.last.answer != nil {
		c.answer = c.last.answer
	}
}

// errSettled keeps an attempt from being made.
var errSettled = errors.New("settled")

// settle looks whether an attempt has taken effect, where one must not be repeated
// otherwise. Its error says that there must be no further attempt.
func (c *call) settle() error {
	if c.op.look == nil || !c.unsure || c.then == done || c.then == wasNotNeeded {
		return nil
	}
	look := &call{client: c.client, ctx: c.ctx, op: c.op.look, input: c.input, isLook: true}
	look.maxRetries = max(0, c.maxRetries-c.attempts-c.looks)
	found, err := look.do()
	c.looks += look.attempts
	c.held += look.held
	if err != nil {
		c.then = giveUp
		c.stop = causes{opaqueError("looking whether it did failed: " + err.Error())}.and(look.stop)
		c.retryAfter = retryAfter(look.header())
		return errSettled
	}
	switch did, told := c.op.did(found.answer.data, c.id); {
	case !told:
		c.then, c.stop = giveUp, errors.New("looking whether it did told nothing")
		return errSettled
	case did:
		c.then, c.answer = wasNotNeeded, found.answer
		return errSettled
	}
	return nil
}

// header is that of the last answer.
func (c *call) header() http.Header {
	if c.answer == nil {
		return nil
	}
	return c.answer.header
}

// verdict is what the caller is told: a success, a recovered success, a failure,
// or a failure whose outcome is unknown.
func (c *call) verdict() (outcome, error) {
	recovered := c.then == wasNotNeeded && c.unsure
	if c.then != done && !recovered {
		c.client.budget.giveBack(int64(c.retries-c.replaced-max(0, c.attempts-1)) * retryTenths) // those that were not sent
		err := c.failure()
		if err.OutcomeUnknown {
			c.log(slog.LevelWarn, "flashback: outcome unknown", slog.Any("error", err))
		}
		return outcome{}, err
	}
	switch {
	case c.retries == 0 && c.isLook: // it is a part of another call
	case c.retries == 0:
		c.client.budget.giveBack(1)
	default:
		c.client.budget.giveBack(int64(c.retries) * retryTenths)
	}
	c.answer.message = c.redact(c.answer.message)
	if recovered {
		c.log(slog.LevelInfo, "flashback: recovered", slog.String("message", c.answer.message))
	}
	return outcome{answer: c.answer, attempts: c.attempts + c.looks, recovered: recovered}, nil
}

func (c *call) logRetry() {
	failure := slog.Any("error", c.last.err)
	if c.last.err == nil {
		failure = slog.Int("status", c.last.answer.status)
	}
	c.log(slog.LevelInfo, "flashback: retrying", failure, slog.Duration("wait", c.wait))
}

func (c *call) log(level slog.Level, msg string, attrs ...slog.Attr) {
	if c.client.log == nil {
		return
	}
	c.client.log.LogAttrs(c.ctx, level, msg, append([]slog.Attr{
		slog.String("op", c.op.name), slog.String("id", c.id), slog.Int("attempts", c.attempts+c.looks),
	}, attrs...)...)
}

// contextError is the error of a context that has ended, with its cause.
func contextError(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if errors.Is(cause, err) {
		return cause
	}
	return fmt.Errorf("%w: %w", err, cause)
}
