package call

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"sync"

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
	Throttles *Throttles // nil for none
	Clock     *Clock
	Log       *slog.Logger // nil for none
}

// Throttles are the rate limits of the operations.
type Throttles struct{ byName sync.Map }

// throttle returns the rate limit of an operation, or nil if the client has none.
func (client *Client) throttle(op *Op) *throttle.Throttle {
	if client.Throttles == nil {
		return nil
	}
	found, ok := client.Throttles.byName.Load(op.Name)
	if !ok {
		found, _ = client.Throttles.byName.LoadOrStore(op.Name, &throttle.Throttle{FirstWait: client.Retry.Base})
	}
	t, _ := found.(*throttle.Throttle) // The map holds nothing else.
	return t
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
