package attempt

import (
	"net/http"
	"sync/atomic"
	"time"
)

// Pool is an [http.Transport] that leaves connections which have gone dead. A firewall may
// forget all of them at once, and over HTTP/2 attempts would wait on the same one again and
// again. So once an attempt has timed out and no response came to any other meanwhile, the
// next attempts go through a clone of the transport, which has no connections yet.
type Pool struct {
	current   atomic.Pointer[http.Transport]
	responded atomic.Int64 // when the last response came, in Unix nanoseconds
}

// NewPool returns a Pool that begins with t.
func NewPool(t *http.Transport) *Pool {
	p := new(Pool)
	p.current.Store(t)
	return p
}

// RoundTrip sends a request through the current transport.
func (p *Pool) RoundTrip(req *http.Request) (*http.Response, error) {
	return p.current.Load().RoundTrip(req)
}

// CloseIdleConnections closes the idle connections of the current transport.
func (p *Pool) CloseIdleConnections() { p.current.Load().CloseIdleConnections() }

// done learns from an attempt that began at a time and went through used.
func (p *Pool) done(used *http.Transport, began time.Time, r Result) {
	if r.Response != nil {
		p.responded.Store(r.At.UnixNano())
	}
	if _, timedOut := r.Err.(TimeoutError); timedOut && p.responded.Load() <= began.UnixNano() { //nolint:errorlint // Do has made it.
		if p.current.CompareAndSwap(used, used.Clone()) {
			used.CloseIdleConnections()
		}
	}
}
