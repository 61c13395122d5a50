// Package session decides what a session does next with its tokens: hand out the access token, renew
// it, keep what was granted, or tell that the user has to log in. It is pure: a [State] is a value, and
// each method takes what has happened and returns the next value. It sends nothing, keeps nothing and
// reads no clock.
package session

import "time"

const (
	// Pause is how long no renewal begins after one that has not led to another access token.
	Pause = 30 * time.Second

	// documentedLife is how long an access token lives, according to the API's documentation. It is
	// used for tokens of which only the end is known.
	documentedLife = time.Hour
)

// Tokens are an access token and the refresh token that gets the next ones. The zero value of T is no
// token.
type Tokens[T comparable] struct {
	Access, Refresh     T
	ID                  string
	IssuedAt, ExpiresAt time.Time // of Access; zero if not known
	BaseURL             string
}

// State is what a session knows of its tokens. The zero State has none.
type State[T comparable] struct {
	tokens   Tokens[T] // in use: all of them have been kept
	granted  Tokens[T] // not kept yet, and so not used
	replaced T         // the refresh token that granted takes the place of
	refused  T         // the access token that a 401 has refused
	lost     T         // the refresh token that the API has refused
	pause    time.Time // the end of it
}

// Action is what a session does next.
type Action uint8

// The actions.
const (
	Nothing  Action = iota // the access token can be handed out
	Renew                  // present the refresh token
	Save                   // keep the tokens that were granted and could not be kept
	Wait                   // no token is usable, and a renewal has just failed
	LogIn                  // no token is usable, and the API has refused the refresh token
	NoTokens               // no token is usable, and there is no refresh token
)

// Next says what to do now. The access token can be handed out meanwhile if it is usable.
func (s State[T]) Next(now time.Time) Action {
	none := s.zero()
	toSave := s.granted != (Tokens[T]{})
	renewable := s.tokens.Refresh != none && s.tokens.Refresh != s.lost
	due := renewable && s.inLastTenth(now)
	switch {
	case s.Usable(now) && (s.paused(now) || !due):
		return Nothing
	case toSave:
		return Save
	case s.tokens.Refresh == none:
		return NoTokens
	case !renewable:
		return LogIn
	case s.paused(now):
		return Wait
	}
	return Renew
}

// Usable tells whether the access token can be handed out: it is not known to have ended, and no 401
// has refused it.
func (s State[T]) Usable(now time.Time) bool {
	ends := s.tokens.ExpiresAt
	return s.tokens.Access != s.zero() && s.tokens.Access != s.refused && (ends.IsZero() || now.Before(ends))
}

// inLastTenth tells whether the access token is in the last tenth of its whole life.
func (s State[T]) inLastTenth(now time.Time) bool {
	if s.tokens.ExpiresAt.IsZero() {
		return false
	}
	life := documentedLife
	if !s.tokens.IssuedAt.IsZero() {
		life = s.tokens.ExpiresAt.Sub(s.tokens.IssuedAt)
	}
	return !now.Before(s.tokens.ExpiresAt.Add(-life / 10))
}

// paused tells whether a renewal has failed a moment ago. A clock that was set back does not make a
// pause longer.
func (s State[T]) paused(now time.Time) bool {
	left := s.pause.Sub(now)
	return left > 0 && left <= Pause
}

// Tokens returns the tokens in use.
func (s State[T]) Tokens() Tokens[T] { return s.tokens }

// Granted returns the tokens that were granted and are not kept yet; the zero Tokens if there are none.
func (s State[T]) Granted() Tokens[T] { return s.granted }

// AfterOpening is the state after the store was read. Other tokens than before are those of a login or
// a renewal elsewhere. An empty store does not make the session's own tokens worthless.
func (s State[T]) AfterOpening(kept Tokens[T]) State[T] {
	switch {
	case kept == Tokens[T]{}, s.granted != (Tokens[T]{}) && kept.Refresh == s.replaced:
		return s // nothing newer than what the session has
	case kept.Access != s.tokens.Access:
		return State[T]{tokens: kept}
	}
	if !kept.ExpiresAt.After(s.tokens.ExpiresAt) {
		kept.IssuedAt, kept.ExpiresAt = s.tokens.IssuedAt, s.tokens.ExpiresAt // with the monotonic clock
	}
	s.tokens, s.granted, s.replaced = kept, Tokens[T]{}, s.zero()
	return s
}

// AfterGrant is the state after a login or a renewal has got tokens. For an access token that is granted
// again, the later end counts; if both have passed, its end is not known.
func (s State[T]) AfterGrant(granted Tokens[T], now time.Time) State[T] {
	if granted.Access == s.tokens.Access && granted.Access != s.zero() {
		if !granted.ExpiresAt.After(s.tokens.ExpiresAt) {
			granted.IssuedAt, granted.ExpiresAt = s.tokens.IssuedAt, s.tokens.ExpiresAt
		}
		if !granted.ExpiresAt.After(now) {
			granted.IssuedAt, granted.ExpiresAt = time.Time{}, time.Time{}
		}
	}
	s.granted, s.replaced = granted, s.tokens.Refresh
	return s
}

// AfterSaving is the state after the granted tokens were kept. If the access token is the same as
// before, there is a pause before the next renewal.
func (s State[T]) AfterSaving(now time.Time) State[T] {
	next := State[T]{tokens: s.granted}
	if next.tokens.Access == s.tokens.Access && next.tokens.Access != s.zero() {
		next.pause = now.Add(Pause)
	}
	return next
}

// AfterStoreFailure is the state after the store could not be opened, or could not keep tokens. As long
// as a token is usable, there is a pause before the store is tried again.
func (s State[T]) AfterStoreFailure(now time.Time) State[T] {
	if s.Usable(now) {
		s.pause = now.Add(Pause)
	}
	return s
}

// AfterFailure is the state after a renewal that was not granted, for another reason than the API's
// refusal. During the pause the access token is used, as far as it lives.
func (s State[T]) AfterFailure(now time.Time) State[T] {
	s.pause, s.refused = now.Add(Pause), s.zero()
	return s
}

// AfterRefusal is the state after the API itself has refused the refresh token.
func (s State[T]) AfterRefusal() State[T] {
	s.lost = s.tokens.Refresh
	return s
}

// AfterUnauthorized is the state after a 401 for an access token. It tells nothing if that token is not
// in use any more, or if a renewal has just not led to another one.
func (s State[T]) AfterUnauthorized(token T, now time.Time) State[T] {
	if token == s.tokens.Access && !s.paused(now) {
		s.refused = token
	}
	return s
}

func (State[T]) zero() (none T) { return none }
