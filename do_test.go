package flashback_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	flashback "github.com/flashbacknetwork/flashback-go"
	"github.com/flashbacknetwork/flashback-go/flashbacktest"
)

// endpoints are five of other groups, as a caller writes them.
var endpoints = []struct {
	name    string
	handle  string
	respond string // "" is a 204
	request flashback.Request
	sent    string // the path and the query
	into    func() any
	want    any
	repeats bool // after an ambiguous attempt
}{
	{
		"a list of buckets", "GET /bucket", `{"success":true,"buckets":[{"id":"b-1"}]}`,
		flashback.Request{Method: "GET", Path: "/bucket", Query: url.Values{"workspaceId": {"w 1"}}},
		"/bucket?workspaceId=w+1",
		func() any { return new(struct{ Buckets []struct{ ID string } }) }, &struct{ Buckets []struct{ ID string } }{[]struct{ ID string }{{"b-1"}}}, true,
	},
	{
		"a user of a workspace", "PUT /workspace/{workspaceId}/users/{userId}", `{"id":"u/1","role":"READ"}`,
		flashback.Request{
			Method: "PUT", Path: "/workspace/{workspaceId}/users/{userId}",
			Segments: map[string]string{"workspaceId": "w-1", "userId": "u/1"}, Body: map[string]string{"role": "READ"},
		},
		"/workspace/w-1/users/u%2F1", func() any { return &map[string]string{} }, &map[string]string{"id": "u/1", "role": "READ"}, true,
	},
	{
		"a new API key", "POST /repo/{repoId}/apikey", `{"success":true,"data":{"key":"k"}}`,
		flashback.Request{Method: "POST", Path: "/repo/{repoId}/apikey", Segments: map[string]string{"repoId": "r-1"}, Body: struct {
			Name string `json:"name"`
		}{"mine"}},
		"/repo/r-1/apikey", func() any { return new(struct{ Data map[string]string }) }, &struct{ Data map[string]string }{map[string]string{"key": "k"}}, false,
	},
	{
		"a query by POST", "POST /stats/query", `[1,2,3]`,
		flashback.Request{Method: "POST", Path: "/stats/query", Body: []string{"a"}, Retry: flashback.RetrySafe},
		"/stats/query", func() any { return new([]int) }, &[]int{1, 2, 3}, true,
	},
	{
		"a delete with a 204", "DELETE /key/{id}", "",
		flashback.Request{Method: "DELETE", Path: "/key/{id}", Segments: map[string]string{"id": "k-1"}},
		"/key/k-1", func() any { return &map[string]string{"as": "it was"} }, &map[string]string{"as": "it was"}, true,
	},
}

func TestDoCallsAnyEndpoint(t *testing.T) {
	t.Parallel()
	for _, tt := range endpoints {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			backend := flashbacktest.NewBackend()
			var got, body string
			backend.Handle(tt.handle, func(w http.ResponseWriter, r *http.Request) {
				got = r.URL.EscapedPath()
				if r.URL.RawQuery != "" {
					got += "?" + r.URL.RawQuery
				}
				text, err := io.ReadAll(r.Body)
				assert.NoError(t, err)
				body = string(text)
				if tt.respond == "" {
					w.WriteHeader(http.StatusNoContent)
				}
				_, _ = io.WriteString(w, tt.respond)
			})
			into := tt.into()
			require.NoError(t, backend.Client().Do(t.Context(), tt.request, into))
			assert.Equal(t, tt.want, into)
			assert.Equal(t, tt.sent, got)
			if tt.request.Body != nil {
				want, err := json.Marshal(tt.request.Body)
				require.NoError(t, err)
				assert.JSONEq(t, string(want), body)
			}

			backend.Script(flashbacktest.LoseResponse(flashbacktest.CutResponse))
			into = tt.into()
			var response flashback.Response
			err := backend.Client().Do(flashback.WithResponse(t.Context(), &response), tt.request, into)
			if tt.repeats {
				require.NoError(t, err)
				assert.Equal(t, 2, response.Attempts)
				assert.Equal(t, tt.want, into)
				return
			}
			e := asError(t, err)
			assert.True(t, e.OutcomeUnknown)
			assert.Equal(t, 1, e.Attempts)
			assert.Equal(t, tt.request.Method+" "+tt.request.Path, e.Op)
		})
	}
}

func TestWhatDoCannotUseIsRefusedAndNothingIsSent(t *testing.T) {
	t.Parallel()
	get := func(change func(*flashback.Request)) flashback.Request {
		r := flashback.Request{Method: "GET", Path: "/a/{id}", Segments: map[string]string{"id": "x"}}
		change(&r)
		return r
	}
	for name, tt := range map[string]struct {
		request flashback.Request
		into    any
		says    string
	}{
		"no method":                  {get(func(r *flashback.Request) { r.Method = "" }), nil, "method"},
		"a method in lower case":     {get(func(r *flashback.Request) { r.Method = "get" }), nil, "method"},
		"a method with a space":      {get(func(r *flashback.Request) { r.Method = "GET /" }), nil, "method"},
		"a path without a slash":     {get(func(r *flashback.Request) { r.Path = "a" }), nil, "slash"},
		"a URL":                      {get(func(r *flashback.Request) { r.Path = "https://h.example/a" }), nil, "slash"},
		"a query in the path":        {get(func(r *flashback.Request) { r.Path = "/a?b" }), nil, "Query"},
		"an escape in the path":      {get(func(r *flashback.Request) { r.Path = "/a%2fb" }), nil, "escaped"},
		"dots in the path":           {get(func(r *flashback.Request) { r.Path = "/a/../b" }), nil, `".."`},
		"half a name":                {get(func(r *flashback.Request) { r.Path = "/a/{id" }), nil, `"{id"`},
		"a name within a segment":    {get(func(r *flashback.Request) { r.Path = "/a/x{id}" }), nil, `"x{id}"`},
		"a name without a value":     {get(func(r *flashback.Request) { r.Segments = nil }), nil, "{id} has no value"},
		"a value without a name":     {get(func(r *flashback.Request) { r.Path = "/a" }), nil, "no segment {id}"},
		"an empty value":             {get(func(r *flashback.Request) { r.Segments["id"] = "" }), nil, "{id} is empty"},
		"dots for a value":           {get(func(r *flashback.Request) { r.Segments["id"] = ".." }), nil, "{id} is a path segment"},
		"a newline in a value":       {get(func(r *flashback.Request) { r.Segments["id"] = "x\n" }), nil, "TrimSpace"},
		"no pointer":                 {get(func(*flashback.Request) {}), struct{}{}, "pointer"},
		"a nil pointer":              {get(func(*flashback.Request) {}), (*int)(nil), "pointer"},
		"a body that is no JSON":     {get(func(r *flashback.Request) { r.Body = func() {} }), nil, "json"},
		"a text that is not UTF-8":   {get(func(r *flashback.Request) { r.Body = map[string]any{"a": []any{"\xff"}} }), nil, "UTF-8"},
		"a Secret in the body":       {get(func(r *flashback.Request) { r.Body = []any{flashback.NewSecret("x")} }), nil, "Reveal"},
		"a pointer to a Secret":      {get(func(r *flashback.Request) { r.Body = map[string]any{"p": new(flashback.NewSecret("x"))} }), nil, "Reveal"},
		"what a Secret is within":    {get(func(r *flashback.Request) { r.Body = struct{ flashback.Secret }{flashback.NewSecret("x")} }), nil, "Reveal"},
		"a reader for a body":        {get(func(r *flashback.Request) { r.Body = strings.NewReader("{}") }), nil, "json.RawMessage"},
		"bytes for a body":           {get(func(r *flashback.Request) { r.Body = []byte("{}") }), nil, "json.RawMessage"},
		"an unknown kind of Retry":   {get(func(r *flashback.Request) { r.Retry = 9 }), nil, "Safe"},
		"an unnamed segment":         {get(func(r *flashback.Request) { r.Path = "/{}" }), nil, "{} has no value"},
		"a control in the path":      {get(func(r *flashback.Request) { r.Path = "/a\x00" }), nil, "segment"},
		"a backslash in the path":    {get(func(r *flashback.Request) { r.Path = `/a\b` }), nil, "escaped"},
		"an invisible character":     {get(func(r *flashback.Request) { r.Segments["id"] = "\u200b" }), nil, "invisible"},
		"a method that is no letter": {get(func(r *flashback.Request) { r.Method = "G3T" }), nil, "method"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWire(t)
			err := w.client().Do(t.Context(), tt.request, tt.into)
			require.ErrorIs(t, err, flashback.ErrInvalidArgument)
			require.ErrorContains(t, err, tt.says)
			assert.Empty(t, w.sent())
		})
	}
}

func TestDoFillsWhatIsThereAsEncodingJSONDoes(t *testing.T) {
	t.Parallel()
	const body = "\xef\xbb\xbf" + `{"success":true,"data":{"id":"user-1"}}`
	type user struct{ ID string }
	do := func(method string, into any) error {
		return newWire(t, says(200, body)).client().Do(t.Context(), flashback.Request{Method: method, Path: "/x"}, into)
	}
	var within user
	require.NoError(t, do("GET", &struct{ Data any }{&within}))
	assert.Equal(t, user{"user-1"}, within)

	var pointed user
	require.NoError(t, do("GET", &struct{ Data *user }{&pointed}))
	assert.Equal(t, user{"user-1"}, pointed)

	preset := struct {
		Data  user
		Limit int
	}{Limit: 7}
	require.NoError(t, do("GET", &preset))
	assert.Equal(t, "user-1", preset.Data.ID)
	assert.Equal(t, 7, preset.Limit)

	number := 1
	for method, unknown := range map[string]bool{"GET": false, "POST": true} {
		err := do(method, &struct{ Data any }{&number}) // which only that value can't take
		require.ErrorIs(t, err, flashback.ErrUnexpectedResponse)
		assert.Equal(t, unknown, asError(t, err).OutcomeUnknown)
	}
}

func TestDoTakesASuccessThatIsNoBooleanForAnyOtherKey(t *testing.T) {
	t.Parallel()
	var counts struct{ Success, Failed int }
	w := newWire(t, says(200, `{"success":3,"failed":1}`))
	require.NoError(t, w.client().Do(t.Context(), flashback.Request{Method: "POST", Path: "/x"}, &counts))
	assert.Equal(t, 3, counts.Success)
	w = newWire(t, says(200, `{"success":3,"failed":1}`))
	require.NoError(t, w.client().Do(t.Context(), flashback.Request{Method: "POST", Path: "/x"}, nil))
	for _, odd := range []string{`"false"`, `"yes"`, "0", "[]"} {
		var into any
		w = newWire(t, says(200, `{"success":`+odd+`,"message":"quota exceeded"}`))
		require.ErrorIs(t, w.client().Do(t.Context(), flashback.Request{Method: "POST", Path: "/x"}, &into), flashback.ErrOutcomeUnknown, odd)
	}
}

func TestDoTellsWhatDoesNotFit(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		method, body string
		into         any
		unknown      bool
		requests     int
	}{
		"a list for an object":                        {"GET", `[]`, &struct{}{}, false, 1},
		"a text for a number":                         {"GET", `{"n":"1"}`, &struct{ N int }{}, false, 1},
		"of what was applied, the outcome is unknown": {"POST", `[]`, &struct{}{}, true, 1},
		"of what says false, it is a failure":         {"POST", `{"success":false,"message":"no"}`, &struct{}{}, false, 1},
		"a page":                                      {"POST", htmlPage, &struct{}{}, true, 1},
		"nothing, where nothing is wanted":            {"POST", "", nil, true, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWire(t, says(200, tt.body))
			err := w.client(flashback.WithMaxRetries(0)).Do(t.Context(), flashback.Request{Method: tt.method, Path: "/x"}, tt.into)
			require.ErrorIs(t, err, flashback.ErrUnexpectedResponse)
			assert.Equal(t, tt.unknown, asError(t, err).OutcomeUnknown, "%v", err)
			assert.Len(t, w.sent(), tt.requests)
		})
	}
	w := newWire(t, says(200, `{"anything":true}`))
	require.NoError(t, w.client().Do(t.Context(), flashback.Request{Method: "POST", Path: "/x"}, nil), "any success will do")
}

func TestTheValuesOfAQueryAreNotInATransportsError(t *testing.T) {
	t.Parallel()
	w := newWire(t, func(req *http.Request) (*http.Response, error) {
		return nil, &url.Error{Op: "Get", URL: req.URL.String(), Err: io.EOF}
	})
	err := w.client(flashback.WithMaxRetries(0)).Do(t.Context(), flashback.Request{Method: "GET", Path: "/x", Query: url.Values{"p": {"4711"}}}, nil)
	require.ErrorContains(t, err, "EOF")
	assert.NotContains(t, err.Error(), "4711")
}

func TestTheValuesOfAQueryAreNowhere(t *testing.T) {
	t.Parallel()
	w := newWire(t, fails(errors.New("lost")))
	err := w.client(flashback.WithMaxRetries(0)).Do(t.Context(), flashback.Request{Method: "GET", Path: "/x", Query: url.Values{"key": {"hidden value"}}}, nil)
	e := asError(t, err)
	assert.Equal(t, "https://backend.flashback.tech/x?key=", e.URL)
	assert.NotContains(t, e.Error(), "hidden")
	assert.Equal(t, "key=hidden+value", w.sent()[0].URL.RawQuery)
}

func TestAZeroClientDoesNothing(t *testing.T) {
	t.Parallel()
	for _, c := range []*flashback.Client{nil, {}} {
		require.ErrorIs(t, c.Do(context.Background(), flashback.Request{Method: "GET", Path: "/x"}, nil), flashback.ErrInvalidArgument)
	}
}

func TestAResponseToHEADHasNoBody(t *testing.T) {
	t.Parallel()
	w := newWire(t, says(200, "", "X-Total", "7"))
	var response flashback.Response
	require.NoError(t, w.client().Do(flashback.WithResponse(t.Context(), &response), flashback.Request{Method: "HEAD", Path: "/x"}, nil))
	assert.Equal(t, "7", response.Header.Get("X-Total"))

	err := newWire(t, says(404, "")).client().Do(t.Context(), flashback.Request{Method: "HEAD", Path: "/x"}, nil)
	require.ErrorIs(t, err, flashback.ErrNotFound)
}

func TestAResponseIsEmptiedByACallThatSendsNothing(t *testing.T) {
	t.Parallel()
	response := flashback.Response{StatusCode: 200}
	require.Error(t, newWire(t).client().Do(flashback.WithResponse(t.Context(), &response), flashback.Request{}, nil))
	assert.Equal(t, flashback.Response{}, response)
	response.StatusCode = 200
	_, err := newWire(t).client().Organization.Users.Activate(flashback.WithResponse(t.Context(), &response), "")
	require.Error(t, err)
	assert.Equal(t, flashback.Response{}, response)
}

// node is a tree that encodes itself, without its parents.
type node struct {
	Parent *node
	Name   string
	Hidden flashback.Secret
}

func (n *node) MarshalJSON() ([]byte, error) {
	if n.Name == "" {
		return nil, fmt.Errorf("another call: %w", flashback.ErrOutcomeUnknown)
	}
	return []byte(`{"name":"` + n.Name + `"}`), nil
}

type code string

func (c code) MarshalText() ([]byte, error) { return []byte(c), nil }

func TestABodyMayEncodeItself(t *testing.T) {
	t.Parallel()
	do := func(w *wire, body any) error {
		return w.client().Do(t.Context(), flashback.Request{Method: http.MethodPost, Path: "/things", Body: body}, nil)
	}
	tree := &node{Name: "child"}
	tree.Parent = tree
	require.NoError(t, do(newWire(t, says(200, `{"success":true}`)), tree))
	require.NoError(t, do(newWire(t, says(200, `{"success":true}`)), []any{code("a"), (*node)(nil)}))
	for _, bad := range []any{&node{Name: "\xff"}, code("\xff"), map[code]int{"\xff": 1}} {
		err := do(newWire(t), bad)
		require.ErrorIs(t, err, flashback.ErrInvalidArgument)
		require.ErrorContains(t, err, "UTF-8")
	}
	err := do(newWire(t), &node{})
	require.ErrorIs(t, err, flashback.ErrInvalidArgument)
	require.NotErrorIs(t, err, flashback.ErrOutcomeUnknown)
}
