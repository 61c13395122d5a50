package throttle

import "time"

const (
	measured = 500 * time.Millisecond // at least, of what was accepted before the first refusal
	atFirst  = 10.0                   // requests a second at least after it, since a few in half a second tell little

	// minRate is in requests a second. With a fourfold, a limit of one request in two seconds refuses 2.7 times as often;
	// with a limit in the place of it that is far lower, a client whose requests are refused by chance does not come back.
	minRate = 0.5

	// In slow start the rate grows e³ times in the time that a refusal costs, of which more than longCost does not count.
	slowStartGain = 3.0
	longCost      = 4 * time.Second

	// After it, the rate is cubicC·n³ above wMax (RFC 9438, 4.2, with K = 0), n being the time in units of what a refusal
	// costs, or of fewest requests. With a fourfold fewest, nginx refuses a third less, and eight clients that share it take
	// twice as long.
	cubicC = 1.0 / 60
	fewest = 1.5
	// After so many units without a refusal the limit must be another one: slow start again. With 8, a bucket of 200 a
	// second takes 1.26 times the ideal instead of 1.17; with 24, a limit that rises tenfold is used after 27 s and not 20.
	restart = 16

	maxGain = 0.25 // of the rate, for one response, which tells little
)

// cubic finds the rate that the server accepts, as CUBIC (RFC 9438) finds a congestion window: by slow start until the
// second refusal, and then along a cubic curve. The curve does not depend on the rate, and the decrease does, so
// that several clients come to share.
type cubic struct {
	rate      float64       // requests a second; 0: nothing was refused
	most      float64       // that was accepted in a second, as far as is known
	wMax      float64       // the rate after the last decrease
	slowStart bool          // the limit has not been found yet
	decreases int           // so far
	accepted  int           // responses since the last decrease; before the first one, for up to a second
	since     time.Time     // the last decrease
	opened    time.Time     // the gate opened again
	cost      time.Duration // of the last refusal
}

// interval is the time between two requests.
func (c *cubic) interval() time.Duration {
	if c.rate == 0 {
		return 0 // what a division by it would be depends on the processor
	}
	return time.Duration(float64(time.Second) / c.rate)
}

// accept learns from a response that was accepted. Its request had to wait or not, and was sent after the last decrease
// or before.
func (c *cubic) accept(now time.Time, waited, after bool) {
	if since := now.Sub(c.since); c.rate == 0 && since > 2*measured { // keep half a second's
		c.accepted, c.since = int(float64(c.accepted)*measured.Seconds()/since.Seconds()), now.Add(-measured)
	}
	c.accepted++
	switch {
	case c.rate == 0:
	case !after && c.decreases == 1: // it belongs to those that were measured
		c.rate += 1 / measured.Seconds()
		c.most += 1 / measured.Seconds()
	case !after, !waited: // more may not have been asked for
	case c.slowStart:
		c.rate += min(slowStartGain/min(c.cost, longCost).Seconds(), maxGain*c.rate)
	default:
		c.grow(now)
	}
}

// grow follows the cubic curve.
func (c *cubic) grow(now time.Time) {
	unit := max(c.cost.Seconds(), fewest/c.wMax)
	n := now.Sub(c.opened).Seconds() / unit
	c.rate += min(c.wMax+n*n*n*cubicC/unit-c.rate, maxGain*c.rate)
	c.slowStart = n > restart
}

// decrease falls back, at the first of refusals in a row: to what was accepted if nothing is known, to a half in slow
// start, and else halfway to what was accepted since the last decrease.
func (c *cubic) decrease(now time.Time) {
	count, since := float64(c.accepted), max(shortest, now.Sub(c.since)) // not 0: a rate of 0/0 would stay
	switch {
	case c.rate == 0:
		c.most = count / max(measured, since).Seconds()
		c.rate = max(atFirst, c.most)
	case c.slowStart:
		c.rate /= 2
	default:
		measured := count / since.Seconds()
		c.most = max(c.most, measured)
		c.rate = min(c.rate, (c.rate+measured)/2)
	}
	c.rate = max(c.rate, minRate)
	c.wMax, c.slowStart = c.rate, c.decreases == 0
	c.accepted, c.since = 0, now
	c.decreases++
}

// startAgain begins slow start at a rate.
func (c *cubic) startAgain(rate float64) { c.rate, c.slowStart = max(rate, minRate), true }

// reopen begins to grow, after refusals in a row that cost some time.
func (c *cubic) reopen(now time.Time, cost time.Duration) { c.opened, c.cost = now, cost }
