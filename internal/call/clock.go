package call

import (
	"net/http"
	"strconv"
	"sync"
	"time"
)

// Clock is the server's, as the newest response to a request that changes something
// tells. Those to reads may come from a cache, with an old date.
type Clock struct {
	mu    sync.Mutex
	known bool
	ahead time.Duration // of ours
}

// observe learns from a response whose header came at a time.
func (c *Clock) observe(h http.Header, came time.Time) {
	sent := h.Get("Date")
	if sent == "" {
		return // ParseTime's error costs three allocations
	}
	date, err := http.ParseTime(sent)
	if err != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known, c.ahead = true, date.Sub(came)
}

// at is what the server's clock showed when ours showed t: what a read-back's Date says, or
// other responses, whichever is later. An old state passes for a new one only by a clock that
// is behind.
func (c *Clock) at(t time.Time, readBack http.Header, came time.Time) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	ahead, known := c.ahead, c.known
	if date, err := http.ParseTime(readBack.Get("Date")); err == nil && (!known || date.Sub(came) > ahead) {
		ahead = date.Sub(came)
	}
	return t.Add(ahead)
}

// olderThan tells whether a response may have been in a cache before a time. An Age is cut
// to whole seconds; one that can't be read may be any.
func olderThan(t time.Time, h http.Header) bool {
	age := h.Get("Age")
	if age == "" {
		return false
	}
	seconds, err := strconv.ParseUint(age, 10, 31)
	return err != nil || seconds > 0 && time.Duration(seconds+1)*time.Second > time.Since(t)
}
