package call_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/http"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/flashbacknetwork/flashback-go/internal/call"
	"github.com/flashbacknetwork/flashback-go/internal/retry"
	"github.com/flashbacknetwork/flashback-go/internal/verdict"
)

func TestABackoffDoublesUpToItsLimitAndIsShortenedByAtMostAHalf(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, s := newClient(says(500))
		c.Retry = retry.Policy{MaxRetries: 8, Base: 250 * time.Millisecond, Limit: 7 * time.Second, MaxRetryAfter: time.Minute}
		got := do(t.Context(), c, &change)
		assert.Equal(t, verdict.Unknown, got.Verdict)
		require.Len(t, s.at, 9)
		for i, milliseconds := range []int{250, 500, 1000, 2000, 4000, 7000, 7000, 7000} {
			full := time.Duration(milliseconds) * time.Millisecond
			assert.GreaterOrEqual(t, s.at[i+1]-s.at[i], full/2, "wait %d", i+1)
			assert.LessOrEqual(t, s.at[i+1]-s.at[i], full, "wait %d", i+1)
		}
	})
}

func TestABackoffDoesNotOverflow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Hour)
		defer cancel()
		c, s := newClient(says(500))
		c.Retry = retry.Policy{MaxRetries: 1000, Base: time.Hour, Limit: math.MaxInt64}
		do(ctx, c, &change)
		assert.Less(t, len(s.at), 10)
	})
}

func TestWaitsOfSeveralCallsDiffer(t *testing.T) {
	t.Parallel()
	for name, first := range map[string]exchange{
		"a backoff": says(500), "a Retry-After": says(503, "Retry-After", "7"), "a rate limit": says(429, "Retry-After", "7"), "one without a Retry-After": says(429),
	} {
		for _, throttled := range []bool{true, false} {
			t.Run(fmt.Sprint(name, ", throttled ", throttled), func(t *testing.T) {
				t.Parallel()
				seen := map[time.Duration]bool{}
				for range 10 {
					synctest.Test(t, func(t *testing.T) {
						c, s := newClient(first, says(200))
						if !throttled {
							c.Gates = nil
						}
						do(t.Context(), c, &change)
						seen[s.at[1]] = true
					})
				}
				assert.Greater(t, len(seen), 5)
			})
		}
	}
}

func TestARetryAfterIsObeyedWithJitterOnTop(t *testing.T) {
	t.Parallel()
	const own = -1 // the client's own wait
	for _, tt := range []struct {
		name, retryAfter, date string
		wait                   time.Duration
	}{
		{"seconds", "7", "", 7 * time.Second},
		{"seconds at the cap", "60", "", 60 * time.Second},
		{"space around them", " 3 ", "", 3 * time.Second},
		{"a fraction is rounded up", "1.5", "", 2 * time.Second},
		{"a small fraction is rounded up", "0.001", "", time.Second},
		{"a fraction of nothing", "3.000", "", 3 * time.Second},
		{"a point and nothing", "3.", "", 3 * time.Second},
		{"an HTTP date", "Sat, 01 Jan 2000 00:00:09 GMT", "", 9 * time.Second},
		{"a date of the old RFC 850 form", "Saturday, 01-Jan-00 00:00:09 GMT", "", 9 * time.Second},
		{"a date of the asctime form", "Sat Jan  1 00:00:09 2000", "", 9 * time.Second},
		{"a date by the server's own clock", "Tue, 01 Jan 2030 00:00:05 GMT", "Tue, 01 Jan 2030 00:00:00 GMT", 5 * time.Second},
		{"zero", "0", "", own},
		{"zero with a fraction of zero", "0.0", "", own},
		{"a date in the past", "Sat, 01 Jan 1990 00:00:00 GMT", "", own},
		{"negative", "-5", "", own},
		{"a sign", "+5", "", own},
		{"a fraction of a second alone", ".5", "", own},
		{"two points", "1.5.2", "", own},
		{"an exponent", "1e3", "", own},
		{"a word", "soon", "", own},
		{"nothing", "", "", own},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, status := range []int{429, 503} {
				for _, throttled := range []bool{true, false} {
					synctest.Test(t, func(t *testing.T) {
						c, s := newClient(says(status, "Retry-After", tt.retryAfter, "Date", tt.date), says(200))
						most := time.Second + 5*time.Second
						if !throttled {
							c.Gates, most = nil, time.Second
						}
						got := do(t.Context(), c, &change)
						require.Equal(t, verdict.Success, got.Verdict)
						require.Len(t, s.at, 2)
						if tt.wait == own {
							assert.Positive(t, s.at[1])
							assert.LessOrEqual(t, s.at[1], time.Second+time.Second/10, "the backoff, and jitter")
							return
						}
						assert.GreaterOrEqual(t, s.at[1], tt.wait)
						assert.LessOrEqual(t, s.at[1], tt.wait+min(most, tt.wait/4))
						if !throttled {
							assert.LessOrEqual(t, s.at[1], tt.wait+min(time.Second, tt.wait/10))
							assert.Zero(t, got.Throttled)
						}
					})
				}
			}
		})
	}
}

func TestARetryAfterOverTheCapEndsTheCallAtOnce(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name       string
		retryAfter string
		most       time.Duration
		want       time.Duration
	}{
		{"an hour", "3600", time.Minute, time.Hour},
		{"a second over the cap", "61", time.Minute, 61 * time.Second},
		{"a fraction over the cap", "60.01", time.Minute, 61 * time.Second},
		{"a date", "Sat, 01 Jan 2000 01:00:00 GMT", time.Minute, time.Hour},
		{"seconds that overflow", "9223372037", time.Minute, math.MaxInt64},
		{"more digits than an int64", "99999999999999999999999", time.Minute, math.MaxInt64},
		{"more, with a fraction", "99999999999999999999999.5", time.Minute, math.MaxInt64},
		{"any, where the cap is zero", "1", 0, time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, throttled := range []bool{true, false} {
				synctest.Test(t, func(t *testing.T) {
					c, s := newClient(says(429, "Retry-After", tt.retryAfter))
					c.Retry.MaxRetryAfter = tt.most
					if !throttled {
						c.Gates = nil
					}
					got := do(t.Context(), c, &change)
					assert.Zero(t, time.Since(s.begun))
					assert.Equal(t, verdict.Failure, got.Verdict)
					assert.Equal(t, []call.Why{call.WaitTooLong}, why(got))
					assert.Equal(t, tt.want, got.RetryAfter)
					assert.Equal(t, 1, got.Attempts)
					assert.Equal(t, "it is so", got.Response.Message)
				})
			}
		})
	}
}

func TestTheLongestRetryAfterDoesNotOverflow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(1000*time.Hour, cancel)
		c, s := newClient(says(503, "Retry-After", "99999999999999999999"))
		c.Gates, c.Retry.MaxRetryAfter = nil, math.MaxInt64
		do(ctx, c, &change)
		assert.Len(t, s.at, 1)
	})
}

func TestTheFirstWaitOfARateLimitWithoutARetryAfterIsTheBackoffs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, s := newClient(says(429), says(200))
		c.Retry.Base, c.Retry.Limit = 20*time.Second, 20*time.Second
		do(t.Context(), c, &change)
		require.Len(t, s.at, 2)
		assert.GreaterOrEqual(t, s.at[1], 10*time.Second)
	})
}

func TestAWaitThatWouldOutlastTheDeadlineIsNotBegun(t *testing.T) {
	t.Parallel()
	for _, throttled := range []bool{true, false} {
		for _, status := range []int{429, 503} {
			for timeout, begins := range map[time.Duration]bool{time.Second: false, 30 * time.Second: false, 30*time.Second + time.Millisecond: true, 40 * time.Second: true} {
				t.Run(fmt.Sprintf("%d, %v, throttled %v", status, timeout, throttled), func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						c, s := newClient(says(status, "Retry-After", "30"), says(200))
						if !throttled {
							c.Gates = nil
						}
						ctx, cancel := context.WithTimeout(t.Context(), timeout)
						defer cancel()
						got := do(ctx, c, &change)
						if begins {
							assert.GreaterOrEqual(t, time.Since(s.begun), 30*time.Second)
							if !throttled { // else the jitter is that of the gate
								assert.Equal(t, 2, got.Attempts, "jitter does not outlast the deadline")
							}
							return
						}
						assert.Zero(t, time.Since(s.begun))
						assert.Contains(t, why(got), call.DeadlineNear)
						assert.Equal(t, status, got.Response.Status)
						assert.Equal(t, 30*time.Second, got.RetryAfter)
						assert.Equal(t, 1, got.Attempts)
					})
				})
			}
		}
	}
	t.Run("a backoff", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			c, s := newClient(says(500))
			ctx, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond)
			defer cancel()
			got := do(ctx, c, &change)
			assert.Zero(t, time.Since(s.begun))
			assert.Equal(t, []call.Why{call.DeadlineNear}, why(got))
		})
	})
}

func TestAContextThatEndsDuringAWaitKeepsTheLastResponse(t *testing.T) {
	t.Parallel()
	cause := errors.New("the operator said so")
	for status, want := range map[int]verdict.Verdict{500: verdict.Unknown, 503: verdict.Unknown, 429: verdict.Failure, 425: verdict.Failure} {
		synctest.Test(t, func(t *testing.T) {
			c, s := newClient(says(status, "X-Request-Id", "r-1"))
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(time.Millisecond, func() { cancel(cause) })
			got := do(ctx, c, &change)
			assert.Equal(t, time.Millisecond, time.Since(s.begun))
			require.Equal(t, []call.Why{call.ContextEnded}, why(got), "%d", status)
			require.ErrorIs(t, got.Reasons[0].Err, context.Canceled)
			assert.Equal(t, cause, got.Reasons[0].Cause)
			assert.Equal(t, "context canceled: the operator said so", got.Reasons[0].Text)
			assert.Equal(t, status, got.Response.Status)
			assert.Equal(t, "r-1", got.Response.Header.Get("X-Request-Id"))
			assert.Equal(t, 1, got.Attempts)
			assert.Equal(t, want, got.Verdict, "%d", status)
		})
	}
}

func TestAnEndedContextSendsNothing(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, throttled := range []bool{true, false} {
		c, s := newClient(says(200))
		if !throttled {
			c.Gates = nil
		}
		got := do(ctx, c, &change)
		require.Equal(t, []call.Why{call.ContextEnded}, why(got))
		require.NoError(t, got.Reasons[0].Cause)
		assert.Equal(t, verdict.Failure, got.Verdict)
		assert.Zero(t, got.Attempts)
		assert.Empty(t, s.at)
	}
}

func TestAContextThatEndsDuringAWaitAsksForNoToken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		c, _ := newClient(lost)
		c.Gates = nil
		c.Token = func(context.Context) (string, error) { asked++; return "token-1", nil }
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Millisecond, cancel)
		got := do(ctx, c, &change)
		assert.Equal(t, []call.Why{call.ContextEnded, call.NetworkFailed}, why(got))
		assert.Equal(t, 1, asked)
	})
}

func TestACauseIsRedacted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const token = "a-token-of-some-length"
		c, _ := newClient(says(500))
		c.Token = func(context.Context) (string, error) { return token, nil }
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Millisecond, func() { cancel(errors.New("no more of " + token)) })
		got := do(ctx, c, &change)
		require.Equal(t, []call.Why{call.ContextEnded}, why(got))
		assert.Equal(t, "context canceled: no more of [redacted]", got.Reasons[0].Text)
	})
}

func TestAContextThatEndsDuringAnAttemptIsTheReason(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, s := newClient(says(500), hang)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		got := do(ctx, c, &change)
		assert.Equal(t, 5*time.Second, time.Since(s.begun))
		require.Equal(t, []call.Why{call.ContextEnded}, why(got))
		require.ErrorIs(t, got.Reasons[0].Err, context.DeadlineExceeded)
		assert.Equal(t, verdict.Unknown, got.Verdict)
		assert.Equal(t, 500, got.Response.Status)
		assert.Equal(t, 2, got.Attempts)
	})
}

// late is a context whose deadline has passed and whose timer has not fired yet.
type late struct{ context.Context }

func (late) Deadline() (time.Time, bool) { return time.Now().Add(-time.Nanosecond), true }

func TestADeadlineThatTheConnectionNoticesFirstIsTheCallers(t *testing.T) {
	t.Parallel()
	c, _ := newClient(func(*http.Request) (*http.Response, error) {
		return nil, &net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}
	})
	c.Gates = nil
	got := do(late{t.Context()}, c, &change)
	require.Contains(t, why(got), call.ContextEnded)
	require.ErrorIs(t, got.Reasons[0].Err, context.DeadlineExceeded)
	assert.Equal(t, verdict.Unknown, got.Verdict)
}

func TestADeadlineThatPassesWithAResponseIsTheReason(t *testing.T) {
	t.Parallel()
	c, s := newClient(says(500))
	c.Gates = nil
	got := do(late{t.Context()}, c, &change)
	assert.Equal(t, []call.Why{call.ContextEnded}, why(got))
	assert.Len(t, s.at, 1)
}

func TestAContextThatEndsWhatIsNotRepeatedIsTheReason(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		op := change
		op.Rule.Retry = verdict.NotIdempotent
		c, _ := newClient(hang)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		got := do(ctx, c, &op)
		assert.Equal(t, []call.Why{call.ContextEnded}, why(got))
		assert.Equal(t, verdict.Unknown, got.Verdict)
	})
}

func TestATimeoutOfAnAttemptIsNotTheCallersDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, s := newClient(hang)
		c.Retry = retry.Policy{MaxRetries: 1}
		got := do(t.Context(), c, &change)
		assert.Equal(t, 2*30*time.Second, time.Since(s.begun), "each attempt has the whole of it")
		require.Equal(t, []call.Why{call.NetworkFailed}, why(got))
		require.NotErrorIs(t, got.Reasons[0].Err, context.DeadlineExceeded)
		assert.Equal(t, verdict.Unknown, got.Verdict)
	})
}

type uncomparable struct{ v any }

func (uncomparable) Error() string { return "uncomparable" }

func TestACauseThatCanNotBeComparedDoesNoHarm(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, _ := newClient(func(req *http.Request) (*http.Response, error) {
			<-req.Context().Done()
			return nil, context.Cause(req.Context())
		})
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(uncomparable{[]int{1}}) })
		got := do(ctx, c, &change)
		assert.Contains(t, why(got), call.ContextEnded)
	})
}

func TestAContextThatEndsAfterARetryWasDecidedIsTheReason(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, s := newClient(says(500))
		ctx, cancel := context.WithCancel(t.Context())
		c.Log = slog.New(logged(func(r slog.Record) {
			if r.Message == "flashback: retrying" {
				cancel()
			}
		}))
		got := do(ctx, c, &change)
		assert.Equal(t, []call.Why{call.ContextEnded}, why(got))
		assert.Len(t, s.at, 1)
	})
}
