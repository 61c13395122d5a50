// Package verdict decides what an attempt means, and what the attempts of a call add
// up to. It is pure: values in, values out, and a state that can be compared, so that
// all its states can be explored.
package verdict

// Repeat is what a second request does after one that was applied, in the terms of
// RFC 9110, section 9.2.
type Repeat uint8

// The kinds of repetition.
const (
	Safe          Repeat = iota // changes nothing, as the first
	Idempotent                  // changes no more than the first
	NotIdempotent               // may change more than was asked for
)

// When says when an operation reads back what its attempts have done.
type When uint8

// When there is a read-back.
const (
	Never        When = iota
	InDoubt           // after an ambiguous attempt, a 202 or a 400 that is not the documented one
	Ambiguous         // after an ambiguous attempt, before it is repeated and before the call ends
	AfterRefusal      // as Ambiguous, and after a refusal: a proxy may have repeated the request
)

// Rule is what is known about repeating an operation.
type Rule struct {
	Repeat   Repeat
	ReadBack When
}

// Reading is what a read-back found.
type Reading uint8

// What a read-back can find.
const (
	Unread     Reading = iota // there was none since the last attempt
	Done                      // it is as asked for, and was not before the call
	NotDone                   // it is not, or it was before the call
	Absent                    // the server says 404 to it too
	Other                     // something else stands in its place
	Unreadable                // it told nothing
	readings                  // how many there are
)

// State is what the attempts of a call add up to so far.
type State struct {
	rule      Rule
	last      Attempt
	reading   Reading
	ambiguous bool // it may have been applied, and nothing tells
	renewed   bool // the call went on with another token
}

// New is the state of a call without an attempt.
func New(rule Rule) State { return State{rule: rule} }

// After is the state after an attempt. One that something in between repeated may
// have been applied, whatever the response was.
func (s State) After(a Attempt, repeated bool) State {
	s.last, s.reading = a, Unread
	s.ambiguous = s.ambiguous || s.rule.Repeat != Safe && (repeated || meanings[a].applied)
	return s
}

// AfterReadBack is the state after a read-back. One that told nothing after a
// refusal leaves open whether a proxy has repeated the request.
func (s State) AfterReadBack(r Reading) State {
	s.reading = r
	s.ambiguous = s.ambiguous || r == Other || r == Unreadable
	return s
}

// AfterRenewal is the state of a call that goes on with another token, with which
// nothing was sent yet.
func (s State) AfterRenewal() State {
	s.renewed, s.last = true, NotSent
	return s
}

// Step is what a call does next.
type Step uint8

// What a call can do next.
const (
	Stop        Step = iota
	TryAgain         // another attempt, after a wait
	TryNewToken      // another attempt at once, if there is another token
	LookBack         // a read-back
)

// Next is what the call does next, as far as attempts and time allow.
func (s State) Next() Step {
	switch {
	case s.last == Succeeded, s.last == AlreadySo, s.reading == Done, s.reading == Other:
		return Stop
	case s.reading == Unread && s.readsBack():
		return LookBack
	case s.ambiguous && s.rule.Repeat == NotIdempotent && s.reading != NotDone:
		return Stop
	case s.last == Unauthorized && !s.renewed:
		return TryNewToken
	case meanings[s.last].again:
		return TryAgain
	}
	return Stop
}

func (s State) readsBack() bool {
	switch s.rule.ReadBack {
	case InDoubt:
		return s.ambiguous && (s.last == Accepted || s.last == BadRequest)
	case Ambiguous:
		return s.ambiguous
	case AfterRefusal:
		return s.ambiguous || s.last == BadRequest || s.last == NotFound || s.last == Conflict
	case Never:
	}
	return false
}

// Verdict is what the caller is told.
type Verdict uint8

// The verdicts.
const (
	Failure   Verdict = iota // no attempt can have been applied
	Unknown                  // an attempt may have been, and nothing settled it
	Success                  // the last attempt was
	Recovered                // after an ambiguous attempt, things turned out to be as asked for
)

// Verdict is what the attempts add up to, if the call ends here.
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

// Ahead is the next step, after a read-back that leaves the call free to go on.
func (s State) Ahead() Step {
	if next := s.Next(); next != LookBack {
		return next
	}
	return s.AfterReadBack(NotDone).Next()
}

// Throttled tells whether the last attempt was refused by a rate limit.
func (s State) Throttled() bool { return s.last == Throttled }

// Heard tells whether the server has decided, in its response to the last attempt or
// to a read-back: it is there, and no rate limit keeps it from deciding.
func (s State) Heard() bool {
	return meanings[s.last].heard || s.reading != Unread && s.reading != Unreadable
}
