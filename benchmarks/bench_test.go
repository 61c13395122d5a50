package main

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
)

func BenchmarkMemory(b *testing.B) { bench(b, "https://api.example.com", memory(success)) }

func BenchmarkLoopback(b *testing.B) {
	server, _ := loopback(writeSuccess)
	defer server.Close()
	bench(b, server.URL, nil)
}

func bench(b *testing.B, base string, rt http.RoundTripper) {
	b.Helper()
	names := strings.NewReplacer(" ", "-", "/", "-") // benchstat cuts names at a slash
	for _, c := range callers {
		b.Run("sdk="+names.Replace(c.name), func(b *testing.B) {
			s, err := c.open(base, token, rt)
			if err != nil {
				b.Fatal(err)
			}
			if err := loop(b, s.activate); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// TestAllMakeTheSameCall holds the comparison to its word.
func TestAllMakeTheSameCall(t *testing.T) {
	t.Parallel()
	for _, c := range withTuned() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for name, test := range map[string]struct {
				status  int
				body    string
				success bool
			}{
				"success":           {200, activated, true},
				"false":             {200, `{"success":false,"message":"No"}`, false},
				"forbidden":         {403, `{"success":false,"message":"No"}`, false},
				"a page":            {200, page, false},
				"not found, a page": {404, page, false},
			} {
				requests := 0
				s, err := c.open("https://api.example.com", token, memory(func(req *http.Request) *http.Response {
					requests++
					if got := req.Header.Get("Authorization"); got != "Bearer "+token {
						t.Errorf("Authorization: %q", got)
					}
					if got := req.Header.Get("Accept"); got != "application/json" {
						t.Errorf("Accept: %q", got)
					}
					if req.Method != http.MethodPost || !strings.HasSuffix(req.URL.EscapedPath(), "/organization/users/a%2Fb/activate") {
						t.Errorf("%s %s", req.Method, req.URL)
					}
					if req.Body != nil {
						if body, _ := io.ReadAll(req.Body); len(body) > 0 {
							t.Errorf("body %q", body)
						}
					}
					return respond(req, test.status, test.body)
				}))
				if err != nil {
					t.Fatal(err)
				}
				if name == "a page" && c.name == callers[ours].name {
					continue // it retries, for some seconds
				}
				if err := s.activate(context.Background(), "a/b"); (err == nil) != test.success {
					t.Errorf("%s: %v", name, err)
				}
				if requests != 1 {
					t.Errorf("%s: %d requests", name, requests)
				}
			}
		})
	}
}

func TestVersionsAreKnown(t *testing.T) {
	t.Parallel()
	for _, c := range callers {
		if v := c.version(); !strings.HasPrefix(v, "v") && !strings.HasPrefix(v, "go") {
			t.Errorf("%s: %q", c.name, v)
		}
	}
}

func TestABrokenLimitIsFound(t *testing.T) {
	t.Parallel()
	r := &results{
		cost:     cost{memory: []speed{{allocs: 46}, {allocs: 46}}, list: []speed{{allocs: 1000}, {allocs: 1200}}, crowd: []crowd{ours: {connections: 128}}},
		failures: []failures{ours: {limited: []outcome{{requests: 3300}, {requests: 1000}, {requests: 664}}}},
		nginx:    [][2]verdicts{ours: {}},
	}
	if broken := r.limits(); broken != nil {
		t.Error(broken)
	}
	r.cost.memory[ours].allocs++
	r.cost.list[ours].allocs++
	r.cost.crowd[ours].connections++
	f := &r.failures[ours]
	f.verdicts.givenUp++
	f.limited[0].lost++
	f.limited[1].requests++
	f.limited[2].requests++
	r.nginx[ours][0].wrong++
	r.nginx[ours][1].givenUp++
	if broken := r.limits(); len(broken) != 9 {
		t.Error(broken)
	}
}
