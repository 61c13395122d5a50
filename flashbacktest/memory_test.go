package flashbacktest_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
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

func TestADeadlineAgainstAStalledBackendTakesNoTimeInABubble(t *testing.T) {
	t.Parallel()
	began := time.Now()
	for name, fault := range map[string]flashbacktest.Fault{
		"a stalled response": flashbacktest.LoseResponse(flashbacktest.Stall),
		"a stalled body":     flashbacktest.LoseResponse(flashbacktest.StallBody),
		"a long delay":       {Apply: true, Delay: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				backend := flashbacktest.NewBackend()
				backend.AddDeletedUser("user-1")
				backend.Decide(func(*http.Request) flashbacktest.Fault { return fault })
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
				defer cancel()
				start := time.Now()
				_, err := backend.Client().Organization.Users.Activate(ctx, "user-1")
				require.ErrorIs(t, err, context.DeadlineExceeded)
				require.ErrorIs(t, err, flashback.ErrOutcomeUnknown)
				assert.Equal(t, 3*time.Second, time.Since(start))
			}) // which fails if a goroutine is left that nothing wakes
		})
	}
	assert.Less(t, time.Since(began), 2*time.Second, "nine seconds of the fake time's")
}

func TestNothingOutlivesARequestInMemory(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		func() {
			backend := flashbacktest.NewBackend()
			backend.AddDeletedUser("user-1")
			backend.Script(flashbacktest.LoseResponse(flashbacktest.Stall), flashbacktest.LoseResponse(flashbacktest.CutBody))
			client := backend.Client(flashback.WithAttemptTimeout(time.Minute))
			_, err := client.Organization.Users.Activate(t.Context(), "user-1")
			require.NoError(t, err)
			assert.Len(t, backend.Requests(), 3)
		}()
		synctest.Wait()
		assert.Less(t, time.Since(start), time.Minute+time.Second)
	})
}

func TestABackendAndItsClientGoInAndOutOfBubbles(t *testing.T) {
	t.Parallel()
	backend := flashbacktest.NewBackend()
	backend.LimitRate(1000, 1000)
	use := func(t *testing.T, client *http.Client) {
		t.Helper()
		for _, fault := range []flashbacktest.Fault{
			{}, flashbacktest.Drop(), {Delay: time.Millisecond}, {Lose: flashbacktest.Stall}, {Status: 200, Body: "1234", Lose: flashbacktest.StallBody},
			flashbacktest.LoseResponse(flashbacktest.ResetConnection), flashbacktest.Refuse(),
		} {
			backend.AddDeletedUser("user-1")
			backend.ScriptFor("user-1", fault)
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://any.test/organization/users/user-1/activate", nil)
			require.NoError(t, err)
			req.Header.Set("Authorization", "Bearer "+backend.Token())
			if resp, err := client.Do(req); err == nil {
				_, _ = io.Copy(io.Discard, resp.Body)
				assert.Equal(t, 200, resp.StatusCode)
				_ = resp.Body.Close()
			}
			cancel()
		}
	}
	client := &http.Client{Transport: backend}
	use(t, client)
	synctest.Test(t, func(t *testing.T) { use(t, client) })
	synctest.Test(t, func(t *testing.T) { use(t, client) })
	use(t, client)
}

func TestAnHTTPClientOfTheTestsOwnHasTheBackendAsItsTransport(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := flashbacktest.NewBackend()
		b.Script(flashbacktest.LoseResponse(flashbacktest.Stall))
		client := b.Client(flashback.WithHTTPClient(&http.Client{Transport: b, Timeout: time.Second}))
		began := time.Now()
		_, err := client.Organization.Users.List(t.Context())
		require.NoError(t, err)
		assert.Less(t, time.Since(began), 2*time.Second, "its Timeout ends the first attempt")
		assert.Len(t, b.Requests(), 2)
	})
}

func TestARefusedConnectionWasNeverSent(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		fault   flashbacktest.Fault
		unknown bool
	}{
		"refused":                      {fault: flashbacktest.Refuse()},
		"refused, whatever else it is": {fault: flashbacktest.Fault{Apply: true, Status: 200, Body: activated, Lose: flashbacktest.RefuseConnection}},
		"the control: dropped":         {fault: flashbacktest.Drop(), unknown: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				backend := flashbacktest.NewBackend()
				backend.AddDeletedUser("user-1")
				backend.Script(tt.fault)
				_, err := backend.Client(flashback.WithMaxRetries(0)).Organization.Users.Activate(t.Context(), "user-1")
				require.Error(t, err)
				assert.Equal(t, tt.unknown, errors.Is(err, flashback.ErrOutcomeUnknown))
				assert.Equal(t, !tt.unknown, errors.Is(err, syscall.ECONNREFUSED))
				assert.Equal(t, tt.unknown, len(backend.Requests()) == 1, "it is received, or not")
				assert.True(t, isDeleted(t, backend, "user-1"))

				backend.Script(tt.fault)
				got, err := backend.Client().Organization.Users.Activate(t.Context(), "user-1")
				require.NoError(t, err)
				assert.Equal(t, 2, got.Attempts)
			})
		})
	}
}

func TestOverASocketARefusedConnectionIsACutResponse(t *testing.T) {
	t.Parallel()
	backend := flashbacktest.NewBackend()
	backend.AddDeletedUser("user-1")
	backend.Script(flashbacktest.Refuse())
	server := httptest.NewUnstartedServer(backend)
	logged := &text{}
	server.Config.ErrorLog = logged.logger()
	server.Start()
	t.Cleanup(server.Close)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/organization/users/user-1/activate", nil)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+backend.Token())
	_, err = server.Client().Do(req) //nolint:bodyclose // There is none.
	require.ErrorIs(t, err, io.EOF)
	assert.True(t, isDeleted(t, backend, "user-1"))
	assert.Contains(t, logged.String(), "see Backend.Client")
}

func TestInMemoryTheTraceAndTheResponseAreAsOverASocket(t *testing.T) {
	t.Parallel()
	backend := flashbacktest.NewBackend()
	var got []string
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
		GetConn: func(host string) { got = append(got, "GetConn "+host) },
		GotConn: func(info httptrace.GotConnInfo) {
			got = append(got, fmt.Sprint("GotConn ", info.Reused, info.Conn.RemoteAddr() != nil))
		},
	})
	body := &closing{Reader: strings.NewReader(strings.Repeat("x", 3<<20))}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://any.test/organization/users/nobody/activate", body)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+backend.Token())
	resp, err := backend.RoundTrip(req)
	require.NoError(t, err)
	assert.Equal(t, 404, resp.StatusCode)
	assert.Same(t, req, resp.Request)
	assert.NotEmpty(t, resp.Header.Get("Date"))
	require.NoError(t, resp.Body.Close())
	assert.Equal(t, []string{"GetConn any.test:443", "GotConn false true"}, got)
	assert.True(t, body.closed)
	assert.Len(t, backend.Requests()[0].Body, 1<<20)

	got = nil
	backend.Script(flashbacktest.Refuse())
	body = &closing{Reader: strings.NewReader("x")}
	req, err = http.NewRequestWithContext(ctx, http.MethodPost, "http://any.test/", body)
	require.NoError(t, err)
	_, err = backend.RoundTrip(req) //nolint:bodyclose // There is none.
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	assert.Equal(t, []string{"GetConn any.test:80"}, got)
	assert.True(t, body.closed)

	// A request that is canceled before it is sent takes no fault.
	backend.Script(flashbacktest.Respond(418, ""))
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = backend.RoundTrip(req.Clone(canceled)) //nolint:bodyclose // There is none.
	require.ErrorIs(t, err, context.Canceled)
	resp, err = backend.RoundTrip(httptest.NewRequest(http.MethodGet, "http://any.test/", nil))
	require.NoError(t, err)
	assert.Equal(t, 418, resp.StatusCode)
	require.NoError(t, resp.Body.Close())
}

type closing struct {
	io.Reader
	closed bool
}

func (c *closing) Close() error {
	c.closed = true
	return nil
}

func TestManyWorkersInMemory(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		backend := flashbacktest.NewBackend()
		n := 0
		backend.Decide(func(*http.Request) flashbacktest.Fault {
			n++
			return []flashbacktest.Fault{
				{}, flashbacktest.LoseResponse(flashbacktest.CutBody), flashbacktest.Refuse(), {Apply: true, Delay: time.Second},
			}[n%4]
		})
		client := backend.Client(flashback.WithMaxRetries(20))
		var workers sync.WaitGroup
		for i := range 100 {
			id := fmt.Sprint("user-", i)
			backend.AddDeletedUser(id)
			workers.Go(func() {
				_, err := client.Organization.Users.Activate(t.Context(), id)
				assert.NoError(t, err, id)
			})
		}
		workers.Wait()
		for i := range 100 {
			assert.False(t, isDeleted(t, backend, fmt.Sprint("user-", i)))
		}
	})
}

func TestARequestWithoutABodyIsServed(t *testing.T) {
	t.Parallel()
	backend := flashbacktest.NewBackend()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "/organization/users", nil)
	require.NoError(t, err)
	require.Nil(t, req.Body)
	req.Header.Set("Authorization", "Bearer "+backend.Token())
	w := httptest.NewRecorder()
	backend.ServeHTTP(w, req)
	assert.Equal(t, 200, w.Code)
}

func TestAnEndpointOfTheTestsOwn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		backend := flashbacktest.NewBackend()
		stored := map[string]string{}
		backend.Handle("PUT /bucket/{id}", func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body) // it is in memory
			stored[r.PathValue("id")] = string(body)
			_, known := backend.User("owner") // it may call the backend
			assert.True(t, known)
			w.Header().Set("X-Mine", "1")
			w.WriteHeader(http.StatusNoContent)
		})
		backend.Handle("GET /bucket/{id}", func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, stored[r.PathValue("id")])
		})
		backend.Handle("GET /organization/{id}/key", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
		backend.Handle("GET /organization/users", func(http.ResponseWriter, *http.Request) {}) // in place of the backend's
		token := backend.Token()
		ask := func(method, path, body string) (int, string, error) {
			req, err := http.NewRequestWithContext(t.Context(), method, "https://any.test"+path, strings.NewReader(body))
			require.NoError(t, err)
			req.Header.Set("Authorization", "Bearer "+token)
			resp, err := (&http.Client{Transport: backend}).Do(req)
			if err != nil {
				return 0, "", err
			}
			defer resp.Body.Close()
			text, err := io.ReadAll(resp.Body)
			return resp.StatusCode, string(text), err
		}
		applied := func() bool { all := backend.Requests(); return all[len(all)-1].Applied }

		status, _, err := ask(http.MethodPut, "/bucket/a%2Fb", "one")
		require.NoError(t, err)
		assert.Equal(t, 204, status)
		assert.True(t, applied())
		status, got, err := ask(http.MethodGet, "/bucket/a%2Fb", "")
		require.NoError(t, err)
		assert.Equal(t, 200, status)
		assert.Equal(t, "one", got)
		assert.False(t, applied())

		backend.ScriptFor("a/b", flashbacktest.LoseResponse(flashbacktest.CutResponse), flashbacktest.Respond(500, "no"), flashbacktest.ApplyThenRespond(500, "no"))
		_, _, err = ask(http.MethodPut, "/bucket/a%2Fb", "two")
		require.ErrorIs(t, err, io.EOF)
		assert.Equal(t, "two", stored["a/b"])
		assert.True(t, applied())
		_, _, _ = ask(http.MethodPut, "/bucket/a%2Fb", "three")
		assert.Equal(t, "two", stored["a/b"])
		assert.False(t, applied())
		status, got, err = ask(http.MethodPut, "/bucket/a%2Fb", "four")
		require.NoError(t, err)
		assert.Equal(t, 500, status)
		assert.Equal(t, "no", got)
		assert.Equal(t, "four", stored["a/b"])
		assert.True(t, applied())

		for path, want := range map[string]int{"/organization/org-1/key": 418, "/organization/users": 200, "/organization/org-1": 200, "/bucket": 404} {
			status, _, err = ask(http.MethodGet, path, "")
			require.NoError(t, err)
			assert.Equal(t, want, status, path)
		}
		token = "another"
		status, got, err = ask(http.MethodPut, "/bucket/a%2Fb", "five")
		require.NoError(t, err)
		assert.Equal(t, 401, status)
		assert.JSONEq(t, `{"success":false,"error_code":"NO_AUTH_USER"}`, got)
		assert.Equal(t, "four", stored["a/b"])
		assert.False(t, applied())
	})
}

func TestAnEndpointSeesTheWholeBody(t *testing.T) {
	t.Parallel()
	b, seen := flashbacktest.NewBackend(), ""
	b.Handle("PUT /bucket", func(w http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body) // it is in memory
		seen = string(text)
		_, _ = io.WriteString(w, `{"success":true}`)
	})
	body := strings.Repeat("0123456789abcdef", 3<<16) // 3 MiB
	require.NoError(t, b.Client().Do(t.Context(), flashback.Request{Method: http.MethodPut, Path: "/bucket", Body: body}, nil))
	assert.Equal(t, sha256.Sum256([]byte(`"`+body+`"`)), sha256.Sum256([]byte(seen)), "%d bytes", len(seen))
	assert.Len(t, b.Requests()[0].Body, 1<<20)
}

func TestATokenLivesItsLifetime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		backend := flashbacktest.NewBackend()
		code := func(token string) int {
			req := httptest.NewRequest(http.MethodGet, "/organization/users", nil)
			req.Header.Set("Authorization", "Bearer "+token)
			w := httptest.NewRecorder()
			backend.ServeHTTP(w, req)
			if w.Code == http.StatusUnauthorized {
				assert.JSONEq(t, `{"success":false,"error_code":"NO_AUTH_USER"}`, w.Body.String())
			}
			return w.Code
		}
		pass(t, time.Hour)
		assert.Equal(t, 200, code(backend.Token()), "it lives forever")
		backend.SetTokenLifetime(2 * time.Hour)
		second := backend.AddToken("owner")
		pass(t, time.Hour-1)
		assert.Equal(t, 200, code(backend.Token()))
		pass(t, 1)
		assert.Equal(t, 401, code(backend.Token()))
		assert.Equal(t, 200, code(second))
		pass(t, time.Hour)
		assert.Equal(t, 401, code(second))
		assert.Equal(t, 200, code(backend.AddToken("owner")))
		backend.SetTokenLifetime(0)
		assert.Equal(t, 200, code(second))
	})
}

// text is a log that is safe for concurrent use.
type text struct {
	mu sync.Mutex
	strings.Builder
}

func (l *text) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Builder.Write(p)
}

func (l *text) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Builder.String()
}

func (l *text) logger() *log.Logger { return log.New(l, "", 0) }
