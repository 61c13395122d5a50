package flashback_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	flashback "github.com/flashbacknetwork/flashback-go"
	"github.com/flashbacknetwork/flashback-go/flashbacktest"
)

const marked = "s3cr3t/MARKED+token=="

// leaks tells in which of its forms a value shows the mark.
func leaks(v any) (found []string) {
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		text := fmt.Sprintf(verb, v)
		if strings.Contains(text, marked) || strings.Contains(text, fmt.Sprintf("%x", marked)) {
			found = append(found, verb)
		}
	}
	if text, err := json.Marshal(v); err == nil && bytes.Contains(text, []byte(marked)) {
		found = append(found, "JSON")
	}
	for _, handler := range []func(io.Writer, *slog.HandlerOptions) slog.Handler{
		func(w io.Writer, o *slog.HandlerOptions) slog.Handler { return slog.NewTextHandler(w, o) },
		func(w io.Writer, o *slog.HandlerOptions) slog.Handler { return slog.NewJSONHandler(w, o) },
	} {
		var out bytes.Buffer
		slog.New(handler(&out, nil)).Info("a value", "value", v)
		if strings.Contains(out.String(), marked) {
			found = append(found, "slog")
		}
	}
	return found
}

// echo is a backend that repeats the token wherever it can.
func echo(status int, body string) flashbacktest.Fault {
	return flashbacktest.Fault{Status: status, Body: body, Header: http.Header{
		"X-Echo": {"Bearer " + marked}, "X-Request-Id": {marked}, "Location": {"/?token=" + marked},
	}}
}

func TestTheTokenIsNowhere(t *testing.T) {
	t.Parallel()
	said := `{"success":false,"message":"bad token ` + marked + `"}`
	for name, fault := range map[string]flashbacktest.Fault{
		"success":                    {Apply: true, Status: 200, Body: `{"success":true,"message":"welcome ` + marked + `"}`},
		"an echo with 400":           echo(400, said),
		"an echo with 401":           echo(401, said),
		"an echo with 403":           echo(403, said),
		"an echo with 404":           echo(404, said),
		"an echo with 409":           echo(409, said),
		"an echo with 429":           echo(429, said),
		"an echo with 500":           echo(500, said),
		"an echo in an error field":  echo(500, `{"error":"`+marked+`"}`),
		"an echo in a page":          echo(502, "<pre>Authorization: Bearer "+marked+"</pre>"),
		"an echo in a redirect":      echo(302, ""),
		"an echo in a success":       echo(200, said),
		"an echo in no envelope":     echo(200, marked),
		"an escaped echo":            echo(403, `{"message":"bad `+strings.ReplaceAll(marked, "/", `\/`)+`"}`),
		"another escaped echo":       echo(502, `{"a":{"b":"`+strings.ReplaceAll(marked, "=", `\u003D`)+`"}}`),
		"an echo in a message's URL": echo(403, `{"message":"/login?t=`+url.QueryEscape(marked)+`"}`),
		"an echo in a URL":           {Status: 302, Header: http.Header{"Location": {"/?t=" + url.QueryEscape(marked)}}},
		"an echo that is cut":        {Status: 200, Body: said + said, Lose: flashbacktest.CutBody},
		"cut within an echo":         {Status: 401, Body: marked + marked[:len(marked)-2], Lose: flashbacktest.CutBody},
		"cut":                        flashbacktest.Drop(),
		"reset":                      {Lose: flashbacktest.ResetConnection},
		"a Retry-After too long":     flashbacktest.RateLimited(time.Hour),
	} {
		for source, opts := range map[string][]flashback.Option{
			"given":  nil,
			"source": {flashback.WithTokenSource(func(context.Context) (string, error) { return marked, nil })},
		} {
			t.Run(name+", token "+source, func(t *testing.T) {
				t.Parallel()
				backend := flashbacktest.New(t)
				backend.AddDeletedUser("user-1")
				backend.Decide(func(*http.Request) flashbacktest.Fault { return fault })
				var logged bytes.Buffer
				token := marked
				if opts != nil {
					token = ""
				}
				client, err := flashback.NewClient(token, append([]flashback.Option{
					flashback.WithBaseURL(backend.URL), flashback.WithBackoff(0, 0), flashback.WithMaxRetries(1),
					flashback.WithLogger(slog.New(slog.NewJSONHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))),
				}, opts...)...)
				require.NoError(t, err)
				assert.Empty(t, leaks(client))
				assert.Empty(t, leaks(*client.Organization))
				assert.Empty(t, leaks(*client.Organization.Users))
				got, failure := activateIn(t.Context(), client)
				assert.Empty(t, leaks(got))
				if failure != nil {
					assert.Empty(t, leaks(failure))
					assert.Empty(t, leaks(*failure))
					assert.Empty(t, leaks(failure.Err))
					assert.NotContains(t, string(failure.Body), marked)
					assert.Empty(t, leaks(failure.Header))
				}
				assert.NotContains(t, logged.String(), marked)
				for _, r := range backend.Requests() {
					assert.Equal(t, "Bearer "+marked, r.Header.Get("Authorization"))
				}
			})
		}
	}
}

func TestATokenThatWasRenewedIsNowhereEither(t *testing.T) {
	t.Parallel()
	backend := flashbacktest.New(t)
	backend.Script(flashbacktest.Respond(401, ""), flashbacktest.Respond(403, `{"message":"`+marked+` is spent"}`))
	tokens := []string{marked, "another-token", "another-token"}
	client := backend.ClientWithToken("", flashback.WithTokenSource(func(context.Context) (string, error) {
		defer func() { tokens = tokens[1:] }()
		return tokens[0], nil
	}))
	_, err := activateIn(t.Context(), client)
	require.ErrorIs(t, err, flashback.ErrForbidden)
	assert.Equal(t, 2, err.Attempts)
	assert.Empty(t, leaks(err))
	assert.Empty(t, leaks(*err))
}

func TestAnAnswerKeepsAllButTheToken(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ body, wantBody, location, wantLocation string }{
		"as it is, and the rest to the letter": {`{"a":"\"` + marked + `\""}`, `{"a":"\"[redacted]\""}`, "/?t=" + marked, "/?t=[redacted]"},
		"escaped by JSON":                      {`{"a":"s3cr3t\/MARKED+token\u003d\u003D"}`, `{"a":"[redacted]"}`, "/", "/"},
		"escaped by a URL":                     {`"/?t=s3cr3t%2FMARKED%2Btoken%3D%3D"`, `"/?t=[redacted]"`, "/?t=s3cr3t%2FMARKED%2Btoken%3D%3D", "/?t=[redacted]"},
		"escaped by a URL in another way":      {"", "", "/?t=s3cr3t%2fMARKED%2btoken%3d%3d", "/?t=[redacted]"},
		"no token":                             {`{"a":"\/"}`, `{"a":"\/"}`, "/?a=%2f", "/?a=%2f"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			backend := flashbacktest.New(t)
			backend.Script(flashbacktest.Fault{Status: 302, Body: test.body, Header: http.Header{"Location": {test.location}}})
			_, err := activateIn(t.Context(), backend.ClientWithToken(marked))
			require.ErrorIs(t, err, flashback.ErrUnexpectedResponse)
			assert.Equal(t, test.wantBody, string(err.Body))
			assert.Equal(t, test.wantLocation, err.Header.Get("Location"))
		})
	}
}

func TestATokenThatBeginsWithAnotherIsTakenOutWhole(t *testing.T) {
	t.Parallel()
	backend := flashbacktest.New(t)
	backend.Script(flashbacktest.Respond(401, ""), flashbacktest.Respond(403, `{"message":"no: `+marked+`-and-more"}`))
	tokens := []string{marked, marked + "-and-more"}
	client := backend.ClientWithToken("", flashback.WithTokenSource(func(context.Context) (string, error) {
		defer func() { tokens = tokens[1:] }()
		return tokens[0], nil
	}))
	_, err := activateIn(t.Context(), client)
	require.ErrorIs(t, err, flashback.ErrForbidden)
	assert.Equal(t, "no: [redacted]", err.Message)
}

func TestAShortTokenIsTakenOutBehindBearer(t *testing.T) {
	t.Parallel()
	backend := flashbacktest.New(t)
	backend.Script(flashbacktest.Respond(403, `{"message":"Bearer user is no user's token"}`))
	_, err := activateIn(t.Context(), backend.ClientWithToken("user"))
	require.ErrorIs(t, err, flashback.ErrForbidden)
	assert.Equal(t, "Bearer [redacted] is no user's token", err.Message)
}

func TestAnErrorOfTheTransportThatHasTheTokenIsCleaned(t *testing.T) {
	t.Parallel()
	for _, cause := range []error{errors.New("sent Bearer " + marked), fmt.Errorf("%w: %s", context.Canceled, marked)} {
		client, err := flashback.NewClient(marked, flashback.WithBackoff(0, 0), flashback.WithHTTPClient(&http.Client{
			Transport: roundTripper(func(*http.Request) (*http.Response, error) { return nil, cause }),
		}))
		require.NoError(t, err)
		_, failure := activateIn(t.Context(), client)
		assert.Empty(t, leaks(failure))
		assert.Empty(t, leaks(failure.Err))
		assert.Contains(t, failure.Error(), "[redacted]")
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

func TestTheTokenGoesToNoOtherHost(t *testing.T) {
	t.Parallel()
	var visits atomic.Int64
	other := serve(t, func(http.ResponseWriter, *http.Request) { visits.Add(1) })
	for _, status := range []int{301, 302, 303, 307, 308} {
		backend := flashbacktest.New(t)
		backend.Script(flashbacktest.Fault{Status: status, Header: http.Header{"Location": {other.URL}}})
		_, err := activateIn(t.Context(), backend.Client())
		require.ErrorIs(t, err, flashback.ErrUnexpectedResponse)
	}
	assert.Zero(t, visits.Load())
}

//nolint:paralleltest // It takes over what the whole process logs.
func TestNothingIsPrintedUnasked(t *testing.T) {
	var logged bytes.Buffer
	old := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&logged, nil))) // and log.Default with it
	defer slog.SetDefault(old)
	backend := flashbacktest.New(t)
	backend.Script(flashbacktest.Respond(503, ""), flashbacktest.Drop(), flashbacktest.Respond(404, "page"))
	_, err := activateIn(t.Context(), backend.Client())
	require.ErrorIs(t, err, flashback.ErrUnexpectedResponse)
	assert.Empty(t, logged.String())
}

func TestTheBeginningOfATokenAtTheEndOfACutBodyIsTakenOut(t *testing.T) {
	t.Parallel()
	for _, left := range []string{"s3cr", marked[:10], marked[:len(marked)-1]} {
		w := newWire(t, func(*http.Request) (*http.Response, error) {
			body := io.MultiReader(strings.NewReader("auth: "+left), iotest.ErrReader(io.ErrUnexpectedEOF))
			return &http.Response{StatusCode: 401, Header: http.Header{}, Body: io.NopCloser(body)}, nil
		})
		_, err := w.clientWithToken(marked, flashback.WithMaxRetries(0)).Organization.Users.Activate(t.Context(), "user-1")
		assert.Equal(t, "auth: [redacted]", string(asError(t, err).Body))
	}
}
