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
	lost := func(cell func(n int) string) (cells []string) {
		for n := range limiteds {
			cells = append(cells, cell(n))
		}
		return cells
	}
	head := lost(func(n int) string { return limiteds[n].label() + ": lost" })
	b.WriteString(table(r.all, append([]string{"wrong", "given up", "dead server: requests per call", "deletes through nginx: wrong"}, head...), func(i int) []string {
		f := r.failures[i]
		v, deletes := f.verdicts, "left out"
		if r.noNginx == nil {
			deletes = percent(r.nginx[i][1].wrong, r.nginx[i][1].calls)
		}
		return append([]string{percent(v.wrong, v.calls), percent(v.givenUp, v.calls), ratio(f.dead), deletes},
			lost(func(n int) string { return percent(f.limited[n].lost, limiteds[n].calls) })...)
	}))
	fmt.Fprintf(&b, "The first two columns are of %d calls, one for every sequence of one or two faults.\n\n", r.failures[hand].verdicts.calls)
	b.WriteString(table(callers, []string{
		"time in memory", "on loopback", "allocations", fmt.Sprintf("list of %s users: time", thousands(r.cost.users)), "its allocations", "64 workers: connections",
	}, func(i int) []string {
		m, list := r.cost.memory[i], r.cost.list[i]
		return []string{
			ratio(m.ratio), ratio(r.cost.loopback[i].ratio), thousands(m.allocs), ratio(list.ratio), thousands(list.allocs), thousands(r.cost.crowd[i].connections),
		}
	}))
	fmt.Fprintf(&b, "%s on %s, %s. Times are in times those by hand.\n\n", runtime.Version(), processor(), time.Now().UTC().Format(time.DateOnly))
	r.summarizeManagers(&b)
	for _, c := range r.charts() {
		fmt.Fprintf(&b, "![%s](../benchmarks/%s)\n\n", c.title, c.file)
	}
	return b.String()
}

func (r *results) markdown() string {
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n\n", args...) }
	charts := r.charts()
	show := func(i int) { say("![%s](%s)", charts[i].title, charts[i].file) }

	say("# Comparison with other SDKs")
	say("The same call with each: `POST /organization/users/{id}/activate` with a bearer token, and the JSON response decoded. " +
		"Each SDK is set up as its documentation says and left at its defaults; the `http.Client` by hand has a Timeout of 30 s. `go run .` in this directory measures all " +
		"of it and writes this page; the times of one run compare with each other and with nothing else.")
	if r.quick {
		say("**A quick run: the times mean little.**")
	}
	b.WriteString(table(callers, []string{"version"}, func(i int) []string { return []string{callers[i].version()} }))
	say("%s on %s/%s, %s (GOMAXPROCS %d), %s.", runtime.Version(), runtime.GOOS, runtime.GOARCH, processor(), runtime.GOMAXPROCS(0), time.Now().UTC().Format(time.DateOnly))
	say("*Tuned* is the same SDK with %d retries and a timeout of %v for each attempt; gitlab client-go also with `WithOnlyIdempotentRetries`, its setting against repeated POSTs, "+
		"and openai-go without the timeout, which would end its waits too. flashback-go is always at its defaults.", retries, timeout)

	say("## What a caller is told")
	show(verdictsChart)
	show(deadChart)
	b.WriteString(failuresTable(r.all, r.failures))
	say("The first four columns are %d calls, one for every sequence of one or two faults, on a user who is deleted. The call "+
		"could succeed in each. *Wrong* is a success told of what was not applied, or a definite refusal (a 4xx) of what was. "+
		"*Given up* is any other error: a lost response, a 5xx, a response that can't be decoded. *Applied in silence* counts those "+
		"among them that were applied, where the error does not say that they may have been. The caller's deadline is %v, in fake time.",
		r.failures[hand].verdicts.calls, patience)
	say("The faults: %s. A dead server responds to every request with 503. Less than one request per call: while all requests of an operation fail, "+
		"calls of flashback-go wait, for 30 s at most, and fail without a request of their own, but for those that ask whether the server is back.", endingNames())

	say("## Behind nginx at its defaults")
	if r.noNginx != nil {
		say("Left out: %v.", r.noNginx)
	} else {
		b.WriteString(table(r.all, []string{"activate: wrong", "given up", "requests per call", "delete: wrong", "given up", "requests per call"}, func(i int) (cells []string) {
			for _, v := range r.nginx[i] {
				cells = append(cells, share(v.wrong, v.calls), share(v.givenUp, v.calls), perCalls(v.requests, v.calls))
			}
			return cells
		}))
		say("%s calls each by 32 workers on one client. The backend applies one request in ten and cuts the connection. nginx (`upstream` with `keepalive 16`, nothing else set) then responds "+
			"with 502 to a POST, and sends a DELETE once more by itself if it had kept the connection; this backend refuses a second delete with 400. The requests are those that the backend got, with those of nginx and of read-backs.",
			thousands(r.nginx[hand][0].calls))
	}

	say("## Rate limits")
	show(limitsChart)
	b.WriteString(limitsTable(r.all, r.failures))
	say("%s In fake time; a response takes %v. The bucket takes 20 requests at once; the minutes are the clock's. The server responds to the rest with 429, "+
		"with a `Retry-After` of 1 s, or of what is left of the minute. "+
		"The best time is the least in which all can succeed: who loses calls may be faster. godo and gitlab client-go take a limiter of one's own for a rate that is known; there is none here.",
		limitedCalls(), latency)

	r.sayManagers(&b)

	say("## What a call costs")
	show(timeChart)
	b.WriteString(table(callers, []string{"time, in memory", "× by hand", "allocations", "bytes", "time, on loopback", "× by hand", "64 workers: connections", "64 workers: time"}, func(i int) []string {
		m, l, c := r.cost.memory[i], r.cost.loopback[i], r.cost.crowd[i]
		return []string{
			m.time.Round(10 * time.Nanosecond).String(), ratio(m.ratio), strconv.FormatInt(m.allocs, 10), strconv.FormatInt(m.bytes, 10),
			l.time.Round(100 * time.Nanosecond).String(), ratio(l.ratio), thousands(c.connections), c.time.Round(time.Millisecond).String(),
		}
	}))
	say("In memory, a transport responds at once. On loopback, the server is in the same process. The callers take turns in %d "+
		"rounds; a ratio is the median of those within a round. The last two columns are %s calls by 64 workers on one client "+
		"with its own transport.", r.rounds, thousands(r.cost.crowdCalls))
	b.WriteString(table(callers, []string{fmt.Sprintf("list of %s users: time", thousands(r.cost.users)), "× by hand", "allocations", "MiB allocated"}, func(i int) []string {
		l := r.cost.list[i]
		return []string{l.time.Round(time.Millisecond).String(), ratio(l.ratio), thousands(l.allocs), strconv.FormatInt(l.bytes>>20, 10)}
	}))
	say("The list comes from memory, and all decode it into users; those by hand and the other SDKs with the same type.")

	say("## What it does unasked")
	b.WriteString(questions(callers, r.habits))
	say("The redirects are a 302 and a 307. net/http and go-retryablehttp know no token: there, `%%+v` is of the struct with a token in it that one writes around them.")

	say("## Where others do better")
	say("All columns of the tables above, but for nginx's, in which another one has a better number than this SDK; those of SDKs that manage users stand with their tables. " +
		"Requests and times under a limit are compared with those who lose no more calls: who gives up is done early.")
	b.WriteString(better(r.all, ours, failureMeasures(r.failures, ours)))
	b.WriteString(better(callers, ours, r.costMeasures()))

	say("## Repeat it")
	b.WriteString("```sh\ncd benchmarks\ngo run .                                                    # all of this page; -test.v tells how far it is\n" +
		"go test -bench . -count 10 | go tool benchstat -col /sdk -  # time and allocations alone\n```\n")
	return b.String()
}

func failuresTable(rows []caller, all []failures) string {
	return table(rows, []string{"wrong", "given up", "of these, applied in silence", "requests per call", "dead server: requests per call", "one 503 in five: calls lost"}, func(i int) []string {
		f := all[i]
		v := f.verdicts
		dead, lost := ratio(f.dead), fmt.Sprintf("%s of %s", thousands(f.lost), thousands(f.lostCalls))
		if v.calls == 0 {
			return []string{none, none, none, none, dead, lost}
		}
		return []string{share(v.wrong, v.calls), share(v.givenUp, v.calls), strconv.Itoa(v.silent), perCalls(v.requests, v.calls), dead, lost}
	})
}

func limitsTable(rows []caller, all []failures) string {
	head := make([]string, 0, 3*len(limiteds))
	for _, l := range limiteds {
		head = append(head, fmt.Sprintf("%s: lost of %s", l.name, thousands(l.calls)), "requests per call", "× best time")
	}
	return table(rows, head, func(i int) (cells []string) {
		for n, l := range limiteds {
			o := all[i].limited[n]
			if o.requests == 0 {
				cells = append(cells, none, none, none)
				continue
			}
			cells = append(cells, thousands(o.lost), perCalls(o.requests, l.calls), ratio(o.time.Seconds()/l.best.Seconds()))
		}
		return cells
	})
}

// none is what was not measured.
const none = "–"

// questions is a table with a row for each of the habits.
func questions(columns []caller, answers [][]bool) string {
	var b strings.Builder
	names := make([]string, 0, len(columns))
	for _, c := range columns {
		if !c.spins {
			names = append(names, c.name)
		}
	}
	b.WriteString(row("", names) + rule(len(names)+1))
	for n, h := range habits {
		cells := make([]string, 0, len(names))
		for i, c := range columns {
			if !c.spins {
				cells = append(cells, emphasis(c, yesNo(answers[n][i])))
			}
		}
		b.WriteString(row(h.question, cells))
	}
	return b.String() + "\n"
}

// table is a table with a row for each of the callers, this SDK in its place.
func table(rows []caller, head []string, cells func(i int) []string) string {
	var b strings.Builder
	b.WriteString(row("", head) + rule(len(head)+1))
	for i, c := range rows {
		line := cells(i)
		for n := range line {
			line[n] = emphasis(c, line[n])
		}
		b.WriteString(row(emphasis(c, c.name), line))
	}
	return b.String() + "\n"
}

func row(first string, cells []string) string {
	return "| " + first + " | " + strings.Join(cells, " | ") + " |\n"
}

func rule(columns int) string { return "|" + strings.Repeat(" --- |", columns) + "\n" }

// emphasis makes what is said of this SDK bold.
func emphasis(c caller, text string) string {
	if c.module == callers[ours].module {
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

// share has no space in it where a line could break.
func share(n, of int) string { return fmt.Sprintf("%d\u00a0(%s)", n, percent(n, of)) }

func percent(n, of int) string {
	p := 100 * float64(n) / float64(of)
	switch {
	case n > 0 && p < 0.05:
		return "<\u00a00.1\u00a0%" // which is not nothing
	case n > 0 && p < 1:
		return fmt.Sprintf("%.1f\u00a0%%", p)
	}
	return fmt.Sprintf("%.0f\u00a0%%", p)
}

func ratio(f float64) string { return fmt.Sprintf("%.2f", f) }

func perCalls(requests, calls int) string { return ratio(float64(requests) / float64(calls)) }

func thousands[N int | int64](n N) string {
	if n < 1000 {
		return strconv.FormatInt(int64(n), 10)
	}
	return thousands(n/1000) + fmt.Sprintf(",%03d", n%1000)
}

// label tells the limit and the workers.
func (l *limited) label() string { return fmt.Sprintf("%s, %d workers", l.what, l.workers) }

func limitedCalls() string {
	var b strings.Builder
	for _, l := range limiteds {
		fmt.Fprintf(&b, "*%s*: %s, %s calls by %d workers. ", l.name, l.what, thousands(l.calls), l.workers)
	}
	return strings.TrimSpace(b.String())
}

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
	return moduleVersion(c.module)
}

func moduleVersion(path string) string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, dep := range info.Deps {
			if dep.Path == path {
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
