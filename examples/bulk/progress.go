package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// progress is a bar on a terminal, and a line now and then elsewhere.
type progress struct {
	out io.Writer
	bar *progressbar.ProgressBar // nil elsewhere

	mu        sync.Mutex
	n, of     int
	begun, at time.Time
}

const between = 5 * time.Second // two lines

func newProgress(out io.Writer, of int) *progress {
	p := &progress{out: out, of: of, begun: time.Now(), at: time.Now()}
	if f, ok := out.(*os.File); ok && term.IsTerminal(int(f.Fd())) && of > 0 {
		p.bar = progressbar.NewOptions(of,
			progressbar.OptionSetWriter(out),
			progressbar.OptionSetDescription("activating"),
			progressbar.OptionSetItsString("users"),
			progressbar.OptionShowIts(),
			progressbar.OptionShowCount(),
			progressbar.OptionSetWidth(32),
			progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionSetTheme(progressbar.Theme{Saucer: "█", SaucerPadding: "░"}),
		)
	}
	return p
}

// more adds to what is to be done.
func (p *progress) more(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.of += n
	if p.bar != nil && n > 0 {
		p.bar.ChangeMax(p.of)
	}
}

func (p *progress) done() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.n++
	if p.bar != nil {
		_ = p.bar.Add(1) // a terminal that is gone is no reason to stop
		return
	}
	if time.Since(p.at) >= between {
		p.at = time.Now()
		p.line()
	}
}

func (p *progress) line() {
	rate := float64(p.n) / time.Since(p.begun).Seconds()
	left := time.Duration(float64(p.of-p.n) / rate * float64(time.Second)).Round(time.Second)
	fmt.Fprintf(p.out, "%d of %d users, %.0f a second, %v left\n", p.n, p.of, rate, left)
}

func (p *progress) finish() {
	if p.bar != nil {
		_ = p.bar.Exit()
		fmt.Fprintln(p.out)
	}
}
