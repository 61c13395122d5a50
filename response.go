package flashback

import (
	"context"
	"net/http"
	"time"

	"github.com/flashbacknetwork/flashback-go/internal/call"
	"github.com/flashbacknetwork/flashback-go/internal/verdict"
)

// Response is what came of a call; see [WithResponse].
type Response struct {
	// StatusCode is that of the last response; 0 if none came.
	StatusCode int `json:"statusCode"`
	// Header and RequestID are as in [Error].
	Header    http.Header `json:"header"`
	RequestID string      `json:"requestId"`
	Attempts  int         `json:"attempts"`
	// Recovered means that an ambiguous attempt was settled as a success.
	Recovered bool          `json:"recovered"`
	Throttled time.Duration `json:"throttled"`
	Duration  time.Duration `json:"duration"`
}

type responseKey struct{}

// WithResponse returns a context with which a call fills response, when it is over.
//
//	var response flashback.Response
//	user, err := client.Organization.Users.Get(flashback.WithResponse(ctx, &response), userID)
func WithResponse(ctx context.Context, response *Response) context.Context {
	return context.WithValue(ctx, responseKey{}, response)
}

// responseFor is what a call with ctx is to fill, emptied, or nil.
func responseFor(ctx context.Context) *Response {
	if ctx == nil {
		return nil
	}
	response, _ := ctx.Value(responseKey{}).(*Response)
	if response != nil {
		*response = Response{} // a call that sends nothing has none
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

// Attempt is one request of a call, as an http.RoundTripper sees it.
type Attempt struct {
	// Op is the operation, such as "organization.users.activate".
	Op string
	// Number is 1 for the first request of a call.
	Number int
	// ReadBack means that the request is a read-back.
	ReadBack bool
}

// AttemptFrom returns the attempt of a request, by its context, for spans and metrics:
// http.request.resend_count is Number less one. It tells whether there is one.
func AttemptFrom(ctx context.Context) (Attempt, bool) {
	op, number, readBack := call.Current(ctx)
	return Attempt{op, number, readBack}, number > 0
}
