package throttle_test

import (
	"context"
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

const most = time.Minute

// refused is a throttle whose first request was refused, and the place of its call.
func refused(t *testing.T, retryAfter time.Duration) (*throttle.Throttle, *throttle.Place) {
	t.Helper()
	limit := throttle.Throttle{FirstWait: 250 * time.Millisecond}
	var place throttle.Place
	pass, err := limit.Wait(t.Context(), &place, most)
	require.NoError(t, err)
	limit.Refused(pass, retryAfter)
	return &limit, &place
}

func TestNothingIsHeldBackWithoutARefusal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limit := throttle.Throttle{FirstWait: 250 * time.Millisecond}
		began := time.Now()
		for range 1000 {
			pass, err := limit.Wait(t.Context(), new(throttle.Place), 0)
			require.NoError(t, err)
			limit.Accepted(pass)
		}
		assert.Zero(t, time.Since(began))
	})
	limit := throttle.Throttle{FirstWait: 250 * time.Millisecond}
	var place throttle.Place
	ctx := t.Context()
	assert.Zero(t, testing.Benchmark(func(b *testing.B) {
		b.Helper()
		b.ReportAllocs()
		for b.Loop() {
			pass, _ := limit.Wait(ctx, &place, most)
			limit.Accepted(pass)
		}
	}).AllocsPerOp())
}

func TestARefusalClosesTheGateForAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limit, _ := refused(t, 3*time.Second)
		began := time.Now()
		var calls sync.WaitGroup
		for range 3 {
			calls.Go(func() {
				pass, err := limit.Wait(t.Context(), new(throttle.Place), most)
				if err != nil {
					t.Error(err)
				}
				assert.GreaterOrEqual(t, time.Since(began), 3*time.Second)
				assert.Less(t, time.Since(began), 4*time.Second, "with jitter, and in turn")
				limit.Accepted(pass)
			})
		}
		calls.Wait()
	})
}

func TestWaitsWithoutARetryAfterDouble(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limit, place := refused(t, 0)
		begun := time.Now()
		for wait := 250 * time.Millisecond; ; wait = min(2*wait, 64*time.Second) {
			began := time.Now()
			pass, err := limit.Wait(t.Context(), place, most)
			if err != nil {
				var closed *throttle.ClosedError
				require.ErrorAs(t, err, &closed)
				assert.Zero(t, closed.Asked)
				break
			}
			assert.GreaterOrEqual(t, time.Since(began), wait)
			assert.LessOrEqual(t, time.Since(began), wait*11/10)
			limit.Refused(pass, 0)
		}
		assert.Greater(t, time.Since(begun), 2*most, "nothing was accepted for so long")
		_, err := limit.Wait(t.Context(), new(throttle.Place), most)
		require.NoError(t, err, "another one has not")
	})
}

func TestWhoWaitsForNoRetryAfterWaitsWithoutOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limit, place := refused(t, 0)
		for range 5 {
			pass, err := limit.Wait(t.Context(), place, 0)
			require.NoError(t, err)
			limit.Refused(pass, 0)
		}
		_, err := limit.Wait(t.Context(), place, 0)
		require.NoError(t, err)
	})
}

func TestRefusalsOfRequestsThatWereSentBeforeTellNothingNew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limit := throttle.Throttle{FirstWait: 250 * time.Millisecond}
		var passes []throttle.Pass
		for range 5 {
			pass, err := limit.Wait(t.Context(), new(throttle.Place), most)
			require.NoError(t, err)
			passes = append(passes, pass)
		}
		began := time.Now()
		for _, pass := range passes {
			limit.Refused(pass, 0)
		}
		_, err := limit.Wait(t.Context(), new(throttle.Place), most)
		require.NoError(t, err)
		assert.LessOrEqual(t, time.Since(began), 275*time.Millisecond, "the wait has not doubled")
	})
}

func TestACallWaitsOnWhileTheServerAsksForIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limit, place := refused(t, 50*time.Second)
		for range 4 {
			pass, err := limit.Wait(t.Context(), place, most)
			require.NoError(t, err)
			limit.Refused(pass, 50*time.Second)
		}
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
				limit, place := refused(t, time.Second)
				ctx := t.Context()
				if tt.timeout > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, tt.timeout)
					defer cancel()
				}
				pass, err := limit.Wait(ctx, place, most)
				require.NoError(t, err)
				waiting := make(chan error, 1)
				go func() {
					_, err := limit.Wait(ctx, new(throttle.Place), most)
					waiting <- err
				}()
				synctest.Wait()
				began := time.Now()
				limit.Refused(pass, tt.retryAfter)
				assert.Equal(t, &tt.want, <-waiting, "of one that waits already")
				_, err = limit.Wait(ctx, place, most)
				assert.Equal(t, &tt.want, err)
				assert.Zero(t, time.Since(began))
			})
		})
	}
}

func TestALongRetryAfterIsOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limit, place := refused(t, time.Hour)
		<-time.After(time.Hour - 30*time.Second)
		began := time.Now()
		_, err := limit.Wait(t.Context(), place, most)
		require.NoError(t, err, "half a minute is waited for")
		assert.GreaterOrEqual(t, time.Since(began), 30*time.Second)
		assert.LessOrEqual(t, time.Since(began), 35*time.Second)
	})
}

func TestCallsGoOnInTheOrderInWhichTheyCame(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limit, first := refused(t, time.Second)
		var order []int
		var mu sync.Mutex
		var calls sync.WaitGroup
		wait := func(name int, place *throttle.Place) {
			calls.Go(func() {
				pass, err := limit.Wait(t.Context(), place, most)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				order = append(order, name)
				mu.Unlock()
				limit.Accepted(pass)
			})
			synctest.Wait()
		}
		for i := range 20 {
			wait(i+1, new(throttle.Place))
		}
		wait(0, first)
		calls.Wait()
		assert.IsIncreasing(t, order)
		assert.Len(t, order, 21)
	})
}

func TestARequestThatIsAlwaysRefusedDoesNotProbeForAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limit, place := refused(t, 0)
		began := time.Now()
		var calls sync.WaitGroup
		for range 5 {
			calls.Go(func() {
				pass, err := limit.Wait(t.Context(), new(throttle.Place), most)
				if err != nil {
					t.Error(err)
				}
				limit.Accepted(pass)
			})
		}
		synctest.Wait()
		for range 4 {
			pass, err := limit.Wait(t.Context(), place, most)
			require.NoError(t, err)
			limit.Refused(pass, 0)
		}
		calls.Wait()
		assert.Less(t, time.Since(began), 4*time.Second)
	})
}

func TestAProbeMayHaveTakenTheOnlyToken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limit, place := refused(t, 0)
		pass, err := limit.Wait(t.Context(), place, most)
		require.NoError(t, err)
		limit.Accepted(pass)
		began := time.Now()
		_, err = limit.Wait(t.Context(), new(throttle.Place), most)
		require.NoError(t, err)
		assert.GreaterOrEqual(t, time.Since(began), 50*time.Millisecond)
	})
}

func TestACallThatIsCanceledLeaves(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limit, _ := refused(t, time.Second)
		ctx, cancel := context.WithCancel(t.Context())
		var calls sync.WaitGroup
		for range 100 {
			calls.Go(func() {
				_, err := limit.Wait(ctx, new(throttle.Place), most)
				assert.ErrorIs(t, err, context.Canceled)
			})
		}
		synctest.Wait()
		cancel()
		calls.Wait()
		began := time.Now()
		_, err := limit.Wait(t.Context(), new(throttle.Place), most)
		require.NoError(t, err)
		assert.LessOrEqual(t, time.Since(began), 1100*time.Millisecond, "nobody is before it")
	})
}

func TestAfterTheFirstLeavesTheNextGoesOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limit, _ := refused(t, time.Second)
		ctx, cancel := context.WithCancel(t.Context())
		var calls sync.WaitGroup
		calls.Go(func() {
			_, err := limit.Wait(ctx, new(throttle.Place), most)
			assert.ErrorIs(t, err, context.Canceled)
		})
		synctest.Wait()
		began := time.Now()
		calls.Go(func() {
			_, err := limit.Wait(t.Context(), new(throttle.Place), most)
			assert.NoError(t, err) //nolint:testifylint // not in the test's goroutine
			assert.LessOrEqual(t, time.Since(began), 1100*time.Millisecond, "nobody is before it any more")
		})
		synctest.Wait()
		cancel()
		calls.Wait()
	})
}

func TestALostProbeIsFollowedByAnother(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limit, place := refused(t, 0)
		began := time.Now()
		_, err := limit.Wait(t.Context(), place, most) // and nothing is ever heard of it
		require.NoError(t, err)
		_, err = limit.Wait(t.Context(), new(throttle.Place), most)
		require.NoError(t, err)
		assert.Less(t, time.Since(began), time.Second)
	})
}

func TestAMinuteInWhichNobodyWaitsEndsIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limit, _ := refused(t, time.Second)
		<-time.After(2 * time.Minute)
		began := time.Now()
		for range 100 {
			pass, err := limit.Wait(t.Context(), new(throttle.Place), most)
			require.NoError(t, err)
			limit.Accepted(pass)
		}
		assert.Zero(t, time.Since(began))
	})
}

func TestItWorksInSeveralBubblesAndOutside(t *testing.T) {
	t.Parallel()
	limit := throttle.Throttle{FirstWait: 250 * time.Millisecond}
	use := func(t *testing.T) {
		t.Helper()
		var place throttle.Place
		for _, done := range []func(throttle.Pass){func(p throttle.Pass) { limit.Refused(p, 0) }, limit.Accepted} {
			began := time.Now()
			pass, err := limit.Wait(t.Context(), &place, most)
			require.NoError(t, err)
			assert.Less(t, time.Since(began), time.Second)
			done(pass)
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

// BenchmarkCrowd is 20,000 calls that wait and are all canceled.
func BenchmarkCrowd(b *testing.B) {
	const calls = 20_000
	for b.Loop() {
		limit := throttle.Throttle{FirstWait: 250 * time.Millisecond}
		pass, err := limit.Wait(b.Context(), new(throttle.Place), most)
		require.NoError(b, err)
		limit.Refused(pass, 30*time.Second)
		ctx, cancel := context.WithCancel(b.Context())
		var before, after runtime.MemStats
		runtime.GC() //nolint:revive // What is left over would count.
		runtime.ReadMemStats(&before)
		var all sync.WaitGroup
		var waiting atomic.Int64
		for range calls {
			all.Go(func() {
				waiting.Add(1)
				_, _ = limit.Wait(ctx, new(throttle.Place), most)
			})
		}
		for waiting.Load() < calls {
			runtime.Gosched()
		}
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc+after.StackInuse-before.HeapAlloc-before.StackInuse)/calls, "B/call")
		began := time.Now()
		cancel()
		all.Wait()
		b.ReportMetric(float64(time.Since(began).Microseconds())/1000, "ms/cancel")
	}
}
