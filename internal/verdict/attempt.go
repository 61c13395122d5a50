package verdict

import "net/http"

// Attempt is what came of one attempt.
type Attempt uint8

// What can come of an attempt.
const (
	NotSent      Attempt = iota // it was never sent
	Unsendable                  // it was never sent, and the reason does not heal in seconds
	Lost                        // sent, and no complete response came
	TooLarge                    // sent, and the response's body is larger than what is read
	Succeeded                   // a 2xx that is a success
	Lacking                     // such a 2xx, without what the operation must read
	Accepted                    // 202
	Denied                      // a 2xx that says "success": false
	Garbled                     // any other 2xx
	Moved                       // 301, 302, 303
	Redirected                  // any other 3xx
	Failed                      // 408, a 5xx but 501 and 505, a status outside 100-599
	TooEarly                    // 425
	Throttled                   // 429
	Unauthorized                // 401
	AlreadySo                   // the documented "it is so already"
	BadRequest                  // a 400 that is not documented
	NotFound                    // 404
	Conflict                    // 409, 410
	Refused                     // a documented 400, and every other status
	attempts                    // how many there are
)

// meanings is the table of attempts.
var meanings = [attempts]struct {
	applied bool // it may have been
	again   bool // trying again may help
	heard   bool // the server has responded, and not about an outage or a rate limit
}{
	NotSent:      {applied: false, again: true},
	Unsendable:   {applied: false, again: false},
	Lost:         {applied: true, again: true},
	TooLarge:     {applied: true, again: false},
	Succeeded:    {applied: true, again: false, heard: true},
	Lacking:      {applied: true, again: false, heard: true},
	Accepted:     {applied: true, again: false, heard: true},
	Denied:       {applied: false, again: false, heard: true},
	Garbled:      {applied: true, again: true},
	Moved:        {applied: true, again: false, heard: true},
	Redirected:   {applied: false, again: false, heard: true},
	Failed:       {applied: true, again: true},
	TooEarly:     {applied: false, again: true},
	Throttled:    {applied: false, again: true},
	Unauthorized: {applied: false, again: false, heard: true}, // but see TryNewToken
	AlreadySo:    {applied: false, again: false, heard: true},
	BadRequest:   {applied: false, again: false, heard: true},
	NotFound:     {applied: false, again: false, heard: true},
	Conflict:     {applied: false, again: false, heard: true},
	Refused:      {applied: false, again: false, heard: true},
}

// Body is what the body of a response says.
type Body uint8

// What a body can say.
const (
	Nothing  Body = iota // it is no envelope
	Envelope             // an envelope, or what the operation reads, that does not say "success": false
	Denial               // an envelope that says "success": false
)

// Response is a complete response, as far as it matters to the verdict.
type Response struct {
	Status    int
	Body      Body
	AlreadySo bool // the documented message of a 400 that says that it is so already
	Known     bool // another documented message of a 400, which tells why it was not applied
	Lacks     bool // what the operation must read is not in it
}

// Attempt is the meaning of a complete response.
func (r Response) Attempt() Attempt {
	switch {
	case r.Status == http.StatusNoContent && r.Lacks:
		return Lacking
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
		case r.Known:
			return Refused
		}
		return BadRequest
	case http.StatusNotFound:
		return NotFound
	case http.StatusConflict, http.StatusGone:
		return Conflict
	case http.StatusNotImplemented, http.StatusHTTPVersionNotSupported:
		return Refused
	case http.StatusRequestTimeout:
		return Failed
	}
	if r.Status >= 500 { // over 599 too
		return Failed
	}
	return Refused
}

// success is the meaning of a 2xx but 204.
func (r Response) success() Attempt {
	switch {
	case r.Body == Denial:
		return Denied
	case r.Status == http.StatusAccepted:
		return Accepted
	case r.Body == Nothing:
		return Garbled
	case r.Lacks:
		return Lacking
	}
	return Succeeded
}
