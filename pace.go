package flashback

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// pacer finds the rate that the server takes, once it has answered 429, and spaces
// the client's requests to it. It does so as TCP does: it begins with what the
// server has taken, grows fast until the server refuses, and from then on grows
// slowly and falls back whenever the server refuses.
type pacer struct {
	on    atomic.Bool
	round atomic.Int64 // changes with each fall: a request of a round before tells nothing new

	mu      sync.Mutex
	rate    float64 // requests a second
	growing bool    // fast
	falling bool    // fast: the server has refused since it grew fast
	free    int     // requests that are not held back yet
	next    time.Time
	refused time.Time // the last time
	fell    time.Time

	// How many answers other than 429 came in this second, and in the one before.
	second        time.Time
	count, before int
}

const (
	paceStart    = 10.0 // requests a second at the beginning, if the server took fewer
	paceLeast    = 1.0
	paceFree     = 5    // requests before the first is held back: few callers need no pacing
	paceFast     = 3.0  // requests a second more with each answer: e³ times in a second
	paceSlow     = 0.05 // and then: 5 % in a second
	paceFastFall = 0.7
	paceSlowFall = 0.85
	paceRound    = 100 * time.Millisecond // between two falls at least
	paceQuiet    = 30 * time.Second       // without a 429, after which it is out of the way
)

// turn reserves the time of the next request. It is not ok, and nothing is
// reserved, if that is not before the deadline.
func (p *pacer) turn(deadline time.Time, bounded bool) (wait time.Duration, ok bool) {
	if p == nil || !p.on.Load() {
		return 0, true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if now.Sub(p.refused) > paceQuiet {
		p.on.Store(false)
		return 0, true
	}
	if p.free > 0 {
		p.free--
		return 0, true
	}
	if p.next.Before(now) {
		p.next = now
	}
	if bounded && !p.next.Before(deadline) {
		return p.next.Sub(now), false
	}
	wait = p.next.Sub(now)
	p.next = p.next.Add(time.Duration(float64(time.Second) / p.rate))
	return wait, true
}

// least is the time between two falls.
func (p *pacer) least() time.Duration {
	return max(paceRound, time.Duration(3*float64(time.Second)/p.rate))
}

// current is the round of a request that is sent now.
func (p *pacer) current() int64 {
	if p == nil {
		return 0
	}
	return p.round.Load()
}

// answered learns from an answer to a request of a round.
func (p *pacer) answered(refused bool, round int64) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if age := now.Sub(p.second); age >= time.Second {
		p.before, p.count = p.count, 0
		if age >= 2*time.Second {
			p.before = 0
		}
		p.second = now
	}
	switch {
	case !refused:
		p.count++
		if p.growing {
			p.rate += paceFast
		} else {
			p.rate += paceSlow
		}
		return
	case !p.on.Load():
		p.rate, p.growing = max(paceStart, float64(p.count), float64(p.before)), true
		p.free, p.next = paceFree, now
		p.on.Store(true)
	case round != p.round.Load() || now.Sub(p.fell) < p.least():
		p.refused = now
		return
	default:
		p.falling = p.growing || p.falling && now.Sub(p.fell) < 4*p.least()
		p.growing = false
		fall := paceSlowFall
		if p.falling {
			fall = paceFastFall
		}
		p.rate = max(paceLeast, p.rate*fall)
	}
	p.refused, p.fell = now, now
	p.round.Add(1)
}

// hold waits for the turn of the next attempt.
func (c *call) hold() error {
	deadline, bounded := c.ctx.Deadline()
	wait, ok := c.client.pacer.turn(deadline, bounded)
	if !ok {
		return fmt.Errorf("%w by the client itself: its turn, in %v, would come after the deadline (%w)",
			ErrRateLimited, wait.Round(time.Millisecond), context.DeadlineExceeded)
	}
	if wait == 0 {
		return nil
	}
	c.held += wait
	c.log(slog.LevelDebug, "flashback: held back", slog.Duration("wait", wait))
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-c.ctx.Done():
		return contextError(c.ctx)
	case <-timer.C:
		return nil
	}
}
