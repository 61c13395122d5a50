package main

import (
	"context"
	"errors"
	"time"

	"github.com/sony/gobreaker/v2"

	flashback "github.com/flashbacknetwork/flashback-go"
)

const outageAfter = 8 // failures in a row

// newBreaker returns what holds the calls of this process back while they can't succeed.
func newBreaker(say func(format string, args ...any)) *gobreaker.CircuitBreaker[*flashback.Activation] {
	var last error // the breaker calls one of these at a time
	return gobreaker.NewCircuitBreaker[*flashback.Activation](gobreaker.Settings{
		Timeout:     2 * time.Second, // until the next probe, which has two requests at most
		ReadyToTrip: func(counts gobreaker.Counts) bool { return counts.ConsecutiveFailures >= outageAfter },
		IsSuccessful: func(err error) bool {
			last = err
			return blame(err) == ""
		},
		IsExcluded: func(err error) bool { // these tell nothing
			return errors.Is(err, flashback.ErrRateLimited) || errors.Is(err, flashback.ErrInvalidArgument) || errors.Is(err, context.Canceled)
		},
		OnStateChange: func(_ string, from, to gobreaker.State) {
			if from == gobreaker.StateClosed {
				say("Paused: %s: %v\nThe run goes on by itself when a request gets through; one a second is sent at most.", blame(last), last)
			} else if to == gobreaker.StateClosed {
				say("The backend can be used again.")
			}
		},
	})
}

var errHeld = errors.New("held back for now")

// activate activates a user as soon as that may succeed, or returns errHeld. During an
// outage it sends a read first: if the call fails even so, the outage is not to blame.
func (w *worker) activate(ctx context.Context, userID string) (*flashback.Activation, error) {
	for end := time.Now().Add(jobTimeout / 2); ; { // the rest is the call's
		activation, err := w.breaker.Execute(func() (*flashback.Activation, error) {
			if w.breaker.State() == gobreaker.StateClosed {
				return w.users.Activate(ctx, userID)
			}
			if _, err := w.probe.Get(ctx, userID); blame(err) != "" {
				return nil, errors.Join(errHeld, err)
			}
			return w.probe.Activate(ctx, userID)
		})
		if blame(err) == noToken { // so nothing was sent
			return nil, errHeld
		}
		if !errors.Is(err, gobreaker.ErrOpenState) && !errors.Is(err, gobreaker.ErrTooManyRequests) {
			return activation, err
		}
		if time.Now().After(end) || w.stopping.Err() != nil {
			return nil, errHeld
		}
		w.wait(100 * time.Millisecond)
	}
}

// wait waits, unless the run is to stop.
func (w *worker) wait(d time.Duration) {
	select {
	case <-time.After(d):
	case <-w.stopping.Done():
	}
}

const (
	down    = "the backend does not respond as it should"
	noToken = "the access token can't be read or renewed"
)

// blame says what is to blame for a failed call, if it isn't its user.
func blame(err error) string {
	var failure *flashback.Error
	switch {
	case !errors.As(err, &failure), errors.Is(err, flashback.ErrRateLimited), errors.Is(err, flashback.ErrInvalidArgument), errors.Is(err, context.Canceled):
		return ""
	case failure.Attempts == 0: // all else that can end a call before its first is above
		return noToken
	case errors.Is(err, flashback.ErrUnauthorized):
		return "the access token is not accepted"
	case failure.StatusCode == 0:
		return "the backend can't be reached; check the network and FLASHBACK_BASE_URL"
	case errors.Is(err, flashback.ErrNotFound) && !isNotFound(err), errors.Is(err, flashback.ErrUnexpectedResponse) && failure.StatusCode >= 300:
		return "this is not the API; check FLASHBACK_BASE_URL"
	case errors.Is(err, flashback.ErrServer), errors.Is(err, flashback.ErrUnexpectedResponse):
		return down
	}
	return ""
}
