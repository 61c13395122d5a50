package attempt

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
)

// What this package concludes from what it sees of a request, what net/http guarantees of
// it, the Go release since which that holds (1.21 stands for 1.21 or earlier), and the test
// that plays it:
//
//	GetConn was called, GotConn was not       never sent
//	  GotConn comes before a request is written; 1.21
//	  TestATransportThatTracesIsBelieved
//	GotConn was called, then an error         may have been sent
//	  (no guarantee is needed)
//	  TestAConnectionThatBreaksAfterTheHandshakeMayHaveSent
//	the same, on a new connection, and the    never sent
//	error is an alert of a handshake
//	  the server is checked before GotConn; with TLS 1.3, the client only after it; 1.21
//	  TestAHandshakeThatFailsHasSentNothing, TestAnAlertTellsWhetherARequestWasSent
//	the same, and the error is                never sent
//	"client conn could not be established"
//	  the peer ended the HTTP/2 connection before a request was written; 1.24
//	  TestAHandshakeThatFailsHasSentNothing
//	GotConn was called twice for a POST,      the first connection has not processed it
//	PUT, DELETE or PATCH
//	  over HTTP/1 it is sent again only if nothing of it was written; 1.21
//	  over HTTP/2 only after REFUSED_STREAM or a GOAWAY that leaves it out; 1.27
//	  TestOurOwnTransportsSecondConnectionIsARepetitionWhereNetHTTPSendsAgain, TestAStreamThatIsRefusedWasNotSent
//	the same, over HTTP/2, with Go 1.26       may have been sent twice
//	  it is sent again after PROTOCOL_ERROR too
//	  TestOurOwnTransportsSecondConnectionIsARepetitionWhereNetHTTPSendsAgain
//	GotConn was called twice otherwise        may have been sent twice
//	  GET, HEAD, OPTIONS and TRACE are sent again whenever a connection breaks; 1.21
//	  TestASecondConnectionIsARepetitionUnlessTheTransportIsOurOwn
//	nothing was traced, trusted transport     never sent
//	  GetConn comes before anything is sent; 1.21
//	  TestAProxyFunctionThatFailsHasSentNothing
//	nothing was traced, another transport     may have been sent, unless the error is that of a
//	                                          dial, a name, a handshake or a proxy
//	  these errors are those of connections that were not established; 1.21
//	  TestTheErrorOfATransportThatTracesNothingTells

// The stages of a request, in the order in which its trace shows them.
const (
	untraced   int32 = iota // the transport has reported nothing
	connecting              // the transport asks for a connection
	connected               // the request was given a connection
)

// tracer follows an attempt by the trace of its transport. Its fields are atomic, because
// a transport may report from another goroutine, even after the attempt has ended.
type tracer struct {
	trusted    bool                    // as in Sender
	replayable bool                    // net/http sends the request again whenever its connection breaks
	abort      context.CancelCauseFunc // nil if the request may be sent more than once
	stage      atomic.Int32
	fresh      atomic.Bool // the connection was new
	http2      atomic.Bool // the connection speaks HTTP/2
	repeated   atomic.Bool // the request may have been sent more than once
	hooks      httptrace.ClientTrace
}

func (t *tracer) clientTrace() *httptrace.ClientTrace {
	t.hooks = httptrace.ClientTrace{
		GetConn: func(string) {
			if t.stage.Load() != connected || t.resendsUnprocessed() {
				t.stage.Store(connecting)
			}
		},
		GotConn: func(info httptrace.GotConnInfo) {
			if t.stage.Swap(connected) == connected && !t.resendsUnprocessed() {
				t.repeated.Store(true)
				if t.abort != nil {
					t.abort(errSentTwice)
				}
			}
			t.fresh.Store(!info.Reused)
			secure, ok := info.Conn.(interface{ ConnectionState() tls.ConnectionState })
			t.http2.Store(ok && secure.ConnectionState().NegotiatedProtocol == "h2")
		},
	}
	return &t.hooks
}

// resendsUnprocessed tells whether the transport, if it sends this request again, does so
// only because the server has certainly not processed it.
func (t *tracer) resendsUnprocessed() bool {
	return t.trusted && !t.replayable && (!resendsReset || !t.http2.Load())
}

// isReplayable tells whether net/http takes a request for one that changes nothing.
func isReplayable(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	}
	return false
}

// sent tells whether a request that got no response may have been sent. cause is why the
// context has ended, if it has: a transport may return it in place of its own error, and
// then it says nothing about this request.
func (t *tracer) sent(transport http.RoundTripper, req *http.Request, err, cause error) bool {
	stage := t.stage.Load()
	if cause != nil && (errors.Is(cause, ErrNotSent) || neverSent(cause) || cause.Error() == notEstablished) {
		return stage == connected || stage == untraced && !t.trusted
	}
	if errors.Is(err, ErrNotSent) {
		return false
	}
	switch stage {
	case connected:
		// With TLS 1.3 the client has a connection before the server has checked its
		// certificate.
		_, alert := handshakeAlert(err)
		return !alert && err.Error() != notEstablished || !t.fresh.Load()
	case connecting:
		return false
	}
	return !t.trusted && !neverSent(err) && !proxyFailed(transport, req, err)
}
