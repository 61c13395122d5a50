package flashback_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/jarcoal/httpmock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	flashback "github.com/flashbacknetwork/flashback-go"
	"github.com/flashbacknetwork/flashback-go/flashbacktest"
)

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
		"an echo in a code":          echo(403, `{"error_code":"`+marked+`"}`),
		"an echo in a list":          echo(400, `{"message":["bad","`+marked+`"]}`),
		"an echo with a cookie":      {Status: 403, Body: said, Header: http.Header{"Set-Cookie": {"session=" + marked}}},
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
				assert.NotContains(t, dump(client), marked)
				if failure != nil {
					assert.Empty(t, leaks(failure))
					assert.Empty(t, leaks(*failure))
					assert.NotContains(t, dump(failure), marked)
					assert.NotContains(t, failure.URL, marked)
					assert.NotContains(t, failure.Code, marked)
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

func TestAResponseKeepsAllButTheToken(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ body, wantBody, location, wantLocation string }{
		"as it is, and the rest to the letter": {`{"a":"\"` + marked + `\""}`, `{"a":"\"[redacted]\""}`, "/?t=" + marked, "/?t=[redacted]"},
		"escaped by JSON":                      {`{"a":"s3cr3t\/MARKED+token\u003d\u003D"}`, "[redacted: the text has a secret in it]", "/", "/"},
		"escaped by a URL":                     {`"/?t=s3cr3t%2FMARKED%2Btoken%3D%3D"`, `"/?t=[redacted]"`, "/?t=s3cr3t%2FMARKED%2Btoken%3D%3D", "/?t=[redacted]"},
		"escaped by a URL in another way":      {"", "", "/?t=s3cr3t%2fMARKED%2btoken%3d%3d", "[redacted: the text has a secret in it]"},
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

// dump is how a printer that follows every pointer shows a value: the one that
// testify's diffs have.
func dump(value any) string {
	var failed recorder
	t := reflect.TypeOf(value)
	zero := reflect.Zero(t)
	if t.Kind() == reflect.Pointer {
		zero = reflect.New(t.Elem())
	}
	assert.Equal(&failed, zero.Interface(), value)
	return failed.String()
}

// recorder keeps what a failing assertion prints.
type recorder struct{ strings.Builder }

func (r *recorder) Errorf(format string, args ...any) { fmt.Fprintf(r, format, args...) }

// requestError is an error that holds a request, as that of some transports does.
type requestError struct{ Request *http.Request }

func (*requestError) Error() string { return "broken" }

func TestNoPrinterFindsTheTokenInAnError(t *testing.T) {
	t.Parallel()
	hc := &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) { return nil, &requestError{r} })}
	client, err := flashback.NewClient(marked, flashback.WithHTTPClient(hc), flashback.WithMaxRetries(0))
	require.NoError(t, err)
	_, err = client.Organization.Users.Get(t.Context(), "user-1")
	require.ErrorContains(t, err, "broken")
	assert.NotContains(t, dump(err), marked)
	failed, ok := errors.AsType[*requestError](err)
	require.True(t, ok)
	assert.Contains(t, dump(failed), marked, "the control")
}

func TestNoPrinterFindsTheTokenInAClient(t *testing.T) {
	t.Parallel()
	backend := flashbacktest.New(t)
	inside, leave := make(chan struct{}), make(chan struct{})
	backend.Decide(func(r *http.Request) flashbacktest.Fault {
		if strings.HasSuffix(r.URL.Path, "/slow/activate") {
			inside <- struct{}{}
			<-leave
		}
		return flashbacktest.Fault{Status: 200, Body: activated}
	})
	clientOf := func(token string) *flashback.Client {
		client, err := flashback.NewClient(token, flashback.WithBaseURL(backend.URL), flashback.WithBackoff(0, 0))
		require.NoError(t, err)
		return client
	}
	client, another := clientOf(marked), clientOf("another-token")
	check := func(when string) {
		t.Helper()
		var failed recorder
		assert.Equal(&failed, client, another)
		assert.NotEmpty(t, failed.String())
		assert.NotContains(t, failed.String(), marked, when)
		for _, v := range []any{client, *client, client.Organization, *client.Organization, client.Organization.Users, *client.Organization.Users} {
			assert.Empty(t, leaks(v), when)
			assert.NotContains(t, dump(v), marked, when)
		}
	}
	check("unused")
	_, err := activateIn(t.Context(), client)
	assert.Nil(t, err)
	check("idle, with a connection")
	var calls sync.WaitGroup
	calls.Go(func() { _, _ = client.Organization.Users.Activate(t.Context(), "slow") })
	<-inside
	check("in use")
	close(leave)
	calls.Wait()
	with, failed := client.With(flashback.WithMaxRetries(1))
	require.NoError(t, failed)
	assert.NotContains(t, dump(with), marked)

	// The control: the printers find what is there to be found.
	assert.Contains(t, dump(&struct{ hidden *string }{new(marked)}), marked)
}

func TestPrintingAClientInUseIsSafe(t *testing.T) {
	t.Parallel()
	backend := flashbacktest.New(t)
	client := backend.ClientWithToken(marked, flashback.WithBackoff(0, 0))
	var calls sync.WaitGroup
	for range 4 {
		calls.Go(func() {
			for range 25 {
				_, _ = client.Organization.Users.List(t.Context())
			}
		})
	}
	for range 25 { // the race detector watches
		assert.NotContains(t, dump(client), marked)
		assert.Empty(t, leaks(client))
	}
	calls.Wait()
}

// parts tells whether a text has any 12 bytes in a row of a secret.
func parts(text, secret string) bool {
	for i := 0; i+12 <= len(secret); i++ {
		if strings.Contains(text, secret[i:i+12]) {
			return true
		}
	}
	return false
}

// long is a text of n bytes in which no part comes twice.
func long(n int) string {
	var b strings.Builder
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "%06x-", i*7919)
	}
	return b.String()[:n]
}

func TestALongTokenIsNotLeftInPartWhereATextIsCut(t *testing.T) {
	t.Parallel()
	token := long(10 << 10)
	const kib64 = 64 << 10
	for name, escape := range map[string]func(string) string{
		"plain":      func(s string) string { return s },
		"in JSON":    func(s string) string { return strings.ReplaceAll(s, "-", `\u002d`) },
		"in a URL":   func(s string) string { return strings.ReplaceAll(s, "-", "%2D") },
		"in a page":  func(s string) string { return strings.ReplaceAll(s, "-", "&#45;") },
		"uppercased": url.QueryEscape,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			echo := escape(token)
			for _, before := range []int{0, kib64 - 9000, kib64 - 100, kib64 - 13} {
				filler := strings.Repeat(".", before)
				for where, response := range map[string]httpmock.Responder{
					"a page":             says(502, filler+echo+"."),
					"a message":          says(403, `{"message":"`+filler+echo+`"}`),
					"a code":             says(403, `{"error_code":"`+filler+echo+`"}`),
					"an error":           says(500, `{"error":"`+filler+echo+`"}`),
					"a message's list":   says(400, `{"message":["`+filler+`","`+echo+`"]}`),
					"a success":          says(200, `{"success":true,"message":"`+filler+echo+`"}`),
					"a header":           says(404, "", "X-Echo", filler+echo),
					"many headers":       says(404, "", "X-A", filler, "X-Echo", echo),
					"a Location":         says(307, "", "Location", "/"+filler+"?t="+echo),
					"a request ID":       says(404, noWay, "X-Request-Id", echo),
					"a body that is cut": cut(401, filler+echo[:len(echo)/2], io.ErrUnexpectedEOF),
					"a failure":          fails(errors.New(filler + echo)),
				} {
					var logged bytes.Buffer
					client := newWire(t, response).clientWithToken(token, flashback.WithMaxRetries(0),
						flashback.WithLogger(slog.New(slog.NewJSONHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))))
					got, err := client.Organization.Users.Activate(t.Context(), "user-1")
					shown := logged.String()
					if err != nil {
						e := asError(t, err)
						shown += e.Error() + e.Message + e.Code + string(e.Body) + fmt.Sprint(e.Header) + e.RequestID + e.URL + fmt.Sprintf("%+v", e.Err)
					} else {
						shown += got.Message
					}
					assert.False(t, parts(shown, token), "%s, after %d bytes", where, before)
				}
			}
		})
	}
	assert.True(t, parts("x"+token[5000:5012]+"y", token), "the control")
}

func TestAPasswordInAnyEncodingIsRedacted(t *testing.T) {
	t.Parallel()
	password := "pä55-w0rd<&\"\\/😀>"
	asJSON, err := json.Marshal(password)
	require.NoError(t, err)
	inner := strings.Trim(string(asJSON), `"`)
	user := flashback.NewUser{Email: "a@example.com", Password: flashback.NewSecret(password), FirstName: "A", LastName: "B"}
	assert.NotContains(t, dump(user), password)
	assert.Empty(t, leaks(user))
	for name, response := range map[string]httpmock.Responder{
		"a message":    says(400, `{"message":"bad `+inner+`"}`),
		"a list":       says(400, `{"message":["bad `+inner+`"]}`),
		"a code":       says(400, `{"error_code":"`+inner+`"}`),
		"a page":       says(403, "<p>"+password+"</p>"),
		"in HTML":      says(403, "<p>"+html.EscapeString(password)+"</p>"),
		"in a URL":     says(404, "", "Location", "/?p="+url.QueryEscape(password)),
		"in Latin-1":   says(404, strings.ReplaceAll(strings.ReplaceAll(password, "ä", "\xe4"), "😀", `\u{1f600}`)),
		"in an escape": says(404, strings.ReplaceAll(password, "ä", `\u{e4}`)),
		"a failure":    fails(fmt.Errorf("%w: %s", flashback.ErrNotSent, password)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var logged bytes.Buffer
			w := newWire(t, response)
			_, err := w.client(flashback.WithMaxRetries(0),
				flashback.WithLogger(slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug})))).
				Organization.Users.Create(t.Context(), user)
			e := asError(t, err)
			shown := logged.String() + dump(e) + e.Error() + e.Message + e.Code + string(e.Body) + fmt.Sprint(e.Header)
			for _, part := range []string{password, "55-w0rd", inner} {
				assert.NotContains(t, shown, part)
			}
			assert.Contains(t, e.Error()+string(e.Body)+fmt.Sprint(e.Header), "[redacted")
		})
	}
}

func TestASecretIsComparableAndCanBeRevealed(t *testing.T) {
	t.Parallel()
	s := flashback.NewSecret(marked)
	assert.Equal(t, marked, s.Reveal())
	assert.Equal(t, flashback.NewSecret(marked), s)
	assert.True(t, s == flashback.NewSecret(marked)) //nolint:testifylint // the operator itself
	assert.NotEqual(t, flashback.NewSecret(marked+"."), s)
	assert.NotContains(t, dump(s), marked)
	assert.Empty(t, leaks(s))
	assert.Equal(t, "[redacted]", s.String())
	assert.Equal(t, "[redacted]", fmt.Sprintf("%#v", s))
	text, err := json.Marshal(map[string]any{"secret": s})
	require.NoError(t, err)
	assert.JSONEq(t, `{"secret":"[redacted]"}`, string(text))
}

func TestALogHasNoMoreThanAnErrorOfWhatCame(t *testing.T) {
	t.Parallel()
	var logged bytes.Buffer
	huge := strings.Repeat("x", 900_000)
	w := newWire(t, says(503, huge, "X-Huge", huge), fails(errors.New(huge)), says(503, `{"message":"`+huge+`"}`))
	_, err := w.client(flashback.WithMaxRetries(2), flashback.WithLogger(slog.New(slog.NewJSONHandler(&logged, nil)))).
		Organization.Users.Activate(t.Context(), "user-1")
	e := asError(t, err)
	assert.LessOrEqual(t, len(e.Message), 64<<10)
	assert.LessOrEqual(t, len(fmt.Sprint(e.Header)), 70<<10)
	assert.LessOrEqual(t, len(e.Err.Error()), 70<<10)
	assert.LessOrEqual(t, logged.Len(), 16<<10)
}

// BenchmarkAHostileBody is bounded by what is kept of a response, and not by what came.
func BenchmarkAHostileBody(b *testing.B) {
	token := long(1 << 10)
	for name, body := range map[string]string{
		"a page":            strings.Repeat("<p>"+token[:1000]+"</p>", 1000),
		"a message":         `{"message":"` + strings.Repeat(token[:500], 2000) + `"}`,
		"backslashes":       strings.Repeat(`\`, 1<<20),
		"percent signs":     strings.Repeat("%25", 300_000),
		"deep":              strings.Repeat("[", 1<<19) + strings.Repeat("]", 1<<19),
		"a success's words": `{"success":true,"message":"` + strings.Repeat("x", 1_000_000) + `"}`,
	} {
		b.Run(name, func(b *testing.B) {
			client, err := flashback.NewClient(token, flashback.WithMaxRetries(0), flashback.WithHTTPClient(&http.Client{
				Transport: roundTripper(func(*http.Request) (*http.Response, error) { return httpmock.NewStringResponse(200, body), nil }),
			}))
			require.NoError(b, err)
			for b.Loop() {
				_, _ = client.Organization.Users.Activate(b.Context(), "user-1")
			}
		})
	}
}

// A printer that looks into everything shows how two texts are kept.
func TestAKnownTextTellsNothingAboutAnother(t *testing.T) {
	t.Parallel()
	kept := func(text string) string {
		return fmt.Sprintf("%+v", struct{ s flashback.Secret }{flashback.NewSecret(text)})
	}
	a, b := kept(strings.Repeat("a", 40)), kept(strings.Repeat("a", 40)+"b")
	same := 0
	for i := range min(len(a), len(b)) {
		if a[i] == b[i] {
			same++
		}
	}
	assert.Less(t, same, 20, "%q %q", a, b)
	x, y := flashback.NewSecret("x"), flashback.NewSecret("x")
	assert.Equal(t, x, y)
	assert.Equal(t, flashback.Secret{}, flashback.NewSecret(""))
}
