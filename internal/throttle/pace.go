package throttle

import "time"

const (
	measured = 500 * time.Millisecond // at least, of what was accepted before the first refusal
	atFirst  = 10.0                   // requests a second at least after it, since a few in half a second tell little
	rarely   = 1.0 / 3600             // requests a second at least

	// While it looks for the limit, the rate grows e³ times in the time that a refusal costs: few refusals find it. Who is
	// blocked for long can't look for longer than others.
	fast     = 3.0
	longCost = 4 * time.Second

	// Then it grows slowly, so that refusals cost little. Time is counted in what the last one cost, or in 1.5 requests if
	// that is longer, since fewer tell nothing: after n of these, the rate is n³/60 requests in one of them higher.
	growth  = 60.0
	fewest  = 1.5
	another = 24 // of them without a refusal, and the limit must be another one

	eachGrows = 0.25 // of the rate at most is what it grows by with one response, which tells little
)

// A pace finds the rate that the server accepts, as congestion control does. At first it looks for the limit. Then the
// rate grows slowly, and faster the longer no refusal came. What it grows by does not depend on the rate, and what it
// falls by does, so that clients come to share.
type pace struct {
	rate    float64       // requests a second; 0: nothing was refused
	base    float64       // the rate after the last refusal
	looking bool          // for the limit
	falls   int           // so far
	count   int           // responses that were accepted ...
	fell    time.Time     // ... since the last refusal; before the first one, for up to a second
	opened  time.Time     // requests were accepted again
	cost    time.Duration // of the last refusal
}

// interval is the time between two requests.
func (p *pace) interval() time.Duration {
	if p.rate == 0 {
		return 0 // what a division by it would be depends on the processor
	}
	return time.Duration(float64(time.Second) / p.rate)
}

// accepted learns from a response, to a request that had to wait or not, and that was sent after the last refusal or
// before.
func (p *pace) accepted(now time.Time, waited, after bool) {
	if since := now.Sub(p.fell); p.rate == 0 && since > 2*measured { // keep half a second's
		p.count, p.fell = int(float64(p.count)*measured.Seconds()/since.Seconds()), now.Add(-measured)
	}
	p.count++
	switch {
	case p.rate == 0:
	case !after && p.falls == 1: // it belongs to those that were measured
		p.rate += 1 / measured.Seconds()
	case !after, !waited: // more may not have been asked for
	case p.looking:
		p.rate += min(fast/min(p.cost, longCost).Seconds(), eachGrows*p.rate)
	default:
		unit := max(p.cost.Seconds(), fewest/p.base)
		n := now.Sub(p.opened).Seconds() / unit
		p.rate += min(p.base+n*n*n/growth/unit-p.rate, eachGrows*p.rate)
		p.looking = n > another
	}
}

// refused falls back, at the first of refusals in a row: to what was accepted if nothing is known, to a half while it
// looks for the limit, and else halfway to what was accepted since the last refusal.
func (p *pace) refused(now time.Time) {
	count, since := float64(p.count), now.Sub(p.fell).Seconds()
	switch {
	case p.rate == 0:
		p.rate = max(atFirst, count/max(measured.Seconds(), since))
	case p.looking:
		p.rate /= 2
	default:
		p.rate = min(p.rate, (p.rate+count/since)/2)
	}
	p.rate = max(p.rate, rarely)
	p.base, p.looking = p.rate, p.falls == 0
	p.count, p.fell = 0, now
	p.falls++
}

// reopen begins to grow, after refusals in a row that cost some time.
func (p *pace) reopen(now time.Time, cost time.Duration) {
	p.opened, p.cost = now, cost
}
