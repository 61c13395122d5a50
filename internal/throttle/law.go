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
	// More server errors than these of the last 32 responses, or retries, are for load. With half of it, a dead node of
	// four is taken for load; with all 32, sixteen workers at nginx lose calls.
	most = 16
	// Something must have been accepted within this time for server errors to be for load. An outage right after another one
	// is load if no more time than this lies between.
	lately = 10 * time.Second
	// So many refusals in a row with a Retry-After are believed. Then the wait also grows by itself.
	patience = 5

	shortest    = time.Millisecond
	longest     = 64 * time.Second // a wait without a Retry-After, for load: it grows by a third
	longestDown = 8 * time.Second  // a wait in an outage: it grows by a third, or by the first wait if that is less

	// A wait is longer at random by the tenth part at most, and a Retry-After by the fiftieth. With a fiftieth for all,
	// eight clients at twenty requests in flight take 2.4 times the ideal instead of 1.4; with a tenth of a Retry-After,
	// one client at a window of a second takes 4 % longer.
	jitter      = 10
	askedJitter = 50
	maxJitter   = 5 * time.Second

	lateness = 20 * time.Millisecond // of timers, which may be made up for
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
	closed   time.Time // the gate closed
	opened   time.Time // requests were let out again
	wait     time.Duration
	refusals int // in a row; 0: the gate is open again, at a rate
	burst    burst
}

// history is what the last responses were.
type history struct {
	last        time.Time // one was accepted
	failures    int       // since
	calls       int       // that have failed since
	all         share
	retries     share // of calls that had failed before
	errorIsLoad bool
}

// burst is what the server accepts at once after a wait, as a fixed window does: what it has accepted twice, between waits
// that it asked for and that were longer. The two numbers may differ by a factor of two. With three, a bucket that blocks
// for 10 s after a refusal takes 4.7 times the ideal instead of 1.3; with an eighth of a difference, eight clients that share
// a window take 1.8 instead of 1.1.
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
	retry     bool          // its call has failed before
	again     bool          // its call has failed since something was accepted
	firstWait time.Duration // of its call
	random    float64       // from 0 to 1
}

// after learns from what came of a request. It tells whether it was refused for load.
func (l *law) after(e event) (load bool) {
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
		l.history.fail(e)
		if l.isLoad(e) {
			l.refuse(e)
			return true
		}
	case NoResponse:
		l.history.fail(e)
	}
	l.fail(e)
	return false
}

// isLoad tells whether a server error is for load: the server accepts some requests and refuses others.
func (l *law) isLoad(e event) bool {
	h := &l.history
	if h.errorIsLoad && e.epoch != l.epoch {
		return true
	}
	h.add(1, e.retry)
	switch {
	case e.now.Sub(h.last) > lately:
		h.errorIsLoad = false
	case h.errorIsLoad && l.cubic.rate < l.cubic.most/2: // a limited rate is of no use
		h.errorIsLoad, h.all, h.retries = false, 0, 0
		l.cubic = cubic{}
		l.state, l.refusals, l.next = Open, 0, e.now
	case h.errorIsLoad:
	case !h.failsAll() && max(h.all.errors(), h.retries.errors()) > most,
		h.failsAll() && !l.opened.IsZero() && e.now.Sub(l.opened) < lately:
		h.forLoad()
	}
	return h.errorIsLoad
}

// forLoad begins to take server errors for load.
func (h *history) forLoad() { h.errorIsLoad, h.all, h.retries = true, 0, 0 }

// share has a bit for each of the last 32 responses, 1 being a server error.
type share uint32

func (s share) errors() int { return bits.OnesCount32(uint32(s)) }

// fail counts a failure.
func (h *history) fail(e event) {
	h.failures++
	if !e.again {
		h.calls++
	}
}

// failsAll tells whether each of the last requests failed, of several calls.
func (h *history) failsAll() bool { return h.failures >= 8 && h.calls >= 3 }

func (h *history) add(bit share, retry bool) {
	h.all = h.all<<1 | bit
	if retry {
		h.retries = h.retries<<1 | bit
	}
}

// accept learns from a response that was accepted.
func (l *law) accept(e event) {
	current := e.epoch == l.epoch
	if current || !l.history.errorIsLoad {
		l.history.add(0, e.retry)
	}
	l.history.last, l.history.failures, l.history.calls = e.now, 0, 0
	l.cubic.accept(e.now, e.waited, current)
	if current || l.refusals > 0 {
		l.burst.count++
	}
	if l.state == Outage || current && l.refusals > 0 {
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
		if !l.asked.IsZero() && b.took < closed && max(b.count, b.last) <= 2*min(b.count, b.last) {
			b.left = min(b.count, b.last) - 1
			l.cubic.startAgain(float64(b.count) / e.now.Sub(l.opened).Seconds())
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
			l.wait += l.wait / 3
		} else {
			l.since, l.wait = e.now, e.firstWait
			l.burst.took = e.now.Sub(later(l.cubic.opened, l.cubic.since))
			if l.cubic.decrease(e.now); l.cubic.decreases > 1 { // until then one that is in flight may end, or a token be there
				l.wait = max(e.now.Sub(e.sent), min(l.cubic.interval(), e.firstWait))
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

// fail learns from a failure that is not for load. Failures of several calls, after which nothing was accepted, are an
// outage.
func (l *law) fail(e event) {
	switch {
	case e.epoch != l.epoch, !l.history.failsAll():
		return
	case l.state == Outage:
		l.wait += min(l.wait/3, e.firstWait)
	default:
		if l.refusals == 0 {
			l.cubic.decrease(e.now)
		}
		l.state, l.since, l.wait, l.refusals = Outage, e.now, e.firstWait, 1
	}
	l.close(e, longestDown)
}

// close begins an epoch.
func (l *law) close(e event, longest time.Duration) {
	l.epoch++
	l.wait = min(max(l.wait, shortest), longest)
	wait, part := l.wait, time.Duration(jitter)
	if l.state == Load && e.RetryAfter > 0 {
		wait, part = e.RetryAfter, askedJitter
		if l.refusals > patience {
			wait = max(wait, l.wait)
		}
	}
	l.until, l.asked, l.sent, l.closed = e.now.Add(wait), time.Time{}, e.now, e.now
	l.next = l.until.Add(time.Duration(e.random * float64(min(wait/part, maxJitter))))
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

// outlasts tells whether an outage is older than a call waits for one, as far as a request has found out lately.
func (l *law) outlasts(outageWait time.Duration, now time.Time) bool {
	return l.state == Outage && now.Sub(l.since) >= outageWait && now.Sub(l.closed) < 2*longestDown
}

// send counts a request that goes out.
func (l *law) send(now time.Time) {
	l.sent = now
	switch {
	case l.refusals > 0: // a probe; if nothing is heard of it, another one follows
		l.next = now.Add(max(l.wait, l.cubic.interval()))
	case l.burst.left > 1:
		l.burst.left--
		l.next = now
	default:
		l.burst.left = 0
		l.next = later(l.next, now.Add(-lateness)).Add(l.cubic.interval())
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
