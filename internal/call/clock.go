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

func (c *Clock) observe(h http.Header) {
	date, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known, c.ahead = true, time.Until(date)
}

// Now is what the server's clock shows.
func (c *Clock) Now() time.Time { return c.at(time.Now(), nil) }

// at is what the server's clock showed when ours showed t. If no other response has told,
// the read-back has to.
func (c *Clock) at(t time.Time, readBack http.Header) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known {
		return t.Add(c.ahead)
	}
	if date, err := http.ParseTime(readBack.Get("Date")); err == nil {
		return t.Add(time.Until(date))
	}
	return t
}

// older tells whether a response was in a cache already at a time.
func older(h http.Header, than time.Time) bool {
	age := h.Get("Age")
	if age == "" {
		return false
	}
	seconds, err := strconv.ParseUint(age, 10, 31)
	return err == nil && seconds > 0 && time.Duration(seconds)*time.Second >= time.Since(than)
}
