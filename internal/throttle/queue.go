package throttle

import "time"

// A waiter is a call that waits for its turn.
type waiter struct {
	place    *Place
	most     time.Duration
	deadline time.Time     // zero: none
	look     chan struct{} // something has changed for it
	index    int           // in the queue; -1: it has left
	probed   uint64        // the round in which it probed in vain
	waited   bool
}

func (w *waiter) wake() {
	select {
	case w.look <- struct{}{}:
	default: // it will look anyway
	}
}

// queue is a heap.Interface of those who wait; the first one is next.
type queue []*waiter

func (q *queue) wake() {
	if len(*q) > 0 {
		(*q)[0].wake()
	}
}

func (q *queue) Len() int { return len(*q) }

func (q *queue) Less(i, j int) bool {
	if (*q)[i].probed != (*q)[j].probed {
		return (*q)[i].probed < (*q)[j].probed
	}
	return (*q)[i].place.order < (*q)[j].place.order
}

func (q *queue) Swap(i, j int) {
	(*q)[i], (*q)[j] = (*q)[j], (*q)[i]
	(*q)[i].index, (*q)[j].index = i, j
}

// Push is heap.Interface's.
func (q *queue) Push(x any) {
	w, _ := x.(*waiter)
	w.index = len(*q)
	*q = append(*q, w)
}

// Pop is heap.Interface's.
func (q *queue) Pop() any {
	last := len(*q) - 1
	w := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	w.index = -1
	return w
}
