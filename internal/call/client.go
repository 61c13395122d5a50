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
	Renews    bool // Token may return another token than before
	UserAgent string
	Retry     retry.Policy
	// OutageWait is how long an outage may have lasted in which a call still waits, unsent.
	OutageWait time.Duration
	Gates      *Gates // nil for none
	Clock      *Clock
	Log        *slog.Logger // nil for none
}

// Gates are the gates of the operations.
type Gates struct{ byName sync.Map }

// gate returns the gate of an operation, or nil if the client has none.
func (client *Client) gate(op *Op) *throttle.Gate {
	if client.Gates == nil {
		return nil
	}
	found, ok := client.Gates.byName.Load(op.Name)
	if !ok {
		found, _ = client.Gates.byName.LoadOrStore(op.Name, new(throttle.Gate))
	}
	gate, _ := found.(*throttle.Gate) // The map holds nothing else.
	return gate
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
