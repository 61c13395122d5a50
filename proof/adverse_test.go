package proof_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

// mended tells whether the package keeps its promises in the adverse worlds and on dead connections.
// As long as it does not, it must be found wrong there.
const mended = true

// adverse is a world with a trouble. Its runs are rolled.
type adverse struct {
	name  string
	ops   []*operation
	odd   []move // moves that are made beside the common ones
	roll  func(dice *rand.Rand, r *run)
	keeps bool // the package keeps its promises here already
}

func one[T any](dice *rand.Rand, of ...T) T { return of[dice.IntN(len(of))] }

// The durations of a message, up to the attempt's deadline and over it; and those by which clocks
// differ.
var (
	durations   = []time.Duration{0, time.Millisecond, 100 * time.Millisecond, time.Second, 5 * time.Second, 19 * time.Second, 29 * time.Second, 31 * time.Second}
	differences = []time.Duration{100 * time.Millisecond, 5 * time.Second, 20 * time.Second, 10 * time.Minute, time.Hour}
)

// differ is how far one clock is ahead of another, or behind.
func differ(dice *rand.Rand) time.Duration {
	by := one(dice, differences...)
	if one(dice, true, false) {
		return -by
	}
	return by
}

// lags has reads see an old state, or a proxy repeat requests.
func lags(dice *rand.Rand, r *run) {
	if r.trouble.Proxy = one(dice, true, false, false); !r.trouble.Proxy && one(dice, true, false) {
		r.view, r.lagged = replica, one(dice, isOldNews, isDeleted)
	}
}

var writes = []*operation{activate, create, del, update, doIdempotent, doNotIdempotent, resend, updateOrg}

var adverseWorlds = []adverse{
	{name: "delays", ops: []*operation{activate, create, del, del, update}, roll: func(dice *rand.Rand, r *run) {
		for range 1 + dice.IntN(4) {
			r.trouble.Delays = append(r.trouble.Delays, delay{one(dice, durations...), one(dice, durations...)})
		}
		if r.op == del {
			lags(dice, r)
		}
	}},
	{name: "two clocks", ops: []*operation{del}, roll: func(dice *rand.Rand, r *run) {
		r.trouble.Ahead = differ(dice)
		lags(dice, r)
	}},
	{name: "two nodes", ops: []*operation{del}, roll: func(dice *rand.Rand, r *run) {
		r.trouble.Nodes = one(dice, []time.Duration{0, differ(dice)}, []time.Duration{differ(dice), 0}, []time.Duration{0, 0, differ(dice)})
		lags(dice, r)
		r.manners = one(dice, allManners[0], allManners[3], allManners[4]) // the others have clocks of their own
	}},
	{name: "a server that normalizes", ops: []*operation{activate, create, create, del, update, get, list}, roll: func(dice *rand.Rand, r *run) {
		r.trouble.Normalizes = true
		r.manners = one(dice, allManners[:4]...) // without twins: to such a server two ways to write an address are one
	}},
	{name: "letters that fold", keeps: true, ops: []*operation{create}, roll: func(_ *rand.Rand, r *run) { r.start = isFolded }},
	{name: "odd responses", ops: writes, odd: oddMoves, roll: func(*rand.Rand, *run) {}},
	{name: "a fresh Age", ops: []*operation{activate, create, create, del}, roll: func(dice *rand.Rand, r *run) {
		r.trouble.Age = one(dice, "0", "1")
	}},
	{name: "a list in pages", ops: []*operation{create}, roll: func(dice *rand.Rand, r *run) {
		r.trouble.Pages = one(dice, byHasMore, byCursor, byLink, byCount, byTotal)
	}},
	{name: "a gateway", ops: operations, odd: gatewayMoves, keeps: true, roll: func(*rand.Rand, *run) {}},
}

// run rolls a run in the world.
func (w adverse) run(dice *rand.Rand) run {
	r := run{world: w.name, op: one(dice, w.ops...), manners: one(dice, allManners...), view: truth, retries: one(dice, 4, 8, 8)}
	r.start = one(dice, r.op.starts...)
	if r.op == del {
		r.start = one(dice, isActive, isActive, isOldNews, isDeleted, isAbsent)
	}
	w.roll(dice, &r)
	for range 1 + dice.IntN(4) {
		all := commonMoves
		if w.odd != nil && one(dice, true, false) {
			all = w.odd
		}
		r.schedule = append(r.schedule, one(dice, clean, one(dice, all...), one(dice, all...)))
	}
	if slices.ContainsFunc(append(r.trouble.Nodes, r.trouble.Ahead), func(d time.Duration) bool { return d.Abs() > 30*time.Second }) {
		// Behind a proxy that repeats requests, a refused delete can't be told from one that was
		// applied if the clock of deletedAt is behind by more than half a minute: a gap that remains.
		r.trouble.Proxy = false
		r.schedule = slices.DeleteFunc(r.schedule, func(m move) bool { return m.name == repeated.name })
	}
	return r
}

var commonMoves = slices.DeleteFunc(slices.Clone(allMoves), func(m move) bool { return !m.common || m.timing == late })

// play plays runs of the world.
func (w adverse) play(t *testing.T, call caller, runs int, judge func(*played)) {
	t.Helper()
	synctest.Test(t, func(*testing.T) {
		dice := rand.New(rand.NewPCG(3, 4))
		for range runs {
			judge(w.run(dice).play(call))
		}
	})
}

// TestAdverseWorlds plays the package in worlds with troubles.
func TestAdverseWorlds(t *testing.T) {
	t.Parallel()
	runs := 15_000
	switch {
	case *long:
		runs = 100_000
	case quick():
		runs = 500
	}
	f := newReferee()
	t.Run("worlds", func(t *testing.T) {
		for _, w := range adverseWorlds {
			t.Run(w.name, func(t *testing.T) {
				t.Parallel()
				w.play(t, sdk, runs, f.judge)
			})
		}
	})
	if mended {
		f.report(t)
		return
	}
	t.Logf("\n%s", f.table())
	if quick() { // too few runs to find it wrong everywhere
		return
	}
	for _, w := range adverseWorlds {
		wrong := 0
		for key, c := range f.counts {
			if key[0] == w.name {
				wrong += c.wrong + c.givenUp
			}
		}
		assert.Equal(t, w.keeps, wrong == 0, "%s: %d are wrong", w.name, wrong)
	}
	for kind, e := range f.examples {
		t.Logf("%d × %s\n\treplay: %s\n\ttold:   %s", f.kinds[kind], kind, e.run, strings.TrimSpace(e.told))
	}
}
