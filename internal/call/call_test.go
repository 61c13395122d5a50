package call_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/flashbacknetwork/flashback-go/internal/call"
	"github.com/flashbacknetwork/flashback-go/internal/verdict"
)

// readBack is an operation that reads back, and what its read-back finds, whatever the
// response is.
type readBack struct {
	op      call.Op
	finding call.Finding
}

func newReadBack(rule verdict.Retry, policy verdict.ReadBackPolicy, found verdict.Reading) *readBack {
	r := &readBack{op: change, finding: call.Finding{Reading: found}}
	r.op.Rule = verdict.Rule{Retry: rule, ReadBack: policy}
	return r
}

func (r *readBack) ReadBack() call.ReadBack {
	return call.ReadBack{Op: &see, Path: "/things/1", Read: func(*call.Response) (call.Finding, error) { return r.finding, nil }}
}

var see = call.Op{Name: "see", Method: http.MethodGet}

func (r *readBack) do(ctx context.Context, c *call.Client, in call.Input) *call.Outcome {
	in.ID, in.Path = "1", "/things/1"
	in.ReadBacker = r
	return c.Do(ctx, &r.op, in)
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
		repeat verdict.Retry
		when   verdict.ReadBackPolicy
		first  exchange
		want   verdict.Verdict
		sent   int
	}{
		{"no age", "", verdict.NotIdempotent, verdict.WhenAmbiguous, lost, verdict.Recovered, 2},
		{"an age of nothing", "0", verdict.NotIdempotent, verdict.WhenAmbiguous, lost, verdict.Recovered, 2},
		{"an age of nothing, at once", "0", verdict.Idempotent, verdict.WhenAmbiguousOrRefused, says(404), verdict.Recovered, 2},
		{"perhaps older, since it is cut to seconds: it is read again", "10", verdict.NotIdempotent, verdict.WhenAmbiguous, slow, verdict.Recovered, 3},
		{"younger than the call", "9", verdict.NotIdempotent, verdict.WhenAmbiguous, slow, verdict.Recovered, 2},
		{"older, and not idempotent: it is read again", "60", verdict.NotIdempotent, verdict.WhenAmbiguous, lost, verdict.Unknown, 5},
		{"older, and refused: it is read again", "60", verdict.Idempotent, verdict.WhenAmbiguousOrRefused, says(404), verdict.Unknown, 5},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				op := newReadBack(tt.repeat, tt.when, verdict.Done)
				c, s := newClient(answers(says(200, "Age", tt.age), tt.first))
				got := op.do(t.Context(), c, call.Input{})
				assert.Equal(t, tt.want, got.Verdict)
				assert.Len(t, s.at, tt.sent)
			})
		})
	}
	t.Run("older, and idempotent: it is repeated", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			op := newReadBack(verdict.Idempotent, verdict.WhenAmbiguous, verdict.Done)
			c, s := newClient(lost, says(200, "Age", "60"), says(200))
			got := op.do(t.Context(), c, call.Input{})
			assert.Equal(t, verdict.Success, got.Verdict)
			assert.Len(t, s.at, 3)
		})
	})
}

func TestAReadBackIsJudgedByTheServersClock(t *testing.T) {
	t.Parallel()
	const ahead = "Sat, 01 Jan 2000 01:00:00 GMT"
	for _, tt := range []struct {
		name        string
		call, check string
		want        time.Duration // how much later than ours
	}{
		{"no dates", "", "", 0},
		{"the call's", ahead, "", time.Hour},
		{"the read-back's", "", ahead, time.Hour},
		{"both", ahead, ahead, time.Hour},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				op := newReadBack(verdict.Idempotent, verdict.WhenAmbiguousOrRefused, verdict.Done)
				for since, want := range map[time.Duration]verdict.Verdict{
					tt.want: verdict.Recovered, tt.want - 3*time.Second: verdict.Unknown, tt.want - 90*time.Second: verdict.Failure, tt.want + 3*time.Second: verdict.Unknown,
				} {
					c, s := newClient(answers(says(200, "Date", tt.check), says(404, "Date", tt.call)))
					op.finding.Since = s.begun.Add(since)
					assert.Equal(t, want, op.do(t.Context(), c, call.Input{}).Verdict, "%v", since)
				}
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
		{"a refusal", verdict.Done, refuses("not yours"), "HTTP 403: not yours"},
		{"a refusal that shows the password", verdict.Done, refuses("not " + password), "HTTP 403: not [redacted]"},
		{"a failure", verdict.Done, fails("no route"), "no route"},
		{"a failure that shows the token", verdict.Done, fails("no " + token), "no [redacted]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				op := newReadBack(verdict.NotIdempotent, verdict.WhenAmbiguous, tt.found)
				c, _ := newClient(answers(tt.read, lost))
				c.Token = func(context.Context) (string, error) { return token, nil }
				got := op.do(t.Context(), c, call.Input{Secrets: []string{password}})
				assert.Equal(t, verdict.Unknown, got.Verdict)
				require.Len(t, got.ReadBacks, 1)
				assert.Contains(t, got.ReadBacks[0], tt.want)
				for _, text := range append(got.ReadBacks, fmt.Sprint(got.Reasons)) {
					assert.NotContains(t, text, token)
					assert.NotContains(t, text, password)
				}
			})
		})
	}
}

func TestTheWaitsOfAReadBackCount(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		op := newReadBack(verdict.NotIdempotent, verdict.WhenAmbiguous, verdict.Done)
		c, _ := newClient(lost, says(429, "Retry-After", "10"), says(200))
		got := op.do(t.Context(), c, call.Input{})
		assert.Equal(t, verdict.Recovered, got.Verdict)
		assert.Equal(t, 3, got.Attempts)
		assert.GreaterOrEqual(t, got.Throttled, 10*time.Second)
	})
}

func TestARateLimitOfReadsIsNotTheCalls(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		op := newReadBack(verdict.NotIdempotent, verdict.WhenAmbiguous, verdict.Done)
		c, s := newClient(says(429, "Retry-After", "3600"), lost)
		do(t.Context(), c, &see)
		got := op.do(t.Context(), c, call.Input{})
		assert.Equal(t, verdict.Unknown, got.Verdict)
		assert.Equal(t, []string{"was not sent"}, got.ReadBacks)
		assert.NotContains(t, why(got), call.RateLimited)
		assert.Len(t, s.at, 2)
	})
}

func TestARetryAfterIsTheLastResponses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, s := newClient(says(503, "Retry-After", "7"), lost)
		c.Gates, c.Retry.MaxRetries = nil, 2
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
	c.Retry.MaxRetries = 0
	got := c.Do(t.Context(), &op, call.Input{ID: "1", Path: "/things/1", Body: []byte(`"again"`)})
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

func TestAPathThatCanNotBeUnescapedIsNotSent(t *testing.T) {
	t.Parallel()
	c, s := newClient(says(200))
	got := c.Do(t.Context(), &change, call.Input{Path: "/things/%zz"})
	require.Error(t, got.Invalid)
	assert.Empty(t, s.at)
}

func TestACallWhoseContextHasEndedIsNotReadBack(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	op := newReadBack(verdict.NotIdempotent, verdict.WhenAmbiguous, verdict.Done)
	c, _ := newClient(func(req *http.Request) (*http.Response, error) {
		cancel()
		return lost(req)
	})
	got := op.do(ctx, c, call.Input{})
	assert.Equal(t, verdict.Unknown, got.Verdict)
	assert.Empty(t, got.ReadBacks)
}

func TestACallWhoseSourceOfTokensFailsIsNotReadBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		op := newReadBack(verdict.Idempotent, verdict.WhenAmbiguous, verdict.NotDone)
		c, s := newClient(lost, says(200), says(401), says(200))
		c.Renews = true
		c.Token = func(ctx context.Context) (string, error) {
			if call.RefusedToken(ctx) != "" {
				return "", errors.New("no other token")
			}
			return "token", nil
		}
		got := op.do(t.Context(), c, call.Input{})
		assert.Equal(t, []call.Why{call.NoToken}, why(got))
		assert.Len(t, s.at, 3, "the attempt, its read-back, and the retry")
	})
}

func TestACallThatWouldWaitTooLongIsReadBack(t *testing.T) {
	t.Parallel()
	op := newReadBack(verdict.NotIdempotent, verdict.WhenAmbiguous, verdict.Done)
	c, _ := newClient(answers(says(200), says(503, "Retry-After", "3600")))
	got := op.do(t.Context(), c, call.Input{})
	assert.Equal(t, verdict.Recovered, got.Verdict)
}
