// Package throttle is the gate of an operation: it says when the operation's next request may go out, as a rate
// limiter and a circuit breaker in one.
//
// The law is what it decides by: a value without clock, lock or request. The gate has a lock, a clock, and the queue of
// the calls that wait.
package throttle

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	quiet    = time.Minute      // without a call that had to wait, after which nothing is throttled
	mostHeld = 100              // refusals of a call that do not count: it may be this very request that the server refuses
	atLeast  = 30 * time.Second // in which nothing is accepted, before a call gives up that may wait for less
)

// A Gate holds the requests of one operation, or lets them out. Its zero value is open. A nil Gate is always open. It must
// not be copied.
type Gate struct {
	calls    atomic.Uint64 // so far
	accepted atomic.Uint64 // responses so far
	state    atomic.Uint64 // twice the epoch, and 1 more unless all requests may go out

	mu    sync.Mutex
	law   law
	cause Outcome // the last that was not accepted
	queue []*waiter
	now   time.Time // the last time that it looked at the clock
	busy  time.Time // the last time that a call had to wait

	opened uint64 // the epoch in which the gate opened
}

// Limits are what the options of a call's client say.
type Limits struct {
	FirstWait     time.Duration // after a refusal without a Retry-After, or before the first probe in an outage
	MaxRetryAfter time.Duration // the longest Retry-After that the call waits for
	OutageWait    time.Duration // how old an outage may be in which the call waits
}

// A Position is a call's place in the queue. Its zero value is a new call's; a call keeps its Position for all its
// attempts, so that one that was refused goes on before those that came later.
type Position struct {
	order    uint64    // in which calls came, from 1
	since    time.Time // it waits
	epoch    uint64    // in which its last request was sent
	tried    bool
	held     int    // how often Done has returned true
	accepted uint64 // responses of the operation when the call came, or its last attempt ended
}

// A Ticket is what Wait gives for one request, and Done takes.
type Ticket struct {
	position *Position
	limits   Limits
	epoch    uint64
	sent     time.Time
	waited   bool
}

// An Outcome is what came of an attempt.
type Outcome struct {
	Result     Result
	RetryAfter time.Duration // 0: none
	Status     int           // of the response, if one came
	Err        error         // of the connection, if none came
}

// A ClosedError tells that a request did not go out.
type ClosedError struct {
	State    State         // Load or Outage
	Since    time.Duration // how long the gate has been closed
	Cause    Outcome       // what closed it
	For      time.Duration // until a request may go out
	Asked    time.Duration // of it, by the server
	Deadline bool          // the context's deadline would pass
	Err      error         // of the context, if it ended in the queue
}

func (e *ClosedError) Error() string {
	if e.Err != nil {
		return "in the queue of a rate limit: " + e.Err.Error()
	}
	return fmt.Sprintf("no request for %v more", e.For)
}

func (e *ClosedError) Unwrap() error { return e.Err }

// Wait returns when the call may send its next request. Done must be told what came of it. Wait fails with a *ClosedError
// if the request may not go out for longer than limits or the deadline of ctx allow, as soon as that is certain, or if ctx
// ends meanwhile; and with the error of ctx if it had ended before.
func (g *Gate) Wait(ctx context.Context, p *Position, limits Limits) (Ticket, error) {
	if err := ctx.Err(); err != nil || g == nil {
		return Ticket{}, err
	}
	if p.order == 0 {
		p.order, p.accepted = g.calls.Add(1), g.accepted.Load()
	}
	if state := g.state.Load(); state&1 == 0 {
		p.epoch = state >> 1
		return Ticket{position: p, limits: limits, epoch: state >> 1, sent: time.Now()}, nil
	}
	w := &waiter{position: p, limits: limits, wake: make(chan struct{}, 1)}
	w.deadline, _ = ctx.Deadline()
	g.enter(w)
	defer g.leave(w)
	for {
		ticket, wait, err := g.ask(w)
		if err != nil {
			return Ticket{}, err
		}
		if wait == 0 {
			return ticket, nil
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-w.wake:
		case <-ctx.Done():
			err = g.canceled(ctx.Err())
		}
		if timer.Stop(); err != nil {
			return Ticket{}, err
		}
	}
}

// Done tells what came of the request that a Ticket was for. It returns whether the gate holds the call: the server
// refused the request for load, and accepts others meanwhile. Then the attempt does not count as one of the call's, and the
// call needs no wait of its own before it asks for its turn again.
func (g *Gate) Done(t Ticket, o Outcome) (held bool) {
	if g == nil {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	now, p, before := g.look(), t.position, g.law
	progress := p.accepted != g.accepted.Load()
	load := g.law.after(event{
		Outcome: o, now: now, epoch: t.epoch, sent: t.sent, waited: t.waited, retry: p.tried, again: p.tried && !progress,
		firstWait: t.limits.FirstWait, random: rand.Float64(), //nolint:gosec // Jitter needs no secrecy.
	})
	if o.Result == Accepted {
		g.accepted.Add(1)
	} else if o.Result != Unknown {
		g.cause = o
	}
	p.tried, p.accepted = true, g.accepted.Load()
	if after := &g.law; after.epoch != before.epoch || after.state != before.state || after.refusals != before.refusals || !after.until.Equal(before.until) {
		g.changed()
	}
	if held = load && progress && p.held < mostHeld; held {
		p.held++
	}
	return held
}

// ClosedFor returns how long no request goes out.
func (g *Gate) ClosedFor() time.Duration {
	if g == nil {
		return 0
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return max(0, g.law.until.Sub(g.look()))
}

// changed lets those look who may be concerned.
func (g *Gate) changed() {
	state := g.law.epoch << 1
	if g.law.state != Open {
		state |= 1
	}
	g.state.Store(state)
	g.busy = later(g.busy, g.law.until)
	if g.law.refusals == 0 { // those who probed in vain are in their places again
		g.opened = g.law.epoch
		for _, w := range g.queue {
			w.probed = 0
		}
		slices.SortFunc(g.queue, before)
	}
	for i, w := range g.queue {
		if closed, _ := g.tooLong(w); closed || i == 0 {
			w.wakeUp()
		}
	}
}

// ask gives a call its ticket if it is its turn. Otherwise it tells after how long to ask again.
func (g *Gate) ask(w *waiter) (Ticket, time.Duration, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now, first := g.look(), g.queue[0] == w
	wait := g.law.due(w.limits.OutageWait).Sub(now)
	if first && wait <= 0 {
		g.law.send(now)
		g.remove(w)
		w.position.epoch = g.law.epoch
		return Ticket{w.position, w.limits, g.law.epoch, now, w.waited}, 0, nil
	}
	if closed := g.closedFor(w); closed != nil {
		return Ticket{}, 0, closed
	}
	w.waited, g.busy = true, now
	if !first {
		wait = quiet // the one before it wakes it
	}
	if left := w.limits.OutageWait - now.Sub(g.law.since); g.law.state == Outage && left > 0 {
		wait = min(wait, left)
	}
	return Ticket{}, wait, nil
}

// closedFor is the error of a call that would wait too long, or nil.
func (g *Gate) closedFor(w *waiter) error {
	if closed, deadline := g.tooLong(w); closed {
		l := &g.law
		return &ClosedError{
			State: l.state, Since: g.now.Sub(l.since), Cause: g.cause,
			For: max(0, l.until.Sub(g.now)), Asked: max(0, l.asked.Sub(g.now)), Deadline: deadline,
		}
	}
	return nil
}

// tooLong tells whether a call would wait longer than it may, and whether that is because of its deadline.
func (g *Gate) tooLong(w *waiter) (closed, deadline bool) {
	l, age := &g.law, g.now.Sub(g.law.since)
	switch {
	case l.outlasts(w.limits.OutageWait, g.now):
		return true, false
	case !l.until.After(g.now):
		return false, false
	case !w.deadline.IsZero() && !l.until.Before(w.deadline):
		return true, true
	case l.asked.After(g.now):
		return l.asked.Sub(g.now) > w.limits.MaxRetryAfter, false
	}
	// Nothing was accepted for so long.
	return l.state == Load && l.refusals > 0 && min(age, g.now.Sub(w.position.since)) > max(2*w.limits.MaxRetryAfter, atLeast), false
}

// canceled is the error of a call whose context ended in the queue.
func (g *Gate) canceled(err error) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return &ClosedError{State: g.law.state, Since: g.look().Sub(g.law.since), Cause: g.cause, Err: err}
}

// IsLikeNew tells whether a new gate would do the same: this one is open, and remembers neither a failure nor a limit.
func (g *Gate) IsLikeNew() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	h := &g.law.history
	return g.law.state == Open && g.law.cubic.rate == 0 && h.failures == 0 && !h.errorIsLoad
}

// look is the time. One that goes back is another clock's, as in a test with fake time: what was learned is void.
func (g *Gate) look() time.Time {
	now := time.Now()
	if now.Before(g.now) {
		g.forget()
	}
	g.now = now
	return now
}

// forget starts anew.
func (g *Gate) forget() {
	g.law = law{epoch: g.law.epoch}
	g.busy = time.Time{}
	g.changed()
}
