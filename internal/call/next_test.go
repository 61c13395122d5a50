package call_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/flashbacknetwork/flashback-go/internal/budget"
	"github.com/flashbacknetwork/flashback-go/internal/call"
	"github.com/flashbacknetwork/flashback-go/internal/verdict"
)

// hasty is a client that waits for nothing, with a budget.
func hasty(n int, exchanges ...exchange) *call.Client {
	c, _ := newClient(exchanges...)
	c.Retry.Base, c.Retry.Limit = 0, 0
	c.Budget = budget.New(n)
	return c
}

// attempts makes calls one after the other, and tells of each how many attempts it had.
func attempts(t *testing.T, c *call.Client, calls int) (all []int) {
	t.Helper()
	for range calls {
		got := do(t.Context(), c, &change)
		all = append(all, got.Attempts)
		empty := slices.Contains(why(&got), call.BudgetEmpty)
		down := got.Response.Status == http.StatusInternalServerError || got.Response.Status == http.StatusServiceUnavailable
		assert.Equal(t, down && got.Attempts <= c.Retry.Max, empty, "an empty budget, and nothing else, is the reason")
	}
	return all
}

func repeat(n int, e ...exchange) []exchange { return slices.Repeat(e, n) }

func TestTheRetryBudget(t *testing.T) {
	t.Parallel()
	down, refused, fine := says(500), says(404), says(200)
	for _, tt := range []struct {
		name      string
		budget    int
		exchanges []exchange
		attempts  []int
	}{
		{"a retry takes one, and an empty budget leaves the first attempts", 6, repeat(10, down), []int{5, 3, 1, 1}},
		{"none allows no retry", 0, repeat(3, down), []int{1, 1, 1}},
		{"a success gives back what its call took", 2, []exchange{down, down, fine, down, down, fine, down, down, down}, []int{3, 3, 3}},
		{"a refusal gives back what its call took", 2, []exchange{down, down, refused, down, down, refused, down, down, down}, []int{3, 3, 3}},
		{"a lost response gives back nothing", 2, []exchange{down, down, lost, down}, []int{3, 1}},
		{"nine first attempts give back no retry", 1, slices.Concat(repeat(3, down), repeat(9, fine), repeat(1, down)), []int{2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}},
		{"eleven do", 1, slices.Concat(repeat(3, down), repeat(11, fine), repeat(2, down)), []int{2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2}},
		{"a first attempt that is refused gives back as much", 1, slices.Concat(repeat(3, down), repeat(11, refused), repeat(2, down)), []int{2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2}},
		{"never more than there was", 1, slices.Concat(repeat(40, fine), repeat(3, down)), append(slices.Repeat([]int{1}, 40), 2, 1)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				assert.Equal(t, tt.attempts, attempts(t, hasty(tt.budget, tt.exchanges...), len(tt.attempts)))
			})
		})
	}
}

func TestADefiniteResponseAfterARetryKeepsTheRetriesOfLaterCalls(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := hasty(100, repeat(1000, says(200), says(503), says(404))...)
		for range 1000 {
			assert.Equal(t, []int{1, 2}, attempts(t, c, 2))
		}
	})
}

func TestTheBudgetRefillsByOneASecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := hasty(4, says(500))
		assert.Equal(t, []int{5, 1}, attempts(t, c, 2))
		<-time.After(2 * time.Second)
		assert.Equal(t, []int{3, 1}, attempts(t, c, 2))
		<-time.After(time.Hour)
		assert.Equal(t, []int{5, 1}, attempts(t, c, 2))
	})
}

func TestARateLimitTakesNothingFromTheBudget(t *testing.T) {
	t.Parallel()
	for _, throttled := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			c := hasty(0, says(429, "Retry-After", "1"), says(429), says(429, "Retry-After", "2"), says(200))
			if !throttled {
				c.Throttles = nil
			}
			got := do(t.Context(), c, &change)
			assert.Equal(t, verdict.Success, got.Verdict)
			assert.Equal(t, 4, got.Attempts)
		})
	}
}

func TestA503ThatClosesTheGateTakesFromTheBudgetWhenItsTurnComes(t *testing.T) {
	t.Parallel()
	for _, throttled := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			c := hasty(0, says(503, "Retry-After", "1"), says(200))
			if !throttled {
				c.Throttles = nil
			}
			got := do(t.Context(), c, &change)
			assert.Equal(t, 1, got.Attempts)
			assert.Equal(t, []call.Why{call.BudgetEmpty}, why(&got))
		})
	}
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var free time.Time
		c := hasty(10, func(req *http.Request) (*http.Response, error) { // one in 5 ms, and five at once
			<-time.After(10 * time.Millisecond)
			mu.Lock()
			defer mu.Unlock()
			now := time.Now()
			if free = later(free, now.Add(-25*time.Millisecond)); free.After(now) {
				return says(503, "Retry-After", "1")(req)
			}
			free = free.Add(5 * time.Millisecond)
			return says(200)(req)
		})
		var crowd sync.WaitGroup
		for range 200 {
			crowd.Go(func() {
				got := do(t.Context(), c, &change)
				assert.Equal(t, verdict.Success, got.Verdict)
			})
		}
		crowd.Wait()
	})
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func TestARetryThatWasNotSentIsNotTaken(t *testing.T) {
	t.Parallel()
	for name, first := range map[string]exchange{
		"a backoff": says(500), "a Retry-After": says(503, "Retry-After", "1"), "a lost response": lost,
	} {
		for _, throttled := range []bool{true, false} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					c, _ := newClient(first)
					c.Budget = budget.New(1)
					if !throttled {
						c.Throttles = nil
					}
					for range 20 {
						ctx, cancel := context.WithCancel(t.Context())
						time.AfterFunc(time.Microsecond, cancel)
						got := do(ctx, c, &change)
						require.Equal(t, 1, got.Attempts)
						require.NotContains(t, why(&got), call.BudgetEmpty)
						cancel()
						if throttled {
							c.Throttles = new(call.Throttles) // whose gate is closed
						}
					}
				})
			})
		}
	}
}

func TestWhatTookNothingGivesNothingBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, s := newClient(says(429, "Retry-After", "1"))
		c.Throttles, c.Budget = nil, budget.New(4)
		for range 4 {
			require.True(t, c.Budget.Take())
		}
		for range 20 {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Microsecond, cancel)
			do(ctx, c, &change)
			cancel()
		}
		assert.False(t, c.Budget.Take(), "after %v", time.Since(s.begun))
	})
}

func TestATokenSourceThatFailsBeforeARetryGivesItBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		errVault, asked := errors.New("the vault is sealed"), 0
		c := hasty(1, says(500))
		c.Token = func(context.Context) (string, error) {
			if asked++; asked%2 == 0 {
				return "", errVault
			}
			return "token-1", nil
		}
		for range 5 {
			got := do(t.Context(), c, &change)
			assert.Equal(t, []call.Why{call.NoToken}, why(&got))
			assert.Equal(t, verdict.Unknown, got.Verdict)
		}
	})
}

func TestADeadServerGetsAboutOneRequestPerCall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, s := newClient(says(500))
		c.Retry.Base, c.Retry.Limit = 0, 0
		var group sync.WaitGroup
		for range 32 {
			group.Go(func() {
				for range 100 {
					do(t.Context(), c, &change)
				}
			})
		}
		group.Wait()
		assert.Len(t, s.at, 3200+100)
	})
}

func TestA401IsTriedOnceMoreWithAnotherToken(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name      string
		tokens    []string
		fixed     bool
		retries   int
		exchanges []exchange
		sent      []string
		want      verdict.Verdict
	}{
		{"another token", []string{"a", "b"}, false, 4, []exchange{says(401), says(200)}, []string{"a", "b"}, verdict.Success},
		{"another one that is refused too", []string{"a", "b", "c"}, false, 4, []exchange{says(401)}, []string{"a", "b"}, verdict.Failure},
		{"once, with others in between", []string{"a", "b", "c", "d"}, false, 4, []exchange{says(401), says(425), says(401)}, []string{"a", "b", "c"}, verdict.Failure},
		{"the same token", []string{"a"}, false, 4, []exchange{says(401)}, []string{"a"}, verdict.Failure},
		{"a fixed token", []string{"a", "b"}, true, 4, []exchange{says(401)}, []string{"a"}, verdict.Failure},
		{"no retries", []string{"a", "b"}, false, 0, []exchange{says(401)}, []string{"a"}, verdict.Failure},
		{"after an ambiguous attempt", []string{"a", "a", "b"}, false, 4, []exchange{lost, says(401), says(404)}, []string{"a", "a", "b"}, verdict.Unknown},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c, s := newClient(tt.exchanges...)
				asked := 0
				c.Renews, c.Retry.Max = !tt.fixed, tt.retries
				c.Token = func(context.Context) (string, error) {
					asked++
					return tt.tokens[min(asked, len(tt.tokens))-1], nil
				}
				got := do(t.Context(), c, &change)
				assert.Equal(t, tt.sent, s.tokens)
				assert.Equal(t, tt.want, got.Verdict)
			})
		})
	}
}

func TestARenewalWaitsForNothingAndTakesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		c, s := newClient(says(401), says(200))
		c.Renews, c.Budget = true, budget.New(0)
		c.Token = func(context.Context) (string, error) { asked++; return strconv.Itoa(asked), nil }
		got := do(t.Context(), c, &change)
		assert.Equal(t, verdict.Success, got.Verdict)
		assert.Equal(t, 2, asked)
		assert.Equal(t, []time.Duration{0, 0}, s.at)
	})
}

func TestARenewalDoesNotRepeatAnEarlierWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		c, s := newClient(says(500), says(401), says(200))
		c.Renews = true
		c.Token = func(context.Context) (string, error) { asked++; return strconv.Itoa(asked), nil }
		got := do(t.Context(), c, &change)
		assert.Equal(t, verdict.Success, got.Verdict)
		require.Len(t, s.at, 3)
		assert.Equal(t, s.at[1], s.at[2])
	})
}

func TestA500ClosesNoGate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, s := newClient(says(500, "Retry-After", "10"), says(200))
		var group sync.WaitGroup
		group.Go(func() { do(t.Context(), c, &change) })
		synctest.Wait()
		do(t.Context(), c, &change)
		group.Wait()
		assert.Equal(t, []time.Duration{0, 0}, s.at[:2])
	})
}

func TestAfterASilentRateLimitASuccessQuickensAndALossDoesNot(t *testing.T) {
	t.Parallel()
	sent := func(then exchange) (n int) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			c, s := newClient(says(429), then)
			c.Budget = budget.New(1 << 20)
			for ctx.Err() == nil && len(s.at) < 5000 {
				do(ctx, c, &change)
			}
			n = len(s.at)
		})
		return n
	}
	assert.Equal(t, 5000, sent(says(200)))
	assert.Less(t, sent(lost), 100)
}

func TestAfterA429NothingOfTheOperationIsSentBeforeItsRetryAfterIsOver(t *testing.T) {
	t.Parallel()
	for _, status := range []int{429, 503} {
		synctest.Test(t, func(t *testing.T) {
			c, s := newClient(says(status, "Retry-After", "10"), says(200))
			var group sync.WaitGroup
			group.Go(func() { do(t.Context(), c, &change) })
			synctest.Wait()
			for range 8 {
				group.Go(func() {
					got := do(t.Context(), c, &change)
					assert.Equal(t, verdict.Success, got.Verdict)
					assert.Equal(t, 1, got.Attempts, "a call that waits for its turn uses no attempt")
					assert.GreaterOrEqual(t, got.Throttled, 10*time.Second)
				})
			}
			group.Wait()
			require.Len(t, s.at, 10)
			assert.GreaterOrEqual(t, s.at[1], 10*time.Second)
			assert.LessOrEqual(t, s.at[9], time.Minute)
		})
	}
}

func TestAnotherOperationIsNotSlowed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, s := newClient(func(req *http.Request) (*http.Response, error) {
			if req.Method == http.MethodPost {
				return says(429, "Retry-After", "30")(req)
			}
			return says(200)(req)
		})
		ctx, cancel := context.WithCancel(t.Context())
		var group sync.WaitGroup
		group.Go(func() { do(ctx, c, &change) })
		synctest.Wait()
		for range 1000 {
			got := do(t.Context(), c, &remove)
			assert.Zero(t, got.Throttled)
		}
		assert.Zero(t, time.Since(s.begun))
		cancel()
		group.Wait()
	})
}

func TestALongRetryAfterIsRememberedAndCallsFailAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, s := newClient(says(429, "Retry-After", "3600"), says(200))
		do(t.Context(), c, &change)
		<-time.After(time.Minute)
		for range 100 {
			got := do(t.Context(), c, &change)
			assert.Equal(t, []call.Why{call.RateLimited}, why(&got))
			assert.Equal(t, verdict.Failure, got.Verdict)
			assert.Equal(t, 59*time.Minute, got.RetryAfter)
			assert.Nil(t, got.Response)
			assert.Zero(t, got.Attempts)
		}
		assert.Len(t, s.at, 1)
		<-time.After(59*time.Minute + 6*time.Second)
		got := do(t.Context(), c, &change)
		assert.Equal(t, verdict.Success, got.Verdict)
	})
}

func TestATurnThatWouldComeAfterTheDeadlineIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, _ := newClient(says(429, "Retry-After", "30"), says(200))
		canceled, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		do(canceled, c, &change)
		begun := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		got := do(ctx, c, &change)
		assert.Zero(t, time.Since(begun))
		assert.Equal(t, []call.Why{call.RateLimited, call.DeadlineNear}, why(&got))
		assert.Equal(t, 29*time.Second, got.RetryAfter)
		assert.Zero(t, got.Attempts)
	})
}

func TestADeadlineThatPassesInTheQueueIsToldAsARateLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var free time.Time
		c, _ := newClient(func(req *http.Request) (*http.Response, error) {
			mu.Lock()
			defer mu.Unlock()
			if time.Now().Before(free) {
				return says(429, "Retry-After", "1")(req)
			}
			free = time.Now().Add(time.Second)
			return says(200)(req)
		})
		deadline, end := context.WithTimeout(t.Context(), 20*time.Second)
		defer end()
		canceled, cancel := context.WithCancel(t.Context())
		time.AfterFunc(20*time.Second, cancel)
		ended := map[context.Context]int{}
		var group sync.WaitGroup
		for ctx, want := range map[context.Context][]call.Why{deadline: {call.RateLimited, call.ContextEnded}, canceled: {call.ContextEnded}} {
			for range 50 {
				group.Go(func() {
					got := do(ctx, c, &change)
					mu.Lock()
					defer mu.Unlock()
					if got.Attempts == 0 && slices.Contains(why(&got), call.ContextEnded) {
						ended[ctx]++
						assert.Equal(t, want, why(&got))
					}
				})
			}
		}
		group.Wait()
		assert.Positive(t, ended[deadline])
		assert.Positive(t, ended[canceled])
	})
}

func TestADeadlineThatWasOverBeforeIsNoRateLimit(t *testing.T) {
	t.Parallel()
	c, s := newClient(says(200))
	ctx, cancel := context.WithTimeout(t.Context(), -1)
	defer cancel()
	for range 10 { // fake time would hide how long it takes to find out
		got := do(ctx, c, &change)
		assert.Equal(t, []call.Why{call.ContextEnded}, why(&got))
	}
	assert.Empty(t, s.at)
}

func TestWithoutThrottlingEachCallWaitsForItself(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, s := newClient(says(429, "Retry-After", "3600"), says(200))
		c.Throttles = nil
		do(t.Context(), c, &change)
		got := do(t.Context(), c, &change)
		assert.Equal(t, verdict.Success, got.Verdict)
		assert.Zero(t, time.Since(s.begun))
	})
}

func TestAFailingFifthOfTheResponsesFailsFewCalls(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		random := rand.New(rand.NewPCG(1, 2))
		var mu sync.Mutex
		c, s := newClient(func(req *http.Request) (*http.Response, error) {
			mu.Lock()
			defer mu.Unlock()
			if random.IntN(5) == 0 {
				return says(500)(req)
			}
			return says(200)(req)
		})
		failed := 0
		var group sync.WaitGroup
		for range 32 {
			group.Go(func() {
				for range 150 {
					if do(t.Context(), c, &change).Verdict != verdict.Success {
						mu.Lock()
						failed++
						mu.Unlock()
					}
				}
			})
		}
		group.Wait()
		assert.Less(t, failed, 50)
		assert.Greater(t, len(s.at), 5500, "a fifth failed")
	})
}
