// Package attempt makes one HTTP exchange: it sends a request, reads the whole
// response, and says how far the request got.
package attempt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"slices"
	"time"
)

// Sender sends requests.
type Sender struct {
	Transport http.RoundTripper
	// Trusted says that Transport is net/http's and was made by this module, so that the
	// trace of a request tells all that was done with it.
	Trusted bool
	// Timeout bounds an attempt, to the last byte of its response. 0 is no bound.
	Timeout time.Duration
}

// Result is what came of an attempt.
type Result struct {
	Response  *http.Response // nil if no header came; its body has been read and closed
	At        time.Time      // when the header came
	Body      []byte         // as much of it as came
	Err       error          // why there is no complete response; nil if there is one
	Sent      bool           // the request may have been sent
	Repeated  bool           // the transport may have sent the request more than once
	Permanent bool           // the request was not sent, for a reason that does not heal in seconds
	TooLarge  bool           // the body is larger than the limit
}

var (
	errTimeout   = errors.New("the attempt took too long")
	errTooLarge  = errors.New("the response's body is larger than the client reads")
	errNothing   = errors.New("the transport returned neither a response nor an error")
	errSentTwice = errors.New("the connection broke, and the transport was kept from sending the request again")
)

// TimeoutError is the error of an attempt that took too long. It does not match
// context.DeadlineExceeded, which stands for the caller's deadline.
type TimeoutError struct{ After time.Duration }

func (e TimeoutError) Error() string { return fmt.Sprintf("no complete response within %v", e.After) }

// Timeout makes TimeoutError a timeout in the terms of package net.
func (TimeoutError) Timeout() bool { return true }

// Do sends req with ctx and reads up to maxBody bytes of the response's body. If once is
// set, the attempt is canceled as soon as the trace shows that the transport is about to
// send the request a second time. If fresh is set, the request gets a new connection.
func (s *Sender) Do(ctx context.Context, req *http.Request, maxBody int64, once, fresh bool) Result {
	if s.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, s.Timeout, errTimeout)
		defer cancel()
	}
	t := tracer{trusted: s.Trusted, replayable: isReplayable(req.Method)}
	if once {
		ctx, t.abort = context.WithCancelCause(ctx)
		defer t.abort(nil)
	}
	transport, release := s.transport(fresh)
	defer release()
	resp, err := transport.RoundTrip(req.WithContext(httptrace.WithClientTrace(ctx, t.clientTrace())))
	err = NonNil(err)
	var result Result
	switch {
	case err == nil && resp == nil:
		result = Result{Err: errNothing, Sent: true}
	case err == nil:
		result = read(ctx, resp, maxBody)
	default:
		if resp != nil && resp.Body != nil {
			_ = resp.Body.Close() // A transport that returns an error and a response has failed.
		}
		result = Result{Err: err, Sent: t.sent(transport, req, err, NonNil(context.Cause(ctx)))}
		result.Permanent = !result.Sent && permanent(err)
	}
	result.Repeated = t.repeated.Load()
	if result.Err != nil {
		switch cause := NonNil(context.Cause(ctx)); {
		case errors.Is(cause, errTimeout):
			result.Err = TimeoutError{s.Timeout}
		case errors.Is(cause, errSentTwice):
			result.Err = errSentTwice
		}
	}
	return result
}

// transport returns the transport for an attempt, and a function for its end. For a fresh
// connection it is a clone that keeps none, if Transport is net/http's: over HTTP/2, requests
// would else share the old one.
func (s *Sender) transport(fresh bool) (t http.RoundTripper, release func()) {
	own, ok := s.Transport.(*http.Transport)
	if !fresh || !ok {
		return s.Transport, func() {}
	}
	clone := own.Clone()
	clone.DisableKeepAlives = true
	return clone, clone.CloseIdleConnections // which ends a dial that goes on after its request
}

// read reads and closes the body of resp.
func read(ctx context.Context, resp *http.Response, limit int64) Result {
	result := Result{Response: resp, Sent: true, At: time.Now()}
	if resp.Body == nil {
		return result
	}
	body := resp.Body
	defer func() { _ = body.Close() }() // What matters has been read.
	resp.Body = http.NoBody
	if resp.StatusCode >= 100 && resp.StatusCode < 200 {
		return result // The body of a 101 is the bare connection, which never ends.
	}
	length := max(resp.ContentLength, 0)
	if resp.Request != nil && resp.Request.Method == http.MethodHead {
		length = 0 // The response to a HEAD has the length of the response to a GET.
	}
	if length > limit {
		result.Err, result.TooLarge = errTooLarge, true
		return result
	}
	result.Body = make([]byte, 0, min(length, 1<<20)+512) // at most 1 MiB: a server may announce more than it sends
	result.Body, result.Err = readAll(ctx, body, result.Body, limit)
	if result.Err == nil && int64(len(result.Body)) > limit {
		result.Err, result.TooLarge = errTooLarge, true
	}
	result.Body = result.Body[:min(int64(len(result.Body)), limit)]
	return result
}

// readAll appends to b what r reads until its end, or until b has more than limit bytes.
// Unlike [io.ReadAll], it ends with the context where r returns neither bytes nor an error
// for ever.
func readAll(ctx context.Context, r io.Reader, b []byte, limit int64) ([]byte, error) {
	for int64(len(b)) <= limit {
		if len(b) == cap(b) {
			b = slices.Grow(b, cap(b)+512) // append would grow a large slice by a quarter, and copy it often
		}
		n, err := r.Read(b[len(b):min(int64(cap(b)), limit+1)])
		b = b[:len(b)+n]
		switch {
		case errors.Is(err, io.EOF):
			return b, nil
		case err != nil:
			return b, err
		case n == 0 && ctx.Err() != nil:
			return b, ctx.Err()
		}
	}
	return b, nil
}
