package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
)

// Over real sockets, each SDK makes the call of its platform, and a repeat is
// responded to as the report says.
func TestManagersSpeakTheirProtocol(t *testing.T) {
	t.Parallel()
	for _, c := range managers {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h, handler := newTheatre(c.api)
			server := httptest.NewServer(handler)
			defer server.Close()
			bearer := token
			if c.api == nil {
				bearer = h.backend.Token()
			}
			s, err := c.open(server.URL, bearer, nil)
			if err != nil {
				t.Fatal(err)
			}
			h.add("user-1")
			h.add("user-2")
			if err := s.activate(t.Context(), "user-1"); err != nil || !h.active("user-1") {
				t.Errorf("first: %v; active: %t", err, h.active("user-1"))
			}
			if h.active("user-2") {
				t.Error("user-2 is active")
			}
			refuses := c.api == nil || c.api.refusal != nil
			if err := s.activate(t.Context(), "user-1"); (err != nil) != refuses {
				t.Errorf("repeat: %v", err)
			}
			if got := len(h.backend.Requests()); got != 2 {
				t.Errorf("%d requests", got)
			}
		})
	}
}

// A request that is not the call, or has no credentials, activates nobody.
func TestAnotherCallIsRefused(t *testing.T) {
	t.Parallel()
	for _, c := range managers[1:] {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h, handler := newTheatre(c.api)
			for auth, status := range map[string]int{"": http.StatusUnauthorized, c.api.auth: http.StatusNotFound} {
				req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/user-1", nil)
				req.Header.Set("Authorization", auth)
				recorder := httptest.NewRecorder()
				handler.ServeHTTP(recorder, req)
				if recorder.Code != status || h.active("user-1") {
					t.Errorf("%q: HTTP %d; active: %t", auth, recorder.Code, h.active("user-1"))
				}
			}
		})
	}
}

// Callers that are wrong are found wrong on every platform.
func TestWrongCallersAreFound(t *testing.T) {
	t.Parallel()
	for _, c := range managers {
		if c.spins {
			continue // in fake time
		}
		t.Run(c.name, func(t *testing.T) {
			open := c.open
			// It says success, whatever came.
			c.open = func(base, token string, rt http.RoundTripper) (*session, error) {
				s, err := open(base, token, rt)
				if err != nil {
					return nil, err
				}
				return &session{activate: func(ctx context.Context, id string) error {
					_ = s.activate(ctx, id)
					return nil
				}}, nil
			}
			honest, err := measureVerdicts(t, caller{api: c.api, open: open, runsOn: c.runsOn}, withoutEmpty)
			if err != nil {
				t.Fatal(err)
			}
			liar, err := measureVerdicts(t, c, withoutEmpty)
			if err != nil {
				t.Fatal(err)
			}
			if honest.givenUp > honest.silent && liar.wrong <= honest.wrong {
				t.Errorf("told success where nothing happened, and wrong in %d calls, as %d before", liar.wrong, honest.wrong)
			}
			// It sends nothing and says success.
			c.open = func(string, string, http.RoundTripper) (*session, error) {
				return &session{activate: func(context.Context, string) error { return nil }}, nil
			}
			if idle, err := measureVerdicts(t, c, withoutEmpty); err != nil || idle.wrong != idle.calls || idle.requests != 0 {
				t.Errorf("%+v, %v", idle, err)
			}
			// It gives up, whatever came.
			c.open = func(base, token string, rt http.RoundTripper) (*session, error) {
				s, err := open(base, token, rt)
				if err != nil {
					return nil, err
				}
				return &session{activate: func(ctx context.Context, id string) error {
					_ = s.activate(ctx, id)
					return errors.New("no")
				}}, nil
			}
			if gaveUp, err := measureVerdicts(t, c, withoutEmpty); err != nil || gaveUp.wrong+gaveUp.givenUp != gaveUp.calls || gaveUp.wrong+gaveUp.silent == 0 {
				t.Errorf("%+v, %v", gaveUp, err)
			}
			t.Logf("honest %+v", honest)
		})
	}
}
