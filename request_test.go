package flashback_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"unicode"

	"github.com/jarcoal/httpmock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	flashback "github.com/flashbacknetwork/flashback-go"
	"github.com/flashbacknetwork/flashback-go/flashbacktest"
)

const (
	wireToken  = "wire-token-0123456789"
	notDeleted = `{"success":false,"message":"User is not deleted"}`
	noWay      = `{"success":false,"message":"No way"}`
)

// wire is the other end of a client: it gives each attempt the next answer and
// keeps what was sent. A request for which there is no answer fails the test.
type wire struct {
	t         *testing.T
	transport *httpmock.MockTransport

	mu       sync.Mutex
	answers  []httpmock.Responder
	requests []*http.Request
}

func newWire(t *testing.T, answers ...httpmock.Responder) *wire {
	t.Helper()
	w := &wire{t: t, transport: httpmock.NewMockTransport(), answers: answers}
	w.transport.RegisterNoResponder(w.respond) // any method, any URL
	return w
}

func (w *wire) respond(req *http.Request) (*http.Response, error) {
	w.mu.Lock()
	w.requests = append(w.requests, req.Clone(context.Background()))
	n := len(w.requests)
	w.mu.Unlock()
	if n > len(w.answers) {
		w.t.Errorf("request %d was sent, where %d are due", n, len(w.answers))
		return nil, errors.New("one request too many")
	}
	return w.answers[n-1](req)
}

func (w *wire) sent() []*http.Request {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.requests
}

// client is one that does not wait between attempts.
func (w *wire) client(opts ...flashback.Option) *flashback.Client {
	w.t.Helper()
	return w.clientWithToken(wireToken, opts...)
}

func (w *wire) clientWithToken(token string, opts ...flashback.Option) *flashback.Client {
	w.t.Helper()
	client, err := flashback.NewClient(token, append([]flashback.Option{
		flashback.WithHTTPClient(&http.Client{Transport: w.transport}),
		flashback.WithBackoff(0, 0),
	}, opts...)...)
	require.NoError(w.t, err)
	return client
}

// says is an answer from httpmock, with a header of names and values.
func says(status int, body string, header ...string) httpmock.Responder {
	return func(*http.Request) (*http.Response, error) {
		resp := httpmock.NewStringResponse(status, body)
		for i := 0; i < len(header); i += 2 {
			resp.Header.Add(header[i], header[i+1])
		}
		return resp, nil
	}
}

// fails is an attempt without an answer.
func fails(err error) httpmock.Responder {
	return func(*http.Request) (*http.Response, error) { return nil, err }
}

// asError is the *Error that each failure must be.
func asError(t *testing.T, err error) *flashback.Error {
	t.Helper()
	require.Error(t, err)
	var e *flashback.Error
	require.ErrorAs(t, err, &e)
	return e
}

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
		"User-Agent":    {"flashback-go/0.1.0"},
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
		"User-Agent":      {"flashback-go/0.1.0"},
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
	{"a line separator", "a\u2028b", "a%E2%80%A8b"},
	{"invalid UTF-8", "\xff\xfe", "%FF%FE"},
	{"half a letter", "a\xc3", "a%C3"},
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
		"a tab": "user\t1", "a newline alone": "\n",
	}
	for r := rune(0); r <= 0x9f; r++ {
		if unicode.IsControl(r) { // C0, DEL and C1
			ids["control character "+url.PathEscape(string(r))] = "user" + string(r) + "1"
		}
	}
	require.Len(t, ids, 8+65)
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

// tokens is a token source that gives one after the other, and the last for ever.
type tokens struct {
	mu    sync.Mutex
	list  []string
	asked int
}

func (s *tokens) next(context.Context) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	return s.list[min(s.asked, len(s.list))-1], nil
}

func authorizations(w *wire) []string {
	var all []string
	for _, req := range w.sent() {
		all = append(all, req.Header["Authorization"]...)
	}
	return all
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

func TestTheErrorOfATokenSourceEndsTheCall(t *testing.T) {
	t.Parallel()
	errVault := errors.New("the vault is sealed")
	for _, tt := range []struct {
		name    string
		answers []httpmock.Responder
		status  int
		unknown bool
		also    []error
	}{
		{name: "before the first attempt, nothing is sent"},
		{name: "after a lost answer, the outcome is unknown", answers: []httpmock.Responder{fails(errors.New("lost"))}, unknown: true, also: []error{flashback.ErrOutcomeUnknown}},
		{name: "after a 503, its status is kept", answers: []httpmock.Responder{says(503, "")}, status: 503, unknown: true, also: []error{flashback.ErrServer, flashback.ErrOutcomeUnknown}},
		{name: "after a 429, the failure is definite", answers: []httpmock.Responder{says(429, "")}, status: 429, also: []error{flashback.ErrRateLimited}},
		{name: "after a 401, its status is kept", answers: []httpmock.Responder{says(401, "")}, status: 401, also: []error{flashback.ErrUnauthorized}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWire(t, tt.answers...)
			asked := 0
			client := w.clientWithToken("", flashback.WithTokenSource(func(context.Context) (string, error) {
				if asked++; asked > len(tt.answers) {
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
			assert.Equal(t, len(tt.answers), e.Attempts)
			assert.Equal(t, tt.status, e.StatusCode)
			assert.Equal(t, tt.unknown, e.OutcomeUnknown)
			assert.Len(t, w.sent(), len(tt.answers))
		})
	}
}

func TestAContextThatEndsWhileTheSourceIsAskedIsSeen(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		answers []httpmock.Responder
		unknown bool
	}{
		{name: "before the first attempt"},
		{name: "after a 429", answers: []httpmock.Responder{says(429, "")}},
		{name: "after a 503", answers: []httpmock.Responder{says(503, "")}, unknown: true},
		{name: "after a 401", answers: []httpmock.Responder{says(401, "")}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWire(t, tt.answers...)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			asked := 0
			client := w.clientWithToken("", flashback.WithTokenSource(func(ctx context.Context) (string, error) {
				if asked++; asked > len(tt.answers) {
					cancel()
					return "", ctx.Err()
				}
				return wireToken, nil
			}))
			_, err := client.Organization.Users.Activate(ctx, "user-1")
			e := asError(t, err)
			require.ErrorIs(t, err, context.Canceled)
			assert.Equal(t, len(tt.answers), e.Attempts)
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
		name    string
		tokens  []string
		opts    []flashback.Option
		answers []httpmock.Responder
		sent    []string
		want    error // nil for a success
		unknown bool
	}{
		{
			name: "another token, and it is good", tokens: []string{"token-1", "token-2"},
			answers: []httpmock.Responder{says(401, ""), says(200, activated)},
			sent:    []string{"Bearer token-1", "Bearer token-2"},
		},
		{
			name: "another token, and it is bad too: once is enough", tokens: []string{"token-1", "token-2", "token-3"},
			answers: []httpmock.Responder{says(401, ""), says(401, "")},
			sent:    []string{"Bearer token-1", "Bearer token-2"},
			want:    flashback.ErrUnauthorized,
		},
		{
			name: "once is enough, with other failures in between", tokens: []string{"token-1", "token-2", "token-3", "token-4"},
			answers: []httpmock.Responder{says(401, ""), says(429, ""), says(401, "")},
			sent:    []string{"Bearer token-1", "Bearer token-2", "Bearer token-3"},
			want:    flashback.ErrUnauthorized,
		},
		{
			name: "the same token", tokens: []string{"token-1"},
			answers: []httpmock.Responder{says(401, noWay)},
			sent:    []string{"Bearer token-1"},
			want:    flashback.ErrUnauthorized,
		},
		{
			name: "retrying is switched off", tokens: []string{"token-1", "token-2"},
			opts:    []flashback.Option{flashback.WithMaxRetries(0)},
			answers: []httpmock.Responder{says(401, "")},
			sent:    []string{"Bearer token-1"},
			want:    flashback.ErrUnauthorized,
		},
		{
			name: "after a lost answer, the outcome stays unknown", tokens: []string{"token-1"},
			answers: []httpmock.Responder{says(503, ""), says(401, "")},
			sent:    []string{"Bearer token-1", "Bearer token-1"},
			want:    flashback.ErrUnauthorized, unknown: true,
		},
		{
			name: "the new token is used for what follows", tokens: []string{"token-1", "token-2"},
			answers: []httpmock.Responder{says(401, ""), says(503, ""), says(400, notDeleted)},
			sent:    []string{"Bearer token-1", "Bearer token-2", "Bearer token-2"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWire(t, tt.answers...)
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
