package proof_test

import (
	"context"
	"errors"
	"flag"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	flashback "github.com/flashbacknetwork/flashback-go"
	"github.com/flashbacknetwork/flashback-go/flashbacktest"
)

var long = flag.Bool("long", false, "play many more runs by chance")

const (
	activated  = `{"success":true,"message":"User activated successfully"}`
	notDeleted = `{"success":false,"message":"User is not deleted"}`
	aToken     = "access-token-1"
)

// roundTripper is a transport that is a function.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// served starts a server on a loopback connection.
func served(tb testing.TB, handler http.HandlerFunc) *httptest.Server {
	tb.Helper()
	server := httptest.NewServer(handler)
	tb.Cleanup(server.Close)
	return server
}

// clientOf is a client of a server that does not wait between attempts.
func clientOf(tb testing.TB, baseURL string, opts ...flashback.Option) *flashback.Client {
	tb.Helper()
	client, err := flashback.NewClient(aToken, append([]flashback.Option{
		flashback.WithBaseURL(baseURL), flashback.WithBackoff(0, 0),
	}, opts...)...)
	require.NoError(tb, err)
	tb.Cleanup(client.CloseIdleConnections)
	return client
}

// activateBy activates user-1.
func activateBy(ctx context.Context, client *flashback.Client) (*flashback.Activation, *flashback.Error) {
	got, err := client.Organization.Users.Activate(ctx, "user-1")
	var e *flashback.Error
	errors.As(err, &e)
	return got, e
}

// pipes is a network in memory: in a synctest bubble, time passes only where
// nothing else can happen, and a socket would hide that from it.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

func (*pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p *pipes) DialContext(ctx context.Context, _, _ string) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case p.conns <- there:
		return here, nil
	case <-p.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// inMemory is a fake backend in a synctest bubble, and a transport to it.
func inMemory(t *testing.T) (*flashbacktest.Backend, *http.Transport) {
	t.Helper()
	wires := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
	backend := flashbacktest.NewBackend()
	server := &http.Server{Handler: backend, ReadHeaderTimeout: time.Hour}
	go func() { _ = server.Serve(wires) }()
	transport := &http.Transport{DialContext: wires.DialContext}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		_ = server.Close()
	})
	return backend, transport
}
