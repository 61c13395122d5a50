// Package throttle knows rate limits: when may the next request of one operation go out?
//
// Nothing is throttled until the server refuses a request. A refusal closes a gate for all calls of the operation,
// until the server's Retry-After is over or, without one, for a wait that doubles with each refusal in a row. Then one
// request probes. If it is accepted, the others follow in the order in which their calls came, at a rate that is
// found as congestion control finds it.
package throttle

import (
	"container/heap"
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

const (
	shortest  = time.Millisecond // wait without a Retry-After
	longest   = 64 * time.Second // a wait without a Retry-After
	maxJitter = 5 * time.Second
	lateness  = 20 * time.Millisecond // of timers, which may be made up for
	quiet     = time.Minute           // without a call that had to wait, after which nothing is throttled
	atLeast   = 30 * time.Second      // without a response that was accepted, before a call that may wait for less gives up
	patience  = 5                     // refusals in a row with a Retry-After, after which the waits double even so
)

// A Throttle limits the requests of one operation to what the server accepts. Its zero value is ready. It must
// not be copied.
type Throttle struct {
	// FirstWait is the wait after a refusal without a Retry-After, at least a millisecond. It doubles with each one in a row.
	FirstWait time.Duration

	calls atomic.Uint64 // so far
	state atomic.Uint64 // twice the round, and 1 more while requests are throttled

	mu     sync.Mutex
	queue  queue
	pace   pace
	now    time.Time     // the last time that it looked
	next   time.Time     // the next request may go out
	until  time.Time     // the gate is closed, without jitter
	asked  time.Time     // the same, as far as the server asked for it
	busy   time.Time     // the last time that a call had to wait
	closed time.Time     // when the first of the refusals in a row came
	first  uint64        // the round of the first probe after it
	row    int           // refusals in a row
	own    time.Duration // the wait after the last of them, without a Retry-After
}

// A Place is a call's place in the queue. Its zero value is a new call's; a call keeps its Place for all its requests,
// so that one that was refused goes on before those that came later.
type Place struct {
	order uint64    // in which calls came, from 1
	since time.Time // it waits
	round uint64    // in which its last request was sent, ...
	sent  time.Time // ... and when, if anything was throttled
}

// A Pass is what Wait gives for one request, and Accepted or Refused takes.
type Pass struct {
	round  uint64    // A refusal ends a round. Those of an earlier round tell nothing new.
	sent   time.Time // zero while nothing is throttled
	waited bool
}

// A ClosedError tells that no request may go out for so long that it isn't waited for.
type ClosedError struct {
	For      time.Duration // until a request may go out
	Asked    time.Duration // of it, by the server
	Deadline bool          // the context's deadline would pass
}

func (e *ClosedError) Error() string { return fmt.Sprintf("rate limited for %v more", e.For) }

// A QueueError is the error of a context that ended in the queue.
type QueueError struct{ Err error }

func (e *QueueError) Error() string { return "in the queue of a rate limit: " + e.Err.Error() }

func (e *QueueError) Unwrap() error { return e.Err }

// Wait returns when the call may send its next request. Accepted or Refused must be told of its response. It fails with a *ClosedError, at
// once or as soon as it is so, where no request may go out for longer than most, or before the deadline of ctx. It
// fails with the error of ctx if that has ended, and with a *QueueError when it ends.
func (t *Throttle) Wait(ctx context.Context, p *Place, most time.Duration) (Pass, error) {
	if p.order == 0 {
		p.order = t.calls.Add(1)
	}
	if err := ctx.Err(); err != nil {
		return Pass{}, err
	}
	if state := t.state.Load(); state&1 == 0 {
		p.round = state >> 1
		return Pass{round: p.round}, nil
	}
	w := &waiter{place: p, most: most, look: make(chan struct{}, 1)}
	w.deadline, _ = ctx.Deadline()
	t.enter(w)
	defer t.leave(w)
	for {
		wait, err := t.ask(w)
		if err != nil {
			return Pass{}, err
		}
		if wait == 0 {
			return Pass{round: p.round, sent: p.sent, waited: w.waited}, nil
		}
		var due <-chan time.Time
		if wait > 0 {
			due = time.After(wait)
		}
		select {
		case <-due:
		case <-w.look:
		case <-ctx.Done():
			return Pass{}, &QueueError{ctx.Err()}
		}
	}
}

// ClosedFor tells how long no request goes out.
func (t *Throttle) ClosedFor() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	return max(0, t.next.Sub(t.look()))
}

// Accepted tells that the response to a request was no refusal.
func (t *Throttle) Accepted(pass Pass) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.look()
	current := pass.round == t.state.Load()>>1
	if current && t.row > 0 {
		t.open(now, pass)
	}
	t.pace.accepted(now, pass.waited, current)
}

// Refused tells that a request was refused because of a rate limit, with the server's Retry-After; 0 is none.
func (t *Throttle) Refused(pass Pass, retryAfter time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.look()
	if pass.round == t.state.Load()>>1 {
		t.refuse(now, retryAfter, pass)
	}
	if retryAfter > 0 {
		t.extend(now.Add(retryAfter))
	}
	for _, w := range t.queue {
		if t.closedFor(w) != nil {
			w.wake()
		}
	}
}

// refuse closes the gate, and begins a new round.
func (t *Throttle) refuse(now time.Time, retryAfter time.Duration, pass Pass) {
	round := t.state.Load()>>1 + 1
	if t.row++; t.row > 1 {
		t.own *= 2
	} else {
		t.closed, t.first = now, round
		t.own = t.FirstWait
		if t.pace.refused(now); t.pace.falls > 1 { // a request that is in flight may end until then, and there may be a token again
			t.own = max(now.Sub(pass.sent), t.pace.interval())
		}
	}
	t.own = min(max(t.own, shortest), longest)
	wait := retryAfter
	if wait == 0 {
		wait = t.own
	} else if t.row > patience {
		wait = max(wait, min(time.Second<<min(t.row-patience, 20), longest)) // it isn't to be believed
	}
	t.until, t.asked = now.Add(wait), time.Time{}
	t.next = t.until.Add(rand.N(min(wait/10, maxJitter) + 1)) //nolint:gosec // Jitter needs no secrecy.
	t.busy = t.next
	t.state.Store(round<<1 | 1)
}

// extend keeps the gate closed until the server's Retry-After is over.
func (t *Throttle) extend(asked time.Time) {
	if !asked.After(t.asked) {
		return
	}
	t.asked = asked
	if longer := asked.Sub(t.until); longer > 0 {
		t.until = asked
		if t.next = t.next.Add(longer); t.next.Before(asked) {
			t.next = asked
		}
		t.busy = t.next
	}
}

// open goes on after refusals in a row: those who probed in vain are in their places again. The refusals cost the time
// that the server asked for, or that of two requests: the client chose to wait for longer.
func (t *Throttle) open(now time.Time, pass Pass) {
	cost := 2 * now.Sub(pass.sent)
	if !t.asked.IsZero() {
		cost = max(cost, now.Sub(t.closed))
	}
	t.pace.reopen(now, cost)
	t.row, t.next = 0, now.Add(t.pace.interval()) // there may have been one token only
	for _, w := range t.queue {
		w.probed = 0
	}
	heap.Init(&t.queue)
	t.queue.wake()
}

// enter puts a call into the queue. Who probed in vain lets others probe before it does so again, since it may be this
// very request that the server refuses.
func (t *Throttle) enter(w *waiter) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.look()
	if len(t.queue) == 0 && now.Sub(t.busy) > quiet {
		t.forget()
	}
	if w.place.since.IsZero() {
		w.place.since = now
	}
	if t.row > 0 && w.place.round >= t.first {
		w.probed = w.place.round
	}
	heap.Push(&t.queue, w)
}

// leave takes a call out of the queue, and lets the next one look if it was the first.
func (t *Throttle) leave(w *waiter) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if first := w.index == 0; w.index >= 0 {
		heap.Remove(&t.queue, w.index)
		if first {
			t.queue.wake()
		}
	}
}

// ask lets a call out of the queue if it is its turn. Otherwise it tells how long to wait, or -1 where others are before it.
func (t *Throttle) ask(w *waiter) (time.Duration, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.look()
	if closed := t.closedFor(w); closed != nil {
		return 0, closed
	}
	if wait := t.next.Sub(now); w.index > 0 || wait > 0 {
		w.waited, t.busy = true, now
		if w.index > 0 {
			return -1, nil
		}
		return wait, nil
	}
	heap.Pop(&t.queue)
	w.place.round = t.state.Load() >> 1
	w.place.sent = now
	if t.row > 0 {
		t.next = now.Add(max(t.own, t.pace.interval()))
	} else {
		if early := now.Add(-lateness); t.next.Before(early) {
			t.next = early
		}
		t.next = t.next.Add(t.pace.interval())
	}
	t.queue.wake()
	return 0, nil
}

// closedFor is the error of a call that would wait too long, or nil.
func (t *Throttle) closedFor(w *waiter) error {
	left, asked := t.until.Sub(t.now), max(0, t.asked.Sub(t.now))
	switch {
	case left <= 0:
	case !w.deadline.IsZero() && !t.until.Before(w.deadline):
		return &ClosedError{For: left, Asked: asked, Deadline: true}
	case asked > w.most:
		return &ClosedError{For: left, Asked: asked}
	case asked == 0 && t.row > 0 && min(t.now.Sub(t.closed), t.now.Sub(w.place.since)) > max(2*w.most, atLeast):
		return &ClosedError{For: left} // nothing was accepted for so long
	}
	return nil
}

// look is the time. One that goes back is another clock's, as in a test with fake time: what was learned is void.
func (t *Throttle) look() time.Time {
	now := time.Now()
	if now.Before(t.now) {
		t.forget()
	}
	t.now = now
	return now
}

// forget starts anew.
func (t *Throttle) forget() {
	t.pace, t.row = pace{}, 0
	t.next, t.until, t.asked, t.busy = time.Time{}, time.Time{}, time.Time{}, time.Time{}
	t.state.Store(t.state.Load() &^ 1)
	t.queue.wake()
}
