package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	flashback "github.com/flashbacknetwork/flashback-go"
)

// write writes REPORT.md and its charts to dir.
func (r *results) write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // It is for everyone to read.
		return err
	}
	if err := r.draw(dir); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "REPORT.md"), []byte(r.markdown()), 0o644) //nolint:gosec // As above.
}

const (
	comparison = "../docs/comparison.md"
	begin      = "<!-- from here: go run . in benchmarks -->\n"
	end        = "<!-- to here -->"
)

// show puts the summary and the charts in the page of the comparison.
func (r *results) show() error {
	text, err := os.ReadFile(comparison)
	if err != nil {
		return err
	}
	before, rest, found := strings.Cut(string(text), begin)
	_, after, foundEnd := strings.Cut(rest, end)
	if !found || !foundEnd {
		return fmt.Errorf("%s has no place for the comparison", comparison)
	}
	return os.WriteFile(comparison, []byte(before+begin+r.summary()+end+after), 0o644) //nolint:gosec // It is for everyone to read.
}

func (r *results) summary() string {
	var b strings.Builder
	b.WriteString(table([]string{"wrong", "given up", "dead server: requests per call", "rate limit: calls lost", "64 workers: connections", "allocations", "time in memory", "on loopback"}, func(i int) []string {
		v := r.verdicts[i]
		return []string{
			share(v.wrong, v.calls), share(v.givenUp, v.calls), fmt.Sprintf("%.2f", r.deadRequests[i]), share(r.limited[i].lost, limitCalls), strconv.FormatInt(r.crowd[i].connections, 10),
			strconv.FormatInt(r.memory[i].allocs, 10), fmt.Sprintf("%.2f", r.memory[i].ratio), fmt.Sprintf("%.2f", r.loopback[i].ratio),
		}
	}))
	fmt.Fprintf(&b, "%s on %s, %s. Verdicts: %d calls, one for every sequence of one or two faults. Times: those by hand are 1.\n\n",
		runtime.Version(), processor(), time.Now().UTC().Format(time.DateOnly), r.verdicts[hand].calls)
	for _, chart := range []string{"verdicts", "dead", "connections", "time", "allocations"} {
		fmt.Fprintf(&b, "![%s](../benchmarks/%s.svg)\n", chart, chart)
	}
	return b.String()
}

func (r *results) markdown() string {
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n\n", args...) }

	say("# Comparison with other SDKs")
	say("The same call with each: `POST /organization/users/{id}/activate` with a bearer token, and the JSON response decoded. " +
		"Each SDK is set up as its documentation says and left at its defaults; the `http.Client` by hand has a Timeout of 30 s. `go run .` in this directory measures all " +
		"of it and writes this page; the times of one run compare with each other and with nothing else.")
	if r.quick {
		say("**A quick run: the times mean little.**")
	}
	b.WriteString(table([]string{"version"}, func(i int) []string { return []string{callers[i].version()} }))
	say("%s on %s/%s, %s (GOMAXPROCS %d), %s.", runtime.Version(), runtime.GOOS, runtime.GOARCH, processor(), runtime.GOMAXPROCS(0), time.Now().UTC().Format(time.DateOnly))

	say("## What a call costs")
	say("![Time of a call](time.svg)")
	say("![Allocations of a call](allocations.svg)")
	say("![Connections that 64 workers open](connections.svg)")
	b.WriteString(table([]string{"time, in memory", "× by hand", "allocations", "bytes", "time, on loopback", "× by hand", "64 workers: connections", "64 workers: time"}, func(i int) []string {
		m, l, c := r.memory[i], r.loopback[i], r.crowd[i]
		return []string{
			m.time.Round(10 * time.Nanosecond).String(), fmt.Sprintf("%.2f", m.ratio), strconv.FormatInt(m.allocs, 10), strconv.FormatInt(m.bytes, 10),
			l.time.Round(100 * time.Nanosecond).String(), fmt.Sprintf("%.2f", l.ratio),
			strconv.FormatInt(c.connections, 10), c.time.Round(time.Millisecond).String(),
		}
	}))
	say("In memory, a transport responds at once. On loopback, the server is in the same process. The callers take turns in %d "+
		"rounds; a ratio is the median of those within a round. The last two columns are %s calls by 64 workers on one client "+
		"with its own transport.", r.rounds, thousands(r.crowdCalls))

	say("## What a caller is told")
	say("![Wrong verdicts and calls given up](verdicts.svg)")
	say("![Requests to a dead server](dead.svg)")
	b.WriteString(table([]string{"wrong", "given up", "of these, done in silence", "requests per call", "dead server: requests per call", "one 503 in five: calls lost"}, func(i int) []string {
		v := r.verdicts[i]
		return []string{
			share(v.wrong, v.calls), share(v.givenUp, v.calls), strconv.Itoa(v.silent),
			fmt.Sprintf("%.2f", float64(v.requests)/float64(v.calls)), fmt.Sprintf("%.2f", r.deadRequests[i]),
			fmt.Sprintf("%d of %s", r.lost[i], thousands(r.lostOf)),
		}
	}))
	say("The first four columns are %d calls, one for every sequence of one or two faults, on a user who is deleted. The call "+
		"could succeed in each. *Wrong* is a success told of what did not happen, or a definite refusal (a 4xx) of what did. "+
		"*Given up* is any other error: a lost response, a 5xx, a response that can't be decoded. *Done in silence* counts those "+
		"among them that had taken effect, where the error does not say that they may have. The caller's deadline is %v, in fake time.",
		r.verdicts[hand].calls, patience)
	best := time.Duration(float64(limitCalls-limitBurst) / limitRate * float64(time.Second))
	b.WriteString(table([]string{"rate limit: requests per call", "calls lost", "time", "× the best possible"}, func(i int) []string {
		l := r.limited[i]
		return []string{
			fmt.Sprintf("%.2f", float64(l.requests)/limitCalls), share(l.lost, limitCalls),
			l.time.Round(100 * time.Millisecond).String(), fmt.Sprintf("%.2f", l.time.Seconds()/best.Seconds()),
		}
	}))
	say("The rate limit: %s calls by 32 workers, in fake time, to a server that takes %d requests a second (%d at once) and responds to the rest with 429 "+
		"with `Retry-After: 1`. Who loses calls may be faster than is possible without.", thousands(limitCalls), limitRate, limitBurst)
	say("The faults: %s. “Acted” means that the call took effect.", endingNames())
	say("A dead server responds to every request with 503.")

	say("## What it does unasked")
	names := make([]string, len(callers))
	for i, c := range callers {
		names[i] = c.name
	}
	b.WriteString(row("", names) + rule(len(callers)+1))
	for n, h := range habits {
		cells := make([]string, len(callers))
		for i := range callers {
			cells[i] = emphasis(i, yesNo(r.habits[n][i]))
		}
		b.WriteString(row(h.question, cells))
	}
	b.WriteString("\n")
	say("The redirects are a 302 and a 307. net/http and go-retryablehttp know no token: there, `%%+v` is of the struct with a token in it that one writes around them.")

	say("## Repeat it")
	b.WriteString("```sh\ncd benchmarks\ngo run .                                                    # all of this page; -test.v tells how far it is\n" +
		"go test -bench . -count 10 | go tool benchstat -col /sdk -  # time and allocations alone\n```\n")
	return b.String()
}

// table is a table with a row for each caller.
func table(head []string, cells func(i int) []string) string {
	var b strings.Builder
	b.WriteString(row("", head) + rule(len(head)+1))
	for i, c := range callers {
		line := cells(i)
		for n := range line {
			line[n] = emphasis(i, line[n])
		}
		b.WriteString(row(emphasis(i, c.name), line))
	}
	return b.String() + "\n"
}

func row(first string, cells []string) string {
	return "| " + first + " | " + strings.Join(cells, " | ") + " |\n"
}

func rule(columns int) string { return "|" + strings.Repeat(" --- |", columns) + "\n" }

// emphasis makes what is said of this SDK bold.
func emphasis(i int, text string) string {
	if i == ours {
		return "**" + text + "**"
	}
	return text
}

func yesNo(yes bool) string {
	if yes {
		return "yes"
	}
	return "no"
}

func share(n, of int) string { return fmt.Sprintf("%d (%.0f %%)", n, 100*float64(n)/float64(of)) }

func thousands(n int) string { return fmt.Sprintf("%d,%03d", n/1000, n%1000) }

func endingNames() string {
	names := make([]string, len(endings))
	for i, e := range endings {
		names[i] = e.name
	}
	return strings.Join(names, "; ")
}

// version is that of the caller's module in this very program.
func (c *caller) version() string {
	switch c.module {
	case "":
		return runtime.Version()
	case callers[ours].module:
		return "v" + flashback.Version
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, dep := range info.Deps {
			if dep.Path == c.module {
				return dep.Version
			}
		}
	}
	return "unknown"
}

// processor is the name of the processor, as far as the system tells it.
func processor() string {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH + " processor"
	}
	for line := range strings.Lines(string(info)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH + " processor"
}
