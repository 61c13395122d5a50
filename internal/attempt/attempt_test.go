package attempt_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/url"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/flashbacknetwork/flashback-go/internal/attempt"
)

const maxBody = 1 << 10

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

func fails(err error) http.RoundTripper {
	return roundTripper(func(*http.Request) (*http.Response, error) { return nil, err })
}

func responds(status int, body io.ReadCloser, length int64) http.RoundTripper {
	return roundTripper(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: status, Header: http.Header{}, Body: body, ContentLength: length}, nil
	})
}

func post(t *testing.T, to string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, to, nil)
	require.NoError(t, err)
	return req
}

// do makes one attempt.
func do(t *testing.T, transport http.RoundTripper, trusted bool) attempt.Result {
	t.Helper()
	s := attempt.Sender{Transport: transport, Trusted: trusted}
	return s.Do(t.Context(), post(t, "https://h.example/"), maxBody, false, false)
}

// fate is how far a request without a complete response got.
type fate struct{ sent, permanent bool }

var (
	maybeSent  = fate{sent: true}
	neverSent  = fate{}
	unsendable = fate{permanent: true}
)

func fateOf(r attempt.Result) fate { return fate{r.Sent, r.Permanent} }

func TestTheErrorOfATransportThatTracesNothingTells(t *testing.T) {
	t.Parallel()
	dial := func(err error) error { return &net.OpError{Op: "dial", Net: "tcp", Err: err} }
	noHost := &net.DNSError{Err: "no such host", Name: "h.example", IsNotFound: true}
	remote := func(alert uint8) error { return &net.OpError{Op: "remote error", Err: tls.AlertError(alert)} }
	for _, tt := range []struct {
		name string
		err  error
		want fate
	}{
		{"connection refused", dial(syscall.ECONNREFUSED), neverSent},
		{"no route", dial(syscall.EHOSTUNREACH), neverSent},
		{"dialing took too long", dial(os.ErrDeadlineExceeded), neverSent},
		{"wrapped by a transport", fmt.Errorf("my transport: %w", dial(syscall.ECONNREFUSED)), neverSent},
		{"wrapped by a client", &url.Error{Op: "Post", URL: "https://h.example", Err: dial(os.ErrDeadlineExceeded)}, neverSent},
		{"no such host", noHost, neverSent},
		{"no such host, in a dial", dial(noHost), neverSent},
		{"the name server is out of order", &net.DNSError{Err: "server misbehaving", Name: "h.example", IsTemporary: true}, neverSent},
		{"the proxy is not there", &net.OpError{Op: "proxyconnect", Net: "tcp", Err: syscall.ECONNREFUSED}, neverSent},
		{"a SOCKS proxy refused", &net.OpError{Op: "socks connect", Net: "tcp", Err: errors.New("connection not allowed by ruleset")}, neverSent},
		{"the transport says so", attempt.ErrNotSent, neverSent},
		{"the transport says so, and why", fmt.Errorf("the circuit breaker is open: %w", attempt.ErrNotSent), neverSent},
		{"a handshake that failed", tls.AlertError(40), neverSent},
		{"no common version, says the server", remote(70), neverSent},

		{"an unknown authority", x509.UnknownAuthorityError{}, unsendable},
		{"a certificate that can't be verified", &tls.CertificateVerificationError{Err: errors.New("mine")}, unsendable},
		{"a certificate of another host", x509.HostnameError{Certificate: &x509.Certificate{}, Host: "h.example"}, unsendable},
		{"a certificate that has expired", x509.CertificateInvalidError{Reason: x509.Expired}, unsendable},
		{"a certificate, wrapped", fmt.Errorf("my transport: %w", x509.UnknownAuthorityError{}), unsendable},
		{"no system roots", x509.SystemRootsError{}, unsendable},
		{"a server that does not speak TLS", tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}, unsendable},
		{"HTTP on an HTTPS port", http.ErrSchemeMismatch, unsendable},
		{"the client has no certificate, says the server", remote(116), unsendable},
		{"the client's certificate is bad, says the server", fmt.Errorf("my transport: %w", remote(42)), unsendable},
		{"the proxy refused with a status", attempt.ProxyRefusedError{Status: 407}, maybeSent}, // a transport of net/http would have traced

		{"end of file", io.EOF, maybeSent},
		{"unexpected end of file", io.ErrUnexpectedEOF, maybeSent},
		{"reset", &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}, maybeSent},
		{"broken pipe", &net.OpError{Op: "write", Net: "tcp", Err: syscall.EPIPE}, maybeSent},
		{"reading took too long", &net.OpError{Op: "read", Net: "tcp", Err: os.ErrDeadlineExceeded}, maybeSent},
		{"an alert that comes later too", remote(20), maybeSent},
		{"a closing notice", remote(0), maybeSent},
		{"an alert of our own", &net.OpError{Op: "local error", Err: errors.New(tls.AlertError(50).Error())}, maybeSent},
		{"a time limit of the transport's own", context.DeadlineExceeded, maybeSent},
		{"canceled by the transport", context.Canceled, maybeSent},
		{"the connection is closed", net.ErrClosed, maybeSent},
		{"words alone", errors.New("Proxy Authentication Required"), maybeSent},
		{"who knows", errors.New("who knows"), maybeSent},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := do(t, fails(tt.err), false)
			assert.Equal(t, tt.want, fateOf(r))
			assert.Equal(t, tt.err, r.Err)
			assert.Nil(t, r.Response)
			assert.False(t, r.Repeated)
		})
	}
	assert.True(t, do(t, fails(nil), false).Sent, "neither a response nor an error")
	assert.False(t, do(t, fails(io.EOF), true).Sent, "our own transport traces what it sends")
}

// The names are those of RFC 8446 and RFC 5246. The server sends some of its alerts during a
// handshake only, before it has taken a request; of these, those about the client's
// certificate do not heal.
func TestAnAlertTellsWhetherARequestWasSent(t *testing.T) {
	t.Parallel()
	for alert, want := range map[uint8]fate{
		0:   maybeSent,  // close_notify
		10:  maybeSent,  // unexpected_message
		20:  maybeSent,  // bad_record_mac
		22:  maybeSent,  // record_overflow
		40:  neverSent,  // handshake_failure
		41:  unsendable, // no_certificate
		42:  unsendable, // bad_certificate
		43:  unsendable, // unsupported_certificate
		44:  unsendable, // certificate_revoked
		45:  unsendable, // certificate_expired
		46:  unsendable, // certificate_unknown
		47:  neverSent,  // illegal_parameter
		48:  unsendable, // unknown_ca
		49:  unsendable, // access_denied
		50:  neverSent,  // decode_error
		51:  neverSent,  // decrypt_error
		70:  neverSent,  // protocol_version
		71:  neverSent,  // insufficient_security
		80:  maybeSent,  // internal_error
		86:  neverSent,  // inappropriate_fallback
		90:  maybeSent,  // user_canceled
		100: maybeSent,  // no_renegotiation
		109: neverSent,  // missing_extension
		110: neverSent,  // unsupported_extension
		112: neverSent,  // unrecognized_name
		113: unsendable, // bad_certificate_status_response
		115: neverSent,  // unknown_psk_identity
		116: unsendable, // certificate_required
		120: neverSent,  // no_application_protocol
		200: maybeSent,  // none that is known
	} {
		for _, err := range []error{tls.AlertError(alert), &net.OpError{Op: "remote error", Err: tls.AlertError(alert)}} {
			assert.Equal(t, want, fateOf(do(t, fails(err), false)), "%d, %v", alert, err)
		}
	}
}

// A transport returns the cause of the context's end, which may be the error of another
// request, as in an errgroup.
func TestTheCauseOfAContextTellsNothingAboutTheRequest(t *testing.T) {
	t.Parallel()
	for _, cause := range []error{
		fmt.Errorf("another call: %w", attempt.ErrNotSent),
		tls.AlertError(42),
		x509.UnknownAuthorityError{},
		&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED},
		errNotEstablished,
	} {
		for name, tt := range map[string]struct {
			trace           func(*httptrace.ClientTrace)
			trusted, others bool
		}{
			"it traces nothing":     {func(*httptrace.ClientTrace) {}, false, true},
			"it got no connection":  {func(trace *httptrace.ClientTrace) { trace.GetConn("h.example:443") }, false, false},
			"it got a connection":   {func(trace *httptrace.ClientTrace) { trace.GotConn(httptrace.GotConnInfo{}) }, true, true},
			"it used one once more": {func(trace *httptrace.ClientTrace) { trace.GotConn(httptrace.GotConnInfo{Reused: true}) }, true, true},
		} {
			for trusted, want := range map[bool]bool{true: tt.trusted, false: tt.others} {
				ctx, cancel := context.WithCancelCause(t.Context())
				sender := attempt.Sender{Trusted: trusted, Transport: roundTripper(func(req *http.Request) (*http.Response, error) {
					tt.trace(httptrace.ContextClientTrace(req.Context()))
					cancel(cause)
					return nil, context.Cause(req.Context())
				})}
				req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://h.example/", nil)
				require.NoError(t, err)
				assert.Equal(t, want, sender.Do(req.Context(), req, 1<<10, false, false).Sent, "%s, trusted %v, %v", name, trusted, cause)
			}
		}
	}
}

var errNotEstablished = errors.New("http2: client conn could not be established")

func TestATransportThatTracesIsBelieved(t *testing.T) {
	t.Parallel()
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	looks := func(trace *httptrace.ClientTrace) { trace.GetConn("h.example:443") }
	gets := func(trace *httptrace.ClientTrace) { trace.GotConn(httptrace.GotConnInfo{}) }
	reuses := func(trace *httptrace.ClientTrace) { trace.GotConn(httptrace.GotConnInfo{Reused: true}) }
	for _, tt := range []struct {
		name            string
		traces          []func(*httptrace.ClientTrace)
		err             error
		trusted, others fate
		repeated        bool
	}{
		{"it looked for a connection and got none", []func(*httptrace.ClientTrace){looks}, io.EOF, neverSent, neverSent, false},
		{"it got a connection", []func(*httptrace.ClientTrace){looks, gets}, io.EOF, maybeSent, maybeSent, false},
		{"it got one, and says that it was refused", []func(*httptrace.ClientTrace){looks, gets}, refused, maybeSent, maybeSent, false},
		{"it got one, and says that nothing was sent", []func(*httptrace.ClientTrace){looks, gets}, attempt.ErrNotSent, neverSent, neverSent, false},
		{"it got a new one, which the server ends with a handshake's alert", []func(*httptrace.ClientTrace){looks, gets}, tls.AlertError(116), unsendable, unsendable, false},
		{"it used one again, which the server ends with a handshake's alert", []func(*httptrace.ClientTrace){looks, reuses}, tls.AlertError(116), maybeSent, maybeSent, false},
		{"it got a new one, which the server ends before a request", []func(*httptrace.ClientTrace){looks, gets}, errNotEstablished, neverSent, neverSent, false},
		{"it used one again, and says the same", []func(*httptrace.ClientTrace){looks, reuses}, errNotEstablished, maybeSent, maybeSent, false},
		// Over HTTP/1, net/http's own looks for another only if nothing was written.
		{"it got one, and no other for the repetition", []func(*httptrace.ClientTrace){looks, reuses, looks}, refused, neverSent, maybeSent, false},
		{"it was given two", []func(*httptrace.ClientTrace){looks, gets, gets}, io.EOF, maybeSent, maybeSent, true},
	} {
		for trusted, want := range map[bool]fate{true: tt.trusted, false: tt.others} {
			t.Run(fmt.Sprint(tt.name, ", trusted ", trusted), func(t *testing.T) {
				t.Parallel()
				r := do(t, roundTripper(func(req *http.Request) (*http.Response, error) {
					for _, trace := range tt.traces {
						trace(httptrace.ContextClientTrace(req.Context()))
					}
					return nil, tt.err
				}), trusted)
				assert.Equal(t, want, fateOf(r))
				assert.Equal(t, tt.repeated && !trusted, r.Repeated)
			})
		}
	}
}

func TestASecondConnectionIsARepetitionUnlessTheTransportIsOurOwn(t *testing.T) {
	t.Parallel()
	for trusted, repeated := range map[bool]bool{true: false, false: true} {
		for _, once := range []bool{false, true} {
			s := attempt.Sender{Trusted: trusted, Transport: roundTripper(func(req *http.Request) (*http.Response, error) {
				trace := httptrace.ContextClientTrace(req.Context())
				for range 2 {
					trace.GetConn("h.example:443")
					trace.GotConn(httptrace.GotConnInfo{Reused: true})
				}
				return &http.Response{StatusCode: 200}, req.Context().Err()
			})}
			r := s.Do(t.Context(), post(t, "https://h.example/"), maxBody, once, false)
			assert.Equal(t, repeated, r.Repeated)
			if repeated && once {
				require.ErrorContains(t, r.Err, "kept from sending the request again")
				require.NotErrorIs(t, r.Err, context.Canceled)
			} else {
				require.NoError(t, r.Err)
			}
		}
	}
}

// h2 is a connection over which HTTP/2 is spoken.
type h2 struct{ net.Conn }

func (h2) ConnectionState() tls.ConnectionState { return tls.ConnectionState{NegotiatedProtocol: "h2"} }

// resendsReset says that net/http sends a request again whose stream was reset with PROTOCOL_ERROR.
var resendsReset = strings.HasPrefix(runtime.Version(), "go1.26")

func TestOurOwnTransportsSecondConnectionIsARepetitionWhereNetHTTPSendsAgain(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, method string
		conn         net.Conn
		repeated     bool
	}{
		{"a POST over HTTP/1, of which nothing was written", http.MethodPost, nil, false},
		{"a DELETE over HTTP/1, of which nothing was written", http.MethodDelete, nil, false},
		{"a POST over HTTP/2, whose stream was refused, or reset with Go 1.26", http.MethodPost, h2{}, resendsReset},
		{"a GET over HTTP/1, whose connection may have broken", http.MethodGet, nil, true},
		{"a GET over HTTP/2, whose connection may have broken", http.MethodGet, h2{}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := attempt.Sender{Trusted: true, Transport: roundTripper(func(req *http.Request) (*http.Response, error) {
				trace := httptrace.ContextClientTrace(req.Context())
				for range 2 {
					trace.GetConn("h.example:443")
					trace.GotConn(httptrace.GotConnInfo{Conn: tt.conn, Reused: true})
				}
				return &http.Response{StatusCode: 200}, nil
			})}
			req := post(t, "https://h.example/")
			req.Method = tt.method
			assert.Equal(t, tt.repeated, s.Do(req.Context(), req, maxBody, false, false).Repeated)
		})
	}
}

// A server that takes few streams at a time refuses others, and net/http sends them again. With Go 1.26 nothing tells
// that this is why.
func TestAStreamThatIsRefusedWasNotSent(t *testing.T) {
	t.Parallel()
	if resendsReset {
		t.Skip("Go 1.27 and later")
	}
	var requests atomic.Int64
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { requests.Add(1) }))
	server.EnableHTTP2 = true
	server.Config.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: 5}
	server.StartTLS()
	t.Cleanup(server.Close)
	s := attempt.Sender{Trusted: true, Transport: server.Client().Transport}
	const crowd = 50
	var all sync.WaitGroup
	for range crowd {
		all.Go(func() {
			r := s.Do(t.Context(), post(t, server.URL), maxBody, true, false)
			assert.True(t, r.Err == nil && !r.Repeated, "%v", r.Err)
		})
	}
	all.Wait()
	assert.EqualValues(t, crowd, requests.Load())
}

func TestTheLengthOfAResponseToHEADIsNotItsOwn(t *testing.T) {
	t.Parallel()
	req := post(t, "https://h.example/")
	req.Method = http.MethodHead
	s := attempt.Sender{Transport: roundTripper(func(req *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Body: http.NoBody, ContentLength: maxBody + 1, Request: req}, nil
	})}
	r := s.Do(req.Context(), req, maxBody, false, false)
	require.NoError(t, r.Err)
	assert.False(t, r.TooLarge)
}

func TestAResponseThatComesAllTheSameCounts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := attempt.Sender{Transport: roundTripper(func(req *http.Request) (*http.Response, error) {
			trace := httptrace.ContextClientTrace(req.Context())
			trace.GotConn(httptrace.GotConnInfo{})
			trace.GotConn(httptrace.GotConnInfo{})
			<-req.Context().Done() // which the transport does not look at
			return &http.Response{StatusCode: 200}, nil
		})}
		r := s.Do(t.Context(), post(t, "https://h.example/"), maxBody, true, false)
		require.NoError(t, r.Err)
		require.NotNil(t, r.Response)
		assert.True(t, r.Repeated)
	})
}

// body tells whether it was closed, and how much of it was read.
type body struct {
	io.Reader

	read   atomic.Int64
	closed atomic.Bool
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	b.read.Add(int64(n))
	return n, err
}

func (b *body) Close() error { b.closed.Store(true); return nil }

func TestABodyIsReadToItsEndOrToTheLimitAndClosed(t *testing.T) {
	t.Parallel()
	zeros := iotest.TimeoutReader(nil) // never read
	for _, tt := range []struct {
		name     string
		body     io.Reader
		length   int64
		status   int
		kept     int
		err      error // io.EOF stands for any
		tooLarge bool
	}{
		{"none", strings.NewReader(""), 0, 200, 0, nil, false},
		{"some", strings.NewReader("hello"), 5, 200, 5, nil, false},
		{"of an unknown length", strings.NewReader("hello"), -1, 404, 5, nil, false},
		{"just the limit", strings.NewReader(strings.Repeat("x", maxBody)), -1, 200, maxBody, nil, false},
		{"one byte more", strings.NewReader(strings.Repeat("x", maxBody+1)), -1, 200, maxBody, io.EOF, true},
		{"endless", endless{}, -1, 500, maxBody, io.EOF, true},
		{"a length over the limit, which is not read", zeros, maxBody + 1, 200, 0, io.EOF, true},
		{"a length that is a lie", strings.NewReader("hello"), maxBody, 200, 5, nil, false},
		{"cut", io.MultiReader(strings.NewReader("hel"), iotest.ErrReader(io.ErrUnexpectedEOF)), 5, 200, 3, io.ErrUnexpectedEOF, false},
		{"cut where it is too large", iotest.DataErrReader(io.MultiReader(strings.NewReader(strings.Repeat("x", maxBody+1)), iotest.ErrReader(io.ErrUnexpectedEOF))), -1, 200, maxBody, io.ErrUnexpectedEOF, false},
		{"the bare connection of a 101, which is not read", zeros, -1, 101, 0, nil, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := &body{Reader: tt.body}
			r := do(t, responds(tt.status, b, tt.length), false)
			assert.Equal(t, tt.tooLarge, r.TooLarge)
			assert.Len(t, r.Body, tt.kept)
			assert.True(t, r.Sent)
			assert.True(t, b.closed.Load(), "it is closed")
			assert.LessOrEqual(t, b.read.Load(), int64(maxBody+1))
			require.NotNil(t, r.Response)
			assert.Equal(t, tt.status, r.Response.StatusCode)
			assert.Equal(t, http.NoBody, r.Response.Body, "nobody reads it again")
			switch {
			case tt.err == nil:
				require.NoError(t, r.Err)
			case errors.Is(tt.err, io.EOF):
				require.Error(t, r.Err)
			default:
				require.ErrorIs(t, r.Err, tt.err)
			}
		})
	}
	require.NoError(t, do(t, responds(200, nil, 0), false).Err, "a nil body is an empty one")
}

func TestABodyThatNeitherGivesNorEndsEndsWithTheContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	s := attempt.Sender{Transport: responds(200, io.NopCloser(&stuck{cancel: cancel}), -1)}
	r := s.Do(ctx, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://h/", nil), maxBody, false, false)
	require.ErrorIs(t, r.Err, context.Canceled)
}

// stuck returns neither bytes nor an error, and has the context canceled meanwhile.
type stuck struct {
	cancel context.CancelFunc
	reads  int
}

func (s *stuck) Read([]byte) (int, error) {
	s.reads++
	switch s.reads {
	case 10:
		s.cancel()
	case 1000:
		return 0, io.EOF
	}
	return 0, nil
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestAnErrorThatComesWithAResponseCounts(t *testing.T) {
	t.Parallel()
	errMine := errors.New("and yet it failed")
	b := &body{Reader: strings.NewReader("hello")}
	r := do(t, roundTripper(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Body: b}, errMine
	}), false)
	assert.Nil(t, r.Response)
	require.ErrorIs(t, r.Err, errMine)
	assert.True(t, r.Sent)
	assert.True(t, b.closed.Load())
}

func TestATimeoutIsTheAttemptsOwn(t *testing.T) {
	t.Parallel()
	for name, transport := range map[string]http.RoundTripper{
		"before the response": roundTripper(func(req *http.Request) (*http.Response, error) {
			<-req.Context().Done()
			return nil, req.Context().Err()
		}),
		"in the body": roundTripper(func(req *http.Request) (*http.Response, error) {
			<-time.After(500 * time.Millisecond)
			return &http.Response{StatusCode: 200, Body: io.NopCloser(waiting{req.Context()})}, nil
		}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := attempt.Sender{Transport: transport, Timeout: time.Second}
				begun := time.Now()
				r := s.Do(t.Context(), post(t, "https://h.example/"), maxBody, false, false)
				assert.Equal(t, time.Second, time.Since(begun))
				assert.Equal(t, attempt.TimeoutError{After: time.Second}, r.Err)
				require.NotErrorIs(t, r.Err, context.DeadlineExceeded)
				assert.True(t, r.Sent)
				var timeout interface{ Timeout() bool }
				require.ErrorAs(t, r.Err, &timeout)
				assert.True(t, timeout.Timeout())

				ctx, cancel := context.WithTimeout(t.Context(), 700*time.Millisecond)
				defer cancel()
				r = s.Do(ctx, post(t, "https://h.example/"), maxBody, true, false)
				require.ErrorIs(t, r.Err, context.DeadlineExceeded, "the caller's")

				s.Timeout = 0
				ctx, cancel = context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				begun = time.Now()
				_ = s.Do(ctx, post(t, "https://h.example/"), maxBody, false, false)
				assert.Equal(t, time.Hour, time.Since(begun), "0 is no bound")
			})
		})
	}
}

// waiting is a body that never comes.
type waiting struct{ ctx context.Context } //nolint:containedctx // It ends the reading.

func (w waiting) Read([]byte) (int, error) {
	<-w.ctx.Done()
	return 0, w.ctx.Err()
}

// both makes an attempt with a transport that counts as our own, and with one that
// counts as a caller's.
func both(t *testing.T, to string, transport func() *http.Transport, check func(t *testing.T, r attempt.Result)) {
	t.Helper()
	for trusted, name := range map[bool]string{true: "our trusted transport", false: "a caller's transport"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tr := transport()
			if trusted {
				tr.OnProxyConnectResponse = attempt.OnProxyConnectResponse
			}
			t.Cleanup(tr.CloseIdleConnections)
			s := attempt.Sender{Transport: tr, Trusted: trusted, Timeout: 20 * time.Second}
			check(t, s.Do(t.Context(), post(t, to), maxBody, false, false))
		})
	}
}

func TestAProxyThatRefusesWasNotPassed(t *testing.T) {
	t.Parallel()
	for status, want := range map[string]fate{
		"407 Proxy Authentication Required": unsendable,
		"403 Forbidden":                     unsendable,
		"502 Bad Gateway":                   neverSent,
		"503 Service Unavailable":           neverSent,
		"429 Too Many Requests":             neverSent,
	} {
		t.Run(status, func(t *testing.T) {
			t.Parallel()
			address := listen(t, func(conn net.Conn) {
				_, _ = conn.Read(make([]byte, 4096)) // the CONNECT
				_, _ = io.WriteString(conn, "HTTP/1.1 "+status+"\r\nContent-Length: 0\r\n\r\n")
			})
			proxy := &url.URL{Scheme: "http", Host: address}
			for _, h2 := range []bool{false, true} {
				both(t, "https://h.example/", func() *http.Transport {
					return &http.Transport{Proxy: http.ProxyURL(proxy), ForceAttemptHTTP2: h2}
				}, func(t *testing.T, r attempt.Result) {
					t.Helper()
					assert.Equal(t, want, fateOf(r), "%v", r.Err)
				})
			}
		})
	}
	for status, words := range map[int]string{407: "Proxy Authentication Required", 403: "Forbidden"} {
		t.Run(fmt.Sprint("its reason in other words, ", status), func(t *testing.T) {
			t.Parallel()
			address := listen(t, func(conn net.Conn) {
				_, _ = conn.Read(make([]byte, 4096))
				_, _ = fmt.Fprintf(conn, "HTTP/1.1 %d Sign in first\r\nContent-Length: 0\r\n\r\n", status)
			})
			tr := &http.Transport{
				Proxy:                  http.ProxyURL(&url.URL{Scheme: "http", Host: address}),
				OnProxyConnectResponse: attempt.OnProxyConnectResponse,
			}
			r := do(t, tr, true)
			assert.Equal(t, unsendable, fateOf(r), "%v", r.Err)
			assert.Equal(t, fmt.Sprintf("the proxy answered %d %s", status, words), r.Err.Error())
		})
	}
	t.Run("one that is not there", func(t *testing.T) {
		t.Parallel()
		both(t, "https://h.example/", func() *http.Transport {
			return &http.Transport{Proxy: http.ProxyURL(&url.URL{Scheme: "http", Host: "127.0.0.1:1"})}
		}, func(t *testing.T, r attempt.Result) {
			t.Helper()
			assert.Equal(t, neverSent, fateOf(r), "%v", r.Err)
		})
	})
}

// listen gives each connection to a function, and closes it after that.
func listen(t *testing.T, serve func(net.Conn)) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			serve(conn)
			_ = conn.Close()
		}
	}()
	return listener.Addr().String()
}

func TestAProxyFunctionThatFailsHasSentNothing(t *testing.T) {
	t.Parallel()
	errProxy := errors.New("no proxy for you")
	both(t, "https://h.example/", func() *http.Transport {
		return &http.Transport{Proxy: func(*http.Request) (*url.URL, error) { return nil, errProxy }}
	}, func(t *testing.T, r attempt.Result) {
		t.Helper()
		assert.Equal(t, neverSent, fateOf(r))
		require.ErrorIs(t, r.Err, errProxy)
	})
	// The control: an error of something else behind such a transport.
	for _, failure := range []error{nil, errProxy} {
		tr := &http.Transport{Proxy: func(*http.Request) (*url.URL, error) { return nil, failure }}
		tr.RegisterProtocol("other", fails(io.EOF)) // past any proxy
		s := attempt.Sender{Transport: tr}
		assert.True(t, s.Do(t.Context(), post(t, "other://h.example/"), maxBody, false, false).Sent)
	}
}

// handshake makes an attempt on a TLS server.
func handshake(t *testing.T, server, client func(*tls.Config), h2 bool, check func(*testing.T, attempt.Result)) {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the request was sent") }))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.EnableHTTP2 = h2
	s.TLS = &tls.Config{}
	server(s.TLS)
	s.StartTLS()
	t.Cleanup(s.Close)
	both(t, s.URL, func() *http.Transport {
		roots := x509.NewCertPool()
		roots.AddCert(s.Certificate())
		config := &tls.Config{RootCAs: roots}
		client(config)
		return &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: h2}
	}, check)
}

func TestAHandshakeThatFailsHasSentNothing(t *testing.T) {
	t.Parallel()
	none := func(*tls.Config) {}
	version := func(v uint16) func(*tls.Config) {
		return func(c *tls.Config) { c.MinVersion, c.MaxVersion = v, v }
	}
	asks := func(v uint16) func(*tls.Config) {
		return func(c *tls.Config) {
			version(v)(c)
			c.ClientAuth = tls.RequireAndVerifyClientCert
		}
	}
	stranger := func(t *testing.T) func(*tls.Config) {
		t.Helper()
		other := httptest.NewTLSServer(nil)
		t.Cleanup(other.Close)
		return func(c *tls.Config) {
			c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				return &other.TLS.Certificates[0], nil // which the server does not know
			}
		}
	}
	for _, tt := range []struct {
		name           string
		server, client func(*tls.Config)
		want           fate
	}{
		{"no client certificate, TLS 1.2", asks(tls.VersionTLS12), none, neverSent}, // the alert does not say what failed
		{"no client certificate, TLS 1.3", asks(tls.VersionTLS13), none, unsendable},
		{"a client certificate of a stranger, TLS 1.2", asks(tls.VersionTLS12), stranger(t), unsendable},
		{"a client certificate of a stranger, TLS 1.3", asks(tls.VersionTLS13), stranger(t), unsendable},
		{"no common version", version(tls.VersionTLS13), version(tls.VersionTLS12), neverSent},
		{"a server certificate of an unknown authority", none, func(c *tls.Config) { c.RootCAs = x509.NewCertPool() }, unsendable},
		{"a server certificate of another host", none, func(c *tls.Config) { c.ServerName = "other.test" }, unsendable},
	} {
		for _, h2 := range []bool{false, true} {
			t.Run(fmt.Sprint(tt.name, ", HTTP/2 ", h2), func(t *testing.T) {
				t.Parallel()
				handshake(t, tt.server, tt.client, h2, func(t *testing.T, r attempt.Result) {
					t.Helper()
					want := tt.want
					switch { // With TLS 1.3 the alert and the request cross.
					case h2 && r.Err.Error() == errNotEstablished.Error():
						want = neverSent // but the alert is not told
					case errors.Is(r.Err, syscall.EPIPE), errors.Is(r.Err, syscall.ECONNRESET),
						errors.Is(r.Err, syscall.Errno(10053)), errors.Is(r.Err, syscall.Errno(10054)): // Windows' own numbers
						want = maybeSent // which can't be told from a request that was sent
					}
					assert.Equal(t, want, fateOf(r), "%v", r.Err)
					assert.False(t, r.Repeated)
				})
			})
		}
	}
	t.Run("a server without TLS", func(t *testing.T) {
		t.Parallel()
		plain := httptest.NewServer(nil)
		t.Cleanup(plain.Close)
		both(t, "https"+strings.TrimPrefix(plain.URL, "http"), func() *http.Transport { return new(http.Transport) }, func(t *testing.T, r attempt.Result) {
			t.Helper()
			assert.Equal(t, unsendable, fateOf(r), "%v", r.Err)
		})
	})
	t.Run("a server that closes during the handshake", func(t *testing.T) {
		t.Parallel()
		address := listen(t, func(conn net.Conn) { _, _ = conn.Read(make([]byte, 1)) })
		both(t, "https://"+address, func() *http.Transport { return new(http.Transport) }, func(t *testing.T, r attempt.Result) {
			t.Helper()
			assert.Equal(t, neverSent, fateOf(r), "%v", r.Err)
		})
	})
}

// The control of the tests of handshakes and proxies: over the same connections, a
// response that is lost was sent.
func TestAConnectionThatBreaksAfterTheHandshakeMayHaveSent(t *testing.T) {
	t.Parallel()
	for _, h2 := range []bool{false, true} {
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
		s.EnableHTTP2 = h2
		s.StartTLS()
		t.Cleanup(s.Close)
		both(t, s.URL, func() *http.Transport {
			roots := x509.NewCertPool()
			roots.AddCert(s.Certificate())
			return &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: h2}
		}, func(t *testing.T, r attempt.Result) {
			t.Helper()
			assert.Equal(t, maybeSent, fateOf(r), "%v", r.Err)
		})
	}
}

func TestAFreshAttemptHasAConnectionOfItsOwn(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprint(w, r.RemoteAddr, " ", r.Close) //nolint:gosec // no browser reads it
	}))
	t.Cleanup(server.Close)
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	s := attempt.Sender{Transport: tr, Trusted: true}
	var from []string
	for _, fresh := range []bool{false, false, true, true, false} {
		r := s.Do(t.Context(), post(t, server.URL), maxBody, false, fresh)
		require.NoError(t, r.Err)
		from = append(from, string(r.Body))
		assert.Equal(t, fresh, strings.HasSuffix(from[len(from)-1], "true"), "a fresh connection ends with its request")
	}
	assert.Equal(t, from[0], from[1], "a connection is used again")
	assert.NotEqual(t, from[0], from[2], "but not for a fresh attempt")
	assert.NotEqual(t, from[2], from[3], "nor is that of another fresh one")
	assert.Equal(t, from[0], from[4], "the old connection stays")
}

func TestAnErrorThatIsANilPointerDoesNoHarm(t *testing.T) {
	t.Parallel()
	var none *net.OpError
	r := do(t, fails(none), false)
	require.Error(t, r.Err)
	assert.Contains(t, r.Err.Error(), "nil *net.OpError")

	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(none)
	s := attempt.Sender{Transport: fails(errors.New("canceled"))}
	r = s.Do(ctx, post(t, "https://h.example/"), maxBody, false, false)
	assert.EqualError(t, r.Err, "canceled")
}
