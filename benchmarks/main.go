// Command benchmarks makes the same call with this SDK, by hand and with other
// SDKs, and writes what it measured as REPORT.md with charts beside it, and a
// summary into docs/comparison.md. It fails if this SDK breaks one of its limits.
package main

import (
	"flag"
	"fmt"
	"testing"
)

var (
	quick = flag.Bool("quick", false, "measure briefly, to see that it works, and leave docs/comparison.md")
	out   = flag.String("out", ".", "the directory to write to")
)

// Fake time needs a *testing.T, so the program is one test. With -test.v it tells
// how far it is.
func main() {
	testing.Main(func(_, _ string) (bool, error) { return true, nil },
		[]testing.InternalTest{{Name: "report", F: report}}, nil, nil)
}

func report(t *testing.T) {
	t.Helper()
	r, err := measure(t, *quick)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.write(*out); err != nil {
		t.Fatal(err)
	}
	if !*quick {
		if err := r.show(); err != nil {
			t.Fatal(err)
		}
	}
	for _, broken := range r.limits() {
		t.Error(broken)
	}
}

// results are all that was measured, in the order of callers.
type results struct {
	quick            bool
	rounds           int
	memory, loopback []speed
	crowd            []crowd
	crowdCalls       int
	verdicts         []verdicts
	deadRequests     []float64 // per call
	lost             []int
	lostOf           int
	limited          []outcome
	habits           [][]bool // by question
}

func measure(t *testing.T, brief bool) (*results, error) {
	t.Helper()
	r := &results{quick: brief, rounds: 101, crowdCalls: 10_000, lostOf: 20_000}
	memoryCalls, loopbackCalls := 2_000, 500
	if brief {
		r.rounds, memoryCalls, loopbackCalls, r.crowdCalls, r.lostOf = 5, 500, 50, 2_000, 2_000
	}
	t.Log("speed") // before the others leave thousands of connections behind
	var err error
	if r.memory, err = measureSpeed("https://api.example.com", memory(success), r.rounds, memoryCalls); err != nil {
		return nil, err
	}
	server, _ := loopback(writeSuccess)
	defer server.Close()
	if r.loopback, err = measureSpeed(server.URL, nil, r.rounds, loopbackCalls); err != nil {
		return nil, err
	}
	const deadCalls = 5_000
	for _, c := range callers {
		t.Log("failures: ", c.name)
		v, err := measureVerdicts(t, c)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.name, err)
		}
		r.verdicts = append(r.verdicts, v)
		dead, err := measureCalls(t, c, deadCalls, isDown(func(int) bool { return true })) //nolint:bodyclose // Who asked closes it.
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.name, err)
		}
		r.deadRequests = append(r.deadRequests, float64(dead.requests)/deadCalls)
		some, err := measureCalls(t, c, r.lostOf, isDown(oneInFive)) //nolint:bodyclose // Who asked closes it.
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.name, err)
		}
		r.lost = append(r.lost, some.lost)
		limited, err := measureCalls(t, c, limitCalls, limits()) //nolint:bodyclose // Who asked closes it.
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.name, err)
		}
		r.limited = append(r.limited, limited)
	}
	for _, h := range habits {
		t.Log(h.question)
		var row []bool
		for _, c := range callers {
			yes, err := h.ask(t, c)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.name, err)
			}
			row = append(row, yes)
		}
		r.habits = append(r.habits, row)
	}
	for _, c := range callers {
		t.Log("64 workers: ", c.name)
		many, err := measureCrowd(c, r.crowdCalls)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.name, err)
		}
		r.crowd = append(r.crowd, many)
	}
	return r, nil
}

// limits tells which of its limits this SDK breaks. Times are not among them: on a
// busy machine they say little.
func (r *results) limits() (broken []error) {
	if got, most := r.memory[ours].allocs, r.memory[hand].allocs; got > most {
		broken = append(broken, fmt.Errorf("%d allocations a call, and by hand %d", got, most))
	}
	if got := r.crowd[ours].connections; got > 80 {
		broken = append(broken, fmt.Errorf("%d connections for 64 workers", got))
	}
	if v := r.verdicts[ours]; v.wrong+v.givenUp > 0 {
		broken = append(broken, fmt.Errorf("of %d calls under faults, %d wrong verdicts and %d given up", v.calls, v.wrong, v.givenUp))
	}
	if l := r.limited[ours]; l.lost > 0 || l.requests > limitCalls*11/10 {
		broken = append(broken, fmt.Errorf("under a rate limit, %d calls lost and %d requests for %d calls", l.lost, l.requests, limitCalls))
	}
	return broken
}
