package flashback_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	flashback "github.com/flashbacknetwork/flashback-go"
	"github.com/flashbacknetwork/flashback-go/flashbacktest"
)

// clientOf returns a client of a test server, with short waits.
func clientOf(t *testing.T, server *httptest.Server, opts ...flashback.Option) *flashback.Client {
	t.Helper()
	return clientWith(t, "access-token-1", server, opts...)
}

func clientWith(t *testing.T, token string, server *httptest.Server, opts ...flashback.Option) *flashback.Client {
	t.Helper()
	client, err := flashback.NewClient(token, append([]flashback.Option{
		flashback.WithBaseURL(server.URL), flashback.WithBackoff(0, 0),
	}, opts...)...)
	require.NoError(t, err)
	return client
}

func serve(t *testing.T, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server
}

func TestEveryLossIsRecoveredOverRealConnections(t *testing.T) {
	t.Parallel()
	for name, how := range map[string]flashbacktest.Loss{
		"cut before the first byte": flashbacktest.CutResponse,
		"cut in the body":           flashbacktest.CutBody,
		"reset":                     flashbacktest.ResetConnection,
		"stalled":                   flashbacktest.Stall,
		"stalled in the body":       flashbacktest.StallBody,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			backend := flashbacktest.New(t)
			client := backend.Client(flashback.WithAttemptTimeout(time.Second))
			for _, id := range []string{"first-connection", "kept-connection"} {
				backend.AddDeletedUser(id)
				backend.ScriptFor(id, flashbacktest.LoseResponse(how))
				before := len(backend.Requests())
				got, err := client.Organization.Users.Activate(t.Context(), id)
				require.NoError(t, err)
				assert.True(t, got.Recovered)
				// A busy machine may need a third attempt: a second is short for one, not for a test.
				assert.GreaterOrEqual(t, got.Attempts, 2)
				assert.Len(t, backend.Requests(), before+got.Attempts)
			}
		})
	}
}

func TestARedirectIsNotFollowed(t *testing.T) {
	t.Parallel()
	var visits atomic.Int64
	elsewhere := serve(t, func(http.ResponseWriter, *http.Request) { visits.Add(1) })
	for _, status := range []int{300, 301, 302, 303, 307, 308} {
		for _, location := range []string{elsewhere.URL, "/elsewhere", "", "%zz://bad"} {
			server := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if !strings.HasSuffix(r.URL.Path, "/activate") {
					visits.Add(1)
				}
				w.Header().Set("Location", location)
				w.WriteHeader(status)
			})
			_, err := activateIn(t.Context(), clientOf(t, server))
			require.ErrorIs(t, err, flashback.ErrUnexpectedResponse)
			assert.Equal(t, status, err.StatusCode)
			assert.Equal(t, 1, err.Attempts)
			assert.False(t, err.OutcomeUnknown)
		}
	}
	assert.Zero(t, visits.Load())
}

// endless writes n bytes of body, gzipped if the client accepts it.
func endless(w http.ResponseWriter, r *http.Request, status, n int) {
	var body io.Writer = w
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") && strings.Contains(r.URL.Path, "gzipped") {
		w.Header().Set("Content-Encoding", "gzip")
		zipped := gzip.NewWriter(w)
		defer func() { _ = zipped.Close() }()
		body = zipped
	}
	w.WriteHeader(status)
	chunk := bytes.Repeat([]byte(" "), 1<<16)
	for ; n > 0; n -= len(chunk) {
		if _, err := body.Write(chunk); err != nil {
			return
		}
	}
}

//nolint:paralleltest // It reads the heap of the whole process.
func TestAHugeBodyIsNotKept(t *testing.T) {
	server := serve(t, func(w http.ResponseWriter, r *http.Request) { endless(w, r, 200, 512<<20) })
	for _, id := range []string{"plain", "gzipped"} {
		t.Run(id, func(t *testing.T) {
			client := clientOf(t, server, flashback.WithMaxRetries(1))
			var before, during runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			var peak uint64
			done := make(chan struct{})
			var watch sync.WaitGroup
			watch.Go(func() {
				for {
					select {
					case <-done:
						return
					case <-time.After(time.Millisecond):
						runtime.ReadMemStats(&during)
						peak = max(peak, during.HeapAlloc)
					}
				}
			})
			_, err := client.Organization.Users.Activate(t.Context(), id)
			close(done)
			watch.Wait()
			var e *flashback.Error
			require.ErrorAs(t, err, &e)
			require.ErrorIs(t, err, flashback.ErrOutcomeUnknown)
			require.ErrorIs(t, err, flashback.ErrUnexpectedResponse)
			assert.Len(t, e.Body, 64<<10)
			assert.Equal(t, 2, e.Attempts)
			assert.Less(t, peak, before.HeapAlloc+32<<20)
		})
	}
}

func TestABodyOfOneMiBIsWholeAndOneByteMoreIsNot(t *testing.T) {
	t.Parallel()
	for size, status := range map[int]bool{1 << 20: true, 1<<20 + 1: false} {
		server := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, activated+strings.Repeat(" ", size-len(activated)))
		})
		got, err := activateIn(t.Context(), clientOf(t, server, flashback.WithMaxRetries(0)))
		if status {
			require.Nil(t, err)
			assert.Equal(t, "User activated successfully", got.Message)
		} else {
			require.ErrorIs(t, err, flashback.ErrOutcomeUnknown)
		}
	}
}

// counted counts the connections that a server accepts.
func counted(handler http.Handler) (*httptest.Server, *atomic.Int64) {
	opened := new(atomic.Int64)
	server := httptest.NewUnstartedServer(handler)
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			opened.Add(1)
		}
	}
	return server, opened
}

func TestManyWorkersShareFewConnections(t *testing.T) {
	t.Parallel()
	server, opened := counted(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, activated)
	}))
	server.Start()
	t.Cleanup(server.Close)
	client := clientOf(t, server)
	var group sync.WaitGroup
	for range 64 {
		group.Go(func() {
			for range 10_000 / 64 {
				_, err := activateIn(context.Background(), client)
				assert.Nil(t, err)
			}
		})
	}
	group.Wait()
	assert.LessOrEqual(t, opened.Load(), int64(80))
}

func TestOneCallsFailureLeavesTheConnectionsOfOthers(t *testing.T) {
	t.Parallel()
	backend := flashbacktest.NewBackend()
	server, opened := counted(backend)
	server.Start()
	t.Cleanup(func() { backend.Close(); server.Close() })
	client := clientWith(t, backend.Token(), server)
	_, err := client.Organization.Users.Activate(t.Context(), "nobody") // opens the connection
	require.ErrorIs(t, err, flashback.ErrNotFound)
	for name, fail := range map[string]func(){
		"a 404": func() { _, _ = client.Organization.Users.Activate(t.Context(), "nobody") },
		"a 403": func() {
			backend.Script(flashbacktest.Respond(403, "{}"))
			_, _ = activateIn(t.Context(), client)
		},
		"a 503, for good": func() {
			backend.Script(flashbacktest.Respond(503, ""), flashbacktest.Respond(503, ""), flashbacktest.Respond(503, ""), flashbacktest.Respond(503, ""), flashbacktest.Respond(503, ""))
			_, _ = activateIn(t.Context(), client)
		},
		"a context that ended before": func() {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			_, _ = activateIn(ctx, client)
		},
	} {
		fail()
		assert.EqualValues(t, 1, opened.Load(), name)
	}
}

func TestACanceledCallLeavesTheIdleConnections(t *testing.T) {
	t.Parallel()
	backend := flashbacktest.NewBackend()
	server, opened := counted(backend)
	server.Start()
	t.Cleanup(func() { backend.Close(); server.Close() })
	client := clientWith(t, backend.Token(), server)
	backend.AddDeletedUser("slow-1")
	backend.AddDeletedUser("slow-2")
	slow := flashbacktest.Fault{Apply: true, Delay: 50 * time.Millisecond}
	backend.ScriptFor("slow-1", slow)
	backend.ScriptFor("slow-2", flashbacktest.LoseResponse(flashbacktest.Stall))

	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	var group sync.WaitGroup
	group.Go(func() { _, _ = client.Organization.Users.Activate(t.Context(), "slow-1") })
	group.Go(func() { _, _ = client.Organization.Users.Activate(ctx, "slow-2") })
	group.Wait()
	require.EqualValues(t, 2, opened.Load())
	_, err := client.Organization.Users.Activate(t.Context(), "nobody")
	require.ErrorIs(t, err, flashback.ErrNotFound)
	assert.EqualValues(t, 2, opened.Load(), "the connection of the call that went well is still there")
}

func TestACertificateErrorIsNotRetried(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	_, err := activateIn(t.Context(), clientOf(t, server))
	require.NotNil(t, err)
	var invalid *tls.CertificateVerificationError
	require.ErrorAs(t, err, &invalid)
	assert.Equal(t, 1, err.Attempts)
	assert.False(t, err.OutcomeUnknown)
}

func TestWhatWasNeverSentIsDefinite(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	refused := "http://" + listener.Addr().String()
	require.NoError(t, listener.Close())
	plain := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })

	for name, test := range map[string]struct {
		baseURL   string
		transport *http.Transport
		attempts  int
	}{
		"a refused connection":          {refused, nil, 3},
		"a host that no DNS knows":      {"https://no-such-host.invalid", nil, 3},
		"TLS to a server that has none": {strings.Replace(plain.URL, "http:", "https:", 1), nil, 1},
		"a proxy that refuses":          {"https://backend.flashback.tech", &http.Transport{Proxy: proxy(refused)}, 3},
		"a proxy that says no":          {"https://backend.flashback.tech", &http.Transport{Proxy: proxy(plain.URL)}, 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			opts := []flashback.Option{flashback.WithBaseURL(test.baseURL), flashback.WithMaxRetries(2), flashback.WithBackoff(0, 0)}
			if test.transport != nil {
				opts = append(opts, flashback.WithHTTPClient(&http.Client{Transport: test.transport}))
			}
			client, err := flashback.NewClient("access-token-1", opts...)
			require.NoError(t, err)
			_, failure := activateIn(t.Context(), client)
			require.NotNil(t, failure)
			assert.False(t, failure.OutcomeUnknown, "%v", failure)
			assert.Equal(t, test.attempts, failure.Attempts, "%v", failure)
			assert.Zero(t, failure.StatusCode)
		})
	}
}

func TestACallThatIsCanceledWhileItDialsIsDefinite(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	client, err := flashback.NewClient("access-token-1", flashback.WithHTTPClient(&http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			cancel()
			<-ctx.Done()
			return nil, ctx.Err()
		},
	}}))
	require.NoError(t, err)
	_, failure := activateIn(ctx, client)
	require.ErrorIs(t, failure, context.Canceled)
	assert.False(t, failure.OutcomeUnknown)
}

// A request that net/http finds it never wrote, on a connection that the server
// had closed, is repeated by net/http itself. What then can't be dialed was never
// sent at all.
func TestAStaleConnectionAndThenNoneIsDefinite(t *testing.T) {
	t.Parallel()
	var dials atomic.Int64
	transport := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		if dials.Add(1) > 1 {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
		}
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		return &unwritable{Conn: conn}, err
	}}
	t.Cleanup(transport.CloseIdleConnections)
	backend := flashbacktest.New(t)
	client := backend.Client(flashback.WithHTTPClient(&http.Client{Transport: transport}))
	_, err := client.Organization.Users.Activate(t.Context(), "nobody")
	require.ErrorIs(t, err, flashback.ErrNotFound)
	_, err = client.Organization.Users.Activate(t.Context(), "nobody")
	var e *flashback.Error
	require.ErrorAs(t, err, &e)
	assert.False(t, e.OutcomeUnknown, "%v", err)
	assert.Len(t, backend.Requests(), 1)
}

// unwritable is a connection whose second request can't be written.
type unwritable struct {
	net.Conn
	writes atomic.Int64
}

func (u *unwritable) Write(p []byte) (int, error) {
	if u.writes.Add(1) > 1 {
		return 0, errors.New("broken pipe")
	}
	return u.Conn.Write(p)
}

// proxy is the Proxy of a transport.
func proxy(address string) func(*http.Request) (*url.URL, error) {
	return func(*http.Request) (*url.URL, error) { return url.Parse(address) }
}

// What the transport sends again by itself may have taken effect the first time,
// whatever the second answer is.
func TestARequestThatTheTransportRepeatsIsNoAnswerForTheFirst(t *testing.T) {
	t.Parallel()
	cut := flashbacktest.LoseResponse(flashbacktest.CutResponse)

	t.Run("a transport around net/http's", func(t *testing.T) {
		t.Parallel()
		backend := flashbacktest.New(t)
		backend.AddDeletedUser("user-1")
		backend.Script(cut)
		inner := &http.Transport{DisableKeepAlives: true}
		client := backend.Client(flashback.WithHTTPClient(&http.Client{Transport: roundTripper(func(req *http.Request) (*http.Response, error) {
			resp, err := inner.RoundTrip(req)
			if err != nil {
				resp, err = inner.RoundTrip(req)
			}
			return resp, err
		})}))
		got, err := activateIn(t.Context(), client)
		require.Nil(t, err)
		assert.True(t, got.Recovered)
		assert.Equal(t, 1, got.Attempts)
	})
	t.Run("HTTP/2 after the stream was reset with PROTOCOL_ERROR", func(t *testing.T) {
		t.Parallel()
		requests, client := resettingClient(t)
		got, err := activateIn(t.Context(), client)
		require.Nil(t, err)
		require.EqualValues(t, 2, requests.Load())
		assert.Equal(t, 1, got.Attempts)
		assert.True(t, got.Recovered)
	})
}

// resettingClient is a client of a server that resets the first stream.
func resettingClient(t *testing.T) (*atomic.Int64, *flashback.Client) {
	t.Helper()
	var requests atomic.Int64
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.TLS = &tls.Config{NextProtos: []string{"h2"}}
	server.Config.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){
		"h2": func(_ *http.Server, conn *tls.Conn, _ http.Handler) { resetFirstStream(conn, &requests) },
	}
	server.StartTLS()
	t.Cleanup(server.Close)
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	return &requests, clientOf(t, server, flashback.WithHTTPClient(&http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true,
	}}))
}

// resetFirstStream is an HTTP/2 server in its barest form: it resets the first
// stream with PROTOCOL_ERROR, which net/http repeats by itself, and answers the
// others 400 "User is not deleted".
func resetFirstStream(conn *tls.Conn, requests *atomic.Int64) {
	frame := func(kind, flags byte, stream uint32, payload ...byte) {
		header := []byte{0, 0, byte(len(payload) & 0xff), kind, flags, 0, 0, 0, 0}
		binary.BigEndian.PutUint32(header[5:], stream)
		_, _ = conn.Write(append(header, payload...))
	}
	const (
		data, headers, rstStream, settings = 0x0, 0x1, 0x3, 0x4
		endStream, endHeaders, ack         = 0x1, 0x4, 0x1
	)
	_, _ = io.CopyN(io.Discard, conn, int64(len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")))
	frame(settings, 0, 0)
	for {
		var header [9]byte
		if _, err := io.ReadFull(conn, header[:]); err != nil {
			return
		}
		length := int64(header[0])<<16 | int64(header[1])<<8 | int64(header[2])
		_, _ = io.CopyN(io.Discard, conn, length)
		stream := binary.BigEndian.Uint32(header[5:])
		switch kind, flags := header[3], header[4]; {
		case kind == settings && flags&ack == 0:
			frame(settings, ack, 0)
		case kind == headers && requests.Add(1) == 1:
			frame(rstStream, 0, stream, 0, 0, 0, 1)
		case kind == headers:
			frame(headers, endHeaders, stream, 0x8c) // HPACK's static entry for ":status: 400"
			frame(data, endStream, stream, []byte(`{"message":"User is not deleted"}`)...)
		}
	}
}

func TestASuccessThatIsNeitherTrueNorFalseIsNoSuccess(t *testing.T) {
	t.Parallel()
	for _, success := range []string{`"true"`, `"false"`, "1", "1e400", "{}", "[]"} {
		backend := flashbacktest.New(t)
		backend.Script(flashbacktest.Respond(200, `{"success":`+success+`,"message":"Hello"}`))
		backend.AddDeletedUser("user-1")
		got, err := activateIn(t.Context(), backend.Client())
		require.Nil(t, err)
		assert.Equal(t, 2, got.Attempts, "it was asked again")
		assert.False(t, got.Recovered)
	}
	backend := flashbacktest.New(t)
	backend.Script(flashbacktest.Respond(200, `{"success":null,"message":"Hello"}`))
	got, err := activateIn(t.Context(), backend.Client())
	require.Nil(t, err)
	assert.Equal(t, 1, got.Attempts, "null is as good as absent")
}

func TestEachAttemptHasTheWholeTimeout(t *testing.T) {
	t.Parallel()
	backend := flashbacktest.New(t)
	backend.AddDeletedUser("user-1")
	const timeout = 200 * time.Millisecond
	client := backend.Client(flashback.WithAttemptTimeout(timeout), flashback.WithMaxRetries(0))
	for range 3 {
		_, _ = client.Organization.Users.Activate(t.Context(), "user-1") // soon over, it leaves a timer behind
		backend.ScriptFor("user-1", flashbacktest.LoseResponse(flashbacktest.Stall))
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		begun := time.Now()
		_, err := activateIn(ctx, client)
		cancel()
		require.ErrorIs(t, err, flashback.ErrOutcomeUnknown)
		require.ErrorContains(t, err, "no whole answer within 200ms")
		assert.GreaterOrEqual(t, time.Since(begun), timeout)
	}
}

func TestATimeoutOutlivesABubble(t *testing.T) {
	t.Parallel()
	bubble := true
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		if !bubble {
			<-r.Context().Done()
		}
	})
	client := clientOf(t, server, flashback.WithAttemptTimeout(100*time.Millisecond), flashback.WithMaxRetries(0))
	synctest.Test(t, func(t *testing.T) {
		_, err := client.Organization.Users.Activate(t.Context(), "user-1")
		require.ErrorIs(t, err, flashback.ErrUnexpectedResponse)
	})
	bubble = false
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err := client.Organization.Users.Activate(ctx, "user-1")
	require.ErrorContains(t, err, "no whole answer within 100ms")
}
