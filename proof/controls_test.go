package proof_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-retryablehttp"
	"github.com/stretchr/testify/assert"

	flashback "github.com/flashbacknetwork/flashback-go"
)

// The controls are clients that must be found wrong: a judge who finds no fault with them
// finds none at all.

const baseURL = "https://backend.flashback.tech/organization/users/" + subject

// request is the request of a control.
func (op *operation) request(ctx context.Context) (*http.Request, error) {
	if op == del {
		return http.NewRequestWithContext(ctx, http.MethodDelete, baseURL, nil)
	}
	return http.NewRequestWithContext(ctx, http.MethodPost, baseURL+"/activate", nil)
}

// exchange sends a request, and fails unless the response says that it was a success.
func exchange(c *http.Client, req *http.Request) (body []byte, status int, err error) {
	resp, err := c.Do(req)
	if err != nil {
		return nil, 0, err
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(resp.Body)
	if err != nil {
		return nil, 0, err
	}
	if resp.StatusCode >= 300 {
		return body, resp.StatusCode, fmt.Errorf("HTTP %d", resp.StatusCode)
	}
	return body, resp.StatusCode, nil
}

func saysSuccess(body []byte) bool {
	var envelope struct{ Success bool }
	return json.Unmarshal(body, &envelope) == nil && envelope.Success
}

// plainly calls with the defaults of go-retryablehttp, as most programs do.
func plainly(ctx context.Context, r run, n *network) told {
	c := retryablehttp.NewClient()
	c.Logger = nil
	c.HTTPClient = &http.Client{Transport: n, Timeout: 30 * time.Second}
	req, err := r.op.request(ctx)
	if err != nil {
		return told{err: err}
	}
	body, _, err := exchange(c.StandardClient(), req)
	if err == nil && !saysSuccess(body) {
		err = errors.New("no success")
	}
	return told{err: err}
}

// believing deletes, and believes a read-back that any date of a deletion is its own.
func believing(ctx context.Context, r run, n *network) told {
	c := &http.Client{Transport: n, Timeout: 30 * time.Second}
	for range r.retries {
		req, err := r.op.request(ctx)
		if err != nil {
			return told{err: err}
		}
		body, status, err := exchange(c, req)
		if err == nil && saysSuccess(body) {
			return told{}
		}
		if status >= 300 && status < 500 {
			return told{err: err}
		}
		look, err := http.NewRequestWithContext(ctx, http.MethodGet, baseURL, nil)
		if err != nil {
			return told{err: err}
		}
		body, _, err = exchange(c, look)
		var seen person
		if err != nil || json.Unmarshal(body, &seen) != nil || seen.ID == "" {
			return told{err: errors.New("nothing seen"), unknown: true}
		}
		if seen.DeletedAt != nil {
			return told{recovered: true}
		}
	}
	return told{err: errors.New("no success"), unknown: true}
}

// Calls of Do that say the wrong repetition.
var (
	calledSafe = &operation{
		name: "do", starts: doIdempotent.starts, asked: doIdempotent.asked,
		call: do(flashback.Request{Method: http.MethodPut, Path: visits, Body: map[string]int{"visits": 7}, Retry: flashback.RetrySafe}, 7),
	}
	calledIdempotent = &operation{
		name: "do", starts: doNotIdempotent.starts, asked: doNotIdempotent.asked, once: true,
		call: do(flashback.Request{Method: http.MethodPost, Path: visits, Retry: flashback.RetryIdempotent}, 1, 2),
	}
)

// TestControls plays the controls in the worlds in which they are wrong.
func TestControls(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		call  caller
		world string
		op    *operation
		kind  string // of broken promise that must be found
	}{
		{"go-retryablehttp", plainly, alone, activate, falseFailure},
		{"go-retryablehttp", plainly, alone, del, falseFailure},
		{"go-retryablehttp", plainly, proxied, activate, falseFailure},
		{"go-retryablehttp", plainly, proxied, del, falseFailure},
		{"a read-back that believes any date", believing, lagging, del, falseRecover},
		{"a read-back that believes any refusal", believing, proxied, del, falseFailure},
		{"a PUT that is called safe", sdk, alone, calledSafe, falseFailure},
		{"a POST that counts and is called idempotent", sdk, alone, calledIdempotent, twice},
	}
	for _, tt := range tests {
		t.Run(strings.Join([]string{tt.name, tt.world, tt.op.name}, "/"), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				runs, wrong := 0, 0
				judge := func(p *played) {
					runs++
					if kind, _ := p.verdict(); kind == tt.kind && !p.beyondPromise() {
						wrong++
					}
				}
				for _, m := range allManners {
					for _, start := range tt.op.starts {
						r := run{world: tt.world, op: tt.op, start: start, manners: m, view: truth, retries: 8}
						if tt.world == lagging {
							r.view, r.lagged = replica, isDeleted
						}
						explore(r, tt.call, upTo(2, 0), judge)
					}
				}
				t.Logf("%-40s %-16s %-10s %6d runs %6d wrong", tt.name, tt.world, tt.op.name, runs, wrong)
				assert.Greater(t, wrong, runs/100, "a judge who finds no fault with the control finds none at all")
			})
		})
	}
}
