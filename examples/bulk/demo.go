package main

import (
	"fmt"
	"math/rand/v2"
	"net/http"

	"github.com/flashbacknetwork/flashback-go/flashbacktest"
)

// newDemo starts a fake backend with many deleted users, faults and a rate limit. It
// ends with the process.
func newDemo() *flashbacktest.Server {
	demo := flashbacktest.NewServer()
	for i := range 5000 {
		demo.AddDeletedUser(fmt.Sprintf("user-%04d", i+1))
	}
	demo.LimitRate(400, 40)
	demo.Decide(trouble)
	return demo
}

// trouble is what can go wrong with one in ten requests.
func trouble(r *http.Request) flashbacktest.Fault {
	faults := []flashbacktest.Fault{
		flashbacktest.LoseResponse(flashbacktest.CutResponse),
		flashbacktest.LoseResponse(flashbacktest.CutBody),
		flashbacktest.Drop(),
		flashbacktest.ApplyThenRespond(http.StatusBadGateway, "<html>502 Bad Gateway</html>"),
		flashbacktest.Respond(http.StatusServiceUnavailable, ""),
	}
	if n := rand.N(10 * len(faults)); r.Method == http.MethodPost && n < len(faults) { //nolint:gosec // No secret.
		return faults[n]
	}
	return flashbacktest.None()
}
