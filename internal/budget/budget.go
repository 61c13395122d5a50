// Package budget is a token bucket of retries that refills.
package budget

import (
	"sync"
	"time"
)

// Budget is a bucket of retries. A nil Budget has no bottom.
type Budget struct {
	mu         sync.Mutex
	size, left float64
	at         time.Time // when left was right
}

// New returns a full bucket for n retries. It refills by one a second.
func New(n int) *Budget {
	return &Budget{size: float64(n), left: float64(n), at: time.Now()}
}

// Take takes one retry, and tells whether there was one.
func (b *Budget) Take() bool {
	if b == nil {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	// A clock that goes back, or that of a test, refills nothing.
	b.left = min(b.size, b.left+max(0, now.Sub(b.at).Seconds()))
	b.at = now
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}

// Give puts n retries back, or a part of one.
func (b *Budget) Give(n float64) {
	if b == nil || n == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left = min(b.size, b.left+n)
}
