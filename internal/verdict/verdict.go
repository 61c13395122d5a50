// Package verdict decides what an attempt means, and what the attempts of a call add up
// to. It is pure: the state of a call is a value that can be compared, so that a test
// can explore all of its states.
package verdict

// Retry is what retrying a request may do on the server (RFC 9110, section 9.2).
type Retry uint8

// The kinds of requests.
const (
	Safe          Retry = iota // neither the request nor its retries change anything
	Idempotent                 // a retry changes no more than the first request
	NotIdempotent              // a retry may change more than was asked for
)

// ReadBackPolicy says when an operation reads back what its attempts have done.
type ReadBackPolicy uint8

// When there is a read-back.
const (
	Never                  ReadBackPolicy = iota
	AfterOddResponse                      // if an attempt was ambiguous and the last response is a 202, an incomplete success or an undocumented 400
	WhenAmbiguous                         // if an attempt was ambiguous: before a retry, and before the call ends
	WhenAmbiguousOrRefused                // as WhenAmbiguous, and after a 400, 404, 409 or 410: a proxy may have repeated the request
)

// Rule is what is known about retrying an operation.
type Rule struct {
	Retry    Retry
	ReadBack ReadBackPolicy
}

// Reading is what a read-back found.
type Reading uint8

// What a read-back can find.
const (
	Unread       Reading = iota // there was no read-back since the last attempt
	Done                        // it is as asked for, and nothing shows that it was so before the call
	NotDone                     // it is not as asked for, or was so before the call
	Absent                      // the read-back got a 404, as the last attempt did
	Other                       // something else stands in its place
	Inconclusive                // the read-back proves nothing
	readings                    // the number of readings in this list
)

// State is what the attempts of a call add up to so far.
type State struct {
	rule      Rule
	last      Attempt
	reading   Reading // of the read-back since the last attempt
	ambiguous bool    // an attempt may have been applied, and nothing has settled it
	newToken  bool    // the call went on with another token
}

// New returns the state of a call that has made no attempt.
func New(rule Rule) State { return State{rule: rule} }

// After returns the state after an attempt. An attempt that the transport or a proxy may
// have repeated is ambiguous, whatever its response was.
func (s State) After(a Attempt, repeated bool) State {
	s.last, s.reading = a, Unread
	s.ambiguous = s.ambiguous || s.rule.Retry != Safe && (repeated || meanings[a].applied)
	return s
}

// AfterReadBack returns the state after a read-back. An inconclusive one leaves open
// whether a proxy has repeated a request that was refused.
func (s State) AfterReadBack(r Reading) State {
	s.reading = r
	s.ambiguous = s.ambiguous || r == Other || r == Inconclusive
	return s
}

// AfterNewToken returns the state of a call that goes on with another token, with which
// nothing was sent yet.
func (s State) AfterNewToken() State {
	s.newToken, s.last = true, NotSent
	return s
}

// Step is what a call does next.
type Step uint8

// What a call can do next.
const (
	Stop                Step = iota
	AttemptAgain             // another attempt, after a wait
	AttemptWithNewToken      // another attempt at once, if there is another token
	ReadBack                 // a read-back
)

// Next returns what the call does next, as far as attempts and time allow.
func (s State) Next() Step {
	switch {
	case s.last == Succeeded, s.last == AlreadySo, s.reading == Done, s.reading == Other:
		return Stop
	case s.reading == Unread && s.readsBack():
		return ReadBack
	case s.ambiguous && s.rule.Retry == NotIdempotent && s.reading != NotDone:
		return Stop
	case s.last == Unauthorized && !s.newToken:
		return AttemptWithNewToken
	case meanings[s.last].retryable:
		return AttemptAgain
	}
	return Stop
}

func (s State) readsBack() bool {
	switch s.rule.ReadBack {
	case AfterOddResponse:
		return s.ambiguous && (s.last == Accepted || s.last == Incomplete || s.last == BadRequest)
	case WhenAmbiguous:
		return s.ambiguous
	case WhenAmbiguousOrRefused:
		return s.ambiguous || s.last == BadRequest || s.last == NotFound || s.last == Conflict
	case Never:
	}
	return false
}

// NextIfNotApplied returns what the call does next if a read-back that is due finds that
// nothing was applied. The call decides by it before a wait; the read-back itself comes
// after the wait, so that what it finds is not old.
func (s State) NextIfNotApplied() Step {
	if next := s.Next(); next != ReadBack {
		return next
	}
	return s.AfterReadBack(NotDone).Next()
}

// Verdict is what the caller is told.
type Verdict uint8

// The verdicts.
const (
	Failure   Verdict = iota // no attempt can have been applied
	Unknown                  // an attempt may have been applied, and nothing has settled it
	Success                  // the last attempt was applied
	Recovered                // after an ambiguous attempt, things were found to be as asked for
)

// Verdict returns what the attempts add up to, if the call ends here.
func (s State) Verdict() Verdict {
	switch {
	case s.last == Succeeded:
		return Success
	case s.reading == Done, s.ambiguous && s.last == AlreadySo:
		return Recovered
	case s.ambiguous:
		return Unknown
	}
	return Failure
}

// Throttled tells whether the last response is a 429.
func (s State) Throttled() bool { return s.last == Throttled }

// Responded tells whether the server has decided, in its response to the last attempt or
// to a read-back: so there is neither an outage nor a rate limit.
func (s State) Responded() bool {
	return meanings[s.last].responded || s.reading != Unread && s.reading != Inconclusive
}
