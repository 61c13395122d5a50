package flashbacktest

import (
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync/atomic"

	flashback "github.com/flashbacknetwork/flashback-go"
)

// Server is a [Backend] on a loopback connection, for tests that want real sockets.
type Server struct {
	*Backend
	// URL is the server's base URL, such as http://127.0.0.1:43210.
	URL string

	server        http.Server
	listener      net.Listener
	allowUnplayed atomic.Bool
}

// New starts a server for a test, which closes it at its end. The test fails if a scripted
// fault has not been played by then, as one for a wrong ID is not; see
// [Server.AllowUnplayedFaults]. t is a *testing.T, *testing.B or *testing.F.
func New(t interface {
	Cleanup(f func())
	Errorf(format string, args ...any)
}) *Server {
	s := NewServer()
	t.Cleanup(func() {
		s.Close()
		if s.allowUnplayed.Load() {
			return
		}
		unplayed := s.UnplayedFaults()
		for _, id := range slices.Sorted(maps.Keys(unplayed)) {
			about := "any request"
			if id != "" {
				about = fmt.Sprintf("requests with the ID %q", id)
			}
			t.Errorf("flashbacktest: scripted faults for %s were not played: %d", about, len(unplayed[id]))
		}
	})
	return s
}

// AllowUnplayedFaults lets the test of [New] end with scripted faults that were not played, for
// a test that can't know how many requests its code makes.
func (s *Server) AllowUnplayedFaults() { s.allowUnplayed.Store(true) }

// NewServer starts a server outside a test. Call Close when it is no longer
// needed. It panics if there is no loopback port to be had.
func NewServer() *Server {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(fmt.Sprintf("flashbacktest: no loopback port: %v", err))
	}
	s := &Server{Backend: NewBackend(), URL: "http://" + listener.Addr().String(), listener: listener}
	s.server.Handler = s.Backend
	go func() { _ = s.server.Serve(listener) }() // it ends with ErrServerClosed
	return s
}

// Close ends the server and its connections, also those that stall.
func (s *Server) Close() {
	// Close fails only where the listener is closed already. The server does not know the
	// listener before the goroutine of NewServer has run.
	_ = s.listener.Close()
	_ = s.server.Close()
}

// Client is [Backend.Client], but over the loopback connection.
func (s *Server) Client(opts ...flashback.Option) *flashback.Client {
	return s.ClientWithToken(s.Token(), opts...)
}

// ClientWithToken is [Server.Client] with another token; see [Backend.AddToken].
func (s *Server) ClientWithToken(token string, opts ...flashback.Option) *flashback.Client {
	return newClient(token, s.Options(opts...))
}
