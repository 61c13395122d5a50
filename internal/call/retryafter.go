package call

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// retryAfter returns the wait that a response asks for, or 0 if it asks for none: if its
// Retry-After is missing, malformed, negative or in the past. Of several, the longest counts.
func retryAfter(h http.Header) (longest time.Duration) {
	for _, value := range h.Values("Retry-After") {
		longest = max(longest, parseRetryAfter(strings.TrimSpace(value), h.Get("Date")))
	}
	return longest
}

func parseRetryAfter(value, date string) time.Duration {
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
	if sent, err := http.ParseTime(date); err == nil {
		now = sent // The server made both by its own clock, which may differ from this machine's.
	}
	return max(0, at.Sub(now))
}

func isDigits(s string) bool { return strings.Trim(s, "0123456789") == "" }
