package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	flashback "github.com/flashbacknetwork/flashback-go"
	"github.com/flashbacknetwork/flashback-go/flashbacktest"
)

// ending is a way for one attempt to fail from which the next can recover.
type ending struct {
	name    string
	fault   flashbacktest.Fault
	refused bool // the connection is: nothing is sent
}

const page = "<html><body>Bad Gateway</body></html>"

var endings = []ending{
	{name: "connection refused", refused: true},
	{name: "dropped", fault: flashbacktest.Drop()},
	{name: "stalled", fault: flashbacktest.Fault{Lose: flashbacktest.Stall}},
	{name: "applied, then cut", fault: flashbacktest.LoseResponse(flashbacktest.CutResponse)},
	{name: "applied, then reset", fault: flashbacktest.LoseResponse(flashbacktest.ResetConnection)},
	{name: "applied, then the body cut", fault: flashbacktest.LoseResponse(flashbacktest.CutBody)},
	{name: "applied, then stalled", fault: flashbacktest.LoseResponse(flashbacktest.Stall)},
	{name: "500", fault: flashbacktest.Respond(500, `{"success":false,"message":"Internal server error"}`)},
	{name: "applied, then 500", fault: flashbacktest.ApplyThenRespond(500, `{"success":false,"message":"Internal server error"}`)},
	{name: "502 with a proxy's page", fault: flashbacktest.Respond(502, page)},
	{name: "503", fault: flashbacktest.Respond(503, "")},
	{name: "429 with Retry-After: 1", fault: flashbacktest.RateLimited(time.Second)},
	{name: "200 with a page", fault: flashbacktest.Respond(200, page)},
	{name: "applied, then 200 with a page", fault: flashbacktest.ApplyThenRespond(200, page)},
	{name: "empty 200", fault: flashbacktest.Respond(200, "")},
	{name: "applied, then an empty 200", fault: flashbacktest.ApplyThenRespond(200, "")},
}

// patience is the caller's own deadline for a call: some of the callers wait for a
// stalled response for ever.
const patience = 5 * time.Minute

// verdicts is what a caller was told in all schedules. The call could succeed in
// each of them.
type verdicts struct {
	calls    int
	requests int
	// wrong: told success, and it did not happen; or told by a 4xx that it did not
	// happen, and it did.
	wrong int
	// givenUp: told any other error.
	givenUp int
	// silent: given up after it had happened, and the error does not say that it may
	// have.
	silent int
}

// theatre is the network and the backend of one call after another.
type theatre struct {
	backend *flashbacktest.Backend

	mu       sync.Mutex
	schedule []ending
	attempts int
}

func (h *theatre) next() (e ending) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.attempts < len(h.schedule) {
		e = h.schedule[h.attempts]
	}
	return e
}

func (h *theatre) attempted() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.attempts++
}

// measureVerdicts plays every schedule of one and two endings, in fake time.
func measureVerdicts(t *testing.T, c caller) (v verdicts, failed error) {
	t.Helper()
	synctest.Test(t, func(*testing.T) {
		h := &theatre{backend: flashbacktest.NewBackend()}
		h.backend.Decide(func(*http.Request) flashbacktest.Fault {
			defer h.attempted()
			return h.next().fault
		})
		network := make(pipes)
		server := &http.Server{Handler: withoutPrefix(h.backend)} //nolint:gosec // No slow client can reach it.
		go func() { _ = server.Serve(network) }()                 // it ends with Close
		defer func() { _ = server.Close() }()
		transport := &http.Transport{
			DisableKeepAlives: true, // every attempt dials
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				if h.next().refused {
					h.attempted()
					return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
				}
				return network.dial(ctx)
			},
		}
		s, err := c.open("http://127.0.0.1", h.backend.Token(), transport)
		if err != nil {
			failed = err
			return
		}
		for _, first := range endings {
			h.play(s, &v, first)
			for _, second := range endings {
				h.play(s, &v, first, second)
			}
		}
	})
	return v, failed
}

// withoutPrefix takes off the path prefix that the GitLab client always sends.
func withoutPrefix(next http.Handler) http.Handler {
	stripped := http.StripPrefix("/api/v4", next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/api/v4/") {
			stripped.ServeHTTP(w, r)
		} else {
			next.ServeHTTP(w, r)
		}
	})
}

func (h *theatre) play(s *session, v *verdicts, schedule ...ending) {
	id := fmt.Sprintf("user-%d", v.calls)
	h.backend.AddDeletedUser(id)
	h.schedule, h.attempts = schedule, 0
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err := s.activate(ctx, id)
	cancel()
	synctest.Wait() // the backend may still be at it
	user, _ := h.backend.User(id)
	acted := !user.Deleted()
	unsaid := acted && !errors.Is(err, flashback.ErrOutcomeUnknown)
	// An attempt after the schedule gets the response of the backend itself, a 400 if
	// an earlier one took effect.
	refusal := h.attempts > len(schedule) || h.attempts > 0 && schedule[h.attempts-1].fault.Status == http.StatusTooManyRequests

	v.calls++
	v.requests += h.attempts
	switch {
	case err == nil && !acted, err != nil && unsaid && refusal:
		v.wrong++
	case err != nil:
		v.givenUp++
		if unsaid {
			v.silent++
		}
	}
}

// outcome is what many calls came to.
type outcome struct {
	requests, lost int
	time           time.Duration
}

// measureCalls makes calls by 32 workers, in fake time. What refuse returns is the
// response to a request, unless it is nil.
func measureCalls(t *testing.T, c caller, calls int, refuse func(request int, req *http.Request) *http.Response) (o outcome, failed error) {
	t.Helper()
	synctest.Test(t, func(*testing.T) {
		var mu sync.Mutex
		s, err := c.open("https://api.example.com", token, memory(func(req *http.Request) *http.Response {
			mu.Lock()
			defer mu.Unlock()
			o.requests++
			if resp := refuse(o.requests, req); resp != nil {
				return resp
			}
			return success(req)
		}))
		if err != nil {
			failed = err
			return
		}
		begun := time.Now()
		_ = each(32, calls, func(int) error {
			err := s.activate(context.Background(), "user-1")
			if err != nil {
				mu.Lock()
				o.lost++
				mu.Unlock()
			}
			return err
		})
		o.time = time.Since(begun)
	})
	return o, failed
}

// isDown is a server that responds with 503, to some or to all.
func isDown(fails func(request int) bool) func(int, *http.Request) *http.Response {
	return func(request int, req *http.Request) *http.Response {
		if !fails(request) {
			return nil
		}
		return respond(req, http.StatusServiceUnavailable, "")
	}
}

const (
	limitRate, limitBurst = 200, 20 // requests a second, and at once
	limitCalls            = 3000
)

// limits is a server that takes so many requests a second; the rest get 429.
func limits() func(int, *http.Request) *http.Response {
	left, last := float64(limitBurst), time.Time{}
	return func(_ int, req *http.Request) *http.Response {
		now := time.Now()
		left = min(limitBurst, left+now.Sub(last).Seconds()*limitRate)
		last = now
		if left >= 1 {
			left--
			return nil
		}
		resp := respond(req, http.StatusTooManyRequests, "")
		resp.Header.Set("Retry-After", "1")
		return resp
	}
}

// oneInFive is the same fifth of the requests for everyone.
func oneInFive(request int) bool {
	return rand.New(rand.NewPCG(uint64(request), 0)).IntN(5) == 0 //nolint:gosec // Dice need no secrecy.
}
