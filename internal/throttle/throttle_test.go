package throttle_test

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/flashbacknetwork/flashback-go/internal/throttle"
)

var (
	limits   = throttle.Limits{FirstWait: 250 * time.Millisecond, MaxRetryAfter: time.Minute, OutageWait: 30 * time.Second}
	accepted = throttle.Outcome{Result: throttle.Accepted}
	limited  = throttle.Outcome{Result: throttle.RateLimited, Status: 429}
	failed   = throttle.Outcome{Result: throttle.ServerError, Status: 502}
)

func limitedFor(d time.Duration) throttle.Outcome {
	return throttle.Outcome{Result: throttle.RateLimited, Status: 429, RetryAfter: d}
}

// refused is a gate that a call's first request has closed, and the call's position.
func refused(t *testing.T, o throttle.Outcome) (*throttle.Gate, *throttle.Position) {
	t.Helper()
	var gate throttle.Gate
	var position throttle.Position
	ticket, err := gate.Wait(t.Context(), &position, limits)
	require.NoError(t, err)
	gate.Done(ticket, o)
	return &gate, &position
}

// down is a gate in an outage, which eight calls have found.
func down(t *testing.T, o throttle.Outcome) *throttle.Gate {
	t.Helper()
	var gate throttle.Gate
	for range 8 {
		ticket, err := gate.Wait(t.Context(), new(throttle.Position), limits)
		require.NoError(t, err)
		assert.False(t, gate.Done(ticket, o), "such an attempt is one of the call's")
	}
	return &gate
}

// closedError is the error of a call that fails at once.
func closedError(t *testing.T, gate *throttle.Gate, limits throttle.Limits) *throttle.ClosedError {
	t.Helper()
	begun := time.Now()
	_, err := gate.Wait(t.Context(), new(throttle.Position), limits)
	var closed *throttle.ClosedError
	require.ErrorAs(t, err, &closed)
	assert.Zero(t, time.Since(begun))
	return closed
}

func TestNothingIsHeldWithoutARefusal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var gate throttle.Gate
		begun := time.Now()
		for range 1000 {
			ticket, err := gate.Wait(t.Context(), new(throttle.Position), throttle.Limits{})
			require.NoError(t, err)
			assert.False(t, gate.Done(ticket, accepted))
		}
		assert.Zero(t, time.Since(begun))
	})
}

//nolint:paralleltest // AllocsPerRun counts those of other goroutines, too.
func TestAnOpenGateCostsNoAllocation(t *testing.T) {
	var gate throttle.Gate
	var position throttle.Position
	ctx := t.Context()
	assert.Zero(t, testing.AllocsPerRun(100, func() {
		ticket, _ := gate.Wait(ctx, &position, limits)
		gate.Done(ticket, accepted)
	}))
}

func TestANilGateIsOpen(t *testing.T) {
	t.Parallel()
	var gate *throttle.Gate
	for range 20 {
		ticket, err := gate.Wait(t.Context(), new(throttle.Position), limits)
		require.NoError(t, err)
		assert.False(t, gate.Done(ticket, limited))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := gate.Wait(ctx, new(throttle.Position), limits)
	require.ErrorIs(t, err, context.Canceled)
}

func TestARefusalClosesTheGateForAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gate, _ := refused(t, limitedFor(3*time.Second))
		begun := time.Now()
		var calls sync.WaitGroup
		for range 3 {
			calls.Go(func() {
				ticket, err := gate.Wait(t.Context(), new(throttle.Position), limits)
				assert.NoError(t, err) //nolint:testifylint // not in the test's goroutine
				assert.GreaterOrEqual(t, time.Since(begun), 3*time.Second)
				assert.Less(t, time.Since(begun), 4*time.Second, "with jitter, and in turn")
				gate.Done(ticket, accepted)
			})
		}
		calls.Wait()
	})
}

func TestThoseWhoWereToldTheSameMomentDiffer(t *testing.T) {
	t.Parallel()
	for _, o := range []throttle.Outcome{limited, limitedFor(10 * time.Second)} {
		synctest.Test(t, func(t *testing.T) {
			waits := map[time.Duration]bool{}
			for range 20 {
				gate, position := refused(t, o)
				begun := time.Now()
				_, err := gate.Wait(t.Context(), position, limits)
				require.NoError(t, err)
				waits[time.Since(begun)] = true
			}
			assert.Greater(t, len(waits), 10)
		})
	}
}

func TestTheFirstWaitIsThatOfTheCall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var gate throttle.Gate
		ticket, err := gate.Wait(t.Context(), new(throttle.Position), limits)
		require.NoError(t, err)
		gate.Done(ticket, accepted)
		slow := limits
		slow.FirstWait = 10 * time.Second
		var position throttle.Position
		ticket, err = gate.Wait(t.Context(), &position, slow)
		require.NoError(t, err)
		gate.Done(ticket, limited)
		begun := time.Now()
		_, err = gate.Wait(t.Context(), &position, slow)
		require.NoError(t, err)
		assert.GreaterOrEqual(t, time.Since(begun), 10*time.Second)
	})
}

func TestARefusalCountsUnlessAnotherCallWasAccepted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gate, position := refused(t, limited)
		attempt := func(p *throttle.Position, o throttle.Outcome) (held bool) {
			ticket, err := gate.Wait(t.Context(), p, limits)
			require.NoError(t, err)
			return gate.Done(ticket, o)
		}
		assert.False(t, attempt(position, limited), "nothing was accepted since")
		attempt(new(throttle.Position), accepted)
		assert.True(t, attempt(position, limited), "another one was")
		assert.False(t, attempt(position, limited), "no other one since then")
		attempt(new(throttle.Position), accepted)
		assert.False(t, attempt(position, failed), "that is no refusal for load")
		held := 1
		for attempt(new(throttle.Position), accepted); attempt(position, limited); attempt(new(throttle.Position), accepted) {
			held++
		}
		assert.Equal(t, 100, held, "it may be this very request that the server refuses")
	})
}

func TestTooLongAWaitFailsAtOnce(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		retryAfter, timeout time.Duration
		want                throttle.ClosedError
	}{
		"longer than the call waits": {retryAfter: time.Hour, want: throttle.ClosedError{For: time.Hour, Asked: time.Hour}},
		"past the deadline":          {retryAfter: 10 * time.Second, timeout: 5 * time.Second, want: throttle.ClosedError{For: 10 * time.Second, Asked: 10 * time.Second, Deadline: true}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				gate, position := refused(t, limitedFor(time.Second))
				ctx := t.Context()
				if tt.timeout > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, tt.timeout)
					defer cancel()
				}
				ticket, err := gate.Wait(ctx, position, limits)
				require.NoError(t, err)
				waiting := make(chan error, 2)
				for range cap(waiting) {
					go func() {
						_, err := gate.Wait(ctx, new(throttle.Position), limits)
						waiting <- err
					}()
				}
				synctest.Wait()
				begun := time.Now()
				gate.Done(ticket, limitedFor(tt.retryAfter))
				for _, err := range []error{<-waiting, <-waiting, second(gate.Wait(ctx, position, limits))} {
					closed, ok := errors.AsType[*throttle.ClosedError](err)
					require.True(t, ok)
					tt.want.State, tt.want.Since, tt.want.Cause = throttle.Load, closed.Since, limitedFor(tt.retryAfter)
					assert.Equal(t, &tt.want, closed)
				}
				assert.Zero(t, time.Since(begun))
			})
		})
	}
}

func second(_ throttle.Ticket, err error) error { return err }

func TestALongRetryAfterIsRemembered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gate, position := refused(t, limitedFor(time.Hour))
		<-time.After(50 * time.Minute)
		assert.Equal(t, 10*time.Minute, closedError(t, gate, limits).Asked)
		<-time.After(9*time.Minute + 30*time.Second)
		begun := time.Now()
		_, err := gate.Wait(t.Context(), position, limits)
		require.NoError(t, err, "half a minute is waited for")
		assert.GreaterOrEqual(t, time.Since(begun), 30*time.Second)
		assert.Less(t, time.Since(begun), 105*time.Second)
	})
}

func TestNothingAcceptedForTwoMinutesEndsTheWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gate, position := refused(t, limited)
		begun := time.Now()
		for {
			ticket, err := gate.Wait(t.Context(), position, limits)
			if err != nil {
				closed, ok := errors.AsType[*throttle.ClosedError](err)
				require.True(t, ok)
				assert.Equal(t, throttle.Load, closed.State)
				break
			}
			gate.Done(ticket, limited)
		}
		assert.Greater(t, time.Since(begun), 2*time.Minute)
		_, err := gate.Wait(t.Context(), new(throttle.Position), limits)
		require.NoError(t, err, "another call has not waited")
	})
}

func TestInAnOutageCallsWaitAndOneAtATimeProbes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gate := down(t, failed)
		begun := time.Now()
		probes := map[int]int{}
		var mu sync.Mutex
		var calls sync.WaitGroup
		for i := range 20 {
			calls.Go(func() {
				var position throttle.Position
				for {
					ticket, err := gate.Wait(t.Context(), &position, limits)
					if !assert.NoError(t, err) { //nolint:testifylint // not in the test's goroutine
						return
					}
					if time.Since(begun) > 10*time.Second {
						gate.Done(ticket, accepted)
						return
					}
					mu.Lock()
					probes[i]++
					mu.Unlock()
					gate.Done(ticket, failed)
				}
			})
		}
		calls.Wait()
		assert.Less(t, time.Since(begun), 15*time.Second)
		assert.Greater(t, len(probes), 5)
		for _, n := range probes {
			assert.Equal(t, 1, n, "from one call after another")
		}
	})
}

func TestAnOlderOutageFailsCallsAtOnceButForTheProbe(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gate := down(t, throttle.Outcome{Result: throttle.NoResponse, Err: errors.ErrUnsupported})
		none := limits
		none.OutageWait = 0
		closed := closedError(t, gate, none)
		assert.Equal(t, throttle.Outage, closed.State)
		require.ErrorIs(t, closed.Cause.Err, errors.ErrUnsupported)
		begun := time.Now()
		failures := make(chan time.Duration, 5)
		for range cap(failures) {
			go func() {
				var position throttle.Position
				for {
					ticket, err := gate.Wait(t.Context(), &position, limits)
					if err != nil {
						failures <- time.Since(begun)
						return
					}
					gate.Done(ticket, failed)
				}
			}()
		}
		for range cap(failures) {
			assert.Equal(t, 30*time.Second, <-failures)
		}
		<-time.After(time.Second)
		assert.Equal(t, 31*time.Second, closedError(t, gate, limits).Since)
		<-time.After(10 * time.Second)
		ticket, err := gate.Wait(t.Context(), new(throttle.Position), limits)
		require.NoError(t, err, "a probe is due")
		assert.Equal(t, throttle.Outage, closedError(t, gate, limits).State)
		gate.Done(ticket, accepted)
		_, err = gate.Wait(t.Context(), new(throttle.Position), limits)
		require.NoError(t, err)
	})
}

func TestCallsGoOnInTheOrderInWhichTheyCame(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gate, first := refused(t, limitedFor(time.Second))
		var order []int
		var mu sync.Mutex
		var calls sync.WaitGroup
		wait := func(name int, position *throttle.Position) {
			calls.Go(func() {
				ticket, err := gate.Wait(t.Context(), position, limits)
				assert.NoError(t, err) //nolint:testifylint // not in the test's goroutine
				mu.Lock()
				order = append(order, name)
				mu.Unlock()
				gate.Done(ticket, accepted)
			})
			synctest.Wait()
		}
		for i := range 20 {
			wait(i+1, new(throttle.Position))
		}
		wait(0, first)
		calls.Wait()
		assert.Equal(t, []int{1, 0}, order[:2], "whose request was refused lets another probe")
		assert.IsIncreasing(t, order[1:])
		assert.Len(t, order, 21)
	})
}

func TestARequestThatIsAlwaysRefusedDoesNotProbeForAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gate, position := refused(t, limited)
		begun := time.Now()
		var calls sync.WaitGroup
		for range 5 {
			calls.Go(func() {
				ticket, err := gate.Wait(t.Context(), new(throttle.Position), limits)
				assert.NoError(t, err) //nolint:testifylint // not in the test's goroutine
				gate.Done(ticket, accepted)
			})
		}
		synctest.Wait()
		for range 4 {
			ticket, err := gate.Wait(t.Context(), position, limits)
			require.NoError(t, err)
			gate.Done(ticket, limited)
		}
		calls.Wait()
		assert.Less(t, time.Since(begun), 4*time.Second)
	})
}

func TestACallThatIsCanceledLeaves(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gate, _ := refused(t, limitedFor(time.Second))
		ctx, cancel := context.WithCancel(t.Context())
		var calls sync.WaitGroup
		for range 100 {
			calls.Go(func() {
				_, err := gate.Wait(ctx, new(throttle.Position), limits)
				assert.ErrorIs(t, err, context.Canceled) //nolint:testifylint // not in the test's goroutine
				closed, ok := errors.AsType[*throttle.ClosedError](err)
				assert.True(t, ok && closed.Cause == limitedFor(time.Second))
			})
		}
		synctest.Wait()
		var next sync.WaitGroup
		begun := time.Now()
		next.Go(func() {
			_, err := gate.Wait(t.Context(), new(throttle.Position), limits)
			assert.NoError(t, err) //nolint:testifylint // not in the test's goroutine
			assert.LessOrEqual(t, time.Since(begun), 1020*time.Millisecond, "nobody is before it")
		})
		synctest.Wait()
		cancel()
		calls.Wait()
		next.Wait()
	})
}

func TestALostProbeIsFollowedByAnother(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gate, position := refused(t, limited)
		begun := time.Now()
		_, err := gate.Wait(t.Context(), position, limits) // and nothing is ever heard of it
		require.NoError(t, err)
		_, err = gate.Wait(t.Context(), new(throttle.Position), limits)
		require.NoError(t, err)
		assert.Less(t, time.Since(begun), time.Second)
	})
}

func TestAMinuteInWhichNobodyWaitsEndsIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gate, _ := refused(t, limitedFor(time.Second))
		<-time.After(2 * time.Minute)
		begun := time.Now()
		for range 100 {
			ticket, err := gate.Wait(t.Context(), new(throttle.Position), limits)
			require.NoError(t, err)
			gate.Done(ticket, accepted)
		}
		assert.Zero(t, time.Since(begun))
	})
}

func TestItWorksInSeveralBubblesAndOutside(t *testing.T) {
	t.Parallel()
	var gate throttle.Gate
	use := func(t *testing.T) {
		t.Helper()
		var position throttle.Position
		for _, o := range []throttle.Outcome{limited, accepted} {
			begun := time.Now()
			ticket, err := gate.Wait(t.Context(), &position, limits)
			require.NoError(t, err)
			assert.Less(t, time.Since(begun), time.Second)
			gate.Done(ticket, o)
		}
	}
	use(t)
	synctest.Test(t, func(t *testing.T) {
		use(t)
		<-time.After(time.Hour)
		use(t)
	})
	synctest.Test(t, use)
	use(t)
}

// BenchmarkOpen is a call while nothing is held.
func BenchmarkOpen(b *testing.B) {
	var gate throttle.Gate
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		var position throttle.Position
		ticket, _ := gate.Wait(ctx, &position, limits)
		gate.Done(ticket, accepted)
	}
}

// BenchmarkCrowd is 20,000 calls that wait and are all canceled.
func BenchmarkCrowd(b *testing.B) {
	const calls = 20_000
	for b.Loop() {
		var gate throttle.Gate
		ticket, err := gate.Wait(b.Context(), new(throttle.Position), limits)
		require.NoError(b, err)
		gate.Done(ticket, limitedFor(30*time.Second))
		ctx, cancel := context.WithCancel(b.Context())
		var before, after runtime.MemStats
		runtime.GC() //nolint:revive // What is left over would count.
		runtime.ReadMemStats(&before)
		var all sync.WaitGroup
		var waiting atomic.Int64
		for range calls {
			all.Go(func() {
				waiting.Add(1)
				_, _ = gate.Wait(ctx, new(throttle.Position), limits)
			})
		}
		for waiting.Load() < calls {
			runtime.Gosched()
		}
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc+after.StackInuse-before.HeapAlloc-before.StackInuse)/calls, "B/call")
		begun := time.Now()
		cancel()
		all.Wait()
		b.ReportMetric(float64(time.Since(begun).Microseconds())/1000, "ms/cancel")
	}
}
