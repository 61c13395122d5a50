// Package retry decides whether a call makes another attempt, and after which wait. It is
// pure: facts and a random number in, a decision out.
package retry

import (
	"math"
	"time"

	"github.com/flashbacknetwork/flashback-go/internal/verdict"
)

// Policy is how often and how long a client retries.
type Policy struct {
	MaxRetries    int           // attempts after the first one
	Base, Limit   time.Duration // of the wait before a retry: Base, doubled each time, up to Limit
	MaxRetryAfter time.Duration // the longest Retry-After that a call waits for
}

// NoDeadline is the time that is left to a call without a deadline.
const NoDeadline = time.Duration(math.MaxInt64)

// Facts are what is known after an attempt.
type Facts struct {
	Next        verdict.Step  // what the call does next if nothing was applied
	Complete    bool          // the attempt got a complete response
	Attempts    int           // made so far, read-backs included, without those that do not count
	RetryAfter  time.Duration // what the response asks for; 0 if it asks for nothing
	Canceled    bool          // the caller's context has ended
	TimeLeft    time.Duration // until the caller's deadline, or NoDeadline
	RenewsToken bool          // there may be another token after a 401
	AtGate      bool          // the response has closed the operation's gate, which is where the call waits
	GateWait    time.Duration // until the gate opens
}

// Decision is what comes after an attempt.
type Decision struct {
	Retry    bool
	NewToken bool          // another token than the last attempt had is needed, for the retry or else for the next call
	AtGate   bool          // the gate waits, and not the call itself
	Wait     time.Duration // before the retry; if Stop is DeadlineTooNear, the wait that would be too long
	Stop     Stop          // why there is no retry
}

// Stop is why there is no retry.
type Stop uint8

// The reasons to stop.
const (
	Settled           Stop = iota // the last response stands, or there are no attempts left
	ContextEnded                  // the caller's context has ended
	RetryAfterTooLong             // the server asks for a longer wait than the policy allows
	DeadlineTooNear               // the caller's deadline would pass before the next attempt
)

// Decide decides what comes after an attempt. random is in [0, 1).
func Decide(p Policy, f Facts, random float64) Decision {
	// A connection may notice the deadline before the context does.
	ended := f.Canceled || f.TimeLeft <= 0
	switch {
	case ended && (f.Next != verdict.Stop || !f.Complete):
		return Decision{Stop: ContextEnded}
	case f.Next == verdict.Stop:
		return Decision{Stop: Settled}
	case f.Next == verdict.AttemptWithNewToken:
		return Decision{Retry: f.RenewsToken && p.left(f), NewToken: f.RenewsToken}
	case !p.left(f):
		return Decision{Stop: Settled}
	case f.RetryAfter > p.MaxRetryAfter:
		return Decision{Stop: RetryAfterTooLong}
	}
	least, wait := p.wait(f, random)
	if f.TimeLeft <= least {
		return Decision{Stop: DeadlineTooNear, Wait: least}
	}
	return Decision{Retry: true, AtGate: f.AtGate, Wait: min(wait, f.TimeLeft-1)}
}

// left tells whether there is another attempt. Without retries there is none, even if the
// first attempt does not count.
func (p Policy) left(f Facts) bool { return p.MaxRetries > 0 && f.Attempts <= p.MaxRetries }

// wait returns how long to wait before the next attempt, and how much of that is certain.
// A Retry-After is lengthened by up to a tenth, at most a second, so that clients that
// were told the same moment do not all return in it. A wait of the client's own is
// shortened by up to a half.
func (p Policy) wait(f Facts, random float64) (least, wait time.Duration) {
	switch {
	case f.AtGate:
		return f.RetryAfter, f.GateWait
	case f.RetryAfter > 0:
		longest := f.RetryAfter + min(f.RetryAfter/10, time.Second, math.MaxInt64-f.RetryAfter)
		return f.RetryAfter, between(f.RetryAfter, longest, random)
	}
	longest := p.backoff(f.Attempts)
	wait = between(longest-longest/2, longest, random)
	return wait, wait
}

// backoff returns the longest wait before the n-th retry, from 1.
func (p Policy) backoff(n int) time.Duration {
	wait := p.Base
	for ; n > 1 && wait < p.Limit; n-- {
		wait += min(wait, p.Limit-wait) // doubled, without an overflow
	}
	return wait
}

// between is the jitter of all waits: a duration from least to most.
func between(least, most time.Duration, random float64) time.Duration {
	return least + time.Duration(random*float64(most-least))
}
