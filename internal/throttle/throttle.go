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
	quiet   = time.Minute      // without a call that had to wait, after which nothing is throttled
	atLeast = 30 * time.Second // in which nothing is accepted, before a call gives up that may wait for less
)

// A Gate holds the requests of one operation, or lets them out. Its zero value is open. A nil Gate is always open. It must
// not be copied.
type Gate struct {
	calls atomic.Uint64 // so far
	state atomic.Uint64 // twice the epoch, and 1 more unless all requests may go out

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
	accepted uint64 // responses of the operation when its last attempt ended
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

// A Decision is what a call does after an attempt that was not accepted.
type Decision struct {
	Held    bool          // the gate holds the call: it needs no wait of its own before it asks for its turn again
	Counted bool          // the attempt is one of those that the call may make
	For     time.Duration // until the gate lets requests out again
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
		p.order = g.calls.Add(1)
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

// Done tells what came of the request that a Ticket was for.
func (g *Gate) Done(t Ticket, o Outcome) Decision {
	if g == nil {
		return Decision{Counted: true}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	now, p, before := g.look(), t.position, g.law
	progress := p.tried && p.accepted != before.history.accepted
	held := g.law.after(event{
		Outcome: o, now: now, epoch: t.epoch, sent: t.sent, waited: t.waited, again: p.tried && !progress,
		firstWait: t.limits.FirstWait, random: rand.Float64(), //nolint:gosec // Jitter needs no secrecy.
	})
	p.tried, p.accepted = true, g.law.history.accepted
	if o.Result != Accepted && o.Result != Unknown {
		g.cause = o
	}
	if after := &g.law; after.epoch != before.epoch || after.state != before.state || after.refusals != before.refusals || after.until != before.until {
		g.changed()
	}
	return Decision{
		Held: held, Counted: !held || !progress || g.law.state == Outage, For: max(0, g.law.until.Sub(now)),
	}
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
		if i == 0 || g.closedFor(w) != nil {
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
	if g.law.state == Outage {
		wait = min(wait, w.limits.OutageWait-now.Sub(g.law.since))
	}
	return Ticket{}, wait, nil
}

// closedFor is the error of a call that would wait too long, or nil.
func (g *Gate) closedFor(w *waiter) error {
	now, l := g.now, &g.law
	left, asked, age := l.until.Sub(now), max(0, l.asked.Sub(now)), now.Sub(l.since)
	err := &ClosedError{State: l.state, Since: age, Cause: g.cause, For: max(0, left), Asked: asked}
	switch {
	case l.state == Outage && age >= w.limits.OutageWait:
		return err
	case left <= 0:
		return nil
	case !w.deadline.IsZero() && !l.until.Before(w.deadline):
		err.Deadline = true
		return err
	case asked > w.limits.MaxRetryAfter:
		return err
	case l.state == Load && asked == 0 && l.refusals > 0 && min(age, now.Sub(w.position.since)) > max(2*w.limits.MaxRetryAfter, atLeast):
		return err // nothing was accepted for so long
	}
	return nil
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
	return g.law.state == Open && g.law.cubic.rate == 0 && h.failures == 0 && h.errors == 0 && !h.errorIsLoad
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
	g.law = law{epoch: g.law.epoch, history: history{accepted: g.law.history.accepted}}
	g.busy = time.Time{}
	g.changed()
}
