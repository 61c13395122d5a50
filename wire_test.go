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
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jarcoal/httpmock"
	"github.com/stretchr/testify/require"

	flashback "github.com/flashbacknetwork/flashback-go"
)

const (
	wireToken  = "wire-token-0123456789"
	notDeleted = `{"success":false,"message":"User is not deleted"}`
	noWay      = `{"success":false,"message":"No way"}`
)

const activated = `{"success":true,"message":"User activated successfully"}`

const htmlPage = "<!DOCTYPE html><html><body><h1>Gateway</h1></body></html>"

// wire is the other end of a client: it gives each attempt the next response
// and keeps what was sent. A request for which there is none fails the test.
type wire struct {
	t         *testing.T
	transport *httpmock.MockTransport

	mu        sync.Mutex
	responses []httpmock.Responder
	requests  []*http.Request
}

func newWire(t *testing.T, responses ...httpmock.Responder) *wire {
	t.Helper()
	w := &wire{t: t, transport: httpmock.NewMockTransport(), responses: responses}
	w.transport.RegisterNoResponder(w.respond) // any method, any URL
	return w
}

func (w *wire) respond(req *http.Request) (*http.Response, error) {
	w.mu.Lock()
	w.requests = append(w.requests, req.Clone(context.Background()))
	n := len(w.requests)
	w.mu.Unlock()
	if n > len(w.responses) {
		w.t.Errorf("request %d was sent, where %d are due", n, len(w.responses))
		return nil, errors.New("one request too many")
	}
	return w.responses[n-1](req)
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

// says is a response from httpmock, with a header of names and values.
func says(status int, body string, header ...string) httpmock.Responder {
	return func(*http.Request) (*http.Response, error) {
		resp := httpmock.NewStringResponse(status, body)
		for i := 0; i < len(header); i += 2 {
			resp.Header.Add(header[i], header[i+1])
		}
		return resp, nil
	}
}

// fails is an attempt without a response.
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

func activateIn(ctx context.Context, client *flashback.Client) (*flashback.Activation, *flashback.Error) {
	got, err := client.Organization.Users.Activate(ctx, "user-1")
	var e *flashback.Error
	errors.As(err, &e)
	return got, e
}

func serve(t *testing.T, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server
}

var sentinels = map[string]error{
	"ErrBadRequest":         flashback.ErrBadRequest,
	"ErrUserNotDeleted":     flashback.ErrUserNotDeleted,
	"ErrSelfDeletion":       flashback.ErrSelfDeletion,
	"ErrRoleCombination":    flashback.ErrRoleCombination,
	"ErrNoFields":           flashback.ErrNoFields,
	"ErrNotValidated":       flashback.ErrNotValidated,
	"ErrWorkspaceNotEmpty":  flashback.ErrWorkspaceNotEmpty,
	"ErrTargetUserNotFound": flashback.ErrTargetUserNotFound,
	"ErrNotInWorkspace":     flashback.ErrNotInWorkspace,
	"ErrUnauthorized":       flashback.ErrUnauthorized,
	"ErrForbidden":          flashback.ErrForbidden,
	"ErrNotFound":           flashback.ErrNotFound,
	"ErrConflict":           flashback.ErrConflict,
	"ErrNotSent":            flashback.ErrNotSent,
	"ErrRateLimited":        flashback.ErrRateLimited,
	"ErrServer":             flashback.ErrServer,
	"ErrUnexpectedResponse": flashback.ErrUnexpectedResponse,
	"ErrOutcomeUnknown":     flashback.ErrOutcomeUnknown,
	"ErrIncompleteList":     flashback.ErrIncompleteList,
	"ErrInvalidArgument":    flashback.ErrInvalidArgument,
}

// kinds are the names of the sentinels that an error matches, sorted.
func kinds(err error) []string {
	names := []string{}
	for name, sentinel := range sentinels {
		if errors.Is(err, sentinel) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

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

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }
