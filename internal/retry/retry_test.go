package retry_test

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/flashbacknetwork/flashback-go/internal/retry"
	"github.com/flashbacknetwork/flashback-go/internal/verdict"
)

var policy = retry.Policy{MaxRetries: 4, Base: 8 * time.Second, Limit: 20 * time.Second, MaxRetryAfter: time.Minute}

// facts are those of a call that may go on at once, changed as a row says.
func facts(change func(*retry.Facts)) retry.Facts {
	f := retry.Facts{Next: verdict.AttemptAgain, Complete: true, Attempts: 1, TimeLeft: retry.NoDeadline}
	change(&f)
	return f
}

func TestDecide(t *testing.T) {
	t.Parallel()
	const s = time.Second
	stop := func(why retry.Stop) retry.Decision { return retry.Decision{Stop: why} }
	after := func(wait time.Duration) retry.Decision { return retry.Decision{Retry: true, Wait: wait} }
	newToken := retry.Decision{Retry: true, NewToken: true}
	for _, tt := range []struct {
		name   string
		change func(*retry.Facts)
		random float64
		want   retry.Decision
	}{
		{"what has stopped is settled", func(f *retry.Facts) { f.Next = verdict.Stop }, 0, stop(retry.Settled)},
		{"what may help is tried again", func(*retry.Facts) {}, 0, after(4 * s)},
		{"the last retry", func(f *retry.Facts) { f.Attempts = 4 }, 0, after(10 * s)},
		{"no retries are left", func(f *retry.Facts) { f.Attempts = 5 }, 0, stop(retry.Settled)},
		{"no retries are left for another token, which the next call needs", func(f *retry.Facts) { f.Next, f.RenewsToken, f.Attempts = verdict.AttemptWithNewToken, true, 5 }, 0, retry.Decision{NewToken: true}},

		{"another token is tried at once", func(f *retry.Facts) { f.Next, f.RenewsToken = verdict.AttemptWithNewToken, true }, 0.9, newToken},
		{"another token, whatever the server asks", func(f *retry.Facts) {
			f.Next, f.RenewsToken, f.RetryAfter, f.TimeLeft = verdict.AttemptWithNewToken, true, time.Hour, s
		}, 0, newToken},
		{"there is no other token", func(f *retry.Facts) { f.Next = verdict.AttemptWithNewToken }, 0, stop(retry.Settled)},

		{"a canceled call ends", func(f *retry.Facts) { f.Canceled = true }, 0, stop(retry.ContextEnded)},
		{"a call ends with its deadline", func(f *retry.Facts) { f.TimeLeft = 0 }, 0, stop(retry.ContextEnded)},
		{"a deadline that the connection noticed first", func(f *retry.Facts) { f.TimeLeft = -1 }, 0, stop(retry.ContextEnded)},
		{"a canceled call that would need another token", func(f *retry.Facts) { f.Canceled, f.Next = true, verdict.AttemptWithNewToken }, 0, stop(retry.ContextEnded)},
		{"a canceled call without a response", func(f *retry.Facts) { f.Canceled, f.Complete, f.Next = true, false, verdict.Stop }, 0, stop(retry.ContextEnded)},
		{"a canceled call with its final response is settled", func(f *retry.Facts) { f.Canceled, f.Next = true, verdict.Stop }, 0, stop(retry.Settled)},
		{"a canceled call without retries says that it was canceled", func(f *retry.Facts) { f.Canceled, f.Attempts = true, 5 }, 0, stop(retry.ContextEnded)},

		{"the first wait is Base", func(*retry.Facts) {}, 1, after(8 * s)},
		{"shortened at random", func(*retry.Facts) {}, 0.5, after(6 * s)},
		{"by a half at most", func(*retry.Facts) {}, 0, after(4 * s)},
		{"the second is twice that", func(f *retry.Facts) { f.Attempts = 2 }, 1, after(16 * s)},
		{"up to Limit", func(f *retry.Facts) { f.Attempts = 3 }, 1, after(20 * s)},
		{"and no more", func(f *retry.Facts) { f.Attempts = 4 }, 1, after(20 * s)},

		{"a Retry-After takes its place", func(f *retry.Facts) { f.RetryAfter = 5 * s }, 0, after(5 * s)},
		{"lengthened at random", func(f *retry.Facts) { f.RetryAfter = 4 * s }, 0.5, after(4200 * time.Millisecond)},
		{"by a tenth at most", func(f *retry.Facts) { f.RetryAfter = 4 * s }, 1, after(4400 * time.Millisecond)},
		{"and a second", func(f *retry.Facts) { f.RetryAfter = 50 * s }, 1, after(51 * s)},
		{"a Retry-After of just what is allowed", func(f *retry.Facts) { f.RetryAfter = time.Minute }, 0, after(time.Minute)},
		{"a longer one", func(f *retry.Facts) { f.RetryAfter = time.Minute + 1 }, 0, stop(retry.RetryAfterTooLong)},
		{"a longer one, where the gate would wait", func(f *retry.Facts) { f.RetryAfter, f.AtGate = time.Hour, true }, 0, stop(retry.RetryAfterTooLong)},

		{"the gate waits", func(f *retry.Facts) { f.AtGate, f.GateWait = true, 3*s }, 0.7, retry.Decision{Retry: true, AtGate: true, Wait: 3 * s}},
		{"the gate waits for a Retry-After", func(f *retry.Facts) { f.AtGate, f.GateWait, f.RetryAfter = true, 33*s, 30*s }, 0.7, retry.Decision{Retry: true, AtGate: true, Wait: 33 * s}},
		{"a Retry-After at the gate that outlasts the deadline", func(f *retry.Facts) { f.AtGate, f.GateWait, f.RetryAfter, f.TimeLeft = true, 33*s, 30*s, 30*s }, 0, retry.Decision{Stop: retry.DeadlineTooNear, Wait: 30 * s}},

		{"a wait that would outlast the deadline", func(f *retry.Facts) { f.TimeLeft = 4 * s }, 0, retry.Decision{Stop: retry.DeadlineTooNear, Wait: 4 * s}},
		{"a wait that would because of its jitter", func(f *retry.Facts) { f.TimeLeft = 5 * s }, 0.5, retry.Decision{Stop: retry.DeadlineTooNear, Wait: 6 * s}},
		{"a wait that does not", func(f *retry.Facts) { f.TimeLeft = 4*s + 1 }, 0, after(4 * s)},
		{"a Retry-After that would outlast the deadline", func(f *retry.Facts) { f.RetryAfter, f.TimeLeft = 5*s, 5*s }, 1, retry.Decision{Stop: retry.DeadlineTooNear, Wait: 5 * s}},
		{"jitter alone does not outlast the deadline", func(f *retry.Facts) { f.RetryAfter, f.TimeLeft = 5*s, 5*s+2 }, 1, after(5*s + 1)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, tt.want, retry.Decide(policy, facts(tt.change), tt.random))
		})
	}
}

func TestNoWaitOverflows(t *testing.T) {
	t.Parallel()
	endless := retry.Policy{MaxRetries: 1000, Base: time.Hour, Limit: math.MaxInt64, MaxRetryAfter: math.MaxInt64}
	for _, random := range []float64{0, 0.5, math.Nextafter(1, 0)} {
		d := retry.Decide(endless, facts(func(f *retry.Facts) { f.Attempts = 900 }), random)
		assert.GreaterOrEqual(t, d.Wait, time.Duration(math.MaxInt64/2), "%v", random)
		d = retry.Decide(endless, facts(func(f *retry.Facts) { f.RetryAfter = math.MaxInt64 - 1 }), random)
		assert.GreaterOrEqual(t, d.Wait, time.Duration(math.MaxInt64-1), "%v", random)
	}
}

func TestAPolicyWithoutRetriesStops(t *testing.T) {
	t.Parallel()
	for _, attempts := range []int{0, 1} { // the first attempt may not count
		d := retry.Decide(retry.Policy{}, facts(func(f *retry.Facts) { f.Attempts = attempts }), 0)
		assert.Equal(t, retry.Decision{Stop: retry.Settled}, d)
	}
}
