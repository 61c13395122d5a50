package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/term"
	"golang.org/x/time/rate"
)

// progress is a bar on a terminal, and a line now and then elsewhere. It shows what all
// processes do together.
type progress struct {
	out io.Writer
	bar bool

	lines, errors rate.Sometimes
	throttled     atomic.Int64 // when there was last a sign of a rate limit, in Unix time

	mu             sync.Mutex
	oldDue, newDue int // how many users were due at two times
	oldAt, newAt   time.Time
}

func newProgress(out io.Writer) *progress {
	f, ok := out.(*os.File)
	return &progress{
		out: out, bar: ok && term.IsTerminal(int(f.Fd())),
		lines: rate.Sometimes{Interval: 5 * time.Second}, errors: rate.Sometimes{Interval: 15 * time.Second},
	}
}

// update shows how many users are due, and with how many of them a process is busy, or
// was when it was killed. At a rate limit the rate is what it lets through.
func (p *progress) update(all, due, running int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if p.oldAt.IsZero() || due > p.newDue { // another process has added some
		p.oldDue, p.oldAt, p.newDue, p.newAt = due, now, due, now
	} else if now.Sub(p.newAt) > 10*time.Second {
		p.oldDue, p.oldAt, p.newDue, p.newAt = p.newDue, p.newAt, due, now
	}
	speed := float64(p.oldDue-due) / max(now.Sub(p.oldAt).Seconds(), 1e-3)
	text := fmt.Sprintf("%d of %d users, %d begun, %.0f a second", all-due, all, running, speed)
	if time.Now().Unix()-p.throttled.Load() < 10 {
		text += " (the rate limit)"
	}
	if speed > 0 {
		text += fmt.Sprintf(", %v left", time.Duration(float64(due)/speed*float64(time.Second)).Round(time.Second))
	}
	if !p.bar {
		p.lines.Do(func() { fmt.Fprintln(p.out, text) })
		return
	}
	const width = 24
	full := width * (all - due) / max(all, 1)
	fmt.Fprintf(p.out, "\r%s%s %s\x1b[K", strings.Repeat("█", full), strings.Repeat("░", width-full), text)
}

// say writes a line of its own.
func (p *progress) say(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
	fmt.Fprintf(p.out, format+"\n", args...)
}

// Write shows an error that River logs, which is the store's, now and then.
func (p *progress) Write(line []byte) (int, error) {
	p.errors.Do(func() {
		p.say("The store fails, and no user is begun until it works again: %s", strings.TrimSpace(string(line)))
	})
	return len(line), nil
}
