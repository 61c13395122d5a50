package throttle

import (
	"cmp"
	"slices"
	"time"
)

// A waiter is a call that waits for its turn.
type waiter struct {
	position *Position
	limits   Limits
	deadline time.Time     // zero: none
	wake     chan struct{} // something has changed for it
	probed   uint64        // 1 more than the epoch in which it was refused, since the gate closed
	waited   bool
}

func (w *waiter) wakeUp() {
	select {
	case w.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// before orders the queue: calls in the order in which they came, and behind them those who probed in vain, since it may
// be their very requests that the server refuses.
func before(a, b *waiter) int {
	return cmp.Or(cmp.Compare(a.probed, b.probed), cmp.Compare(a.position.order, b.position.order))
}

// enter puts a call into the queue.
func (g *Gate) enter(w *waiter) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.look()
	if len(g.queue) == 0 && now.Sub(g.busy) > quiet {
		g.forget()
	}
	if w.position.since.IsZero() {
		w.position.since = now
	}
	if g.law.refusals > 0 && w.position.epoch >= g.opened && w.position.tried {
		w.probed = w.position.epoch + 1
	}
	i, _ := slices.BinarySearchFunc(g.queue, w, before)
	g.queue = slices.Insert(g.queue, i, w)
}

// leave takes a call out of the queue that has not gone on.
func (g *Gate) leave(w *waiter) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.remove(w)
}

// remove takes a call out of the queue, and wakes the one that is first then.
func (g *Gate) remove(w *waiter) {
	switch i, found := slices.BinarySearchFunc(g.queue, w, before); {
	case !found:
		return
	case i == 0:
		g.queue[0] = nil
		g.queue = g.queue[1:]
	default:
		g.queue = slices.Delete(g.queue, i, i+1)
	}
	if len(g.queue) > 0 {
		g.queue[0].wakeUp()
	}
}
