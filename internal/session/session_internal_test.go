package session

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// now is always the same: as time passes, the tokens get older.
var now = time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)

// age is where a token is in its life.
type age uint8

const (
	unknown age = iota // it may live for ever
	alive
	lastTenth
	ended
	ages
)

// times are those of a token of an age. Where the issue of a token is not known, its life is an hour.
func (a age) times(issueKnown bool) (issued, ends time.Time) {
	switch {
	case a == unknown:
		return time.Time{}, time.Time{}
	case issueKnown: // a life of 100 minutes
		ends = now.Add([]time.Duration{alive: 10*time.Minute + 1, lastTenth: 10 * time.Minute, ended: 0}[a])
		return ends.Add(-100 * time.Minute), ends
	}
	return time.Time{}, now.Add([]time.Duration{alive: 6*time.Minute + 1, lastTenth: 6 * time.Minute, ended: 0}[a])
}

func ageOf(t Tokens[int8]) age {
	for a := range ages {
		if issued, ends := a.times(!t.IssuedAt.IsZero()); t.IssuedAt.Equal(issued) && t.ExpiresAt.Equal(ends) {
			return a
		}
	}
	panic(fmt.Sprintf("no age has the times of %v", t))
}

func aged(access, refresh int8, a age, issueKnown bool) Tokens[int8] {
	t := Tokens[int8]{Access: access, Refresh: refresh}
	t.IssuedAt, t.ExpiresAt = a.times(issueKnown)
	return t
}

func older(t Tokens[int8]) Tokens[int8] {
	if a := ageOf(t); a == alive || a == lastTenth {
		return aged(t.Access, t.Refresh, a+1, !t.IssuedAt.IsZero())
	}
	return t
}

// phase is what a process does with the store, which is locked in all of them but the first.
type phase uint8

const (
	idle phase = iota
	renewing
	saving
)

// world is a session, its store, and what is true of its tokens. Nothing of that is known to State.
type world struct {
	state State[int8]
	kept  Tokens[int8]
	phase phase

	known        uint16 // access tokens that were in the store
	unauthorized uint16 // access tokens that got a 401
	spent        uint16 // refresh tokens in whose place this process was granted others
	refused      uint16 // refresh tokens that the API refused
}

func has(set uint16, token int8) bool { return set&(1<<token) != 0 }

// fresh returns an access and a refresh token that nobody has.
func (w world) fresh() (access, refresh int8) {
	for _, t := range []Tokens[int8]{w.state.tokens, w.state.granted, w.kept} {
		access, refresh = max(access, t.Access), max(refresh, t.Refresh)
	}
	return max(access, w.state.refused) + 1, max(refresh, w.state.lost, w.state.replaced) + 1
}

// renamed gives the tokens the numbers of the order in which they stand there, so that worlds that differ in
// nothing else are one.
func (w world) renamed() world {
	var accesses, refreshes [16]int8
	rename := func(names *[16]int8, token *int8) {
		if *token != 0 && names[*token] == 0 {
			names[*token] = 1 + max(0, slices.Max(names[:]))
		}
		*token = names[*token]
	}
	for _, t := range []*Tokens[int8]{&w.state.tokens, &w.state.granted, &w.kept} {
		rename(&accesses, &t.Access)
		rename(&refreshes, &t.Refresh)
	}
	rename(&accesses, &w.state.refused)
	rename(&refreshes, &w.state.lost)
	rename(&refreshes, &w.state.replaced)
	move := func(set *uint16, names [16]int8) {
		var moved uint16
		for token, name := range names {
			if name != 0 && has(*set, int8(token)) {
				moved |= 1 << name
			}
		}
		*set = moved
	}
	move(&w.known, accesses)
	move(&w.unauthorized, accesses)
	move(&w.spent, refreshes)
	move(&w.refused, refreshes)
	return w
}

// step is what happens, and the world after it.
type step struct {
	name string
	world

	granted age // of the access token, if one was granted
}

// steps are all that can happen.
func (w world) steps() (all []step) {
	add := func(name string, next world) { all = append(all, step{name: name, world: next}) }
	// At any time:
	next := w
	next.state.tokens, next.state.granted, next.kept = older(w.state.tokens), older(w.state.granted), older(w.kept)
	add("time passes", next)
	next = w
	next.state.pause = time.Time{}
	add("a pause ends", next)
	for _, token := range []int8{w.state.tokens.Access, w.kept.Access} {
		next = w
		next.unauthorized |= 1 << token
		next.state = w.state.AfterUnauthorized(token, now)
		add("a 401", next)
	}
	switch w.phase {
	case idle:
		all = append(all, w.opens()...)
		all = append(all, w.others()...)
	case renewing:
		all = append(all, w.answers()...)
	case saving:
		next = w
		next.kept, next.phase = w.state.granted, idle
		next.known |= 1 << next.kept.Access
		add("the store fails after all was kept", world{next.state.AfterStoreFailure(now), next.kept, idle, next.known, next.unauthorized, next.spent, next.refused})
		next.state = w.state.AfterSaving(now)
		add("the tokens are kept", next)
		next = w
		next.state, next.phase = w.state.AfterStoreFailure(now), idle
		add("the store fails", next)
	}
	return all
}

func (w world) opens() (all []step) {
	next := w
	next.state = w.state.AfterStoreFailure(now)
	all = append(all, step{name: "the store can't be opened", world: next})
	for name, state := range map[string]State[int8]{"the store is opened": w.state, "a new process opens the store": {}} {
		next := w
		if name != "the store is opened" {
			next.spent, next.refused = 0, 0 // It can't know what an ended process was told.
		}
		next.state = state.AfterOpening(w.kept)
		switch next.state.Next(now) {
		case Renew:
			next.phase = renewing
		case Save:
			next.phase = saving
		case Nothing, Wait, LogIn, NoTokens:
		}
		all = append(all, step{name: name, world: next})
	}
	return all
}

// others are what other processes do.
func (w world) others() (all []step) {
	all = append(all, step{name: "a logout"})
	next := w
	next.kept = Tokens[int8]{}
	all = append(all, step{name: "the store is emptied", world: next})
	access, refresh := w.fresh()
	for _, kept := range []Tokens[int8]{
		aged(access, refresh, unknown, true), aged(access, refresh, alive, true), aged(access, refresh, alive, false),
		aged(access, refresh, ended, true), aged(access, 0, alive, true),
	} {
		next := w
		next.kept = kept
		next.known |= 1 << access
		all = append(all, step{name: "another process gets tokens", world: next})
	}
	for _, kept := range []Tokens[int8]{
		aged(w.kept.Access, refresh, unknown, true), aged(w.kept.Access, refresh, alive, true), aged(w.kept.Access, 0, alive, true),
	} {
		if next := w; w.kept.Access != 0 {
			next.kept = kept
			all = append(all, step{name: "another process gets the same access token", world: next})
		}
	}
	return all
}

// answers are what can come of a refresh.
func (w world) answers() (all []step) {
	next := w
	next.state, next.phase = w.state.AfterFailure(now), idle
	all = append(all, step{name: "a renewal fails", world: next})
	next = w
	next.state, next.phase = w.state.AfterRefusal(), idle
	next.refused |= 1 << w.state.tokens.Refresh
	all = append(all, step{name: "the API refuses", world: next})
	access, refresh := w.fresh()
	for _, a := range []age{unknown, alive, lastTenth} {
		next := w
		next.phase = saving
		next.spent |= 1 << w.state.tokens.Refresh
		next.state = w.state.AfterGrant(aged(access, refresh, a, true), now)
		all = append(all, step{"other tokens are granted", next, a})
		next.spent = w.spent
		next.state = w.state.AfterGrant(aged(access, w.state.tokens.Refresh, a, true), now)
		all = append(all, step{"another access token is granted", next, a})
		if w.state.tokens.Access != 0 {
			next.state = w.state.AfterGrant(aged(w.state.tokens.Access, w.state.tokens.Refresh, a, true), now)
			all = append(all, step{"the same access token is granted", next, a})
		}
	}
	return all
}

// broken says which promise a world breaks, or "".
func (w world) broken() string {
	s, none := w.state, Tokens[int8]{}
	next, usable, a := s.Next(now), s.Usable(now), ageOf(s.tokens)
	paused := s.pause.After(now)
	renewable := s.tokens.Refresh != 0 && !has(w.refused, s.tokens.Refresh)
	switch {
	case next == LogIn && !has(w.refused, s.tokens.Refresh):
		return "a session is lost only if the API has refused its refresh token"
	case next == NoTokens && (s.tokens.Refresh != 0 || s.granted != none):
		return "as long as there is a refresh token, there is something to go on with"
	case w.phase == renewing && has(w.spent, s.tokens.Refresh):
		return "a refresh token in whose place another was granted is not presented again"
	case s.tokens.Access != 0 && a != ended && !has(w.unauthorized, s.tokens.Access) && !usable:
		return "a living token is used"
	case usable && (s.tokens.Access == 0 || a == ended):
		return "a token that has ended is not used"
	case usable && !has(w.known, s.tokens.Access):
		return "tokens are used once they are kept"
	case (next == Wait || next == LogIn || next == NoTokens) && usable:
		return "no call fails that has a usable token"
	case next == Nothing && !usable:
		return "a call without a usable token gets one, or learns why not"
	case paused && next == Renew:
		return "there is a pause between renewals"
	case s.granted != none && !usable && next != Save:
		return "what was granted is kept as soon as it is needed"
	case s.granted == none && renewable && !paused && (!usable || a == lastTenth) && next != Renew:
		return "a token is renewed in the last tenth of its life, and if it is not usable"
	case s.granted != none && usable && a == lastTenth && !paused && next != Save:
		return "what was granted is kept beside calls with a living token"
	case usable && (a == alive || a == unknown) && s.granted == none && next != Nothing:
		return "a token is not renewed before the last tenth of its life"
	case !usable && s.granted == none && !renewable && s.tokens.Refresh != 0 && next != LogIn:
		return "a session that the API has ended is told as lost"
	}
	return ""
}

// brokenBy says which promise a step breaks, or "".
func (w world) brokenBy(to step) string {
	none := Tokens[int8]{}
	before, after := w.state, to.state
	elsewhere := w.kept != none && w.kept.Refresh != before.replaced
	opened := to.name == "the store is opened"
	same := after.tokens.Access == before.tokens.Access
	switch {
	case before.granted != none && after.granted == none && to.name != "the tokens are kept" && to.name != "a logout" &&
		to.name != "a new process opens the store" && (!opened || !elsewhere):
		return "what was granted is forgotten only if it is kept, or if others have kept newer tokens"
	case opened && w.kept == none && after != before:
		return "an empty store leaves the tokens that the session has"
	case opened && before.granted == none && w.kept != none && (after.tokens.Access != w.kept.Access || after.tokens.Refresh != w.kept.Refresh):
		return "the tokens of the store are the newest"
	case opened && elsewhere && before.granted != none && (after.granted != none || after.tokens.Access != w.kept.Access):
		return "what others have kept meanwhile takes the place of what could not be kept"
	case opened && same && before.granted == none && ageOf(w.kept) == alive && ageOf(before.tokens) == ended && ageOf(after.tokens) != alive:
		return "of two ends of the same token the later one counts, also from the store"
	case opened && !same && before.tokens != none && after.pause.After(now):
		return "a pause is about the token before"
	case to.name == "a 401" && !before.pause.After(now) && has(to.unauthorized, before.tokens.Access) && !has(w.unauthorized, before.tokens.Access) && after.Usable(now):
		return "a refused token is not used until a renewal was tried"
	case to.name == "a 401" && before.pause.After(now) && after != before:
		return "a 401 during a pause tells nothing new"
	case to.name == "a renewal fails" && ageOf(before.tokens) != ended && before.tokens.Access != 0 && !after.Usable(now):
		return "a token that can't be renewed is used again while it lives"
	case to.name == "a renewal fails" && !after.pause.After(now):
		return "there is a pause after a renewal that fails"
	case to.name == "the store can't be opened" && !before.Usable(now) && after != before:
		return "who needs the store may try again at once"
	case to.name == "the store can't be opened" && before.Usable(now) && after.Next(now) != Nothing:
		return "who has a usable token is not kept by a store that fails"
	case to.name == "the same access token is granted" && !after.granted.ExpiresAt.Equal(laterEnd(before.tokens, to.granted)):
		return "of two ends of the same token the later one counts, and none that has passed"
	case (to.name == "other tokens are granted" || to.name == "another access token is granted") && ageOf(after.granted) != to.granted:
		return "another token has an end of its own"
	case to.name == "the tokens are kept" && !after.Usable(now) && ageOf(before.granted) != ended:
		return "what was kept is used"
	case to.name == "the tokens are kept" && before.granted.Access == before.tokens.Access && after.Usable(now) && after.Next(now) != Nothing:
		return "the same token given again does not make each call renew"
	case to.name == "the tokens are kept" && before.granted.Access != before.tokens.Access && after.pause.After(now):
		return "there is no pause after a renewal that has led to another token"
	}
	return ""
}

// laterEnd is the end of a token that is granted again. One that has passed was none.
func laterEnd(before Tokens[int8], granted age) time.Time {
	_, ends := granted.times(true)
	if ends.Before(before.ExpiresAt) {
		ends = before.ExpiresAt
	}
	if ends.After(now) {
		return ends
	}
	return time.Time{}
}

// stuck tells whether a session with a good refresh token can't get a usable token by renewals that succeed.
func (w world) stuck() bool {
	s, kept := w.state, w.kept
	for range 3 {
		s.pause = time.Time{}
		s = s.AfterOpening(kept)
		switch s.Next(now) {
		case Renew:
			if s.tokens.Refresh == s.lost {
				return true
			}
			access, refresh := w.fresh()
			s = s.AfterGrant(aged(access, refresh, alive, true), now)
			kept, s = s.granted, s.AfterSaving(now)
		case Save:
			kept, s = s.granted, s.AfterSaving(now)
		case Nothing, LogIn, NoTokens:
			return false
		case Wait:
			return true
		}
	}
	return !s.Usable(now)
}

func TestAllReachableStatesKeepThePromises(t *testing.T) {
	t.Parallel()
	from := map[world]string{{}: "nothing"}
	queue := []world{{}}
	transitions := 0
	for len(queue) > 0 {
		w := queue[0]
		queue = queue[1:]
		require.Empty(t, w.broken(), "after %s: %+v", from[w], w)
		require.False(t, w.stuck(), "after %s, nothing leads on: %+v", from[w], w)
		for _, next := range w.steps() {
			transitions++
			require.Empty(t, w.brokenBy(next), "%s, in %+v: %+v", next.name, w, next.world)
			to := next.renamed()
			if _, seen := from[to]; !seen {
				from[to] = next.name
				queue = append(queue, to)
			}
		}
	}
	t.Logf("%d states, %d transitions", len(from), transitions)
	assert.Greater(t, len(from), 10_000)
}

func TestNoTokenIsNotUsable(t *testing.T) {
	t.Parallel()
	assert.False(t, State[int8]{refused: 1}.Usable(now))
	assert.Equal(t, NoTokens, State[int8]{refused: 1}.Next(now))
}

func TestAPauseIsNotMadeLongerByAClockThatIsSetBack(t *testing.T) {
	t.Parallel()
	s := State[int8]{}.AfterOpening(aged(1, 1, lastTenth, true)).AfterFailure(now)
	assert.Equal(t, Nothing, s.Next(now))
	assert.Equal(t, Nothing, s.Next(now.Add(Pause-1)))
	assert.Equal(t, Renew, s.Next(now.Add(Pause)))
	assert.Equal(t, Renew, s.AfterFailure(now.Add(time.Hour)).Next(now))
}

// The tokens of a process have its monotonic clock, and those of a store have not.
func TestTheTimesOfASessionsOwnTokensStay(t *testing.T) {
	t.Parallel()
	begun := time.Now()
	own := Tokens[int8]{Access: 1, Refresh: 1, IssuedAt: begun, ExpiresAt: begun.Add(time.Hour)}
	kept := own
	kept.IssuedAt, kept.ExpiresAt = own.IssuedAt.Round(0), own.ExpiresAt.Round(0)
	s := State[int8]{}.AfterGrant(own, begun).AfterSaving(begun).AfterOpening(kept)
	assert.Equal(t, own, s.Tokens(), "with the monotonic clock")
}

func TestTheWholeLifeOfATokenCounts(t *testing.T) {
	t.Parallel()
	for _, life := range []time.Duration{10 * time.Second, time.Hour, 24 * time.Hour, 365 * 24 * time.Hour} {
		s := State[int8]{}.AfterOpening(Tokens[int8]{Access: 1, Refresh: 1, IssuedAt: now, ExpiresAt: now.Add(life)})
		assert.Equal(t, Nothing, s.Next(now.Add(life*9/10-1)), life)
		assert.Equal(t, Renew, s.Next(now.Add(life*9/10)), life)
		assert.True(t, s.Usable(now.Add(life-1)), life)
		assert.False(t, s.Usable(now.Add(life)), life)
	}
}

func TestAnIDAndABackendAreKept(t *testing.T) {
	t.Parallel()
	tokens := aged(1, 1, alive, true)
	tokens.ID, tokens.BaseURL = "token-1", "https://backend.flashback.tech"
	s := State[int8]{}.AfterGrant(tokens, now)
	assert.Equal(t, tokens, s.Granted())
	assert.Zero(t, s.Tokens())
	assert.Equal(t, tokens, s.AfterSaving(now).Tokens())
	assert.Zero(t, s.AfterSaving(now).Granted())
}
