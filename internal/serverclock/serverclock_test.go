package serverclock_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/flashbacknetwork/flashback-go/internal/serverclock"
)

// begun is when the call of the tests began, by our clock.
var begun = time.Date(2026, 12, 1, 12, 0, 7, 300e6, time.UTC)

func httpDate(t time.Time) string { return t.UTC().Format(http.TimeFormat) }

// asked is a response whose request was sent a while after the call began, which took a while,
// and whose Date shows how far the server's clock is ahead of ours, halfway.
func asked(after, took, ahead time.Duration) serverclock.Response {
	sent := begun.Add(after)
	return serverclock.Response{Sent: sent, Came: sent.Add(took), Date: []string{httpDate(sent.Add(took/2 + ahead))}}
}

func dated(r serverclock.Response, date ...string) serverclock.Response {
	r.Date = date
	return r
}

func aged(r serverclock.Response, age ...string) serverclock.Response {
	r.Age = age
	return r
}

func TestADateIsJudgedByTheServersClock(t *testing.T) {
	t.Parallel()
	type responses = []serverclock.Response
	const (
		inconclusive, before, since = serverclock.Inconclusive, serverclock.Before, serverclock.Since

		ms   = time.Millisecond
		hour = time.Hour
	)
	fresh := asked(200*ms, 2*ms, 0) // made at begun + 201 ms, half a second after a full one
	slow := asked(0, 19*time.Second, 0)
	tests := []struct {
		name  string
		heard responses     // the last one shows the date
		date  time.Duration // since the call began
		want  serverclock.When
	}{
		{"of the call", responses{fresh}, 1 * ms, since},
		{"as early as the tolerance, by the latest clock that is possible", responses{fresh}, -499 * ms, since},
		{"at the call's begin, shown at a full second after half a minute of drift", responses{asked(30*time.Second+700*ms, 0, 0)}, 0, since},
		{"earlier than that", responses{fresh}, -501 * ms, inconclusive},
		{"earlier than the tolerance", responses{fresh}, -1001 * ms, inconclusive},
		{"half a minute earlier", responses{fresh}, -30 * time.Second, inconclusive},
		{"more than half a minute earlier", responses{fresh}, -31 * time.Second, before},
		{"an hour earlier", responses{fresh}, -hour, before},
		{"days earlier", responses{fresh}, -72 * hour, before},
		{"a moment after the response came", responses{fresh}, 203 * ms, since}, // the server's clock may be ahead by that
		{"later than the server's clock can be", responses{fresh}, 1203 * ms, inconclusive},

		{"a delayed Date does not make a date 20 s ago one of the call", responses{slow}, -20 * time.Second, inconclusive},
		{"a delayed Date does not make a date 2 s ago one of the call", responses{slow}, -2 * time.Second, inconclusive},
		{"a delayed Date leaves a date of the call open", responses{slow}, 1 * ms, inconclusive},
		{"an earlier response narrows a delayed one", responses{asked(-hour/2, 2*ms, 0), slow}, 500 * ms, since},
		{"a later response narrows a delayed one", responses{slow, asked(20*time.Second, 2*ms, 0)}, 1 * ms, since},
		{"an earlier response counts where the last has no Date", responses{asked(-time.Minute, 2*ms, 0), dated(fresh)}, 1 * ms, since},

		{"the server's clock is an hour ahead", responses{asked(200*ms, 2*ms, hour)}, hour + ms, since},
		{"the server's clock is an hour ahead, and shows a full second", responses{asked(700*ms, 0, hour)}, hour + ms, since},
		{"the server's clock is more than an hour ahead", responses{asked(700*ms, 0, hour+time.Second)}, hour + time.Second + ms, inconclusive},
		{"the server's clock is an hour ahead, and the date earlier", responses{asked(200*ms, 2*ms, hour)}, hour - 1001*ms, inconclusive},
		{"the server's clock is an hour behind", responses{asked(200*ms, 2*ms, -hour)}, -hour + ms, since},
		{"the server's clock is an hour behind, and the date earlier", responses{asked(200*ms, 2*ms, -hour)}, -hour - 1001*ms, inconclusive},
		{"the server's clock is an hour behind, and the date much earlier", responses{asked(200*ms, 2*ms, -hour)}, -hour - 31*time.Second, before},

		{"the date's clock is 5 s behind", responses{fresh}, -5 * time.Second, inconclusive},
		{"the date's clock is 20 s ahead", responses{fresh}, 20 * time.Second, inconclusive},
		{"the date's clock is an hour ahead", responses{fresh}, hour, inconclusive},

		{"two nodes, and the later clock is ahead", responses{asked(0, 2*ms, 0), asked(200*ms, 2*ms, 20*time.Second)}, 1 * ms, inconclusive},
		{"two nodes, and the earlier clock was ahead", responses{asked(0, 2*ms, 20*time.Second), asked(200*ms, 2*ms, 0)}, 1 * ms, inconclusive},
		{"three nodes", responses{asked(0, 2*ms, -20*time.Second), asked(100*ms, 2*ms, 20*time.Second), fresh}, -45 * time.Second, inconclusive},
		{"a clock was set back two hours ago", responses{asked(-3*hour, 2*ms, 20*time.Second), asked(-2*hour, 2*ms, 0), fresh}, 1 * ms, since},
		{"a clock was set back half an hour ago", responses{asked(-hour, 2*ms, 20*time.Second), asked(-hour/2, 2*ms, 0), fresh}, 1 * ms, inconclusive},
		{"a clock was set forward", responses{asked(-hour/2, 2*ms, -20*time.Second), fresh}, 1 * ms, since},
		{"our clock slept", responses{asked(-3*hour, 2*ms, -hour+1), fresh}, 1 * ms, since},

		{"nothing was heard: the server has our clock", nil, 1 * ms, since},
		{"no Date: the server has our clock", responses{dated(fresh)}, 1 * ms, since},
		{"no Date, and earlier", responses{dated(fresh)}, -1001 * ms, inconclusive},
		{"no Date, and much earlier", responses{dated(fresh)}, -31 * time.Second, before},
		{"an empty Date", responses{dated(fresh, "")}, 1 * ms, inconclusive},
		{"two Dates", responses{dated(fresh, fresh.Date[0], httpDate(begun.Add(hour)))}, -2 * hour, inconclusive},
		{"the same Date twice", responses{dated(fresh, fresh.Date[0], fresh.Date[0])}, 1 * ms, inconclusive},
		{"a Date of 2099", responses{dated(fresh, "Thu, 01 Jan 2099 00:00:00 GMT")}, 1 * ms, inconclusive},
		{"a Date of 1970", responses{dated(fresh, "Thu, 01 Jan 1970 00:00:00 GMT")}, 1 * ms, inconclusive},
		{"a Date hours away, as a local one that is called GMT", responses{dated(fresh, httpDate(begun.Add(8*hour)))}, 1 * ms, inconclusive},
		{"a Date hours behind", responses{dated(fresh, httpDate(begun.Add(-8*hour)))}, -8*hour + ms, inconclusive},
		{"a Date without a zone", responses{dated(fresh, "Tue, 01 Dec 2026 12:00:07")}, 1 * ms, inconclusive},
		{"a Date in another zone", responses{dated(fresh, "Tue, 01 Dec 2026 12:00:07 PST")}, 1 * ms, inconclusive},
		{"a Date in an old form", responses{dated(fresh, "Tue Dec  1 12:00:07 2026")}, 1 * ms, inconclusive},
		{"an odd Date leaves what was known", responses{asked(-time.Minute, 2*ms, 0), dated(fresh, "soon")}, 1 * ms, since},
		{"an implausible Date leaves what was known", responses{asked(-time.Minute, 2*ms, 0), dated(fresh, "Thu, 01 Jan 2099 00:00:00 GMT")}, 1 * ms, since},

		{"a copy in a cache has an old Date, and an Age that is not exact", responses{aged(dated(fresh, httpDate(begun.Add(-time.Minute))), "60")}, 1 * ms, inconclusive},
		{"a copy in a cache has an old date", responses{aged(dated(fresh, httpDate(begun.Add(-time.Minute))), "60")}, -time.Minute, inconclusive},
		{"a proxy has passed the response on", responses{aged(fresh, "0")}, 1 * ms, since},
		{"a proxy has passed the response on, and the date is earlier", responses{aged(fresh, "0")}, -501 * ms, inconclusive},
		{"an Age that is no number", responses{aged(asked(3*time.Second, 2*ms, 0), "old")}, 2900 * ms, inconclusive},
		{"two Ages", responses{aged(fresh, "0", "60")}, 1 * ms, inconclusive},
		{"an endless Age", responses{aged(fresh, "99999999999")}, 1 * ms, inconclusive},
		{"a response that came before it was asked for", responses{{Sent: begun, Came: begun.Add(-ms), Date: fresh.Date}}, 1 * ms, inconclusive},

		{"cut to seconds", responses{fresh}, -300 * ms, since},
		{"cut to seconds, by a clock that is half a minute behind", responses{asked(700*ms, 0, 0)}, -29*time.Second - 300*ms, inconclusive},
		{"cut to minutes", responses{asked(40*time.Second, 2*ms, 0)}, -7300 * ms, inconclusive},
		{"cut to minutes, and since", responses{asked(3*time.Minute, 2*ms, 0)}, 2*time.Minute - 7300*ms, since},
		{"cut to minutes, and just before", responses{fresh}, -time.Minute - 7300*ms, inconclusive},
		{"cut to minutes, and minutes before", responses{fresh}, -3*time.Minute - 7300*ms, before},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var c serverclock.Clock
			came := begun.Add(time.Second)
			for _, r := range tt.heard {
				c, came = c.Observe(r), r.Came
			}
			assert.Equal(t, tt.want, c.Judge(begun.Add(tt.date), begun, came))
		})
	}
}

func TestAClockThatDriftsIsKnownLessWell(t *testing.T) {
	t.Parallel()
	c := serverclock.Clock{}.Observe(asked(-10*time.Hour, 2*time.Millisecond, 0)) // ten hours are 7.2 s
	came := begun.Add(time.Second)
	assert.Equal(t, serverclock.Inconclusive, c.Judge(begun.Add(time.Millisecond), begun, came))
	c = c.Observe(asked(200*time.Millisecond, 2*time.Millisecond, 5*time.Second)) // it agrees
	assert.Equal(t, serverclock.Since, c.Judge(begun.Add(5001*time.Millisecond), begun, came))
}

func TestAResponseFromACacheMayPredateTheCall(t *testing.T) {
	t.Parallel()
	after := func(d time.Duration) serverclock.Response { return asked(d, time.Millisecond, 0) }
	tests := []struct {
		name string
		r    serverclock.Response
		want bool
	}{
		{"no Age", after(0), false},
		{"an Age of 0", aged(after(0), "0"), false},
		{"an Age of 1 at once", aged(after(0), "1"), true},
		{"an Age of 1 after 2 s", aged(after(2*time.Second), "1"), false},
		{"an Age of 1 after less", aged(after(2*time.Second-1), "1"), true},
		{"an Age of an hour", aged(after(time.Minute), "3600"), true},
		{"an Age that is no number", aged(after(time.Minute), "new"), true},
		{"a negative Age", aged(after(time.Minute), "-1"), true},
		{"an empty Age", aged(after(time.Minute), ""), true},
		{"two Ages", aged(after(time.Minute), "0", "0"), true},
		{"a request from before", after(-1), true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, tt.want, tt.r.MayPredate(begun))
		})
	}
}
