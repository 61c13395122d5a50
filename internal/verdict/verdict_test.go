package verdict_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/flashbacknetwork/flashback-go/internal/verdict"
)

// meaning is what the rules say of one attempt, written down a second time: the server
// may have applied the request, and trying again may help.
type meaning struct{ applied, retryable bool }

var meanings = map[verdict.Attempt]meaning{
	verdict.NotSent:      {false, true},
	verdict.Unsendable:   {false, false},
	verdict.Lost:         {true, true},
	verdict.TooLarge:     {true, false},
	verdict.Succeeded:    {true, false},
	verdict.Incomplete:   {true, false},
	verdict.Accepted:     {true, false},
	verdict.SuccessFalse: {false, false},
	verdict.Unrecognized: {true, true},
	verdict.Moved:        {true, false},
	verdict.Redirected:   {false, false},
	verdict.Failed:       {true, true},
	verdict.Stale:        {true, true},
	verdict.TooEarly:     {false, true},
	verdict.Throttled:    {false, true},
	verdict.Unauthorized: {false, false},
	verdict.AlreadySo:    {false, false},
	verdict.BadRequest:   {false, false},
	verdict.NotFound:     {false, false},
	verdict.Conflict:     {false, false},
	verdict.Refused:      {false, false},
}

func TestAStatusMeans(t *testing.T) {
	t.Parallel()
	envelope := verdict.Response{Body: verdict.Envelope}
	for _, tt := range []struct {
		statuses []int
		response verdict.Response
		want     verdict.Attempt
	}{
		{[]int{200, 201, 203, 205, 206, 299}, envelope, verdict.Succeeded},
		{[]int{200, 201, 205, 299}, verdict.Response{}, verdict.Unrecognized},
		{[]int{200, 201, 202, 299}, verdict.Response{Body: verdict.EnvelopeSuccessFalse}, verdict.SuccessFalse},
		{[]int{200, 201, 299}, verdict.Response{Body: verdict.Envelope, Incomplete: true}, verdict.Incomplete},
		{[]int{202}, verdict.Response{}, verdict.Accepted},
		{[]int{202}, envelope, verdict.Accepted},
		{[]int{204}, verdict.Response{}, verdict.Succeeded},
		{[]int{204}, verdict.Response{Incomplete: true}, verdict.Incomplete},
		{[]int{301, 302, 303}, envelope, verdict.Moved},
		{[]int{300, 304, 305, 306, 307, 308, 399}, envelope, verdict.Redirected},
		{[]int{400}, envelope, verdict.BadRequest},
		{[]int{400}, verdict.Response{Body: verdict.EnvelopeSuccessFalse, AlreadySo: true}, verdict.AlreadySo},
		{[]int{400}, verdict.Response{Body: verdict.EnvelopeSuccessFalse, Documented: true}, verdict.Refused},
		{[]int{401}, envelope, verdict.Unauthorized},
		{[]int{404}, envelope, verdict.NotFound},
		{[]int{404}, verdict.Response{AlreadySo: true}, verdict.NotFound},
		{[]int{409, 410}, envelope, verdict.Conflict},
		{[]int{425}, envelope, verdict.TooEarly},
		{[]int{429}, envelope, verdict.Throttled},
		{[]int{100, 101, 199, 402, 403, 405, 407, 411, 418, 422, 426, 431, 451, 498, 501, 505}, envelope, verdict.Refused},
		{[]int{408, 499, 500, 502, 503, 504, 506, 507, 511, 599, 600, 999, 99, 0, -1}, envelope, verdict.Failed},
		{[]int{500, 503}, verdict.Response{}, verdict.Failed},
	} {
		for _, status := range tt.statuses {
			tt.response.Status = status
			assert.Equal(t, tt.want, tt.response.Attempt(), "%+v", tt.response)
		}
	}
}

// story is what a tester knows of a call beside its state.
type story struct {
	mayBeApplied bool // an attempt may have been applied
	last         verdict.Attempt
	read         verdict.Reading // since the last attempt
	renewed      bool
	renewing     bool // the new token was not used yet
	begun        bool
}

// node is a state, and what led to it.
type node struct {
	state verdict.State
	story story
}

var (
	rules = func() (all []verdict.Rule) {
		for _, repeat := range []verdict.Retry{verdict.Safe, verdict.Idempotent, verdict.NotIdempotent} {
			for _, when := range []verdict.ReadBackPolicy{verdict.Never, verdict.AfterOddResponse, verdict.WhenAmbiguous, verdict.WhenAmbiguousOrRefused} {
				all = append(all, verdict.Rule{Retry: repeat, ReadBack: when})
			}
		}
		return all
	}()
	readings = []verdict.Reading{verdict.Done, verdict.NotDone, verdict.Absent, verdict.Other, verdict.Inconclusive}
)

// successors are all states that can follow one that has not ended.
func successors(rule verdict.Rule, n node) (after map[string]node) {
	after = map[string]node{}
	attempt := func(state verdict.State, s story) {
		for a, m := range meanings {
			for _, repeated := range []bool{false, true} {
				next := s
				next.begun, next.last, next.read, next.renewing = true, a, verdict.Unread, false
				if rule.Retry != verdict.Safe && (m.applied || repeated) {
					next.mayBeApplied = true
				}
				after[fmt.Sprint(a, repeated)] = node{state.After(a, repeated), next}
			}
		}
	}
	if n.state.NextIfNotApplied() == verdict.AttemptWithNewToken { // the token is asked for before a read-back
		s := n.story
		s.renewed, s.renewing = true, true
		after["renewed"] = node{n.state.AfterNewToken(), s}
	}
	switch n.state.Next() {
	case verdict.Stop, verdict.AttemptWithNewToken:
	case verdict.AttemptAgain:
		attempt(n.state, n.story)
	case verdict.ReadBack:
		for _, r := range readings {
			s := n.story
			s.read = r
			after[fmt.Sprint("read ", r)] = node{n.state.AfterReadBack(r), s}
		}
	}
	return after
}

// violation says what is wrong with a state, or "".
func violation(rule verdict.Rule, n node) string {
	s, v, next := n.story, n.state.Verdict(), n.state.Next()
	succeeded := s.begun && s.last == verdict.Succeeded
	proven := s.read == verdict.Done || s.mayBeApplied && s.last == verdict.AlreadySo
	doubt := s.mayBeApplied || s.read == verdict.Other || s.read == verdict.Inconclusive
	m := meanings[s.last]
	switch {
	case (v == verdict.Success) != succeeded:
		return "a success is an attempt that succeeded, and no other"
	case (v == verdict.Recovered) != (!succeeded && proven):
		return "recovered is what was proven after an ambiguous attempt, and no other"
	case (v == verdict.Failure) != (!succeeded && !proven && !doubt):
		return "a failure is what can't have been applied, and no other"
	case (v == verdict.Unknown) != (!succeeded && !proven && doubt):
		return "unknown is what may have been applied, and nothing settled"
	case rule.Retry == verdict.Safe && rule.ReadBack == verdict.Never && v == verdict.Unknown:
		return "what is safe is never unknown"
	case (succeeded || proven) && next != verdict.Stop:
		return "what has succeeded is over"
	}
	again := next == verdict.AttemptAgain || next == verdict.AttemptWithNewToken
	switch {
	case again && s.begun && !m.retryable && s.last != verdict.Unauthorized:
		return "what stands is not repeated"
	case next == verdict.AttemptWithNewToken && (s.renewed || s.last != verdict.Unauthorized):
		return "another token is tried once, after a 401"
	case s.renewing && next == verdict.Stop && (s.read == verdict.Unread || s.read == verdict.NotDone):
		return "another token is tried"
	case again && rule.Retry == verdict.NotIdempotent && s.mayBeApplied && s.read != verdict.NotDone:
		return "what is not idempotent is not repeated after an ambiguous attempt"
	case again && s.mayBeApplied && rule.ReadBack >= verdict.WhenAmbiguous && s.read != verdict.NotDone && s.read != verdict.Absent && s.read != verdict.Inconclusive:
		return "there is a read-back before it is repeated"
	case next == verdict.ReadBack && s.read != verdict.Unread:
		return "a read-back is not repeated"
	case next == verdict.ReadBack && rule.ReadBack == verdict.Never:
		return "there is no read-back where there is none"
	case next == verdict.Stop && s.begun && m.retryable && !doubt && rule.Retry != verdict.NotIdempotent:
		return "given up where it could succeed"
	case next == verdict.Stop && s.begun && m.retryable && !succeeded && !proven && rule.Retry != verdict.NotIdempotent && rule.ReadBack <= verdict.AfterOddResponse:
		return "what is idempotent is repeated"
	case next == verdict.Stop && s.begun && m.retryable && s.read == verdict.Inconclusive && rule.Retry != verdict.NotIdempotent:
		return "what is idempotent is repeated after a read-back that was inconclusive"
	case next != verdict.ReadBack && s.begun && s.read == verdict.Unread && s.mayBeApplied && !succeeded && !proven && rule.ReadBack >= verdict.WhenAmbiguous:
		return "an ambiguous attempt is read back"
	}
	refusal := slices.Contains([]verdict.Attempt{verdict.BadRequest, verdict.NotFound, verdict.Conflict}, s.last)
	switch {
	case next != verdict.ReadBack && s.begun && refusal && s.read == verdict.Unread && rule.ReadBack == verdict.WhenAmbiguousOrRefused:
		return "a refusal that a proxy's repetition may have got is read back"
	case next != verdict.ReadBack && s.begun && s.mayBeApplied && s.read == verdict.Unread && rule.ReadBack == verdict.AfterOddResponse &&
		(s.last == verdict.BadRequest || s.last == verdict.Accepted || s.last == verdict.Incomplete):
		return "a doubt is read back"
	case n.state.Throttled() != (s.begun && s.last == verdict.Throttled):
		return "a 429 is a rate limit, and nothing else is"
	}
	return ""
}

// TestEveryReachableState explores all states of all rules, whatever the number of
// attempts: a state is a comparable value, so there is an end to them.
func TestEveryReachableState(t *testing.T) {
	t.Parallel()
	states, transitions := 0, 0
	for _, rule := range rules {
		start := node{state: verdict.New(rule)}
		require.Equal(t, verdict.Failure, start.state.Verdict(), "nothing was sent")
		require.Equal(t, verdict.AttemptAgain, start.state.Next(), "the first attempt")
		seen := map[node]bool{start: true}
		for queue := []node{start}; len(queue) > 0; queue = queue[1:] {
			n := queue[0]
			require.Empty(t, violation(rule, n), "rule %+v, %+v", rule, n)
			for _, next := range successors(rule, n) {
				transitions++
				if !seen[next] {
					seen[next] = true
					queue = append(queue, next)
				}
			}
		}
		states += len(seen)
	}
	t.Logf("%d states, %d transitions, 0 violations", states, transitions)
	assert.Greater(t, states, 500)
}

// The controls: states that the rules must be found to forbid.
func TestTheViolationsAreFound(t *testing.T) {
	t.Parallel()
	rule := verdict.Rule{Retry: verdict.NotIdempotent}
	lost := verdict.New(rule).After(verdict.Lost, false)
	for name, n := range map[string]node{
		"a lost response that counts as a failure": {lost, story{begun: true, last: verdict.Lost}},
		"a refusal that counts as unknown":         {verdict.New(rule).After(verdict.Refused, false), story{begun: true, mayBeApplied: true, last: verdict.Refused}},
		"a success that is none":                   {verdict.New(rule).After(verdict.Succeeded, false), story{begun: true, last: verdict.SuccessFalse}},
		"giving up":                                {lost, story{begun: true, last: verdict.NotSent}},
		"a new token that is not used": {
			verdict.New(rule).After(verdict.Refused, false), story{begun: true, last: verdict.Unauthorized, renewed: true, renewing: true},
		},
	} {
		assert.NotEmpty(t, violation(rule, n), name)
	}
}

func TestAServerHasRespondedIfItHasDecided(t *testing.T) {
	t.Parallel()
	start := verdict.New(verdict.Rule{Retry: verdict.Idempotent, ReadBack: verdict.WhenAmbiguous})
	assert.False(t, start.Responded())
	silent := []verdict.Attempt{
		verdict.NotSent, verdict.Unsendable, verdict.Lost, verdict.TooLarge, verdict.Unrecognized, verdict.Failed, verdict.TooEarly, verdict.Throttled,
	}
	for a := range meanings {
		assert.Equal(t, !slices.Contains(silent, a), start.After(a, false).Responded(), "%v", a)
	}
	lost := start.After(verdict.Lost, false)
	for _, r := range readings {
		assert.Equal(t, r != verdict.Inconclusive, lost.AfterReadBack(r).Responded(), "%v", r)
	}
}

func TestNextIfNotAppliedIsWhatFollowsAReadBackThatLeavesTheCallFree(t *testing.T) {
	t.Parallel()
	start := verdict.New(verdict.Rule{Retry: verdict.Idempotent, ReadBack: verdict.WhenAmbiguous})
	assert.Equal(t, verdict.AttemptAgain, start.After(verdict.Lost, false).NextIfNotApplied())
	assert.Equal(t, verdict.Stop, start.After(verdict.Moved, false).NextIfNotApplied())
	assert.Equal(t, verdict.AttemptWithNewToken, start.After(verdict.Unauthorized, false).NextIfNotApplied())
}
