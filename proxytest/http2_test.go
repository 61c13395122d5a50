package proxytest_test

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	flashback "github.com/flashbacknetwork/flashback-go"
	"github.com/flashbacknetwork/flashback-go/flashbacktest"
)

//nolint:paralleltest // One case at a time: see try.
func TestHTTP2(t *testing.T) {
	try(t, "http2: no fault", func(s *scenario) {
		s.patient()
		s.serveHTTP2(usualPings)
	}, func(is *assert.Assertions, sum tally) {
		is.LessOrEqual(sum.connections, 4)
		is.Equal(calls, sum.attempts)
	})
	try(t, "http2: graceful restarts (GOAWAY)", func(s *scenario) {
		origin := s.serveHTTP2(usualPings)
		s.disturb = func(step int) {
			if step%4 == 0 {
				origin.replace()
			}
		}
	}, func(is *assert.Assertions, sum tally) {
		is.Greater(sum.connections, calls/stepCalls/8, "no GOAWAY came")
	})
	try(t, "http2: hard restarts", func(s *scenario) {
		origin := s.serveHTTP2(usualPings)
		s.backend.Decide(func(*http.Request) flashbacktest.Fault {
			return flashbacktest.Fault{Delay: 5 * time.Millisecond} // so that there is something under way
		})
		s.disturb = func(step int) {
			if step%4 == 0 {
				origin.cut()
				origin.start()
			}
		}
	}, recovers)
	try(t, "http2: streams reset", func(s *scenario) {
		s.lose(10, flashbacktest.CutResponse, flashbacktest.CutBody)
		s.serveHTTP2(usualPings)
	}, func(is *assert.Assertions, sum tally) {
		recovers(is, sum)
		is.LessOrEqual(sum.connections, 4)
	})
	try(t, "http2: connections gone silent", func(s *scenario) {
		origin := s.serveHTTP2(http.HTTP2Config{SendPingTimeout: 200 * time.Millisecond, PingTimeout: 200 * time.Millisecond})
		between := s.forward(origin.addr)
		s.url = "https://" + between.listener.Addr().String()
		s.opts = append(s.opts, flashback.WithAttemptTimeout(20*time.Second))
		s.disturb = func(step int) {
			if step%4 == 0 {
				between.silence()
			}
		}
	}, func(is *assert.Assertions, sum tally) {
		recovers(is, sum)
		is.Less(sum.slowest, 10*time.Second, "it was not the pings that noticed")
	})
}

// usualPings are the client's own.
var usualPings = http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 10 * time.Second}

// serveHTTP2 starts an origin that speaks HTTP/2, as what the client connects to.
func (s *scenario) serveHTTP2(pings http.HTTP2Config) *origin {
	s.t.Helper()
	server := loopbackTLS()
	s.opts = append(s.opts, overHTTP2(s.t, server, pings))
	origin := s.serve(true, func() *http.Server {
		fresh := plainServer()
		fresh.TLSConfig = server.TLS.Clone()
		return fresh
	})
	s.url = "https://" + origin.addr
	return origin
}

// overHTTP2 is the client's own kind of transport, but that it trusts server.
func overHTTP2(t *testing.T, server *httptest.Server, pings http.HTTP2Config) flashback.Option {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	transport := &http.Transport{
		DialContext:         (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSHandshakeTimeout: 10 * time.Second,
		TLSClientConfig:     &tls.Config{RootCAs: roots},
		ForceAttemptHTTP2:   true,
		MaxIdleConns:        100,
		MaxIdleConnsPerHost: 100,
		IdleConnTimeout:     60 * time.Second,
		HTTP2:               &pings,
	}
	return flashback.WithHTTPClient(&http.Client{Transport: transport})
}

// forwarder passes connections on, until they are silenced: then nothing comes
// back any more, and nobody is told.
type forwarder struct {
	listener net.Listener
	ended    sync.WaitGroup

	mu     sync.Mutex
	conns  []net.Conn
	quiet  chan struct{} // closed when the connections there are fall silent
	ending bool
}

func (s *scenario) forward(to string) *forwarder {
	s.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(s.t, err)
	f := &forwarder{listener: listener, quiet: make(chan struct{})}
	f.ended.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", to)
			if err != nil {
				_ = client.Close()
				continue
			}
			f.mu.Lock()
			f.conns = append(f.conns, client, server)
			quiet := f.quiet
			if f.ending { // nobody else closes these
				_, _ = client.Close(), server.Close()
			}
			f.mu.Unlock()
			f.ended.Go(func() { pass(server, client, nil) })
			f.ended.Go(func() { pass(client, server, quiet) })
		}
	})
	s.atEnd(func() {
		_ = listener.Close()
		f.mu.Lock()
		f.ending = true
		for _, conn := range f.conns {
			_ = conn.Close()
		}
		f.mu.Unlock()
		f.ended.Wait()
	})
	return f
}

func (f *forwarder) silence() {
	f.mu.Lock()
	defer f.mu.Unlock()
	close(f.quiet)
	f.quiet = make(chan struct{})
}

// pass copies until quiet is closed, and from then on swallows.
func pass(to, from net.Conn, quiet <-chan struct{}) {
	buf := make([]byte, 4096)
	for {
		n, err := from.Read(buf)
		if err != nil {
			break
		}
		select {
		case <-quiet:
			continue
		default:
		}
		if _, err := to.Write(buf[:n]); err != nil {
			break
		}
	}
	_ = to.Close()
	_ = from.Close()
}
