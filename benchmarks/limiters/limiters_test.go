package main

import (
	"context"
	"errors"
	"net/http"
	"testing"
)

// A caller that is right is not found wrong, and one that tells the opposite of what
// happened is, for each of its calls.
//
//nolint:paralleltest // It replaces the callers.
func TestCount(t *testing.T) {
	const calls = 50
	honest := callers
	defer func() { callers = honest }()
	callers = append([]caller{
		{"says yes and sends nothing", func(string) (activate, error) {
			return func(context.Context, string) error { return nil }, nil
		}},
		{"says no to what was done", func(url string) (activate, error) {
			return func(ctx context.Context, id string) error {
				req, err := newRequest(ctx, url, id)
				if err != nil {
					return err
				}
				resp, err := http.DefaultClient.Do(req)
				if err != nil {
					return err
				}
				return errors.Join(errors.New("no"), resp.Body.Close())
			}, nil
		}},
	}, honest...)
	for i, c := range callers {
		server, _ := backend(0)
		told, err := task{URL: server.url, Caller: c.name, Clients: 2, Workers: 4, Calls: calls, Within: *within}.do(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		active, err := server.active(t.Context())
		server.stop()
		if err != nil {
			t.Fatal(err)
		}
		want := 0
		if i < 2 {
			want = calls
		}
		if lost, unknown, wrong := told.count(active); wrong != want || unknown != 0 || lost != want*i {
			t.Errorf("%s: %d lost, %d unknown, %d wrong", c.name, lost, unknown, wrong)
		}
	}
}
