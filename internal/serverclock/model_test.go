package serverclock_test

import (
	"math"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/flashbacknetwork/flashback-go/internal/serverclock"
)

// The model has a true time, in which it sends requests and lets the server act, and clocks that
// show other times. It shares nothing with the package but the types it fills.

// start is when the model begins, in true time, which is what our clock shows but for its drift.
var start = time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)

// modelClock shows another time than the true one.
type modelClock struct {
	ahead time.Duration
	drift float64 // seconds a second
	unit  time.Duration
}

func (c modelClock) at(t time.Time) time.Time {
	shown := t.Add(c.ahead + time.Duration(c.drift*float64(t.Sub(start))))
	if c.unit > 0 {
		shown = shown.Truncate(c.unit)
	}
	return shown
}

// model is one history: what a client has heard, and what a read-back showed.
type model struct {
	heard      []serverclock.Response
	date       time.Time // what was shown
	begun      time.Time // by our clock
	came       time.Time
	happened   time.Duration // in true time, after the call began
	mostAhead  time.Duration // of the clock of the date, before the slowest clock of a Date
	twoClocks  bool
	oddHeaders bool
}

func newModel(dice *rand.Rand) model {
	upTo := func(d time.Duration) time.Duration { return time.Duration(dice.Float64() * float64(d)) }
	log := func(least, most time.Duration) time.Duration {
		return time.Duration(float64(least) * math.Pow(float64(most)/float64(least), dice.Float64()))
	}
	one := func(n int) bool { return dice.IntN(n) == 0 }
	delay := []time.Duration{time.Millisecond, 100 * time.Millisecond, 5 * time.Second, 25 * time.Second}[dice.IntN(4)]
	ours := modelClock{drift: (dice.Float64() - 0.5) / 10_000}
	server := modelClock{ahead: upTo(2*time.Hour-2*time.Second) - time.Hour + time.Second, drift: (dice.Float64() - 0.5) / 10_000}
	dates := server
	m := model{twoClocks: one(2), oddHeaders: one(3)}
	if m.twoClocks { // that of dates is up to an hour ahead, or half a minute behind
		by := log(time.Millisecond, time.Hour)
		if one(2) {
			by = -log(time.Millisecond, 30*time.Second)
		}
		dates.ahead += by
		m.mostAhead = max(0, by)
	}
	dates.unit = []time.Duration{0, time.Millisecond, time.Second, time.Minute}[dice.IntN(4)]

	respond := func(sent time.Time) serverclock.Response {
		arrived := sent.Add(upTo(delay))
		came := arrived.Add(upTo(delay))
		made := arrived
		r := serverclock.Response{Sent: ours.at(sent), Came: ours.at(came)}
		if one(4) { // from a cache; an Age of 0 is that of a proxy that has passed the response on
			age := time.Second + upTo(time.Minute)
			made = arrived.Add(-age)
			r.Age = []string{seconds(age, one(2))}
		}
		r.Date = []string{httpDate(server.at(made))}
		if m.oddHeaders && one(3) {
			odd := [][]string{{""}, {"soon"}, {"Thu, 01 Jan 2099 00:00:00 GMT"}, {r.Date[0], httpDate(start)}}
			r.Date = odd[dice.IntN(len(odd))]
		}
		return r
	}
	began := start.Add(upTo(time.Minute))
	for range dice.IntN(6) {
		m.heard = append(m.heard, respond(began.Add(-upTo(time.Hour))))
	}
	if one(2) {
		m.heard = append(m.heard, respond(began))
	}
	readBack := respond(began.Add(upTo(time.Minute)))
	m.heard = append(m.heard, readBack)
	m.begun, m.came = ours.at(began), readBack.Came
	m.happened = -log(time.Millisecond, 48*time.Hour)
	if one(2) {
		m.happened = upTo(readBack.Sent.Sub(m.begun))
	}
	m.date = dates.at(began.Add(m.happened))
	return m
}

// seconds is the value of an Age, which some cut and some round up.
func seconds(d time.Duration, up bool) string {
	n := int(d / time.Second)
	if up {
		n++
	}
	return strconv.Itoa(n)
}

// judged is what the package makes of a history, and what is wrong with that.
func (m model) judged() (serverclock.When, string) {
	var c serverclock.Clock
	for _, r := range m.heard {
		c = c.Observe(r)
	}
	when := c.Judge(m.date, m.begun, m.came)
	switch {
	case when == serverclock.Before && m.happened >= 0:
		return when, "before the call, and it happened since"
	case when == serverclock.Since && m.happened < -time.Second-m.mostAhead-10*time.Millisecond: // what our clock and theirs drift
		return when, "since the call began, and it happened more than a second before"
	}
	return when, ""
}

func FuzzNoJudgementIsWrong(f *testing.F) {
	for seed := range uint64(8) {
		f.Add(seed, "Tue, 01 Dec 2026 12:00:00 GMT", "0")
	}
	f.Fuzz(func(t *testing.T, seed uint64, date, age string) {
		m := newModel(rand.New(rand.NewPCG(seed, 1)))
		if when, wrong := m.judged(); wrong != "" {
			t.Errorf("%s: %d, %+v", wrong, when, m)
		}
		// Headers of any kind do no harm to a program.
		var c serverclock.Clock
		c = c.Observe(serverclock.Response{Sent: m.begun, Came: m.came, Date: []string{date}, Age: []string{age}})
		c.Judge(m.date, m.begun, m.came)
	})
}

// TestNoJudgementIsWrong counts what is sure in the model, too: a judge for whom nothing is sure
// is never wrong.
func TestNoJudgementIsWrong(t *testing.T) {
	t.Parallel()
	var counts [2][3]int
	dice := rand.New(rand.NewPCG(1, 2))
	for range 50_000 {
		m := newModel(dice)
		when, wrong := m.judged()
		if wrong != "" {
			t.Fatalf("%s: %d, %+v", wrong, when, m)
		}
		since := 0
		if m.happened >= 0 {
			since = 1
		}
		counts[since][when]++
	}
	t.Logf("happened before: inconclusive %d, before %d, since %d", counts[0][0], counts[0][1], counts[0][2])
	t.Logf("happened since: inconclusive %d, before %d, since %d", counts[1][0], counts[1][1], counts[1][2])
	if counts[0][serverclock.Before] < 3000 || counts[1][serverclock.Since] < 3000 {
		t.Error("little is sure")
	}
}

// lostDelete plays a delete that was applied and whose response was lost, in a network in which
// each message takes up to a time. It tells after how many read-backs it was sure that the delete
// is this call's; 0 if it never was. The client has made a number of calls in the last minutes.
func lostDelete(dice *rand.Rand, delay time.Duration, earlierCalls int) (readBacks int) {
	upTo := func(d time.Duration) time.Duration { return time.Duration(dice.Float64() * float64(d)) }
	var c serverclock.Clock
	exchange := func(sent time.Time) (r serverclock.Response, handled time.Time) {
		handled = sent.Add(upTo(delay))
		return serverclock.Response{Sent: sent, Came: handled.Add(upTo(delay)), Date: []string{httpDate(handled)}}, handled
	}
	began := start.Add(upTo(time.Second))
	for range earlierCalls {
		r, _ := exchange(began.Add(-upTo(10*time.Minute) - 2*delay))
		c = c.Observe(r)
	}
	lost, deletedAt := exchange(began)
	now := lost.Came
	backoff := 250 * time.Millisecond
	// One attempt is gone. Each read-back that is inconclusive is followed by another delete,
	// whose refusal has a Date, and that by read-backs until the attempts are used up.
	for attempt := 2; attempt <= 5; attempt++ {
		now = now.Add(backoff/2 + upTo(backoff/2))
		backoff *= 2
		r, _ := exchange(now)
		now = r.Came
		if attempt == 3 {
			c = c.Observe(r)
			continue
		}
		readBacks++
		c = c.Observe(r) // it comes from no cache
		if c.Judge(deletedAt, began, r.Came) == serverclock.Since {
			return readBacks
		}
	}
	return 0
}

func TestALostDeleteIsSeldomUnknown(t *testing.T) {
	t.Parallel()
	const runs = 20_000
	for _, tt := range []struct {
		delay        time.Duration
		earlierCalls int
		most         int // per mille of unknown outcomes
	}{
		{time.Millisecond, 0, 1},
		{time.Millisecond, 20, 1},
		{100 * time.Millisecond, 0, 1},
		{100 * time.Millisecond, 20, 1},
		{5 * time.Second, 0, 130},
		{5 * time.Second, 20, 25},
	} {
		dice := rand.New(rand.NewPCG(1, 2))
		var after [4]int
		for range runs {
			after[lostDelete(dice, tt.delay, tt.earlierCalls)]++
		}
		t.Logf("each message takes up to %6v, %2d earlier calls: sure after one read-back %5.1f %%, two %5.1f %%, three %5.1f %%; unknown %5.2f %%",
			tt.delay, tt.earlierCalls, float64(after[1])*100/runs, float64(after[2])*100/runs, float64(after[3])*100/runs, float64(after[0])*100/runs)
		if after[0] > runs*tt.most/1000 {
			t.Errorf("%d of %d are unknown", after[0], runs)
		}
	}
}
