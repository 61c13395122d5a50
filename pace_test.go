package flashback_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	flashback "github.com/flashbacknetwork/flashback-go"
	"github.com/flashbacknetwork/flashback-go/flashbacktest"
)

// crowd makes calls by many workers, each for a user of its own, and counts those
// that failed.
func crowd(tb testing.TB, backend *flashbacktest.Backend, client *flashback.Client, workers, calls int) (failed int64) {
	tb.Helper()
	for i := range calls {
		backend.AddDeletedUser(fmt.Sprintf("user-%d", i))
	}
	var next, failures atomic.Int64
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for i := next.Add(1); i <= int64(calls); i = next.Add(1) {
				if _, err := client.Organization.Users.Activate(tb.Context(), fmt.Sprintf("user-%d", i-1)); err != nil {
					failures.Add(1)
					tb.Log(err)
				}
			}
		})
	}
	group.Wait()
	return failures.Load()
}

// inBubble is a client of a fake backend in a bubble of fake time.
func inBubble(t *testing.T, opts ...flashback.Option) (*flashbacktest.Backend, *flashback.Client) {
	t.Helper()
	backend, transport, _ := bubbleBackend(t)
	client, err := flashback.NewClient(backend.Token(), append([]flashback.Option{
		flashback.WithBaseURL("http://127.0.0.1"), flashback.WithHTTPClient(&http.Client{Transport: transport}),
	}, opts...)...)
	require.NoError(t, err)
	return backend, client
}

func TestAClientFindsTheRateThatTheServerTakes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		rate, burst, workers int
		answersIn            time.Duration
		requests             float64 // per call, at most
	}{
		{rate: 200, burst: 20, workers: 32, requests: 1.1},
		{rate: 200, burst: 20, workers: 32, answersIn: 20 * time.Millisecond, requests: 1.1},
		{rate: 200, burst: 20, workers: 64, answersIn: 150 * time.Millisecond, requests: 1.1},
		{rate: 50, burst: 50, workers: 8, requests: 1.2},
		{rate: 1000, burst: 100, workers: 32, requests: 1.05},
	} {
		t.Run(fmt.Sprintf("%d a second, burst %d, %d workers, answers in %v", tt.rate, tt.burst, tt.workers, tt.answersIn), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				backend, client := inBubble(t)
				backend.LimitRate(tt.rate, tt.burst)
				backend.Decide(func(*http.Request) flashbacktest.Fault { return flashbacktest.Fault{Delay: tt.answersIn} })
				calls := 15 * tt.rate
				start := time.Now()
				assert.Zero(t, crowd(t, backend, client, tt.workers, calls))
				best := time.Duration(float64(calls-tt.burst) / float64(tt.rate) * float64(time.Second))
				assert.Less(t, time.Since(start), best*13/10)
				assert.Less(t, float64(len(backend.Requests()))/float64(calls), tt.requests)
			})
		})
	}
}

// Other servers count the requests of the last second, or of each.
func TestAClientFindsTheRateOfAWindow(t *testing.T) {
	t.Parallel()
	const rate, calls, workers = 100, 2000, 64
	for name, over := range map[string]func() func(time.Time) bool{
		"that slides": func() func(time.Time) bool {
			var taken []time.Time
			return func(now time.Time) bool {
				taken = slices.DeleteFunc(taken, func(at time.Time) bool { return now.Sub(at) >= time.Second })
				if len(taken) == rate {
					return true
				}
				taken = append(taken, now)
				return false
			}
		},
		"that jumps": func() func(time.Time) bool {
			var second time.Time
			taken := 0
			return func(now time.Time) bool {
				if s := now.Truncate(time.Second); !s.Equal(second) {
					second, taken = s, 0
				}
				taken++
				return taken > rate
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				backend, client := inBubble(t)
				limit := over()
				backend.Decide(func(*http.Request) flashbacktest.Fault {
					if limit(time.Now()) {
						return flashbacktest.RateLimited(time.Second)
					}
					return flashbacktest.Fault{Delay: 20 * time.Millisecond}
				})
				began := time.Now()
				assert.Zero(t, crowd(t, backend, client, workers, calls))
				assert.Less(t, time.Since(began), calls/rate*time.Second*3/2)
				assert.Less(t, float64(len(backend.Requests()))/calls, 1.2)
				t.Log(time.Since(began), len(backend.Requests()))
			})
		})
	}
}

func TestTheRateDoesNotFallFarBelowWhatTheServerTakes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const rate, calls = 100, 2000
		backend, client := inBubble(t, flashback.WithRetryBudget(-1), flashback.WithMaxRetries(100))
		var taken []time.Time
		backend.Decide(func(*http.Request) flashbacktest.Fault {
			now := time.Now()
			taken = slices.DeleteFunc(taken, func(at time.Time) bool { return now.Sub(at) >= time.Second })
			if len(taken) == rate {
				return flashbacktest.Respond(429, "") // without Retry-After: calls come back soon
			}
			taken = append(taken, now)
			return flashbacktest.Fault{Delay: 20 * time.Millisecond}
		})
		began := time.Now()
		assert.Zero(t, crowd(t, backend, client, 64, calls))
		t.Log(time.Since(began), len(backend.Requests()))
		assert.Less(t, time.Since(began), calls/rate*time.Second*3/2)
	})
}

func TestWithoutPacingEachCallIsOnItsOwn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		backend, client := inBubble(t, flashback.WithoutPacing(), flashback.WithMaxRetries(0))
		backend.LimitRate(200, 20)
		assert.Equal(t, int64(280), crowd(t, backend, client, 32, 300))
		assert.Zero(t, time.Since(start(t)))
	})
}

// start is when a bubble's time begins.
func start(t *testing.T) time.Time {
	t.Helper()
	return time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
}

// limited is a client that has just been told to slow down.
func limited(t *testing.T, opts ...flashback.Option) (*flashbacktest.Backend, *flashback.Client) {
	t.Helper()
	backend, client := inBubble(t, opts...)
	backend.Script(flashbacktest.RateLimited(0))
	backend.AddDeletedUser("first")
	_, err := client.Organization.Users.Activate(t.Context(), "first")
	require.NoError(t, err)
	for range 4 { // a few are not held back
		_, err := client.Organization.Users.Get(t.Context(), "first")
		require.NoError(t, err)
	}
	backend.Reset()
	return backend, client
}

func TestAfterA429FirstAttemptsAreSpacedToo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		backend, client := limited(t)
		began := time.Now()
		assert.Zero(t, crowd(t, backend, client, 8, 8))
		assert.Greater(t, time.Since(began), 150*time.Millisecond, "10 a second, and then more")
		assert.Less(t, time.Since(began), 2*time.Second)
		assert.Len(t, backend.Requests(), 8)
	})
}

func TestAHalfMinuteWithoutA429EndsThePacing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		backend, client := limited(t)
		<-time.After(31 * time.Second)
		began := time.Now()
		assert.Zero(t, crowd(t, backend, client, 8, 100))
		assert.Zero(t, time.Since(began))
	})
}

func TestACallIsNotHeldBackPastItsDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		backend, client := limited(t)
		<-time.After(time.Second)
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
		defer cancel()
		late := 0
		for i := range 3 {
			_, err := client.Organization.Users.Activate(ctx, fmt.Sprintf("late-%d", i))
			if errors.Is(err, flashback.ErrNotFound) {
				continue
			}
			late++
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.ErrorIs(t, err, flashback.ErrRateLimited)
			require.ErrorContains(t, err, "by the client itself")
			e := asError(t, err)
			assert.Zero(t, e.Attempts)
			assert.Zero(t, e.StatusCode)
			assert.False(t, e.OutcomeUnknown)
		}
		assert.Equal(t, 1, late, "one has its turn at once, and one for the time before")
		assert.Zero(t, time.Since(began))
		assert.Len(t, backend.Requests(), 2)
	})
}

func TestACallThatIsHeldBackCanBeCanceled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		backend, client := limited(t, flashback.WithLogger(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))))
		for range 2 { // one makes up for the time before
			_, err := client.Organization.Users.Get(t.Context(), "first")
			require.NoError(t, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(10*time.Millisecond, cancel)
		log.Reset()
		_, err := client.Organization.Users.Activate(ctx, "second")
		require.ErrorIs(t, err, context.Canceled)
		e := asError(t, err)
		assert.Zero(t, e.Attempts)
		assert.Equal(t, 10*time.Millisecond, e.HeldBack)
		assert.Contains(t, err.Error(), "held back ")
		assert.Contains(t, log.String(), `msg="flashback: held back" op=organization.users.activate id=second attempts=0 wait=`)
		assert.Len(t, backend.Requests(), 2)
	})
}

func TestCallsThatWereCanceledTakeNobodysTurn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, client := limited(t)
		ctx, cancel := context.WithCancel(t.Context())
		for i := range 1000 {
			go func() { _, _ = client.Organization.Users.Get(ctx, fmt.Sprint(i)) }()
		}
		<-time.After(10 * time.Millisecond)
		cancel()
		synctest.Wait()
		began := time.Now()
		_, err := client.Organization.Users.Get(t.Context(), "first")
		require.NoError(t, err)
		assert.Less(t, time.Since(began), time.Second)
	})
}

func TestACallIsNotHeldBackOnceTheServerTakesAllAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		backend, client := inBubble(t, flashback.WithRetryBudget(-1), flashback.WithMaxRetries(100))
		backend.LimitRate(1, 1)
		time.AfterFunc(20*time.Second, func() { backend.LimitRate(0, 0) })
		began := time.Now()
		assert.Zero(t, crowd(t, backend, client, 200, 400))
		assert.Less(t, time.Since(began), 2*time.Minute)
	})
}

// What a delete looks at, and the token, must not be stale when its turn comes.
func TestTheTurnComesBeforeTheLookAndTheToken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		backend, client := limited(t)
		backend.AddUser(flashbacktest.User{ID: "user-1"})
		backend.ScriptFor("user-1", flashbacktest.Drop())
		var at []time.Time
		backend.Decide(func(r *http.Request) flashbacktest.Fault {
			if strings.HasSuffix(r.URL.Path, "/user-1") {
				at = append(at, time.Now())
			}
			return flashbacktest.None()
		})
		var others sync.WaitGroup
		defer others.Wait()
		for i := range 100 {
			others.Go(func() {
				<-time.After(time.Duration(i) * 10 * time.Millisecond)
				_, _ = client.Organization.Users.Get(t.Context(), "first")
			})
		}
		_, err := client.Organization.Users.Delete(t.Context(), "user-1")
		require.NoError(t, err)
		require.Len(t, at, 2, "a look and a delete, after the one that was dropped")
		assert.Equal(t, at[0], at[1])
	})
}

// BenchmarkRateLimited is 3,000 calls by 32 workers on a loopback connection that takes
// 200 a second. Run it with -benchtime 1x.
func BenchmarkRateLimited(b *testing.B) {
	const calls, rate, burst = 3000, 200, 20
	for b.Loop() {
		backend := flashbacktest.New(b)
		client, err := flashback.NewClient(backend.Token(), flashback.WithBaseURL(backend.URL))
		require.NoError(b, err)
		backend.LimitRate(rate, burst)
		began := time.Now()
		lost := crowd(b, backend.Backend, client, 32, calls)
		b.ReportMetric(float64(lost), "lost")
		b.ReportMetric(float64(len(backend.Requests()))/calls, "requests/call")
		b.ReportMetric(time.Since(began).Seconds()/(float64(calls-burst)/rate), "of-the-best-time")
	}
}
