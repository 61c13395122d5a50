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

// trouble is what can go wrong with a request.
func trouble(r *http.Request) flashbacktest.Fault {
	if r.Method != http.MethodPost {
		return flashbacktest.None()
	}
	switch n := rand.N(100); { //nolint:gosec // No secret.
	case n < 3:
		return flashbacktest.LoseResponse(flashbacktest.CutResponse)
	case n < 5:
		return flashbacktest.LoseResponse(flashbacktest.CutBody)
	case n < 6:
		return flashbacktest.Drop()
	case n < 8:
		return flashbacktest.ApplyThenRespond(http.StatusBadGateway, "<html>502 Bad Gateway</html>")
	case n < 10:
		return flashbacktest.Respond(http.StatusServiceUnavailable, "")
	}
	return flashbacktest.None()
}
