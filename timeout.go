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
	next    time.Time // when the timer fires, or has fired
	running map[*call]limit
}

// limit is the end of an attempt's time.
type limit struct {
	at     time.Time
	cancel context.CancelCauseFunc
}

func (w *watchdog) begin(c *call, cancel context.CancelCauseFunc) {
	now := time.Now()
	at := now.Add(w.timeout)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.running[c] = limit{at, cancel}
	if !w.next.After(now) {
		w.set(at)
	}
}

func (w *watchdog) end(c *call) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.running, c)
}

// set sets the timer. The mutex is held.
func (w *watchdog) set(at time.Time) {
	w.next = at
	time.AfterFunc(time.Until(at), func() { w.fire(at) })
}

func (w *watchdog) fire(at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.next.Equal(at) {
		return // a late timer: another one has been set
	}
	var next time.Time
	for _, running := range w.running {
		if !running.at.After(at) {
			running.cancel(timeoutError{w.timeout})
		} else if next.IsZero() || running.at.Before(next) {
			next = running.at
		}
	}
	if !next.IsZero() {
		w.set(next)
	}
}

// timeoutError is the cause of an attempt that took too long. It does not match
// context.DeadlineExceeded, which is the caller's.
type timeoutError struct{ after time.Duration }

func (e timeoutError) Error() string { return fmt.Sprintf("no whole answer within %v", e.after) }
func (timeoutError) Timeout() bool   { return true }
