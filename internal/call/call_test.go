package call_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/flashbacknetwork/flashback-go/internal/budget"
	"github.com/flashbacknetwork/flashback-go/internal/call"
	"github.com/flashbacknetwork/flashback-go/internal/verdict"
)

// readBack is an operation that reads back after any ambiguous attempt, and what it was
// asked to judge.
type readBack struct {
	call.Op

	begun []time.Time
}

// newReadBack makes one that finds a reading, whatever the response to the read-back is.
func newReadBack(repeat verdict.Repeat, when verdict.When, found verdict.Reading) *readBack {
	op := &readBack{Op: change}
	op.Rule = verdict.Rule{Repeat: repeat, ReadBack: when}
	op.ReadBack = &call.ReadBack{
		Op: &call.Op{Name: "see", Method: http.MethodGet, Path: "/things/{id}"},
		Judge: func(_ any, begun, _ time.Time) verdict.Reading {
			op.begun = append(op.begun, begun)
			return found
		},
	}
	return op
}

// answers plays one exchange for reads and one for all others.
func answers(read, other exchange) exchange {
	return func(req *http.Request) (*http.Response, error) {
		if req.Method == http.MethodGet {
			return read(req)
		}
		return other(req)
	}
}

func TestACopyFromACacheIsBelievedOnlyIfItIsYoungerThanTheCall(t *testing.T) {
	t.Parallel()
	slow := func(req *http.Request) (*http.Response, error) {
		select {
		case <-time.After(10 * time.Second):
		case <-req.Context().Done():
		}
		return lost(req)
	}
	for _, tt := range []struct {
		name   string
		age    string
		repeat verdict.Repeat
		when   verdict.When
		first  exchange
		want   verdict.Verdict
	}{
		{"no age", "", verdict.NotIdempotent, verdict.Ambiguous, lost, verdict.Recovered},
		{"an age of nothing", "0", verdict.NotIdempotent, verdict.Ambiguous, lost, verdict.Recovered},
		{"an age of nothing, at once", "0", verdict.Idempotent, verdict.AfterRefusal, says(404), verdict.Recovered},
		{"perhaps older, since it is cut to seconds", "10", verdict.NotIdempotent, verdict.Ambiguous, slow, verdict.Unknown},
		{"younger than the call", "9", verdict.NotIdempotent, verdict.Ambiguous, slow, verdict.Recovered},
		{"older, and not idempotent", "60", verdict.NotIdempotent, verdict.Ambiguous, lost, verdict.Unknown},
		{"older, and refused", "60", verdict.Idempotent, verdict.AfterRefusal, says(404), verdict.Unknown},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				op := newReadBack(tt.repeat, tt.when, verdict.Done)
				c, s := newClient(answers(says(200, "Age", tt.age), tt.first))
				got := do(t.Context(), c, &op.Op)
				assert.Equal(t, tt.want, got.Verdict)
				assert.Len(t, s.at, 2)
			})
		})
	}
	t.Run("older, and idempotent: it is repeated", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			op := newReadBack(verdict.Idempotent, verdict.Ambiguous, verdict.Done)
			c, s := newClient(lost, says(200, "Age", "60"), says(200))
			got := do(t.Context(), c, &op.Op)
			assert.Equal(t, verdict.Success, got.Verdict)
			assert.Len(t, s.at, 3)
		})
	})
}

func TestAReadBackIsJudgedByTheServersLaterClock(t *testing.T) {
	t.Parallel()
	const now, ahead = "Sat, 01 Jan 2000 00:00:00 GMT", "Sat, 01 Jan 2000 01:00:00 GMT"
	for _, tt := range []struct {
		name        string
		call, check string
		want        time.Duration // how much later than ours
	}{
		{"no dates", "", "", 0},
		{"the call's", ahead, "", time.Hour},
		{"the read-back's", "", ahead, time.Hour},
		{"the call's is later", ahead, now, time.Hour},
		{"the read-back's is later", now, ahead, time.Hour},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				op := newReadBack(verdict.Idempotent, verdict.AfterRefusal, verdict.Done)
				c, s := newClient(answers(says(200, "Date", tt.check), says(404, "Date", tt.call)))
				assert.Equal(t, verdict.Recovered, do(t.Context(), c, &op.Op).Verdict)
				require.Len(t, op.begun, 1)
				assert.Equal(t, tt.want, op.begun[0].Sub(s.begun))
			})
		})
	}
}

func TestWhatAReadBackToldIsTold(t *testing.T) {
	t.Parallel()
	const token, password = "a-token-of-some-length", "pa55word"
	fails := func(text string) exchange {
		return func(*http.Request) (*http.Response, error) { return nil, errors.New(text) }
	}
	refuses := func(text string) exchange {
		return func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 403, Body: io.NopCloser(strings.NewReader(`{"success":false,"message":"` + text + `"}`))}, nil
		}
	}
	for _, tt := range []struct {
		name  string
		found verdict.Reading
		read  exchange
		want  string
	}{
		{"something else in its place", verdict.Other, says(200), "something else"},
		{"a refusal", verdict.Done, refuses("not yours"), "HTTP 403 not yours"},
		{"a refusal that shows the password", verdict.Done, refuses("not " + password), "HTTP 403 not [redacted]"},
		{"a failure", verdict.Done, fails("no route"), "no route"},
		{"a failure that shows the token", verdict.Done, fails("no " + token), "no [redacted]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				op := newReadBack(verdict.NotIdempotent, verdict.Ambiguous, tt.found)
				c, _ := newClient(answers(tt.read, lost))
				c.Token = func(context.Context) (string, error) { return token, nil }
				got := c.Do(t.Context(), &op.Op, &call.Input{ID: "1", Password: password})
				assert.Equal(t, verdict.Unknown, got.Verdict)
				require.Contains(t, why(&got), call.ReadBackFailed)
				assert.Contains(t, got.Reasons[0].Text, tt.want)
				for _, r := range got.Reasons {
					assert.NotContains(t, r.Text, token)
					assert.NotContains(t, r.Text, password)
				}
			})
		})
	}
}

func TestTheWaitsOfAReadBackCount(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		op := newReadBack(verdict.NotIdempotent, verdict.Ambiguous, verdict.Done)
		c, _ := newClient(lost, says(429, "Retry-After", "10"), says(200))
		got := do(t.Context(), c, &op.Op)
		assert.Equal(t, verdict.Recovered, got.Verdict)
		assert.Equal(t, 3, got.Attempts)
		assert.GreaterOrEqual(t, got.Throttled, 10*time.Second)
	})
}

func TestARateLimitOfReadsIsNotTheCalls(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		op := newReadBack(verdict.NotIdempotent, verdict.Ambiguous, verdict.Done)
		c, s := newClient(says(429, "Retry-After", "3600"), lost)
		do(t.Context(), c, op.ReadBack.Op)
		got := do(t.Context(), c, &op.Op)
		assert.Equal(t, verdict.Unknown, got.Verdict)
		assert.Contains(t, why(&got), call.ReadBackFailed)
		assert.NotContains(t, why(&got), call.RateLimited)
		assert.Len(t, s.at, 2)
	})
}

func TestAReadBackGivesNothingBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		op := newReadBack(verdict.Idempotent, verdict.AfterRefusal, verdict.NotDone)
		c, s := newClient(answers(says(200), says(404)))
		c.Budget = budget.New(1)
		require.True(t, c.Budget.Take())
		for range 9 { // a tenth for each
			assert.Equal(t, verdict.Failure, do(t.Context(), c, &op.Op).Verdict)
		}
		assert.Len(t, s.at, 18)
		assert.False(t, c.Budget.Take())
	})
}

func TestARetryAfterIsTheLastResponses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, s := newClient(says(503, "Retry-After", "7"), lost)
		c.Throttles, c.Retry.Max = nil, 2
		got := do(t.Context(), c, &change)
		require.Len(t, s.at, 3)
		assert.LessOrEqual(t, s.at[2]-s.at[1], time.Second, "a backoff")
		assert.Zero(t, got.RetryAfter)
	})
}

func TestABodyCanBeSentAgainByTheTransport(t *testing.T) {
	t.Parallel()
	op := change
	c, _ := newClient(func(req *http.Request) (*http.Response, error) {
		if req.GetBody == nil {
			return nil, errors.New("no GetBody")
		}
		body, err := req.GetBody()
		if err != nil {
			return nil, err
		}
		sent, err := io.ReadAll(body)
		return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(`{"success":true,"message":` + string(sent) + `}`))}, err
	})
	c.Retry.Max = 0
	got := c.Do(t.Context(), &op, &call.Input{ID: "1", Body: []byte(`"again"`)})
	require.Equal(t, verdict.Success, got.Verdict)
	assert.Equal(t, "again", got.Response.Message)
}

func TestAURLIsThatOfARequestAndHasNoSecret(t *testing.T) {
	t.Parallel()
	op := change
	op.Query = "key=hunter2"
	c, _ := newClient(says(403))
	got := do(t.Context(), c, &op)
	assert.Equal(t, "https://h.example/things/1?key=", got.URL)

	c.Token = func(context.Context) (string, error) { return "", errReset }
	got = do(t.Context(), c, &op)
	assert.Empty(t, got.URL, "nothing was sent")
}
