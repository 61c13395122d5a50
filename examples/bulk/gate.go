package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	flashback "github.com/flashbacknetwork/flashback-go"
)

const (
	outageAfter = 10              // failures in a row; 5 if nothing has got through yet
	probeEvery  = 2 * time.Second // with two requests at most
)

// gate holds the calls of this process back while they can't succeed.
type gate struct {
	read func(ctx context.Context, userID string) error // a safe call
	say  func(format string, args ...any)
	stop func(error) // the run, which can't succeed

	mu       sync.Mutex
	failures int       // in a row
	outage   bool      // one call at a time probes
	next     time.Time // before which none goes out
	passed   bool      // some call has got through
	limited  time.Time // the last sign of a rate limit
}

// wait returns when a call may go out, or an error if none may until ctx ends. In an
// outage it is a probe, after a read: if that gets through, and the call fails even so,
// the outage is not to blame.
func (g *gate) wait(ctx context.Context, userID string) (probe bool, err error) {
	for {
		g.mu.Lock()
		ahead, outage := time.Until(g.next), g.outage
		if ahead <= 0 && outage {
			g.next = time.Now().Add(probeEvery) // for the others
		}
		g.mu.Unlock()
		if ahead <= 0 && outage {
			if err := g.read(ctx, userID); blame(err) != "" {
				return true, err
			}
		}
		if ahead <= 0 {
			return outage, ctx.Err()
		}
		select {
		case <-time.After(min(ahead, 100*time.Millisecond)):
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}

// state tells whether there is an outage, and whether there was a sign of a rate limit
// lately.
func (g *gate) state() (outage, throttled bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.outage, time.Since(g.limited) < 10*time.Second
}

// done takes what came of a call.
func (g *gate) done(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var failure *flashback.Error
	if errors.As(err, &failure) && errors.Is(err, flashback.ErrRateLimited) {
		g.limited = time.Now()
		if failure.Attempts == 0 { // the next call's wait would not end in time either
			g.next = time.Now().Add(max(failure.RetryAfter, time.Second))
		}
		return
	}
	why := blame(err)
	if why == "" {
		if g.outage {
			g.next = time.Time{}
			g.say("The backend can be used again.")
		}
		g.failures, g.passed, g.outage = 0, true, false
		return
	}
	g.failures++
	switch {
	case g.outage, g.failures < outageAfter/2, g.failures < outageAfter && g.passed:
		return
	case !g.passed && why != down:
		g.stop(fmt.Errorf("%s: %w", why, err))
	default:
		g.say("Paused: %s: %v\nThe run goes on by itself when a request gets through; one a second is tried.", why, err)
	}
	g.outage, g.next = true, time.Now().Add(probeEvery)
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
	case errors.Is(err, flashback.ErrNotSent):
		return "the backend can't be reached; check the network and FLASHBACK_BASE_URL"
	case errors.Is(err, flashback.ErrNotFound) && !isNotFound(err), errors.Is(err, flashback.ErrUnexpectedResponse) && failure.StatusCode >= 300:
		return "this is not the API; check FLASHBACK_BASE_URL"
	case errors.Is(err, flashback.ErrServer), errors.Is(err, flashback.ErrUnexpectedResponse), failure.StatusCode == 0:
		return down
	}
	return ""
}

// isNotFound tells the documented response from that of a server that knows no such
// path, which would settle every user for good.
func isNotFound(err error) bool {
	var failure *flashback.Error
	return errors.Is(err, flashback.ErrNotFound) && errors.As(err, &failure) && strings.EqualFold(failure.Message, "User not found")
}
