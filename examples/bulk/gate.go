package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sony/gobreaker/v2"

	flashback "github.com/flashbacknetwork/flashback-go"
)

const (
	outageAfter = 10              // failures in a row
	probeEvery  = 2 * time.Second // with two requests at most
)

// gate holds the calls of this process back while they can't succeed.
type gate struct {
	users    *flashback.UsersService
	probe    *flashback.UsersService // without retries
	breaker  *gobreaker.CircuitBreaker[*flashback.Activation]
	stopping <-chan struct{}
}

func newGate(client *flashback.Client, say func(format string, args ...any), stopping <-chan struct{}) (*gate, error) {
	probe, err := client.With(flashback.WithMaxRetries(0))
	if err != nil {
		return nil, err
	}
	var last error // the breaker calls one function at a time
	breaker := gobreaker.NewCircuitBreaker[*flashback.Activation](gobreaker.Settings{
		Timeout:     probeEvery,
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
	return &gate{client.Organization.Users, probe.Organization.Users, breaker, stopping}, nil
}

// check sends a read, about the first ID that can be one, before anything is done.
func (g *gate) check(ctx context.Context, ids []string) error {
	for _, id := range ids {
		_, err := g.users.Get(ctx, id)
		if why := blame(err); why != "" && why != down {
			return fmt.Errorf("%s: %w", why, err)
		} else if !errors.Is(err, flashback.ErrInvalidArgument) {
			break
		}
	}
	return nil
}

var errHeld = errors.New("held back for now")

// activate activates a user as soon as that may succeed, or returns errHeld. During an
// outage it sends a read first: if the call fails even so, the outage is not to blame.
func (g *gate) activate(ctx context.Context, userID string) (*flashback.Activation, error) {
	for end := time.Now().Add(jobTimeout / 2); ; { // the rest is the call's
		activation, err := g.breaker.Execute(func() (*flashback.Activation, error) {
			if g.breaker.State() == gobreaker.StateClosed {
				return g.users.Activate(ctx, userID)
			}
			if _, err := g.probe.Get(ctx, userID); blame(err) != "" {
				return nil, errors.Join(errHeld, err)
			}
			return g.probe.Activate(ctx, userID)
		})
		if !errors.Is(err, gobreaker.ErrOpenState) && !errors.Is(err, gobreaker.ErrTooManyRequests) {
			return activation, err
		}
		if time.Now().After(end) || !g.wait(100*time.Millisecond) {
			return nil, errHeld
		}
	}
}

// wait returns false at once when the run is to stop.
func (g *gate) wait(d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-g.stopping:
		return false
	}
}

const down = "the backend does not respond as it should"

// blame says what is to blame for a failed call, if it isn't its user.
func blame(err error) string {
	var failure *flashback.Error
	switch {
	case !errors.As(err, &failure), errors.Is(err, flashback.ErrRateLimited), errors.Is(err, flashback.ErrInvalidArgument), errors.Is(err, context.Canceled):
		return ""
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
