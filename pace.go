package flashback

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
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
	queue   []chan struct{} // of calls that wait; who receives is the first
	refused time.Time       // the last time
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

// turn waits for the turn of a request: calls have theirs in the order in which they
// came. It does not wait, and fails, if that will not be before the deadline.
func (p *pacer) turn(ctx context.Context) error {
	deadline, bounded := ctx.Deadline()
	now := time.Now()
	me := make(chan struct{}, 1) // made here, so that fake time passes while one waits for it
	p.mu.Lock()
	wait := max(0, p.next.Sub(now)) + time.Duration(len(p.queue))*p.interval()
	switch {
	case !p.paces(now):
		p.mu.Unlock()
		return nil
	case p.free > 0:
		p.free--
		p.mu.Unlock()
		return nil
	case bounded && !now.Add(wait).Before(deadline):
		p.mu.Unlock()
		return fmt.Errorf("%w by the client itself: its turn, in %v, would come after the deadline (%w)",
			ErrRateLimited, wait.Round(time.Millisecond), context.DeadlineExceeded)
	}
	p.queue = append(p.queue, me)
	if len(p.queue) == 1 {
		me <- struct{}{}
	}
	p.mu.Unlock()
	defer p.leave(me)

	select {
	case <-me:
	case <-ctx.Done():
		return contextError(ctx)
	}
	p.mu.Lock()
	wait = time.Until(p.next)
	p.mu.Unlock()
	if err := sleep(ctx, wait); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := time.Now(); p.paces(now) {
		p.next = p.next.Add(p.interval()) // and not from now on: timers are late
		if p.next.Before(now) {
			p.next = now
		}
	}
	return nil
}

// leave takes a call out of the queue, and lets the one behind the first one on.
func (p *pacer) leave(me chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := slices.Index(p.queue, me)
	p.queue = slices.Delete(p.queue, at, at+1)
	if at == 0 && len(p.queue) > 0 {
		p.queue[0] <- struct{}{}
	}
}

// paces tells whether calls are held back still. The mutex is held.
func (p *pacer) paces(now time.Time) bool {
	if now.Sub(p.refused) > paceQuiet {
		p.on.Store(false)
		p.next = now
	}
	return p.on.Load()
}

func (p *pacer) interval() time.Duration { return time.Duration(float64(time.Second) / p.rate) }

// least is the time between two falls.
func (p *pacer) least() time.Duration {
	return max(paceRound, 3*p.interval())
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
		taken := float64(max(p.count, p.before)) // which the server does not refuse, at least not often
		p.rate = max(paceLeast, p.rate*fall, min(p.rate, taken*paceFastFall))
	}
	p.refused, p.fell = now, now
	p.round.Add(1)
}

// hold waits for the turn of the next attempt.
func (c *call) hold() error {
	if p := c.client.pacer; p == nil || !p.on.Load() {
		return nil
	}
	begun := time.Now()
	err := c.client.pacer.turn(c.ctx)
	if held := time.Since(begun); held >= time.Millisecond {
		c.held += held
		c.log(slog.LevelDebug, "flashback: held back", slog.Duration("wait", held))
	}
	return err
}
