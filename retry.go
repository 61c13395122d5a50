package flashback

import (
	"math"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// retryAfter is the wait that an answer asks for, or 0 if it asks for none: a
// missing, malformed, negative or past Retry-After.
func retryAfter(h http.Header) time.Duration {
	value := strings.TrimSpace(h.Get("Retry-After"))
	if value == "" {
		return 0
	}
	if isDigits(value) {
		seconds, err := strconv.ParseInt(value, 10, 64)
		if err != nil || seconds > math.MaxInt64/int64(time.Second) {
			return math.MaxInt64
		}
		return time.Duration(seconds) * time.Second
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	now := time.Now()
	if sent, err := http.ParseTime(h.Get("Date")); err == nil {
		now = sent // by the server's own clock, which ours may not agree with
	}
	return max(0, at.Sub(now))
}

func isDigits(s string) bool { return strings.Trim(s, "0123456789") == "" }

// backoff is the wait before a retry, the first being 1.
func (c *Client) backoff(retry int) time.Duration {
	limit := c.backoffBase
	for ; retry > 1 && limit < c.backoffMax; retry-- {
		limit += min(limit, c.backoffMax-limit) // doubled, without overflowing
	}
	return limit - rand.N(limit/2+1) //nolint:gosec // Jitter needs no secrecy.
}

// budget is the client's bucket of retries.
type budget struct {
	mu         sync.Mutex
	unlimited  bool
	size, left int64 // in tenths of a retry
}

const retryTenths = 10

func (b *budget) fill(n int) {
	b.unlimited = n < 0
	b.size = min(int64(n), math.MaxInt64/retryTenths) * retryTenths
	b.left = b.size
}

// take takes one retry out and tells whether there was one.
func (b *budget) take() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.unlimited {
		return true
	}
	if b.left < retryTenths {
		return false
	}
	b.left -= retryTenths
	return true
}

// giveBack puts tenths of a retry back.
func (b *budget) giveBack(tenths int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left = min(b.size, b.left+tenths)
}
