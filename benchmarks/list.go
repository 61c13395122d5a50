package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"runtime"
	"time"
)

// measureLists reads a list of users with all callers in turn, from memory.
func measureLists(users, rounds int) ([]speed, error) {
	body := listOf(users)
	times, speeds := make([][]float64, len(callers)), make([]speed, len(callers))
	for range rounds {
		for _, i := range rand.Perm(len(callers)) { //nolint:gosec // So that nobody always comes after the same one; no secret.
			c := callers[i]
			s, err := c.open("https://api.example.com", token, memory(func(req *http.Request) *http.Response {
				resp := respond(req, http.StatusOK, "")
				resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
				return resp
			}))
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.name, err)
			}
			var before, after runtime.MemStats
			runtime.GC() //nolint:revive // So that nobody collects what another left.
			runtime.ReadMemStats(&before)
			begun := time.Now()
			n, err := s.list(context.Background())
			took := time.Since(begun)
			runtime.ReadMemStats(&after)
			if err == nil && n != users {
				err = fmt.Errorf("%d users of %d", n, users)
			}
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.name, err)
			}
			times[i] = append(times[i], float64(took))
			speeds[i].allocs, speeds[i].bytes = int64(after.Mallocs-before.Mallocs), int64(after.TotalAlloc-before.TotalAlloc) //nolint:gosec // They are small.
		}
	}
	for i := range speeds {
		ratios := make([]float64, rounds)
		for round := range rounds {
			ratios[round] = times[i][round] / times[hand][round]
		}
		speeds[i].ratio = median(ratios)
	}
	for i := range speeds {
		speeds[i].time = time.Duration(median(times[i])) // which sorts them
	}
	return speeds, nil
}

func listOf(users int) []byte {
	var body bytes.Buffer
	body.WriteString(`{"success":true,"data":[`)
	for i := range users {
		if i > 0 {
			body.WriteByte(',')
		}
		deletedAt := "null"
		if i%10 == 0 {
			deletedAt = `"2026-11-20T12:34:56.789Z"`
		}
		fmt.Fprintf(&body, `{"id":"550e8400-e29b-41d4-a716-%012d","email":"user-%d@example.com","name":"Jane","lastName":"D\u00f6e","orgId":"org-1",`+
			`"orgRole":2,"orgRoleDescription":"WORKSPACES","orgRoles":[0,1,2],"validated":true,"deletedAt":%s}`, i, i, deletedAt)
	}
	fmt.Fprintf(&body, `],"total":%d}`, users)
	return body.Bytes()
}
