package call

import (
	"context"
	"math"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Retry says how often and when an attempt is repeated.
type Retry struct {
	Max           int           // attempts after the first one
	Base, Limit   time.Duration // of the backoff
	MaxRetryAfter time.Duration // the longest Retry-After that is waited for
	OutageWait    time.Duration // how old an outage may be in which a call waits
}

// backoff is the wait before a retry, the first being 1: doubled each time, and
// shortened at random by up to a half.
func (r Retry) backoff(retry int) time.Duration {
	limit := r.Base
	for ; retry > 1 && limit < r.Limit; retry-- {
		limit += min(limit, r.Limit-limit) // doubled, without overflowing
	}
	return limit - rand.N(limit/2+1) //nolint:gosec // Jitter needs no secrecy.
}

// spread makes a wait longer at random, by a tenth and up to a second: those who were
// told the same moment should not all come at it.
func spread(wait time.Duration) time.Duration {
	return wait + rand.N(min(wait/10, time.Second, math.MaxInt64-wait)+1) //nolint:gosec // Jitter needs no secrecy.
}

// sleep waits, and tells whether the context has not ended before.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// retryAfter is the wait that a response asks for, or 0 if it asks for none: a
// missing, malformed, negative or past Retry-After.
func retryAfter(h http.Header) time.Duration {
	value := strings.TrimSpace(h.Get("Retry-After"))
	if value == "" {
		return 0
	}
	if whole, fraction, _ := strings.Cut(value, "."); isDigits(whole) && isDigits(fraction) && whole != "" {
		seconds, err := strconv.ParseInt(whole, 10, 64)
		if strings.Trim(fraction, "0") != "" {
			seconds++
		}
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
