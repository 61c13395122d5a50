package proof_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"fmt"
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
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	flashback "github.com/flashbacknetwork/flashback-go"
	"github.com/flashbacknetwork/flashback-go/flashbacktest"
)

func TestEveryLostResponseIsRecoveredOverRealConnections(t *testing.T) {
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
	elsewhere := served(t, func(http.ResponseWriter, *http.Request) { visits.Add(1) })
	for status, unknown := range map[int]bool{300: false, 301: true, 302: true, 303: true, 304: false, 307: false, 308: false} {
		for _, location := range []string{elsewhere.URL, "/elsewhere", "", "%zz://bad"} {
			server := served(t, func(w http.ResponseWriter, r *http.Request) {
				if !strings.HasSuffix(r.URL.Path, "/activate") {
					visits.Add(1)
				}
				w.Header().Set("Location", location)
				w.WriteHeader(status)
			})
			_, err := activateBy(t.Context(), clientOf(t, server.URL))
			require.ErrorIs(t, err, flashback.ErrUnexpectedResponse)
			assert.Equal(t, status, err.StatusCode)
			assert.Equal(t, 1, err.Attempts)
			assert.Equal(t, unknown, err.OutcomeUnknown, "a %d to %q", status, location)
		}
	}
	assert.Zero(t, visits.Load())
}

// A 101 takes the connection out of HTTP's hands: its body never ends.
func TestASwitchOfProtocolsEndsAnAttempt(t *testing.T) {
	t.Parallel()
	server := served(t, func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: tea\r\n\r\n")
		_, _ = io.Copy(io.Discard, conn) // until the client closes it
		_ = conn.Close()
	})
	_, err := activateBy(t.Context(), clientOf(t, server.URL))
	require.NotNil(t, err)
	assert.Equal(t, 101, err.StatusCode)
	assert.Equal(t, 1, err.Attempts)
}

// counted is a server that counts the connections it accepts, and those that are open.
func counted(t *testing.T, handler http.Handler) (server *httptest.Server, opened, open *atomic.Int64) {
	t.Helper()
	opened, open = new(atomic.Int64), new(atomic.Int64)
	server = httptest.NewUnstartedServer(handler)
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			opened.Add(1)
			open.Add(1)
		case http.StateClosed, http.StateHijacked:
			open.Add(-1)
		case http.StateActive, http.StateIdle:
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	return server, opened, open
}

// workers make calls, and each must succeed.
func workers(t *testing.T, client *flashback.Client, n, calls int) {
	t.Helper()
	var group sync.WaitGroup
	for range n {
		group.Go(func() {
			for range calls {
				_, err := client.Organization.Users.Activate(t.Context(), "user-1")
				assert.NoError(t, err)
			}
		})
	}
	group.Wait()
}

func TestManyWorkersShareFewConnections(t *testing.T) {
	t.Parallel()
	server, opened, _ := counted(t, http.HandlerFunc(respondActivated))
	workers(t, clientOf(t, server.URL), 64, 50)
	assert.LessOrEqual(t, opened.Load(), int64(128))
}

func TestOneCallsFailureLeavesTheConnectionsOfOthers(t *testing.T) {
	t.Parallel()
	backend := flashbacktest.NewBackend()
	server, opened, _ := counted(t, backend)
	client, err := flashback.NewClient(backend.Token(), flashback.WithBaseURL(server.URL), flashback.WithBackoff(0, 0))
	require.NoError(t, err)
	_, nobody := activateBy(t.Context(), client) // opens the connection
	require.ErrorIs(t, nobody, flashback.ErrNotFound)
	for name, fail := range map[string]func(){
		"a 404": func() { _, _ = activateBy(t.Context(), client) },
		"a 403": func() {
			backend.Script(flashbacktest.Respond(403, "{}"))
			_, _ = activateBy(t.Context(), client)
		},
		"a 503, for good": func() {
			for range 5 {
				backend.Script(flashbacktest.Respond(503, ""))
			}
			_, _ = activateBy(t.Context(), client)
		},
		"a context that ended before": func() {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			_, _ = activateBy(ctx, client)
		},
	} {
		fail()
		assert.EqualValues(t, 1, opened.Load(), name)
	}

	// A call that is canceled closes its own connection, and no other.
	backend.ScriptFor("stalled", flashbacktest.LoseResponse(flashbacktest.Stall))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = client.Organization.Users.Activate(ctx, "stalled")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	_, _ = activateBy(t.Context(), client)
	_, _ = activateBy(t.Context(), client)
	assert.EqualValues(t, 2, opened.Load())
}

// eventually waits until something is so.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	assert.Eventually(t, is, 10*time.Second, 5*time.Millisecond, what)
}

// goroutines counts those of net/http's connections of a client.
func goroutines() int {
	buffer := make([]byte, 8<<20)
	stacks := string(buffer[:runtime.Stack(buffer, true)])
	return strings.Count(stacks, "net/http.(*persistConn).readLoop(") + strings.Count(stacks, "net/http.(*persistConn).writeLoop(")
}

//nolint:paralleltest // It counts the goroutines of the whole process.
func TestAnIdleClientLeavesNothingBehind(t *testing.T) {
	server, _, open := counted(t, http.HandlerFunc(respondActivated))
	eventually(t, "connections of other tests are gone", func() bool { return goroutines() == 0 })

	client := clientOf(t, server.URL)
	workers(t, client, 8, 2)
	assert.Positive(t, goroutines(), "a test that finds no goroutine now finds none at all")
	client.CloseIdleConnections()
	eventually(t, "after CloseIdleConnections", func() bool { return goroutines() == 0 && open.Load() == 0 })
	workers(t, client, 1, 1) // it can be used again
	client.CloseIdleConnections()
	runtime.KeepAlive(client)
}

//nolint:paralleltest // It counts what is in memory.
func TestAClosedConnectionIsForgotten(t *testing.T) {
	server, opened, _ := counted(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		respondActivated(w, r)
	}))
	client := clientOf(t, server.URL)
	objects := func() int64 {
		runtime.GC() //nolint:revive // What it leaves is counted.
		runtime.GC() //nolint:revive // What has a finalizer is gone after the second.
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return int64(stats.HeapObjects) //nolint:gosec // There are few.
	}
	workers(t, client, 1, 100)
	before := objects()
	workers(t, client, 1, 2000)
	assert.EqualValues(t, 2100, opened.Load())
	assert.Less(t, objects()-before, int64(1000))
}

func TestACopyKeepsTheConnectionsOfADroppedClient(t *testing.T) {
	t.Parallel()
	server, opened, _ := counted(t, http.HandlerFunc(respondActivated))
	copied, err := clientWithoutCleanup(t, server.URL).With(flashback.WithMaxRetries(1))
	require.NoError(t, err)
	for range 5 {
		workers(t, copied, 1, 1)
		runtime.GC() //nolint:revive // What it does is the point.
	}
	assert.EqualValues(t, 1, opened.Load())
	copied.CloseIdleConnections()
}

// clientWithoutCleanup is a client that only its caller refers to.
func clientWithoutCleanup(t *testing.T, baseURL string) *flashback.Client {
	t.Helper()
	client, err := flashback.NewClient(aToken, flashback.WithBaseURL(baseURL))
	require.NoError(t, err)
	return client
}

func TestWhatWasNeverSentIsDefinite(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	refusing := "http://" + listener.Addr().String()
	require.NoError(t, listener.Close())
	plain := served(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	password := served(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(407) })
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	t.Cleanup(secure.Close)
	through := func(address string) *http.Transport {
		t := flashback.NewTransport()
		t.Proxy = func(*http.Request) (*url.URL, error) { return url.Parse(address) }
		return t
	}
	dial := func(err error) *http.Transport {
		return &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return nil, err }}
	}
	for name, test := range map[string]struct {
		baseURL   string
		transport *http.Transport // nil for the client's own
		attempts  int
	}{
		"a refused connection":          {refusing, nil, 3},
		"a dial that takes too long":    {"http://127.0.0.1:1", dial(&net.OpError{Op: "dial", Err: context.DeadlineExceeded}), 3},
		"a host that no DNS knows":      {"http://localhost:1", dial(&net.DNSError{Err: "no such host", IsNotFound: true}), 3},
		"TLS to a server that has none": {strings.Replace(plain.URL, "http:", "https:", 1), nil, 1},
		"a certificate of nobody":       {secure.URL, nil, 1},
		"a proxy that is not there":     {"https://backend.flashback.tech", through(refusing), 3},
		"a proxy that fails":            {"https://backend.flashback.tech", through(plain.URL), 3},
		"a proxy that asks a password":  {"https://backend.flashback.tech", through(password.URL), 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			opts := []flashback.Option{flashback.WithMaxRetries(2)}
			if test.transport != nil {
				opts = append(opts, flashback.WithHTTPClient(&http.Client{Transport: test.transport}))
			}
			_, failure := activateBy(t.Context(), clientOf(t, test.baseURL, opts...))
			require.NotNil(t, failure)
			assert.False(t, failure.OutcomeUnknown, "%v", failure)
			assert.Equal(t, test.attempts, failure.Attempts, "%v", failure)
			assert.Zero(t, failure.StatusCode)
			assert.NotErrorIs(t, failure, context.DeadlineExceeded)
		})
	}
}

func TestACallThatIsCanceledWhileItDialsIsDefinite(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	_, failure := activateBy(ctx, clientOf(t, "http://127.0.0.1:1", flashback.WithHTTPClient(&http.Client{Transport: &http.Transport{
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			cancel()
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: context.DeadlineExceeded}
		},
	}})))
	require.ErrorIs(t, failure, context.Canceled)
	require.NotErrorIs(t, failure, context.DeadlineExceeded)
	assert.False(t, failure.OutcomeUnknown)
}

// A server may close a kept connection just as a request goes out on it.
func TestAConnectionThatTurnsOutToBeClosedLosesNothing(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string][]flashback.Option{
		"the client's own transport": nil,
		"a caller's transport":       {flashback.WithHTTPClient(&http.Client{Transport: flashback.NewTransport()})},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			backend := flashbacktest.NewBackend()
			server := httptest.NewUnstartedServer(backend)
			var idle atomic.Int64
			server.Config.ConnState = func(conn net.Conn, state http.ConnState) {
				if state == http.StateIdle && idle.Add(1)%3 == 0 {
					_ = conn.Close()
				}
			}
			server.Start()
			t.Cleanup(server.Close)
			client, err := flashback.NewClient(backend.Token(), append(opts, flashback.WithBaseURL(server.URL), flashback.WithBackoff(0, 0))...)
			require.NoError(t, err)
			for i := range 50 {
				user, err := client.Organization.Users.Create(t.Context(), flashback.NewUser{
					Email: fmt.Sprintf("user-%d@example.com", i), FirstName: "A", LastName: "B", Password: flashback.NewSecret("Passw0rd"),
				})
				require.NoError(t, err)
				_, err = client.Organization.Users.Delete(t.Context(), user.ID)
				require.NoError(t, err)
				_, err = client.Organization.Users.Activate(t.Context(), user.ID)
				require.NoError(t, err)
			}
			assert.Len(t, backend.Users(), 51, "and the owner")
		})
	}
}

func TestHTTP2IsSpoken(t *testing.T) {
	t.Parallel()
	var protocol atomic.Value
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		protocol.Store(r.Proto)
		respondActivated(w, r)
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	transport := flashback.NewTransport()
	transport.TLSClientConfig = trusting(server)
	client := clientOf(t, server.URL, flashback.WithHTTPClient(&http.Client{Transport: transport}))
	workers(t, client, 16, 10)
	assert.Equal(t, "HTTP/2.0", protocol.Load())
}

// trusting trusts the certificate of a server.
func trusting(server *httptest.Server) *tls.Config {
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	return &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
}

// What a transport sends again by itself may have been applied the first time, whatever
// the second response is.
func TestATransportThatRepeatsIsNoProofOfADefiniteFailure(t *testing.T) {
	t.Parallel()
	again := func(inner http.RoundTripper) http.RoundTripper {
		return roundTripper(func(req *http.Request) (*http.Response, error) {
			resp, err := inner.RoundTrip(req)
			if err != nil {
				resp, err = inner.RoundTrip(req)
			}
			return resp, err
		})
	}
	for name, transport := range map[string]func() http.RoundTripper{
		"a wrapper": func() http.RoundTripper { return again(&http.Transport{DisableKeepAlives: true}) },
		"a wrapper of the client's own": func() http.RoundTripper {
			return again(flashback.NewTransport())
		},
		"a scheme that another transport serves": func() http.RoundTripper {
			outer := new(http.Transport)
			outer.RegisterProtocol("http", again(&http.Transport{DisableKeepAlives: true}))
			return outer
		},
		"a scheme that a transport serves over kept connections": func() http.RoundTripper {
			outer := flashback.NewTransport()
			outer.RegisterProtocol("http", again(flashback.NewTransport()))
			return outer
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			backend := flashbacktest.New(t)
			client := backend.Client(flashback.WithHTTPClient(&http.Client{Transport: transport()}))
			for i, how := range []flashbacktest.Loss{flashbacktest.CutResponse, flashbacktest.ResetConnection} {
				id := fmt.Sprintf("user-%d", i)
				backend.AddDeletedUser(id)
				backend.ScriptFor(id, flashbacktest.LoseResponse(how))
				got, err := client.Organization.Users.Activate(t.Context(), id)
				require.NoError(t, err)
				assert.True(t, got.Recovered)
				assert.Equal(t, 1, got.Attempts)
			}
		})
	}
}

// Go 1.27 no longer sends a stream again that was reset with PROTOCOL_ERROR; Go 1.26 does.
func TestAnHTTP2StreamThatIsResetIsRecovered(t *testing.T) {
	t.Parallel()
	var requests atomic.Int64
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.TLS = &tls.Config{NextProtos: []string{"h2"}}
	server.Config.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){
		"h2": func(_ *http.Server, conn *tls.Conn, _ http.Handler) { resetFirstStream(conn, &requests) },
	}
	server.StartTLS()
	t.Cleanup(server.Close)
	transport := flashback.NewTransport()
	transport.TLSClientConfig = trusting(server)
	got, err := activateBy(t.Context(), clientOf(t, server.URL, flashback.WithHTTPClient(&http.Client{Transport: transport})))
	require.Nil(t, err)
	require.EqualValues(t, 2, requests.Load())
	assert.True(t, got.Recovered)
}

// resetFirstStream is an HTTP/2 server in its barest form: it resets the first
// stream with PROTOCOL_ERROR, and responds to the others with 400 "User is not deleted".
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

func TestAnAttemptsTimeoutBeginsWithTheAttempt(t *testing.T) {
	t.Parallel()
	backend := flashbacktest.New(t)
	const timeout = 100 * time.Millisecond
	client := backend.Client(flashback.WithAttemptTimeout(timeout), flashback.WithMaxRetries(0))
	for range 2 {
		_, _ = activateBy(t.Context(), client) // soon over
		backend.Script(flashbacktest.LoseResponse(flashbacktest.Stall))
		begun := time.Now()
		_, err := activateBy(t.Context(), client)
		require.ErrorIs(t, err, flashback.ErrOutcomeUnknown)
		require.ErrorContains(t, err, "no complete response within 100ms")
		require.NotErrorIs(t, err, context.DeadlineExceeded)
		assert.GreaterOrEqual(t, time.Since(begun), timeout)
	}
}

// A GET that its caller calls not idempotent is sent again by net/http all the same, so its
// outcome is never told as definite.
func TestAGETThatIsNotIdempotentIsAmbiguousOverAKeptConnection(t *testing.T) {
	t.Parallel()
	var applied atomic.Int32
	server := served(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/warm" {
			respondActivated(w, r)
			return
		}
		applied.Add(1)
		conn, _, err := http.NewResponseController(w).Hijack()
		if assert.NoError(t, err) {
			_ = conn.Close()
		}
	})
	client := clientOf(t, server.URL, flashback.WithMaxRetries(2))
	require.NoError(t, client.Do(t.Context(), flashback.Request{Method: "GET", Path: "/warm"}, nil))
	err := client.Do(t.Context(), flashback.Request{Method: "GET", Path: "/consume", Retry: flashback.RetryNotIdempotent}, nil)
	require.ErrorIs(t, err, flashback.ErrOutcomeUnknown)
	assert.Positive(t, applied.Load())
}
