package flashback_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jarcoal/httpmock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	flashback "github.com/flashbacknetwork/flashback-go"
)

func TestAResponseIsWhatCameOfACall(t *testing.T) {
	t.Parallel()
	lost := fails(errors.New("lost"))
	for name, tt := range map[string]struct {
		responses []httpmock.Responder
		want      flashback.Response
	}{
		"a success": {
			[]httpmock.Responder{says(200, activated, "X-Request-Id", "r-1", "Set-Cookie", "a=b", "X-Echo", "Bearer "+wireToken)},
			flashback.Response{StatusCode: 200, RequestID: "r-1", Attempts: 1, Header: http.Header{"X-Request-Id": {"r-1"}, "X-Echo": {"Bearer [redacted]"}}},
		},
		"a recovered one": {
			[]httpmock.Responder{lost, says(400, notDeleted)},
			flashback.Response{StatusCode: 400, Attempts: 2, Recovered: true, Header: http.Header{}},
		},
		"a failure": {
			[]httpmock.Responder{says(403, noWay, "X-A", "b")},
			flashback.Response{StatusCode: 403, Attempts: 1, Header: http.Header{"X-A": {"b"}}},
		},
		"nothing": {
			[]httpmock.Responder{lost, lost, lost, lost, lost},
			flashback.Response{Attempts: 5},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				got := flashback.Response{StatusCode: 7} // of a call before
				_, _ = newWire(t, tt.responses...).client().Organization.Users.Activate(flashback.WithResponse(t.Context(), &got), "user-1")
				assert.Equal(t, tt.want, got)
			})
		})
	}
}

func TestAResponseTellsHowLongACallTook(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWire(t, says(429, "", "Retry-After", "3"), func(*http.Request) (*http.Response, error) {
			<-time.After(2 * time.Second)
			return httpmock.NewStringResponse(200, activated), nil
		})
		var got flashback.Response
		_, err := w.client().Organization.Users.Activate(flashback.WithResponse(t.Context(), &got), "user-1")
		require.NoError(t, err)
		assert.GreaterOrEqual(t, got.Throttled, 3*time.Second)
		assert.Equal(t, got.Throttled+2*time.Second, got.Duration)
	})
}

func TestAResponseIsEncodedWithItsDurationsInSeconds(t *testing.T) {
	t.Parallel()
	response := flashback.Response{
		StatusCode: 200, Header: http.Header{"X-A": {"b"}}, RequestID: "r-1", Attempts: 2, Recovered: true, Throttled: 1500 * time.Millisecond, Duration: 2 * time.Second,
	}
	const want = `{"statusCode":200,"header":{"X-A":["b"]},"requestId":"r-1","attempts":2,"recovered":true,"throttledSeconds":1.5,"durationSeconds":2}`
	for _, value := range []any{response, &response, map[string]any{"r": response}["r"]} {
		encoded, err := json.Marshal(value)
		require.NoError(t, err)
		assert.JSONEq(t, want, string(encoded))
	}
}

func TestATransportSeesWhichAttemptARequestIs(t *testing.T) {
	t.Parallel()
	var seen []flashback.Attempt
	sees := func(respond httpmock.Responder) httpmock.Responder {
		return func(req *http.Request) (*http.Response, error) {
			attempt, ok := flashback.AttemptFrom(req.Context())
			assert.True(t, ok)
			seen = append(seen, attempt)
			return respond(req)
		}
	}
	w := newWire(t, sees(fails(errors.New("lost"))), sees(says(200, `{"id":"user-1","deletedAt":null}`)), sees(says(200, activated)))
	_, err := w.client().Organization.Users.Delete(t.Context(), "user-1")
	require.NoError(t, err)
	assert.Equal(t, []flashback.Attempt{
		{Op: "organization.users.delete", Number: 1},
		{Op: "organization.users.get", Number: 2, ReadBack: true},
		{Op: "organization.users.delete", Number: 3},
	}, seen)
	_, ok := flashback.AttemptFrom(context.Background())
	assert.False(t, ok)
}

func TestADebugLogHasACallAndItsAttempts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		logger := slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}}))
		w := newWire(t, fails(errors.New("lost "+wireToken)), says(200, activated, "X-Request-Id", "r-1"))
		_, err := w.client(flashback.WithLogger(logger)).Organization.Users.Activate(t.Context(), "user-1")
		require.NoError(t, err)
		want := []string{
			`{"level":"DEBUG","msg":"flashback: attempt","op":"organization.users.activate","id":"user-1","attempts":1,"error":"lost [redacted]","duration":0}`,
			`{"level":"INFO","msg":"flashback: retrying","op":"organization.users.activate","id":"user-1","attempts":1,"error":"lost [redacted]","wait":0}`,
			`{"level":"DEBUG","msg":"flashback: attempt","op":"organization.users.activate","id":"user-1","attempts":2,"status":200,"request_id":"r-1","duration":0}`,
			`{"level":"DEBUG","msg":"flashback: call","op":"organization.users.activate","id":"user-1","attempts":2,"status":200,"request_id":"r-1","duration":0}`,
		}
		assert.Equal(t, want, strings.Split(strings.TrimSpace(out.String()), "\n"))
	})
}

func TestAnUnknownOutcomeIsLogged(t *testing.T) {
	t.Parallel()
	for name, unknown := range map[string]bool{"update": true, "get": false} {
		var out bytes.Buffer
		w := newWire(t, says(500, noWay))
		m := methodOf(t, name)
		_, err := m.call(t.Context(), w.client(flashback.WithMaxRetries(0), flashback.WithLogger(slog.New(slog.NewTextHandler(&out, nil)))))
		require.Error(t, err)
		assert.Equal(t, unknown, strings.Contains(out.String(), `level=WARN msg="flashback: outcome unknown" op=organization.users.update`), out.String())
	}
}

func TestAnErrorIsLoggedAndEncodedByStableKeys(t *testing.T) {
	t.Parallel()
	w := newWire(t, says(403, `{"success":false,"message":"No way","error_code":"NO"}`, "Retry-After", "7", "X-Request-Id", "r-1", "Set-Cookie", "a=b"))
	_, err := w.client().Organization.Users.Activate(t.Context(), "user-1")
	e := asError(t, err)
	const want = `{"op":"organization.users.activate","id":"user-1","error":` + "%TEXT%" + `,"status":403,"message":"No way","code":"NO",
		"method":"POST","url":"https://backend.flashback.tech/organization/users/user-1/activate","request_id":"r-1",
		"retry_after_seconds":7,"attempts":1,"outcome_unknown":false}`
	text, err := json.Marshal(e.Error())
	require.NoError(t, err)
	expected := string(bytes.ReplaceAll([]byte(want), []byte("%TEXT%"), text))
	encoded, err := json.Marshal(e)
	require.NoError(t, err)
	assert.JSONEq(t, expected, string(encoded))

	var out bytes.Buffer
	slog.New(slog.NewJSONHandler(&out, nil)).Error("x", "error", e)
	var logged struct{ Error json.RawMessage }
	require.NoError(t, json.Unmarshal(out.Bytes(), &logged))
	assert.JSONEq(t, expected, string(logged.Error))
}

func TestResultsAreEncodedByTheAPIsKeys(t *testing.T) {
	t.Parallel()
	for want, result := range map[string]any{
		`{"userId":"u","message":"m","attempts":2,"recovered":true}`: flashback.Activation{UserID: "u", Message: "m", Attempts: 2, Recovered: true},
		`{"userId":"d","message":"m","attempts":2,"recovered":true}`: flashback.Deletion{UserID: "d", Message: "m", Attempts: 2, Recovered: true},
		`{"userId":"i","message":"m","attempts":2}`:                  flashback.Invitation{UserID: "i", Message: "m", Attempts: 2},
	} {
		got, err := json.Marshal(result)
		require.NoError(t, err)
		assert.JSONEq(t, want, string(got))
	}
}
