package proof_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	flashback "github.com/flashbacknetwork/flashback-go"
)

// A firewall forgets a connection: what is sent over it vanishes in both directions, and neither
// side is told. New connections work. The transport is the package's own, over a network in memory.

// mortal is a connection that may die without a word.
type mortal struct {
	net.Conn

	mu     sync.Mutex
	isDead bool
	closed chan struct{}
	once   sync.Once
}

func (m *mortal) die() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.isDead = true
}

func (m *mortal) dead() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.isDead
}

func (m *mortal) Write(p []byte) (int, error) {
	if m.dead() {
		return len(p), nil
	}
	return m.Conn.Write(p)
}

func (m *mortal) Read(p []byte) (int, error) {
	n, err := m.Conn.Read(p)
	if m.dead() {
		<-m.closed
		return 0, net.ErrClosed
	}
	return n, err
}

func (m *mortal) Close() error {
	m.once.Do(func() { close(m.closed) })
	return m.Conn.Close()
}

// firewall is between a client and a server.
type firewall struct {
	pipes

	mu    sync.Mutex
	conns []*mortal
}

func (f *firewall) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := f.pipes.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	m := &mortal{Conn: conn, closed: make(chan struct{})}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.conns = append(f.conns, m)
	return m, nil
}

// forget kills all connections that there are.
func (f *firewall) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, m := range f.conns {
		m.die()
	}
}

// dying is a call whose connection dies.
type dying struct {
	http2    bool
	answered bool // the server gets the request, and the response vanishes
	timeout  time.Duration
}

func (d dying) String() string {
	return fmt.Sprintf("HTTP/%d, attempts of %v, %s vanishes",
		map[bool]int{false: 1, true: 2}[d.http2], d.timeout, map[bool]string{false: "the request", true: "the response"}[d.answered])
}

// start starts a server behind a firewall, in a synctest bubble. The connections that there are die
// when the server has got its second request, if that is to be answered.
func (d dying) start(t *testing.T, transport *http.Transport) *firewall {
	t.Helper()
	wall := &firewall{pipes: pipes{conns: make(chan net.Conn), done: make(chan struct{})}}
	b := newBackend(allManners[0], trouble{})
	begin(b, isDeleted)
	requests := 0
	var mu sync.Mutex
	server := &http.Server{ReadHeaderTimeout: time.Hour, Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		mu.Lock()
		defer mu.Unlock()
		if requests++; requests == 2 && d.answered {
			wall.forget()
		}
		r := b.serve(req.Method, req.URL.Path, body)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(r.status)
		_, _ = io.WriteString(w, r.body)
	})}
	transport.DialContext = wall.DialContext
	if d.http2 {
		transport.Protocols, server.Protocols = new(http.Protocols), new(http.Protocols)
		transport.Protocols.SetUnencryptedHTTP2(true)
		server.Protocols.SetUnencryptedHTTP2(true)
	}
	go func() { _ = server.Serve(wall) }()
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		_ = server.Close()
		for _, m := range wall.conns {
			_ = m.Close()
		}
	})
	return wall
}

// play makes a call on a fresh connection, one on a connection that dies, and another.
func (d dying) play(t *testing.T) (second, third told) {
	t.Helper()
	transport := flashback.NewTransport()
	wall := d.start(t, transport)
	client, err := flashback.NewClient(aToken, flashback.WithBaseURL("http://127.0.0.1"), flashback.WithAttemptTimeout(d.timeout),
		flashback.WithHTTPClient(&http.Client{Transport: transport}))
	require.NoError(t, err)
	require.NoError(t, get.call(t.Context(), client).err)
	if !d.answered {
		wall.forget()
	}
	return activate.call(t.Context(), client), get.call(t.Context(), client)
}

// TestADeadConnectionIsLeft tells in which attempt calls get through.
func TestADeadConnectionIsLeft(t *testing.T) {
	t.Parallel()
	for _, timeout := range []time.Duration{2 * time.Second, 4 * time.Second, 30 * time.Second} {
		for _, http2 := range []bool{false, true} {
			for _, answered := range []bool{false, true} {
				d := dying{http2, answered, timeout}
				t.Run(d.String(), func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						second, third := d.play(t)
						t.Logf("attempts %d: %v; the next call: %v", second.attempts, second, third)
						if !mended && http2 && timeout < 30*time.Second {
							assert.Error(t, second.err, "a test that the package passes is no longer to be marked")
							return
						}
						require.NoError(t, second.err)
						assert.Equal(t, 2, second.attempts, "the second attempt takes another connection")
						assert.Equal(t, d.answered, second.recovered)
						require.NoError(t, third.err)
					})
				})
			}
		}
	}
}

// A plain client is the control: over HTTP/2 it stays on the dead connection.
func TestAPlainClientStaysOnADeadConnection(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := dying{http2: true, timeout: 2 * time.Second}
		transport := &http.Transport{}
		wall := d.start(t, transport)
		client := &http.Client{Transport: transport, Timeout: d.timeout}
		through := func() bool {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1/organization/users/"+subject, nil)
			require.NoError(t, err)
			resp, err := client.Do(req)
			if err != nil {
				return false
			}
			return resp.Body.Close() == nil
		}
		require.True(t, through())
		wall.forget()
		for range 5 {
			assert.False(t, through())
		}
	})
}
