package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

// progress is a bar on a terminal, and a line now and then elsewhere. It shows what all
// processes do together.
type progress struct {
	out io.Writer
	of  int
	bar bool

	mu        sync.Mutex
	first     int       // due at first
	begun, at time.Time // and when the last line was written
}

func newProgress(out io.Writer, of, due int) *progress {
	f, ok := out.(*os.File)
	return &progress{out: out, of: of, bar: ok && term.IsTerminal(int(f.Fd())), first: due, begun: time.Now(), at: time.Now()}
}

// update shows how many users are due. At a rate limit the rate is what the limit lets
// through.
func (p *progress) update(due int, throttled bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.of, p.first = max(p.of, due), max(p.first, due) // another process may add some
	rate := float64(p.first-due) / time.Since(p.begun).Seconds()
	text := fmt.Sprintf("%d of %d users, %.0f a second", p.of-due, p.of, rate)
	if throttled {
		text += " (the rate limit)"
	}
	if rate > 0 {
		text += fmt.Sprintf(", %v left", time.Duration(float64(due)/rate*float64(time.Second)).Round(time.Second))
	}
	const width, between = 24, 5 * time.Second
	switch full := width * (p.of - due) / max(p.of, 1); {
	case p.bar:
		fmt.Fprintf(p.out, "\r%s%s %s\x1b[K", strings.Repeat("█", full), strings.Repeat("░", width-full), text)
	case time.Since(p.at) >= between:
		p.at = time.Now()
		fmt.Fprintln(p.out, text)
	}
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
