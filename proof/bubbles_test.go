package proof_test

import (
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	flashback "github.com/flashbacknetwork/flashback-go"
	"github.com/flashbacknetwork/flashback-go/flashbacktest"
)

// A connection of net/http's can't cross the edge of a bubble, so it is closed before.
func TestAClientWorksOutsideABubbleAndThenInside(t *testing.T) {
	t.Parallel()
	for name, client := range map[string]*flashback.Client{
		"a transport in memory": clientOf(t, flashback.DefaultBaseURL, flashback.WithHTTPClient(&http.Client{Transport: roundTripper(fromMemory)})),
		"the client's own":      clientOf(t, served(t, respondActivated).URL),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for range 2 {
				workers(t, client, 4, 2)
				client.CloseIdleConnections()
				synctest.Test(t, func(t *testing.T) {
					workers(t, client, 4, 2)
					client.CloseIdleConnections()
				})
			}
			workers(t, client, 4, 2)
		})
	}
}

func TestAClientWorksInsideABubbleAndThenOutside(t *testing.T) {
	t.Parallel()
	server := served(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", "1")
		if r.Header.Get("User-Agent")[0] == 'x' {
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		respondActivated(w, r)
	})
	var client *flashback.Client
	synctest.Test(t, func(t *testing.T) {
		client = clientWithoutCleanup(t, server.URL)
		workers(t, client, 4, 2)
		limited, err := client.With(flashback.WithUserAgent("x"), flashback.WithMaxRetries(0))
		require.NoError(t, err)
		_, failure := activateBy(t.Context(), limited) // its gate is that of the bubble's time
		require.ErrorIs(t, failure, flashback.ErrRateLimited)
		client.CloseIdleConnections()
	})
	begun := time.Now()
	workers(t, client, 4, 2)
	client.CloseIdleConnections()
	assert.Less(t, time.Since(begun), 10*time.Second)
}

// The runtime cleans up outside of the bubble, where to touch a channel of the bubble
// ends the process.
func TestAClientThatIsDroppedInABubbleIsCleanedUp(t *testing.T) {
	t.Parallel()
	for range 3 {
		synctest.Test(t, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(respondActivated))
			defer server.Close()
			for range 5 {
				workers(t, clientWithoutCleanup(t, server.URL), 2, 1)
				runtime.GC()
			}
			for range 5 {
				runtime.GC()
				runtime.Gosched()
			}
		})
	}
}

func TestATimeoutOutlivesABubble(t *testing.T) {
	t.Parallel()
	var stall atomic.Bool
	server := served(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		if stall.Load() {
			<-r.Context().Done()
		}
	})
	client := clientOf(t, server.URL, flashback.WithAttemptTimeout(100*time.Millisecond), flashback.WithMaxRetries(0))
	synctest.Test(t, func(t *testing.T) {
		_, err := activateBy(t.Context(), client)
		require.ErrorIs(t, err, flashback.ErrUnexpectedResponse)
	})
	stall.Store(true)
	_, err := activateBy(t.Context(), client)
	require.ErrorContains(t, err, "no complete response within 100ms")
}

func TestACallerTransportInMemoryIsUntouchedByGarbageCollections(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		backend, transport := inMemory(t)
		for range 5 {
			backend.AddDeletedUser("user-1")
			client, err := flashback.NewClient(backend.Token(),
				flashback.WithBaseURL("http://127.0.0.1"), flashback.WithHTTPClient(&http.Client{Transport: transport}))
			require.NoError(t, err)
			backend.Script(flashbacktest.LoseResponse(flashbacktest.CutResponse))
			got, failure := activateBy(t.Context(), client)
			require.Nil(t, failure)
			assert.True(t, got.Recovered)
			runtime.GC()
		}
	})
}
