package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"
	"golang.org/x/time/rate"
)

// progress is a bar on a terminal, and a line now and then elsewhere. It shows what all
// processes do together. It has no colors.
type progress struct {
	out   io.Writer
	width func() int // of the terminal; 0 without one

	lines, errors rate.Sometimes
	throttled     atomic.Int64 // when there was last a sign of a rate limit, in Unix time

	mu     sync.Mutex
	seen   []sample // one a second, of the last minute
	closed time.Time
	said   string // what it waits for, so that each is said once
	last   string
}

// sample is how many users were due at a time.
type sample struct {
	at  time.Time
	due int
}

func newProgress(out io.Writer, env func(string) string) *progress {
	p := &progress{
		out: out, width: func() int { return 0 },
		lines: rate.Sometimes{Interval: 5 * time.Second}, errors: rate.Sometimes{Interval: 15 * time.Second},
	}
	if f, ok := out.(*os.File); ok && term.IsTerminal(int(f.Fd())) && env("TERM") != "dumb" {
		p.width = func() int {
			width, _, err := term.GetSize(int(f.Fd()))
			if err != nil || width <= 0 {
				return 80
			}
			return width
		}
	}
	return p
}

// update shows how many users are done, and with how many a process is busy. At a rate limit
// the rate is what it lets through.
func (p *progress) update(n counts) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.show(p.text(time.Now(), n), n)
}

// show writes text behind a bar as far as there is room, or now and then as a line.
func (p *progress) show(text string, n counts) {
	width := p.width()
	if width == 0 {
		if p.last != text {
			p.lines.Do(func() { p.last = text; fmt.Fprintln(p.out, text) })
		}
		return
	}
	line := []rune(text)
	if room := width - 1; len(line) > room { // a full line would scroll
		line = line[:max(room, 0)]
	} else if wide := min(room-len(line)-1, 24); wide >= 4 {
		full := wide * (n.all - n.due) / max(n.all, 1)
		line = []rune(strings.Repeat("█", full) + strings.Repeat("░", wide-full) + " " + text)
	}
	fmt.Fprintf(p.out, "\r%s\x1b[K", string(line))
}

func (p *progress) text(now time.Time, n counts) string {
	text := fmt.Sprintf("%d of %d users done, %d begun", n.all-n.due, n.all, n.running)
	switch speed, known := p.speed(now, n.due); {
	case p.closed.After(now):
		text += "; rate limit until " + p.closed.Format(time.TimeOnly)
	case n.paused:
		text += "; paused on the page"
	case known:
		text += fmt.Sprintf(", %.0f a second", speed)
		if now.Unix()-p.throttled.Load() < 10 {
			text += " (rate limit)"
		}
		if left := time.Duration(float64(n.due) / speed * float64(time.Second)); n.due > 0 {
			text += fmt.Sprintf(", %v left", left.Round(time.Second))
		}
	}
	return text
}

// speed is how many users a second were done in the last minute; it is unknown at first, and
// while nobody is done.
func (p *progress) speed(now time.Time, due int) (speed float64, known bool) {
	if n := len(p.seen); n > 0 && due > p.seen[n-1].due { // another process has added some
		p.seen = nil
	}
	if n := len(p.seen); n == 0 || now.Sub(p.seen[n-1].at) >= time.Second {
		p.seen = append(p.seen, sample{now, due})
	}
	for now.Sub(p.seen[0].at) > time.Minute {
		p.seen = p.seen[1:]
	}
	took, done := now.Sub(p.seen[0].at), p.seen[0].due-due
	return float64(done) / max(took.Seconds(), 1), took >= 5*time.Second && done > 0
}

// closedFor says until when a long rate limit lasts.
func (p *progress) closedFor(d time.Duration) {
	p.mu.Lock()
	until := time.Now().Add(d)
	news := d > time.Minute && until.Sub(p.closed) > time.Minute
	if d > 2*time.Second && until.After(p.closed) {
		p.closed = until
	}
	p.mu.Unlock()
	if news {
		p.say("The rate limit is used up until %s. The run goes on by itself then; it can also be ended, and resumed.", until.Format("15:04:05 on 2 January"))
	}
}

// waitsFor says what is waited for, unless it was the last thing that was said so.
func (p *progress) waitsFor(what string) {
	p.mu.Lock()
	news := p.said != what
	p.said = what
	p.mu.Unlock()
	if news && what != "" {
		p.say("%s", what)
	}
}

// say writes a line of its own.
func (p *progress) say(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.width() > 0 {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
	fmt.Fprintln(p.out, strings.TrimRight(printable(fmt.Sprintf(format, args...)), "\n"))
}

// end writes the last state, as a whole line.
func (p *progress) end(n counts) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.width() > 0 {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
	fmt.Fprintf(p.out, "%d of %d users done.\n", n.all-n.due, n.all)
}

// printable is a text without what could steer a terminal: escape sequences, and what changes
// the direction of the text. Lines stay.
func printable(text string) string {
	var out strings.Builder
	for _, r := range text {
		switch {
		case r == '\n' || unicode.IsPrint(r) && r != utf8.RuneError:
			out.WriteRune(r)
		default:
			fmt.Fprintf(&out, "\\u%04x", r)
		}
	}
	return out.String()
}

// storeErrors is a handler for River's log: it has errors of the store only.
type storeErrors struct{ p *progress }

func (storeErrors) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelError }

func (h storeErrors) Handle(_ context.Context, r slog.Record) error {
	why := r.Message
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "err" || a.Key == "error" {
			why = a.Value.String()
		}
		return true
	})
	h.p.errors.Do(func() {
		h.p.say("The store fails, and no user is begun until it works again: %s", why)
	})
	return nil
}

func (h storeErrors) WithAttrs([]slog.Attr) slog.Handler { return h }

func (h storeErrors) WithGroup(string) slog.Handler { return h }
