package proof_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-retryablehttp"
	"github.com/stretchr/testify/assert"

	"github.com/flashbacknetwork/flashback-go"
)

// A response is what a server does with a request.
type response struct {
	status     int // 0: 200
	retryAfter int
	after      time.Duration // the response comes
	err        error         // in its place
}

// A responder decides what comes of a request that comes at a time after the start. It is not called concurrently.
type responder func(at time.Duration) response

// simulated plays a responder.
type simulated struct {
	response responder

	mu       sync.Mutex
	begun    time.Time
	requests []time.Duration
}

func (b *simulated) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		_ = req.Body.Close()
	}
	b.mu.Lock()
	at := time.Since(b.begun)
	b.requests = append(b.requests, at)
	r := b.response(at)
	b.mu.Unlock()
	if err := pause(req.Context(), r.after); err != nil {
		return nil, err
	}
	if r.err != nil {
		return nil, r.err
	}
	resp := &http.Response{
		StatusCode: r.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}, Request: req,
		Body: io.NopCloser(strings.NewReader(`{"success":true}`)),
	}
	if r.retryAfter > 0 {
		resp.Header.Set("Retry-After", strconv.Itoa(r.retryAfter))
	}
	if resp.StatusCode == 0 {
		resp.StatusCode = http.StatusOK
	} else {
		resp.Body = io.NopCloser(strings.NewReader(`<html>no</html>`))
	}
	return resp, nil
}

// A situation is calls of a crowd of workers to a server that is limited, or fails.
type situation struct {
	name           string
	server         func() responder
	clients        int // 0: one
	workers, calls int
	ideal          time.Duration
	end            time.Duration // of the outage
	over           float64       // times the ideal at most; 0: it is but measured
	mayLose        int
	opts           []flashback.Option
}

// A sum is what came of a situation.
type sum struct {
	lost, unknown int
	notSent       int
	requests      int
	inOutage      int
	took          time.Duration
	fairness      float64
}

func (r sum) String() string {
	return fmt.Sprintf("lost %4d unknown %4d unsent %4d requests %5d in outage %4d %8.2fs fair %.2f", r.lost, r.unknown, r.notSent, r.requests, r.inOutage, r.took.Seconds(), r.fairness)
}

func (s situation) play(t *testing.T, of func(http.RoundTripper, ...flashback.Option) client) (r sum) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &simulated{response: s.server(), begun: time.Now()}
		clients := max(1, s.clients)
		var mu sync.Mutex
		var all sync.WaitGroup
		first := time.Duration(1 << 62)
		for range clients {
			all.Go(func() {
				c := of(b, s.opts...)
				work(t.Context(), s.workers, s.calls/clients, func(ctx context.Context) error {
					err := c.call(ctx)
					mu.Lock()
					defer mu.Unlock()
					if err != nil {
						r.lost++
					}
					if errors.Is(err, flashback.ErrOutcomeUnknown) {
						r.unknown++
					}
					if errors.Is(err, flashback.ErrNotSent) {
						r.notSent++
					}
					return err
				})
				mu.Lock()
				first = min(first, time.Since(b.begun))
				mu.Unlock()
			})
		}
		all.Wait()
		r.took = time.Since(b.begun)
		r.fairness = first.Seconds() / r.took.Seconds()
		r.requests = len(b.requests)
		for _, at := range b.requests {
			if at < s.end {
				r.inOutage++
			}
		}
	})
	return r
}

func ofSDK(rt http.RoundTripper, opts ...flashback.Option) client { return newSDK(rt, opts...) }

func ofInvitations(rt http.RoundTripper, opts ...flashback.Option) client {
	return invitations(newSDK(rt, opts...))
}

// plain is go-retryablehttp at its defaults.
type plain struct{ client *retryablehttp.Client }

func ofPlain(rt http.RoundTripper, _ ...flashback.Option) client {
	c := retryablehttp.NewClient()
	c.Logger, c.HTTPClient = nil, &http.Client{Transport: rt}
	return plain{c}
}

func (p plain) call(ctx context.Context) error {
	req, err := retryablehttp.NewRequestWithContext(ctx, http.MethodPost, "http://server/", nil)
	if err != nil {
		return err
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	if resp.StatusCode != http.StatusOK {
		return errGivenUp
	}
	return err
}

// limitReq is nginx's limit_req.
func limitReq(rate, burst float64, nodelay bool, status int, latency time.Duration) func() responder {
	return func() responder {
		excess, last := 0.0, time.Duration(-1)
		return func(at time.Duration) response {
			now := 0.0
			if last >= 0 {
				now = max(0, excess-rate*(at-last).Seconds()+1)
			}
			if now > burst {
				return response{status: status, after: latency}
			}
			excess, last = now, at
			if nodelay {
				return response{after: latency}
			}
			return response{after: latency + time.Duration(excess/rate*float64(time.Second))}
		}
	}
}

// fixedWindow begins a window with the first request after the last window, as express-rate-limit does for a client.
func fixedWindow(size int, period, latency time.Duration) func() responder {
	return func() responder {
		end, taken := time.Duration(-1), 0
		return func(at time.Duration) response {
			if at >= end {
				end, taken = at+period, 0
			}
			if taken++; taken > size {
				return response{status: 429, retryAfter: int((end - at + time.Second - 1) / time.Second), after: latency}
			}
			return response{after: latency}
		}
	}
}

func fixedWindows(size int, period, latency time.Duration) func() responder {
	return func() responder {
		limit := window{size: size, period: period, tells: true}
		base := time.Unix(1e9, 0).Truncate(period)
		return func(at time.Duration) response {
			if ok, after := limit.arrive(base.Add(at)); !ok {
				return response{status: 429, retryAfter: int((after + time.Second - 1) / time.Second), after: latency}
			}
			return response{after: latency}
		}
	}
}

func tokenBucket(rate, burst float64, after, status int, latency time.Duration) func() responder {
	return func() responder {
		limit := bucket{rate: rate, burst: burst, after: time.Duration(after) * time.Second}
		return func(at time.Duration) response {
			if ok, _ := limit.arrive(time.Unix(1e9, 0).Add(at)); !ok {
				return response{status: status, retryAfter: after, after: latency}
			}
			return response{after: latency}
		}
	}
}

func downUntil(end time.Duration, down response, latency time.Duration) func() responder {
	return func() responder {
		return func(at time.Duration) response {
			if at < end {
				return down
			}
			return response{after: latency}
		}
	}
}

func share(p float64, bad response, latency time.Duration) func() responder {
	return func() responder {
		return func(time.Duration) response {
			if rand.Float64() < p {
				return bad
			}
			return response{after: latency}
		}
	}
}

// inFlightAtOnce serves some requests at once and refuses the others.
func inFlightAtOnce(most int, latency time.Duration, statuses ...int) func() responder {
	return func() responder {
		var ends []time.Duration
		return func(at time.Duration) response {
			kept := ends[:0]
			for _, e := range ends {
				if e > at {
					kept = append(kept, e)
				}
			}
			ends = kept
			if len(ends) >= most {
				return response{status: statuses[rand.N(len(statuses))], after: 2 * time.Millisecond}
			}
			ends = append(ends, at+latency)
			return response{after: latency}
		}
	}
}

func eachTenth(status int) func() responder {
	return func() responder {
		n := 0
		return func(time.Duration) response {
			if n++; n%10 != 0 {
				return response{status: status, after: 5 * time.Millisecond}
			}
			return response{after: 5 * time.Millisecond}
		}
	}
}

func changing(at time.Duration, before, after func() responder) func() responder {
	return func() responder {
		a, b := before(), after()
		return func(now time.Duration) response {
			if now < at {
				return a(now)
			}
			return b(now)
		}
	}
}

func situations() (list []situation) {
	const ms = time.Millisecond
	for _, workers := range []int{16, 64, 256} {
		list = append(list,
			situation{name: "nginx nodelay 503", server: limitReq(200, 20, true, 503, 5*ms), workers: workers, calls: 3000, ideal: 15 * time.Second, over: 1.15},
			situation{name: "nginx 503", server: limitReq(200, 20, false, 503, 5*ms), workers: workers, calls: 3000, ideal: 15 * time.Second, over: 1.15},
			situation{name: "nginx nodelay 429", server: limitReq(200, 20, true, 429, 5*ms), workers: workers, calls: 3000, ideal: 15 * time.Second, over: 1.15},
			situation{name: "express 200 in 1 s", server: fixedWindow(200, time.Second, 5*ms), workers: workers, calls: 3000, ideal: 14 * time.Second, over: 1.15},
			situation{name: "express 1000 in 10 s", server: fixedWindow(1000, 10*time.Second, 5*ms), workers: workers, calls: 3000, ideal: 20 * time.Second, over: 1.15},
			situation{name: "bucket 200/s Retry-After 1", server: tokenBucket(200, 20, 1, 429, 5*ms), workers: workers, calls: 3000, ideal: 15 * time.Second, over: 1.25},
			situation{name: "20 at once, else 5xx", server: inFlightAtOnce(20, 20*ms, 500, 502, 503, 504), workers: workers, calls: 4000, ideal: 4 * time.Second, over: 1.3},
			situation{name: "one of four dead 502", server: share(.25, response{status: 502, after: 2 * ms}, 20*ms), workers: workers, calls: 4000, ideal: 4000 * 20 * ms / time.Duration(workers)},
		)
	}
	for _, each := range []struct {
		retryAfter int
		share      float64
	}{{5, .002}, {5, .01}, {5, .05}, {1, .002}, {1, .01}, {1, .05}} {
		list = append(list, situation{name: fmt.Sprintf("H: %.1f %% 503, Retry-After %d", each.share*100, each.retryAfter), workers: 64, calls: 4000,
			server: share(each.share, response{status: 503, retryAfter: each.retryAfter, after: 20 * ms}, 20*ms), ideal: 4000 * 20 * ms / 64})
	}
	list = append(list,
		situation{name: "503 to all for 10 s", server: downUntil(10*time.Second, response{status: 503, after: 20 * ms}, 20*ms), workers: 64, calls: 4000, ideal: 11250 * ms, end: 10 * time.Second, over: 1.35},
		situation{name: "503 to all for 60 s", server: downUntil(60*time.Second, response{status: 503, after: 20 * ms}, 20*ms), workers: 64, calls: 4000, ideal: 61250 * ms, end: 60 * time.Second, opts: []flashback.Option{flashback.WithOutageWait(2 * time.Minute)}, over: 1.35},
		situation{name: "429 to all for 60 s", server: downUntil(60*time.Second, response{status: 429, after: 20 * ms}, 20*ms), workers: 64, calls: 4000, ideal: 61250 * ms, end: 60 * time.Second, over: 1.35},
		situation{name: "each tenth accepted, 503", server: eachTenth(503), workers: 64, calls: 400, ideal: time.Second},
		situation{name: "each tenth accepted, 429", server: eachTenth(429), workers: 64, calls: 400, ideal: time.Second},
		situation{name: "one of ten accepted, 503", server: share(.9, response{status: 503, after: 20 * ms}, 20*ms), workers: 64, calls: 400, ideal: time.Second},
		situation{name: "one of ten accepted, 429", server: share(.9, response{status: 429, after: 20 * ms}, 20*ms), workers: 64, calls: 400, ideal: time.Second},
		situation{name: "nginx falls to a tenth", server: changing(5*time.Second, limitReq(1000, 20, true, 503, 5*ms), limitReq(100, 20, true, 503, 5*ms)), workers: 64, calls: 6000, ideal: 15 * time.Second, over: 1.35},
		situation{name: "nginx rises tenfold", server: changing(10*time.Second, limitReq(100, 20, true, 503, 5*ms), limitReq(1000, 20, true, 503, 5*ms)), workers: 64, calls: 11000, ideal: 20 * time.Second, over: 1.1},
		situation{name: "bucket falls to a tenth", server: changing(5*time.Second, tokenBucket(1000, 100, 1, 429, 5*ms), tokenBucket(100, 10, 1, 429, 5*ms)), workers: 64, calls: 6000, ideal: 15 * time.Second},
		situation{name: "bucket rises tenfold", server: changing(10*time.Second, tokenBucket(100, 10, 1, 429, 5*ms), tokenBucket(1000, 100, 1, 429, 5*ms)), workers: 64, calls: 11000, ideal: 20 * time.Second},
		situation{name: "window falls to a tenth", server: changing(5*time.Second, fixedWindow(1000, time.Second, 5*ms), fixedWindow(100, time.Second, 5*ms)), workers: 64, calls: 6000, ideal: 15 * time.Second, over: 1.15},
		situation{name: "window rises tenfold", server: changing(10*time.Second, fixedWindow(100, time.Second, 5*ms), fixedWindow(1000, time.Second, 5*ms)), workers: 64, calls: 11000, ideal: 20 * time.Second, over: 1.15},
		situation{name: "window of the clock", server: fixedWindows(200, time.Second, 5*ms), workers: 64, calls: 3000, ideal: 14 * time.Second, over: 1.15},
		situation{name: "8 clients, nginx 503", clients: 8, server: limitReq(200, 20, true, 503, 5*ms), workers: 8, calls: 3000, ideal: 15 * time.Second},
		situation{name: "8 clients, nginx 429", clients: 8, server: limitReq(200, 20, true, 429, 5*ms), workers: 8, calls: 3000, ideal: 15 * time.Second},
		situation{name: "8 clients, express", clients: 8, server: fixedWindow(200, time.Second, 5*ms), workers: 8, calls: 3000, ideal: 14 * time.Second, over: 1.15},
	)
	for _, kind := range []struct {
		name     string
		response response
	}{
		{"refused", response{err: syscall.ECONNREFUSED, after: ms}},
		{"reset", response{err: syscall.ECONNRESET, after: 20 * ms}},
		{"hanging", response{after: time.Hour}},
		{"502", response{status: 502, after: 20 * ms}},
		{"503 Retry-After 5", response{status: 503, retryAfter: 5, after: 20 * ms}},
		{"503 Retry-After 30", response{status: 503, retryAfter: 30, after: 20 * ms}},
	} {
		for _, seconds := range []int{3, 10, 29, 120} {
			end := time.Duration(seconds) * time.Second
			list = append(list, situation{name: fmt.Sprintf("outage of %d s, %s", seconds, kind.name), server: downUntil(end, kind.response, 20*ms),
				workers: 64, calls: 4000, ideal: end + 1250*ms, end: end})
		}
	}
	return list
}

// TestTheGate plays crowds at the limiters and in the outages that servers really have. The control is go-retryablehttp.
func TestTheGate(t *testing.T) {
	t.Parallel()
	for _, s := range situations() {
		t.Run(fmt.Sprintf("%s ×%d", s.name, s.workers), func(t *testing.T) {
			t.Parallel()
			over := func(r sum) float64 { return r.took.Seconds() / s.ideal.Seconds() }
			sdk := s.play(t, ofSDK)
			t.Logf("%-28s ×%-4d SDK   %5.2f %v", s.name, s.workers, over(sdk), sdk)
			if s.over > 0 {
				assert.LessOrEqual(t, over(sdk), s.over, "times the ideal")
				assert.LessOrEqual(t, sdk.lost, s.mayLose, "lost")
			}
			if s.end > 0 {
				assert.LessOrEqual(t, sdk.inOutage, s.workers+int(4*s.end.Seconds()), "a handful of requests in a second")
			}
			if testing.Short() {
				return
			}
			control := s.play(t, ofPlain)
			t.Logf("%-28s ×%-4d plain %5.2f %v", s.name, s.workers, over(control), control)
			once := s.play(t, ofInvitations)
			t.Logf("%-28s ×%-4d once  %5.2f %v", s.name, s.workers, over(once), once)
		})
	}
}

// TestADeadServer has ten calls begin in each second for eleven minutes, none of which can end well.
func TestADeadServer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := &simulated{response: downUntil(time.Hour, response{status: 502, after: 20 * time.Millisecond}, 0)(), begun: time.Now()}
		c := newSDK(b)
		var mu sync.Mutex
		longest := map[int]time.Duration{}
		succeeded := 0
		var all sync.WaitGroup
		const calls = 11 * 600
		for i := range calls {
			all.Go(func() {
				begun := time.Now()
				err := c.call(t.Context())
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					succeeded++
				}
				longest[i/600] = max(longest[i/600], time.Since(begun))
			})
			<-time.After(100 * time.Millisecond)
		}
		all.Wait()
		t.Logf("%.3f requests a call, the longest call of the first minute %v, of the tenth %v", float64(len(b.requests))/calls, longest[0], longest[9])
		assert.Zero(t, succeeded)
		assert.Less(t, len(b.requests), 11*60, "a request every second or less")
		assert.LessOrEqual(t, longest[0], 45*time.Second)
		assert.LessOrEqual(t, longest[9], time.Second)
	})
}
