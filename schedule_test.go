package flashback_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-retryablehttp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	flashback "github.com/flashbacknetwork/flashback-go"
	"github.com/flashbacknetwork/flashback-go/flashbacktest"
)

// ending is a way for one attempt to end.
type ending struct {
	name    string
	fault   flashbacktest.Fault
	refused bool // the connection is: nothing is sent
	lost    bool // the client can't tell whether the attempt took effect
	final   bool // repeating does not help
}

func (e ending) String() string { return e.name }

const (
	page      = "<html><body>502 Bad Gateway</body></html>"
	halfJSON  = `{"success":true,"mess`
	errorJSON = `{"success":false,"message":"Internal server error"}`
)

var endings = []ending{
	{name: "refused", refused: true},
	{name: "dropped", fault: flashbacktest.Drop(), lost: true},
	{name: "reset", fault: flashbacktest.Fault{Lose: flashbacktest.ResetConnection}, lost: true},
	{name: "stalled", fault: flashbacktest.Fault{Lose: flashbacktest.Stall}, lost: true},
	{name: "acted, cut", fault: flashbacktest.LoseResponse(flashbacktest.CutResponse), lost: true},
	{name: "acted, body cut", fault: flashbacktest.LoseResponse(flashbacktest.CutBody), lost: true},
	{name: "acted, reset", fault: flashbacktest.LoseResponse(flashbacktest.ResetConnection), lost: true},
	{name: "acted, stalled", fault: flashbacktest.LoseResponse(flashbacktest.Stall), lost: true},
	{name: "acted, body stalled", fault: flashbacktest.LoseResponse(flashbacktest.StallBody), lost: true},
	{name: "408", fault: flashbacktest.Respond(408, ""), lost: true},
	{name: "500", fault: flashbacktest.Respond(500, errorJSON), lost: true},
	{name: "acted, 500", fault: flashbacktest.ApplyThenRespond(500, errorJSON), lost: true},
	{name: "502 page", fault: flashbacktest.Respond(502, page), lost: true},
	{name: "acted, 502 page", fault: flashbacktest.ApplyThenRespond(502, page), lost: true},
	{name: "503", fault: flashbacktest.Respond(503, ""), lost: true},
	{name: "425", fault: flashbacktest.Respond(425, "")},
	{name: "429", fault: flashbacktest.RateLimited(time.Second)},
	{name: "200 page", fault: flashbacktest.Respond(200, page), lost: true},
	{name: "acted, 200 page", fault: flashbacktest.ApplyThenRespond(200, page), lost: true},
	{name: "200 empty", fault: flashbacktest.Respond(200, ""), lost: true},
	{name: "acted, 200 empty", fault: flashbacktest.ApplyThenRespond(200, ""), lost: true},
	{name: "acted, 200 half", fault: flashbacktest.ApplyThenRespond(200, halfJSON), lost: true},
	{name: "403", fault: flashbacktest.Respond(403, `{"success":false,"message":"Insufficient permissions to activate users"}`), final: true},
	{name: "404 page", fault: flashbacktest.Respond(404, page), final: true},
	{name: "redirect", fault: flashbacktest.Fault{Status: 302, Header: http.Header{"Location": {"/elsewhere"}}}, final: true},
	{name: "200 that says false", fault: flashbacktest.Respond(200, `{"success":false,"message":"No"}`), final: true},
	{name: "501", fault: flashbacktest.Respond(501, ""), final: true},
}

// moment is a point of a call at which the caller's context ends.
type moment struct {
	stage   stage
	attempt int // from 0
}

type stage int

const (
	never stage = iota
	beforeTheCall
	dialing
	received // by the server, which goes on to act
	answering
	waiting // for the attempt after
)

// play is the network and the backend of one call: it gives each attempt its
// ending, and the caller's context its end.
type play struct {
	id       string
	schedule []ending
	end      moment
	cancel   context.CancelFunc
	ended    bool // the context did, before the call returned

	mu       sync.Mutex
	attempts int  // begun and, unless refused, received
	sent     bool // one was received
}

// dial begins an attempt.
func (p *play) dial() (refused, ended bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reach(dialing, p.attempts)
	ended = p.end == moment{dialing, p.attempts}
	refused = p.next().refused
	if refused {
		p.attempts++
	}
	return refused, ended
}

// receive is the attempt at the backend.
func (p *play) receive() flashbacktest.Fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	fault := p.next().fault
	p.reach(received, p.attempts)
	if p.end == (moment{answering, p.attempts}) {
		time.AfterFunc(time.Millisecond, p.cancel)
		fault.Delay = time.Hour
	}
	p.sent = true
	p.attempts++
	return fault
}

// wait is what comes after an attempt.
func (p *play) wait() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reach(waiting, p.attempts-1)
}

func (p *play) reach(s stage, attempt int) {
	if p.end == (moment{s, attempt}) {
		p.cancel()
	}
}

func (p *play) next() ending {
	if p.attempts < len(p.schedule) {
		return p.schedule[p.attempts]
	}
	return ending{name: "clean"}
}

// theatre plays schedules, one call at a time.
type theatre struct {
	backend   *flashbacktest.Backend
	transport *http.Transport
	client    *flashback.Client
	naive     *http.Client
	play      *play
	calls     int
}

func newTheatre(t *testing.T) *theatre {
	t.Helper()
	backend, transport, network := bubbleBackend(t)
	h := &theatre{backend: backend, transport: transport}
	transport.DisableKeepAlives = true // so that every attempt dials
	transport.DialContext = func(ctx context.Context, net, addr string) (net.Conn, error) {
		refused, ended := h.play.dial()
		switch {
		case refused:
			return nil, &netOpError
		case ended: // a connection that comes at the same moment may or may not be written to
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return network.DialContext(ctx, net, addr)
	}
	backend.Decide(func(*http.Request) flashbacktest.Fault {
		return h.play.receive()
	})
	var err error
	h.client, err = flashback.NewClient(backend.Token(),
		flashback.WithHTTPClient(&http.Client{Transport: transport}),
		flashback.WithBaseURL("http://127.0.0.1"),
		flashback.WithRetryBudget(-1),
		flashback.WithLogger(slog.New(onRetry(func() { h.play.wait() }))))
	require.NoError(t, err)
	naive := retryablehttp.NewClient()
	naive.Logger = nil
	naive.HTTPClient = &http.Client{Transport: transport, Timeout: 30 * time.Second}
	h.naive = naive.StandardClient()
	return h
}

var netOpError = net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}

// onRetry is a slog.Handler that is called when a wait begins.
type onRetry func()

func (onRetry) Enabled(context.Context, slog.Level) bool { return true }
func (f onRetry) Handle(_ context.Context, r slog.Record) error {
	if strings.Contains(r.Message, "retrying") {
		f()
	}
	return nil
}
func (f onRetry) WithAttrs([]slog.Attr) slog.Handler { return f }
func (f onRetry) WithGroup(string) slog.Handler      { return f }

// call plays one schedule: act makes the call, and acted tells whether it took
// effect on the backend.
func (h *theatre) call(deleted bool, schedule []ending, end moment, act func(ctx context.Context, id string)) (p *play, active, acted bool) {
	p = h.stage(schedule, end, func(id string) {
		if h.backend.AddDeletedUser(id); !deleted {
			h.backend.AddUser(flashbacktest.User{ID: id})
		}
	}, act)
	user, _ := h.backend.User(p.id)
	return p, !user.Deleted(), deleted && !user.Deleted() // nobody else activates this user
}

// stage plays one schedule of a call about an ID of its own.
func (h *theatre) stage(schedule []ending, end moment, prepare func(id string), act func(ctx context.Context, id string)) *play {
	h.calls++
	id := fmt.Sprintf("user-%d", h.calls)
	prepare(id)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	p := &play{id: id, schedule: schedule, end: end, cancel: cancel}
	h.play = p
	p.reach(beforeTheCall, 0)
	act(ctx, id)
	p.ended = ctx.Err() != nil
	synctest.Wait() // the backend may still be at it
	return p
}

// schedules calls f with each sequence of up to depth endings that begins with
// first. Nothing comes after an ending that is final.
func schedules(first ending, depth int, f func([]ending)) {
	var extend func(s []ending)
	extend = func(s []ending) {
		f(s)
		if len(s) == depth || s[len(s)-1].final {
			return
		}
		for _, e := range endings {
			extend(append(slices.Clip(s), e))
		}
	}
	extend([]ending{first})
}

// check compares what the caller was told with what happened.
func check(deleted bool, p *play, active, acted bool, got *flashback.Activation, err error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	lost, final := p.saw()
	if err == nil {
		switch {
		case !active:
			return errors.New("success, and the user is not active")
		case got.Recovered && !lost:
			return errors.New("recovered, and no answer was lost")
		case !got.Recovered && !acted:
			return errors.New("success, and the call did nothing")
		case got.Attempts != p.attempts:
			return fmt.Errorf("%d attempts, and there were %d", got.Attempts, p.attempts)
		}
		return nil
	}
	var e *flashback.Error
	if !errors.As(err, &e) {
		return fmt.Errorf("not an *Error: %w", err)
	}
	switch {
	case errors.Is(err, flashback.ErrOutcomeUnknown) != e.OutcomeUnknown:
		return errors.New("ErrOutcomeUnknown and OutcomeUnknown differ")
	case !e.OutcomeUnknown && acted:
		return errors.New("a definite failure, and the call took effect")
	case e.OutcomeUnknown && !p.sent:
		return errors.New("an unknown outcome, and nothing was sent")
	case e.OutcomeUnknown && !lost && !p.ended:
		return errors.New("an unknown outcome, and no answer was lost")
	case errors.Is(err, flashback.ErrUserNotDeleted) && (deleted || lost):
		return errors.New("user not deleted, and that is not what the call found")
	case !p.ended && !final && !errors.Is(err, flashback.ErrUserNotDeleted):
		return fmt.Errorf("given up where it could succeed: %w", err)
	case p.ended && !final && !errors.Is(err, context.Canceled) && !errors.Is(err, flashback.ErrUserNotDeleted):
		return fmt.Errorf("the context ended, and the error does not say so: %w", err)
	case e.Attempts > p.attempts+1, e.Attempts < p.attempts: // an attempt may end while it dials
		return fmt.Errorf("%d attempts, and there were %d", e.Attempts, p.attempts)
	}
	return nil
}

// saw tells what endings the call has met. The mutex is held.
func (p *play) saw() (lost, final bool) {
	for _, e := range p.schedule[:min(p.attempts, len(p.schedule))] {
		lost, final = lost || e.lost, final || e.final
	}
	return lost, final
}

// naively makes the call with retryablehttp's defaults.
func (h *theatre) naively(ctx context.Context, id string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://127.0.0.1/organization/users/"+id+"/activate", nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+h.backend.Token())
	resp, err := h.naive.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	var envelope struct{ Success bool }
	if err := json.Unmarshal(body, &envelope); err != nil {
		return err
	}
	if !envelope.Success {
		return fmt.Errorf("HTTP %d: %s", resp.StatusCode, body)
	}
	return nil
}

// counts is what came of many schedules.
type counts struct{ calls, wrong, givenUp int }

// TestEverySchedule plays every sequence of up to three endings, to a deleted and
// to an active user, and compares what the caller is told with what happened. The
// control is retryablehttp with its defaults, which must be found wrong.
func TestEverySchedule(t *testing.T) {
	t.Parallel()
	type result struct{ sdk, control counts }
	results := make(chan result, len(endings))
	t.Run("beginning with", func(t *testing.T) {
		for _, first := range endings {
			t.Run(first.name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					var r result
					h := newTheatre(t)
					schedules(first, depthOfSchedules(), func(s []ending) {
						for _, deleted := range []bool{true, false} {
							r.sdk.add(h.checked(t, deleted, s, moment{}))
							r.control.add(h.control(deleted, s))
						}
					})
					results <- r
				})
			})
		}
	})
	close(results)
	var total result
	for r := range results {
		total.sdk.add(r.sdk)
		total.control.add(r.control)
	}
	t.Logf("this SDK: %+v", total.sdk)
	t.Logf("control:  %+v", total.control)
	assert.Zero(t, total.sdk.wrong)
	assert.Greater(t, total.control.wrong, total.control.calls/10, "a test that finds no fault with the control finds none at all")
}

// TestEveryMomentOfAContext ends the caller's context at each point of every
// sequence of up to three endings. What would come after that point does not
// matter, so each sequence is played up to its last attempt, or to the dialing of
// the one after it.
func TestEveryMomentOfAContext(t *testing.T) {
	t.Parallel()
	for _, first := range endings {
		t.Run(first.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := newTheatre(t)
				schedules(first, depthOfSchedules(), func(s []ending) {
					last := len(s) - 1
					for _, end := range []moment{{beforeTheCall, 0}, {received, last}, {answering, last}, {waiting, last}, {dialing, last + 1}} {
						if end.stage == beforeTheCall && last > 0 {
							continue
						}
						for _, deleted := range []bool{true, false} {
							h.checked(t, deleted, s, end)
						}
					}
				})
				for _, deleted := range []bool{true, false} {
					h.checked(t, deleted, nil, moment{dialing, 0})
				}
			})
		})
	}
}

func depthOfSchedules() int {
	if testing.Short() || raceEnabled {
		return 2
	}
	return 3
}

func (c *counts) add(other counts) {
	c.calls += other.calls
	c.wrong += other.wrong
	c.givenUp += other.givenUp
}

// checked plays a schedule to this SDK.
func (h *theatre) checked(t *testing.T, deleted bool, s []ending, end moment) counts {
	t.Helper()
	var got *flashback.Activation
	var err error
	p, active, acted := h.call(deleted, s, end, func(ctx context.Context, id string) {
		got, err = h.client.Organization.Users.Activate(ctx, id)
	})
	if wrong := check(deleted, p, active, acted, got, err); wrong != nil {
		t.Errorf("%v, context %+v, deleted %v: %v; told %+v, %v", s, end, deleted, wrong, got, err)
		return counts{calls: 1, wrong: 1}
	}
	return counts{calls: 1}
}

// control plays a schedule to retryablehttp's defaults.
func (h *theatre) control(deleted bool, s []ending) counts {
	var err error
	_, active, acted := h.call(deleted, s, moment{}, func(ctx context.Context, id string) {
		err = h.naively(ctx, id)
	})
	c := counts{calls: 1}
	switch {
	case err == nil && !active, err != nil && acted:
		c.wrong = 1
	case err != nil && deleted && !s[len(s)-1].final:
		c.givenUp = 1
	}
	return c
}
