package flashback

import (
	"context"
	"net/http"
	"time"

	"github.com/flashbacknetwork/flashback-go/internal/call"
	"github.com/flashbacknetwork/flashback-go/internal/verdict"
)

// Response is what came of a call.
type Response struct {
	// As in [Error], or of the read-back that settled it.
	StatusCode int         `json:"statusCode"`
	Header     http.Header `json:"header"`
	RequestID  string      `json:"requestId"`
	Attempts   int         `json:"attempts"`
	// Recovered means that an ambiguous attempt was settled as a success.
	Recovered bool          `json:"recovered"`
	Throttled time.Duration `json:"throttled"`
	Duration  time.Duration `json:"duration"`
}

type responseKey struct{}

// WithResponse returns a context with which a call fills response.
func WithResponse(ctx context.Context, response *Response) context.Context {
	return context.WithValue(ctx, responseKey{}, response)
}

// responseFor returns what a call with ctx is to fill, emptied, or nil.
func responseFor(ctx context.Context) *Response {
	if ctx == nil {
		return nil
	}
	response, _ := ctx.Value(responseKey{}).(*Response)
	if response != nil {
		*response = Response{}
	}
	return response
}

func responseOf(o *call.Outcome, took time.Duration) Response {
	r := Response{Attempts: o.Attempts, Recovered: o.Verdict == verdict.Recovered, Throttled: o.Throttled, Duration: took}
	if o.Response != nil {
		r.StatusCode, r.Header = o.Response.Status, o.Response.Header
		r.RequestID = call.RequestID(r.Header)
	}
	return r
}

// Attempt is one request of a call.
type Attempt struct {
	// Op is as in [Error].
	Op string
	// Number is 1 for the first request of a call.
	Number   int
	ReadBack bool
}

// AttemptFrom returns the attempt of a request, by its context, for transports that trace
// or count.
func AttemptFrom(ctx context.Context) (Attempt, bool) {
	a, ok := call.AttemptFrom(ctx)
	return Attempt(a), ok
}
