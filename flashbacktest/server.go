package flashbacktest

import (
	"fmt"
	"net"
	"net/http"
	"time"

	flashback "github.com/flashbacknetwork/flashback-go"
)

// Server is a [Backend] on a loopback connection.
type Server struct {
	*Backend
	// URL is the server's base URL, such as http://127.0.0.1:43210.
	URL string

	server http.Server
}

// New starts a server for a test, which closes it at its end. t is a *testing.T,
// *testing.B or *testing.F.
func New(t interface{ Cleanup(func()) }) *Server {
	s := NewServer()
	t.Cleanup(s.Close)
	return s
}

// NewServer starts a server outside a test. Call Close when it is no longer
// needed. It panics if there is no loopback port to be had.
func NewServer() *Server {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(fmt.Sprintf("flashbacktest: no loopback port: %v", err))
	}
	s := &Server{Backend: NewBackend(), URL: "http://" + listener.Addr().String()}
	s.server.Handler = s.Backend
	go func() { _ = s.server.Serve(listener) }() // it ends with ErrServerClosed
	return s
}

// Close ends the server and its connections.
func (s *Server) Close() {
	s.Backend.Close()
	_ = s.server.Close() // the listener is all that could fail to close
}

// Client returns a client of the server, with the token of the owner of
// [DefaultOrg]. Its waits between attempts are a millisecond or so; opts come
// after this and can change it. It panics if an option is bad.
func (s *Server) Client(opts ...flashback.Option) *flashback.Client {
	return s.ClientWithToken(s.Token(), opts...)
}

// ClientWithToken is [Server.Client] with another token; see [Backend.AddToken].
func (s *Server) ClientWithToken(token string, opts ...flashback.Option) *flashback.Client {
	client, err := flashback.NewClient(token, append([]flashback.Option{
		flashback.WithBaseURL(s.URL),
		flashback.WithBackoff(time.Millisecond, 4*time.Millisecond),
	}, opts...)...)
	if err != nil {
		panic("flashbacktest: " + err.Error())
	}
	return client
}
