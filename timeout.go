package flashback

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// watchdog ends the attempts of a client that take too long. Its one timer is not
// stopped with the attempt that it was set for: to set one for each makes the
// runtime wake a thread, which took 4 % of the time of a call on loopback.
// That timer would not fire in another synctest bubble, so only the client's own
// transport is watched like this; no bubble's time passes while a socket is waited for.
type watchdog struct {
	timeout time.Duration // for an attempt

	mu      sync.Mutex
	next    time.Time // when the timer fires; zero if none is set
	running map[*limit]struct{}
}

// limit is the end of an attempt's time.
type limit struct {
	at     time.Time
	cancel context.CancelCauseFunc
}

// begin has an attempt ended in time. Call the function that it returns when the
// attempt is over.
func (w *watchdog) begin(cancel context.CancelCauseFunc) (end func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	l := &limit{now.Add(w.timeout), cancel}
	w.running[l] = struct{}{}
	// A timer that is as late as that may be that of a synctest bubble, which is over.
	if w.next.IsZero() || now.Sub(w.next) > w.timeout {
		w.set(l.at)
	}
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.running, l)
	}
}

// set sets the timer. The mutex is held.
func (w *watchdog) set(at time.Time) {
	w.next = at
	time.AfterFunc(time.Until(at), func() { w.fire(at) })
}

func (w *watchdog) fire(at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var next time.Time
	now := time.Now()
	for l := range w.running {
		if !l.at.After(now) {
			l.cancel(timeoutError{w.timeout})
			delete(w.running, l)
		} else if next.IsZero() || l.at.Before(next) {
			next = l.at
		}
	}
	if !w.next.Equal(at) {
		return // another timer has been set for the others
	}
	w.next = time.Time{}
	if !next.IsZero() {
		w.set(next)
	}
}

// timeoutError is the cause of an attempt that took too long. It does not match
// context.DeadlineExceeded, which is the caller's.
type timeoutError struct{ after time.Duration }

func (e timeoutError) Error() string { return fmt.Sprintf("no whole answer within %v", e.after) }
func (timeoutError) Timeout() bool   { return true }
