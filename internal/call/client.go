package call

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/flashbacknetwork/flashback-go/internal/attempt"
	"github.com/flashbacknetwork/flashback-go/internal/retry"
	"github.com/flashbacknetwork/flashback-go/internal/throttle"
)

// Client is what all calls of a client share. Its fields do not change once it makes calls.
type Client struct {
	BaseURL   url.URL
	Sender    attempt.Sender
	Jar       http.CookieJar
	Token     func(context.Context) (string, error)
	Renews    bool            // Token may return another token than before
	Secrets   func() []string // tokens to redact besides the one that is sent; nil for none
	UserAgent string
	Retry     retry.Policy
	// OutageWait is how long an outage may have lasted in which a call still waits, unsent.
	OutageWait time.Duration
	Gates      *Gates // nil for none
	Clock      *Clock
	Log        *slog.Logger // nil for none
}

// Gates are the gates of the operations that have calls, and of those whose last responses
// matter to the next call.
type Gates struct {
	mu     sync.Mutex
	byName map[string]*sharedGate
}

type sharedGate struct {
	throttle.Gate

	calls int // that use it
}

// enter returns the gate of an operation for one call, or nil if there are no gates.
func (g *Gates) enter(op string) *throttle.Gate {
	if g == nil {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	gate := g.byName[op]
	if gate == nil {
		gate = new(sharedGate)
		if g.byName == nil {
			g.byName = map[string]*sharedGate{}
		}
		g.byName[op] = gate
	}
	gate.calls++
	return &gate.Gate
}

// idleGates is how many gates are kept that no call uses and that are like new.
const idleGates = 64

// leave ends a call. Of the gates that no call uses, and of which a new one would do the
// same, some are kept: an operation whose name is used once costs no memory for long.
func (g *Gates) leave(op string) {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	gate := g.byName[op]
	if gate.calls--; gate.calls == 0 && len(g.byName) > idleGates && gate.IsLikeNew() {
		delete(g.byName, op)
	}
}

// Attempt is one HTTP request of a call.
type Attempt struct {
	Op       string
	Number   int // from 1, over all requests of a call
	ReadBack bool
}

type attemptKey struct{}

// AttemptFrom returns the attempt whose request has the context ctx.
func AttemptFrom(ctx context.Context) (Attempt, bool) {
	if ctx == nil {
		return Attempt{}, false
	}
	a, ok := ctx.Value(attemptKey{}).(Attempt)
	return a, ok
}
