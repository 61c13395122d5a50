package throttle

import (
	"math"
	"time"
)

const (
	measured  = 500 * time.Millisecond // at least, and ...
	responses = 10                     // ... at least so many, while requests are held back
	back      = 0.9                    // of what the server accepted is where it goes on
	gently    = 0.92                   // of it, while it grew fast
	atFirst   = 10.0                   // requests a second, if the server accepted fewer
	rarely    = 1.0 / 3600             // requests a second at least
	fast      = 3.0                    // requests a second more with each response at first: e³ times in a second
	slowly    = 12                     // times what the last refusal cost, or ...
	seldom    = 15                     // ... the time of so many requests: so long it takes to ...
	growth    = 6.0                    // ... grow by so many times the root of the rate, so that clients come to share
)

// pace finds the rate that the server accepts.
type pace struct {
	rate   float64 // requests a second; 0: not known
	base   float64 // the rate after the last refusal
	fast   bool    // it still looks for the limit
	falls  int
	fell   int // the count at the last of them
	opened time.Time
	cost   time.Duration // of the last refusal

	count int     // responses that were no refusal
	marks [6]mark // of the latest of them, the oldest first
}

// A mark tells how many responses had come by a time.
type mark struct {
	at    time.Time
	count int
}

// interval is the time between two requests.
func (p *pace) interval() time.Duration {
	return time.Duration(float64(time.Second) / p.rate)
}

// accepted learns from a response, to a request that was held back or not, and that was sent after the last refusal
// or before.
func (p *pace) accepted(now time.Time, held, after bool) {
	p.mark(now, held)
	p.count++
	switch {
	case p.rate == 0:
	case !after && p.falls == 1: // with those that were measured
		p.rate += back / measured.Seconds()
	case !after, !held: // more may not have been asked for
	case p.fast:
		p.rate += min(fast/max(0.5, p.cost.Seconds()), p.rate/4)
	default:
		part := now.Sub(p.opened).Seconds() / max(slowly*p.cost.Seconds(), seldom/p.base)
		p.rate = p.base + growth*math.Sqrt(p.base)*part*part
	}
}

// mark keeps the marks that the accepted rate is measured from: over half of the time since the last refusal.
func (p *pace) mark(now time.Time, held bool) {
	const periods = len(p.marks) - 1
	last := p.marks[periods]
	age, long, many := now.Sub(last.at), measured, 0
	if held {
		long, many = max(measured, now.Sub(p.opened)/2), responses
	}
	switch {
	case !held && age > 2*measured: // there were few requests
		for i := range p.marks {
			p.marks[i] = mark{now, p.count}
		}
	case age >= long/time.Duration(periods) && p.count-last.count >= many/periods:
		copy(p.marks[:], p.marks[1:])
		p.marks[periods] = mark{now, p.count}
	}
}

// refused falls back, at the first of refusals in a row.
func (p *pace) refused(now time.Time) {
	took := float64(p.count-p.marks[0].count) / max(measured, now.Sub(p.marks[0].at)).Seconds()
	if p.rate == 0 {
		p.rate, p.fast = max(atFirst, took), true
	} else {
		p.rate = min(p.rate, max(took, p.rate/2))
		p.fast = p.fast && p.falls < 3 && p.count-p.fell < responses
	}
	switch p.falls {
	case 0:
		p.rate *= back
	case 1:
		p.rate *= gently // what was accepted while the rate grew fast is less than what is
	default: // who grew much falls much, so that clients come to share
		p.rate = min(back*p.rate, (p.base+p.rate)/2)
	}
	p.rate = max(p.rate, rarely)
	p.base, p.fell = p.rate, p.count
	p.falls++
}

// reopen begins to grow, after refusals in a row that cost some time.
func (p *pace) reopen(now time.Time, cost time.Duration) {
	p.opened, p.cost = now, cost
}
