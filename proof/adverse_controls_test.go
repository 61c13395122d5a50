package proof_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// The controls of the adverse worlds do what is usual and almost right: they must be found wrong.

// readsBack is one GET of a control. It is nil unless a response came that has what is read.
func readsBack(ctx context.Context, n *network, url string, into any) (header http.Header) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil
	}
	resp, err := (&http.Client{Transport: n, Timeout: 30 * time.Second}).Do(req)
	if err != nil {
		return nil
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK || json.NewDecoder(resp.Body).Decode(into) != nil {
		return nil
	}
	return resp.Header
}

// byNewestDate deletes, and judges a read-back by its Date, with two seconds of tolerance.
func byNewestDate(ctx context.Context, r run, n *network) told {
	c := &http.Client{Transport: n, Timeout: 30 * time.Second}
	begun := time.Now()
	unsure := false
	for range r.retries {
		req, err := r.op.request(ctx)
		if err != nil {
			return told{err: err}
		}
		body, status, err := exchange(c, req)
		switch {
		case err == nil && saysSuccess(body):
			return told{}
		case err == nil && strings.Contains(string(body), "success"), status >= 300 && status < 500 && status != http.StatusTooManyRequests:
			err = errors.New("refused")
		default:
			unsure, err = true, nil
		}
		var seen person
		header := readsBack(ctx, n, baseURL, &seen)
		date, dateErr := http.ParseTime(header.Get("Date"))
		if dateErr == nil && seen.DeletedAt != nil && !seen.DeletedAt.Before(date.Add(time.Until(begun)-2*time.Second)) {
			return told{recovered: true}
		}
		if err != nil {
			return told{err: err, unknown: unsure || seen.ID == ""}
		}
	}
	return told{err: errors.New("no success"), unknown: true}
}

// byFoldedAddress creates, and believes a list and any address that folds to the one it asked for.
func byFoldedAddress(ctx context.Context, r run, n *network) told {
	const users = "https://backend.flashback.tech/organization/users"
	c := &http.Client{Transport: n, Timeout: 30 * time.Second}
	for range r.retries {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, users, strings.NewReader(asJSON(map[string]any{
			"email": address, "firstName": newName, "lastName": "Last",
		})))
		if err != nil {
			return told{err: err}
		}
		body, status, err := exchange(c, req)
		var created struct{ Data person }
		switch _ = json.Unmarshal(body, &created); {
		case err == nil && saysSuccess(body):
			if created.Data.Email != "" && created.Data.Email != address {
				return told{err: errors.New("another user"), unknown: true}
			}
			return told{}
		case err == nil && strings.Contains(string(body), "success"), status >= 300 && status < 500 && status != http.StatusTooManyRequests:
			return told{err: errors.New("refused")}
		}
		var list struct{ Data []person }
		header := readsBack(ctx, n, users, &list)
		if header == nil || header.Get("Age") > "0" {
			return told{err: errors.New("no list"), unknown: true}
		}
		if slices.ContainsFunc(list.Data, func(p person) bool { return strings.EqualFold(p.Email, address) }) {
			return told{}
		}
	}
	return told{err: errors.New("no success"), unknown: true}
}

// TestAdverseControls plays the controls in the adverse worlds in which they are wrong.
func TestAdverseControls(t *testing.T) {
	t.Parallel()
	if raceEnabled {
		t.Skip("it takes runs by the thousand")
	}
	for _, tt := range []struct {
		name, world string
		op          *operation
		call        caller
		kind        string // of broken promise that must be found
	}{
		{"by the newest Date", "delays", del, byNewestDate, falseRecover},
		{"by the newest Date", "two clocks", del, byNewestDate, falseFailure},
		{"by the newest Date", "two nodes", del, byNewestDate, falseFailure},
		{"by the newest Date", "odd responses", del, byNewestDate, falseFailure},
		{"by the folded address", "a server that normalizes", create, byFoldedAddress, falseUnknown},
		{"by the folded address", "letters that fold", create, byFoldedAddress, falseSuccess},
		{"by the folded address", "odd responses", create, byFoldedAddress, falseFailure},
		{"by the folded address", "a fresh Age", create, byFoldedAddress, givenUp},
		{"by the folded address", "a list in pages", create, byFoldedAddress, twice},
		{"go-retryablehttp", "a gateway", activate, plainly, falseFailure},
	} {
		t.Run(tt.name+"/"+tt.world+"/"+tt.op.name, func(t *testing.T) {
			t.Parallel()
			w := adverseWorlds[slices.IndexFunc(adverseWorlds, func(w adverse) bool { return w.name == tt.world })]
			w.ops = []*operation{tt.op}
			runs, wrong := 3_000, 0
			w.play(t, tt.call, runs, func(p *played) {
				if kind, _ := p.verdict(); kind == tt.kind && !p.beyondPromise() {
					wrong++
				}
			})
			t.Logf("%-24s %-24s %-10s %6d runs %6d wrong", tt.name, tt.world, tt.op.name, runs, wrong)
			assert.Positive(t, wrong, "a judge who finds no fault with the control finds none at all")
		})
	}
}
