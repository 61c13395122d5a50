package main

import (
	"fmt"
	"strings"
)

// metric is a column of a table in which less is better.
type metric struct {
	name   string
	why    string // another may be better than this SDK
	value  func(i int) (value float64, measured bool)
	format func(float64) string
}

func count(f float64) string { return thousands(int64(f)) }

// failureMeasures are the columns of the failures of callers, and of their limits. Under
// a limit they are those of the callers who lose no more calls than this SDK, which is
// the one at own.
func failureMeasures(all []failures, own int) []metric {
	verdict := func(value func(verdicts) float64) func(int) (float64, bool) {
		return func(i int) (float64, bool) { return value(all[i].verdicts), all[i].verdicts.calls > 0 }
	}
	measures := make([]metric, 0, 6+3*len(limiteds))
	measures = append(measures, []metric{
		{"wrong", "they give up instead, or the API makes a repeat harmless", verdict(func(v verdicts) float64 { return float64(v.wrong) }), count},
		{"given up", "they retry more often", verdict(func(v verdicts) float64 { return float64(v.givenUp) }), count},
		{"applied in silence", "they give up less often", verdict(func(v verdicts) float64 { return float64(v.silent) }), count},
		{
			"requests per call under faults", "they give up sooner, and this SDK retries until it knows",
			verdict(func(v verdicts) float64 { return float64(v.requests) / float64(v.calls) }), ratio,
		},
		{"requests per call to a dead server", "they don't retry", func(i int) (float64, bool) { return all[i].dead, true }, ratio},
		{"lost where one response in five is a 503", "they retry more often, or it is chance: with as many retries, a few of thousands are lost", func(i int) (float64, bool) { return float64(all[i].lost), true }, count},
	}...)
	for n, l := range limiteds {
		of := func(value func(outcome) float64) func(int) (float64, bool) {
			return func(i int) (float64, bool) {
				o := all[i].limited[n]
				return value(o), o.requests > 0 && o.lost <= all[own].limited[n].lost
			}
		}
		name := fmt.Sprintf(", %s (%s)", l.name, l.label())
		measures = append(measures,
			metric{"lost" + name, "they retry more often", func(i int) (float64, bool) {
				return float64(all[i].limited[n].lost), all[i].limited[n].requests > 0
			}, count},
			metric{"requests per call" + name, "they send at a lower rate", of(func(o outcome) float64 { return float64(o.requests) / float64(l.calls) }), ratio},
			metric{
				"× best time" + name, "they send more requests than the limit takes",
				of(func(o outcome) float64 { return o.time.Seconds() / l.best.Seconds() }), ratio,
			})
	}
	return measures
}

// costMeasures are the columns of what calls cost.
func (r *results) costMeasures() []metric {
	of := func(value func(i int) float64) func(int) (float64, bool) {
		return func(i int) (float64, bool) { return value(i), true }
	}
	const why = "they redact no secret that a response repeats, and read a body of any size"
	return []metric{
		{"time in memory, × by hand", why, of(func(i int) float64 { return r.cost.memory[i].ratio }), ratio},
		{"allocations", why, of(func(i int) float64 { return float64(r.cost.memory[i].allocs) }), count},
		{"bytes allocated", why, of(func(i int) float64 { return float64(r.cost.memory[i].bytes) }), count},
		{"time on loopback, × by hand", why, of(func(i int) float64 { return r.cost.loopback[i].ratio }), ratio},
		{"connections of 64 workers", why, of(func(i int) float64 { return float64(r.cost.crowd[i].connections) }), count},
		{"time of 64 workers, in s", why, of(func(i int) float64 { return r.cost.crowd[i].time.Seconds() }), ratio},
		{"list: time, × by hand", why, of(func(i int) float64 { return r.cost.list[i].ratio }), ratio},
		{"list: allocations", why, of(func(i int) float64 { return float64(r.cost.list[i].allocs) }), count},
		{"list: MiB allocated", "io.ReadAll and json.Decoder copy less than this SDK does while a body grows", of(func(i int) float64 { return float64(r.cost.list[i].bytes >> 20) }), count},
	}
}

// better lists the columns in which another caller does better than this SDK, which is
// the row ours, with the reason. A difference that the table does not show is none.
func better(rows []caller, ours int, measures []metric) string {
	var b strings.Builder
	for _, m := range measures {
		own, measured := m.value(ours)
		if !measured {
			continue
		}
		var names []string
		for i, c := range rows {
			if value, measured := m.value(i); measured && value < own && m.format(value) != m.format(own) {
				names = append(names, c.name+" "+m.format(value))
			}
		}
		if len(names) > 0 {
			fmt.Fprintf(&b, "- *%s*, this SDK %s: %s. The reason: %s.\n", m.name, m.format(own), strings.Join(names, "; "), m.why)
		}
	}
	return b.String() + "\n"
}
