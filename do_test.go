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
	"net/url"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"

	"github.com/jarcoal/httpmock"
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
		"a name in the old style":    {get(func(r *flashback.Request) { r.Path = "/a/:id" }), nil, `has the segment ":id"; write {id}`},
		"a path that is not UTF-8":   {get(func(r *flashback.Request) { r.Path = "/a/{id}/\xff" }), nil, "UTF-8"},
		"a name that is not UTF-8":   {get(func(r *flashback.Request) { r.Name = "\xff" }), nil, "UTF-8"},
		"a key that is not UTF-8":    {get(func(r *flashback.Request) { r.Query = url.Values{"\xff": {"a"}} }), nil, "UTF-8"},
		"a query that is not UTF-8":  {get(func(r *flashback.Request) { r.Query = url.Values{"a": {"b", "\xff"}} }), nil, "UTF-8"},
		"a nil writer":               {get(func(*flashback.Request) {}), (*bytes.Buffer)(nil), "io.Writer"},
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

type shape interface{ Sides() int }

type square struct{ Side int }

func (s *square) Sides() int { return 4 * s.Side }

// colors is a map that decodes itself.
type colors map[string]bool

func (c *colors) UnmarshalJSON(data []byte) error {
	var names []string
	if err := json.Unmarshal(data, &names); err != nil {
		return err
	}
	if *c == nil {
		*c = colors{}
	}
	for _, name := range names {
		(*c)[name] = true
	}
	return nil
}

// counter counts how often it is decoded.
type counter struct{ times int }

func (c *counter) UnmarshalJSON([]byte) error {
	c.times++
	return nil
}

func TestDoDecodesOnceIntoTheTargetItself(t *testing.T) {
	t.Parallel()
	do := func(body string, into any) error {
		return newWire(t, says(200, body)).client().Do(t.Context(), flashback.Request{Method: "POST", Path: "/x"}, into)
	}
	var within shape = &square{}
	require.NoError(t, do(`{"side":3}`, &within))
	assert.Equal(t, 12, within.Sides())

	var own colors
	require.NoError(t, do(`["red"]`, &own))
	assert.Equal(t, colors{"red": true}, own)

	full := map[string]int{"a": 1, "b": 2}
	require.NoError(t, do(`{"b":3}`, &full))
	assert.Equal(t, map[string]int{"a": 1, "b": 3}, full)

	list := []square{{1}, {2}}
	require.NoError(t, do(`[{},{"side":5},{"side":6}]`, &list))
	assert.Equal(t, []square{{1}, {5}, {6}}, list)

	var raw json.RawMessage
	require.NoError(t, do(` [1, 2] `, &raw))
	assert.JSONEq(t, `[1,2]`, string(raw))
	require.ErrorIs(t, do("id,name\n1,a\n", &raw), flashback.ErrOutcomeUnknown, "CSV is no JSON")

	var anything any
	require.NoError(t, do(`7`, &anything))
	assert.InDelta(t, 7, anything, 0)

	var once counter
	require.NoError(t, do(`{}`, &once))
	assert.Equal(t, 1, once.times)

	for name, first := range map[string]httpmock.Responder{
		"a 202": says(202, `{}`), "a redirect": says(302, `{}`), "a success that is none": says(200, `{"success":"no"}`), "false": says(200, `{"success":false}`),
		"a refusal": says(500, `{"success":true}`), "a cut body": func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Body: io.NopCloser(io.MultiReader(strings.NewReader(`{}`), iotest.ErrReader(io.ErrUnexpectedEOF)))}, nil
		},
	} {
		var never counter
		w := newWire(t, first)
		require.Error(t, w.client().Do(t.Context(), flashback.Request{Method: "POST", Path: "/x"}, &never), name)
		assert.Zero(t, never.times, name)
	}
}

func TestDoWithoutATargetTakesAnyCompleteSuccess(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		status int
		body   string
		header []string
		kinds  []string // of a failure
	}{
		"nothing":               {201, "", nil, nil},
		"white space":           {200, "\n", nil, nil},
		"a word":                {200, "OK", []string{"Content-Type", "text/plain"}, nil},
		"CSV":                   {200, "a,b\n", []string{"Content-Type", "text/csv"}, nil},
		"half an object":        {200, `{"id":`, nil, nil},
		"a bare array":          {200, `[1]`, nil, nil},
		"no content":            {204, "", nil, nil},
		"accepted for later":    {202, "", nil, []string{"ErrOutcomeUnknown", "ErrUnexpectedResponse"}},
		"a page":                {200, htmlPage, []string{"Content-Type", "text/html; charset=utf-8"}, []string{"ErrOutcomeUnknown", "ErrUnexpectedResponse"}},
		"a page of XHTML":       {200, "<x/>", []string{"Content-Type", "application/xhtml+xml"}, []string{"ErrOutcomeUnknown", "ErrUnexpectedResponse"}},
		"a page without a type": {200, htmlPage, nil, []string{"ErrOutcomeUnknown", "ErrUnexpectedResponse"}},
		"a page called text":    {200, " \n" + htmlPage, []string{"Content-Type", "text/plain"}, []string{"ErrOutcomeUnknown", "ErrUnexpectedResponse"}},
		"an empty page":         {200, "", []string{"Content-Type", "text/html"}, []string{"ErrOutcomeUnknown", "ErrUnexpectedResponse"}},
		"what says false":       {200, `{"success":false}`, nil, []string{"ErrUnexpectedResponse"}},
		"what is neither":       {200, `{"success":"yes"}`, nil, []string{"ErrOutcomeUnknown", "ErrUnexpectedResponse"}},
	} {
		w := newWire(t, says(tt.status, tt.body, tt.header...))
		err := w.client().Do(t.Context(), flashback.Request{Method: "POST", Path: "/x"}, nil)
		if tt.kinds == nil {
			require.NoError(t, err, name)
			continue
		}
		assert.Equal(t, tt.kinds, kinds(err), "%s: %v", name, err)
	}
	w := newWire(t, says(200, ""))
	require.NoError(t, w.client().Do(t.Context(), flashback.Request{Method: "GET", Path: "/x"}, nil))
	w = newWire(t, says(200, htmlPage), says(200, ""))
	require.NoError(t, w.client().Do(t.Context(), flashback.Request{Method: "GET", Path: "/x"}, nil), "a page is retried")
	var into any
	w = newWire(t, says(200, ""))
	require.ErrorIs(t, w.client().Do(t.Context(), flashback.Request{Method: "POST", Path: "/x"}, &into), flashback.ErrOutcomeUnknown, "what is to be decoded must be there")
}

func TestDoWritesTheBodyAsItIs(t *testing.T) {
	t.Parallel()
	for _, body := range []string{"\xef\xbb\xbfid,name\n1,Zo\xc3\xab\n", `{"a": 1}`, "\xef\xbb\xbf[]", "\x00\xff", "", htmlPage, "7"} {
		var accept string
		w := newWire(t, lost, func(req *http.Request) (*http.Response, error) {
			accept = req.Header.Get("Accept")
			return says(200, body, "Content-Type", "text/csv")(req)
		})
		var got bytes.Buffer
		require.NoError(t, w.client().Do(t.Context(), flashback.Request{Method: "GET", Path: "/export"}, &got))
		assert.Equal(t, body, got.String())
		assert.Equal(t, "*/*", accept)
	}
	var got bytes.Buffer
	require.NoError(t, newWire(t, says(204, "")).client().Do(t.Context(), flashback.Request{Method: "GET", Path: "/export"}, &got))
	err := newWire(t, says(200, `{"success":false,"message":"no export"}`)).client().Do(t.Context(), flashback.Request{Method: "GET", Path: "/export"}, &got)
	require.ErrorContains(t, err, "no export")
	err = newWire(t, says(202, "soon")).client().Do(t.Context(), flashback.Request{Method: "POST", Path: "/export"}, &got)
	require.ErrorIs(t, err, flashback.ErrOutcomeUnknown)
	assert.Empty(t, got.String())

	large := strings.Repeat("x", 3<<20)
	require.NoError(t, newWire(t, says(200, large)).client().Do(t.Context(), flashback.Request{Method: "GET", Path: "/export"}, &got))
	assert.Equal(t, len(large), got.Len())
	require.NoError(t, newWire(t, says(200, "x")).client().Do(t.Context(), flashback.Request{Method: "GET", Path: "/export"}, io.Discard), "a writer need be no pointer")
}

// failingWriter is a file on a disk that is full.
type failingWriter struct{}

func (*failingWriter) Write([]byte) (int, error) {
	return 0, syscall.ENOSPC
}

// One path for every error: whatever is wrong with the response to a request that may have
// been applied, there are a record and all of the response.
func TestEveryErrorOfDoHasItsRecordAndItsResponse(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		body string
		into any
		kind error
	}{
		"a body that does not fit": {`{"side":"three ` + marked + `"}`, &square{}, flashback.ErrUnexpectedResponse},
		"a body that is no JSON":   {"a " + marked, &square{}, flashback.ErrUnexpectedResponse},
		"a writer that fails":      {"a " + marked, &failingWriter{}, syscall.ENOSPC},
		"a page":                   {htmlPage, nil, flashback.ErrUnexpectedResponse},
	} {
		for method, unknown := range map[string]bool{"POST": true, "GET": false} {
			var log bytes.Buffer
			var response flashback.Response
			w := newWire(t, says(201, tt.body, "X-Request-Id", "r-1", "X-Echo", marked))
			client := w.client(flashback.WithLogger(slog.New(slog.NewTextHandler(&log, nil))), flashback.WithMaxRetries(0))
			err := client.Do(flashback.WithResponse(t.Context(), &response), flashback.Request{
				Method: method, Path: "/shapes", Secrets: []flashback.Secret{flashback.NewSecret(marked)},
			}, tt.into)
			require.ErrorIs(t, err, tt.kind, name)
			e := asError(t, err)
			assert.Equal(t, unknown, e.OutcomeUnknown, name)
			assert.Equal(t, 201, e.StatusCode)
			assert.Equal(t, "r-1", e.RequestID)
			assert.Equal(t, http.Header{"X-Request-Id": {"r-1"}, "X-Echo": {"[redacted]"}}, e.Header)
			assert.Equal(t, strings.ReplaceAll(tt.body, marked, "[redacted]"), string(e.Body))
			assert.Equal(t, flashback.DefaultBaseURL+"/shapes", e.URL)
			assert.Equal(t, 1, e.Attempts)
			assert.Equal(t, "r-1", response.RequestID)
			assert.Equal(t, unknown, strings.Contains(log.String(), "flashback: outcome unknown"), name)
			assert.Empty(t, leaks(e), name)
			assert.NotContains(t, log.String(), marked)
			assert.Equal(t, tt.kind == flashback.ErrUnexpectedResponse, errors.Is(err, flashback.ErrUnexpectedResponse), name) //nolint:errorlint // The table's own.
		}
	}
}

func TestSecretsOfARequestAreShownNowhere(t *testing.T) {
	t.Parallel()
	secrets := []flashback.Secret{flashback.NewSecret("4711"), flashback.NewSecret("p/w"), flashback.NewSecret(""), flashback.NewSecret("körper")}
	request := flashback.Request{
		Method: "POST", Path: "/x/{code}/4711", Segments: map[string]string{"code": "p/w"}, Query: url.Values{"4711": {"p/w"}},
		Body: map[string]string{"password": "körper"}, Secrets: secrets, Name: "do 4711",
	}
	shown := func(text string) []string {
		var found []string
		for _, secret := range []string{"4711", "p/w", "p%2Fw", "körper", "k%C3%B6rper", `k\u00f6rper`} {
			if strings.Contains(text, secret) {
				found = append(found, secret)
			}
		}
		return found
	}
	for name, responses := range map[string][]httpmock.Responder{
		"an echo": {says(422, `{"success":false,"message":"the code 4711, p\/w, k\u00f6rper or p%2Fw is wrong"}`, "X-Echo", "4711")},
		"a transport error": {func(req *http.Request) (*http.Response, error) {
			return nil, &url.Error{Op: "Post", URL: req.URL.String(), Err: io.EOF}
		}},
		"a redirect": {says(302, "", "Location", "https://h.example/4711/k%C3%B6rper?x=p/w")},
		"a 429":      {says(429, `{"message":"4711"}`), says(403, `{"message":"körper"}`)},
	} {
		var log bytes.Buffer
		logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		err := newWire(t, responses...).client(flashback.WithLogger(logger)).Do(t.Context(), request, nil)
		e := asError(t, err)
		assert.Empty(t, shown(fmt.Sprintf("%v %#v %s %s", e, e.Header, e.Body, e.URL)), name)
		encoded, err := json.Marshal(e)
		require.NoError(t, err)
		assert.Empty(t, shown(string(encoded)), name)
		assert.Empty(t, shown(log.String()), name)
	}
	for _, change := range []func(*flashback.Request){
		func(r *flashback.Request) { r.Path = "/x/4711{" },
		func(r *flashback.Request) { r.Body = &node{} },
		func(r *flashback.Request) { r.Segments = map[string]string{"4711": ""} },
	} {
		bad := request
		change(&bad)
		err := newWire(t).client().Do(t.Context(), bad, nil)
		require.ErrorIs(t, err, flashback.ErrInvalidArgument)
		assert.Empty(t, shown(err.Error()))
	}
	var response flashback.Response
	w := newWire(t, says(200, "", "X-Echo", "code 4711"))
	require.NoError(t, w.client().Do(flashback.WithResponse(t.Context(), &response), request, nil))
	assert.Equal(t, "code [redacted]", response.Header.Get("X-Echo"))
	assert.Equal(t, "https://backend.flashback.tech/x/p%2Fw/4711?4711=p%2Fw", w.sent()[0].URL.String(), "what is sent is sent")
}

func TestTheWordsOfAQueryAreRedactedByTheirLength(t *testing.T) {
	t.Parallel()
	request := flashback.Request{Method: "GET", Path: "/workspaces", Query: url.Values{"kind": {"workspaces"}, "cursor": {"0123456789"}, "code": {"482913"}}}
	const link = `<https://h.example/workspaces?cursor=0123456789&kind=workspaces>; rel="next"`
	var response flashback.Response
	w := newWire(t, says(200, "[]", "Link", link, "X-Echo", wireToken))
	require.NoError(t, w.client().Do(flashback.WithResponse(t.Context(), &response), request, nil))
	assert.Equal(t, link, response.Header.Get("Link"), "the next page's link works")
	assert.Equal(t, "[redacted]", response.Header.Get("X-Echo"))

	err := newWire(t, says(422, `{"message":"no 0123456789, no 482913"}`, "Link", link)).client().Do(t.Context(), request, nil)
	e := asError(t, err)
	assert.Equal(t, "no [redacted], no 482913", e.Message)
	assert.NotContains(t, e.Header.Get("Link"), "0123456789")
	assert.Equal(t, "https://backend.flashback.tech/workspaces?code=&cursor=&kind=", e.URL, "keys show, and the path is what it is")
}

func TestATypedNilBodyIsNone(t *testing.T) {
	t.Parallel()
	for _, body := range []any{nil, (*square)(nil), map[string]int(nil), []int(nil), json.RawMessage(nil), []byte(nil), (*node)(nil), (*strings.Reader)(nil)} {
		w := newWire(t, says(200, ""))
		require.NoError(t, w.client().Do(t.Context(), flashback.Request{Method: "POST", Path: "/x", Body: body}, nil))
		assert.Nil(t, w.sent()[0].Body, "%T", body)
		assert.Empty(t, w.sent()[0].Header.Get("Content-Type"))
	}
}

func TestTheErrorOfABodyThatDoesNotFitIsWhole(t *testing.T) {
	t.Parallel()
	var target struct {
		Data struct {
			Buckets []struct {
				ID, Name, Region, StorageType, Endpoint, CreatedBy string
				Repositories                                       []struct{ ID, Name, Description string }
			}
		}
	}
	err := newWire(t, says(200, `{"data":{"buckets":{}}}`)).client().Do(t.Context(), flashback.Request{Method: "GET", Path: "/organization/{id}/buckets", Segments: map[string]string{"id": "x"}}, &target)
	require.ErrorContains(t, err, "got JSON with object, which does not fit ")
	require.ErrorContains(t, err, " of type slice (GET https://")
	err = newWire(t, says(200, `[]`)).client().Do(t.Context(), flashback.Request{Method: "GET", Path: "/x"}, &square{})
	require.ErrorContains(t, err, "got JSON with array, which does not fit the target of type flashback_test.square (GET ")
}

// 100,000 paths, each of which is a name of its own, leave no gate behind.
//
//nolint:paralleltest // It reads the heap of the whole process.
func TestANameThatIsUsedOnceCostsNoMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a second")
	}
	client, err := flashback.NewClient(wireToken, flashback.WithHTTPClient(&http.Client{Transport: roundTripper(func(req *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 404, Body: io.NopCloser(strings.NewReader(`{"message":"no"}`)), Request: req}, nil
	})}))
	require.NoError(t, err)
	inUse := func() uint64 {
		var stats runtime.MemStats
		runtime.GC() //nolint:revive // It is the subject.
		runtime.ReadMemStats(&stats)
		return stats.HeapAlloc
	}
	call := func(n int) {
		for i := range n {
			err := client.Do(context.Background(), flashback.Request{Method: "GET", Path: fmt.Sprintf("/bucket/%d", i)}, nil)
			require.ErrorIs(t, err, flashback.ErrNotFound)
		}
	}
	call(10)
	before := inUse()
	call(100_000)
	grown := int64(inUse()) - int64(before) //nolint:gosec // Both are small.
	t.Logf("100,000 paths leave %d KiB behind", grown/1024)
	assert.Less(t, grown, int64(2<<20))
	runtime.KeepAlive(client)
}
