package proof_test

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

// fromMemory responds to every request from memory.
func fromMemory(req *http.Request) (*http.Response, error) {
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

// pair is a client and what makes the same call by hand.
func pair(tb testing.TB, base string, transport http.RoundTripper) (sdk, hand func() error) {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	tb.Cleanup(cancel)
	ours := &http.Client{Transport: transport}
	var opts []flashback.Option
	if transport != nil {
		opts = append(opts, flashback.WithHTTPClient(ours))
	}
	client := clientOf(tb, base, opts...)
	hc := &http.Client{Transport: transport, Timeout: 30 * time.Second}
	if transport == nil {
		hc.Transport = flashback.NewTransport()
		tb.Cleanup(hc.CloseIdleConnections)
	}
	sdk = func() error {
		_, err := client.Organization.Users.Activate(ctx, "user-1")
		return err
	}
	hand = func() error {
		_, err := byHand(ctx, hc, base, aToken, "user-1")
		return err
	}
	return sdk, hand
}

func respondActivated(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, activated) }

// allocations counts those of a call.
func allocations(t *testing.T, call func() error) float64 {
	t.Helper()
	var err error
	n := testing.AllocsPerRun(1000, func() { err = call() })
	require.NoError(t, err)
	return n
}

//nolint:paralleltest // AllocsPerRun counts the allocations of the whole process.
func TestACallAllocatesAtMostATenthMoreThanOneByHand(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates too")
	}
	for name, test := range map[string]struct {
		base      string
		transport http.RoundTripper
	}{
		"in memory":     {flashback.DefaultBaseURL, roundTripper(fromMemory)},
		"over loopback": {served(t, respondActivated).URL, nil},
	} {
		t.Run(name, func(t *testing.T) {
			sdk, hand := pair(t, test.base, test.transport)
			ours, theirs := allocations(t, sdk), allocations(t, hand)
			t.Logf("%v allocations, by hand %v", ours, theirs)
			assert.LessOrEqual(t, ours, 1.1*theirs)
		})
	}
}

// Both make the same request. What decoding the response allocates is encoding/json's.
//
//nolint:paralleltest // AllocsPerRun counts the allocations of the whole process.
func TestDoAllocatesAtMost3MoreThanACallOfItsOwn(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates too")
	}
	client := clientOf(t, flashback.DefaultBaseURL, flashback.WithHTTPClient(&http.Client{Transport: roundTripper(fromMemory)}))
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	var envelope struct{ Message string }
	do := func(into any) func() error {
		return func() error {
			envelope.Message = "" // what has something already is decoded into twice
			return client.Do(ctx, flashback.Request{
				Method: http.MethodPost, Path: "/organization/users/{userId}/activate",
				Segments: map[string]string{"userId": "user-1"}, Retry: flashback.RetryIdempotent,
			}, into)
		}
	}
	activate := allocations(t, func() error {
		_, err := client.Organization.Users.Activate(ctx, "user-1")
		return err
	})
	decode := allocations(t, func() error { return json.Unmarshal([]byte(activated), &envelope) })
	plain, decoding := allocations(t, do(nil)), allocations(t, do(&envelope))
	assert.LessOrEqual(t, plain, activate+3)
	assert.LessOrEqual(t, decoding, activate+3+decode)
	assert.Equal(t, "User activated successfully", envelope.Message)
	t.Logf("%v allocations, decoding %v (encoding/json alone %v), Activate %v", plain, decoding, decode, activate)
}

func BenchmarkActivate(b *testing.B) {
	for name, test := range map[string]struct {
		base      string
		transport http.RoundTripper
	}{
		"in memory":     {flashback.DefaultBaseURL, roundTripper(fromMemory)},
		"over loopback": {served(b, respondActivated).URL, nil},
	} {
		sdk, hand := pair(b, test.base, test.transport)
		for who, call := range map[string]func() error{"sdk": sdk, "by hand": hand} {
			b.Run(name+", "+who, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					require.NoError(b, call())
				}
			})
		}
	}
}
