// Package attempt makes one HTTP exchange: it sends a request, reads the whole
// response, and says how far the request got.
package attempt

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"
)

// Sender sends requests.
type Sender struct {
	Transport http.RoundTripper
	// Own says that Transport is net/http's and was made by this module, so that what it
	// traces is known to be all that it does.
	Own bool
	// Timeout bounds an attempt, to the last byte of its response. 0 is no bound.
	Timeout time.Duration
}

// Result is what came of an attempt.
type Result struct {
	Response *http.Response // nil if no header came; its body is read and closed
	At       time.Time      // when the header came
	Body     []byte         // as far as it came
	Err      error          // why there is no complete response
	Sent     bool           // the request may have been sent
	Repeated bool           // the transport may have sent it more than once
	Hopeless bool           // what Err says does not heal in seconds
	TooLarge bool           // the body is larger than the limit
}

var (
	errTooLarge  = errors.New("the response's body is larger than the client reads")
	errNothing   = errors.New("the transport returned neither a response nor an error")
	errSentTwice = errors.New("the connection broke, and the transport was kept from sending the request again")
)

// TimeoutError is the error of an attempt that took too long. It does not match
// context.DeadlineExceeded, which is the caller's.
type TimeoutError struct{ After time.Duration }

func (e TimeoutError) Error() string { return fmt.Sprintf("no complete response within %v", e.After) }

// Timeout makes it a timeout in the terms of package net.
func (TimeoutError) Timeout() bool { return true }

// Do sends req and reads up to maxBody bytes of the response's body. A request that
// is for once is kept from being sent again, as soon as the transport traces that it is
// about to.
func (s *Sender) Do(req *http.Request, maxBody int64, once bool) Result {
	ctx := req.Context()
	if s.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, s.Timeout, TimeoutError{s.Timeout})
		defer cancel()
	}
	w := watch{own: s.Own, replays: replayable(req.Method)}
	if once {
		ctx, w.abort = context.WithCancelCause(ctx)
		defer w.abort(nil)
	}
	resp, err := s.Transport.RoundTrip(req.WithContext(httptrace.WithClientTrace(ctx, w.hooks())))
	err = Real(err)
	var result Result
	switch {
	case err == nil && resp == nil:
		result = Result{Err: errNothing, Sent: true}
	case err == nil:
		result = read(ctx, resp, &w.body, maxBody)
	default:
		if resp != nil && resp.Body != nil {
			_ = resp.Body.Close() // an error and a response: the error counts
		}
		result = Result{Err: err, Sent: w.sent(s.Transport, req, err, Real(context.Cause(ctx)))}
		result.Hopeless = !result.Sent && hopeless(err)
	}
	result.Repeated = w.repeated.Load()
	if cause := context.Cause(ctx); result.Err != nil && cause != nil {
		var timeout TimeoutError
		if errors.As(cause, &timeout) || errors.Is(cause, errSentTwice) {
			result.Err = cause
		}
	}
	return result
}

// read reads and closes the body of resp, by way of reader.
func read(ctx context.Context, resp *http.Response, reader *bounded, limit int64) Result {
	result := Result{Response: resp, Sent: true, At: time.Now()}
	if resp.Body == nil {
		return result
	}
	body := resp.Body
	defer func() { _ = body.Close() }() // all that matters has been read
	resp.Body = http.NoBody
	if resp.StatusCode >= 100 && resp.StatusCode < 200 {
		return result // the body of a 101 is the bare connection, which never ends
	}
	length := max(resp.ContentLength, 0)
	if resp.Request != nil && resp.Request.Method == http.MethodHead {
		length = 0 // it is that of the response to a GET
	}
	if length > limit {
		result.Err, result.TooLarge = errTooLarge, true
		return result
	}
	var buffer bytes.Buffer
	buffer.Grow(int(min(length, 1<<20)) + bytes.MinRead) // no more in advance: a length is soon said
	*reader = bounded{ctx, body, limit + 1}
	_, result.Err = buffer.ReadFrom(reader)
	if result.Body = buffer.Bytes(); int64(len(result.Body)) > limit {
		result.Body = result.Body[:limit]
		result.Err, result.TooLarge = errTooLarge, true
	}
	return result
}

// bounded reads a part of a body, as long as a context lasts.
type bounded struct {
	ctx  context.Context
	body io.Reader
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, io.EOF
	}
	n, err := b.body.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	if n == 0 && err == nil {
		err = b.ctx.Err() // it may go on like this for ever
	}
	return n, err
}

// How far a request got.
const (
	untraced int32 = iota // the transport tells nothing
	connecting
	connected // it was given a connection
)

// watch follows an attempt by the trace of its transport.
type watch struct {
	own      bool
	replays  bool                    // net/http sends such a request again whenever its connection breaks
	abort    context.CancelCauseFunc // nil if the request may be sent more than once
	at       atomic.Int32
	fresh    atomic.Bool // the connection is new
	http2    atomic.Bool
	repeated atomic.Bool
	trace    httptrace.ClientTrace // here, it costs no allocation; so does body
	body     bounded
}

func (w *watch) hooks() *httptrace.ClientTrace {
	w.trace.GetConn = func(string) {
		if w.at.Load() != connected || w.unprocessed() {
			w.at.Store(connecting)
		}
	}
	w.trace.GotConn = func(info httptrace.GotConnInfo) {
		if w.at.Swap(connected) == connected && !w.unprocessed() {
			w.repeated.Store(true)
			if w.abort != nil {
				w.abort(errSentTwice)
			}
		}
		w.fresh.Store(!info.Reused)
		secure, ok := info.Conn.(interface{ ConnectionState() tls.ConnectionState })
		w.http2.Store(ok && secure.ConnectionState().NegotiatedProtocol == "h2")
	}
	return &w.trace
}

// unprocessed tells whether a request that gets a second connection was certainly not processed on the first. Over HTTP/1,
// net/http sends a POST, a PUT or a DELETE again if, and only if, nothing was written of it; over HTTP/2, if the server
// refused its stream or said by GOAWAY that it stopped before. Another transport may do as it likes.
func (w *watch) unprocessed() bool {
	return w.own && !w.replays && (!resendsReset || !w.http2.Load())
}

// replayable tells whether net/http takes a request for one that changes nothing.
func replayable(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	}
	return false
}

// sent tells whether a request that got no response may have been sent. The error may be no
// more than the cause of the context's end, which tells about another request, if any.
func (w *watch) sent(transport http.RoundTripper, req *http.Request, err, cause error) bool {
	if cause != nil && (errors.Is(cause, ErrNotSent) || neverSent(cause) || cause.Error() == notEstablished) {
		return w.at.Load() == connected || w.at.Load() == untraced && !w.own
	}
	if errors.Is(err, ErrNotSent) {
		return false
	}
	switch w.at.Load() {
	case connected:
		// With TLS 1.3 the client has a connection before the server has checked its
		// certificate.
		_, alert := handshakeAlert(err)
		return !alert && err.Error() != notEstablished || !w.fresh.Load()
	case connecting:
		return false
	}
	return !w.own && !neverSent(err) && !proxyFailed(transport, req, err)
}
