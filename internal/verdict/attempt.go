package verdict

import "net/http"

// Attempt is what came of one attempt.
type Attempt uint8

// What can come of an attempt.
const (
	NotSent      Attempt = iota // the request was never sent
	Unsendable                  // the request was never sent, for a reason that does not heal in seconds
	Lost                        // the request was sent, and no complete response came
	TooLarge                    // the response has a body that is larger than what is read
	Succeeded                   // a 2xx that is a success
	Incomplete                  // a 2xx that would be a success, but lacks what the operation must read
	Accepted                    // 202
	SuccessFalse                // a 2xx that says "success": false
	Unrecognized                // any other 2xx
	Moved                       // 301, 302, 303
	Redirected                  // any other 3xx
	Failed                      // 408, 499, a 5xx but 501 and 505, a status outside 100-599
	Stale                       // the response to a read-back may be older than the call
	TooEarly                    // 425
	Throttled                   // 429
	Unauthorized                // 401
	AlreadySo                   // the documented 400 that says that it is so already
	BadRequest                  // a 400 with a message that is not documented
	NotFound                    // 404
	Conflict                    // 409, 410
	Refused                     // any other documented 400, and every other status
	attempts                    // the number of attempts in this list
)

// meanings is the table of what each attempt means.
var meanings = [attempts]struct {
	applied   bool // the request may have been applied
	retryable bool // another attempt may help
	responded bool // the server has decided: its response is not about an outage or a rate limit
}{
	NotSent:      {applied: false, retryable: true},
	Unsendable:   {applied: false, retryable: false},
	Lost:         {applied: true, retryable: true},
	TooLarge:     {applied: true, retryable: false},
	Succeeded:    {applied: true, retryable: false, responded: true},
	Incomplete:   {applied: true, retryable: false, responded: true},
	Accepted:     {applied: true, retryable: false, responded: true},
	SuccessFalse: {applied: false, retryable: false, responded: true},
	Unrecognized: {applied: true, retryable: true},
	Moved:        {applied: true, retryable: false, responded: true},
	Redirected:   {applied: false, retryable: false, responded: true},
	Failed:       {applied: true, retryable: true},
	Stale:        {applied: true, retryable: true, responded: true},
	TooEarly:     {applied: false, retryable: true},
	Throttled:    {applied: false, retryable: true},
	Unauthorized: {applied: false, retryable: false, responded: true}, // retried once with another token: see State.Next
	AlreadySo:    {applied: false, retryable: false, responded: true},
	BadRequest:   {applied: false, retryable: false, responded: true},
	NotFound:     {applied: false, retryable: false, responded: true},
	Conflict:     {applied: false, retryable: false, responded: true},
	Refused:      {applied: false, retryable: false, responded: true},
}

// Body is what the body of a response says.
type Body uint8

// What a body can say.
const (
	NoEnvelope           Body = iota
	Envelope                  // an envelope, or what the operation reads, that does not say "success": false
	EnvelopeSuccessFalse      // an envelope that says "success": false, and of no part that succeeded
)

// statusClientClosedRequest is what nginx says of a request whose client went away. The
// backend may have applied it.
const statusClientClosedRequest = 499

// Response is a complete response, as far as it matters to the verdict.
type Response struct {
	Status     int
	Body       Body
	AlreadySo  bool // it has the documented message of a 400 that says that it is so already
	Documented bool // it has another documented message of a 400, which says why nothing was applied
	Incomplete bool // it lacks what the operation must read
	Stale      bool // it is the response to a read-back and may be older than the call
}

// Attempt returns what the response means.
func (r Response) Attempt() Attempt {
	switch {
	case r.Status == http.StatusNoContent && r.Incomplete:
		return Incomplete
	case r.Status == http.StatusNoContent:
		return Succeeded
	case r.Status >= 200 && r.Status < 300:
		return r.success()
	case r.Status >= 300 && r.Status < 400:
		if r.Status >= http.StatusMovedPermanently && r.Status <= http.StatusSeeOther {
			return Moved
		}
		return Redirected
	case r.Status < 100:
		return Failed
	}
	switch r.Status {
	case http.StatusUnauthorized:
		return Unauthorized
	case http.StatusTooEarly:
		return TooEarly
	case http.StatusTooManyRequests:
		return Throttled
	case http.StatusBadRequest:
		switch {
		case r.AlreadySo:
			return AlreadySo
		case r.Documented:
			return Refused
		}
		return BadRequest
	case http.StatusNotFound:
		return NotFound
	case http.StatusConflict, http.StatusGone:
		return Conflict
	case http.StatusNotImplemented, http.StatusHTTPVersionNotSupported:
		return Refused
	case http.StatusRequestTimeout, statusClientClosedRequest:
		return Failed
	}
	if r.Status >= 500 { // over 599 too
		return Failed
	}
	return Refused
}

// success returns what a 2xx other than 204 means.
func (r Response) success() Attempt {
	switch {
	case r.Body == EnvelopeSuccessFalse:
		return SuccessFalse
	case r.Status == http.StatusAccepted:
		return Accepted
	case r.Body == NoEnvelope:
		return Unrecognized
	case r.Stale:
		return Stale
	case r.Incomplete:
		return Incomplete
	}
	return Succeeded
}
