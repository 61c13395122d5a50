package flashbacktest

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"syscall"

	flashback "github.com/flashbacknetwork/flashback-go"
)

// Client returns a client of the backend that needs no network, so that it can be
// used in a bubble of [testing/synctest] and outside. It has the token of the owner
// of [DefaultOrg]. Its waits between attempts are a millisecond or so; opts come
// after this and can change it. It panics if an option is bad; with a token source or a
// session, use ClientWithToken with "". An [http.Client] for [flashback.WithHTTPClient]
// needs the backend as its Transport: without one, the client uses the network.
func (b *Backend) Client(opts ...flashback.Option) *flashback.Client {
	return b.ClientWithToken(b.Token(), opts...)
}

// ClientWithToken is [Backend.Client] with another token; see [Backend.AddToken].
func (b *Backend) ClientWithToken(token string, opts ...flashback.Option) *flashback.Client {
	return newClient(token, b.Options(opts...))
}

func newClient(token string, opts []flashback.Option) *flashback.Client {
	client, err := flashback.NewClient(token, opts...)
	if err != nil {
		panic("flashbacktest: " + err.Error())
	}
	return client
}

// RoundTrip sends a request to the backend without a network, whatever host it is
// for. Both ends are net/http's, with a connection in memory between them that serves
// this request alone, so that all is as over a socket, and nothing is left of it
// when the response has been read.
func (b *Backend) RoundTrip(r *http.Request) (*http.Response, error) {
	var fault Fault
	if r.Context().Err() == nil { // else nothing is sent
		seen := r.WithContext(r.Context())
		seen.Body = http.NoBody // as a handler has it, once the body is read
		fault = b.next(seen)
	}
	dial := func(context.Context, string, string) (net.Conn, error) {
		if fault.Lose == RefuseConnection {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
		}
		client, server := net.Pipe()
		reset := new(atomic.Bool)
		one := &http.Server{ //nolint:gosec // No slow client can reach it.
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				b.serve(w, r, func(*http.Request) Fault { return fault })
			}),
			TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
		}
		go func() { _ = one.Serve(&onlyConn{conn: memoryConn{server, reset}}) }()
		return memoryConn{client, reset}, nil
	}
	// A transport of its own: a connection is never another request's, and nothing
	// made in one synctest bubble is met in another.
	transport := &http.Transport{DialContext: dial, DialTLSContext: dial, DisableKeepAlives: true}
	return transport.RoundTrip(r)
}

// memoryConn is an end of a connection that can be reset.
type memoryConn struct {
	net.Conn
	reset *atomic.Bool
}

// SetLinger is what a server calls to have Close reset a connection.
func (c memoryConn) SetLinger(int) error {
	c.reset.Store(true)
	return nil
}

func (c memoryConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil && c.reset.Load() {
		err = &net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", syscall.ECONNRESET)}
	}
	return n, err
}

// onlyConn is a listener that has one connection.
type onlyConn struct{ conn net.Conn }

func (l *onlyConn) Accept() (net.Conn, error) {
	conn := l.conn
	if conn == nil {
		return nil, net.ErrClosed
	}
	l.conn = nil
	return conn, nil
}

func (*onlyConn) Close() error   { return nil }
func (*onlyConn) Addr() net.Addr { return &net.TCPAddr{} }
