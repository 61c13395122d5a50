package flashback

import (
	"context"
	"net/http"
	"time"

	"github.com/flashbacknetwork/flashback-go/internal/call"
	"github.com/flashbacknetwork/flashback-go/internal/verdict"
)

// Response is what came of a call, whether it succeeded or not. See [WithResponse].
type Response struct {
	// StatusCode is that of the last response; 0 if none came.
	StatusCode int `json:"statusCode"`
	// Header is that of the last response, without Set-Cookie and at most 64 KiB.
	Header http.Header `json:"header"`
	// RequestID is the server's name for the last response; "" if it gave none.
	RequestID string `json:"requestId"`
	// Attempts counts the requests of the call, with those of read-backs.
	Attempts int `json:"attempts"`
	// Recovered says that an attempt was ambiguous, and things are as asked for.
	Recovered bool `json:"recovered"`
	// Throttled is how long the call waited for its turn, in nanoseconds.
	Throttled time.Duration `json:"throttled"`
	// Duration is how long the call took, in nanoseconds.
	Duration time.Duration `json:"duration"`
}

type responseKey struct{}

// WithResponse returns a context with which a call fills response, when it is over.
//
//	var response flashback.Response
//	user, err := client.Organization.Users.Get(flashback.WithResponse(ctx, &response), userID)
func WithResponse(ctx context.Context, response *Response) context.Context {
	return context.WithValue(ctx, responseKey{}, response)
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
	// ReadBack says that the request reads back what others have done.
	ReadBack bool
}

// AttemptFrom returns the attempt that a request is, by the request's context: for the
// names of spans, for metrics, and for http.request.resend_count, which is one less than
// Number. It tells whether there is one.
func AttemptFrom(ctx context.Context) (Attempt, bool) {
	op, number, readBack := call.Current(ctx)
	return Attempt{op, number, readBack}, number > 0
}
