package proof_test

import (
	"context"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/flashbacknetwork/flashback-go"
	"github.com/flashbacknetwork/flashback-go/internal/throttle"
)

// statuses are the responses to requests, after 10 ms.
type statuses func(*http.Request) int

func (b statuses) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		_ = req.Body.Close()
	}
	status := b(req)
	body := `{"success":true}`
	if status != http.StatusOK {
		body = `{"success":false,"message":"no"}`
	}
	return &http.Response{
		StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}, Request: req,
		Body: io.NopCloser(strings.NewReader(body)),
	}, pause(req.Context(), 10*time.Millisecond)
}

// work lets workers make calls, and tell how many failed.
func work(ctx context.Context, workers, calls int, call func(context.Context) error) (failed int) {
	var begun, lost atomic.Int64
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for begun.Add(1) <= int64(calls) {
				if call(ctx) != nil {
					lost.Add(1)
				}
			}
		})
	}
	all.Wait()
	return int(lost.Load())
}

// TestAThrottledOperationDoesNotSlowAnother lets an invitation a second be refused beside 1,600 other calls a second. The
// control has one throttle for all.
func TestAThrottledOperationDoesNotSlowAnother(t *testing.T) {
	t.Parallel()
	rate := func(clients func(http.RoundTripper) (invite, other client)) (perSecond float64) {
		synctest.Test(t, func(t *testing.T) {
			invite, other := clients(statuses(func(req *http.Request) int {
				if strings.HasSuffix(req.URL.Path, "invitation") {
					return http.StatusTooManyRequests
				}
				return http.StatusOK
			}))
			ctx, cancel := context.WithCancel(t.Context())
			var all sync.WaitGroup
			all.Go(func() {
				for pause(ctx, time.Second) == nil {
					all.Go(func() { assert.Error(t, invite.call(ctx)) })
				}
			})
			began := time.Now()
			const calls = 16_000
			accepted := calls - work(ctx, 16, calls, other.call)
			perSecond = float64(accepted) / time.Since(began).Seconds()
			cancel()
			all.Wait()
		})
		return perSecond
	}
	assert.GreaterOrEqual(t, rate(func(rt http.RoundTripper) (client, client) {
		c := newSDK(rt)
		return invitations(c), c
	}), 0.95*1600)
	assert.Less(t, rate(func(rt http.RoundTripper) (client, client) {
		var limit throttle.Gate
		return &throttled{invited{rt}, &limit}, &throttled{rt, &limit}
	}), 0.95*1600)
}

// invitations are calls of another operation.
type invitations sdkClient

func (c invitations) call(ctx context.Context) error {
	_, err := c.Organization.Users.ResendInvitation(ctx, "user-1")
	return err
}

// invited makes each request one for an invitation.
type invited struct{ http.RoundTripper }

func (i invited) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.URL.Path = "/invitation"
	return i.RoundTripper.RoundTrip(req)
}

func TestOneServerErrorInFiveFailsHardlyACall(t *testing.T) {
	t.Parallel()
	failed := func(opts ...flashback.Option) (n int) {
		synctest.Test(t, func(t *testing.T) {
			c := newSDK(statuses(func(*http.Request) int {
				if rand.N(5) == 0 {
					return http.StatusServiceUnavailable
				}
				return http.StatusOK
			}), opts...)
			n = work(t.Context(), 16, 5000, c.call)
		})
		return n
	}
	assert.Less(t, failed(), 50)
	assert.Greater(t, failed(flashback.WithMaxRetries(0)), 500)
}

func TestADeadServerGetsHardlyMoreThanARequestACall(t *testing.T) {
	t.Parallel()
	perCall := func(opts ...flashback.Option) float64 {
		const calls = 5000
		var requests atomic.Int64
		synctest.Test(t, func(t *testing.T) {
			c := newSDK(statuses(func(*http.Request) int {
				requests.Add(1)
				return http.StatusServiceUnavailable
			}), opts...)
			assert.Equal(t, calls, work(t.Context(), 16, calls, c.call))
		})
		return float64(requests.Load()) / calls
	}
	assert.LessOrEqual(t, perCall(), 1.1)
	assert.Greater(t, perCall(flashback.WithoutThrottling()), 4.0)
}

// TestNoCallWaitsForAConnection lets 800 calls begin at once, each with a second for its attempt. The control caps
// connections, as version 0.1.0 did.
func TestNoCallWaitsForAConnection(t *testing.T) {
	t.Parallel()
	failed := func(connections int) (n int) {
		synctest.Test(t, func(t *testing.T) {
			listener := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
			server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_ = pause(r.Context(), 200*time.Millisecond)
				_, _ = io.WriteString(w, `{"success":true}`)
			})}
			var serving sync.WaitGroup
			serving.Go(func() { _ = server.Serve(listener) })
			transport := flashback.NewTransport()
			transport.Proxy, transport.DialContext, transport.MaxConnsPerHost = nil, listener.DialContext, connections
			c := newSDK(transport, flashback.WithBaseURL("http://localhost"), flashback.WithAttemptTimeout(time.Second), flashback.WithMaxRetries(0))
			n = work(t.Context(), 800, 800, c.call)
			transport.CloseIdleConnections()
			_ = server.Close()
			serving.Wait()
		})
		return n
	}
	assert.Zero(t, failed(0))
	assert.Positive(t, failed(64))
}
