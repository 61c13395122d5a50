package flashback

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/flashbacknetwork/flashback-go/internal/call"
	"github.com/flashbacknetwork/flashback-go/internal/verdict"
)

// Response is the last response to a call, or that of the read-back that settled it, and
// how the call went.
type Response struct {
	StatusCode int         `json:"statusCode"`
	Header     http.Header `json:"header"`
	RequestID  string      `json:"requestId"`
	Attempts   int         `json:"attempts"`
	// Recovered means that an ambiguous attempt was settled as a success.
	Recovered bool          `json:"recovered"`
	Throttled time.Duration `json:"-"`
	Duration  time.Duration `json:"-"`
}

// MarshalJSON encodes the response with its durations in seconds, as throttledSeconds and
// durationSeconds.
func (r Response) MarshalJSON() ([]byte, error) {
	type fields Response // without this method
	return json.Marshal(struct {
		fields

		ThrottledSeconds float64 `json:"throttledSeconds"`
		DurationSeconds  float64 `json:"durationSeconds"`
	}{fields(r), r.Throttled.Seconds(), r.Duration.Seconds()})
}

type responseKey struct{}

// WithResponse returns a context with which a call fills response. It is for one call at a
// time: calls that run at once, such as those of an errgroup, need a Response each.
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

// Attempt says which request of which call an HTTP request is.
type Attempt struct {
	// Op names the call, as in "organization.users.activate".
	Op string
	// Number counts the requests of a call from 1, read-backs included.
	Number int
	// ReadBack means that the request is one of a read-back.
	ReadBack bool
}

// AttemptFrom returns the attempt whose request has the context ctx. It is for a transport of
// your own that traces or counts requests, see [WithHTTPClient].
func AttemptFrom(ctx context.Context) (Attempt, bool) {
	a, ok := call.AttemptFrom(ctx)
	return Attempt(a), ok
}
