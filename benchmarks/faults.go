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

// withoutEmpty are the endings without an empty 200, which is what some platforms
// respond where all went well.
var withoutEmpty = endings[:len(endings)-2]

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
	add     func(id string) // a user who is not active
	active  func(id string) bool

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

// newTheatre returns a theatre and the server in it.
func newTheatre(a *api) (*theatre, http.Handler) {
	h := &theatre{backend: flashbacktest.NewBackend()}
	if a == nil {
		h.add = h.backend.AddDeletedUser
		h.active = func(id string) bool {
			user, _ := h.backend.User(id)
			return !user.Deleted()
		}
		return h, withoutPrefix(h.backend)
	}
	users := &directory{api: a, active: map[string]bool{}}
	h.add, h.active = func(string) {}, users.isActive
	return h, users.serve(h.backend)
}

// measureVerdicts plays every schedule of one and two endings, in fake time. The
// calls on another platform have a client each: AWS's has 500 tokens for all its
// retries, of which 35 failures in a row leave none.
func measureVerdicts(t *testing.T, c caller, endings []ending) (v verdicts, failed error) {
	t.Helper()
	failed = c.fakeTime(t, func(open opener) error {
		h, handler := newTheatre(c.api)
		h.backend.Decide(func(*http.Request) flashbacktest.Fault {
			defer h.attempted()
			fault := h.next().fault
			if c.api != nil {
				fault = c.api.fault(fault)
			}
			fault.Delay = latency // no response is there before its request has been written
			return fault
		})
		network := make(pipes)
		server := &http.Server{Handler: handler}  //nolint:gosec // No slow client can reach it.
		go func() { _ = server.Serve(network) }() // it ends with Close
		defer func() { _ = server.Close() }()
		dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
			if h.next().refused {
				h.attempted()
				return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
			}
			return network.dial(ctx)
		}
		// Every attempt dials.
		transport := &http.Transport{DisableKeepAlives: true, DialContext: dial, DialTLSContext: dial}
		bearer := token
		if c.api == nil {
			bearer = h.backend.Token()
		}
		s, err := open(anyHost, bearer, transport)
		if err != nil {
			return err
		}
		for _, schedule := range schedules(endings) {
			if c.api != nil {
				if s, err = open(anyHost, bearer, transport); err != nil {
					return err
				}
			}
			h.play(s, &v, schedule)
		}
		return nil
	})
	return v, failed
}

// schedules are all sequences of one and two endings.
func schedules(endings []ending) (all [][]ending) {
	for _, first := range endings {
		all = append(all, []ending{first})
		for _, second := range endings {
			all = append(all, []ending{first, second})
		}
	}
	return all
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

func (h *theatre) play(s *session, v *verdicts, schedule []ending) {
	id := fmt.Sprintf("user-%d", v.calls)
	h.add(id)
	h.schedule, h.attempts = schedule, 0
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err := s.activate(ctx, id)
	cancel()
	synctest.Wait() // the backend may still be at it
	acted := h.active(id)
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

// latency is how long a response takes to come: long enough for a crowd to send more
// before the first refusal is there.
const latency = 20 * time.Millisecond

// measureCalls makes calls by workers, in fake time unless the caller can't.
func measureCalls(t *testing.T, c caller, workers, calls int, refuse refuse) (o outcome, failed error) {
	t.Helper()
	failed = c.fakeTime(t, func(open opener) error {
		var mu sync.Mutex
		s, err := open(anyHost, token, memory(func(req *http.Request) *http.Response {
			mu.Lock()
			o.requests++
			refused := refuse(o.requests)
			mu.Unlock()
			resp := refused.by(&c, req)
			<-time.After(latency)
			return resp
		}))
		if err != nil {
			return err
		}
		begun := time.Now()
		_ = each(workers, calls, func(int) error {
			err := s.activate(context.Background(), "user-1")
			if err != nil {
				mu.Lock()
				o.lost++
				mu.Unlock()
			}
			return err
		})
		o.time = time.Since(begun)
		return nil
	})
	return o, failed
}

// refuse tells how a request is refused.
type refuse = func(request int) refusal

// refusal is why a request is refused. The zero refusal is none.
type refusal struct {
	down    bool          // with a 503
	tooMany time.Duration // until when it is one too many
}

func (r refusal) by(c *caller, req *http.Request) *http.Response {
	switch {
	case r.down:
		return respond(req, http.StatusServiceUnavailable, "")
	case r.tooMany > 0:
		return c.limited(req, r.tooMany)
	}
	return c.success(req)
}

// isDown is a server that responds with 503, to some or to all.
func isDown(fails func(request int) bool) refuse {
	return func(request int) refusal { return refusal{down: fails(request)} }
}

// limited is a server with a rate limit, and the calls that are made to it.
type limited struct {
	name, what     string
	workers, calls int
	best           time.Duration // the least time in which all can succeed
	limit          func() refuse
}

var limiteds = []limited{
	{"bucket", "200 a second", 32, 3000, 14900 * time.Millisecond, func() refuse { return bucket(200, 20) }},
	{"crowd", "200 a second", 500, 500, 2400 * time.Millisecond, func() refuse { return bucket(200, 20) }},
	{"minute", "60 a minute", 64, 600, 9 * time.Minute, func() refuse { return window(60, time.Minute) }},
}

// bucket takes so many requests a second, and some at once; the rest get 429.
func bucket(rate, burst float64) refuse {
	left, last := burst, time.Time{}
	return func(int) refusal {
		now := time.Now()
		left = min(burst, left+now.Sub(last).Seconds()*rate)
		last = now
		if left >= 1 {
			left--
			return refusal{}
		}
		return refusal{tooMany: time.Second}
	}
}

// window takes so many requests in each period of the clock; the rest get 429.
func window(size int, period time.Duration) refuse {
	var begun time.Time
	taken := 0
	return func(int) refusal {
		now := time.Now()
		if start := now.Truncate(period); !start.Equal(begun) {
			begun, taken = start, 0
		}
		if taken++; taken <= size {
			return refusal{}
		}
		return refusal{tooMany: begun.Add(period).Sub(now)}
	}
}

// oneInFive is the same fifth of the requests for everyone.
func oneInFive(request int) bool {
	return rand.New(rand.NewPCG(uint64(request), 0)).IntN(5) == 0 //nolint:gosec // Dice need no secrecy.
}
