package proof_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	flashback "github.com/flashbacknetwork/flashback-go"
	"github.com/flashbacknetwork/flashback-go/flashbacktest"
)

// FuzzUserID sends IDs to a real server: what it receives is always one segment,
// which decodes to the ID.
func FuzzUserID(f *testing.F) {
	for _, id := range []string{
		"550e8400-e29b-41d4-a716-446655440000", "", ".", "..", "...", "../x", "a/b", "a%2fb", "%2e%2e", "a?b#c", "a;b",
		" ", "+", "ü", "\xff", "\n", "\x7f", "\u0085", "a\\b", "//", "http://h/", "a:b@c", "\u202e", "activate",
	} {
		f.Add(id)
	}
	backend := flashbacktest.New(f)
	client := backend.Client(flashback.WithMaxRetries(0))
	f.Fuzz(func(t *testing.T, id string) {
		defer backend.Reset()
		_, err := client.Organization.Users.Activate(t.Context(), id)
		var e *flashback.Error
		require.ErrorAs(t, err, &e)
		assert.Equal(t, id, e.ID)
		checkErrorText(t, e)
		received := backend.Requests()
		if errors.Is(err, flashback.ErrInvalidArgument) {
			assert.Empty(t, received)
			assert.Zero(t, e.Attempts)
			shows := utf8.ValidString(id) && !strings.ContainsFunc(id, func(r rune) bool {
				return !unicode.IsGraphic(r) || unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
			})
			refused := strings.TrimSpace(id) == "" || id == "." || id == ".." || !shows
			assert.True(t, refused, "%q could have been sent", id)
			return
		}
		if len(id) > 100_000 {
			return // a server may find the request line too long
		}
		require.ErrorIs(t, err, flashback.ErrNotFound, "%q", id)
		require.Len(t, received, 1)
		segments := strings.Split(received[0].Path, "/")
		require.Len(t, segments, 5)
		decoded, err := url.PathUnescape(segments[3])
		require.NoError(t, err)
		assert.Equal(t, id, decoded)
		segments[3] = ""
		assert.Equal(t, []string{"", "organization", "users", "", "activate"}, segments)
	})
}

// FuzzResponse plays any response after a lost one, or first, and then documented ones,
// and holds the verdict against what HTTP and the documentation say.
func FuzzResponse(f *testing.F) {
	for _, body := range []string{
		activated, notDeleted, `{"message":"x"}`, `{"success":true}`, `{"error":"x"}`, `{"error_code":"x"}`,
		`{"success":"true"}`, `{"success":null,"message":null}`, `[]`, `null`, `"x"`, `{`, "", "<html>", "\xff", `{"message":"\u0000\n"}`,
		`{"success":true,"message":"x"} trailing`, `{"success":1,"message":"x"}`, `{"Success":true}`, `{"success":true,"success":false}`,
		`{"message":["a","b"]}`, "\xef\xbb\xbf" + notDeleted, `{"deletedAt":null,"id":"user-1"}`, `{"success":true,"data":{"id":"user-1","deletedAt":null}}`,
	} {
		for _, status := range []uint16{200, 202, 204, 302, 304, 400, 401, 403, 404, 408, 425, 429, 500, 501, 503, 505, 101, 999} {
			f.Add(status, body, "Date", "Sat, 01 Jan 2000 00:00:00 GMT", false)
			f.Add(status, body, "X-Request-Id", "r\x00\n", true)
		}
	}
	f.Fuzz(func(t *testing.T, status uint16, body, name, value string, lostBefore bool) {
		activations := 0
		respond := func(status int, body string) (*http.Response, error) {
			return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}, nil
		}
		transport := roundTripper(func(req *http.Request) (*http.Response, error) {
			if req.Method == http.MethodGet {
				return respond(200, `{"id":"user-1","deletedAt":"2000-01-01T00:00:00.000Z"}`)
			}
			activations++
			switch {
			case lostBefore && activations == 1:
				return nil, io.ErrUnexpectedEOF
			case !lostBefore && activations == 1, lostBefore && activations == 2:
				resp, err := respond(int(status), body)
				resp.Header = http.Header{name: {value}, "Retry-After": {"0"}}
				return resp, err
			}
			return respond(200, activated)
		})
		got, e := activateBy(t.Context(), clientOf(t, flashback.DefaultBaseURL, flashback.WithoutThrottling(), flashback.WithHTTPClient(&http.Client{Transport: transport})))

		again := map[bool]int{false: 2, true: 3}[lostBefore] == activations
		mayRepeat := status < 100 || status > 599 || status/100 == 2 || status/100 == 5 || status == 408 || status == 425 || status == 429
		mayBeApplied := lostBefore || status < 100 || status/100 == 2 || status >= 301 && status <= 303 || status == 408 || status >= 500
		switch {
		case e == nil && again:
			assert.True(t, mayRepeat, "a %d was repeated", status)
			assert.False(t, got.Recovered)
		case e == nil && got.Recovered:
			assert.Equal(t, uint16(400), status)
			assert.True(t, lostBefore)
		case e == nil:
			assert.Equal(t, uint16(2), status/100, "a %d passed for a success", status)
		default:
			assert.Equal(t, int(status), e.StatusCode)
			assert.False(t, again)
			assert.True(t, !e.OutcomeUnknown || mayBeApplied, "unknown after a %d", status)
			assert.True(t, e.OutcomeUnknown || !lostBefore, "definite after a lost response and a %d", status)
			checkErrorText(t, e)
		}
	})
}

// checkErrorText holds the text of an error against its promise.
func checkErrorText(t *testing.T, e *flashback.Error) {
	t.Helper()
	text := e.Error()
	assert.NotContains(t, text, aToken)
	assert.False(t, strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }), "%q", text)
	assert.LessOrEqual(t, len([]rune(text)), 500)
}

// FuzzRetryAfter holds the wait against the limit, in fake time.
func FuzzRetryAfter(f *testing.F) {
	for _, value := range []string{
		"0", "1", "60", "61", "-1", "+1", "1.5", ".5", "1.", "1e3", "9223372036", "9223372037", "99999999999999999999", "", " 7 ", "0x10", "٣",
		"Sat, 01 Jan 2000 00:00:09 GMT", "Saturday, 01-Jan-00 00:00:09 GMT", "Sat Jan  1 00:00:09 2000", "Fri, 31 Dec 9999 23:59:59 GMT",
		"Mon, 01 Jan 0001 00:00:00 GMT", "soon",
	} {
		for _, throttles := range []bool{false, true} {
			f.Add(value, "", uint16(429), throttles)
			f.Add(value, "Sat, 01 Jan 2000 00:00:00 GMT", uint16(503), throttles)
		}
	}
	f.Fuzz(func(t *testing.T, value, date string, status uint16, throttles bool) {
		if status != 503 {
			status = 429
		}
		synctest.Test(t, func(t *testing.T) {
			opts := []flashback.Option{flashback.WithBackoff(time.Second, time.Second)}
			if !throttles {
				opts = append(opts, flashback.WithoutThrottling())
			}
			requests := 0
			client := clientOf(t, flashback.DefaultBaseURL, append(opts, flashback.WithHTTPClient(&http.Client{
				Transport: roundTripper(func(req *http.Request) (*http.Response, error) {
					if requests++; requests > 1 {
						return fromMemory(req)
					}
					return &http.Response{
						StatusCode: int(status), Header: http.Header{"Retry-After": {value}, "Date": {date}}, Body: http.NoBody,
					}, nil
				}),
			}))...)
			start := time.Now()
			got, err := activateBy(t.Context(), client)
			waited := time.Since(start)
			if err != nil {
				assert.Equal(t, int(status), err.StatusCode)
				assert.Zero(t, waited)
				assert.Equal(t, 1, requests)
				assert.Greater(t, err.RetryAfter, time.Minute)
				return
			}
			assert.Equal(t, 2, got.Attempts)
			assert.Positive(t, waited)
			assert.LessOrEqual(t, waited, time.Minute+5*time.Second, "with jitter")
		})
	})
}

// FuzzBaseURL sends to any base URL that is accepted: only to the host and under
// the path that it names, and never in the clear to another machine.
func FuzzBaseURL(f *testing.F) {
	for _, base := range []string{
		flashback.DefaultBaseURL, "https://h/", "https://h//", "https://h/a/../b", "https://h/a%2fb/", "https://h/a%2F", "https://h/a%2F/", "http://127.0.0.1:1", "http://[::1]:1/x",
		"http://h", "https://u:p@h", "https://h?q", "https://h?", "https://h#", "//h", "h", "", "ftp://h", "https:h", "https://h:99999", "https://h:0",
		"https://h:", "http://localhost.evil", "http://127.1", "https://h/\x00", "https://ü/", "http://[::ffff:127.0.0.1]", "https://h/%zz", "https:///x", "http://LOCALHOST", "https://h/ %2F", "https://h/a b", "http://[::1%25lo]",
	} {
		f.Add(base)
	}
	f.Fuzz(func(t *testing.T, base string) {
		var sent *url.URL
		client, err := flashback.NewClient(aToken, flashback.WithBaseURL(base), flashback.WithHTTPClient(&http.Client{
			Transport: roundTripper(func(req *http.Request) (*http.Response, error) {
				sent = req.URL
				return nil, context.Canceled
			}),
		}), flashback.WithMaxRetries(0))
		if err != nil {
			require.ErrorIs(t, err, flashback.ErrInvalidArgument)
			return
		}
		_, err = client.Organization.Users.Activate(t.Context(), "a/b")
		require.Error(t, err)
		require.NotNil(t, sent)
		given, err := url.Parse(base)
		require.NoError(t, err)
		assert.True(t, given.Host == sent.Host || strings.EqualFold(given.Host, sent.Host) && sent.Hostname() == "localhost", sent.Host)
		assert.Nil(t, sent.User)
		assert.Empty(t, sent.RawQuery)
		assert.Empty(t, sent.Fragment)
		assert.Equal(t, strings.TrimRight(given.EscapedPath(), "/")+"/organization/users/a%2Fb/activate", sent.EscapedPath())
		if sent.Scheme == "http" {
			assert.True(t, sent.Hostname() == "localhost" || net.ParseIP(sent.Hostname()).IsLoopback(), "%q", base)
		} else {
			assert.Equal(t, "https", sent.Scheme)
		}
	})
}

// FuzzToken makes clients of any token: one that is accepted is sent as it is, and
// no error quotes one.
func FuzzToken(f *testing.F) {
	for _, token := range []string{
		aToken, "", " ", "t\n", "\tt", "a b", "Bearer x", "bearer x", "Bearer ", "Bearer", "BEARER\u00a0x", "a\x00b", "a\x7fb", "a\u0085b", "ü", "\xff",
	} {
		f.Add(token)
	}
	f.Fuzz(func(t *testing.T, token string) {
		var sent string
		client, err := flashback.NewClient(token, flashback.WithHTTPClient(&http.Client{
			Transport: roundTripper(func(req *http.Request) (*http.Response, error) {
				sent = req.Header.Get("Authorization")
				return nil, errors.New("sent " + token)
			}),
		}), flashback.WithMaxRetries(0))
		if err != nil {
			require.ErrorIs(t, err, flashback.ErrInvalidArgument)
			if len(token) > 12 {
				assert.NotContains(t, err.Error(), token)
			}
			return
		}
		_, failure := activateBy(t.Context(), client)
		assert.Equal(t, "Bearer "+token, sent)
		assert.False(t, strings.ContainsFunc(sent[len("Bearer "):], func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }))
		if len(token) > 12 {
			assert.NotContains(t, failure.Error(), token)
		}
	})
}
