package flashback_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	flashback "github.com/flashbacknetwork/flashback-go"
)

const activated = `{"success":true,"message":"User activated successfully"}`

// memory answers every request from memory.
type memory struct{}

func (memory) RoundTrip(req *http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode:    http.StatusOK,
		Header:        http.Header{"Content-Type": {"application/json"}},
		Body:          io.NopCloser(bytes.NewReader([]byte(activated))),
		ContentLength: int64(len(activated)),
		Request:       req,
	}, nil
}

// byHand is the call as one writes it with net/http.
func byHand(ctx context.Context, hc *http.Client, base, token, id string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/organization/users/"+url.PathEscape(id)+"/activate", nil)
	if err != nil {
		return "", err
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := hc.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", err
	}
	var envelope struct {
		Success bool   `json:"success"`
		Message string `json:"message"`
	}
	err = json.Unmarshal(body, &envelope)
	return envelope.Message, err
}

//nolint:paralleltest // AllocsPerRun counts the allocations of the whole process.
func TestACallAllocatesNoMoreThanOneByHand(t *testing.T) {
	client, err := flashback.NewClient("access-token", flashback.WithHTTPClient(&http.Client{Transport: memory{}}))
	require.NoError(t, err)
	hc := &http.Client{Transport: memory{}, Timeout: 30 * time.Second}

	ours := testing.AllocsPerRun(1000, func() {
		_, err = client.Organization.Users.Activate(t.Context(), "user-1")
	})
	require.NoError(t, err)
	hand := testing.AllocsPerRun(1000, func() {
		_, err = byHand(t.Context(), hc, flashback.DefaultBaseURL, "access-token", "user-1")
	})
	require.NoError(t, err)
	assert.LessOrEqual(t, ours, hand)
	t.Logf("%v allocations, by hand %v", ours, hand)
}

func BenchmarkActivate(b *testing.B) {
	client, err := flashback.NewClient("access-token", flashback.WithHTTPClient(&http.Client{Transport: memory{}}))
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		_, err = client.Organization.Users.Activate(b.Context(), "user-1")
	}
	require.NoError(b, err)
}

func BenchmarkByHand(b *testing.B) {
	hc := &http.Client{Transport: memory{}, Timeout: 30 * time.Second}
	b.ReportAllocs()
	var err error
	for b.Loop() {
		_, err = byHand(b.Context(), hc, flashback.DefaultBaseURL, "access-token", "user-1")
	}
	require.NoError(b, err)
}
