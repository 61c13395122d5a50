package flashback

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-retryablehttp"
)

// callKey is the key of the call in the context of its requests.
type callKey struct{}

func callOf(ctx context.Context) *call {
	c, _ := ctx.Value(callKey{}).(*call)
	return c
}

// newRetrier makes the loop over the attempts, which asks the call what to do.
func (c *Client) newRetrier() *retryablehttp.Client {
	return &retryablehttp.Client{
		HTTPClient: &http.Client{
			Transport:     callTransport{},
			Jar:           c.jar,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		RetryMax: math.MaxInt, // CheckRetry alone decides
		CheckRetry: func(ctx context.Context, _ *http.Response, _ error) (bool, error) {
			return callOf(ctx).checkRetry(), nil
		},
		Backoff:      func(_, _ time.Duration, _ int, _ *http.Response) time.Duration { return 0 }, // it can't ask which call waits: prepare waits
		PrepareRetry: func(req *http.Request) error { return callOf(req.Context()).prepare(req) },
	}
}

// checkRetry decides whether there is another attempt, and after which wait.
func (c *call) checkRetry() bool {
	c.waiting = c.stop == nil && c.mayRetry()
	if c.waiting {
		c.retries++
		c.logRetry()
	}
	return c.waiting
}

// sleep waits, and fails if the context ends before.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return contextError(ctx)
	}
}

func (c *call) mayRetry() bool {
	switch c.then {
	case giveUp, done, wasNotNeeded:
		return false
	case renewToken:
		if !c.client.tokenRotates || c.renewed {
			return false
		}
	case tryAgain:
	}
	deadline, bounded := c.ctx.Deadline()
	switch {
	case c.ctx.Err() != nil:
		c.stop = contextError(c.ctx)
		return false
	case bounded && time.Until(deadline) <= 0:
		c.stop = context.DeadlineExceeded // the connection's timer was ahead of the context's
		return false
	case c.attempts+c.looks > c.maxRetries:
		return false
	case c.unsure && c.op.repeat == once && c.op.look == nil:
		return false
	}
	if c.then == renewToken {
		token, err := c.askToken()
		if err != nil || token == c.token {
			return false
		}
		c.use(token)
		c.renewed, c.wait = true, 0
	} else if c.wait, c.stop = c.nextWait(); c.stop != nil {
		return false
	}
	if bounded && time.Until(deadline) <= c.wait {
		c.stop = fmt.Errorf("the next attempt, in %v, would come after the deadline: %w", c.wait.Round(time.Millisecond), context.DeadlineExceeded)
		return false
	}
	if !c.client.budget.take() {
		c.stop = ErrRetryBudget
		return false
	}
	return true
}

// nextWait is the server's Retry-After, or else the client's own backoff.
func (c *call) nextWait() (time.Duration, error) {
	if c.last.answer != nil {
		if asked := retryAfter(c.last.answer.header); asked > c.client.maxRetryAfter {
			return 0, fmt.Errorf("the server asks to wait %v and the client waits at most %v", asked, c.client.maxRetryAfter)
		} else if asked > 0 {
			return asked, nil
		}
	}
	return c.client.backoff(c.attempts), nil
}

// retryAfter is the wait that an answer asks for, or 0 if it asks for none: a
// missing, malformed, negative or past Retry-After.
func retryAfter(h http.Header) time.Duration {
	value := strings.TrimSpace(h.Get("Retry-After"))
	if value == "" {
		return 0
	}
	if isDigits(value) {
		seconds, err := strconv.ParseInt(value, 10, 64)
		if err != nil || seconds > math.MaxInt64/int64(time.Second) {
			return math.MaxInt64
		}
		return time.Duration(seconds) * time.Second
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	now := time.Now()
	if sent, err := http.ParseTime(h.Get("Date")); err == nil {
		now = sent // by the server's own clock, which ours may not agree with
	}
	return max(0, at.Sub(now))
}

func isDigits(s string) bool { return strings.Trim(s, "0123456789") == "" }

// backoff is the wait before a retry, the first being 1.
func (c *Client) backoff(retry int) time.Duration {
	limit := c.backoffBase
	for ; retry > 1 && limit < c.backoffMax; retry-- {
		limit += min(limit, c.backoffMax-limit) // doubled, without overflowing
	}
	return limit - rand.N(limit/2+1) //nolint:gosec // Jitter needs no secrecy.
}

// budget is the client's bucket of retries.
type budget struct {
	mu         sync.Mutex
	unlimited  bool
	size, left int64 // in tenths of a retry
}

const retryTenths = 10

func newBudget(n int) *budget {
	size := min(int64(n), math.MaxInt64/retryTenths) * retryTenths
	return &budget{unlimited: n < 0, size: size, left: size}
}

// take takes one retry out and tells whether there was one.
func (b *budget) take() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.unlimited {
		return true
	}
	if b.left < retryTenths {
		return false
	}
	b.left -= retryTenths
	return true
}

// giveBack puts tenths of a retry back.
func (b *budget) giveBack(tenths int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left += min(tenths, b.size-b.left) // and not the sum first, which may overflow
}
