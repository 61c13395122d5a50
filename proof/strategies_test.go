package proof_test

import (
	"cmp"
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/flashbacknetwork/flashback-go"
	"github.com/flashbacknetwork/flashback-go/internal/throttle"
)

// A client makes calls in its own way. It is used by many at once.
type client interface {
	call(ctx context.Context) error
}

// A strategy makes a client of a server.
type strategy func(transport http.RoundTripper) client

var (
	errGivenUp = errors.New("five attempts were refused")
	errClosed  = errors.New("the server asks for a long wait")
)

const (
	attempts = 5
	most     = time.Minute
)

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// send sends one request, and tells whether it was refused and the Retry-After.
func send(ctx context.Context, transport http.RoundTripper) (refused bool, retryAfter time.Duration, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://server/", nil)
	if err != nil {
		return false, 0, err
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return false, 0, err
	}
	defer resp.Body.Close()
	seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
	return resp.StatusCode != http.StatusOK, time.Duration(seconds) * time.Second, nil
}

// backoff is the wait after a number of refusals.
func backoff(refusals int) time.Duration {
	d := min(250*time.Millisecond<<(refusals-1), 8*time.Second)
	return d/2 + rand.N(d/2+1)
}

// throttled uses this module's package.
type throttled struct {
	transport http.RoundTripper
	gate      *throttle.Gate
}

func (c *throttled) call(ctx context.Context) error {
	var position throttle.Position
	limits := throttle.Limits{FirstWait: 250 * time.Millisecond, MaxRetryAfter: most, OutageWait: 30 * time.Second}
	for n := 0; n < attempts; {
		ticket, err := c.gate.Wait(ctx, &position, limits)
		if err != nil {
			return err
		}
		refused, retryAfter, err := send(ctx, c.transport)
		if err != nil {
			return err
		}
		outcome := throttle.Outcome{Result: throttle.Accepted, RetryAfter: retryAfter}
		if refused {
			outcome.Result = throttle.RateLimited
		}
		held := c.gate.Done(ticket, outcome)
		if !refused {
			return nil
		}
		if !held {
			n++
			if retryAfter > most {
				return errClosed
			}
			if err := pause(ctx, cmp.Or(retryAfter, backoff(n))); err != nil {
				return err
			}
		}
	}
	return errGivenUp
}

// sdkClient is the client that this module is.
type sdkClient struct{ *flashback.Client }

func newSDK(transport http.RoundTripper, opts ...flashback.Option) sdkClient {
	c, err := flashback.NewClient("token", append(opts, flashback.WithHTTPClient(&http.Client{Transport: transport}))...)
	if err != nil {
		panic(err)
	}
	return sdkClient{c}
}

func (c sdkClient) call(ctx context.Context) error {
	_, err := c.Organization.Users.Activate(ctx, "user-1")
	return err
}

// unpaced calls obey the Retry-After each for itself.
type unpaced struct{ transport http.RoundTripper }

func (c *unpaced) call(ctx context.Context) error {
	for n := 1; ; n++ {
		refused, retryAfter, err := send(ctx, c.transport)
		switch {
		case err != nil || !refused:
			return err
		case n == attempts:
			return errGivenUp
		case retryAfter > most:
			return errClosed
		case retryAfter == 0:
			retryAfter = backoff(n)
		}
		if err := pause(ctx, retryAfter); err != nil {
			return err
		}
	}
}

// gated calls share one wait, and are let go at once after it.
type gated struct {
	transport http.RoundTripper
	mu        sync.Mutex
	open      time.Time
	row       int
}

func (c *gated) call(ctx context.Context) error {
	for range attempts {
		for {
			c.mu.Lock()
			wait := time.Until(c.open)
			c.mu.Unlock()
			if wait > most {
				return errClosed
			}
			if wait <= 0 {
				break
			}
			if err := pause(ctx, wait); err != nil {
				return err
			}
		}
		sent := time.Now()
		refused, retryAfter, err := send(ctx, c.transport)
		if err != nil {
			return err
		}
		c.mu.Lock()
		if !refused {
			c.row = 0
			c.mu.Unlock()
			return nil
		}
		if sent.After(c.open) || c.row == 0 {
			c.row++
		}
		if retryAfter == 0 {
			retryAfter = backoff(min(c.row, 10))
		}
		if open := time.Now().Add(retryAfter); open.After(c.open) {
			c.open = open
		}
		c.mu.Unlock()
	}
	return errGivenUp
}

// spaced calls go out at a rate that is known.
type spaced struct {
	transport http.RoundTripper
	interval  time.Duration
	burst     int
	mu        sync.Mutex
	next      time.Time
}

func (c *spaced) call(ctx context.Context) error {
	for n := 1; n <= attempts; n++ {
		c.mu.Lock()
		now := time.Now()
		if c.next.IsZero() {
			c.next = now.Add(-time.Duration(c.burst-1) * c.interval)
		}
		wait := c.next.Sub(now)
		c.next = c.next.Add(c.interval)
		c.mu.Unlock()
		if err := pause(ctx, wait); err != nil {
			return err
		}
		if refused, _, err := send(ctx, c.transport); err != nil || !refused {
			return err
		}
	}
	return errGivenUp
}

// adaptive calls do as AWS's SDKs do in their adaptive mode: a token bucket whose rate follows a cubic curve after each
// refusal. Beyond that they obey a Retry-After each for itself.
type adaptive struct {
	transport http.RoundTripper
	mu        sync.Mutex
	enabled   bool
	fill      float64 // tokens a second
	most      float64
	tokens    float64
	filled    time.Time
	measured  float64 // requests a second
	count     float64
	bucket    float64 // the half second of the last measurement
	lastMost  float64
	throttled time.Time
}

func (c *adaptive) call(ctx context.Context) error {
	for n := 1; ; n++ {
		for {
			wait := c.acquire(time.Now())
			if wait == 0 {
				break
			}
			if err := pause(ctx, wait); err != nil {
				return err
			}
		}
		refused, retryAfter, err := send(ctx, c.transport)
		if err != nil {
			return err
		}
		c.update(time.Now(), refused)
		switch {
		case !refused:
			return nil
		case n == attempts:
			return errGivenUp
		case retryAfter > most:
			return errClosed
		}
		if err := pause(ctx, max(retryAfter, backoff(n))); err != nil {
			return err
		}
	}
}

func (c *adaptive) acquire(now time.Time) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.enabled {
		return 0
	}
	c.refill(now)
	if c.tokens < 1 {
		return time.Duration((1-c.tokens)/c.fill*float64(time.Second)) + 1
	}
	c.tokens--
	return 0
}

func (c *adaptive) refill(now time.Time) {
	if !c.filled.IsZero() {
		c.tokens = min(c.most, c.tokens+c.fill*now.Sub(c.filled).Seconds())
	}
	c.filled = now
}

func (c *adaptive) update(now time.Time, refused bool) {
	const beta, scale, smooth = 0.7, 0.4, 0.8
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count++
	if bucket := math.Floor(float64(now.UnixMilli())/500) / 2; bucket > c.bucket {
		c.measured = c.count/(bucket-c.bucket)*smooth + c.measured*(1-smooth)
		c.count, c.bucket = 0, bucket
	}
	var rate float64
	if refused {
		rate = c.measured
		if c.enabled {
			rate = min(rate, c.fill)
		}
		c.lastMost, c.throttled, c.enabled = rate, now, true
		rate *= beta
	} else {
		after := now.Sub(c.throttled).Seconds() - math.Cbrt(c.lastMost*(1-beta)/scale)
		rate = scale*after*after*after + c.lastMost
	}
	c.refill(now)
	c.fill = max(0.5, min(rate, 2*c.measured))
	c.most = max(1, c.fill)
	c.tokens = min(c.tokens, c.most)
}
