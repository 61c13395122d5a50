package flashbacktest_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/flashbacknetwork/flashback-go/flashbacktest"
)

// handled is what a client sees of a handler's response.
type handled struct {
	early       []int // the informational statuses, with their Link headers
	links       []string
	status      int
	link, after string // headers
	body        string
}

// exchange sends a GET of /mine through the transport.
func exchange(t *testing.T, transport http.RoundTripper, url, token string) (handled, error) {
	t.Helper()
	var seen handled
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
		Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
			seen.early, seen.links = append(seen.early, code), append(seen.links, header.Get("Link"))
			return nil
		},
	})
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/mine", nil)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return seen, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	seen.status, seen.link, seen.after, seen.body = resp.StatusCode, resp.Header.Get("Link"), resp.Header.Get("X-After"), string(text)
	return seen, err
}

// The oracle is net/http itself, with the same handler.
func TestAHandlerIsServedAsUnderNetHTTP(t *testing.T) {
	t.Parallel()
	for name, handler := range map[string]http.HandlerFunc{
		"an informational status comes before the real one": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Link", "</early>")
			w.WriteHeader(http.StatusEarlyHints)
			w.Header().Set("Link", "</second>")
			w.WriteHeader(http.StatusEarlyHints)
			w.Header().Del("Link")
			w.WriteHeader(http.StatusTeapot)
			_, _ = io.WriteString(w, "real")
		},
		"an informational status, and then a body alone": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Link", "</early>")
			w.WriteHeader(http.StatusEarlyHints)
			_, _ = io.WriteString(w, "real")
		},
		"an informational status alone": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusEarlyHints) },
		"a header after the status has no effect": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusAccepted)
			w.Header().Set("X-After", "1")
		},
		"a header after the first write has no effect": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "body")
			w.Header().Set("X-After", "1")
		},
		"a header after a flush has no effect": func(w http.ResponseWriter, _ *http.Request) {
			_ = http.NewResponseController(w).Flush()
			w.Header().Set("X-After", "1")
		},
		"a header value that is changed after the status": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Link", "first")
			w.WriteHeader(http.StatusOK)
			w.Header()["Link"][0] = "changed"
		},
		"a status after the first write has no effect": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "body")
			w.WriteHeader(http.StatusTeapot)
		},
		"a second status has no effect": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusTeapot)
			w.WriteHeader(http.StatusOK)
		},
		"a body after a 204 is refused": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusNoContent)
			_, err := io.WriteString(w, "body")
			assert.ErrorIs(t, err, http.ErrBodyNotAllowed)
		},
		"nothing at all":        func(http.ResponseWriter, *http.Request) {},
		"a status that is none": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(99) },
		"an aborted response":   func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"a body that is too short": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "9")
			_, _ = io.WriteString(w, "body")
		},
		"a header before the status": func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X-After", "1"); w.WriteHeader(201) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			plain := httptest.NewUnstartedServer(handler)
			plain.Config.ErrorLog = new(text).logger()
			plain.Start()
			defer plain.Close()
			transport := &http.Transport{DisableKeepAlives: true}
			want, wantErr := exchange(t, transport, plain.URL, "")

			backend := flashbacktest.NewBackend()
			backend.Handle("GET /mine", handler)
			got, err := exchange(t, backend, "https://any.test", backend.Token())
			assert.Equal(t, want, got)
			assert.Equal(t, wantErr, err)
		})
	}
}

func TestALostResponseHasNoInformationalOneEither(t *testing.T) {
	t.Parallel()
	backend := flashbacktest.NewBackend()
	backend.Handle("GET /mine", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusEarlyHints) })
	backend.Script(flashbacktest.LoseResponse(flashbacktest.CutResponse), flashbacktest.ApplyThenRespond(500, ""))
	for range 2 {
		got, _ := exchange(t, backend, "https://any.test", backend.Token())
		assert.Empty(t, got.early)
	}
}

func TestAnotherMethodIsA405WithAnAllow(t *testing.T) {
	t.Parallel()
	backend := flashbacktest.NewBackend()
	ok := func(http.ResponseWriter, *http.Request) {}
	backend.Handle("GET /bucket/{id}", ok)
	backend.Handle("PATCH /organization/users", ok)
	for _, tt := range []struct {
		method, path string
		status       int
		allow        []string
	}{
		{"PUT", "/bucket/1", 405, []string{"GET, HEAD"}},
		{"GET", "/bucket/1", 200, nil},
		{"HEAD", "/bucket/1", 200, nil},
		{"GET", "/bucket", 404, nil},
		{"PATCH", "/organization/users", 200, nil},
		{"DELETE", "/organization/users", 405, []string{"PATCH", "GET, HEAD, POST, PUT"}},
		{"DELETE", "/workspace", 405, []string{"GET, HEAD, POST"}},
	} {
		w := httptest.NewRecorder()
		req := httptest.NewRequestWithContext(context.Background(), tt.method, tt.path, nil)
		req.Header.Set("Authorization", "Bearer "+backend.Token())
		backend.ServeHTTP(w, req)
		assert.Equal(t, tt.status, w.Code, "%s %s", tt.method, tt.path)
		assert.Equal(t, tt.allow, w.Header()["Allow"], "%s %s", tt.method, tt.path)
	}
}

func TestTheHeaderOfAFaultIsCopied(t *testing.T) {
	t.Parallel()
	backend := flashbacktest.NewBackend()
	shared := http.Header{"X-Mine": {"as scripted"}}
	fault := flashbacktest.Fault{Status: 503, Header: shared}
	backend.Script(fault, fault)
	shared.Set("X-Mine", "changed since")
	backend.UnplayedFaults()[""][0].Header.Set("X-Mine", "changed since")
	for range 2 {
		w := direct(backend, "user-1")
		assert.Equal(t, "as scripted", w.Header().Get("X-Mine"))
		w.Header()["X-Mine"][0] = "changed by the receiver"
	}

	decided := http.Header{"X-Mine": {"as decided"}}
	backend.Decide(func(*http.Request) flashbacktest.Fault { return flashbacktest.Fault{Status: 503, Header: decided} })
	direct(backend, "user-1").Header()["X-Mine"][0] = "changed by the receiver"
	assert.Equal(t, "as decided", decided.Get("X-Mine"))
}

func TestAHeaderThatIsSetAroundTheBackendStays(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	w.Header().Set("X-Around", "1")
	flashbacktest.NewBackend().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/organization/users", nil))
	assert.Equal(t, "1", w.Header().Get("X-Around"))
}

func TestFaultsThatWereNotPlayedCanBeSeen(t *testing.T) {
	t.Parallel()
	backend := flashbacktest.NewBackend()
	assert.Empty(t, backend.UnplayedFaults())
	unavailable, gateway := flashbacktest.Respond(503, ""), flashbacktest.Respond(502, "")
	backend.Script(unavailable, gateway, flashbacktest.None())
	backend.ScriptFor("usr-1", flashbacktest.Drop(), flashbacktest.Fault{Delay: 1})
	direct(backend, "user-1")
	assert.Equal(t, map[string][]flashbacktest.Fault{
		"": {gateway}, "usr-1": {flashbacktest.Drop(), {Delay: 1}},
	}, backend.UnplayedFaults())
	direct(backend, "user-1")
	assert.NotContains(t, backend.UnplayedFaults(), "", "a None that is left is no fault")
	backend.Reset()
	assert.Empty(t, backend.UnplayedFaults())
}

// fakeTest is a test that is told to fail.
type fakeTest struct {
	failures []string
	cleanups []func()
}

func (f *fakeTest) Cleanup(c func()) { f.cleanups = append(f.cleanups, c) }
func (f *fakeTest) Errorf(format string, args ...any) {
	f.failures = append(f.failures, fmt.Sprintf(format, args...))
}

func TestNewFailsATestThatLeavesFaults(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		prepare func(s *flashbacktest.Server)
		want    []string
	}{
		{"all were played", func(s *flashbacktest.Server) {
			s.Script(flashbacktest.Drop())
			_, _ = s.Client().Organization.Users.Activate(t.Context(), "user-1")
		}, nil},
		{"a wrong ID", func(s *flashbacktest.Server) {
			s.ScriptFor("usr-1", flashbacktest.Drop())
			_, _ = s.Client().Organization.Users.Activate(t.Context(), "user-1")
		}, []string{`flashbacktest: scripted faults for requests with the ID "usr-1" were not played: 1`}},
		{"no request", func(s *flashbacktest.Server) {
			s.Script(flashbacktest.Drop(), flashbacktest.Drop())
		}, []string{"flashbacktest: scripted faults for any request were not played: 2"}},
		{"they may be left", func(s *flashbacktest.Server) {
			s.AllowUnplayedFaults()
			s.Script(flashbacktest.Drop())
		}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var test fakeTest
			server := flashbacktest.New(&test)
			tt.prepare(server)
			for _, cleanup := range test.cleanups {
				cleanup()
			}
			assert.Equal(t, tt.want, test.failures)
		})
	}
}
