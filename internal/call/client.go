// Package call makes one verdict of all attempts of a call: it waits for the turn,
// gets a token, makes an attempt, judges it, and waits again, as long as that may help.
package call

import (
	"context"
	"log/slog"
	"math"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-retryablehttp"

	"github.com/flashbacknetwork/flashback-go/internal/attempt"
	"github.com/flashbacknetwork/flashback-go/internal/budget"
	"github.com/flashbacknetwork/flashback-go/internal/throttle"
)

// Client makes calls. Its fields are set before [Client.Init], and not changed later.
type Client struct {
	BaseURL   url.URL
	Sender    attempt.Sender
	Jar       http.CookieJar
	Token     func(context.Context) (string, error)
	Renews    bool            // Token may give another token than before
	Secrets   func() []string // tokens to redact besides the one that is sent; nil for none
	UserAgent string
	Retry     Retry
	Budget    *budget.Budget // nil for none
	Throttles *Throttles     // nil for none
	Clock     *Clock
	Log       *slog.Logger // nil for none

	retrier *retryablehttp.Client
	last    *atomic.Pointer[bearer]
}

// bearer is the Authorization of a token.
type bearer struct{ token, header string }

// bearer makes the Authorization of a token once, as long as the token is the same.
func (c *Client) bearer(token string) string {
	b := c.last.Load()
	if b == nil || b.token != token {
		b = &bearer{token, "Bearer " + token}
		c.last.Store(b)
	}
	return b.header
}

// Throttles are the rate limits of the operations.
type Throttles struct{ byName sync.Map }

func (c *Client) throttle(op *Op) *throttle.Throttle {
	if c.Throttles == nil {
		return nil
	}
	found, ok := c.Throttles.byName.Load(op.Name)
	if !ok {
		found, _ = c.Throttles.byName.LoadOrStore(op.Name, &throttle.Throttle{FirstWait: c.Retry.Base})
	}
	one, _ := found.(*throttle.Throttle) // nothing else is in it
	return one
}

// Init makes the loop over the attempts, which asks the call what to do.
func (c *Client) Init() {
	c.last = new(atomic.Pointer[bearer])
	c.retrier = &retryablehttp.Client{
		HTTPClient: &http.Client{
			Transport:     transport{},
			Jar:           c.Jar,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		RetryMax: math.MaxInt, // CheckRetry alone decides
		CheckRetry: func(ctx context.Context, _ *http.Response, _ error) (bool, error) {
			return callOf(ctx).again(), nil //nolint:contextcheck // The call has it.
		},
		Backoff:      func(_, _ time.Duration, _ int, _ *http.Response) time.Duration { return 0 }, // it can't ask which call waits: prepare waits
		PrepareRetry: func(req *http.Request) error { return callOf(req.Context()).prepare(req) },
	}
}

// transport is that of retryablehttp's client. Having no CloseIdleConnections, it
// keeps that client from closing the idle connections of other calls after a failure.
type transport struct{}

func (transport) RoundTrip(req *http.Request) (*http.Response, error) {
	return callOf(req.Context()).attempt(req)
}

// carrier is the context of a call's requests: that of the caller, with the call.
type carrier struct {
	context.Context //nolint:containedctx // It is one.

	call *call
}

type key struct{}

func (c *carrier) Value(of any) any {
	if of == (key{}) {
		return c.call
	}
	return c.Context.Value(of)
}

func callOf(ctx context.Context) *call {
	c, _ := ctx.Value(key{}).(*call)
	return c
}

// Current tells of which operation the request with a context is an attempt, which one,
// from 1, and whether it is a read-back.
func Current(ctx context.Context) (op string, number int, readBack bool) {
	if ctx == nil {
		return "", 0, false
	}
	c := callOf(ctx)
	if c == nil {
		return "", 0, false
	}
	return c.op.Name, int(c.number.Load()), c.readBack
}
