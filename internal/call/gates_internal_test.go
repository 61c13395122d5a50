package call

import (
	"fmt"
	"net/http"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/flashbacknetwork/flashback-go/internal/attempt"
	"github.com/flashbacknetwork/flashback-go/internal/throttle"
)

func TestNamesThatAreUsedOnceKeepFewGates(t *testing.T) {
	t.Parallel()
	var g Gates
	for i := range 10 * idleGates {
		name := fmt.Sprint("call ", i)
		g.enter(name)
		g.leave(name)
	}
	assert.Len(t, g.byName, idleGates)
}

func TestAGateThatACallUsesIsKept(t *testing.T) {
	t.Parallel()
	var g Gates
	for i := range 2 * idleGates {
		g.enter(fmt.Sprint("call ", i))
	}
	used := g.enter("used")
	g.enter("used")
	g.leave("used") // One call still uses it.
	assert.Same(t, used, g.enter("used"))
}

func TestACallThatHasEndedUsesNoGate(t *testing.T) {
	t.Parallel()
	c := Client{
		Gates: new(Gates), Clock: new(Clock),
		Sender: attempt.Sender{Transport: http.NewFileTransportFS(fstest.MapFS{})},
	}
	c.Do(t.Context(), &Op{Name: "see", Method: http.MethodGet, Auth: Anonymous}, Input{Path: "/things"})
	require.Contains(t, c.Gates.byName, "see")
	assert.Zero(t, c.Gates.byName["see"].calls)
}

func TestAGateThatMattersToTheNextCallIsKept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var g Gates
		for i := range 2 * idleGates {
			g.enter(fmt.Sprint("call ", i))
		}
		gate := g.enter("refused")
		var position throttle.Position
		ticket, err := gate.Wait(t.Context(), &position, throttle.Limits{FirstWait: time.Second, MaxRetryAfter: time.Hour})
		require.NoError(t, err)
		gate.Done(ticket, throttle.Outcome{Result: throttle.RateLimited, RetryAfter: time.Minute, Status: 429})
		g.leave("refused")
		assert.Same(t, gate, g.enter("refused"))
	})
}
