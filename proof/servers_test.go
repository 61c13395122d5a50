package proof_test

import (
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A limit is a server's rate limit. Its methods are not called concurrently.
type limit interface {
	// arrive tells whether a request is accepted now, and if not after how long to come back; 0: it doesn't say.
	arrive(now time.Time) (accepted bool, retryAfter time.Duration)
	// depart tells that a request that was accepted is done.
	depart()
	// ideal is the least time that a number of requests takes from a time on.
	ideal(calls int, from time.Time) time.Duration
	// perSecond is what is accepted a second.
	perSecond() float64
}

// A server responds to requests in memory, within a rate limit. It is an http.RoundTripper.
type server struct {
	limit   limit
	latency time.Duration
	refusal int // its status

	mu        sync.Mutex
	requests  int
	refusedAt []time.Time
}

func (s *server) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		_ = req.Body.Close()
	}
	s.mu.Lock()
	s.requests++
	now := time.Now()
	accepted, retryAfter := s.limit.arrive(now)
	if !accepted {
		s.refusedAt = append(s.refusedAt, now)
	}
	s.mu.Unlock()
	if accepted {
		defer func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.limit.depart()
		}()
	}
	resp := &http.Response{
		StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}, Request: req,
		Body: io.NopCloser(strings.NewReader(`{"success":true}`)),
	}
	if !accepted {
		resp.StatusCode = s.refusal
		resp.Body = io.NopCloser(strings.NewReader(`{"success":false,"message":"slow down"}`))
		if retryAfter > 0 {
			resp.Header.Set("Retry-After", strconv.Itoa(int(math.Ceil(retryAfter.Seconds()))))
		}
	}
	return resp, pause(req.Context(), s.latency)
}

// window accepts so many requests in each period of the clock.
type window struct {
	size   int
	period time.Duration
	tells  bool // how long the period goes on
	begun  time.Time
	taken  int
}

func (w *window) arrive(now time.Time) (bool, time.Duration) {
	if begun := now.Truncate(w.period); !begun.Equal(w.begun) {
		w.begun, w.taken = begun, 0
	}
	if w.taken < w.size {
		w.taken++
		return true, 0
	}
	if w.tells {
		return false, w.begun.Add(w.period).Sub(now)
	}
	return false, 0
}

func (w *window) depart() {}

func (w *window) ideal(calls int, from time.Time) time.Duration {
	return time.Duration((calls-1)/w.size)*w.period - from.Sub(from.Truncate(w.period))
}

func (w *window) perSecond() float64 { return float64(w.size) / w.period.Seconds() }

// bucket is a token bucket. Who finds it empty is told to come back after a fixed time, or when there is a token again.
type bucket struct {
	rate, burst float64
	after       time.Duration // 0: it doesn't say; -1: when there is a token
	blocks      time.Duration // after a refusal it accepts nothing for so long
	extends     bool          // each request in that time begins it anew
	left        float64
	last        time.Time
	blocked     time.Time
}

func (b *bucket) arrive(now time.Time) (bool, time.Duration) {
	if b.last.IsZero() {
		b.left = b.burst
	} else {
		b.left = min(b.burst, b.left+b.rate*now.Sub(b.last).Seconds())
	}
	b.last = now
	if now.Before(b.blocked) {
		if b.extends {
			b.blocked = now.Add(b.blocks)
		}
		return false, b.blocked.Sub(now)
	}
	if b.left >= 1-1e-9 {
		b.left--
		return true, 0
	}
	switch {
	case b.blocks > 0:
		b.blocked = now.Add(b.blocks)
		return false, b.blocks
	case b.after < 0:
		return false, time.Duration((1 - b.left) / b.rate * float64(time.Second))
	default:
		return false, b.after
	}
}

func (b *bucket) depart() {}

func (b *bucket) ideal(calls int, _ time.Time) time.Duration {
	return time.Duration((float64(calls) - b.burst) / b.rate * float64(time.Second))
}

func (b *bucket) perSecond() float64 { return b.rate }

// inFlight accepts so many requests at a time.
type inFlight struct {
	most    int
	latency time.Duration
	now     int
}

func (f *inFlight) arrive(time.Time) (bool, time.Duration) {
	if f.now == f.most {
		return false, 0
	}
	f.now++
	return true, 0
}

func (f *inFlight) depart() { f.now-- }

func (f *inFlight) ideal(calls int, _ time.Time) time.Duration {
	return time.Duration(float64(calls) / f.perSecond() * float64(time.Second))
}

func (f *inFlight) perSecond() float64 { return float64(f.most) / f.latency.Seconds() }
