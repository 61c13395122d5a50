// Command benchmarks makes the same call with this SDK, by hand and with other
// SDKs, and writes what it measured as REPORT.md with charts beside it, and a
// summary into docs/comparison.md. It fails if this SDK breaks one of its limits.
package main

import (
	"errors"
	"flag"
	"fmt"
	"net/http"
	"testing"
	"time"
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

// results are all that was measured, in the order of callers unless another is said.
type results struct {
	quick    bool
	all      []caller // with the tuned ones
	rounds   int
	cost     cost
	failures []failures    // in the order of all
	nginx    [][2]verdicts // of POSTs and of DELETEs, in the order of all
	noNginx  error
	habits   [][]bool // by question

	managers       []failures // in the order of managers
	managersHabits [][]bool   // by question
}

// cost is what calls cost where nothing fails.
type cost struct {
	memory, loopback, list []speed
	users                  int // in a list
	crowd                  []crowd
	crowdCalls             int
}

// failures is what comes of calls where something fails.
type failures struct {
	verdicts  verdicts
	dead      float64 // requests per call to a dead server
	lost      int     // of lostCalls, where one request in five fails
	lostCalls int
	limited   []outcome // by limiteds
}

func measure(t *testing.T, brief bool) (*results, error) {
	t.Helper()
	r := &results{quick: brief, all: withTuned(), rounds: 101}
	if brief {
		r.rounds = 5
	}
	t.Log("cost") // before the others leave thousands of connections behind
	if err := r.measureCost(); err != nil {
		return nil, err
	}
	for _, c := range r.all {
		t.Log("failures: ", c.name)
		f, err := measureFailures(t, c, endings, brief)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.name, err)
		}
		r.failures = append(r.failures, f)
	}
	if err := r.measureManagers(t); err != nil {
		return nil, err
	}
	for _, h := range habits {
		t.Log(h.question)
		row, err := ofEach(callers, func(c caller) (bool, error) { return h.ask(t, c) })
		if err != nil {
			return nil, err
		}
		r.habits = append(r.habits, row)
	}
	t.Log("nginx")
	calls := 2_000
	if brief {
		calls = 100
	}
	r.nginx = make([][2]verdicts, len(r.all))
	err := each(len(r.all), len(r.all), func(i int) (failed error) { // all at once: no time is measured
		for n, method := range []string{http.MethodPost, http.MethodDelete} {
			if r.nginx[i][n], failed = measureNginx(r.all[i], method, calls); failed != nil {
				return fmt.Errorf("%s: %w", r.all[i].name, failed)
			}
		}
		return nil
	})
	if errors.Is(err, errNoNginx) {
		r.noNginx, err = errNoNginx, nil
	}
	return r, err
}

func (r *results) measureManagers(t *testing.T) (err error) {
	t.Helper()
	r.managers, err = ofEach(managers, func(c caller) (failures, error) {
		t.Log("failures: ", c.name)
		return measureFailures(t, c, withoutEmpty, r.quick)
	})
	if err != nil {
		return err
	}
	for _, h := range habits {
		t.Log(h.question)
		row, err := ofEach(managers, func(c caller) (bool, error) {
			if c.spins {
				return false, nil // the report leaves it out
			}
			return h.ask(t, c)
		})
		if err != nil {
			return err
		}
		r.managersHabits = append(r.managersHabits, row)
	}
	return nil
}

func (r *results) measureCost() (err error) {
	r.cost.users, r.cost.crowdCalls = 100_000, 10_000
	memoryCalls, loopbackCalls, listRounds := 2_000, 500, 21
	if r.quick {
		r.cost.users, r.cost.crowdCalls = 1_000, 2_000
		memoryCalls, loopbackCalls, listRounds = 500, 50, 3
	}
	if r.cost.memory, err = measureSpeed("https://api.example.com", memory(success), r.rounds, memoryCalls); err != nil {
		return err
	}
	server, _ := loopback(writeSuccess)
	defer server.Close()
	if r.cost.loopback, err = measureSpeed(server.URL, nil, r.rounds, loopbackCalls); err != nil {
		return err
	}
	if r.cost.list, err = measureLists(r.cost.users, listRounds); err != nil {
		return err
	}
	r.cost.crowd, err = ofEach(callers, func(c caller) (crowd, error) { return measureCrowd(c, r.cost.crowdCalls) })
	return err
}

func measureFailures(t *testing.T, c caller, endings []ending, brief bool) (f failures, err error) {
	t.Helper()
	if !c.spins { // some of the faults last as long as the caller's patience
		if f.verdicts, err = measureVerdicts(t, c, endings); err != nil {
			return f, err
		}
	}
	const deadCalls = 5_000
	dead, err := measureCalls(t, c, 32, deadCalls, isDown(func(int) bool { return true }))
	if err != nil {
		return f, err
	}
	f.dead = float64(dead.requests) / deadCalls
	f.lostCalls = 20_000
	if brief {
		f.lostCalls = 2_000
	}
	some, err := measureCalls(t, c, 32, f.lostCalls, isDown(oneInFive))
	if err != nil {
		return f, err
	}
	f.lost = some.lost
	for _, l := range limiteds {
		if c.spins && l.best > time.Minute {
			f.limited = append(f.limited, outcome{})
			continue
		}
		came, err := measureCalls(t, c, l.workers, l.calls, l.limit())
		if err != nil {
			return f, err
		}
		f.limited = append(f.limited, came)
	}
	return f, nil
}

// ofEach measures one caller after the other.
func ofEach[T any](callers []caller, measure func(caller) (T, error)) (all []T, failed error) {
	for _, c := range callers {
		one, err := measure(c)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.name, err)
		}
		all = append(all, one)
	}
	return all, nil
}

// limits tells which of its limits this SDK breaks. Times are not among them: on a
// busy machine they say little.
func (r *results) limits() (broken []error) {
	if got, most := r.cost.memory[ours].allocs, r.cost.memory[hand].allocs; got > most {
		broken = append(broken, fmt.Errorf("%d allocations a call, and by hand %d", got, most))
	}
	if got, most := r.cost.list[ours].allocs, r.cost.list[hand].allocs*12/10; got > most {
		broken = append(broken, fmt.Errorf("%d allocations for a list, and at most %d allowed", got, most))
	}
	if got := r.cost.crowd[ours].connections; got > 128 {
		broken = append(broken, fmt.Errorf("%d connections for 64 workers", got))
	}
	if v := r.failures[ours].verdicts; v.wrong+v.givenUp > 0 {
		broken = append(broken, fmt.Errorf("of %d calls under faults, %d wrong verdicts and %d given up", v.calls, v.wrong, v.givenUp))
	}
	for i, l := range limiteds {
		// Of those who come at once, each may be refused once.
		if got := r.failures[ours].limited[i]; got.lost > 0 || got.requests > l.calls+max(l.calls/10, l.workers) {
			broken = append(broken, fmt.Errorf("under the limit %q, %d calls lost and %d requests for %d calls", l.name, got.lost, got.requests, l.calls))
		}
	}
	if r.noNginx == nil {
		for _, v := range r.nginx[ours] {
			if v.wrong+v.givenUp > 0 {
				broken = append(broken, fmt.Errorf("of %d calls through nginx, %d wrong verdicts and %d given up", v.calls, v.wrong, v.givenUp))
			}
		}
	}
	return broken
}
