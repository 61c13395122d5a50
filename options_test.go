package flashback_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unicode"

	"github.com/jarcoal/httpmock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	flashback "github.com/flashbacknetwork/flashback-go"
)

func TestABadOptionIsRefusedWithAWordOnWhatToDo(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		option flashback.Option
		says   []string
	}{
		{"a nil option", nil, []string{"nil", "leave it out"}},
		{"no base URL", flashback.WithBaseURL(""), []string{"base URL", flashback.DefaultBaseURL}},
		{"a base URL that is a path", flashback.WithBaseURL("/api"), []string{"base URL", "host", flashback.DefaultBaseURL}},
		{"a base URL without a scheme", flashback.WithBaseURL("h.example"), []string{"base URL", "https://"}},
		{"a base URL without a scheme, with a port", flashback.WithBaseURL("h.example:443"), []string{"base URL", "https://"}},
		{"a base URL with half a scheme", flashback.WithBaseURL("//h.example"), []string{"base URL", "https://"}},
		{"a base URL without a host", flashback.WithBaseURL("https://"), []string{"base URL", "host"}},
		{"a base URL with a path for a host", flashback.WithBaseURL("https:///api"), []string{"base URL", "host"}},
		{"a base URL with a port for a host", flashback.WithBaseURL("https://:443"), []string{"base URL", "host"}},
		{"a base URL of no authority", flashback.WithBaseURL("https:h.example"), []string{"base URL", "host"}},
		{"a base URL of another scheme", flashback.WithBaseURL("ftp://h.example"), []string{"base URL", "https://"}},
		{"a base URL of a socket", flashback.WithBaseURL("unix:///var/run/x"), []string{"base URL", "https://"}},
		{"a base URL that can't be parsed", flashback.WithBaseURL("https://h.example/%zz"), []string{"base URL", flashback.DefaultBaseURL}},
		{"a base URL with a space", flashback.WithBaseURL("https://h example"), []string{"base URL", flashback.DefaultBaseURL}},
		{"a base URL with a newline", flashback.WithBaseURL("https://h.example\n"), []string{"base URL", flashback.DefaultBaseURL}},
		{"a base URL with a user", flashback.WithBaseURL("https://jane@h.example"), []string{"user info", "leave it out"}},
		{"a base URL with a password", flashback.WithBaseURL("https://jane:pa55word@h.example"), []string{"user info", "leave it out"}},
		{"a base URL with an empty user", flashback.WithBaseURL("https://@h.example"), []string{"user info", "leave it out"}},
		{"a base URL with a query", flashback.WithBaseURL("https://h.example?x=pa55word"), []string{"query", "leave it out"}},
		{"a base URL with an empty query", flashback.WithBaseURL("https://h.example/?"), []string{"query", "leave it out"}},
		{"a base URL with a fragment", flashback.WithBaseURL("https://h.example/#pa55word"), []string{"fragment", "leave it out"}},
		{"a base URL with an empty fragment", flashback.WithBaseURL("https://h.example/#"), []string{"fragment", "leave it out"}},
		{"a base URL with port 0", flashback.WithBaseURL("https://h.example:0"), []string{"port", "65535"}},
		{"a base URL with a port that is too high", flashback.WithBaseURL("https://h.example:65536"), []string{"port", "65535"}},
		{"a base URL with a port of letters", flashback.WithBaseURL("https://h.example:https"), []string{"base URL"}},
		{"no HTTP client", flashback.WithHTTPClient(nil), []string{"WithHTTPClient", "nil", "leave the option out"}},
		{"an HTTP client with a negative Timeout", flashback.WithHTTPClient(&http.Client{Timeout: -1}), []string{"WithHTTPClient", "Timeout", "0"}},
		{"no token source", flashback.WithTokenSource(nil), []string{"WithTokenSource", "nil", "function"}},
		{"negative retries", flashback.WithMaxRetries(-1), []string{"WithMaxRetries", "0"}},
		{"a negative backoff", flashback.WithBackoff(-1, time.Second), []string{"WithBackoff", "0"}},
		{"a negative longest backoff", flashback.WithBackoff(0, -1), []string{"WithBackoff", "0"}},
		{"a backoff above its longest", flashback.WithBackoff(2*time.Second, time.Second), []string{"WithBackoff", "2s", "1s"}},
		{"a negative longest Retry-After", flashback.WithMaxRetryAfter(-time.Second), []string{"WithMaxRetryAfter", "-1s", "0"}},
		{"a negative timeout", flashback.WithAttemptTimeout(-time.Second), []string{"WithAttemptTimeout", "-1s", "0"}},
		{"no user agent", flashback.WithUserAgent(""), []string{"WithUserAgent", "acme-admin/1.4"}},
		{"a blank user agent", flashback.WithUserAgent(" \t"), []string{"WithUserAgent", "acme-admin/1.4"}},
		{"a user agent of two lines", flashback.WithUserAgent("acme\r\nX-Evil: 1"), []string{"WithUserAgent", "one line"}},
		{"a user agent with DEL", flashback.WithUserAgent("acme\x7f"), []string{"WithUserAgent"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			client, err := flashback.NewClient(wireToken, tt.option)
			assert.Nil(t, client)
			require.Error(t, err)
			require.ErrorIs(t, err, flashback.ErrInvalidArgument)
			for _, part := range tt.says {
				assert.Contains(t, err.Error(), part)
			}
			assert.NotContains(t, err.Error(), wireToken)
			assert.NotContains(t, err.Error(), "pa55word")
			assert.False(t, strings.ContainsFunc(err.Error(), unicode.IsControl), "%q", err)
		})
	}
}

func TestTheLimitsOfAnOptionAreAllowed(t *testing.T) {
	t.Parallel()
	const forever = time.Duration(1<<63 - 1)
	for name, option := range map[string]flashback.Option{
		"no retries":             flashback.WithMaxRetries(0),
		"many retries":           flashback.WithMaxRetries(1<<31 - 1),
		"no backoff":             flashback.WithBackoff(0, 0),
		"a steady backoff":       flashback.WithBackoff(time.Second, time.Second),
		"an endless backoff":     flashback.WithBackoff(forever, forever),
		"no Retry-After":         flashback.WithMaxRetryAfter(0),
		"an endless Retry-After": flashback.WithMaxRetryAfter(forever),
		"no timeout":             flashback.WithAttemptTimeout(0),
		"an endless timeout":     flashback.WithAttemptTimeout(forever),
		"no logger":              flashback.WithLogger(nil),
		"a logger":               flashback.WithLogger(slog.New(slog.DiscardHandler)),
		"the highest port":       flashback.WithBaseURL("https://h.example:65535"),
		"a zero HTTP client":     flashback.WithHTTPClient(new(http.Client)),
		"plaintext on https":     flashback.WithPlaintextHTTP(),
		"no throttling":          flashback.WithoutThrottling(),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, err := flashback.NewClient(wireToken, option)
			require.NoError(t, err)
			require.NotNil(t, client.Organization.Users)
		})
	}
}

func TestABadTokenIsRefusedAndNotQuoted(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, token, says string }{
		{"empty", "", "WithTokenSource"},
		{"in quotation marks", `"pa55word"`, "quotation mark"},
		{"with one at the end", "pa55word'", "quotation mark"},
		{"a Secret that was printed", flashback.NewSecret("pa55word").String(), "Reveal"},
		{"blank", " ", "white space"},
		{"a newline at the end", "pa55word\n", "strings.TrimSpace"},
		{"a newline at the end, from Windows", "pa55word\r\n", "strings.TrimSpace"},
		{"a space at the beginning", " pa55word", "strings.TrimSpace"},
		{"a space within", "pa55 word", "white space"},
		{"a tab within", "pa55\tword", "white space"},
		{"a no-break space within", "pa55\u00a0word", "white space"},
		{"a line separator within", "pa55\u2028word", "white space"},
		{"a header of its own", "pa55\r\nX-Evil: word", "white space"},
		{"NUL", "pa55\x00word", "control character"},
		{"escape", "pa55\x1bword", "control character"},
		{"DEL", "pa55word\x7f", "control character"},
		{"C1", "pa55\u009bword", "control character"},
		{"with Bearer", "Bearer pa55word", "Bearer"},
		{"with bearer", "bearer pa55word", "Bearer"},
		{"with BEARER and two spaces", "BEARER  pa55word", "Bearer"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			client, err := flashback.NewClient(tt.token)
			assert.Nil(t, client)
			require.ErrorIs(t, err, flashback.ErrInvalidArgument)
			assert.Contains(t, err.Error(), tt.says)
			for _, verb := range []string{"%v", "%+v", "%#v", "%q"} {
				text := fmt.Sprintf(verb, err)
				assert.NotContains(t, text, "pa55")
				assert.NotContains(t, text, "word")
			}
		})
	}
}

func TestAnyOtherTokenIsTaken(t *testing.T) {
	t.Parallel()
	for _, token := range []string{"x", "eyJhbGciOiJIUzI1NiJ9.e30.ZRrHA1JJJW8opsbCGfG_HACGpVUMN_a9IV7pAx_Zmeo", "Bearer", "BearerToken", "abc/+=~._-"} {
		w := newWire(t, says(200, activated))
		_, err := w.clientWithToken(token).Organization.Users.Activate(t.Context(), "user-1")
		require.NoError(t, err)
		assert.Equal(t, []string{"Bearer " + token}, authorizations(w))
	}
}

func TestATokenOrASourceButNotBoth(t *testing.T) {
	t.Parallel()
	source := flashback.WithTokenSource(func(context.Context) (string, error) { return wireToken, nil })
	_, err := flashback.NewClient("pa55word", source)
	require.ErrorIs(t, err, flashback.ErrInvalidArgument)
	assert.Contains(t, err.Error(), "WithTokenSource")
	assert.Contains(t, err.Error(), `""`)
	assert.NotContains(t, err.Error(), "pa55word")

	_, err = flashback.NewClient("Bearer pa55word", source) // bad in itself, too
	require.ErrorIs(t, err, flashback.ErrInvalidArgument)
	assert.NotContains(t, err.Error(), "pa55word")

	_, err = flashback.NewClient("", source)
	require.NoError(t, err)
}

func TestPlaintextIsForLoopbackAlone(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		host     string
		loopback bool
	}{
		{"localhost", true},
		{"localhost:8080", true},
		{"LocalHost", true},
		{"127.0.0.1", true},
		{"127.0.0.1:8080", true},
		{"127.0.0.5", true},
		{"127.255.255.254", true},
		{"[::1]", true},
		{"[::1]:8080", true},
		{"[0:0:0:0:0:0:0:1]", true},
		{"[::ffff:127.0.0.1]", true},
		{"[::ffff:7f00:1]", true},

		{"backend.flashback.tech", false},
		{"localhost.evil.com", false},
		{"evil.localhost.com", false},
		{"notlocalhost", false},
		{"localhost-1", false},
		{"127.0.0.1.evil.com", false},
		{"127.0.0.1.nip.io", false},
		{"128.0.0.1", false},
		{"126.255.255.255", false},
		{"10.0.0.1", false},
		{"0.0.0.0", false},
		{"192.168.0.1", false},
		{"169.254.169.254", false},
		{"[::]", false},
		{"[::2]", false},
		{"[fe80::1]", false},
		{"[2001:db8::1]", false},
		{"[::ffff:10.0.0.1]", false},
		{"[::127.0.0.1]", false},
	} {
		t.Run(tt.host, func(t *testing.T) {
			t.Parallel()
			_, err := flashback.NewClient(wireToken, flashback.WithBaseURL("http://"+tt.host))
			if tt.loopback {
				require.NoError(t, err)
			} else {
				require.ErrorIs(t, err, flashback.ErrInvalidArgument)
				assert.Contains(t, err.Error(), "https://")
				assert.Contains(t, err.Error(), "WithPlaintextHTTP")
				assert.NotContains(t, err.Error(), wireToken)
			}

			for _, opts := range [][]flashback.Option{
				{flashback.WithBaseURL("http://" + tt.host), flashback.WithPlaintextHTTP()},
				{flashback.WithPlaintextHTTP(), flashback.WithBaseURL("http://" + tt.host)},
			} {
				w := newWire(t, says(200, activated))
				_, err := w.client(opts...).Organization.Users.Activate(t.Context(), "user-1")
				require.NoError(t, err)
				require.Len(t, w.sent(), 1)
				assert.Equal(t, "http", w.sent()[0].URL.Scheme)
				host := tt.host
				if strings.EqualFold(host, "localhost") {
					host = "localhost" // net/http exempts no other spelling from a proxy
				}
				assert.Equal(t, host, w.sent()[0].URL.Host)
			}

			_, err = flashback.NewClient(wireToken, flashback.WithBaseURL("https://"+tt.host))
			require.NoError(t, err)
		})
	}
}

func TestTheOrderOfOptionsDoesNotMatter(t *testing.T) {
	t.Parallel()
	for i, order := range permutations(5) {
		synctest.Test(t, func(t *testing.T) {
			w := newWire(t, says(503, ""), stuck)
			all := []flashback.Option{
				flashback.WithBaseURL("http://h.example/api/"),
				flashback.WithPlaintextHTTP(),
				flashback.WithHTTPClient(&http.Client{Transport: w.transport, Timeout: 3 * time.Second}),
				flashback.WithAttemptTimeout(5 * time.Second),
				flashback.WithTokenSource(func(context.Context) (string, error) { return "from-a-source", nil }),
			}
			opts := []flashback.Option{flashback.WithMaxRetries(1), flashback.WithBackoff(0, 0)}
			for _, at := range order {
				opts = append(opts, all[at])
			}
			client, err := flashback.NewClient("", opts...)
			require.NoError(t, err, i)
			start := time.Now()
			_, err = client.Organization.Users.Activate(t.Context(), "user-1")
			require.Error(t, err)
			assert.Equal(t, 3*time.Second, time.Since(start))
			require.Len(t, w.sent(), 2)
			assert.Equal(t, "http://h.example/api/organization/users/user-1/activate", w.sent()[1].URL.String())
			assert.Equal(t, []string{"Bearer from-a-source", "Bearer from-a-source"}, authorizations(w))
		})
	}
}

// permutations are all orders of the numbers below n.
func permutations(n int) [][]int {
	if n == 0 {
		return [][]int{nil}
	}
	var all [][]int
	for _, shorter := range permutations(n - 1) {
		for at := range n {
			order := append([]int{}, shorter[:at]...)
			all = append(all, append(append(order, n-1), shorter[at:]...))
		}
	}
	return all
}

func TestOfTwoOptionsOfAKindTheLastCounts(t *testing.T) {
	t.Parallel()
	w := newWire(t, says(200, activated))
	_, err := w.client(
		flashback.WithUserAgent("first/1"), flashback.WithUserAgent("second/2"),
		flashback.WithBaseURL("https://first.example"), flashback.WithBaseURL("https://second.example"),
	).Organization.Users.Activate(t.Context(), "user-1")
	require.NoError(t, err)
	require.Len(t, w.sent(), 1)
	assert.Equal(t, "second/2 flashback-go/"+flashback.Version, w.sent()[0].Header.Get("User-Agent"))
	assert.Equal(t, "second.example", w.sent()[0].URL.Host)
}

func TestAnOptionServesManyClients(t *testing.T) {
	t.Parallel()
	w := newWire(t, says(503, ""), says(503, ""))
	opts := []flashback.Option{
		flashback.WithHTTPClient(&http.Client{Transport: w.transport}),
		flashback.WithMaxRetries(0),
		flashback.WithUserAgent("acme/1"),
	}
	for _, token := range []string{"token-one", "token-two"} {
		client, err := flashback.NewClient(token, opts...)
		require.NoError(t, err)
		_, err = client.Organization.Users.Activate(t.Context(), "user-1")
		require.Error(t, err)
	}
	assert.Equal(t, []string{"Bearer token-one", "Bearer token-two"}, authorizations(w))
	assert.Equal(t, "acme/1 flashback-go/"+flashback.Version, w.sent()[1].Header.Get("User-Agent"))
}

// stuck fails when the attempt is given up.
func stuck(req *http.Request) (*http.Response, error) {
	<-req.Context().Done()
	return nil, req.Context().Err()
}

func TestTheDefaults(t *testing.T) {
	t.Parallel()
	defaults := func(t *testing.T, w *wire, opts ...flashback.Option) *flashback.Client {
		t.Helper()
		client, err := flashback.NewClient(wireToken, append(opts, flashback.WithHTTPClient(&http.Client{Transport: w.transport}))...)
		require.NoError(t, err)
		return client
	}
	t.Run("four retries", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			w := newWire(t, says(503, ""), says(503, ""), says(503, ""), says(503, ""), says(503, ""))
			_, err := defaults(t, w).Organization.Users.Activate(t.Context(), "user-1")
			assert.Equal(t, 5, asError(t, err).Attempts)
		})
	})
	t.Run("waits from 250 ms on", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			w := newWire(t, says(503, ""), says(200, activated))
			start := time.Now()
			_, err := defaults(t, w).Organization.Users.Activate(t.Context(), "user-1")
			require.NoError(t, err)
			assert.GreaterOrEqual(t, time.Since(start), 125*time.Millisecond)
			assert.LessOrEqual(t, time.Since(start), 250*time.Millisecond)
		})
	})
	t.Run("waits up to 8 s", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			var times []time.Time
			tick := func(*http.Request) (*http.Response, error) {
				times = append(times, time.Now())
				return httpmock.NewStringResponse(503, ""), nil
			}
			w := newWire(t, tick, tick, tick, tick, tick, tick, tick, tick, tick, tick)
			_, err := defaults(t, w, flashback.WithMaxRetries(9)).Organization.Users.Activate(t.Context(), "user-1")
			require.Error(t, err)
			for i := 7; i < len(times); i++ { // 250 ms have doubled to 8 s by the sixth wait
				assert.GreaterOrEqual(t, times[i].Sub(times[i-1]), 4*time.Second)
				assert.LessOrEqual(t, times[i].Sub(times[i-1]), 8*time.Second)
			}
		})
	})
	t.Run("30 s for an attempt", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			w := newWire(t, stuck)
			start := time.Now()
			_, err := defaults(t, w, flashback.WithMaxRetries(0)).Organization.Users.Activate(t.Context(), "user-1")
			require.ErrorIs(t, err, flashback.ErrOutcomeUnknown)
			require.NotErrorIs(t, err, context.DeadlineExceeded)
			assert.Equal(t, 30*time.Second, time.Since(start))
		})
	})
	t.Run("a Retry-After of 60 s is waited for", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			w := newWire(t, says(429, "", "Retry-After", "60"), says(200, activated))
			start := time.Now()
			_, err := defaults(t, w).Organization.Users.Activate(t.Context(), "user-1")
			require.NoError(t, err)
			assert.GreaterOrEqual(t, time.Since(start), time.Minute)
			assert.LessOrEqual(t, time.Since(start), time.Minute+5*time.Second)
		})
	})
	t.Run("a Retry-After of 61 s is not", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			w := newWire(t, says(429, "", "Retry-After", "61"))
			start := time.Now()
			_, err := defaults(t, w).Organization.Users.Activate(t.Context(), "user-1")
			assert.Equal(t, 61*time.Second, asError(t, err).RetryAfter)
			assert.Zero(t, time.Since(start))
		})
	})
	t.Run("constants", func(t *testing.T) {
		t.Parallel()
		assert.Equal(t, "https://backend.flashback.tech", flashback.DefaultBaseURL)
		assert.Equal(t, "0.3.0", flashback.Version)
	})
}

func TestTheShorterOfTheTimeoutsBoundsAnAttempt(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name            string
		attempt, client time.Duration
		want            time.Duration
	}{
		{"the client's is shorter", 5 * time.Second, 2 * time.Second, 2 * time.Second},
		{"the attempt's is shorter", 2 * time.Second, 5 * time.Second, 2 * time.Second},
		{"the client's alone", 0, 5 * time.Second, 5 * time.Second},
		{"the attempt's alone", 5 * time.Second, 0, 5 * time.Second},
		{"neither: the context's", 0, 0, time.Hour},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				w := newWire(t, stuck)
				start := time.Now()
				_, err := w.client(
					flashback.WithHTTPClient(&http.Client{Transport: w.transport, Timeout: tt.client}),
					flashback.WithAttemptTimeout(tt.attempt),
					flashback.WithMaxRetries(0),
				).Organization.Users.Activate(ctx, "user-1")
				e := asError(t, err)
				assert.Equal(t, tt.want, time.Since(start))
				assert.True(t, e.OutcomeUnknown)
				assert.Equal(t, tt.want == time.Hour, errors.Is(err, context.DeadlineExceeded), "%v", err)
			})
		})
	}
}

func TestATimeoutBoundsEachAttemptAndNotTheCall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWire(t, stuck, stuck, stuck, says(400, notDeleted))
		start := time.Now()
		got, err := w.client(
			flashback.WithHTTPClient(&http.Client{Transport: w.transport, Timeout: time.Second}),
		).Organization.Users.Activate(t.Context(), "user-1")
		require.NoError(t, err)
		assert.True(t, got.Recovered)
		assert.Equal(t, 3*time.Second, time.Since(start))
	})
}

func TestTheHTTPClientIsCopiedAndNotChanged(t *testing.T) {
	t.Parallel()
	w := newWire(t, says(302, "", "Location", "https://evil.example/", "Set-Cookie", "a=1; Path=/"), says(503, ""), says(200, activated))
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	hc := &http.Client{Transport: w.transport, Jar: jar, Timeout: time.Hour}
	before := *hc
	client, err := flashback.NewClient(wireToken, flashback.WithHTTPClient(hc), flashback.WithBackoff(0, 0))
	require.NoError(t, err)
	assert.Equal(t, before, *hc)
	_, err = client.Organization.Users.Activate(t.Context(), "user-1")
	require.ErrorIs(t, err, flashback.ErrUnexpectedResponse)
	assert.Equal(t, before, *hc)
	base, err := url.Parse(flashback.DefaultBaseURL)
	require.NoError(t, err)
	assert.Len(t, jar.Cookies(base), 1, "the jar is the caller's own")

	// What the caller does with it later has no effect.
	other := newWire(t)
	hc.Transport, hc.Jar, hc.Timeout = other.transport, nil, time.Nanosecond
	hc.CheckRedirect = func(*http.Request, []*http.Request) error { return nil }
	_, err = client.Organization.Users.Activate(t.Context(), "user-1")
	require.NoError(t, err)
	require.Len(t, w.sent(), 3)
	assert.Equal(t, []string{"a=1"}, w.sent()[2].Header["Cookie"])
	assert.Empty(t, other.sent())
}

func TestANilTransportIsTheClientsOwn(t *testing.T) {
	t.Parallel()
	for _, transport := range []http.RoundTripper{nil, (*http.Transport)(nil)} {
		server := newCounting(t)
		client, err := flashback.NewClient(wireToken, flashback.WithBaseURL(server.URL), flashback.WithHTTPClient(&http.Client{Transport: transport}))
		require.NoError(t, err)
		_, failure := activateIn(t.Context(), client)
		require.Nil(t, failure)
	}
}

// In a CGI program net/http refuses to use HTTP_PROXY, before anything can be traced. It reads
// the environment once, so that the test is another process's.
func TestTheClientsOwnTransportIsBelievedThatNothingWasSent(t *testing.T) {
	t.Parallel()
	const proxy = "http://proxy.example:3128"
	if os.Getenv("HTTP_PROXY") != proxy {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$") //nolint:gosec // It is this test.
		cmd.Env = append(os.Environ(), "HTTP_PROXY="+proxy, "REQUEST_METHOD=POST")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, string(out))
		return
	}
	client, err := flashback.NewClient(wireToken, flashback.WithBaseURL("http://h.example"), flashback.WithPlaintextHTTP(), flashback.WithBackoff(0, 0))
	require.NoError(t, err)
	_, failure := activateIn(t.Context(), client)
	require.ErrorContains(t, failure, "CGI")
	assert.False(t, failure.OutcomeUnknown)
}

func TestTheCheckRedirectOfAnHTTPClientIsNotAsked(t *testing.T) {
	t.Parallel()
	w := newWire(t, says(307, "", "Location", "/elsewhere"))
	asked := false
	_, err := w.client(flashback.WithHTTPClient(&http.Client{
		Transport:     w.transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { asked = true; return nil },
	})).Organization.Users.Activate(t.Context(), "user-1")
	require.ErrorIs(t, err, flashback.ErrUnexpectedResponse)
	assert.False(t, asked)
	assert.Len(t, w.sent(), 1)
}

func TestOptionsAreNotChanged(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	opts := make([]flashback.Option, 1, 8)
	opts[0] = flashback.WithHTTPClient(&http.Client{Transport: w.transport})
	_, err := flashback.NewClient(wireToken, opts...)
	require.NoError(t, err)
	for _, spare := range opts[:cap(opts)][1:] {
		assert.Nil(t, spare)
	}
}

func TestFlashbackClientIsAnotherNameOfClient(t *testing.T) {
	t.Parallel()
	w := newWire(t, says(200, activated))
	var client *flashback.FlashbackClient = w.client()
	var same *flashback.Client = client
	_, err := same.Organization.Users.Activate(t.Context(), "user-1")
	require.NoError(t, err)
}

func TestALongRetryAfterIsRememberedByTheClient(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWire(t, says(429, noWay, "Retry-After", "3600"), says(200, janeJSON), says(200, activated))
		users := w.client().Organization.Users
		_, err := users.Activate(t.Context(), "user-1")
		assert.Equal(t, []string{"ErrRateLimited"}, kinds(err))
		assert.Equal(t, 429, asError(t, err).StatusCode)
		for range 10 {
			_, err = users.Activate(t.Context(), "user-2")
			assert.Equal(t, []string{"ErrNotSent", "ErrRateLimited"}, kinds(err))
			e := asError(t, err)
			assert.Equal(t, time.Hour, e.RetryAfter)
			assert.Zero(t, e.Attempts)
			assert.Zero(t, e.StatusCode)
		}
		_, err = users.Get(t.Context(), userID)
		require.NoError(t, err, "another operation has a limit of its own")
		<-time.After(time.Hour + 6*time.Second)
		_, err = users.Activate(t.Context(), "user-1")
		require.NoError(t, err)
	})
}

func TestWithoutThrottlingACallKnowsNothingOfOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWire(t, says(429, "", "Retry-After", "3600"), says(429, "", "Retry-After", "10"), says(200, activated))
		users := w.client(flashback.WithoutThrottling()).Organization.Users
		_, err := users.Activate(t.Context(), "user-1")
		require.ErrorIs(t, err, flashback.ErrRateLimited)
		start := time.Now()
		activation, err := users.Activate(t.Context(), "user-1")
		require.NoError(t, err)
		assert.Equal(t, 2, activation.Attempts)
		assert.GreaterOrEqual(t, time.Since(start), 10*time.Second)
		assert.LessOrEqual(t, time.Since(start), 11*time.Second)
	})
}

func TestWithMakesACopyWithOtherOptions(t *testing.T) {
	t.Parallel()
	w := newWire(t, says(200, activated), says(200, activated), says(503, ""), says(200, activated))
	client := w.client(flashback.WithUserAgent("first/1"), flashback.WithMaxRetries(1))
	opts := append(make([]flashback.Option, 0, 8),
		flashback.WithUserAgent("second/2"), flashback.WithBaseURL("https://second.example"), flashback.WithMaxRetries(0))
	other, err := client.With(opts...)
	require.NoError(t, err)
	for _, c := range []*flashback.Client{client, other, other, client} {
		_, _ = activateIn(t.Context(), c)
	}
	require.Len(t, w.sent(), 4, "the copy has no retries")
	for i, want := range []struct{ agent, host string }{
		{"first/1", "backend.flashback.tech"}, {"second/2", "second.example"}, {"second/2", "second.example"}, {"first/1", "backend.flashback.tech"},
	} {
		assert.Equal(t, want.agent+" flashback-go/"+flashback.Version, w.sent()[i].Header.Get("User-Agent"))
		assert.Equal(t, want.host, w.sent()[i].URL.Host)
		assert.Equal(t, "Bearer "+wireToken, w.sent()[i].Header.Get("Authorization"))
	}
	assert.Nil(t, opts[:4][3], "the caller's options are not changed")
}

func TestWithSharesTheGatesOfItsBackend(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		opts   []flashback.Option
		shares bool
	}{
		{"nothing else", nil, true},
		{"another base URL", []flashback.Option{flashback.WithBaseURL("https://h.example")}, false},
		{"no throttling", []flashback.Option{flashback.WithoutThrottling()}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWire(t, says(429, "", "Retry-After", "3600"), says(200, activated))
				client := w.client()
				other, err := client.With(tt.opts...)
				require.NoError(t, err)
				_, err = client.Organization.Users.Activate(t.Context(), "user-1")
				require.ErrorIs(t, err, flashback.ErrRateLimited)
				_, err = other.Organization.Users.Activate(t.Context(), "user-1")
				assert.Equal(t, tt.shares, errors.Is(err, flashback.ErrRateLimited), "%v", err)
			})
		})
	}
}

func TestWithRefusesWhatNewClientRefuses(t *testing.T) {
	t.Parallel()
	client := newWire(t).client()
	source := flashback.WithTokenSource(func(context.Context) (string, error) { return "from-a-source", nil })
	for name, opts := range map[string][]flashback.Option{
		"a nil option": {nil}, "a bad value": {flashback.WithMaxRetries(-1)}, "plaintext": {flashback.WithBaseURL("http://h.example")},
	} {
		other, err := client.With(opts...)
		assert.Nil(t, other, name)
		require.ErrorIs(t, err, flashback.ErrInvalidArgument, name)
	}
	for _, none := range []*flashback.Client{nil, {}} {
		other, err := none.With()
		assert.Nil(t, other)
		require.ErrorIs(t, err, flashback.ErrInvalidArgument)
		none.CloseIdleConnections()
	}

	w := newWire(t, says(200, activated), says(200, activated))
	client = w.client()
	sourced, err := client.With(source)
	require.NoError(t, err, "a source takes the place of the token")
	for _, c := range []*flashback.Client{sourced, client} {
		_, failure := activateIn(t.Context(), c)
		require.Nil(t, failure)
	}
	assert.Equal(t, []string{"Bearer from-a-source", "Bearer " + wireToken}, authorizations(w))
	_, err = sourced.With()
	require.NoError(t, err)
}

// counting is a server that knows its connections.
type counting struct {
	*httptest.Server

	opened, closed atomic.Int64
}

func newCounting(t *testing.T) *counting {
	t.Helper()
	c := &counting{Server: httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(activated))
	}))}
	c.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			c.opened.Add(1)
		case http.StateClosed:
			c.closed.Add(1)
		case http.StateActive, http.StateIdle, http.StateHijacked:
		}
	}
	c.Start()
	t.Cleanup(c.Close)
	return c
}

// eventually polls, since sockets are closed when they are.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	assert.Eventually(t, is, 10*time.Second, 5*time.Millisecond, what)
}

func TestIdleConnectionsAreShared(t *testing.T) {
	t.Parallel()
	server := newCounting(t)
	client, err := flashback.NewClient(wireToken, flashback.WithBaseURL(server.URL))
	require.NoError(t, err)
	other, err := client.With(flashback.WithMaxRetries(0))
	require.NoError(t, err)
	for _, c := range []*flashback.Client{client, other, client} {
		_, failure := activateIn(t.Context(), c)
		require.Nil(t, failure)
	}
	assert.EqualValues(t, 1, server.opened.Load())

	client.CloseIdleConnections()
	eventually(t, "closed", func() bool { return server.closed.Load() == 1 })
	_, failure := activateIn(t.Context(), other)
	require.Nil(t, failure, "it works as before")
	assert.EqualValues(t, 2, server.opened.Load())
}

func TestATransportForThoseWhoWrapIt(t *testing.T) {
	t.Parallel()
	transport := flashback.NewTransport()
	assert.NotSame(t, transport, flashback.NewTransport(), "each is the caller's own")
	assert.Equal(t, 512, transport.MaxIdleConnsPerHost)
	assert.Zero(t, transport.MaxConnsPerHost, "there is no cap")
	assert.True(t, transport.ForceAttemptHTTP2)

	server := newCounting(t)
	requests := 0
	client, err := flashback.NewClient(wireToken, flashback.WithBaseURL(server.URL), flashback.WithHTTPClient(&http.Client{
		Transport: roundTripper(func(req *http.Request) (*http.Response, error) { requests++; return transport.RoundTrip(req) }),
	}))
	require.NoError(t, err)
	for range 3 {
		_, failure := activateIn(t.Context(), client)
		require.Nil(t, failure)
	}
	assert.Equal(t, 3, requests)
	assert.EqualValues(t, 1, server.opened.Load())
	client.CloseIdleConnections() // of a transport that has no such method: nothing
	transport.CloseIdleConnections()
	eventually(t, "closed", func() bool { return server.closed.Load() == 1 })
}

func TestAClientCanBePrinted(t *testing.T) {
	t.Parallel()
	w := newWire(t, says(503, ""), says(200, activated), says(401, ""))
	fixed := w.client()
	sourced := w.clientWithToken("", flashback.WithTokenSource(func(context.Context) (string, error) { return wireToken, nil }))
	_, err := fixed.Organization.Users.Activate(t.Context(), "user-1")
	require.NoError(t, err)
	_, err = sourced.Organization.Users.Activate(t.Context(), "user-1")
	require.Error(t, err)
	for _, client := range []*flashback.Client{fixed, sourced} {
		for _, v := range []any{
			client, client.Organization, *client.Organization, client.Organization.Users, *client.Organization.Users,
			[]*flashback.Client{client}, map[string]any{"client": client}, struct{ C *flashback.Client }{client}, err,
		} {
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x", "%T"} {
				text := fmt.Sprintf(verb, v)
				assert.NotContains(t, text, wireToken, "%s of a %T", verb, v)
				assert.NotContains(t, text, fmt.Sprintf("%x", wireToken), "%s of a %T", verb, v)
			}
			text, err := json.Marshal(v)
			require.NoError(t, err)
			assert.NotContains(t, string(text), wireToken)
			var b strings.Builder
			slog.New(slog.NewTextHandler(&b, nil)).Info("client", "v", v)
			slog.New(slog.NewJSONHandler(&b, nil)).Info("client", "v", v)
			assert.NotContains(t, b.String(), wireToken)
		}
	}
}
