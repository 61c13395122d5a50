package flashback_test

import (
	"context"
	"net"
	"net/http"
	"sync"
	"testing"

	"github.com/flashbacknetwork/flashback-go/flashbacktest"
)

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

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p *pipes) DialContext(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case p.conns <- server:
		return client, nil
	case <-p.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// bubbleBackend is a fake backend in a synctest bubble, and a transport to it.
func bubbleBackend(t *testing.T) (*flashbacktest.Backend, *http.Transport, *pipes) {
	t.Helper()
	network := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
	backend := flashbacktest.NewBackend()
	server := &http.Server{Handler: backend} //nolint:gosec // No slow client can reach it.
	go func() { _ = server.Serve(network) }()
	transport := &http.Transport{DialContext: network.DialContext}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		backend.Close()
		_ = server.Close()
	})
	return backend, transport, network
}
