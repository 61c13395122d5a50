package main

import (
	"context"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	token     = "token-6f1c2b9e" //nolint:gosec // It opens nothing.
	activated = `{"success":true,"message":"User activated successfully"}`
)

// memory is a transport that responds from memory.
type memory func(*http.Request) *http.Response

func (m memory) RoundTrip(req *http.Request) (*http.Response, error) { return m(req), nil }

func seconds(d time.Duration) string { return strconv.Itoa(int(math.Ceil(d.Seconds()))) }

func tooMany(req *http.Request, after time.Duration) *http.Response {
	resp := respond(req, http.StatusTooManyRequests, "")
	resp.Header.Set("Retry-After", seconds(after))
	return resp
}

func respond(req *http.Request, status int, body string) *http.Response {
	return &http.Response{
		StatusCode:    status,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        http.Header{"Content-Type": {"application/json"}},
		Body:          io.NopCloser(strings.NewReader(body)),
		ContentLength: int64(len(body)),
		Request:       req,
	}
}

func success(req *http.Request) *http.Response { return respond(req, http.StatusOK, activated) }

// loopback is a server on a loopback connection, and the count of the connections
// that it was asked for.
func loopback(handler http.HandlerFunc) (*httptest.Server, *atomic.Int64) {
	opened := new(atomic.Int64)
	server := httptest.NewUnstartedServer(handler)
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			opened.Add(1)
		}
	}
	server.Start()
	return server, opened
}

func writeSuccess(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, activated) // a client that has gone away is no concern
}

// pipes is a network in memory for fake time, which a socket would stop.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	conn, ok := <-p
	if !ok {
		return nil, net.ErrClosed
	}
	return conn, nil
}

func (p pipes) Close() error { close(p); return nil }
func (pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p pipes) dial(ctx context.Context) (net.Conn, error) {
	client, server := net.Pipe()
	reset := new(atomic.Bool)
	select {
	case p <- pipe{server, reset}:
		return pipe{client, reset}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// pipe is an end of a connection that can be reset.
type pipe struct {
	net.Conn

	reset *atomic.Bool
}

// SetLinger is what a server calls to have Close reset the connection.
func (p pipe) SetLinger(int) error { //nolint:unparam // As *net.TCPConn has it.
	p.reset.Store(true)
	return nil
}

func (p pipe) Read(b []byte) (int, error) {
	n, err := p.Conn.Read(b)
	if err != nil && p.reset.Load() {
		err = &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
	}
	return n, err
}
