package call

import (
	"sync"

	"github.com/flashbacknetwork/flashback-go/internal/serverclock"
)

// Clock is the server's clock, as the responses to all calls of a client show it. Only those to
// requests that change something count: others may come from a cache that does not say so.
type Clock struct {
	mu    sync.Mutex
	known serverclock.Clock
}

func (c *Clock) observe(r serverclock.Response) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known = c.known.Observe(r)
}

// with returns what is known, together with one response.
func (c *Clock) with(r serverclock.Response) serverclock.Clock {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.known.Observe(r)
}

// shown returns what the response shows of the server's clock.
func (r *Response) shown() serverclock.Response {
	return serverclock.Response{Sent: r.SentAt, Came: r.At, Date: r.Header.Values("Date"), Age: r.Header.Values("Age")}
}
