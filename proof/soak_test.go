package proof_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	flashback "github.com/flashbacknetwork/flashback-go"
	"github.com/flashbacknetwork/flashback-go/flashbacktest"
)

// TestManyCallsAtOnce is for the race detector: 64 goroutines share one client,
// among mixed faults, cancellations and tokens that are renewed and revoked.
func TestManyCallsAtOnce(t *testing.T) {
	t.Parallel()
	const workers, calls = 64, 20
	backend := flashbacktest.New(t)

	var mu sync.Mutex
	random := rand.New(rand.NewPCG(3, 4))
	dice := func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return random.IntN(n)
	}
	backend.Decide(func(*http.Request) flashbacktest.Fault {
		roll := dice(3 * len(endings))
		switch {
		case dice(1500) == 0:
			return flashbacktest.Respond(429, "")
		case roll >= len(endings), endings[roll].fault.Lose == flashbacktest.Stall, endings[roll].fault.Status == 429:
			return flashbacktest.None()
		}
		return endings[roll].fault
	})

	var token atomic.Pointer[string]
	first := backend.Token()
	token.Store(&first)
	client := backend.ClientWithToken("", flashback.WithOutageWait(time.Minute),
		flashback.WithAttemptTimeout(100*time.Millisecond),
		flashback.WithTokenSource(func(context.Context) (string, error) { return *token.Load(), nil }))
	renewing, stop := context.WithCancel(t.Context())
	var renewal sync.WaitGroup
	renewal.Go(func() {
		for renewing.Err() == nil {
			renewed := backend.AddToken("owner")
			old := token.Swap(&renewed)
			select {
			case <-time.After(5 * time.Millisecond): // for those who have asked already
			case <-renewing.Done():
			}
			backend.RevokeToken(*old)
		}
	})

	var succeeded atomic.Int64
	var group sync.WaitGroup
	for worker := range workers {
		group.Go(func() {
			for i := range calls {
				id := fmt.Sprintf("user-%d-%d", worker, i)
				active := dice(4) == 0
				if backend.AddDeletedUser(id); active {
					backend.AddUser(flashbacktest.User{ID: id})
				}
				ctx, cancel := context.WithCancel(context.Background())
				if dice(10) == 0 {
					time.AfterFunc(time.Duration(dice(5000))*time.Microsecond, cancel)
				}
				got, err := client.Organization.Users.Activate(ctx, id)
				user, _ := backend.User(id)
				var e *flashback.Error
				switch {
				case err == nil:
					succeeded.Add(1)
					assert.False(t, user.Deleted(), "%+v", got)
					assert.True(t, !active || got.Recovered, "%+v", got)
				case !assert.ErrorAs(t, err, &e): //nolint:testifylint // not in the test's own goroutine
				case errors.Is(err, flashback.ErrUserNotDeleted):
					assert.True(t, active, "%v", err)
				case !e.OutcomeUnknown:
					assert.Equal(t, active, !user.Deleted(), "%v", err)
				}
				cancel()
			}
		})
	}
	group.Wait()
	stop()
	renewal.Wait()
	assert.Positive(t, succeeded.Load()) // how many depends on the machine
	t.Logf("%d of %d calls succeeded", succeeded.Load(), workers*calls)
}
