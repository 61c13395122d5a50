// Package call makes one call of the API: as many attempts as may help, the waits between
// them, a read-back where an attempt was ambiguous, and one verdict of it all.
package call

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"net/url"
	"time"

	"github.com/hashicorp/go-retryablehttp"

	"github.com/flashbacknetwork/flashback-go/internal/attempt"
	"github.com/flashbacknetwork/flashback-go/internal/redact"
	"github.com/flashbacknetwork/flashback-go/internal/retry"
	"github.com/flashbacknetwork/flashback-go/internal/verdict"
)

const (
	maxBody      = 1 << 20 // bytes of a response's body that are read, after decompression
	mostAttempts = 1 << 20 // of a call: decide ends it; this bounds what a mistake in decide can do
)

// call is one call, or the read-back of one.
type call struct {
	client   *Client
	ctx      context.Context // the caller's
	op       *Op
	in       Input
	parent   *call // the call that this one reads back for; nil if the caller made this one
	request  retryablehttp.Request
	secrets  redact.Secrets // of the caller's call: see hidden
	token    string         // the access token of the last attempt
	turn     turn           // where the call stands at the operation's gate
	state    verdict.State  // what the attempts add up to
	decision retry.Decision // what comes after the last attempt
	outcome  Outcome
}

// errEnded is the error of an attempt that was not made. The outcome says why.
var errEnded = errors.New("the call has ended")

// Do makes a call.
func (client *Client) Do(ctx context.Context, op *Op, in Input) *Outcome {
	c := newCall(ctx, client, op, in)
	for _, secret := range in.Secrets {
		c.hidden().AddPassword(secret)
	}
	c.hideTokens()
	c.run()
	return c.finish()
}

func newCall(ctx context.Context, client *Client, op *Op, in Input) *call {
	return &call{
		client: client, ctx: ctx, op: op, in: in,
		state: verdict.New(op.Rule), outcome: Outcome{Begun: time.Now()},
	}
}

// run makes the attempts. go-retryablehttp loops: for each attempt it calls RoundTrip, which
// begins with the wait that was decided, and then decide.
func (c *call) run() {
	c.turn.gate = c.client.Gates.enter(c.op.Name)
	defer c.client.Gates.leave(c.op.Name)
	if c.outcome.Invalid = c.buildRequest(); c.outcome.Invalid != nil {
		return
	}
	loop := retryablehttp.Client{
		HTTPClient: &http.Client{Transport: c, Jar: c.client.Jar, CheckRedirect: followNone},
		RetryMax:   mostAttempts,
		CheckRetry: c.decide,
		Backoff:    dontWait,
	}
	_, _ = loop.Do(&c.request) //nolint:bodyclose // RoundTrip has read and closed it. The call knows more than Do returns.
	if c.decision.Retry {
		c.addReason(c.contextEnded()) // before the next attempt began
	}
	if c.state.Next() == verdict.ReadBack && !c.outcome.skipsReadBack() {
		_ = c.readBack() // There is no attempt after it that its error could keep from being made.
	}
}

func followNone(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

func dontWait(time.Duration, time.Duration, int, *http.Response) time.Duration { return 0 }

// RoundTrip makes one attempt. It is called by way of an http.Client, which has added the
// cookies of its jar to the header. c has no method CloseIdleConnections, so that
// go-retryablehttp can't close the connections of other calls when this one fails.
func (c *call) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := c.prepare(); err != nil {
		return nil, err
	}
	begun := time.Now()
	result := c.send(req)
	c.record(result, begun)
	c.logAttempt(begun)
	if result.Err != nil {
		return nil, result.Err // without the response: net/http logs one that comes with an error
	}
	return result.Response, nil
}

// prepare does all that comes before an attempt. The waits come first, since a token or a
// read-back from before a wait would be old after it.
func (c *call) prepare() error {
	if err := c.wait(); err != nil {
		return err
	}
	if err := c.awaitTurn(); err != nil {
		return err
	}
	if c.decision.NewToken {
		if err := c.renewToken(); err != nil {
			return err
		}
	}
	if c.state.Next() == verdict.ReadBack {
		if err := c.readBack(); err != nil {
			return err
		}
		// The read-back took time, in which another call's response may have closed the gate.
		if err := c.awaitTurn(); err != nil {
			return err
		}
	}
	if !c.decision.NewToken {
		if err := c.getToken(c.ctx); err != nil {
			return err
		}
	}
	if c.ctx.Err() != nil {
		return c.end(c.contextEnded())
	}
	return nil
}

// wait waits as long as was decided, if it is not the gate that waits.
func (c *call) wait() error {
	if !c.decision.Retry || c.decision.AtGate {
		return nil
	}
	timer, begun := time.NewTimer(c.decision.Wait), time.Now()
	defer timer.Stop()
	if c.turn.gate != nil && c.state.Throttled() {
		defer func() { c.throttledFor(time.Since(begun)) }()
	}
	select {
	case <-timer.C:
		return nil
	case <-c.ctx.Done():
		return c.end(c.contextEnded())
	}
}

// send sends the request of one attempt and reads the response.
func (c *call) send(req *http.Request) attempt.Result {
	if c.client.Jar != nil {
		c.redactCookies(req.Cookies())
	}
	c.outcome.Attempts++
	ctx := c.ctx
	if !c.client.Sender.Trusted { // In a transport of this module nobody asks AttemptFrom.
		ctx = context.WithValue(ctx, attemptKey{}, Attempt{c.op.Name, c.attempts(), c.parent != nil})
	}
	c.setHeader(req)
	limit := c.op.MaxBody
	if limit == 0 {
		limit = maxBody
	}
	// The connection of an attempt that timed out may be dead, and its transport may not know.
	_, timedOut := errors.AsType[attempt.TimeoutError](c.outcome.Failure)
	return c.client.Sender.Do(ctx, req, limit, c.op.Rule.Retry == verdict.NotIdempotent, timedOut)
}

// record adds an attempt to what the call knows.
func (c *call) record(r attempt.Result, sentAt time.Time) {
	o := &c.outcome
	o.Failure, o.RetryAfter = r.Err, 0
	o.Sent = o.Sent || r.Sent
	if r.Response != nil {
		c.redactCookies(r.Response.Cookies())
		o.Response = &Response{Status: r.Response.StatusCode, Header: r.Response.Header, Body: r.Body, Cut: r.Err != nil, SentAt: sentAt, At: r.At}
		o.RetryAfter = retryAfter(r.Response.Header)
		if c.op.Rule.Retry != verdict.Safe {
			c.client.Clock.observe(o.Response.shown())
		}
	}
	var a verdict.Attempt
	switch {
	case r.Err == nil:
		a = o.Response.classify(c.op, &c.in).Attempt()
		if unwritten, ok := errors.AsType[WriteError](o.Response.ReadErr); ok {
			c.addReason(c.opaque(WriteFailed, unwritten.Err))
		}
	case r.TooLarge:
		a = verdict.TooLarge
	case r.Response != nil && isRefusal(r.Response.StatusCode): // Its body is cut, or can't be decoded.
		a = verdict.Response{Status: r.Response.StatusCode}.Attempt()
	case r.Sent:
		a = verdict.Lost
	case r.Permanent:
		a = verdict.Unsendable
	default:
		a = verdict.NotSent
	}
	c.state = c.state.After(a, r.Repeated)
	c.tellGate(r)
}

// isRefusal tells whether a status says by itself that the request was not applied.
func isRefusal(status int) bool {
	return status >= 400 && status < 500 && status != http.StatusRequestTimeout && status != 499
}

// decide decides what comes after an attempt. It is the CheckRetry of go-retryablehttp.
func (c *call) decide(_ context.Context, _ *http.Response, err error) (bool, error) {
	if errors.Is(err, errEnded) {
		c.decision = retry.Decision{}
		return false, nil
	}
	c.decision = retry.Decide(c.client.Retry, c.facts(), rand.Float64()) //nolint:gosec // Jitter needs no secrecy.
	switch c.decision.Stop {
	case retry.ContextEnded:
		c.addReason(c.contextEnded())
	case retry.RetryAfterTooLong:
		c.addReason(c.retryAfterTooLong())
	case retry.DeadlineTooNear:
		c.addReason(deadlineTooNear(c.decision.Wait))
	case retry.Settled:
	}
	if c.decision.NewToken && !c.decision.Retry {
		c.reportRefusedToken() //nolint:contextcheck // The call has it.
	}
	if c.decision.Retry {
		// Each attempt has a header of its own: net/http may still read that of an attempt that
		// was given up.
		c.request.Header = http.Header{}
		c.logRetry()
	}
	return c.decision.Retry, nil
}

func (c *call) facts() retry.Facts {
	left := retry.NoDeadline
	if deadline, ok := c.ctx.Deadline(); ok {
		left = time.Until(deadline)
	}
	return retry.Facts{
		Next:        c.state.NextIfNotApplied(),
		Complete:    c.outcome.Failure == nil,
		Attempts:    c.countedAttempts(),
		RetryAfter:  c.outcome.RetryAfter,
		Canceled:    c.ctx.Err() != nil,
		TimeLeft:    left,
		RenewsToken: c.client.Renews && c.op.Auth == Renewed,
		AtGate:      c.turn.held,
		GateWait:    c.turn.gate.ClosedFor(),
	}
}

// hidden returns what no error and no log may show. A read-back shares it with its call.
func (c *call) hidden() *redact.Secrets {
	if c.parent != nil {
		return &c.parent.secrets
	}
	return &c.secrets
}

// attempts returns how many requests were made so far, for this call and the one that it
// reads back for.
func (c *call) attempts() int {
	n := c.outcome.Attempts
	if c.parent != nil {
		n += c.parent.outcome.Attempts
	}
	return n
}

// countedAttempts is like attempts, without those that do not count.
func (c *call) countedAttempts() int {
	n := c.turn.counted
	if c.parent != nil {
		n += c.parent.turn.counted
	}
	return n
}

// redactCookies keeps cookies from being shown where the server echoes them. Short ones
// may be ordinary words.
func (c *call) redactCookies(cookies []*http.Cookie) {
	for _, cookie := range cookies {
		plain, err := url.QueryUnescape(cookie.Value)
		for _, value := range []string{cookie.Value, plain} {
			if err == nil && len(value) >= 12 {
				c.hidden().AddToken(value)
			}
		}
	}
}

// addReason adds a reason why the call ends.
func (c *call) addReason(r Reason) { c.outcome.Reasons = append(c.outcome.Reasons, r) }

// end adds a reason why the call ends, and returns the error that ends it.
func (c *call) end(r Reason) error {
	c.addReason(r)
	return errEnded
}

// finish returns the outcome, with nothing in it that is secret.
func (c *call) finish() *Outcome {
	c.hideTokens() // with those that came since the call began
	o := &c.outcome
	o.Verdict = c.state.Verdict()
	switch r := o.Response; o.Verdict {
	case verdict.Success, verdict.Recovered:
		r.Message = redactTruncate(c.hidden(), r.Message, maxKept)
		if c.in.KeepHeader {
			// Values of the query may be ordinary words, and a link to the next page must work.
			r.Header = c.hidden().WithoutQuery().Header(r.Header)
		}
	case verdict.Failure, verdict.Unknown:
		if r != nil {
			r.redact(c.op, c.hidden())
		}
		if o.Failure != nil && !c.isContextError(o.Failure) {
			c.addReason(c.opaque(NetworkFailed, o.Failure))
		}
		if o.Attempts > 0 {
			o.URL = c.hidden().WithoutQuery().Text(withoutQueryValues(c.request.URL))
		}
	}
	c.logOutcome()
	return o
}
