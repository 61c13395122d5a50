package flashback

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/http/httptrace"
)

// callTransport is the transport of retryablehttp's client. Having no
// CloseIdleConnections, it keeps that client from closing the idle connections of
// other calls after a failure.
type callTransport struct{}

func (callTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	return callOf(req.Context()).send(req)
}

// send is one attempt: it sends the request, reads the whole answer and keeps what
// came of it.
func (c *call) send(req *http.Request) (*http.Response, error) {
	ctx := req.Context()
	if ctx.Err() != nil {
		c.stop = contextError(ctx)
		return nil, c.stop
	}
	round := c.client.pacer.current()
	if c.client.timeLimit != nil {
		var cancel context.CancelCauseFunc
		ctx, cancel = context.WithCancelCause(ctx)
		defer cancel(nil)
		defer c.client.timeLimit(cancel)()
	} else if timeout := c.client.attemptTimeout; timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, timeout, timeoutError{timeout})
		defer cancel()
	}
	if c.op.repeat == once {
		ctx, c.abort = context.WithCancelCause(ctx)
		defer c.abort(nil)
	}
	req = req.WithContext(ctx)
	c.client.setHeader(req, c.token)
	c.attempts++
	c.connection.Store(untraced)
	c.resent.Store(false)
	resp, err := c.client.transport.RoundTrip(req)
	if err == nil && resp == nil {
		err = errors.New("the transport returned neither an answer nor an error")
	}
	c.last = attempt{}
	if err == nil {
		c.last.answer, err = readAnswer(resp, c.op)
		c.last.sent = true
	} else {
		closeBody(resp)
		c.last.sent = c.mayHaveSent(err)
	}
	if err != nil {
		c.last.err = c.describe(ctx, err)
		resp = nil
	} else {
		resp.Body = http.NoBody
	}
	if c.last.answer != nil {
		c.client.pacer.answered(c.last.answer.status == http.StatusTooManyRequests, round)
	}
	c.record()
	return resp, c.last.err
}

// How far a request got on its way to a connection.
const (
	untraced int32 = iota // the transport tells nothing
	connecting
	connected // it was given a connection, so it may have gone out
)

// watch makes the trace that tells a request that was never sent from one whose
// answer was lost, and one that the transport sent twice on its own account.
func (c *call) watch() *httptrace.ClientTrace {
	c.trace = httptrace.ClientTrace{
		GetConn: func(string) {
			// net/http repeats a POST over HTTP/1 if, and only if, nothing was written of it.
			// Over HTTP/2 it also does when the server reset the stream, and another
			// transport may do as it likes.
			if c.connection.Load() != connected || c.client.standard && !c.overHTTP2.Load() {
				c.connection.Store(connecting)
			}
		},
		GotConn: func(info httptrace.GotConnInfo) {
			if c.connection.Swap(connected) == connected {
				c.resent.Store(true)
				if c.abort != nil {
					c.abort(errSentAgain)
				}
			}
			secure, ok := info.Conn.(interface{ ConnectionState() tls.ConnectionState })
			c.overHTTP2.Store(ok && secure.ConnectionState().NegotiatedProtocol == "h2")
		},
	}
	return &c.trace
}

// mayHaveSent tells whether an attempt without an answer may have gone out.
func (c *call) mayHaveSent(err error) bool {
	if at := c.connection.Load(); at != untraced || c.client.ownTransport {
		return at == connected
	}
	var (
		op  *net.OpError
		dns *net.DNSError
	)
	dialing := errors.As(err, &op) && (op.Op == "dial" || op.Op == "proxyconnect")
	return !dialing && !errors.As(err, &dns) && !handshakeFailed(err)
}

// errSentAgain is the cause of an attempt that the transport was about to send a
// second time, where that could be once too often.
var errSentAgain = errors.New("the connection broke, and the transport was kept from sending it again")

// opaqueError keeps the words of an error, but not what it matches.
type opaqueError string

func (e opaqueError) Error() string { return string(e) }

// describe keeps an error of the transport from saying what is not so or what is
// secret: ctx is the attempt's.
func (c *call) describe(ctx context.Context, err error) error {
	cause := context.Cause(ctx)
	var timeout timeoutError
	if errors.As(cause, &timeout) {
		return timeout
	}
	if errors.Is(cause, errSentAgain) {
		return errSentAgain
	}
	text := c.redact(err.Error())
	// A time limit of the transport's own matches the caller's too.
	foreign := c.ctx.Err() == nil && (errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled))
	if foreign || text != err.Error() {
		return opaqueError(text)
	}
	return err
}
