package throttle

import (
	"fmt"
	"math"
	"os"
	"strconv"
	"time"
)

var Trace = os.Getenv("TRACE") != ""

func param(name string, d float64) float64 {
	if v, err := strconv.ParseFloat(os.Getenv(name), 64); err == nil {
		return v
	}
	return d
}

var (
	atFirst = param("ATFIRST", 10.0)      // requests a second
	rarely  = param("RARELY", 1.0/3600)   // requests a second at least
	fast    = param("FAST", 3.0)          // requests more with each response
	slowly  = param("SLOWLY", 12)         // times what the last refusal cost, or ...
	seldom  = param("SELDOM", 5)         // ... the time of so many requests: so long it takes to ...
	growth  = param("GROWTH", 6.0)        // ... grow by so many times the root of the rate, so that clients come to share
	again   = param("AGAIN", 2.0)
	cap = param("CAP", 1)
	mint    = param("MINT", .3)
	half    = param("HALF", 0.5)
	most    = param("MOST", 0.95)
)

// pace finds the rate that the server accepts.
type pace struct {
	rate   float64 // requests a second; 0: not known
	base   float64 // the rate after the last refusal
	fast   bool    // it still looks for the limit
	falls  int
	fell   time.Time
	opened time.Time
	cost   time.Duration // of the last refusal

	count int // responses that were no refusal
}

// interval is the time between two requests.
func (p *pace) interval() time.Duration {
	return time.Duration(float64(time.Second) / p.rate)
}

// accepted learns from a response, to a request that was held back or not, and that was sent after the last refusal
// or before.
func (p *pace) accepted(now time.Time, held, after bool) {
	p.count++
	switch {
	case p.rate == 0:
		if now.Sub(p.fell) > time.Second {
			p.fell, p.count = now, 1
		}
	case !after && p.falls == 1:
		p.rate += 2
	case !after, !held: // more may not have been asked for
	case p.fast:
		p.rate += fast / max(0.001, p.cost.Seconds())
	default:
		part := now.Sub(p.opened).Seconds() / max(slowly*p.cost.Seconds(), seldom/p.base, mint)
		if part > again {
			p.fast = true
		}
		p.rate = p.base + min(growth*math.Sqrt(p.base), cap*p.base)*part*part
	}
}

// refused falls back, at the first of refusals in a row.
func (p *pace) refused(now time.Time) {
	was := p.rate
	g := 0.0
	if p.rate == 0 {
		p.rate, p.fast = max(atFirst, float64(p.count)/max(.5, now.Sub(p.fell).Seconds())), true
	} else {
		g = float64(p.count) / now.Sub(p.fell).Seconds()
		if p.fast {
			g = 0
		}
		p.rate = min(most*p.rate, half*p.rate+(1-half)*g)
		p.fast = false
	}
	p.rate = max(p.rate, rarely)
	if Trace {
		fmt.Printf("%v %p fall %d was %.1f took %.1f now %.1f\n", now.Sub(now.Truncate(time.Hour)).Round(time.Millisecond), p, p.falls, was, g, p.rate)
	}
	p.base, p.fell, p.count = p.rate, now, 0
	p.falls++
}

// reopen begins to grow, after refusals in a row that cost some time.
func (p *pace) reopen(now time.Time, cost time.Duration) {
	p.opened, p.cost = now, cost
}
