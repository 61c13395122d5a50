package call_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/flashbacknetwork/flashback-go/internal/call"
	"github.com/flashbacknetwork/flashback-go/internal/verdict"
)

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
				c.Renews, c.Retry.MaxRetries = !tt.fixed, tt.retries
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

func TestTheSourceIsToldOfARefusedToken(t *testing.T) {
	t.Parallel()
	const token = "a-token-of-some-length"
	for _, tt := range []struct {
		name    string
		retries int
		auth    call.Auth
		want    []string // the refused token each time the source is asked
	}{
		{"for a retry", 4, call.Renewed, []string{"", token}},
		{"for the next call, if no retry is left", 0, call.Renewed, []string{"", token}},
		{"not if the 401 may be about the body", 4, call.Fixed, []string{""}},
		{"not if no retry is left for such a call", 0, call.Fixed, []string{""}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			op := change
			op.Auth = tt.auth
			c, _ := newClient(says(401))
			c.Renews, c.Retry.MaxRetries = true, tt.retries
			var refused []string
			c.Token = func(ctx context.Context) (string, error) {
				refused = append(refused, call.RefusedToken(ctx))
				assert.NotContains(t, fmt.Sprint(ctx), token)
				return token, nil
			}
			do(t.Context(), c, &op)
			assert.Equal(t, tt.want, refused)
		})
	}
}

func TestANilContextHasNoTokenAndNoAttempt(t *testing.T) {
	t.Parallel()
	assert.Empty(t, call.RefusedToken(nil)) //nolint:staticcheck // That is the point.
	_, ok := call.AttemptFrom(nil)          //nolint:staticcheck // That is the point.
	assert.False(t, ok)
}

func TestTheWaitAtTheGateIsLogged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		accepted := make(chan struct{})
		c, _ := newClient(func(req *http.Request) (*http.Response, error) {
			<-accepted // by then another call has made progress
			return says(429, "Retry-After", "10")(req)
		}, says(200))
		var waits []time.Duration
		c.Log = slog.New(logged(func(r slog.Record) {
			r.Attrs(func(a slog.Attr) bool {
				if r.Message == "flashback: retrying" && a.Key == "wait" {
					waits = append(waits, a.Value.Duration())
				}
				return true
			})
		}))
		var calls sync.WaitGroup
		calls.Go(func() { do(t.Context(), c, &change) })
		synctest.Wait()
		do(t.Context(), c, &change)
		close(accepted)
		calls.Wait()
		require.Len(t, waits, 1)
		assert.GreaterOrEqual(t, waits[0], 10*time.Second)
	})
}

func TestARefusalForLoadUsesNoAttemptAsLongAsOthersAreAccepted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		refused := 0
		c, _ := newClient(func(req *http.Request) (*http.Response, error) {
			if req.URL.Path != "/refused" || refused == 4 {
				return says(200)(req)
			}
			refused++
			select {
			case <-time.After(5 * time.Second): // in which others are accepted
			case <-req.Context().Done():
			}
			return says(429, "Retry-After", "1")(req)
		})
		c.Retry.MaxRetries = 1
		ctx, cancel := context.WithCancel(t.Context())
		var others sync.WaitGroup
		others.Go(func() {
			for ctx.Err() == nil {
				do(ctx, c, &change)
				<-time.After(time.Second)
			}
		})
		got := c.Do(t.Context(), &change, call.Input{Path: "/refused"})
		cancel()
		others.Wait()
		assert.Equal(t, verdict.Success, got.Verdict)
		assert.Equal(t, 5, got.Attempts)
	})
}

func TestARenewalWaitsForNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		c, s := newClient(says(401), says(200))
		c.Renews = true
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

func TestAfterA429NothingOfTheOperationIsSentBeforeItsRetryAfterIsOver(t *testing.T) {
	t.Parallel()
	for range 2 {
		synctest.Test(t, func(t *testing.T) {
			c, s := newClient(says(429, "Retry-After", "10"), says(200))
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
			assert.Equal(t, []call.Why{call.RateLimited}, why(got))
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
		assert.Equal(t, []call.Why{call.RateLimited, call.DeadlineNear}, why(got))
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
		for range 50 {
			for ctx, want := range map[context.Context][][]call.Why{
				deadline: {{call.RateLimited, call.ContextEnded}, {call.RateLimited, call.DeadlineNear}}, // as the gate was open or closed
				canceled: {{call.ContextEnded}},
			} {
				group.Go(func() {
					got := do(ctx, c, &change)
					mu.Lock()
					defer mu.Unlock()
					if got.Attempts == 0 {
						ended[ctx]++
						assert.Contains(t, want, why(got))
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
		assert.Equal(t, []call.Why{call.ContextEnded}, why(got))
	}
	assert.Empty(t, s.at)
}

func TestWithoutThrottlingEachCallWaitsForItself(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, s := newClient(says(429, "Retry-After", "3600"), says(200))
		c.Gates = nil
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
