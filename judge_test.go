package flashback_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/jarcoal/httpmock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	flashback "github.com/flashbacknetwork/flashback-go"
)

// verdict is a row of the table of attempts.
type verdict struct {
	effect bool // may it have taken effect?
	again  bool // is it tried again?
}

var (
	definite  = verdict{effect: false, again: false}
	harmless  = verdict{effect: false, again: true}
	uncertain = verdict{effect: true, again: true}
)

// checkVerdict observes from outside what the client makes of an attempt: by
// itself, before a success, and before a 400 "User is not deleted".
func checkVerdict(t *testing.T, want verdict, attempt httpmock.Responder) {
	t.Helper()
	activate := func(answers []httpmock.Responder, opts ...flashback.Option) (*flashback.Activation, error) {
		if !want.again {
			answers = answers[:1] // a second request fails the test
		}
		return newWire(t, answers...).client(opts...).Organization.Users.Activate(t.Context(), "user-1")
	}

	_, err := activate([]httpmock.Responder{attempt}, flashback.WithMaxRetries(0))
	e := asError(t, err)
	assert.Equal(t, want.effect, e.OutcomeUnknown, "alone: %v", err)
	assert.Equal(t, want.effect, errors.Is(err, flashback.ErrOutcomeUnknown), "alone: %v", err)
	assert.Equal(t, 1, e.Attempts)

	got, err := activate([]httpmock.Responder{attempt, says(200, activated)})
	if want.again {
		if assert.NoError(t, err, "before a success") {
			assert.Equal(t, &flashback.Activation{UserID: "user-1", Message: "User activated successfully", Attempts: 2}, got)
		}
	} else {
		e = asError(t, err)
		assert.Equal(t, 1, e.Attempts)
		assert.Equal(t, want.effect, e.OutcomeUnknown)
	}

	if !want.again {
		return
	}
	got, err = activate([]httpmock.Responder{attempt, says(400, notDeleted)})
	if want.effect {
		if assert.NoError(t, err, "before a 400") {
			assert.Equal(t, &flashback.Activation{UserID: "user-1", Message: "User is not deleted", Attempts: 2, Recovered: true}, got)
		}
	} else {
		e = asError(t, err)
		require.ErrorIs(t, err, flashback.ErrUserNotDeleted)
		assert.Equal(t, 2, e.Attempts)
		assert.False(t, e.OutcomeUnknown)
		assert.NotErrorIs(t, err, flashback.ErrOutcomeUnknown)
	}
}

func TestEveryStatusIsJudgedByTheTable(t *testing.T) {
	t.Parallel()
	// An independent reading of the table: what is not listed is definite.
	uncertainStatus := map[int]bool{408: true}
	for status := 500; status <= 599; status++ {
		uncertainStatus[status] = status != 501 && status != 505
	}
	harmlessStatus := map[int]bool{425: true, 429: true}
	bodies := []struct {
		name, body string
		is2xx      verdict // what it makes of a 2xx
	}{
		{"says false", noWay, definite},
		{"says false alone", `{"success":false}`, definite},
		{"empty", "", uncertain},
		{"HTML", htmlPage, uncertain},
		{"half an object", activated[:20], uncertain},
		{"null", "null", uncertain},
		{"an array", "[]", uncertain},
		{"an object", "{}", uncertain},
		{"an error string", `{"error":"No way"}`, uncertain},
		{"says true", activated, verdict{}}, // of a 2xx, a success
	}
	for status := 100; status <= 599; status++ {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			for _, body := range bodies {
				var want verdict
				switch {
				case status >= 200 && status <= 299 && body.body == activated:
					got, err := newWire(t, says(status, activated)).client().Organization.Users.Activate(t.Context(), "user-1")
					require.NoError(t, err)
					assert.Equal(t, 1, got.Attempts)
					assert.False(t, got.Recovered)
					continue
				case status >= 200 && status <= 299:
					want = body.is2xx
				case uncertainStatus[status]:
					want = uncertain
				case harmlessStatus[status]:
					want = harmless
				}
				t.Run(body.name, func(t *testing.T) { checkVerdict(t, want, says(status, body.body)) })
			}
		})
	}
}

func TestUserIsNotDeletedIsDefiniteAtFirst(t *testing.T) {
	t.Parallel()
	checkVerdict(t, definite, says(400, notDeleted))
}

func TestUserIsNotDeletedIsJudgedByAllAttemptsBefore(t *testing.T) {
	t.Parallel()
	refused := fails(&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED})
	for _, tt := range []struct {
		name      string
		before    []httpmock.Responder
		recovered bool
	}{
		{"nothing before", nil, false},
		{"one that was never sent", []httpmock.Responder{refused}, false},
		{"only harmless ones", []httpmock.Responder{refused, says(429, ""), says(425, ""), refused}, false},
		{"a lost answer", []httpmock.Responder{fails(io.EOF)}, true},
		{"a lost answer, then harmless ones", []httpmock.Responder{fails(io.EOF), says(429, ""), refused, says(425, "")}, true},
		{"harmless ones, then a lost answer", []httpmock.Responder{says(429, ""), refused, says(425, ""), says(502, htmlPage)}, true},
		{"lost answers alone", []httpmock.Responder{says(500, ""), says(200, htmlPage), fails(io.EOF), says(408, "")}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWire(t, append(tt.before, says(400, notDeleted))...)
			got, err := w.client().Organization.Users.Activate(t.Context(), "user-1")
			if !tt.recovered {
				e := asError(t, err)
				assert.Equal(t, []string{"ErrBadRequest", "ErrUserNotDeleted"}, kinds(e))
				assert.Equal(t, len(tt.before)+1, e.Attempts)
				assert.False(t, e.OutcomeUnknown)
				return
			}
			require.NoError(t, err)
			assert.True(t, got.Recovered)
			assert.Equal(t, len(tt.before)+1, got.Attempts)
		})
	}
}

func TestA200AfterALostAnswerIsNotRecovered(t *testing.T) {
	t.Parallel()
	w := newWire(t, fails(io.EOF), says(503, ""), says(200, activated))
	got, err := w.client().Organization.Users.Activate(t.Context(), "user-1")
	require.NoError(t, err)
	assert.False(t, got.Recovered)
	assert.Equal(t, 3, got.Attempts)
}

// body is one that ends with an error, and tells whether it was closed.
type body struct {
	io.Reader
	err    error
	closed atomic.Bool
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if errors.Is(err, io.EOF) {
		return n, b.err
	}
	return n, err
}

func (b *body) Close() error { b.closed.Store(true); return nil }

func TestAnAnswerThatIsNotWholeIsALostOneWhateverItsStatus(t *testing.T) {
	t.Parallel()
	for _, status := range []int{200, 201, 204, 302, 400, 401, 403, 404, 409, 425, 429, 500, 501, 505} {
		for name, text := range map[string]string{
			"nothing": "", "half": activated[:20], "all of an envelope": activated, "all of a refusal": noWay, "not deleted": notDeleted,
		} {
			for _, cause := range []error{io.ErrUnexpectedEOF, &net.OpError{Op: "read", Err: syscall.ECONNRESET}, os.ErrDeadlineExceeded, errors.New("http2: stream error")} {
				t.Run(fmt.Sprint(status, " ", name, ", then ", cause), func(t *testing.T) {
					t.Parallel()
					checkVerdict(t, uncertain, func(*http.Request) (*http.Response, error) {
						b := &body{Reader: strings.NewReader(text), err: cause}
						t.Cleanup(func() { assert.True(t, b.closed.Load(), "the body is closed") })
						return &http.Response{StatusCode: status, Header: http.Header{}, Body: b}, nil
					})
				})
			}
		}
	}
}

func TestABodyOfMoreThan1MiBIsALostAnswerWhateverItsStatus(t *testing.T) {
	t.Parallel()
	const mib = 1 << 20
	pad := func(envelope string, size int) string { return envelope + strings.Repeat(" ", size-len(envelope)) }
	for _, status := range []int{200, 400, 403, 404, 501} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			checkVerdict(t, uncertain, says(status, pad(noWay, mib+1)))
			checkVerdict(t, definite, says(status, pad(noWay, mib)))
		})
	}
	checkVerdict(t, uncertain, says(400, pad(notDeleted, mib+1)))
	got, err := newWire(t, says(200, pad(activated, mib))).client().Organization.Users.Activate(t.Context(), "user-1")
	require.NoError(t, err)
	assert.Equal(t, 1, got.Attempts)
}

func TestEveryErrorOfATransportIsJudgedByTheTable(t *testing.T) {
	t.Parallel()
	timeout := &net.OpError{Op: "dial", Net: "tcp", Err: os.ErrDeadlineExceeded}
	noHost := &net.DNSError{Err: "no such host", Name: "h.example", IsNotFound: true}
	for _, tt := range []struct {
		name string
		err  error
		want verdict
	}{
		{"never sent: connection refused", &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}, harmless},
		{"never sent: no route", &net.OpError{Op: "dial", Net: "tcp", Err: syscall.EHOSTUNREACH}, harmless},
		{"never sent: dialing took too long", timeout, harmless},
		{"never sent: wrapped by a transport", fmt.Errorf("my transport: %w", &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}), harmless},
		{"never sent: wrapped by a client", &url.Error{Op: "Post", URL: "https://h.example", Err: timeout}, harmless},
		{"never sent: no such host", noHost, harmless},
		{"never sent: no such host, in a dial", &net.OpError{Op: "dial", Net: "tcp", Err: noHost}, harmless},
		{"never sent: the name server is out of order", &net.DNSError{Err: "server misbehaving", Name: "h.example", IsTemporary: true}, harmless},
		{"never sent: the proxy refused", &net.OpError{Op: "proxyconnect", Net: "tcp", Err: syscall.ECONNREFUSED}, harmless},

		{"can't heal: an unknown authority", x509.UnknownAuthorityError{}, definite},
		{"can't heal: a certificate that can't be verified", &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}, definite},
		{"can't heal: a certificate of another reason", &tls.CertificateVerificationError{Err: errors.New("mine")}, definite},
		{"can't heal: a certificate of another host", x509.HostnameError{Certificate: &x509.Certificate{}, Host: "h.example"}, definite},
		{"can't heal: a certificate that has expired", x509.CertificateInvalidError{Reason: x509.Expired}, definite},
		{"can't heal: a certificate, wrapped", fmt.Errorf("my transport: %w", x509.UnknownAuthorityError{}), definite},
		{"can't heal: a server that does not speak TLS", tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}, definite},
		{"can't heal: HTTP on an HTTPS port", http.ErrSchemeMismatch, definite},

		{"lost: end of file", io.EOF, uncertain},
		{"lost: unexpected end of file", io.ErrUnexpectedEOF, uncertain},
		{"lost: reset", &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}, uncertain},
		{"lost: broken pipe", &net.OpError{Op: "write", Net: "tcp", Err: syscall.EPIPE}, uncertain},
		{"lost: reading took too long", &net.OpError{Op: "read", Net: "tcp", Err: os.ErrDeadlineExceeded}, uncertain},
		{"lost: a time limit of the transport's own", context.DeadlineExceeded, uncertain},
		{"lost: canceled by the transport", context.Canceled, uncertain},
		{"lost: the connection is closed", net.ErrClosed, uncertain},
		{"lost: who knows", errors.New("who knows"), uncertain},
		{"lost: neither an answer nor an error", nil, uncertain},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			checkVerdict(t, tt.want, fails(tt.err))
			if tt.err == nil {
				return
			}
			_, err := newWire(t, fails(tt.err)).client(flashback.WithMaxRetries(0)).Organization.Users.Activate(t.Context(), "user-1")
			assert.Contains(t, asError(t, err).Error(), firstWords(tt.err))
			if errors.Is(tt.err, context.DeadlineExceeded) || errors.Is(tt.err, context.Canceled) {
				require.NotErrorIs(t, err, context.DeadlineExceeded, "that is the caller's")
				require.NotErrorIs(t, err, context.Canceled, "that is the caller's")
			} else {
				require.ErrorIs(t, err, tt.err)
			}
		})
	}
}

func firstWords(err error) string {
	text := err.Error()
	return text[:min(len(text), 60)]
}

func TestAnErrorThatComesWithAResponseIsALostAnswer(t *testing.T) {
	t.Parallel()
	checkVerdict(t, uncertain, func(*http.Request) (*http.Response, error) {
		b := &body{Reader: strings.NewReader(activated), err: io.EOF}
		t.Cleanup(func() { assert.True(t, b.closed.Load(), "the body is closed") })
		return &http.Response{StatusCode: 200, Header: http.Header{}, Body: b}, errors.New("and yet it failed")
	})
}

func TestAResponseWithoutABodyIsAnEmptyOne(t *testing.T) {
	t.Parallel()
	bare := func(status int) httpmock.Responder {
		return func(*http.Request) (*http.Response, error) { return &http.Response{StatusCode: status}, nil }
	}
	checkVerdict(t, uncertain, bare(200))
	checkVerdict(t, uncertain, bare(503))
	checkVerdict(t, harmless, bare(429))
	checkVerdict(t, definite, bare(404))
}

func TestATransportThatReportsItsConnectionsIsBelieved(t *testing.T) {
	t.Parallel()
	errMine := errors.New("mine")
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	for _, tt := range []struct {
		name   string
		report func(*httptrace.ClientTrace)
		err    error
		want   verdict
	}{
		{"it looked for a connection and got none", func(trace *httptrace.ClientTrace) {
			trace.GetConn("h.example:443")
		}, errMine, harmless},
		{"it got a connection", func(trace *httptrace.ClientTrace) {
			trace.GetConn("h.example:443")
			trace.GotConn(httptrace.GotConnInfo{})
		}, errMine, uncertain},
		{"it got a connection, and says that it was refused", func(trace *httptrace.ClientTrace) {
			trace.GetConn("h.example:443")
			trace.GotConn(httptrace.GotConnInfo{})
		}, refused, uncertain},
		{"it got a connection, repeated the request, and then got none", func(trace *httptrace.ClientTrace) {
			trace.GetConn("h.example:443")
			trace.GotConn(httptrace.GotConnInfo{})
			trace.GetConn("h.example:443")
		}, refused, uncertain},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			checkVerdict(t, tt.want, func(req *http.Request) (*http.Response, error) {
				tt.report(httptrace.ContextClientTrace(req.Context()))
				return nil, tt.err
			})
		})
	}
}

func TestACallersOwnTraceIsTold(t *testing.T) {
	t.Parallel()
	told := 0
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GetConn: func(string) { told++ }})
	w := newWire(t, func(req *http.Request) (*http.Response, error) {
		httptrace.ContextClientTrace(req.Context()).GetConn("h.example:443")
		return httpmock.NewStringResponse(200, activated), nil
	})
	_, err := w.client().Organization.Users.Activate(ctx, "user-1")
	require.NoError(t, err)
	assert.Equal(t, 1, told)
}
