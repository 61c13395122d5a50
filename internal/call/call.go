package call

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-retryablehttp"

	"github.com/flashbacknetwork/flashback-go/internal/attempt"
	"github.com/flashbacknetwork/flashback-go/internal/redact"
	"github.com/flashbacknetwork/flashback-go/internal/verdict"
)

const maxBody = 1 << 20 // bytes of a response's body that are read, after decompression

// call is one call, or the read-back of one.
type call struct {
	client *Client
	ctx    context.Context
	op     *Op
	in     *Input

	exchange
	place
	credentials

	state   verdict.State
	next    next
	failure error // of the last attempt; nil if its response was complete
	outcome Outcome
}

// exchange is what a call sends and gets. In the call, and not beside it, it costs no
// allocation.
type exchange struct {
	request  retryablehttp.Request
	url      url.URL
	carrier  carrier
	response Response
}

// place is where a call stands: in time, and among the attempts.
type place struct {
	begun    time.Time
	came     time.Time // the last response's header
	readBack bool
	before   int          // attempts of the call that it reads back for
	number   atomic.Int32 // of the attempt; a dial may read it that outlives an attempt
}

// credentials are what a call sends, and never shows.
type credentials struct {
	secrets *redact.Secrets
	token   string
	asked   bool // the token is that of the next attempt
}

// errStop keeps an attempt from being made. The call knows why.
var errStop = errors.New("stop")

// Do carries out a call.
func (c *Client) Do(ctx context.Context, op *Op, in *Input) Outcome {
	all := new(struct { // in one allocation
		call    call
		input   Input
		secrets redact.Secrets
	})
	all.input = *in
	run := &all.call
	run.client, run.ctx, run.op, run.in, run.secrets = c, ctx, op, &all.input, &all.secrets
	run.next.max = c.Retry.Max
	run.secrets.AddPassword(in.Password)
	run.hideTokens()
	run.do() //nolint:contextcheck // The call has it.
	return run.finish()
}

// hideTokens redacts the tokens that the client knows of.
func (c *call) hideTokens() {
	if c.client.Secrets == nil {
		return
	}
	for _, known := range c.client.Secrets() {
		c.secrets.AddToken(known)
	}
}

func (c *call) do() {
	c.begun, c.state = time.Now(), verdict.New(c.op.Rule)
	c.next.throttle = c.client.throttle(c.op)
	c.carrier = carrier{c.ctx, c}
	if c.outcome.Invalid = c.newRequest(&c.carrier); c.outcome.Invalid != nil {
		return
	}
	if c.prepare(c.request.Request) == nil {
		// What Do returns is less than the call knows: it drops the last response where the
		// context ended during a wait.
		_, _ = c.client.retrier.Do(&c.request) //nolint:bodyclose // attempt has read and closed it.
	}
	if c.next.waiting {
		c.stop(c.ended())
	}
	if c.state.Next() == verdict.LookBack && !slices.ContainsFunc(c.outcome.Reasons, Reason.endsAll) {
		c.lookBack(true)
	}
	c.giveBack()
}

// prepare waits before the next attempt, and for its turn; then it reads back, if that
// is to come first, and gets the token. The waits come before, since what is read and
// got before a wait may be stale after it.
func (c *call) prepare(req *http.Request) error {
	if c.next.waiting && !sleep(c.ctx, c.next.wait) {
		return errStop
	}
	c.next.waiting = false
	if !c.awaitTurn() || c.next.owes && !c.take() {
		return errStop
	}
	if c.state.Next() == verdict.LookBack {
		if c.lookBack(false); len(c.outcome.Reasons) == 0 && c.state.Next() != verdict.Stop && !c.awaitTurn() { // the gate may have closed
			return errStop
		}
	}
	if c.state.Next() == verdict.Stop && c.outcome.Attempts > 0 || len(c.outcome.Reasons) > 0 || !c.asked && !c.askToken(c.ctx) {
		return errStop
	}
	req.Header = http.Header{} // an empty one, because http.Client copies what is in it, for redirects
	return nil
}

// attempt makes one attempt.
func (c *call) attempt(req *http.Request) (*http.Response, error) {
	if c.ctx.Err() != nil {
		c.stop(c.ended())
		return nil, errStop
	}
	if c.client.Jar != nil {
		c.hide(req.Cookies())
	}
	c.setHeader(req)
	c.asked, c.next.unsent = false, false
	c.outcome.Attempts++
	c.number.Store(int32(c.before + c.outcome.Attempts)) //nolint:gosec // There are few.
	limit := c.op.MaxBody
	if limit == 0 {
		limit = maxBody
	}
	begun := time.Now()
	result := c.client.Sender.Do(req, limit, c.op.Rule.Repeat == verdict.NotIdempotent)
	c.record(result)
	if c.logs(slog.LevelDebug) {
		c.log(slog.LevelDebug, "flashback: attempt", append(c.described(), slog.Duration("duration", time.Since(begun)))...)
	}
	if result.Err != nil {
		return nil, result.Err // net/http logs a response that comes with an error
	}
	return result.Response, nil
}

// record adds an attempt to what the call knows.
func (c *call) record(r attempt.Result) {
	c.failure, c.outcome.RetryAfter = r.Err, 0
	c.outcome.Sent = c.outcome.Sent || r.Sent
	if c.came = r.At; r.Response != nil {
		if c.op.Rule.Repeat != verdict.Safe {
			c.client.Clock.observe(r.Response.Header, r.At)
		}
		c.hide(r.Response.Cookies())
		c.response = Response{Status: r.Response.StatusCode, Header: r.Response.Header, Body: r.Body, Cut: r.Err != nil}
		c.outcome.Response = &c.response
		c.outcome.RetryAfter = retryAfter(r.Response.Header)
	}
	var a verdict.Attempt
	switch {
	case r.Err == nil:
		a = c.outcome.Response.understand(c.op, c.in).Attempt()
		c.outcome.Found = c.outcome.Response.Found
	case r.TooLarge:
		a = verdict.TooLarge
	case r.Sent:
		a = verdict.Lost
	case r.Hopeless:
		a = verdict.Unsendable
	}
	c.state = c.state.After(a, r.Repeated)
	switch t := c.next.throttle; {
	case c.throttled():
		t.Refused(c.next.pass, c.outcome.RetryAfter)
	case t != nil && c.state.Heard():
		t.Accepted(c.next.pass)
	}
}

// hide keeps cookies from being shown where the server echoes them, but for short ones, which
// may be ordinary words.
func (c *call) hide(cookies []*http.Cookie) {
	for _, cookie := range cookies {
		plain, err := url.QueryUnescape(cookie.Value)
		for _, value := range []string{cookie.Value, plain} {
			if err == nil && len(value) >= 12 {
				c.secrets.AddToken(value)
			}
		}
	}
}

// lookBack reads back what the attempts have done; last tells that no other follows.
func (c *call) lookBack(last bool) {
	read := &call{
		client: c.client, ctx: c.ctx, op: c.op.ReadBack.Op, in: &Input{ID: c.in.ID, Wanted: c.in.Wanted},
		place: place{readBack: true, before: c.outcome.Attempts}, credentials: credentials{secrets: c.secrets},
	}
	read.next.max = max(0, c.next.max-c.outcome.Attempts)
	read.do()
	found := read.outcome
	c.outcome.Attempts += found.Attempts
	c.outcome.Throttled += found.Throttled
	reading := verdict.Unreadable
	switch {
	case read.state.Verdict() == verdict.Success && older(found.Response.Header, c.begun):
		// It tells nothing.
	case read.state.Verdict() == verdict.Success:
		begun := c.client.Clock.at(c.begun, found.Response.Header, read.came)
		reading = c.op.ReadBack.Judge(found.Found, begun, begun.Add(time.Since(c.begun)))
	case c.notFound() && read.notFound():
		reading = verdict.Absent
	}
	c.state = c.state.AfterReadBack(reading)
	switch reading {
	case verdict.Done:
		c.outcome.Response, c.outcome.Found, c.failure = found.Response, found.Found, nil
	case verdict.Unreadable:
		if !last && c.state.Next() == verdict.TryAgain && !slices.ContainsFunc(found.Reasons, Reason.endsAll) {
			break // to repeat the request is harmless
		}
		c.stop(Reason{Why: ReadBackFailed, Text: "the read-back told nothing: " + read.told()})
		for _, reason := range found.Reasons {
			if reason.Why != RateLimited { // which is about the read
				c.stop(reason)
			}
		}
		c.outcome.RetryAfter = max(c.outcome.RetryAfter, found.RetryAfter)
	case verdict.Other:
		c.stop(Reason{Why: ReadBackFailed, Text: "the read-back found something else in its place"})
	case verdict.Unread, verdict.NotDone, verdict.Absent:
	}
}

func (c *call) notFound() bool {
	return c.failure == nil && c.outcome.Response != nil && c.outcome.Response.Status == http.StatusNotFound
}

// told says what came of a read-back.
func (c *call) told() string {
	switch {
	case c.failure != nil:
		return kept(c.secrets, c.failure.Error(), maxKept)
	case c.outcome.Response != nil:
		return fmt.Sprintf("HTTP %d %s", c.outcome.Response.Status, kept(c.secrets, c.outcome.Response.Message, maxKept))
	}
	return "it was not sent"
}

// refused is the key of the token that was refused, in the context of a source.
type refused struct{}

// RefusedToken is the token that a 401 refused, in the context that a source of
// tokens is then asked with; else it is "".
func RefusedToken(ctx context.Context) string {
	if ctx == nil {
		return ""
	}
	if token, ok := ctx.Value(refused{}).(func() string); ok {
		return token()
	}
	return ""
}

// askToken asks for the token of the next attempt.
func (c *call) askToken(ctx context.Context) bool {
	if c.op.Auth == Anonymous {
		return true
	}
	token, err := c.client.Token(ctx)
	if err != nil {
		if c.ctx.Err() != nil {
			c.stop(c.ended()) // the source need not say so
		}
		c.stop(c.foreign(NoToken, attempt.Real(err)))
		return false
	}
	c.token, c.asked = token, true
	c.secrets.AddToken(token)
	return true
}

func (c *call) stop(r Reason) { c.outcome.Reasons = append(c.outcome.Reasons, r) }

// finish makes the outcome, with nothing in it that is secret.
func (c *call) finish() Outcome {
	c.hideTokens() // with those that came since the call began
	o := &c.outcome
	o.Verdict = c.state.Verdict()
	r := o.Response
	switch o.Verdict {
	case verdict.Success, verdict.Recovered:
		r.Message = kept(c.secrets, r.Message, maxKept)
		if c.in.KeepHeader {
			r.Header = c.secrets.Header(r.Header)
		}
	case verdict.Failure, verdict.Unknown:
		if r != nil {
			r.redact(c.op, c.secrets)
		}
		if c.failure != nil && !c.ofContext(c.failure) {
			c.stop(c.foreign(NetworkFailed, c.failure))
		}
		if o.Attempts > 0 {
			o.URL = visible(c.request.URL)
		}
	}
	if o.Verdict == verdict.Recovered {
		c.log(slog.LevelInfo, "flashback: recovered", slog.String("message", r.Message))
	}
	if c.logs(slog.LevelDebug) {
		c.log(slog.LevelDebug, "flashback: call", append(c.described(), slog.Duration("duration", time.Since(c.begun)))...)
	}
	return *o
}

func (c *call) log(level slog.Level, msg string, attrs ...slog.Attr) {
	c.client.LogCall(c.ctx, level, msg, c.op.Name, c.in.ID, c.before+c.outcome.Attempts, attrs...)
}

func (c *call) logs(level slog.Level) bool {
	return c.client.Log != nil && c.client.Log.Enabled(c.ctx, level)
}

// described are the attributes of what came of the last attempt.
func (c *call) described() []slog.Attr {
	switch r := c.outcome.Response; {
	case c.failure != nil:
		return []slog.Attr{slog.String("error", kept(c.secrets, c.failure.Error(), maxLogged))}
	case r != nil:
		attrs := []slog.Attr{slog.Int("status", r.Status)}
		if id := RequestID(r.Header); id != "" {
			attrs = append(attrs, slog.String("request_id", kept(c.secrets, id, maxLogged)))
		}
		return attrs
	}
	return nil // nothing was sent
}

// LogCall logs a record about a call.
func (c *Client) LogCall(ctx context.Context, level slog.Level, msg, op, id string, attempts int, attrs ...slog.Attr) {
	if c.Log == nil {
		return
	}
	c.Log.LogAttrs(ctx, level, msg, append([]slog.Attr{
		slog.String("op", op), slog.String("id", id), slog.Int("attempts", attempts),
	}, attrs...)...)
}
