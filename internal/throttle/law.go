package throttle

import (
	"math/bits"
	"time"
)

// Result is what came of an attempt, as far as it concerns the gate.
type Result uint8

// The results of an attempt.
const (
	Unknown     Result = iota // nothing that concerns the gate, such as a canceled attempt
	Accepted                  // the server has decided, whatever it decided
	RateLimited               // a 429
	ServerError               // a 5xx
	NoResponse                // no connection, or no complete response
	Exhausted                 // no file descriptor, port or buffer is left here
)

// State is whether requests may go out.
type State uint8

// The states of a gate.
const (
	Open   State = iota // as fast as calls come
	Load                // not before a wait, or at the rate that the server accepts
	Outage              // one at a time
)

const (
	most        = 16               // server errors of the last 32 responses: more are for load
	few         = 6                // of them while the rate is limited: more are not for load, since they don't get fewer
	lately      = 10 * time.Second // within which something must have been accepted for server errors to be for load
	patience    = 5                // refusals in a row with a Retry-After, after which it is not believed
	shortest    = time.Millisecond
	longest     = 64 * time.Second // a wait without a Retry-After, for load
	longestDown = 8 * time.Second  // a wait in an outage
	jitter      = 50               // the part of a wait that it may be longer by
	lateness    = 20 * time.Millisecond
)

// law says when the next request of an operation may go out. It has no clock, lock or request of its own: it is
// told what happened and when.
type law struct {
	cubic    cubic
	history  history
	state    State
	epoch    uint64    // how often the gate has closed; a response to a request of an earlier epoch tells nothing new
	since    time.Time // the first of the failures or refusals in a row came
	next     time.Time // the next request may go out
	until    time.Time // no request goes out before, without jitter
	asked    time.Time // the same, as far as the server asked for it
	sent     time.Time // the last request that had to wait went out, or the gate closed
	opened   time.Time // requests were let out again
	wait     time.Duration
	refusals int // in a row; 0: the gate is open again, at a rate
	burst    burst
}

// history is what the last responses were.
type history struct {
	accepted    uint64    // how many were accepted
	last        time.Time // the last of them
	failures    int       // since
	calls       int       // that have failed since
	errors      uint32    // a bit for each of the last 32 responses, 1 being a server error
	counted     int       // responses since server errors are taken for load
	errorIsLoad bool
}

// burst is what the server accepts at once after a wait, as a fixed window does.
type burst struct {
	count int // accepted since the gate opened
	last  int // the same, the time before
	took  time.Duration
	left  int // of it
}

// event is what came of a request, and when.
type event struct {
	Outcome

	now       time.Time
	epoch     uint64 // in which it was sent
	sent      time.Time
	waited    bool
	again     bool          // its call has failed since something was accepted
	firstWait time.Duration // of its call
	random    float64       // from 0 to 1
}

// after learns from what came of a request. It tells whether its call is held: it needs no wait of its own.
func (l *law) after(e event) (held bool) {
	switch e.Result {
	case Unknown:
		return false
	case Accepted:
		l.accept(e)
		return false
	case RateLimited, Exhausted:
		l.refuse(e)
		return true
	case ServerError:
		if l.isLoad(e) {
			l.refuse(e)
			return true
		}
	case NoResponse:
	}
	return l.fail(e)
}

// isLoad tells whether a server error is for load: the server accepts some requests and refuses others.
func (l *law) isLoad(e event) bool {
	h := &l.history
	if h.errorIsLoad && e.epoch != l.epoch {
		return true
	}
	h.add(1)
	n := bits.OnesCount32(h.errors)
	switch {
	case h.errorIsLoad && e.now.Sub(h.last) > lately:
		h.errorIsLoad = false
	case h.errorIsLoad && n > few && n <= most && h.counted >= 32: // a limited rate is of no use
		h.errorIsLoad, h.errors = false, 0
		l.cubic = cubic{}
		l.state, l.refusals, l.next = Open, 0, e.now
	case h.errorIsLoad:
	case n > most && !h.failsAll(), h.failsAll() && !l.opened.IsZero() && e.now.Sub(l.opened) < lately:
		h.errorIsLoad, h.errors, h.counted = true, 0, 0
	}
	return h.errorIsLoad
}

// failsAll tells whether each of the last requests failed.
func (h *history) failsAll() bool { return h.failures >= 8 && h.calls >= 3 }

func (h *history) add(bit uint32) {
	h.errors = h.errors<<1 | bit
	h.counted++
}

// accept learns from a response that was accepted.
func (l *law) accept(e event) {
	current := e.epoch == l.epoch
	if current || !l.history.errorIsLoad {
		l.history.add(0)
	}
	l.history.accepted++
	l.history.last, l.history.failures, l.history.calls = e.now, 0, 0
	l.cubic.accept(e.now, e.waited, current)
	if current || l.refusals > 0 {
		l.burst.count++
	}
	switch {
	case l.state == Outage && !current && bits.OnesCount32(l.history.errors) > most: // it accepts some and refuses others
		l.history.errorIsLoad, l.history.errors, l.history.counted = true, 0, 0
		l.state, l.refusals = Load, 0
		e.epoch = l.epoch
		l.refuse(e)
	case l.state == Outage, current && l.refusals > 0:
		l.open(e)
	}
}

// open lets requests out again.
func (l *law) open(e event) {
	closed := e.now.Sub(l.since)
	if l.cubic.rate > 0 {
		cost := max(shortest, 2*e.now.Sub(e.sent)) // the client chose to wait for longer
		if !l.asked.IsZero() {
			cost = max(cost, closed)
		}
		l.cubic.reopen(e.now, cost)
		b := &l.burst
		b.left = 0
		if !l.asked.IsZero() && b.took < closed && 8*max(b.count-b.last, b.last-b.count) <= b.last {
			b.left = b.count
		}
		b.last, b.count = b.count, 0
	}
	l.refusals, l.state, l.opened = 0, Open, e.now
	if l.cubic.rate > 0 {
		l.state = Load
	}
	l.next = e.now
	if l.burst.left == 0 {
		l.next = l.next.Add(l.cubic.interval()) // there may have been one token only
	}
}

// refuse learns from a refusal for load. The first one of an epoch closes the gate.
func (l *law) refuse(e event) {
	if e.epoch == l.epoch {
		if l.refusals++; l.refusals > 1 {
			l.wait += min(l.wait/3, e.firstWait)
		} else {
			l.since, l.wait = e.now, e.firstWait
			l.burst.took = e.now.Sub(later(l.cubic.opened, l.cubic.since))
			if l.cubic.decrease(e.now); l.cubic.decreases > 1 { // until then one that is in flight may end, or a token be there
				l.wait = max(e.now.Sub(e.sent), l.cubic.interval())
			}
		}
		l.state = Load
		l.close(e, longest)
	}
	if asked := e.now.Add(e.RetryAfter); e.RetryAfter > 0 && asked.After(l.asked) {
		l.asked = asked
		if longer := asked.Sub(l.until); longer > 0 {
			l.until, l.next = asked, later(l.next.Add(longer), asked)
		}
	}
}

// fail learns from a failure that is not for load. After those of several calls, and nothing that was accepted since,
// it is an outage.
func (l *law) fail(e event) (held bool) {
	h := &l.history
	h.failures++
	if !e.again {
		h.calls++
	}
	switch {
	case l.state == Outage && e.epoch == l.epoch:
		l.wait += min(l.wait/3, e.firstWait)
	case l.state == Outage:
		return e.RetryAfter == 0
	case !h.failsAll():
		return false
	default:
		if l.refusals == 0 {
			l.cubic.decrease(e.now)
		}
		l.state, l.since, l.wait, l.refusals = Outage, e.now, max(l.wait, e.firstWait), 1
	}
	l.close(e, longestDown)
	return e.RetryAfter == 0
}

// close begins an epoch.
func (l *law) close(e event, longest time.Duration) {
	l.epoch++
	l.wait = min(max(l.wait, shortest), longest)
	wait := l.wait
	if l.state == Load && e.RetryAfter > 0 {
		wait = e.RetryAfter
		if l.refusals > patience {
			wait = max(wait, l.wait)
		}
	}
	l.until, l.asked, l.sent = e.now.Add(wait), time.Time{}, e.now
	l.next = l.until.Add(time.Duration(e.random * float64(wait) / jitter))
}

// due is when the next request may go out. In an outage, one is due shortly before its call stops to wait.
func (l *law) due(outageWait time.Duration) time.Time {
	if l.state == Outage {
		if last := l.since.Add(outageWait - outageWait/32); l.sent.Before(last) && last.Before(l.next) {
			return last
		}
	}
	return l.next
}

// send counts a request that goes out.
func (l *law) send(now time.Time) {
	l.sent = now
	switch {
	case l.refusals > 0: // a probe; if nothing is heard of it, another one follows
		l.next = now.Add(max(l.wait, l.cubic.interval()))
	case l.burst.left > 0:
		l.burst.left--
		l.next = now
	default:
		l.next = later(l.next, now.Add(-lateness)).Add(l.cubic.interval())
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
