package flashback_test

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jarcoal/httpmock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	flashback "github.com/flashbacknetwork/flashback-go"
)

const activateURL = "https://backend.flashback.tech/organization/users/user-1/activate"

// mocked returns a client whose requests for user-1 are answered by respond.
func mocked(t *testing.T, respond httpmock.Responder, opts ...flashback.Option) *flashback.Client {
	t.Helper()
	mock := httpmock.NewMockTransport()
	mock.RegisterResponder(http.MethodPost, activateURL, respond)
	opts = append([]flashback.Option{flashback.WithHTTPClient(&http.Client{Transport: mock})}, opts...)
	client, err := flashback.NewClient("access-token-1", opts...)
	require.NoError(t, err)
	return client
}

// answers plays responders in turn; the last one goes on for ever.
func answers(responders ...httpmock.Responder) httpmock.Responder {
	var played atomic.Int64
	return func(req *http.Request) (*http.Response, error) {
		return responders[min(int(played.Add(1)), len(responders))-1](req)
	}
}

func answer(status int, body string, header ...string) httpmock.Responder {
	return func(*http.Request) (*http.Response, error) {
		resp := httpmock.NewStringResponse(status, body)
		for i := 0; i < len(header); i += 2 {
			resp.Header.Set(header[i], header[i+1])
		}
		return resp, nil
	}
}

func activateIn(ctx context.Context, client *flashback.Client) (*flashback.Activation, *flashback.Error) {
	got, err := client.Organization.Users.Activate(ctx, "user-1")
	var e *flashback.Error
	errors.As(err, &e)
	return got, e
}

func TestWaitsDoubleUpToTheMaximumLessAtMostHalf(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var at []time.Time
		client := mocked(t, func(*http.Request) (*http.Response, error) {
			at = append(at, time.Now())
			return httpmock.NewStringResponse(503, ""), nil
		}, flashback.WithMaxRetries(8))
		_, err := activateIn(t.Context(), client)
		require.NotNil(t, err)
		require.Len(t, at, 9)
		for i, milliseconds := range []int{250, 500, 1000, 2000, 4000, 8000, 8000, 8000} {
			full := time.Duration(milliseconds) * time.Millisecond
			wait := at[i+1].Sub(at[i])
			assert.GreaterOrEqual(t, wait, full/2, "wait %d", i+1)
			assert.LessOrEqual(t, wait, full, "wait %d", i+1)
		}
	})
}

func TestWaitsOfSeveralCallsDiffer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client := mocked(t, answer(503, ""), flashback.WithMaxRetries(1))
		seen := map[time.Duration]bool{}
		for range 10 {
			start := time.Now()
			_, _ = activateIn(t.Context(), client)
			seen[time.Since(start)] = true
		}
		assert.Greater(t, len(seen), 5)
	})
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	const exactly = -1 // the client's own backoff, base 1 s
	for name, test := range map[string]struct {
		retryAfter, date string
		wait             time.Duration
	}{
		"seconds are obeyed":                       {"7", "", 7 * time.Second},
		"seconds at the cap are obeyed":            {"60", "", 60 * time.Second},
		"an HTTP date is obeyed":                   {"Sat, 01 Jan 2000 00:00:09 GMT", "", 9 * time.Second},
		"a date of the old RFC 850 form is obeyed": {"Saturday, 01-Jan-00 00:00:09 GMT", "", 9 * time.Second},
		"a date of the asctime form is obeyed":     {"Sat Jan  1 00:00:09 2000", "", 9 * time.Second},
		"a date is read by the server's own clock": {"Tue, 01 Jan 2030 00:00:05 GMT", "Tue, 01 Jan 2030 00:00:00 GMT", 5 * time.Second},
		"zero seconds leave the client's own wait": {"0", "", exactly},
		"a date in the past leaves the own wait":   {"Sat, 01 Jan 1990 00:00:00 GMT", "", exactly},
		"negative seconds leave the own wait":      {"-5", "", exactly},
		"what is no number and no date leaves it":  {"soon", "", exactly},
		"a fraction is no number of seconds":       {"1.5", "", exactly},
		"an empty header leaves it":                {"", "", exactly},
		"space around the seconds does not matter": {" 3 ", "", 3 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, status := range []int{429, 503} {
				synctest.Test(t, func(t *testing.T) {
					client := mocked(t, answers(
						answer(status, "", "Retry-After", test.retryAfter, "Date", test.date),
						answer(200, activated)), flashback.WithBackoff(time.Second, time.Second))
					start := time.Now()
					got, err := activateIn(t.Context(), client)
					require.Nil(t, err)
					assert.Equal(t, 2, got.Attempts)
					if test.wait == exactly {
						assert.InDelta(t, 0.75, time.Since(start).Seconds(), 0.25)
					} else {
						assert.Equal(t, test.wait, time.Since(start))
					}
				})
			}
		})
	}
}

func TestARetryAfterOverTheCapEndsTheCallAtOnce(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		retryAfter string
		opts       []flashback.Option
		want       time.Duration
	}{
		"an hour":                    {"3600", nil, time.Hour},
		"a second over the cap":      {"61", nil, 61 * time.Second},
		"a date":                     {"Sat, 01 Jan 2000 01:00:00 GMT", nil, time.Hour},
		"seconds that overflow":      {"9223372037", nil, 1<<63 - 1},
		"more digits than an int64":  {"99999999999999999999999", nil, 1<<63 - 1},
		"any, where the cap is zero": {"1", []flashback.Option{flashback.WithMaxRetryAfter(0)}, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				client := mocked(t, answer(429, `{"message":"Slow down"}`, "Retry-After", test.retryAfter), test.opts...)
				start := time.Now()
				_, err := activateIn(t.Context(), client)
				require.ErrorIs(t, err, flashback.ErrRateLimited)
				assert.Zero(t, time.Since(start))
				assert.Equal(t, test.want, err.RetryAfter)
				assert.Equal(t, 1, err.Attempts)
				assert.Equal(t, "Slow down", err.Message)
				assert.False(t, err.OutcomeUnknown)
			})
		})
	}
}

func TestAWaitThatWouldOutlastTheDeadlineIsNotBegun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client := mocked(t, answer(429, `{"message":"Slow down"}`, "Retry-After", "30"))
		for _, timeout := range []time.Duration{time.Second, 30 * time.Second} {
			ctx, cancel := context.WithTimeout(t.Context(), timeout)
			start := time.Now()
			_, err := activateIn(ctx, client)
			assert.Zero(t, time.Since(start))
			require.ErrorIs(t, err, flashback.ErrRateLimited)
			require.ErrorIs(t, err, context.DeadlineExceeded)
			assert.Equal(t, 429, err.StatusCode)
			assert.Equal(t, 30*time.Second, err.RetryAfter)
			cancel()
		}
		ctx, cancel := context.WithTimeout(t.Context(), 31*time.Second)
		defer cancel()
		start := time.Now()
		_, err := activateIn(ctx, client)
		assert.Equal(t, 30*time.Second, time.Since(start), "one that fits is waited for")
		assert.Equal(t, 2, err.Attempts)
	})
}

func TestAContextThatEndsKeepsTheLastAnswer(t *testing.T) {
	t.Parallel()
	cause := errors.New("the operator said so")
	for name, test := range map[string]struct {
		status  int
		unknown bool
	}{
		"after a 503 the outcome is unknown":    {503, true},
		"after a 429 nothing can have happened": {429, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				client := mocked(t, answer(test.status, `{"message":"Not now"}`, "X-Request-Id", "r-1"))
				ctx, cancel := context.WithCancelCause(t.Context())
				time.AfterFunc(time.Millisecond, func() { cancel(cause) })
				start := time.Now()
				_, err := activateIn(ctx, client)
				assert.Equal(t, time.Millisecond, time.Since(start))
				require.ErrorIs(t, err, context.Canceled)
				require.ErrorIs(t, err, cause)
				assert.Equal(t, test.status, err.StatusCode)
				assert.Equal(t, "Not now", err.Message)
				assert.Equal(t, "r-1", err.RequestID)
				assert.Equal(t, 1, err.Attempts)
				assert.Equal(t, test.unknown, err.OutcomeUnknown)
			})
		})
	}
}

func TestAnEndedContextSendsNothing(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	client := mocked(t, func(*http.Request) (*http.Response, error) {
		t.Error("a request was sent")
		return nil, errors.New("unexpected")
	})
	_, err := activateIn(ctx, client)
	require.ErrorIs(t, err, context.Canceled)
	assert.Zero(t, err.Attempts)
	assert.False(t, err.OutcomeUnknown)
}

func hang(req *http.Request) (*http.Response, error) {
	<-req.Context().Done()
	return nil, req.Context().Err()
}

func TestADeadlineDuringAnAttemptIsTheCallers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client := mocked(t, answers(answer(503, `{"message":"Not now"}`), hang))
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		start := time.Now()
		_, err := activateIn(ctx, client)
		assert.Equal(t, 5*time.Second, time.Since(start))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorIs(t, err, flashback.ErrServer)
		require.ErrorIs(t, err, flashback.ErrOutcomeUnknown)
		assert.Equal(t, 503, err.StatusCode)
		assert.Equal(t, 2, err.Attempts)
	})
}

// late is a context whose deadline has passed and whose timer has not fired yet.
type late struct{ context.Context }

func (late) Deadline() (time.Time, bool) { return time.Now().Add(-time.Nanosecond), true }

func TestADeadlineThatTheConnectionNoticesFirstIsTheCallers(t *testing.T) {
	t.Parallel()
	client := mocked(t, func(*http.Request) (*http.Response, error) {
		return nil, &net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}
	}, flashback.WithMaxRetries(0))
	_, err := activateIn(late{t.Context()}, client)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	assert.True(t, err.OutcomeUnknown)
}

func TestAnAttemptsOwnTimeoutIsNotTheCallersDeadline(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		opts    []flashback.Option
		respond httpmock.Responder
		after   time.Duration
	}{
		"the default is 30 s": {nil, hang, 30 * time.Second},
		"the option's":        {[]flashback.Option{flashback.WithAttemptTimeout(time.Second)}, hang, time.Second},
		"the transport's own": {nil, func(*http.Request) (*http.Response, error) { return nil, context.DeadlineExceeded }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				client := mocked(t, test.respond, append(test.opts, flashback.WithMaxRetries(1), flashback.WithBackoff(0, 0))...)
				start := time.Now()
				_, err := activateIn(t.Context(), client)
				assert.Equal(t, 2*test.after, time.Since(start))
				require.NotErrorIs(t, err, context.DeadlineExceeded)
				require.ErrorIs(t, err, flashback.ErrOutcomeUnknown)
				assert.Equal(t, 2, err.Attempts)
				assert.Zero(t, err.StatusCode)
			})
		})
	}
}

func TestTheRetryBudget(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	always503 := answer(503, `{"message":"Down"}`)

	t.Run("an empty one leaves the first attempt, and the error says why", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			client := mocked(t, always503, flashback.WithRetryBudget(6))
			_, err := activateIn(ctx, client)
			assert.Equal(t, 5, err.Attempts)
			require.NotErrorIs(t, err, flashback.ErrRetryBudget)
			_, err = activateIn(ctx, client)
			assert.Equal(t, 3, err.Attempts)
			require.ErrorIs(t, err, flashback.ErrRetryBudget)
			require.ErrorIs(t, err, flashback.ErrServer)
			assert.Contains(t, err.Error(), "the client's own retry budget")
			assert.Equal(t, "Down", err.Message)
			_, err = activateIn(ctx, client)
			assert.Equal(t, 1, err.Attempts)
			require.ErrorIs(t, err, flashback.ErrRetryBudget)
		})
	})
	t.Run("a retried call that succeeds gives back what it took", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			client := mocked(t, answers(always503, always503, answer(200, activated), always503), flashback.WithRetryBudget(2))
			got, err := activateIn(ctx, client)
			require.Nil(t, err)
			assert.Equal(t, 3, got.Attempts)
			_, err = activateIn(ctx, client)
			assert.Equal(t, 3, err.Attempts)
		})
	})
	t.Run("ten successes at once give back one, and never more than there was", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			responders := []httpmock.Responder{always503, always503, always503} // takes 1, which is all
			for range 9 {
				responders = append(responders, answer(200, activated))
			}
			responders = append(responders, always503)
			for range 30 {
				responders = append(responders, answer(200, activated))
			}
			client := mocked(t, answers(append(responders, always503)...), flashback.WithRetryBudget(1))
			attempts := func() int {
				_, err := activateIn(ctx, client)
				if err == nil {
					return 0
				}
				return err.Attempts
			}
			assert.Equal(t, 2, attempts())
			assert.Equal(t, 1, attempts(), "it is empty")
			for range 9 {
				assert.Zero(t, attempts())
			}
			assert.Equal(t, 1, attempts(), "nine tenths are no retry")
			for range 30 {
				assert.Zero(t, attempts())
			}
			assert.Equal(t, 2, attempts(), "three would have been given back")
			assert.Equal(t, 1, attempts())
		})
	})
	t.Run("a retry that was not sent is not taken", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			client := mocked(t, always503, flashback.WithRetryBudget(4))
			for range 20 {
				canceled, cancel := context.WithCancel(ctx)
				time.AfterFunc(time.Millisecond, cancel)
				_, err := activateIn(canceled, client)
				require.ErrorIs(t, err, context.Canceled)
			}
			_, err := activateIn(ctx, client)
			assert.Equal(t, 5, err.Attempts)
		})
	})
	t.Run("zero allows no retry, negative any number", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			_, err := activateIn(ctx, mocked(t, always503, flashback.WithRetryBudget(0)))
			assert.Equal(t, 1, err.Attempts)
			client := mocked(t, always503, flashback.WithRetryBudget(-1))
			for range 100 {
				_, err := activateIn(ctx, client)
				require.Equal(t, 5, err.Attempts)
			}
		})
	})
}

func TestAHugeBudgetDoesNotOverflow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		status := atomic.Int64{}
		client := mocked(t, func(*http.Request) (*http.Response, error) {
			return httpmock.NewStringResponse(int(status.Load()), activated), nil
		}, flashback.WithRetryBudget(math.MaxInt))
		status.Store(503)
		var waiting sync.WaitGroup
		waiting.Go(func() { _, _ = activateIn(t.Context(), client) })
		synctest.Wait() // it has taken a retry
		status.Store(200)
		for range 20 { // fill the budget meanwhile
			_, err := activateIn(t.Context(), client)
			assert.Nil(t, err)
		}
		waiting.Wait() // and then it gives back
		status.Store(503)
		_, err := activateIn(t.Context(), client)
		assert.Equal(t, 5, err.Attempts)
	})
}

type uncomparable struct{ v any }

func (uncomparable) Error() string { return "uncomparable" }

func TestACauseThatCanNotBeComparedDoesNoHarm(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client := mocked(t, func(req *http.Request) (*http.Response, error) {
			<-req.Context().Done()
			return nil, context.Cause(req.Context())
		})
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(uncomparable{[]int{1}}) })
		_, err := activateIn(ctx, client)
		require.ErrorIs(t, err, context.Canceled)
	})
}

// many makes calls by 32 workers and counts the failed ones.
func many(client *flashback.Client, calls int) (failed int64) {
	var group sync.WaitGroup
	var left, failures atomic.Int64
	left.Store(int64(calls))
	for range 32 {
		group.Go(func() {
			for left.Add(-1) >= 0 {
				if _, err := activateIn(context.Background(), client); err != nil {
					failures.Add(1)
				}
			}
		})
	}
	group.Wait()
	return failures.Load()
}

func TestADeadServerGetsAboutOneRequestPerCall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var requests atomic.Int64
		client := mocked(t, func(*http.Request) (*http.Response, error) {
			requests.Add(1)
			return httpmock.NewStringResponse(503, ""), nil
		})
		assert.EqualValues(t, 5000, many(client, 5000))
		assert.LessOrEqual(t, requests.Load(), int64(5500))
	})
}

func TestAFailingFifthOfTheAnswersFailsFewCalls(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		random := rand.New(rand.NewPCG(1, 2))
		requests := 0
		client := mocked(t, func(*http.Request) (*http.Response, error) {
			mu.Lock()
			defer mu.Unlock()
			if requests++; random.IntN(5) == 0 {
				return httpmock.NewStringResponse(503, ""), nil
			}
			return httpmock.NewStringResponse(200, activated), nil
		})
		assert.Less(t, many(client, 5000), int64(50))
		assert.Greater(t, requests, 6000, "a fifth failed")
	})
}
