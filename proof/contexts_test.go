package proof_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	flashback "github.com/flashbacknetwork/flashback-go"
	"github.com/flashbacknetwork/flashback-go/flashbacktest"
)

// ending is a way for one attempt to end, after which another may help.
type ending struct {
	name   string
	fault  flashbacktest.Fault
	noConn bool // there is no connection: nothing is sent
}

func (e ending) cutsBody() bool { return strings.Contains(e.name, "body") }

var endings = []ending{
	{name: "no connection", noConn: true},
	{name: "dropped", fault: flashbacktest.Drop()},
	{name: "reset", fault: flashbacktest.Fault{Lose: flashbacktest.ResetConnection}},
	{name: "stalled", fault: flashbacktest.Fault{Lose: flashbacktest.Stall}},
	{name: "applied, cut", fault: flashbacktest.LoseResponse(flashbacktest.CutResponse)},
	{name: "applied, body cut", fault: flashbacktest.LoseResponse(flashbacktest.CutBody)},
	{name: "applied, reset", fault: flashbacktest.LoseResponse(flashbacktest.ResetConnection)},
	{name: "applied, stalled", fault: flashbacktest.LoseResponse(flashbacktest.Stall)},
	{name: "applied, body stalled", fault: flashbacktest.LoseResponse(flashbacktest.StallBody)},
	{name: "applied, 500", fault: flashbacktest.ApplyThenRespond(500, `{"success":false,"message":"Internal server error"}`)},
	{name: "applied, 200 with a page", fault: flashbacktest.ApplyThenRespond(200, "<html>")},
	{name: "503", fault: flashbacktest.Respond(503, "")},
	{name: "425", fault: flashbacktest.Respond(425, "")},
	{name: "429", fault: flashbacktest.RateLimited(time.Second)},
}

// instant is a point of a call at which the caller's context ends.
type instant struct {
	at      point
	attempt int // from 0
}

type point string

const (
	beforeTheCall  point = "before the call"
	duringTheDial  point = "during the dial"
	uponReceipt    point = "upon receipt" // by the server, which goes on
	awaitingIt     point = "while the response is awaited"
	beforeTheRetry point = "before the retry"
)

// scene is the network of one call: it gives each attempt its ending, and the caller's
// context its end.
type scene struct {
	endings []ending
	end     instant
	cancel  context.CancelFunc

	mu       sync.Mutex
	attempts int // begun and, with a connection, received
	sent     bool
	ended    bool // the context
}

func (s *scene) reach(at point, attempt int) bool {
	if s.end != (instant{at, attempt}) {
		return false
	}
	s.ended = true
	s.cancel()
	return true
}

func (s *scene) next() ending {
	if s.attempts < len(s.endings) {
		return s.endings[s.attempts]
	}
	return ending{}
}

// dial begins an attempt.
func (s *scene) dial() (noConn, ended bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ended = s.reach(duringTheDial, s.attempts)
	if noConn = s.next().noConn; noConn {
		s.attempts++
	}
	return noConn, ended
}

// receive is the attempt at the backend.
func (s *scene) receive() flashbacktest.Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	fault, attempt := s.next().fault, s.attempts
	s.reach(uponReceipt, attempt)
	if s.end == (instant{awaitingIt, attempt}) {
		fault.Delay = time.Hour
		time.AfterFunc(time.Millisecond, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.reach(awaitingIt, attempt)
		})
	}
	s.sent = true
	s.attempts++
	return fault
}

// Enabled, Handle, WithAttrs and WithGroup make a scene a slog.Handler, which learns
// that a call is about to wait.
func (*scene) Enabled(context.Context, slog.Level) bool { return true }

func (s *scene) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "flashback: retrying" {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.reach(beforeTheRetry, s.attempts-1)
	}
	return nil
}

func (s *scene) WithAttrs([]slog.Attr) slog.Handler { return s }
func (s *scene) WithGroup(string) slog.Handler      { return s }

// theater plays scenes, one at a time.
type theater struct {
	backend   *flashbacktest.Backend
	transport *http.Transport
	scene     atomic.Pointer[scene]
	calls     int
}

func newTheater(t *testing.T) *theater {
	t.Helper()
	backend, transport := inMemory(t)
	h := &theater{backend: backend, transport: transport}
	connect := transport.DialContext
	transport.DisableKeepAlives = true // so that every attempt dials
	transport.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		switch noConn, ended := h.scene.Load().dial(); {
		case noConn:
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
		case ended: // a connection that comes at the same moment may or may not be written to
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return connect(ctx, network, addr)
	}
	backend.Decide(func(*http.Request) flashbacktest.Fault { return h.scene.Load().receive() })
	return h
}

// report is what a caller is told.
type report struct {
	err      error
	unknown  bool
	attempts int // -1 if it isn't told
}

// play plays a scene to a caller, and returns what is wrong with what that is told.
func (h *theater) play(deleted bool, played []ending, end instant, call func(context.Context, *scene, string) report) error {
	h.calls++
	id := fmt.Sprintf("user-%d", h.calls)
	if h.backend.AddDeletedUser(id); !deleted {
		h.backend.AddUser(flashbacktest.User{ID: id})
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s := &scene{endings: played, end: end, cancel: cancel}
	h.scene.Store(s)
	s.reach(beforeTheCall, 0)
	got := call(ctx, s, id)
	synctest.Wait() // the backend may still be at it
	user, _ := h.backend.User(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.check(got, !user.Deleted(), deleted && !user.Deleted()) // nobody else activates this user
}

// check compares what the caller was told with what happened.
func (s *scene) check(got report, active, applied bool) error {
	definite := got.err != nil && !got.unknown
	switch {
	case got.err == nil && !active:
		return errors.New("a success, and the user is not active")
	case definite && applied:
		return fmt.Errorf("a definite failure, and it was applied: %w", got.err)
	case got.unknown && !s.sent:
		return fmt.Errorf("an unknown outcome, and nothing was sent: %w", got.err)
	case got.attempts >= 0 && got.attempts != s.attempts && (s.end.at != duringTheDial || got.attempts != s.attempts+1):
		return fmt.Errorf("%d attempts, and there were %d: %w", got.attempts, s.attempts, got.err)
	case !s.ended:
		return errors.New("the context was to end")
	case got.err != nil && !errors.Is(got.err, context.Canceled) && !errors.Is(got.err, flashback.ErrUserNotDeleted):
		return fmt.Errorf("the context ended, and the error does not say so: %w", got.err)
	case errors.Is(got.err, context.DeadlineExceeded):
		return fmt.Errorf("a deadline that the caller has not: %w", got.err)
	}
	return nil
}

// activate is a caller with the package under test.
func (h *theater) activate(ctx context.Context, s *scene, id string) report {
	client, err := flashback.NewClient(h.backend.Token(),
		flashback.WithHTTPClient(&http.Client{Transport: h.transport}),
		flashback.WithBaseURL("http://127.0.0.1"),
		flashback.WithLogger(slog.New(s)))
	if err != nil {
		return report{err: err}
	}
	got, err := client.Organization.Users.Activate(ctx, id)
	if e, ok := errors.AsType[*flashback.Error](err); ok {
		return report{err: err, unknown: e.OutcomeUnknown, attempts: e.Attempts}
	}
	return report{err: err, attempts: got.Attempts}
}

// byHand is a caller to whom each error is a failure.
func (h *theater) byHand(ctx context.Context, s *scene, id string) report {
	hc := &http.Client{Transport: h.transport, Timeout: 30 * time.Second}
	var err error
	for range 4 {
		if _, err = byHand(ctx, hc, "http://127.0.0.1", h.backend.Token(), id); err == nil {
			break
		}
		_ = s.Handle(ctx, slog.Record{Message: "flashback: retrying"})
	}
	return report{err: err, attempts: -1}
}

// TestEveryMomentOfAContext ends the caller's context at each point of every sequence of
// up to two endings, over connections. What would come after that point does not matter.
func TestEveryMomentOfAContext(t *testing.T) {
	t.Parallel()
	var naive atomic.Int64
	t.Run("beginning with", func(t *testing.T) {
		for _, first := range endings {
			t.Run(first.name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					h := newTheater(t)
					sequences := [][]ending{{first}}
					if !testing.Short() && !raceEnabled {
						for _, second := range endings {
							sequences = append(sequences, []ending{first, second})
						}
					}
					for _, played := range sequences {
						last := len(played) - 1
						ends := []instant{{beforeTheRetry, last}, {duringTheDial, last + 1}, {duringTheDial, 0}, {beforeTheCall, 0}}
						if !played[last].noConn {
							ends = append(ends, instant{uponReceipt, last}, instant{awaitingIt, last})
						}
						for _, end := range ends {
							for _, deleted := range []bool{true, false} {
								if !deleted && slices.ContainsFunc(played, ending.cutsBody) || slices.ContainsFunc(played[1:], ending.cutsBody) {
									continue // a 400 without its body is final, of a user who is active: nothing comes after it
								}
								err := h.play(deleted, played, end, h.activate)
								require.NoError(t, err, "%v, context %+v, deleted %v", names(played), end, deleted)
								if h.play(deleted, played, end, h.byHand) != nil {
									naive.Add(1)
								}
							}
						}
					}
				})
			})
		}
	})
	assert.Positive(t, naive.Load(), "a test that finds no fault with the control finds none at all")
	t.Logf("wrong by hand: %d", naive.Load())
}

func names(played []ending) string {
	all := slices.Collect(func(yield func(string) bool) {
		for _, e := range played {
			if !yield(e.name) {
				return
			}
		}
	})
	return strings.Join(all, ", then ")
}
