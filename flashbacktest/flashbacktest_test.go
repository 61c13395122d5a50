package flashbacktest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	flashback "github.com/flashbacknetwork/flashback-go"
	"github.com/flashbacknetwork/flashback-go/flashbacktest"
)

const (
	activated    = `{"success":true,"message":"User activated successfully"}`
	notDeleted   = `{"success":false,"message":"User is not deleted"}`
	forbidden    = `{"success":false,"message":"Insufficient permissions to activate users"}`
	userNotFound = `{"success":false,"message":"User not found"}`
)

// raw is a client of net/http alone, with a connection for each request, so that
// net/http never repeats one.
type raw struct {
	t      *testing.T
	server *flashbacktest.Server
	hc     *http.Client
}

func start(t *testing.T) (*flashbacktest.Server, *raw) {
	t.Helper()
	server := flashbacktest.New(t)
	return server, &raw{t: t, server: server, hc: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}
}

// inMemory is start without sockets.
func inMemory(t *testing.T) (*flashbacktest.Server, *raw) {
	t.Helper()
	server := &flashbacktest.Server{Backend: flashbacktest.NewBackend(), URL: "https://any.test"}
	return server, &raw{t: t, server: server, hc: &http.Client{Transport: server}}
}

func (r *raw) request(ctx context.Context, method, path, token string) *http.Request {
	r.t.Helper()
	req, err := http.NewRequestWithContext(ctx, method, r.server.URL+path, nil)
	require.NoError(r.t, err)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return req
}

// do is a whole exchange: the status and the body as far as it came, and why it
// is not whole.
func (r *raw) do(req *http.Request) (status int, header http.Header, body string, err error) {
	r.t.Helper()
	resp, err := r.hc.Do(req)
	if err != nil {
		return 0, nil, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, resp.Header, string(text), err
}

// activate is one with the owner's token.
func (r *raw) activate(id string) (status int, body string, err error) {
	r.t.Helper()
	status, _, body, err = r.do(r.request(r.t.Context(), http.MethodPost, "/organization/users/"+id+"/activate", r.server.Token()))
	return status, body, err
}

func (r *raw) receives(id string, status int, body string) {
	r.t.Helper()
	gotStatus, gotBody, err := r.activate(id)
	require.NoError(r.t, err)
	assert.Equal(r.t, status, gotStatus)
	if body == "" || body[0] != '{' {
		assert.Equal(r.t, body, gotBody)
	} else {
		assert.JSONEq(r.t, body, gotBody)
	}
}

func isDeleted(t *testing.T, b *flashbacktest.Backend, id string) bool {
	t.Helper()
	user, ok := b.User(id)
	require.True(t, ok)
	return user.Deleted()
}

func TestTheDocumentedAnswers(t *testing.T) {
	t.Parallel()
	server, client := start(t)
	server.AddDeletedUser("user-1")
	require.True(t, isDeleted(t, server.Backend, "user-1"))

	client.receives("user-1", 200, activated)
	assert.False(t, isDeleted(t, server.Backend, "user-1"))
	client.receives("user-1", 400, notDeleted)
	client.receives("owner", 400, notDeleted)
	client.receives("nobody", 404, userNotFound)

	_, header, _, err := client.do(client.request(t.Context(), http.MethodPost, "/organization/users/user-1/activate", server.Token()))
	require.NoError(t, err)
	assert.Equal(t, "application/json", header.Get("Content-Type"))
}

func TestTheCallerNeedsTheWorkspacesRoleOrHigher(t *testing.T) {
	t.Parallel()
	for role, want := range map[flashback.Role]int{
		flashback.RoleUser: 403, flashback.RoleBilling: 403,
		flashback.RoleWorkspaces: 200, flashback.RoleAdministrators: 200, flashback.RoleOwner: 200,
	} {
		server, client := start(t)
		server.AddDeletedUser("user-1")
		server.AddUser(flashbacktest.User{ID: "caller", Role: role})
		status, _, body, err := client.do(client.request(t.Context(), http.MethodPost, "/organization/users/user-1/activate", server.AddToken("caller")))
		require.NoError(t, err)
		assert.Equal(t, want, status, "role %#x", role)
		assert.Equal(t, want != 200, isDeleted(t, server.Backend, "user-1"))
		if want == 403 {
			assert.JSONEq(t, forbidden, body)
		}
	}
	assert.Equal(t, []flashback.Role{0, 1, 2, 0xfe, 0xff}, []flashback.Role{
		flashback.RoleUser, flashback.RoleBilling, flashback.RoleWorkspaces,
		flashback.RoleAdministrators, flashback.RoleOwner,
	})
}

func TestAUserOfAnotherOrganizationIsForbidden(t *testing.T) {
	t.Parallel()
	server, client := start(t)
	now := time.Now()
	server.AddUser(flashbacktest.User{ID: "stranger", OrgID: "org-2", DeletedAt: &now})
	client.receives("stranger", 403, forbidden)
	assert.True(t, isDeleted(t, server.Backend, "stranger"))

	server.AddUser(flashbacktest.User{ID: "chief", OrgID: "org-2", Role: flashback.RoleAdministrators})
	status, _, body, err := client.do(client.request(t.Context(), http.MethodPost, "/organization/users/stranger/activate", server.AddToken("chief")))
	require.NoError(t, err)
	assert.Equal(t, 200, status)
	assert.JSONEq(t, activated, body)
}

func TestABadTokenIsA401(t *testing.T) {
	t.Parallel()
	server, client := start(t)
	server.AddDeletedUser("user-1")
	now := time.Now()
	server.AddUser(flashbacktest.User{ID: "gone", Role: flashback.RoleOwner, DeletedAt: &now})
	revoked := server.AddToken("owner")
	server.RevokeToken(revoked)
	for name, authorization := range map[string]string{
		"none":                    "",
		"an unknown one":          "Bearer nonsense",
		"Bearer alone":            "Bearer ",
		"a revoked one":           "Bearer " + revoked,
		"one of a deleted user":   "Bearer " + server.AddToken("gone"),
		"one of nobody":           "Bearer " + server.AddToken("nobody"),
		"a good one with a space": "Bearer  " + server.Token(),
		"another scheme":          "Basic " + server.Token(),
		"no scheme":               server.Token(),
	} {
		t.Run(name, func(t *testing.T) {
			req := client.request(t.Context(), http.MethodPost, "/organization/users/user-1/activate", "")
			if authorization != "" {
				req.Header.Set("Authorization", authorization)
			}
			status, _, body, err := client.do(req)
			require.NoError(t, err)
			assert.Equal(t, 401, status)
			assert.Contains(t, body, `"success":false`)
			assert.True(t, isDeleted(t, server.Backend, "user-1"))
		})
	}
	client.receives("user-1", 200, activated) // the first token is still good
}

func TestTokensAreDistinct(t *testing.T) {
	t.Parallel()
	backend := flashbacktest.NewBackend()
	seen := map[string]bool{backend.Token(): true}
	for range 5 {
		token := backend.AddToken("owner")
		assert.False(t, seen[token], token)
		seen[token] = true
	}
	// Also after one has been revoked.
	backend = flashbacktest.NewBackend()
	one, two := backend.AddToken("owner"), backend.AddToken("owner")
	backend.RevokeToken(one)
	assert.NotEqual(t, two, backend.AddToken("owner"))
}

func TestAnotherPathIsA404AndAnotherMethodA405(t *testing.T) {
	t.Parallel()
	server, client := start(t)
	server.AddDeletedUser("user-1")
	for _, path := range []string{
		"/", "/organization", "/organization/", "/organization/users/", "/organization/users/user-1/deactivate", "/organization/org-1/activate",
		"/organization/users/user-1/activate/", "/organization/users/user-1/activate/x", "/api/organization/users/user-1/activate",
		"/organization/users/x/user-1/activate", "/Organization/users/user-1/activate",
	} {
		for _, method := range []string{http.MethodPost, http.MethodGet} {
			status, _, body, err := client.do(client.request(t.Context(), method, path, server.Token()))
			require.NoError(t, err)
			assert.Equal(t, 404, status, "%s %s", method, path)
			assert.Contains(t, body, `"success":false`)
		}
	}
	for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions} {
		status, _, body, err := client.do(client.request(t.Context(), method, "/organization/users/user-1/activate", server.Token()))
		require.NoError(t, err)
		assert.Equal(t, 405, status, method)
		assert.Contains(t, body, `"success":false`)
	}
	assert.True(t, isDeleted(t, server.Backend, "user-1"))
}

func TestAnIDIsReadAsOneSegment(t *testing.T) {
	t.Parallel()
	server, client := start(t)
	for id, segment := range map[string]string{
		"a/b": "a%2Fb", "a/activate": "a%2Factivate", "a b": "a%20b", "50%": "50%25", "a?b": "a%3Fb", "é": "%C3%A9", "a%2Fb": "a%252Fb", "\xff": "%FF",
	} {
		server.AddDeletedUser(id)
		client.receives(segment, 200, activated)
		assert.False(t, isDeleted(t, server.Backend, id), id)
	}
}

func TestEachFaultAsAClientSeesIt(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		fault   flashbacktest.Fault
		applies bool
		status  int // 0: no response
		body    string
		err     error
	}{
		{name: "None", fault: flashbacktest.None(), applies: true, status: 200, body: activated},
		{name: "a zero Fault", applies: true, status: 200, body: activated},
		{name: "Drop", fault: flashbacktest.Drop(), err: io.EOF},
		{name: "a reset", fault: flashbacktest.Fault{Lose: flashbacktest.ResetConnection}, err: syscall.ECONNRESET},
		{name: "LoseResponse, cut", fault: flashbacktest.LoseResponse(flashbacktest.CutResponse), applies: true, err: io.EOF},
		{name: "LoseResponse, reset", fault: flashbacktest.LoseResponse(flashbacktest.ResetConnection), applies: true, err: syscall.ECONNRESET},
		{name: "LoseResponse, body cut", fault: flashbacktest.LoseResponse(flashbacktest.CutBody), applies: true, status: 200, body: activated[:len(activated)/2], err: io.ErrUnexpectedEOF},
		{name: "LoseResponse, nothing lost", fault: flashbacktest.LoseResponse(flashbacktest.Nothing), applies: true, status: 200, body: activated},
		{name: "Respond", fault: flashbacktest.Respond(502, "<html>"), status: 502, body: "<html>"},
		{name: "Respond with an empty body", fault: flashbacktest.Respond(503, ""), status: 503},
		{name: "Respond without content", fault: flashbacktest.Respond(204, ""), status: 204},
		{name: "Respond with a success that is a lie", fault: flashbacktest.Respond(200, activated), status: 200, body: activated},
		{name: "ApplyThenRespond", fault: flashbacktest.ApplyThenRespond(500, "oops"), applies: true, status: 500, body: "oops"},
		{name: "a response that is cut", fault: flashbacktest.Fault{Status: 403, Body: "12345678", Lose: flashbacktest.CutBody}, status: 403, body: "1234", err: io.ErrUnexpectedEOF},
		{name: "a response of one byte that is cut", fault: flashbacktest.Fault{Status: 403, Body: "1", Lose: flashbacktest.CutBody}, status: 403, err: io.ErrUnexpectedEOF},
		{name: "applied, and another response that is cut", fault: flashbacktest.Fault{Apply: true, Status: 403, Body: "12345678", Lose: flashbacktest.CutBody}, applies: true, status: 403, body: "1234", err: io.ErrUnexpectedEOF},
		{name: "a response that is lost as a whole", fault: flashbacktest.Fault{Status: 403, Body: "x", Lose: flashbacktest.CutResponse}, err: io.EOF},
		{name: "a delay", fault: flashbacktest.Fault{Delay: time.Millisecond}, applies: true, status: 200, body: activated},
	} {
		play := func(t *testing.T, server *flashbacktest.Server, client *raw) {
			t.Helper()
			server.AddDeletedUser("user-1")
			server.Script(tt.fault)
			status, body, err := client.activate("user-1")
			if tt.err == nil {
				require.NoError(t, err)
			} else {
				requireError(t, err, tt.err)
			}
			assert.Equal(t, tt.status, status)
			if tt.body == activated {
				assert.JSONEq(t, activated, body)
			} else if tt.fault.Status == 0 && tt.status != 0 { // half of the backend's own, in any order of its fields
				assert.Len(t, body, len(tt.body))
			} else {
				assert.Equal(t, tt.body, body)
			}
			assert.Equal(t, !tt.applies, isDeleted(t, server.Backend, "user-1"))
			require.Len(t, server.Requests(), 1)
			assert.Equal(t, tt.applies, server.Requests()[0].Applied)

			// The script is over: the next request is handled.
			if tt.applies {
				client.receives("user-1", 400, notDeleted)
			} else {
				client.receives("user-1", 200, activated)
			}
		}
		t.Run(tt.name+", over sockets", func(t *testing.T) {
			t.Parallel()
			server, client := start(t)
			play(t, server, client)
		})
		t.Run(tt.name+", in memory", func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server, client := inMemory(t)
				play(t, server, client)
			})
		})
	}
}

func TestAStalledResponseNeverComes(t *testing.T) {
	t.Parallel()
	for name, applies := range map[string]bool{"it was applied": true, "it was not applied": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server, client := inMemory(t)
				server.AddDeletedUser("user-1")
				server.Script(flashbacktest.Fault{Apply: applies, Lose: flashbacktest.Stall})
				ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour)
				defer cancel()
				_, _, _, err := client.do(client.request(ctx, http.MethodPost, "/organization/users/user-1/activate", server.Token()))
				require.ErrorIs(t, err, context.DeadlineExceeded)
				assert.Equal(t, !applies, isDeleted(t, server.Backend, "user-1"))
			})
		})
	}
}

func TestAStalledBodyStopsHalfWay(t *testing.T) {
	t.Parallel()
	server, client := start(t)
	server.Script(flashbacktest.Fault{Status: 200, Body: "12345678", Lose: flashbacktest.StallBody})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	resp, err := client.hc.Do(client.request(ctx, http.MethodPost, "/organization/users/user-1/activate", server.Token()))
	require.NoError(t, err)
	defer resp.Body.Close()
	assert.Equal(t, 200, resp.StatusCode)
	assert.Equal(t, int64(8), resp.ContentLength)
	half := make([]byte, 4)
	_, err = io.ReadFull(resp.Body, half)
	require.NoError(t, err)
	assert.Equal(t, "1234", string(half))
	time.AfterFunc(50*time.Millisecond, cancel)
	n, err := resp.Body.Read(half)
	assert.Zero(t, n)
	require.ErrorIs(t, err, context.Canceled)
}

func TestAStatusThatNoResponseHasPanics(t *testing.T) {
	t.Parallel()
	for _, status := range []int{0, -1, 1, 99, 100, 102, 103, 199, 1000} {
		want := fmt.Sprintf("flashbacktest: %d is no status of a response", status)
		assert.PanicsWithValue(t, want, func() { flashbacktest.Respond(status, "") })
		assert.PanicsWithValue(t, want, func() { flashbacktest.ApplyThenRespond(status, "") })
		if status == 0 {
			continue // a Fault without a Status is the backend's own response
		}
		b := flashbacktest.NewBackend()
		assert.PanicsWithValue(t, want, func() { b.Script(flashbacktest.Fault{Status: status}) })
		b.Decide(func(*http.Request) flashbacktest.Fault { return flashbacktest.Fault{Status: status} })
		assert.PanicsWithValue(t, want, func() { direct(b, "user-1") })
	}
	server, client := start(t)
	server.AddDeletedUser("user-1")
	for _, status := range []int{101, 200, 599, 600, 999} {
		server.Script(flashbacktest.Respond(status, ""))
		client.receives("user-1", status, "")
	}
	assert.True(t, isDeleted(t, server.Backend, "user-1"))
}

func TestTheHeaderOfAFaultIsSent(t *testing.T) {
	t.Parallel()
	server, client := start(t)
	header := http.Header{"Location": {"/elsewhere"}, "X-Many": {"1", "2"}}
	server.Script(flashbacktest.Fault{Status: 418, Header: header, Body: "x"})
	status, got, _, err := client.do(client.request(t.Context(), http.MethodPost, "/organization/users/user-1/activate", server.Token()))
	require.NoError(t, err)
	assert.Equal(t, 418, status)
	assert.Equal(t, "/elsewhere", got.Get("Location"))
	assert.Equal(t, []string{"1", "2"}, got.Values("X-Many"))
	assert.Equal(t, http.Header{"Location": {"/elsewhere"}, "X-Many": {"1", "2"}}, header, "it is not changed")
}

func TestRateLimitedAnswers429WithAWait(t *testing.T) {
	t.Parallel()
	for after, want := range map[time.Duration]string{7 * time.Second: "7", 2 * time.Minute: "120", 500 * time.Millisecond: "1", 0: "0"} {
		server, client := start(t)
		server.AddDeletedUser("user-1")
		server.Script(flashbacktest.RateLimited(after))
		status, header, body, err := client.do(client.request(t.Context(), http.MethodPost, "/organization/users/user-1/activate", server.Token()))
		require.NoError(t, err)
		assert.Equal(t, 429, status)
		assert.Equal(t, want, header.Get("Retry-After"))
		assert.Contains(t, body, `"success":false`)
		assert.True(t, isDeleted(t, server.Backend, "user-1"))
	}
}

func TestAScriptIsPlayedInOrderOneFaultARequest(t *testing.T) {
	t.Parallel()
	server, client := start(t)
	server.AddDeletedUser("user-1")
	server.Script(flashbacktest.Respond(501, ""), flashbacktest.Respond(502, ""))
	server.Script(flashbacktest.None(), flashbacktest.Respond(504, "")) // it goes on
	client.receives("user-1", 501, "")
	client.receives("user-2", 502, "")
	client.receives("user-1", 200, activated)
	client.receives("user-1", 504, "")
	client.receives("user-1", 400, notDeleted)
}

func TestTheScriptForAUserComesFirstAndIsForThatUserAlone(t *testing.T) {
	t.Parallel()
	server, client := start(t)
	server.AddDeletedUser("user-1")
	server.AddDeletedUser("a/b")
	server.Script(flashbacktest.Respond(501, ""), flashbacktest.Respond(502, ""))
	server.ScriptFor("user-1", flashbacktest.Respond(503, ""), flashbacktest.None(), flashbacktest.Respond(504, ""))
	server.ScriptFor("a/b", flashbacktest.Respond(505, ""))
	client.receives("user-1", 503, "")
	client.receives("user-2", 501, "")
	client.receives("user-1", 200, activated)
	client.receives("a%2Fb", 505, "")
	client.receives("user-1", 504, "")
	client.receives("user-1", 502, "")
	client.receives("user-1", 400, notDeleted)
	client.receives("a%2Fb", 200, activated)
}

func TestDecideIsAskedWhereNoScriptHasAFault(t *testing.T) {
	t.Parallel()
	server, client := start(t)
	server.AddDeletedUser("user-1")
	var asked []string
	server.Decide(func(r *http.Request) flashbacktest.Fault {
		asked = append(asked, r.Method+" "+r.URL.Path)
		if strings.Contains(r.URL.Path, "user-2") {
			return flashbacktest.Respond(502, "")
		}
		return flashbacktest.None()
	})
	server.Script(flashbacktest.Respond(501, ""))
	server.ScriptFor("user-1", flashbacktest.Respond(503, ""))
	client.receives("user-1", 503, "")
	client.receives("user-1", 501, "")
	assert.Empty(t, asked)
	client.receives("user-1", 200, activated)
	client.receives("user-2", 502, "")
	assert.Equal(t, []string{"POST /organization/users/user-1/activate", "POST /organization/users/user-2/activate"}, asked)
	server.Decide(nil)
	client.receives("user-2", 404, userNotFound)
}

func TestDecideIsAskedOneRequestAtATime(t *testing.T) {
	t.Parallel()
	server, _ := start(t)
	count := 0 // the race detector is the test
	server.Decide(func(*http.Request) flashbacktest.Fault { count++; return flashbacktest.None() })
	var workers sync.WaitGroup
	for i := range 8 {
		server.AddDeletedUser(fmt.Sprint(i))
		workers.Go(func() {
			_, err := server.Client().Organization.Users.Activate(t.Context(), fmt.Sprint(i))
			assert.NoError(t, err)
		})
	}
	workers.Wait()
	assert.Equal(t, 8, count)
}

// direct asks a backend without a connection.
func direct(b *flashbacktest.Backend, id string) *httptest.ResponseRecorder {
	req := httptest.NewRequest(http.MethodPost, "/organization/users/"+id+"/activate", nil)
	req.Header.Set("Authorization", "Bearer "+b.Token())
	w := httptest.NewRecorder()
	b.ServeHTTP(w, req)
	return w
}

func TestTheRateLimitLetsABurstThroughAndThenSoManyASecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		backend := flashbacktest.NewBackend()
		backend.AddDeletedUser("user-1")
		backend.LimitRate(2, 3)
		statuses := func(n int) (all []int) {
			for range n {
				all = append(all, direct(backend, "nobody").Code)
			}
			return all
		}
		assert.Equal(t, []int{404, 404, 404, 429, 429}, statuses(5))

		limited := direct(backend, "user-1")
		assert.Equal(t, 429, limited.Code)
		assert.Equal(t, "1", limited.Header().Get("Retry-After"))
		assert.Contains(t, limited.Body.String(), `"success":false`)
		assert.True(t, isDeleted(t, backend, "user-1"), "it does nothing")

		pass(t, 499*time.Millisecond)
		assert.Equal(t, []int{429}, statuses(1))
		pass(t, time.Millisecond)
		assert.Equal(t, []int{404, 429}, statuses(2))
		pass(t, time.Second)
		assert.Equal(t, []int{404, 404, 429}, statuses(3))
		pass(t, time.Hour)
		assert.Equal(t, []int{404, 404, 404, 429}, statuses(4), "no more than a burst is saved up")

		backend.LimitRate(0, 0)
		assert.Equal(t, []int{404, 404, 404, 404, 404}, statuses(5))
		assert.Len(t, backend.Requests(), 21, "those over the limit were received, too")
	})
}

// pass lets the fake time of a bubble pass.
func pass(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
	}
}

func TestAFaultWaitsItsDelay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		backend := flashbacktest.NewBackend()
		backend.AddDeletedUser("user-1")
		backend.Script(flashbacktest.Fault{Delay: 3 * time.Second})
		start := time.Now()
		assert.Equal(t, 200, direct(backend, "user-1").Code)
		assert.Equal(t, 3*time.Second, time.Since(start))
	})
}

func TestResetForgetsAllButUsersAndTokens(t *testing.T) {
	t.Parallel()
	server, client := start(t)
	server.AddDeletedUser("user-1")
	token := server.AddToken("owner")
	client.receives("nobody", 404, userNotFound)
	server.Script(flashbacktest.Respond(501, ""))
	server.ScriptFor("user-1", flashbacktest.Respond(502, ""))
	server.Decide(func(*http.Request) flashbacktest.Fault { return flashbacktest.Respond(503, "") })
	server.LimitRate(1, 0)
	server.Reset()
	assert.Empty(t, server.Requests())
	assert.True(t, isDeleted(t, server.Backend, "user-1"))
	status, _, _, err := client.do(client.request(t.Context(), http.MethodPost, "/organization/users/user-1/activate", token))
	require.NoError(t, err)
	assert.Equal(t, 200, status)
	assert.Len(t, server.Requests(), 1)
}

func TestRequestsAreKeptAsTheyCame(t *testing.T) {
	t.Parallel()
	server, client := start(t)
	server.AddDeletedUser("a/b")
	req := client.request(t.Context(), http.MethodPost, "/organization/users/a%2Fb/activate?x=1", server.Token())
	req.Header.Set("X-Mine", "1")
	req.Body, req.ContentLength = io.NopCloser(strings.NewReader("hello")), 5
	_, _, _, err := client.do(req)
	require.NoError(t, err)
	_, _, _, err = client.do(client.request(t.Context(), http.MethodGet, "/other", ""))
	require.NoError(t, err)

	got := server.Requests()
	require.Len(t, got, 2)
	assert.Equal(t, "POST", got[0].Method)
	assert.Equal(t, "/organization/users/a%2Fb/activate", got[0].Path)
	assert.Equal(t, "1", got[0].Header.Get("X-Mine"))
	assert.Equal(t, "Bearer "+server.Token(), got[0].Header.Get("Authorization"))
	assert.Equal(t, "hello", string(got[0].Body))
	assert.True(t, got[0].Applied)
	assert.Equal(t, "GET", got[1].Method)
	assert.Equal(t, "/other", got[1].Path)
	assert.Empty(t, got[1].Body)
	assert.False(t, got[1].Applied)
}

func TestWhatRequestsReturnsIsTheCallersOwn(t *testing.T) {
	t.Parallel()
	server, client := start(t)
	req := client.request(t.Context(), http.MethodPost, "/organization/users/user-1/activate", server.Token())
	req.Body, req.ContentLength = io.NopCloser(strings.NewReader("hello")), 5
	_, _, _, err := client.do(req)
	require.NoError(t, err)
	got := server.Requests()
	got[0].Path = "changed"
	got[0].Header.Set("Authorization", "changed")
	copy(got[0].Body, "HELLO")
	again := server.Requests()
	assert.Equal(t, "/organization/users/user-1/activate", again[0].Path)
	assert.Equal(t, "Bearer "+server.Token(), again[0].Header.Get("Authorization"))
	assert.Equal(t, "hello", string(again[0].Body))
}

func TestUsersAreCopies(t *testing.T) {
	t.Parallel()
	backend := flashbacktest.NewBackend()
	when := time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC)
	deletedAt := when
	backend.AddUser(flashbacktest.User{ID: "user-1", DeletedAt: &deletedAt})

	got, ok := backend.User("user-1")
	require.True(t, ok)
	assert.Equal(t, flashbacktest.User{ID: "user-1", OrgID: flashbacktest.DefaultOrg, Role: flashback.RoleUser, DeletedAt: &when}, got)
	got.Role = flashback.RoleOwner
	got.DeletedAt = nil
	again, _ := backend.User("user-1")
	assert.Equal(t, flashback.RoleUser, again.Role)
	assert.True(t, again.Deleted())

	*again.DeletedAt = when.Add(time.Hour) // what came out
	again, _ = backend.User("user-1")
	assert.Equal(t, when, *again.DeletedAt)
	deletedAt = when.Add(2 * time.Hour) // what went in
	again, _ = backend.User("user-1")
	assert.Equal(t, when, *again.DeletedAt)

	direct(backend, "user-1")
	assert.Equal(t, when.Add(2*time.Hour), deletedAt, "what went in is not changed")
	assert.True(t, again.Deleted(), "what came out is not changed")
	assert.False(t, isDeleted(t, backend, "user-1"))
}

func TestUsersAreAddedReplacedAndMissing(t *testing.T) {
	t.Parallel()
	backend := flashbacktest.NewBackend()
	_, ok := backend.User("user-1")
	assert.False(t, ok)
	backend.AddDeletedUser("user-1")
	user, ok := backend.User("user-1")
	require.True(t, ok)
	assert.True(t, user.Deleted())
	assert.Equal(t, flashbacktest.DefaultOrg, user.OrgID)
	backend.AddUser(flashbacktest.User{ID: "user-1", OrgID: "org-2", Role: flashback.RoleBilling})
	user, _ = backend.User("user-1")
	assert.Equal(t, flashbacktest.User{ID: "user-1", OrgID: "org-2", Role: flashback.RoleBilling}, user)
	owner, ok := backend.User("owner")
	require.True(t, ok)
	assert.Equal(t, flashbacktest.User{ID: "owner", OrgID: flashbacktest.DefaultOrg, Role: flashback.RoleOwner, Validated: true}, owner)
}

func TestCloseEndsWhatStalls(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]flashbacktest.Fault{
		"a stalled response": {Lose: flashbacktest.Stall},
		"a stalled body":     {Status: 200, Body: "12345678", Lose: flashbacktest.StallBody},
		"a long delay":       {Delay: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := flashbacktest.NewServer()
			client := &raw{t: t, server: server, hc: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}
			arrived := make(chan struct{})
			server.Decide(func(*http.Request) flashbacktest.Fault { close(arrived); return fault })
			ended := make(chan error, 1)
			go func() {
				_, _, err := client.activate("user-1")
				ended <- err
			}()
			<-arrived
			within(t, "Close", func() { server.Close() })
			within(t, "the request", func() {
				if err := <-ended; fault.Lose != flashbacktest.Nothing {
					assert.Error(t, err)
				} // else the delay is cut short, and the response may get through
			})
			within(t, "Close again", func() { server.Close() })
			_, _, err := client.activate("user-1")
			requireError(t, err, syscall.ECONNREFUSED)
		})
	}
}

// requireError is require.ErrorIs for errors of connections, of which Windows has numbers
// of its own.
func requireError(t *testing.T, err, want error) {
	t.Helper()
	windows := map[error]error{syscall.ECONNRESET: syscall.Errno(10054), syscall.ECONNREFUSED: syscall.Errno(10061)}
	if own := windows[want]; runtime.GOOS == "windows" && own != nil && !errors.Is(err, want) {
		want = own
	}
	require.ErrorIs(t, err, want)
}

// within fails the test if f does not return soon.
func within(t *testing.T, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatalf("%s hangs", what)
	}
}

func TestNewClosesTheServerAtTheEndOfTheTest(t *testing.T) {
	t.Parallel()
	var server *flashbacktest.Server
	t.Run("a test", func(t *testing.T) {
		server = flashbacktest.New(t)
		conn, err := net.Dial("tcp", strings.TrimPrefix(server.URL, "http://"))
		require.NoError(t, err)
		require.NoError(t, conn.Close())
	})
	_, err := net.Dial("tcp", strings.TrimPrefix(server.URL, "http://"))
	requireError(t, err, syscall.ECONNREFUSED)
}

func TestAServerThatIsClosedAtOnceListensNoMore(t *testing.T) {
	t.Parallel()
	for range 100 { // whether its goroutine has begun to serve, or not
		server := flashbacktest.NewServer()
		server.Close()
		_, err := net.Dial("tcp", strings.TrimPrefix(server.URL, "http://"))
		requireError(t, err, syscall.ECONNREFUSED)
	}
}

func TestServersAreIndependent(t *testing.T) {
	t.Parallel()
	one, oneClient := start(t)
	two, twoClient := start(t)
	require.NotEqual(t, one.URL, two.URL)
	one.AddDeletedUser("user-1")
	two.Script(flashbacktest.Respond(503, ""))
	oneClient.receives("user-1", 200, activated)
	twoClient.receives("user-1", 503, "")
	twoClient.receives("user-1", 404, userNotFound)
	assert.Len(t, one.Requests(), 1)
}

func TestTheClientsOfAServer(t *testing.T) {
	t.Parallel()
	server, _ := start(t)
	server.AddDeletedUser("user-1")
	server.Script(flashbacktest.Respond(503, ""), flashbacktest.Respond(503, ""))
	got, err := server.Client(flashback.WithUserAgent("mine/1")).Organization.Users.Activate(t.Context(), "user-1")
	require.NoError(t, err)
	assert.Equal(t, 3, got.Attempts)
	assert.Equal(t, "mine/1 flashback-go/"+flashback.Version, server.Requests()[0].Header.Get("User-Agent"))

	server.AddUser(flashbacktest.User{ID: "jane"})
	_, err = server.ClientWithToken(server.AddToken("jane")).Organization.Users.Activate(t.Context(), "user-1")
	require.ErrorIs(t, err, flashback.ErrForbidden)

	assert.PanicsWithValue(t, "flashbacktest: "+mustFail(flashback.WithMaxRetries(-1)), func() { server.Client(flashback.WithMaxRetries(-1)) })
	assert.Panics(t, func() { server.ClientWithToken("") })
}

func mustFail(opt flashback.Option) string {
	_, err := flashback.NewClient("token", opt)
	return err.Error()
}

func TestABackendServesBehindAnyHandler(t *testing.T) {
	t.Parallel()
	backend := flashbacktest.NewBackend()
	backend.AddDeletedUser("user-1")
	server := httptest.NewServer(http.StripPrefix("/api", backend))
	t.Cleanup(server.Close)
	client, err := flashback.NewClient(backend.Token(), flashback.WithBaseURL(server.URL+"/api/"))
	require.NoError(t, err)
	_, err = client.Organization.Users.Activate(t.Context(), "user-1")
	require.NoError(t, err)
	assert.False(t, isDeleted(t, backend, "user-1"))
}

func TestALostAnswerIsRecoveredAndAFaultThatStaysIsUnknown(t *testing.T) {
	t.Parallel()
	server, _ := start(t)
	for _, how := range []flashbacktest.Loss{flashbacktest.CutResponse, flashbacktest.CutBody, flashbacktest.ResetConnection} {
		server.AddDeletedUser("user-1")
		server.Script(flashbacktest.LoseResponse(how))
		got, err := server.Client().Organization.Users.Activate(t.Context(), "user-1")
		require.NoError(t, err)
		assert.True(t, got.Recovered)
		assert.Equal(t, 2, got.Attempts)
	}
	server.AddDeletedUser("user-1")
	server.Decide(func(*http.Request) flashbacktest.Fault { return flashbacktest.LoseResponse(flashbacktest.CutResponse) })
	_, err := server.Client(flashback.WithMaxRetries(2)).Organization.Users.Activate(t.Context(), "user-1")
	var e *flashback.Error
	require.True(t, errors.As(err, &e)) //nolint:testifylint // as the documentation shows it
	assert.True(t, e.OutcomeUnknown)
	assert.Equal(t, 3, e.Attempts)
	assert.False(t, isDeleted(t, server.Backend, "user-1"))
}

// caller is a client of the backend with a role.
func caller(server *flashbacktest.Server, role flashback.Role) *flashback.Client {
	id := "caller-" + role.String()
	server.AddUser(flashbacktest.User{ID: id, Role: role})
	return server.ClientWithToken(server.AddToken(id))
}

func TestEachCallChangesWhatItShould(t *testing.T) {
	t.Parallel()
	server := flashbacktest.New(t)
	ctx, org := t.Context(), server.Client().Organization
	created, err := org.Users.Create(ctx, flashback.NewUser{
		Email: "jane@example.com", Password: flashback.NewSecret("pass word"), FirstName: "Jane", LastName: "Doe",
		OrgRole: new(flashback.RoleBilling), SendInvite: new(true),
	})
	require.NoError(t, err)
	want := flashbacktest.User{
		ID: created.ID, Email: "jane@example.com", Name: "Jane", LastName: "Doe", OrgID: flashbacktest.DefaultOrg,
		Role: flashback.RoleBilling, Password: "pass word", Invitations: 1,
	}
	check := func() {
		t.Helper()
		got, _ := server.User(created.ID)
		assert.Equal(t, want, got)
	}
	check()
	_, err = org.Users.ResendInvitation(ctx, created.ID)
	require.NoError(t, err)
	want.Invitations = 2
	check()
	updated, err := org.Users.Update(ctx, created.ID, flashback.UserUpdate{LastName: new(""), OrgRole: new(flashback.RoleUser)})
	require.NoError(t, err)
	want.LastName, want.Role = "", flashback.RoleUser
	check()
	assert.Equal(t, "Jane", updated.Name)

	_, err = org.Users.Delete(ctx, created.ID)
	require.NoError(t, err)
	got, err := org.Users.Get(ctx, created.ID)
	require.NoError(t, err)
	require.NotNil(t, got.DeletedAt)
	assert.WithinDuration(t, time.Now(), *got.DeletedAt, time.Minute)
	again, err := org.Users.Delete(ctx, created.ID)
	require.NoError(t, err)
	assert.True(t, again.Recovered, "a second delete at once looks like one that a proxy has sent twice")
	list, err := org.Users.List(ctx)
	require.NoError(t, err)
	assert.Equal(t, []flashback.User{*got}, list.Deleted())
	assert.Equal(t, 2, list.Total)
	assert.Len(t, server.Users(), 2)

	server.AddOrganization(flashback.Organization{ID: flashbacktest.DefaultOrg, Name: "Acme", City: "Bern"})
	changed, err := org.Update(ctx, flashbacktest.DefaultOrg, flashback.OrganizationUpdate{
		Address1: new("1"), Address2: new("2"), City: new(""), Zipcode: new("z"), Phone: new("p"),
		State: new("s"), Country: new("c"), Website: new("w"), IsBusiness: new(true), MFAEnforced: new(true),
	})
	require.NoError(t, err)
	assert.Equal(t, &flashback.Organization{
		ID: flashbacktest.DefaultOrg, Name: "Acme", Address1: "1", Address2: "2", Zipcode: "z", Phone: "p", State: "s", Country: "c", Website: "w",
		IsBusiness: true, MFAEnforced: true,
	}, changed)
	kept, _ := server.Organization(flashbacktest.DefaultOrg)
	assert.Equal(t, *changed, kept)
	read, err := org.Get(ctx, flashbacktest.DefaultOrg)
	require.NoError(t, err)
	assert.Equal(t, changed, read)
	_, ok := server.Organization("org-2")
	assert.False(t, ok)
	_, err = org.Get(ctx, "org-2")
	require.ErrorIs(t, err, flashback.ErrNotFound)
}

func TestACallerNeedsARoleAndTheSameOrganizationToChangeSomething(t *testing.T) {
	t.Parallel()
	server := flashbacktest.New(t)
	server.AddUser(flashbacktest.User{ID: "user-1"})
	server.AddUser(flashbacktest.User{ID: "stranger", OrgID: "org-2"})
	server.AddOrganization(flashback.Organization{ID: "org-2"})
	ctx := t.Context()
	low, high := caller(server, flashback.RoleBilling).Organization, caller(server, flashback.RoleOwner).Organization
	before := server.Users()
	for _, err := range []error{
		second(low.Users.Create(ctx, flashback.NewUser{Email: "e", Password: flashback.NewSecret("p")})),
		second(low.Users.Update(ctx, "user-1", flashback.UserUpdate{Name: new("")})),
		second(low.Users.Delete(ctx, "user-1")),
		second(low.Users.ResendInvitation(ctx, "user-1")),
		second(low.Update(ctx, flashbacktest.DefaultOrg, flashback.OrganizationUpdate{Name: new("")})),
		second(high.Users.Update(ctx, "stranger", flashback.UserUpdate{Name: new("")})),
		second(high.Users.Delete(ctx, "stranger")),
		second(high.Users.ResendInvitation(ctx, "stranger")),
		second(high.Update(ctx, "org-2", flashback.OrganizationUpdate{Name: new("x")})),
		second(high.Get(ctx, "org-2")),
		second(high.Users.Get(ctx, "stranger")),
		second(low.Users.Get(ctx, "user-1")),
		second(low.Users.List(ctx)),
	} {
		require.ErrorIs(t, err, flashback.ErrForbidden)
	}
	require.ErrorIs(t, second(high.Users.Delete(ctx, "nobody")), flashback.ErrNotFound)
	assert.Equal(t, before, server.Users())
	list, err := high.Users.List(ctx)
	require.NoError(t, err)
	for _, u := range list.Users {
		assert.NotEqual(t, "stranger", u.ID)
	}
	client := &raw{t, server, http.DefaultClient}
	for _, body := range []string{"", "null", "[]", `{"email":7}`, `{"email":""}`} {
		req := client.request(ctx, http.MethodPost, "/organization/users", server.Token())
		req.Body = io.NopCloser(strings.NewReader(body))
		status, _, _, err := client.do(req)
		require.NoError(t, err)
		assert.Equal(t, 400, status, body)
	}
}

func second[T any](_ T, err error) error { return err }

func TestAScriptForAnIDIsForAllCallsAboutIt(t *testing.T) {
	t.Parallel()
	server := flashbacktest.New(t)
	server.AddUser(flashbacktest.User{ID: "a/b"})
	org := server.Client().Organization
	teapot := flashbacktest.Respond(418, "")
	server.ScriptFor("a/b", teapot, teapot, teapot, teapot)
	server.ScriptFor(flashbacktest.DefaultOrg, teapot)
	ctx := t.Context()
	for _, err := range []error{
		second(org.Users.Get(ctx, "a/b")),
		second(org.Users.Update(ctx, "a/b", flashback.UserUpdate{Name: new("")})),
		second(org.Users.ResendInvitation(ctx, "a/b")),
		second(org.Users.Delete(ctx, "a/b")),
		second(org.Get(ctx, flashbacktest.DefaultOrg)),
	} {
		var e *flashback.Error
		require.ErrorAs(t, err, &e)
		assert.Equal(t, 418, e.StatusCode)
	}
	require.NoError(t, second(org.Users.List(ctx)))
	require.NoError(t, second(org.Get(ctx, flashbacktest.DefaultOrg)))
	require.NoError(t, second(org.Users.Get(ctx, "a/b")))
}
