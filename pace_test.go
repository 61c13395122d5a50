package flashback_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
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
		assert.Greater(t, time.Since(began), 250*time.Millisecond, "10 a second, and then more")
		assert.Less(t, time.Since(began), 2*time.Second)
		assert.Len(t, backend.Requests(), 8)
	})
}

func TestAHalfMinuteWithoutA429EndsThePacing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		backend, client := limited(t)
		time.Sleep(31 * time.Second)
		began := time.Now()
		assert.Zero(t, crowd(t, backend, client, 8, 100))
		assert.Zero(t, time.Since(began))
	})
}

func TestACallIsNotHeldBackPastItsDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		backend, client := limited(t)
		time.Sleep(time.Second)
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
		defer cancel()
		errs := make(chan error, 3)
		for i := range 3 {
			go func() {
				_, err := client.Organization.Users.Activate(ctx, fmt.Sprintf("late-%d", i))
				errs <- err
			}()
		}
		late := 0
		for range 3 {
			err := <-errs
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
		assert.Equal(t, 2, late, "one has its turn at once")
		assert.Zero(t, time.Since(began))
		assert.Len(t, backend.Requests(), 1)
	})
}

func TestACallThatIsHeldBackCanBeCanceled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		backend, client := limited(t, flashback.WithLogger(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))))
		_, err := client.Organization.Users.Get(t.Context(), "first")
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(10*time.Millisecond, cancel)
		log.Reset()
		_, err = client.Organization.Users.Activate(ctx, "second")
		require.ErrorIs(t, err, context.Canceled)
		e := asError(t, err)
		assert.Zero(t, e.Attempts)
		assert.Greater(t, e.HeldBack, 10*time.Millisecond)
		assert.Contains(t, err.Error(), "held back ")
		assert.Contains(t, log.String(), `msg="flashback: held back" op=organization.users.activate id=second attempts=0 wait=`)
		assert.Len(t, backend.Requests(), 1)
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
