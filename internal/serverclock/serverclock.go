// Package serverclock knows between which bounds the server's clock is, and judges by them
// whether something happened before a call or since it began. It is pure: it has no lock, no
// HTTP and no clock of its own.
package serverclock

import (
	"net/http"
	"strconv"
	"time"
)

const (
	// tolerance is how much earlier than the call's begin a date may be and still be taken for
	// one since then. A Date is cut to whole seconds, so that a single one tells the time only to
	// a second: without the tolerance almost no date would ever be surely since the begin.
	tolerance = time.Second
	// maxSkew is how far the server's clock and ours may differ: an hour is the most that a
	// forgotten summer time makes. A Date that differs by more from our clock is not used.
	maxSkew = time.Hour
	// lag is how far the clock of dates may be behind that of Date: they may come from a
	// database and from a proxy. Clocks that are set over the network differ by less than a
	// second; half a minute is what a machine drifts in some days without that. A longer lag
	// would leave the outcome open for everyone who deletes twice.
	lag = 30 * time.Second
	// memory is how long a contradicted observation still counts. The nodes behind a load
	// balancer may have different clocks, and a clock can be set.
	memory = time.Hour
	// driftDivisor bounds how fast a clock runs away from ours: 200 parts per million.
	driftDivisor = 5000
)

// Response is what a response says about the server's clock.
type Response struct {
	Sent time.Time // when the request was sent, by our clock
	Came time.Time // when the response's header came, by our clock
	Date []string  // the values of its header Date
	Age  []string  // the values of its header Age
}

// made is when the server or a cache made the response, at the earliest. A cache cuts the Age to
// whole seconds, or rounds it up. An Age of 0 is that of a response which a proxy passed on: it was
// made for this request. An Age that can't be read may be any.
func (r Response) made() (earliest time.Time, known bool) {
	switch len(r.Age) {
	case 0:
		return r.Sent, true
	case 1:
		seconds, err := strconv.ParseUint(r.Age[0], 10, 31)
		if seconds > 0 {
			seconds++
		}
		return r.Sent.Add(-time.Duration(seconds) * time.Second), err == nil
	}
	return time.Time{}, false
}

// MayPredate tells whether the response may have been in a cache already at a time, so that
// what it says may be older.
func (r Response) MayPredate(t time.Time) bool {
	earliest, known := r.made()
	return !known || earliest.Before(t)
}

// span says that the server's clock was between two times when ours was at another.
type span struct {
	at, earliest, latest time.Time
}

// observed is the span that a response tells.
func (r Response) observed() (span, bool) {
	made, known := r.made()
	if !known || len(r.Date) != 1 || r.Came.Before(r.Sent) {
		return span{}, false
	}
	date, err := time.Parse(http.TimeFormat, r.Date[0])
	if err != nil {
		return span{}, false
	}
	// The server's clock was between date and a second later, at a moment between made and Came.
	s := span{at: r.Came, earliest: date, latest: date.Add(time.Second + r.Came.Sub(made))}
	plausible := !s.latest.Before(r.Came.Add(-maxSkew)) && !s.earliest.After(r.Came.Add(maxSkew))
	return s, plausible
}

// moved is the span when our clock is at t, which is wider: clocks drift.
func (s span) moved(t time.Time) span {
	passed := t.Sub(s.at)
	drift := passed.Abs() / driftDivisor
	return span{at: t, earliest: s.earliest.Add(passed - drift), latest: s.latest.Add(passed + drift)}
}

// intersection is the span that both tell, if they agree.
func (s span) intersection(o span) (both span, agree bool) {
	both = span{at: s.at, earliest: later(s.earliest, o.earliest), latest: earlier(s.latest, o.latest)}
	return both, !both.latest.Before(both.earliest)
}

// union is the span in which both are.
func (s span) union(o span) span {
	return span{at: s.at, earliest: earlier(s.earliest, o.earliest), latest: later(s.latest, o.latest)}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// Clock is what is known of the server's clock. The zero value takes it for ours, as long as
// no response has a Date.
type Clock struct {
	newest         span // what the newest response tells, and those before that agree
	contradicted   span // what earlier ones told; the zero value for none
	contradictedAt time.Time
	odd            bool // a response had a Date that can't be used
}

// Observe returns what is known after another response. One that agrees narrows the bounds. One
// that contradicts begins anew, and what was known widens the bounds for an hour: either is the
// clock of another node, or the clock was set, and nothing tells which one dates come from.
func (c Clock) Observe(r Response) Clock {
	s, ok := r.observed()
	switch {
	case !ok:
		c.odd = c.odd || len(r.Date) > 0
		return c
	case c.newest == span{}:
		c.newest = s
		return c
	}
	old := c.newest.moved(s.at)
	if both, agree := s.intersection(old); agree {
		c.newest = both
		return c
	}
	if c.remembers(s.at) {
		old = old.union(c.contradicted.moved(s.at))
	}
	return Clock{newest: s, contradicted: old, contradictedAt: s.at, odd: c.odd}
}

// remembers tells whether what was contradicted still counts when our clock is at t.
func (c Clock) remembers(t time.Time) bool {
	return c.contradicted != span{} && t.Sub(c.contradictedAt) < memory
}

// at is the span when our clock is at t.
func (c Clock) at(t time.Time) span {
	s := c.newest.moved(t)
	if c.remembers(t) {
		s = s.union(c.contradicted.moved(t))
	}
	return s
}

// When says when something happened.
type When uint8

// When something can have happened.
const (
	Inconclusive When = iota // nothing is sure
	Before                   // surely before the call began
	Since                    // since the call began, or within a second before
)

// Judge tells when something happened whose date the server wrote and a response showed. The
// call began, and the response's header came, at times of our clock.
//
// The date may be by another clock than the Date of responses, which does no harm unless its
// clock is ahead by as much as an old date is old: Judge can't tell that from a new one.
func (c Clock) Judge(date, began, came time.Time) When {
	if (c.newest == span{}) {
		if c.odd {
			return Inconclusive
		}
		return Clock{newest: span{at: came, earliest: came, latest: came}}.Judge(date, began, came)
	}
	begin := c.at(began)
	drift := came.Sub(began) / driftDivisor // which begin is wider by, and which must use up no tolerance
	switch {
	case date.After(c.at(came).latest): // It is by another clock.
		return Inconclusive
	case !date.Before(begin.latest.Add(-tolerance - drift)):
		return Since
	case date.Add(cut(date)).Before(begin.earliest.Add(-lag)):
		return Before
	}
	return Inconclusive
}

// cut returns a minute for a date that seems to be cut to minutes: it may be earlier by that
// much than what it is the date of.
func cut(date time.Time) time.Duration {
	if date.Truncate(time.Minute).Equal(date) {
		return time.Minute
	}
	return 0
}
