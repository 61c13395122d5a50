package flashback_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/http/httptrace"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
	"unicode"

	"github.com/jarcoal/httpmock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	flashback "github.com/flashbacknetwork/flashback-go"
	"github.com/flashbacknetwork/flashback-go/flashbacktest"
)

func TestActivateSendsTheDocumentedRequestAndNothingElse(t *testing.T) {
	t.Parallel()
	w := newWire(t, says(200, activated))
	_, err := w.client().Organization.Users.Activate(t.Context(), "550e8400-e29b-41d4-a716-446655440000")
	require.NoError(t, err)
	require.Len(t, w.sent(), 1)
	req := w.sent()[0]
	assert.Equal(t, "POST", req.Method)
	assert.Equal(t, "https://backend.flashback.tech/organization/users/550e8400-e29b-41d4-a716-446655440000/activate", req.URL.String())
	assert.Equal(t, "backend.flashback.tech", req.Host)
	assert.Equal(t, http.Header{
		"Accept":        {"application/json"},
		"Authorization": {"Bearer " + wireToken},
		"User-Agent":    {"flashback-go/" + flashback.Version},
	}, req.Header)
	assert.True(t, req.Body == nil || req.Body == http.NoBody, "a request without a body")
	assert.Zero(t, req.ContentLength)
	assert.Empty(t, req.TransferEncoding)
	assert.Empty(t, req.Trailer)
	assert.False(t, req.Close)
}

func TestNetHTTPAddsOnlyItsOwnHeaders(t *testing.T) {
	t.Parallel()
	backend := flashbacktest.New(t)
	backend.AddDeletedUser("user-1")
	_, err := backend.Client().Organization.Users.Activate(t.Context(), "user-1")
	require.NoError(t, err)
	require.Len(t, backend.Requests(), 1)
	req := backend.Requests()[0]
	assert.Equal(t, "POST", req.Method)
	assert.Equal(t, "/organization/users/user-1/activate", req.Path)
	assert.Equal(t, http.Header{
		"Accept":          {"application/json"},
		"Accept-Encoding": {"gzip"},
		"Authorization":   {"Bearer " + backend.Token()},
		"Content-Length":  {"0"},
		"User-Agent":      {"flashback-go/" + flashback.Version},
	}, req.Header)
	assert.Empty(t, req.Body)
}

func TestEveryAttemptSendsTheSameRequest(t *testing.T) {
	t.Parallel()
	w := newWire(t, says(503, ""), fails(errors.New("lost")), says(429, ""), says(200, activated))
	_, err := w.client().Organization.Users.Activate(t.Context(), "a/b")
	require.NoError(t, err)
	require.Len(t, w.sent(), 4)
	first := w.sent()[0]
	for _, req := range w.sent() {
		assert.Equal(t, first.Method, req.Method)
		assert.Equal(t, "https://backend.flashback.tech/organization/users/a%2Fb/activate", req.URL.String())
		assert.Equal(t, first.Header, req.Header)
		assert.True(t, req.Body == nil || req.Body == http.NoBody)
		assert.Zero(t, req.ContentLength)
	}
}

var escapedIDs = []struct{ name, id, segment string }{
	{"a UUID stays as it is", "550e8400-e29b-41d4-a716-446655440000", "550e8400-e29b-41d4-a716-446655440000"},
	{"unreserved characters stay", "aZ09-_.~", "aZ09-_.~"},
	{"a slash", "a/b", "a%2Fb"},
	{"a slash alone", "/", "%2F"},
	{"a climb", "../../organization/org-1", "..%2F..%2Forganization%2Forg-1"},
	{"an end of its own", "a/activate", "a%2Factivate"},
	{"a backslash", `..\a`, "..%5Ca"},
	{"a space", "a b", "a%20b"},
	{"spaces around", " a ", "%20a%20"},
	{"a percent sign", "100%", "100%25"},
	{"what looks escaped", "a%2Fb", "a%252Fb"},
	{"dots that look escaped", "%2e%2e", "%252e%252e"},
	{"what looks escaped badly", "%zz%", "%25zz%25"},
	{"a question mark", "a?b=c", "a%3Fb=c"},
	{"a hash", "a#b", "a%23b"},
	{"a semicolon", "a;b", "a%3Bb"},
	{"a comma", "a,b", "a%2Cb"},
	{"a plus stays", "a+b", "a+b"},
	{"what a segment may have stays", "a:b@c&d=e$f", "a:b@c&d=e$f"},
	{"punctuation", `!*'()"<>[]{}|^` + "`", "%21%2A%27%28%29%22%3C%3E%5B%5D%7B%7D%7C%5E%60"},
	{"dots within", "a..b", "a..b"},
	{"three dots", "...", "..."},
	{"dots at the end", "a/..", "a%2F.."},
	{"a Latin letter", "é", "%C3%A9"},
	{"Japanese", "日本", "%E6%97%A5%E6%9C%AC"},
	{"an emoji", "😀", "%F0%9F%98%80"},
	{"a no-break space", "a\u00a0b", "a%C2%A0b"},
	{"an e-mail", "jane.doe+x@example.com", "jane.doe+x@example.com"},
	{"a URL", "https://evil.example/?x#y", "https:%2F%2Fevil.example%2F%3Fx%23y"},
}

func TestAnIDIsSentAsOneEscapedSegment(t *testing.T) {
	t.Parallel()
	for _, tt := range escapedIDs {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWire(t, says(200, activated))
			got, err := w.client().Organization.Users.Activate(t.Context(), tt.id)
			require.NoError(t, err)
			assert.Equal(t, tt.id, got.UserID)
			require.Len(t, w.sent(), 1)
			u := w.sent()[0].URL
			assert.Equal(t, "/organization/users/"+tt.segment+"/activate", u.EscapedPath())
			assert.Equal(t, "/organization/users/"+tt.segment+"/activate", u.RequestURI())
			assert.Equal(t, "/organization/users/"+tt.id+"/activate", u.Path)
			assert.Empty(t, u.RawQuery)
			assert.Empty(t, u.Fragment)
			assert.Equal(t, "backend.flashback.tech", u.Host)
		})
	}
}

func TestAnIDCrossesTheWireAsOneEscapedSegment(t *testing.T) {
	t.Parallel()
	got := make(chan string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got <- r.RequestURI
		_, _ = w.Write([]byte(activated))
	}))
	t.Cleanup(server.Close)
	client, err := flashback.NewClient(wireToken, flashback.WithBaseURL(server.URL+"/api/"))
	require.NoError(t, err)
	for _, tt := range escapedIDs {
		_, err := client.Organization.Users.Activate(t.Context(), tt.id)
		require.NoError(t, err, tt.name)
		assert.Equal(t, "/api/organization/users/"+tt.segment+"/activate", <-got, tt.name)
	}
}

func TestTheBaseURLComesBeforeThePath(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, base, prefix string }{
		{"a host alone", "https://h.example", "https://h.example"},
		{"a trailing slash", "https://h.example/", "https://h.example"},
		{"trailing slashes", "https://h.example//", "https://h.example"},
		{"a port", "https://h.example:8443", "https://h.example:8443"},
		{"an IPv6 address", "https://[2001:db8::1]:8443/", "https://[2001:db8::1]:8443"},
		{"a scheme in capitals", "HTTPS://h.example", "https://h.example"},
		{"a prefix", "https://h.example/api", "https://h.example/api"},
		{"a prefix with a trailing slash", "https://h.example/api/v1/", "https://h.example/api/v1"},
		{"a prefix with trailing slashes", "https://h.example/api///", "https://h.example/api"},
		{"a prefix with an escaped slash", "https://h.example/a%2Fb", "https://h.example/a%2Fb"},
		{"a prefix with an escaped slash and a trailing one", "https://h.example/a%2Fb/", "https://h.example/a%2Fb"},
		{"a prefix that ends with an escaped slash", "https://h.example/a%2F", "https://h.example/a%2F"},
		{"a prefix that ends with an escaped slash and a trailing one", "https://h.example/a%2F/", "https://h.example/a%2F"},
		{"a prefix with an escaped space", "https://h.example/a%20b/", "https://h.example/a%20b"},
		{"a prefix with an escaped percent sign", "https://h.example/a%252Fb", "https://h.example/a%252Fb"},
		{"a prefix with parentheses", "https://h.example/(x)", "https://h.example/(x)"},
		{"a prefix with a letter that needs escaping", "https://h.example/é", "https://h.example/%C3%A9"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for id, segment := range map[string]string{"user-1": "user-1", "x/y": "x%2Fy", "é?": "%C3%A9%3F"} {
				w := newWire(t, says(200, activated))
				_, err := w.client(flashback.WithBaseURL(tt.base)).Organization.Users.Activate(t.Context(), id)
				require.NoError(t, err)
				require.Len(t, w.sent(), 1)
				assert.Equal(t, tt.prefix+"/organization/users/"+segment+"/activate", w.sent()[0].URL.String())
			}
		})
	}
}

func TestTheUserAgentNamesTheProductFirst(t *testing.T) {
	t.Parallel()
	w := newWire(t, says(200, activated))
	_, err := w.client(flashback.WithUserAgent("acme-admin/1.4")).Organization.Users.Activate(t.Context(), "user-1")
	require.NoError(t, err)
	require.Len(t, w.sent(), 1)
	assert.Equal(t, []string{"acme-admin/1.4 flashback-go/" + flashback.Version}, w.sent()[0].Header["User-Agent"])
}

func TestACookieIsShownNowhere(t *testing.T) {
	t.Parallel()
	const old, fresh = "cookie-of-a-jar-1", "s%3Acookie-of-a-response-2"
	decoded := strings.ReplaceAll(fresh, "%3A", ":")
	echo := `{"success":false,"message":"the cookie ` + old + ` is now ` + fresh + ` or ` + decoded + `, and it is accepted"}`
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	base, err := url.Parse(flashback.DefaultBaseURL)
	require.NoError(t, err)
	jar.SetCookies(base, []*http.Cookie{{Name: "session", Value: old, Path: "/"}})
	w := newWire(t, says(403, echo, "X-Echo", old, "Set-Cookie", "session="+fresh, "Set-Cookie", "consent=accepted"))
	_, err = w.client(flashback.WithHTTPClient(&http.Client{Transport: w.transport, Jar: jar})).Organization.Users.Get(t.Context(), "user-1")
	e := asError(t, err)
	assert.Contains(t, e.Message, "it is accepted", "an ordinary word")
	for _, cookie := range []string{old, fresh, decoded} {
		assert.NotContains(t, e.Error(), cookie)
		assert.NotContains(t, string(e.Body), cookie)
		assert.NotContains(t, fmt.Sprint(e.Header), cookie)
	}
}

func TestTheCookiesOfAJarAreSentOnceWithEachAttempt(t *testing.T) {
	t.Parallel()
	w := newWire(t,
		says(503, ""),
		fails(errors.New("lost")),
		says(503, "", "Set-Cookie", "later=2; Path=/"),
		says(503, ""),
		says(200, activated))
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	base, err := url.Parse(flashback.DefaultBaseURL)
	require.NoError(t, err)
	jar.SetCookies(base, []*http.Cookie{{Name: "first", Value: "1", Path: "/"}})
	client := w.client(flashback.WithHTTPClient(&http.Client{Transport: w.transport, Jar: jar}))
	_, err = client.Organization.Users.Activate(t.Context(), "user-1")
	require.NoError(t, err)
	cookies := make([][]string, 0, 5)
	for _, req := range w.sent() {
		cookies = append(cookies, req.Header["Cookie"])
	}
	assert.Equal(t, [][]string{
		{"first=1"}, {"first=1"}, {"first=1"}, {"first=1; later=2"}, {"first=1; later=2"},
	}, cookies)
}

func TestAnIDThatCannotBeSentIsRefused(t *testing.T) {
	t.Parallel()
	ids := map[string]string{
		"empty": "", "a dot": ".", "two dots": "..",
		"a newline at the end": "user-1\n", "a newline at the start": "\nuser-1", "CRLF": "user-1\r\nX-Evil: 1",
		"a tab": "user\t1", "a newline alone": "\n", "spaces alone": "  ",
		"a byte order mark": "\ufeffuser-1", "a zero-width space": "user-1\u200b", "a soft hyphen": "us\u00ader-1",
		"a bidi mark": "user\u202e1", "a line separator": "a\u2028b", "a variation selector": "user-1\ufe0f",
		"a Hangul filler": "user\u31641", "a combining grapheme joiner": "user\u034f1", "an unassigned character": "user\U000e01f01",
		"a tag character": "user\U000e00411", "a noncharacter": "user\uffff1", "a private character": "user\ue0001",
		"invalid UTF-8": "\xff\xfe", "half a letter": "a\xc3", "a surrogate": "a\xed\xa0\x80",
	}
	plain := len(ids)
	for r := rune(0); r <= 0x9f; r++ {
		if unicode.IsControl(r) { // C0, DEL and C1
			ids["control character "+url.PathEscape(string(r))] = "user" + string(r) + "1"
		}
	}
	require.Len(t, ids, plain+65)
	for name, id := range ids {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWire(t)
			got, err := w.client().Organization.Users.Activate(t.Context(), id)
			assert.Nil(t, got)
			e := asError(t, err)
			require.ErrorIs(t, err, flashback.ErrInvalidArgument)
			assert.Equal(t, "organization.users.activate", e.Op)
			assert.Equal(t, id, e.ID)
			assert.Zero(t, e.Attempts)
			assert.Zero(t, e.StatusCode)
			assert.False(t, e.OutcomeUnknown)
			require.NotErrorIs(t, err, flashback.ErrOutcomeUnknown)
			assert.False(t, strings.ContainsFunc(err.Error(), unicode.IsControl), "%q", err)
			assert.Empty(t, w.sent())
		})
	}
}

func TestANilContextIsRefused(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	var none context.Context
	got, err := w.client().Organization.Users.Activate(none, "user-1")
	assert.Nil(t, got)
	e := asError(t, err)
	require.ErrorIs(t, err, flashback.ErrInvalidArgument)
	assert.Zero(t, e.Attempts)
	assert.False(t, e.OutcomeUnknown)
	assert.Empty(t, w.sent())
}

func TestATokenSourceIsAskedBeforeEveryAttempt(t *testing.T) {
	t.Parallel()
	w := newWire(t, says(503, ""), fails(errors.New("lost")), says(200, activated), says(200, activated))
	source := &tokens{list: []string{"token-1", "token-2", "token-3", "token-4"}}
	client := w.clientWithToken("", flashback.WithTokenSource(source.next))
	assert.Zero(t, source.asked, "NewClient asks nothing")
	for range 2 {
		_, err := client.Organization.Users.Activate(t.Context(), "user-1")
		require.NoError(t, err)
	}
	assert.Equal(t, []string{"Bearer token-1", "Bearer token-2", "Bearer token-3", "Bearer token-4"}, authorizations(w))
	assert.Equal(t, 4, source.asked)
}

func TestATokenSourceGetsTheContextOfTheCall(t *testing.T) {
	t.Parallel()
	type key struct{}
	ctx := context.WithValue(t.Context(), key{}, "mine")
	w := newWire(t, says(503, ""), says(200, activated))
	asked := 0
	client := w.clientWithToken("", flashback.WithTokenSource(func(ctx context.Context) (string, error) {
		asked++
		assert.Equal(t, "mine", ctx.Value(key{}))
		_, bounded := ctx.Deadline()
		assert.False(t, bounded, "the bound of an attempt is not the call's")
		return wireToken, nil
	}))
	_, err := client.Organization.Users.Activate(ctx, "user-1")
	require.NoError(t, err)
	assert.Equal(t, 2, asked)
}

func TestACallThatIsCanceledByItsTokenSourceSendsNothing(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	w := newWire(t)
	_, err := w.clientWithToken("", flashback.WithTokenSource(func(context.Context) (string, error) {
		cancel()
		return wireToken, nil
	})).Organization.Users.Activate(ctx, "user-1")
	require.ErrorIs(t, err, context.Canceled)
	require.NotErrorIs(t, err, flashback.ErrOutcomeUnknown)
}

func TestTheErrorOfATokenSourceEndsTheCall(t *testing.T) {
	t.Parallel()
	errVault := errors.New("the vault is sealed")
	for _, tt := range []struct {
		name      string
		responses []httpmock.Responder
		status    int
		unknown   bool
		also      []error
	}{
		{name: "before the first attempt, nothing is sent"},
		{name: "after an ambiguous attempt, the outcome is unknown", responses: []httpmock.Responder{fails(errors.New("lost"))}, unknown: true, also: []error{flashback.ErrOutcomeUnknown}},
		{name: "after a 503, its status is kept", responses: []httpmock.Responder{says(503, "")}, status: 503, unknown: true, also: []error{flashback.ErrServer, flashback.ErrOutcomeUnknown}},
		{name: "after a 429, the failure is definite", responses: []httpmock.Responder{says(429, "")}, status: 429, also: []error{flashback.ErrRateLimited}},
		{name: "after a 401, its status is kept", responses: []httpmock.Responder{says(401, "")}, status: 401, also: []error{flashback.ErrUnauthorized}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWire(t, tt.responses...)
			asked := 0
			client := w.clientWithToken("", flashback.WithTokenSource(func(context.Context) (string, error) {
				if asked++; asked > len(tt.responses) {
					return "", errVault
				}
				return wireToken, nil
			}))
			_, err := client.Organization.Users.Activate(t.Context(), "user-1")
			e := asError(t, err)
			require.ErrorIs(t, err, errVault)
			for _, kind := range tt.also {
				require.ErrorIs(t, err, kind)
			}
			assert.Equal(t, len(tt.responses), e.Attempts)
			assert.Equal(t, tt.status, e.StatusCode)
			assert.Equal(t, tt.unknown, e.OutcomeUnknown)
			assert.Len(t, w.sent(), len(tt.responses))
		})
	}
}

func TestAContextThatEndsWhileTheSourceIsAskedIsSeen(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name      string
		responses []httpmock.Responder
		unknown   bool
	}{
		{name: "before the first attempt"},
		{name: "after a 429", responses: []httpmock.Responder{says(429, "")}},
		{name: "after a 503", responses: []httpmock.Responder{says(503, "")}, unknown: true},
		{name: "after a 401", responses: []httpmock.Responder{says(401, "")}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWire(t, tt.responses...)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			asked := 0
			client := w.clientWithToken("", flashback.WithTokenSource(func(ctx context.Context) (string, error) {
				if asked++; asked > len(tt.responses) {
					cancel()
					return "", ctx.Err()
				}
				return wireToken, nil
			}))
			_, err := client.Organization.Users.Activate(ctx, "user-1")
			e := asError(t, err)
			require.ErrorIs(t, err, context.Canceled)
			assert.Equal(t, len(tt.responses), e.Attempts)
			assert.Equal(t, tt.unknown, e.OutcomeUnknown)
		})
	}
}

func TestABadTokenOfASourceIsNotSent(t *testing.T) {
	t.Parallel()
	for name, token := range map[string]string{
		"empty":                    "",
		"blank":                    "   ",
		"a newline at the end":     "wire-token-0123456789\n",
		"a space within":           "wire-token 0123456789",
		"a no-break space":         "wire-token\u00a00123456789",
		"a control character":      "wire-token\x000123456789",
		"DEL":                      "wire-token\x7f0123456789",
		"a header of its own":      "wire-token\r\nX-Evil: 0123456789",
		"with Bearer":              "Bearer wire-token-0123456789",
		"with bearer":              "bearer wire-token-0123456789",
		"Bearer and a tab":         "Bearer\twire-token-0123456789",
		"a space at the beginning": " wire-token-0123456789",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWire(t)
			client := w.clientWithToken("", flashback.WithTokenSource(func(context.Context) (string, error) { return token, nil }))
			_, err := client.Organization.Users.Activate(t.Context(), "user-1")
			e := asError(t, err)
			assert.Zero(t, e.Attempts)
			assert.False(t, e.OutcomeUnknown)
			assert.NotContains(t, err.Error(), "wire-token")
			assert.NotContains(t, err.Error(), "0123456789")
			assert.Empty(t, w.sent())
		})
	}
}

func TestA401IsTriedOnceMoreWithAnotherToken(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name      string
		tokens    []string
		opts      []flashback.Option
		responses []httpmock.Responder
		sent      []string
		want      error // nil for a success
		unknown   bool
	}{
		{
			name: "another token, and it is good", tokens: []string{"token-1", "token-2"},
			responses: []httpmock.Responder{says(401, ""), says(200, activated)},
			sent:      []string{"Bearer token-1", "Bearer token-2"},
		},
		{
			name: "another token, and it is bad too: once is enough", tokens: []string{"token-1", "token-2", "token-3"},
			responses: []httpmock.Responder{says(401, ""), says(401, "")},
			sent:      []string{"Bearer token-1", "Bearer token-2"},
			want:      flashback.ErrUnauthorized,
		},
		{
			name: "once is enough, with other failures in between", tokens: []string{"token-1", "token-2", "token-3", "token-4"},
			responses: []httpmock.Responder{says(401, ""), says(429, ""), says(401, "")},
			sent:      []string{"Bearer token-1", "Bearer token-2", "Bearer token-3"},
			want:      flashback.ErrUnauthorized,
		},
		{
			name: "the same token", tokens: []string{"token-1"},
			responses: []httpmock.Responder{says(401, noWay)},
			sent:      []string{"Bearer token-1"},
			want:      flashback.ErrUnauthorized,
		},
		{
			name: "retrying is switched off", tokens: []string{"token-1", "token-2"},
			opts:      []flashback.Option{flashback.WithMaxRetries(0)},
			responses: []httpmock.Responder{says(401, "")},
			sent:      []string{"Bearer token-1"},
			want:      flashback.ErrUnauthorized,
		},
		{
			name: "after an ambiguous attempt, the outcome stays unknown", tokens: []string{"token-1"},
			responses: []httpmock.Responder{says(503, ""), says(401, "")},
			sent:      []string{"Bearer token-1", "Bearer token-1"},
			want:      flashback.ErrUnauthorized, unknown: true,
		},
		{
			name: "the new token is used for what follows", tokens: []string{"token-1", "token-2"},
			responses: []httpmock.Responder{says(401, ""), says(503, ""), says(400, notDeleted)},
			sent:      []string{"Bearer token-1", "Bearer token-2", "Bearer token-2"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWire(t, tt.responses...)
			source := &tokens{list: tt.tokens}
			client := w.clientWithToken("", append(tt.opts, flashback.WithTokenSource(source.next))...)
			got, err := client.Organization.Users.Activate(t.Context(), "user-1")
			assert.Equal(t, tt.sent, authorizations(w))
			if tt.want == nil {
				require.NoError(t, err)
				assert.Equal(t, len(tt.sent), got.Attempts)
				return
			}
			e := asError(t, err)
			require.ErrorIs(t, err, tt.want)
			assert.Equal(t, 401, e.StatusCode)
			assert.Equal(t, len(tt.sent), e.Attempts)
			assert.Equal(t, tt.unknown, e.OutcomeUnknown)
		})
	}
}

func TestA401WithAFixedTokenIsNotTriedAgain(t *testing.T) {
	t.Parallel()
	w := newWire(t, says(401, noWay))
	_, err := w.client().Organization.Users.Activate(t.Context(), "user-1")
	e := asError(t, err)
	require.ErrorIs(t, err, flashback.ErrUnauthorized)
	assert.Equal(t, "No way", e.Message)
	assert.Equal(t, 1, e.Attempts)
	assert.False(t, e.OutcomeUnknown)
}

// worth is what an attempt means: a row of the table.
type worth struct {
	applied bool // it may have been
	again   bool // trying again may help
}

var (
	ambiguous = worth{applied: true, again: true}
	harmless  = worth{applied: false, again: true}
	definite  = worth{applied: false, again: false}
	final     = worth{applied: true, again: false}
)

// checkWorth sees from outside what three operations make of an attempt: one that is
// idempotent, by itself, before a success and before the documented "it is so already";
// one that is not; and one that is safe, unless safe is nil.
func checkWorth(t *testing.T, want worth, safe *worth, attempt httpmock.Responder) {
	t.Helper()
	activate := func(then httpmock.Responder, opts ...flashback.Option) (*flashback.Activation, error) {
		responses := []httpmock.Responder{attempt}
		if want.again { // else a second request fails the test
			responses = append(responses, then)
		}
		return newWire(t, responses...).client(opts...).Organization.Users.Activate(t.Context(), "user-1")
	}
	fails := func(name string, err error, applied bool, attempts int) {
		t.Helper()
		e := asError(t, err)
		assert.Equal(t, applied, e.OutcomeUnknown, "%s: %v", name, err)
		assert.Equal(t, applied, errors.Is(err, flashback.ErrOutcomeUnknown), "%s: %v", name, err)
		assert.Equal(t, attempts, e.Attempts, "%s: %v", name, err)
	}

	_, err := activate(nil, flashback.WithMaxRetries(0))
	fails("alone", err, want.applied, 1)

	got, err := activate(says(200, activated))
	if want.again {
		require.NoError(t, err, "before a success")
		assert.Equal(t, &flashback.Activation{UserID: "user-1", Message: "User activated successfully", Attempts: 2}, got)
	} else {
		fails("before a success", err, want.applied, 1)
	}

	got, err = activate(says(400, notDeleted))
	switch {
	case want == ambiguous:
		require.NoError(t, err, "before a 400")
		assert.Equal(t, &flashback.Activation{UserID: "user-1", Attempts: 2, Recovered: true}, got)
	case want.again:
		fails("before a 400", err, false, 2)
		require.ErrorIs(t, err, flashback.ErrUserNotDeleted)
	}

	// What is not idempotent is repeated after what was certainly not applied.
	responses := []httpmock.Responder{attempt}
	if want == harmless {
		responses = append(responses, says(200, activated))
	}
	_, err = newWire(t, responses...).client().Organization.Users.ResendInvitation(t.Context(), "user-1")
	if want == harmless {
		require.NoError(t, err, "not idempotent")
	} else {
		fails("not idempotent", err, want.applied, 1)
	}

	if safe == nil {
		return
	}
	responses = []httpmock.Responder{attempt}
	if safe.again {
		responses = append(responses, says(200, `{"data":{"id":"user-1"}}`))
	}
	_, err = newWire(t, responses...).client().Organization.Users.Get(t.Context(), "user-1")
	if safe.again {
		require.NoError(t, err, "safe")
	} else {
		fails("safe", err, false, 1)
	}
}

func TestEveryStatusMeansWhatTheTableSays(t *testing.T) {
	t.Parallel()
	// A reading of the table of its own: what is not listed here is definite.
	table := map[int]worth{301: final, 302: final, 303: final, 408: ambiguous, 499: ambiguous, 425: harmless, 429: harmless}
	statuses := []int{-1, 0, 99, 600, 999}
	for _, status := range statuses {
		table[status] = ambiguous
	}
	for status := 500; status <= 599; status++ {
		if status != 501 && status != 505 {
			table[status] = ambiguous
		}
	}
	for status := 100; status <= 599; status++ {
		statuses = append(statuses, status)
	}
	bodies := []struct {
		name, body string
		success    bool  // in a 2xx
		is2xx      worth // otherwise
	}{
		{"says true", activated, true, worth{}},
		{"says nothing but a message", `{"message":"Done"}`, true, worth{}},
		{"says false", noWay, false, definite},
		{"says false alone", `{"success":false}`, false, definite},
		{"empty", "", false, ambiguous},
		{"HTML", htmlPage, false, ambiguous},
		{"half an object", activated[:20], false, ambiguous},
		{"null", "null", false, ambiguous},
		{"an array", "[]", false, ambiguous},
		{"an object", "{}", false, ambiguous},
		{"an error string", `{"error":"No way"}`, false, ambiguous},
		{"neither true nor false", `{"success":"true","message":"Done"}`, false, ambiguous},
	}
	for _, status := range statuses {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			is2xx := status >= 200 && status <= 299
			for i, body := range bodies {
				if !is2xx && (status+i)%4 != 0 {
					continue // the body tells nothing, so a few of them will do
				}
				response := says(status, body.body)
				switch {
				case status == 204, is2xx && body.success && status != 202:
					got, err := newWire(t, response).client().Organization.Users.Activate(t.Context(), "user-1")
					require.NoError(t, err)
					assert.Equal(t, 1, got.Attempts)
					assert.False(t, got.Recovered)
					_, err = newWire(t, response).client().Organization.Users.ResendInvitation(t.Context(), "user-1")
					require.NoError(t, err)
				case status == 207 && body.is2xx == definite: // A part may have been applied.
					_, err := newWire(t, response).client().Organization.Users.ResendInvitation(t.Context(), "user-1")
					assert.True(t, asError(t, err).OutcomeUnknown)
				case status == 202 && (body.success || body.is2xx != definite): // Activate reads back: see below
					_, err := newWire(t, response).client().Organization.Users.ResendInvitation(t.Context(), "user-1")
					assert.True(t, asError(t, err).OutcomeUnknown)
				case is2xx:
					checkWorth(t, body.is2xx, &body.is2xx, response)
				default:
					want := table[status]
					checkWorth(t, want, &want, response)
				}
			}
		})
	}
}

func TestA202IsSettledByAReadBack(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name      string
		readBack  httpmock.Responder
		recovered bool
	}{
		{"the user is active", says(200, `{"data":{"id":"user-1","deletedAt":null}}`), true},
		{"the user is deleted, so far", says(200, `{"data":{"id":"user-1","deletedAt":"2026-01-01T00:00:00Z"}}`), false},
		{"another user is active", says(200, `{"success":true,"data":{"id":"user-2","deletedAt":null}}`), false},
		{"it says nothing about that", says(200, `{"success":true,"data":{"id":"user-1"}}`), false},
		{"it is refused", says(403, noWay), false},
	} {
		for name, body := range map[string]string{"an envelope": activated, "nothing": "", "a page": htmlPage} {
			t.Run(tt.name+" after "+name, func(t *testing.T) {
				t.Parallel()
				w := newWire(t, says(202, body), tt.readBack)
				got, err := w.client().Organization.Users.Activate(t.Context(), "user-1")
				require.Len(t, w.sent(), 2)
				assert.Equal(t, "GET", w.sent()[1].Method)
				assert.Equal(t, "no-cache", w.sent()[1].Header.Get("Cache-Control"))
				if tt.recovered {
					require.NoError(t, err)
					assert.True(t, got.Recovered)
					assert.Equal(t, 2, got.Attempts)
					return
				}
				e := asError(t, err)
				assert.Equal(t, []string{"ErrOutcomeUnknown", "ErrUnexpectedResponse"}, kinds(e))
				assert.Equal(t, 202, e.StatusCode)
				assert.Equal(t, 2, e.Attempts)
			})
		}
	}
}

func TestTheDocumentedItIsSoAlreadyIsDefiniteAtFirst(t *testing.T) {
	t.Parallel()
	checkWorth(t, definite, nil, says(400, notDeleted))
}

func TestUserIsNotDeletedIsJudgedByAllAttemptsBefore(t *testing.T) {
	t.Parallel()
	refused := fails(&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED})
	for _, tt := range []struct {
		name      string
		before    []httpmock.Responder
		recovered bool
	}{
		{"nothing before", nil, false},
		{"one that was never sent", []httpmock.Responder{refused}, false},
		{"only harmless ones", []httpmock.Responder{refused, says(429, ""), says(425, ""), refused}, false},
		{"an ambiguous attempt", []httpmock.Responder{fails(io.EOF)}, true},
		{"an ambiguous attempt, then harmless ones", []httpmock.Responder{fails(io.EOF), says(429, ""), refused, says(425, "")}, true},
		{"harmless ones, then an ambiguous attempt", []httpmock.Responder{says(429, ""), refused, says(425, ""), says(502, htmlPage)}, true},
		{"ambiguous attempts alone", []httpmock.Responder{says(500, ""), says(200, htmlPage), fails(io.EOF), says(408, "")}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWire(t, append(tt.before, says(400, notDeleted))...)
			got, err := w.client().Organization.Users.Activate(t.Context(), "user-1")
			if !tt.recovered {
				e := asError(t, err)
				assert.Equal(t, []string{"ErrBadRequest", "ErrUserNotDeleted"}, kinds(e))
				assert.Equal(t, len(tt.before)+1, e.Attempts)
				assert.False(t, e.OutcomeUnknown)
				return
			}
			require.NoError(t, err)
			assert.True(t, got.Recovered)
			assert.Equal(t, len(tt.before)+1, got.Attempts)
		})
	}
}

func TestA200AfterAnAmbiguousAttemptIsNotRecovered(t *testing.T) {
	t.Parallel()
	w := newWire(t, fails(io.EOF), says(503, ""), says(200, activated))
	got, err := w.client().Organization.Users.Activate(t.Context(), "user-1")
	require.NoError(t, err)
	assert.False(t, got.Recovered)
	assert.Equal(t, 3, got.Attempts)
}

// cut is a response whose body ends with an error.
func cut(status int, text string, cause error) httpmock.Responder {
	return func(*http.Request) (*http.Response, error) {
		body := io.NopCloser(io.MultiReader(strings.NewReader(text), iotest.ErrReader(cause)))
		return &http.Response{StatusCode: status, Header: http.Header{}, Body: body}, nil
	}
}

func TestAResponseThatIsNotCompleteIsAmbiguousUnlessItsStatusIsARefusal(t *testing.T) {
	t.Parallel()
	for _, status := range []int{200, 201, 202, 204, 302, 400, 401, 403, 404, 408, 409, 425, 429, 499, 500, 501, 505} {
		for name, text := range map[string]string{
			"nothing": "", "half": activated[:20], "all of an envelope": activated, "all of a refusal": noWay, "not deleted": notDeleted,
		} {
			for _, cause := range []error{io.ErrUnexpectedEOF, &net.OpError{Op: "read", Err: syscall.ECONNRESET}, os.ErrDeadlineExceeded, errors.New("http2: stream error")} {
				t.Run(fmt.Sprint(status, " ", name, ", then ", cause), func(t *testing.T) {
					t.Parallel()
					want := ambiguous
					switch status {
					case 400, 401, 403, 404, 409:
						want = definite
					case 425, 429:
						want = harmless
					}
					checkWorth(t, want, &want, cut(status, text, cause))
				})
			}
		}
	}
}

func TestATooLargeBodyIsAmbiguousAndDownloadedOnce(t *testing.T) {
	t.Parallel()
	const mib = 1 << 20
	pad := func(envelope string, size int) string { return envelope + strings.Repeat(" ", size-len(envelope)) }
	for _, status := range []int{200, 400, 403, 404, 501, 503} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			checkWorth(t, final, &definite, says(status, pad(noWay, mib+1)))
			if status != 503 {
				checkWorth(t, definite, &definite, says(status, pad(noWay, mib)))
			}
		})
	}
	checkWorth(t, final, nil, says(400, pad(notDeleted, mib+1)))
	got, err := newWire(t, says(200, pad(activated, mib))).client().Organization.Users.Activate(t.Context(), "user-1")
	require.NoError(t, err)
	assert.Equal(t, 1, got.Attempts)
}

func TestWhatATransportSaysMeansWhatTheTableSays(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		attempt httpmock.Responder
		want    worth
	}{
		{"never sent", fails(&net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}), harmless},
		{"never sent, as the transport says itself", fails(fmt.Errorf("the circuit breaker is open: %w", flashback.ErrNotSent)), harmless},
		{"never sent, and it can't heal", fails(x509.UnknownAuthorityError{}), definite},
		{"lost", fails(io.EOF), ambiguous},
		{"neither a response nor an error", fails(nil), ambiguous},
		{"an error that comes with a response", func(*http.Request) (*http.Response, error) {
			return httpmock.NewStringResponse(200, activated), errors.New("and yet it failed")
		}, ambiguous},
		{"a 200 without a body", func(*http.Request) (*http.Response, error) { return &http.Response{StatusCode: 200}, nil }, ambiguous},
		{"a 429 without a body", func(*http.Request) (*http.Response, error) { return &http.Response{StatusCode: 429}, nil }, harmless},
		{"a 404 without a body", func(*http.Request) (*http.Response, error) { return &http.Response{StatusCode: 404}, nil }, definite},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			checkWorth(t, tt.want, &tt.want, tt.attempt)
		})
	}
}

func TestWhatTheTransportSaidIsShownAndMatches(t *testing.T) {
	t.Parallel()
	for _, cause := range []error{
		io.EOF, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}, &net.DNSError{Err: "no such host", Name: "h.example"},
		x509.UnknownAuthorityError{}, errors.New("who knows"),
	} {
		_, err := newWire(t, fails(cause)).client(flashback.WithMaxRetries(0)).Organization.Users.Activate(t.Context(), "user-1")
		require.ErrorIs(t, err, cause)
		assert.Contains(t, err.Error(), cause.Error())
	}
}

func TestACallersOwnTraceIsTold(t *testing.T) {
	t.Parallel()
	told := 0
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GetConn: func(string) { told++ }})
	w := newWire(t, func(req *http.Request) (*http.Response, error) {
		httptrace.ContextClientTrace(req.Context()).GetConn("h.example:443")
		return httpmock.NewStringResponse(200, activated), nil
	})
	_, err := w.client().Organization.Users.Activate(ctx, "user-1")
	require.NoError(t, err)
	assert.Equal(t, 1, told)
}
