package throttle //nolint:testpackage // The law is this package's own, and is explored without the queue around it.

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// world plays responses to a law, one after another.
type world struct {
	law  law
	now  time.Time
	held bool
}

const rtt = 10 * time.Millisecond

func newWorld() *world { return &world{now: time.Unix(1e9, 0)} }

// step is what happens next.
type step func(*world)

// respond is the response to a request that was sent a round trip ago, in this epoch or an earlier one.
func respond(result Result, retryAfter time.Duration, change ...func(*event)) step {
	return func(w *world) {
		e := event{
			Outcome: Outcome{Result: result, RetryAfter: retryAfter}, now: w.now, epoch: w.law.epoch, sent: w.now.Add(-rtt), waited: true,
			firstWait: 250 * time.Millisecond, random: 0.5,
		}
		for _, c := range change {
			c(&e)
		}
		w.held = w.law.after(e)
	}
}

func earlier(e *event)  { e.epoch-- }
func retry(e *event)    { e.retry = true }
func sameCall(e *event) { e.retry, e.again = true, true }

func pass(d time.Duration) step { return func(w *world) { w.now = w.now.Add(d) } }

func untilDue(w *world) { w.now = later(w.now, w.law.due(time.Hour)) }

func send(w *world) { w.law.send(w.now) }

func sendIfDue(w *world) {
	if !w.law.due(time.Hour).After(w.now) {
		w.do(send)
	}
}

func times(n int, steps ...step) step {
	return func(w *world) {
		for range n {
			w.do(steps...)
		}
	}
}

func (w *world) do(steps ...step) {
	for _, s := range steps {
		s(w)
	}
}

func TestTheLaw(t *testing.T) {
	t.Parallel()
	accepted, limited, failed, lost := respond(Accepted, 0), respond(RateLimited, 0), respond(ServerError, 0), respond(NoResponse, 0)
	dead := times(8, failed)
	busy := []step{accepted, times(9, failed, accepted, failed)} // two of three are refused
	probe := []step{untilDue, send, pass(rtt)}
	for name, tt := range map[string]struct {
		steps []step
		state State
		due   time.Duration // from now on
		held  bool
	}{
		"nothing happened":                     {nil, Open, 0, false},
		"all is accepted":                      {[]step{times(100, accepted)}, Open, 0, false},
		"a 429 closes":                         {[]step{limited}, Load, 262500 * time.Microsecond, true},
		"so does a port that is missing":       {[]step{respond(Exhausted, 0)}, Load, 262500 * time.Microsecond, true},
		"a Retry-After is obeyed":              {[]step{respond(RateLimited, 10*time.Second)}, Load, 10100 * time.Millisecond, true},
		"the longest Retry-After counts":       {[]step{respond(RateLimited, 10*time.Second), respond(RateLimited, 20*time.Second, earlier)}, Load, 20100 * time.Millisecond, true},
		"a shorter one does not":               {[]step{respond(RateLimited, 10*time.Second), respond(RateLimited, time.Second, earlier)}, Load, 10100 * time.Millisecond, true},
		"an earlier refusal tells nothing":     {[]step{limited, times(50, respond(RateLimited, 0, earlier))}, Load, 262500 * time.Microsecond, true},
		"the wait grows by a third":            {[]step{limited, times(2, append(probe, limited)...)}, Load, 466667 * time.Microsecond, true},
		"a Retry-After that lies is doubted":   {[]step{times(16, append(probe, respond(RateLimited, time.Second))...)}, Load, 18900 * time.Millisecond, true},
		"a failure now and then":               {[]step{times(100, times(10, accepted), respond(ServerError, 5*time.Second))}, Open, 0, false},
		"a fourth of all fails":                {[]step{times(500, times(3, accepted), failed)}, Open, 0, false},
		"a fourth of all and of the retries":   {[]step{times(500, times(3, respond(Accepted, 0, retry)), respond(ServerError, 0, retry))}, Open, 0, false},
		"more than half are server errors":     {busy, Load, 93 * time.Millisecond, true},
		"more than half get no response":       {[]step{accepted, times(20, lost, accepted, lost)}, Open, 0, false},
		"more than half of the retries fail":   {[]step{times(17, times(20, accepted), respond(ServerError, 0, retry))}, Load, 262500 * time.Microsecond, true},
		"seven failures":                       {[]step{times(7, failed)}, Open, 0, false},
		"eight failures":                       {[]step{dead}, Outage, 262500 * time.Microsecond, false},
		"eight without a connection":           {[]step{times(8, lost)}, Outage, 262500 * time.Microsecond, false},
		"eight failures of two calls":          {[]step{times(2, failed), times(6, respond(ServerError, 0, sameCall))}, Open, 0, false},
		"a failed probe":                       {append([]step{dead}, append(probe, failed)...), Outage, 350 * time.Millisecond, false},
		"the waits in an outage end at 8 s":    {[]step{dead, times(100, append(probe, failed)...)}, Outage, 8400 * time.Millisecond, false},
		"one that was sent before":             {[]step{dead, times(50, respond(ServerError, 0, earlier))}, Outage, 262500 * time.Microsecond, false},
		"one that was accepted ends it":        {append([]step{dead}, append(probe, accepted)...), Load, 80 * time.Millisecond, false},
		"so does one that was sent before":     {[]step{dead, respond(Accepted, 0, earlier)}, Load, 83333 * time.Microsecond, false},
		"another outage at once is load":       {append([]step{dead}, append(append(probe, accepted), times(8, failed))...), Load, 168 * time.Millisecond, true},
		"a canceled attempt tells nothing":     {[]step{dead, respond(Unknown, 0)}, Outage, 262500 * time.Microsecond, false},
		"load that ends for ten seconds":       {append(busy, pass(11*time.Second), times(8, failed)), Outage, 350 * time.Millisecond, false},
		"nothing is heard of a probe":          {[]step{limited, untilDue, send}, Load, 250 * time.Millisecond, true},
		"a 429 to a probe in an outage":        {append([]step{dead}, append(probe, limited)...), Load, 350 * time.Millisecond, true},
		"an outage of those that were limited": {append([]step{limited}, append(append(probe, accepted), pass(time.Minute), times(8, failed))...), Outage, 262500 * time.Microsecond, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			w.do(tt.steps...)
			assert.Equal(t, tt.state, w.law.state)
			assert.Equal(t, tt.held, w.held)
			assert.InDelta(t, tt.due.Seconds(), max(0, w.law.due(time.Hour).Sub(w.now)).Seconds(), 0.02)
		})
	}
}

func TestAProbeIsDueShortlyBeforeCallsStopToWait(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.do(times(8, respond(ServerError, 0)), times(15, untilDue, send, pass(rtt), respond(ServerError, 0)))
	wait := w.now.Sub(w.law.since) + 4*time.Second // the next probe would be due later
	last := w.law.since.Add(wait - wait/32)
	require.Greater(t, w.law.next, last)
	assert.Equal(t, last, w.law.due(wait))
	w.now = last
	w.do(send)
	assert.Equal(t, w.law.next, w.law.due(wait), "once")
}

func TestWhatAWindowTakesAtOnceGoesAtOnce(t *testing.T) {
	t.Parallel()
	atOnce := func(w *world) (n int) {
		for ; !w.law.due(0).After(w.now); n++ {
			w.do(send)
		}
		return n
	}
	window := []step{untilDue, send, pass(rtt), times(100, respond(Accepted, 0), pass(time.Millisecond)), respond(RateLimited, time.Second), untilDue, pass(rtt)}
	w := newWorld()
	w.do(append(window, window...)...)
	w.do(respond(Accepted, 0))
	assert.Equal(t, 99, atOnce(w), "with the probe, what a window takes")
	bucket := newWorld()
	bucket.do(append(window, pass(0), respond(Accepted, 0), times(500, pass(5*time.Millisecond), respond(Accepted, 0)), respond(RateLimited, time.Second), untilDue, pass(rtt), respond(Accepted, 0))...)
	assert.Zero(t, atOnce(bucket), "it was open for longer than it was closed")
}

func TestTheRateGrowsFasterTheLongerNoRefusalCame(t *testing.T) {
	t.Parallel()
	refused := []step{respond(RateLimited, 0), untilDue, send, pass(rtt), respond(Accepted, 0)}
	w := newWorld()
	w.do(append(refused, refused...)...)
	require.False(t, w.law.cubic.slowStart)
	before := w.law.cubic.rate
	w.do(times(10, pass(100*time.Millisecond), respond(Accepted, 0)))
	first := w.law.cubic.rate - before
	w.do(times(10, pass(100*time.Millisecond), respond(Accepted, 0)))
	assert.Positive(t, first)
	assert.Greater(t, w.law.cubic.rate-before-first, first)
	for range 50 {
		w.law.cubic.decrease(w.now) // in the same instant
	}
	assert.InDelta(t, minRate, w.law.cubic.rate, 1e-9, "a rate is not too low")
}

func TestAnOutageThatWasNotProbedLatelyMayBeOver(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.do(times(8, respond(ServerError, 30*time.Second)), pass(10*time.Second))
	assert.True(t, w.law.outlasts(10*time.Second, w.now))
	w.do(pass(20 * time.Second))
	assert.False(t, w.law.outlasts(10*time.Second, w.now))
}

func TestAPacedOperationIsNotHeldForErrorsThatPacingDoesNotMakeFewer(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.do(times(200, respond(Accepted, 0), pass(time.Millisecond)), times(20, respond(ServerError, 0), respond(Accepted, 0), respond(ServerError, 0)))
	require.True(t, w.law.history.errorIsLoad)
	w.do(times(20, untilDue, send, pass(rtt), respond(Accepted, 0), respond(ServerError, 0)))
	assert.False(t, w.law.history.errorIsLoad)
	assert.Equal(t, Open, w.law.state)
}

// TestEveryStateOfTheLaw plays each sequence of seven things that can happen, from several beginnings, and checks what must
// hold in each state.
func TestEveryStateOfTheLaw(t *testing.T) {
	t.Parallel()
	steps := []step{
		sendIfDue, untilDue, pass(rtt), pass(20 * time.Second), respond(Accepted, 0), respond(Accepted, 0, earlier),
		respond(RateLimited, 0), respond(RateLimited, 30*time.Second), respond(ServerError, 0, retry), respond(ServerError, 5*time.Second, earlier),
		times(8, respond(NoResponse, 0)),
	}
	beginnings := [][]step{
		nil, {times(100, respond(Accepted, 0), pass(time.Millisecond))},
		{times(8, respond(ServerError, 0))}, {respond(Accepted, 0), times(17, respond(ServerError, 0), respond(Accepted, 0), respond(ServerError, 0))},
	}
	depth, states := 5, 0
	if testing.Short() {
		depth = 4
	}
	var explore func(w world, left int)
	explore = func(w world, left int) {
		states++
		for i, s := range steps {
			next := w
			s(&next)
			if broken := violation(&w, &next, i); broken != "" {
				t.Fatalf("%s: step %d of %+v led to %+v", broken, i, w.law, next.law)
			}
			if left > 1 {
				explore(next, left-1)
			}
		}
	}
	for _, b := range beginnings {
		w := newWorld()
		w.do(b...)
		explore(*w, depth)
	}
	t.Log(states, "states")
}

// violation tells which rule a step from one state to another broke.
func violation(from, to *world, step int) string {
	a, b := &from.law, &to.law
	responded, current := step >= 4, step != 5 && step != 9
	switch closed := b.refusals > 0; {
	case math.IsNaN(b.cubic.rate) || math.IsInf(b.cubic.rate, 0) || b.cubic.rate != 0 && b.cubic.rate < minRate:
		return "the rate is a number, and not too low"
	case b.epoch < a.epoch || b.epoch > a.epoch+1 && step != 10:
		return "an epoch at a time"
	case responded && !current && b.epoch != a.epoch:
		return "a response to an earlier request does not close"
	case b.next.Before(b.until) && b.epoch != a.epoch:
		return "no request goes out before the wait is over"
	case closed && b.state == Load && b.next.Before(b.asked):
		return "no request goes out before the Retry-After is over"
	case b.state == Open && (closed || b.cubic.rate != 0):
		return "what is open is not limited"
	case b.state != Open && !closed && b.cubic.rate == 0:
		return "what is limited has a rate"
	case b.state == Outage && !closed:
		return "an outage ends when a request is accepted"
	case step == 4 && closed:
		return "an accepted request opens"
	case (step == 6 || step == 7) && (!closed || b.state != Load):
		return "a 429 closes"
	case step == 7 && b.next.Sub(to.now) < 30*time.Second:
		return "a Retry-After is waited for"
	case b.next.Sub(to.now) > 66*time.Second:
		return "the next request is due in a minute"
	case b.epoch == a.epoch && b.asked.Before(a.asked):
		return "a Retry-After does not get shorter"
	case b.state == Outage && b.wait > longestDown:
		return "a wait in an outage is short"
	}
	return ""
}
