package main

import (
	"fmt"
	"html"
	"os"
	"path/filepath"
	"strings"
)

// chart has a row for each caller, with a bar in each of its columns.
type chart struct {
	file, title string
	rows        []caller
	columns     []column
}

// column is a bar for each caller.
type column struct {
	head  string // "" if it is the only one
	class string // of its color
	value func(i int) (length float64, text string)
}

// The charts, in their order.
const (
	verdictsChart = iota
	deadChart
	limitsChart
	timeChart
)

func (r *results) charts() []chart {
	part := func(n, of int) (float64, string) { return float64(n) / float64(of), percent(n, of) }
	times := func(f float64) (float64, string) { return f, ratio(f) }
	limits := make([]column, len(limiteds))
	for n, l := range limiteds {
		limits[n] = column{l.label(), "bad", func(i int) (float64, string) { return part(r.failures[i].limited[n].lost, l.calls) }}
	}
	return []chart{
		{"verdicts.svg", "What a caller is told under one or two faults", r.all, []column{
			{"told the opposite of what happened", "bad", func(i int) (float64, string) { return part(r.failures[i].verdicts.wrong, r.failures[i].verdicts.calls) }},
			{"given up, though it could succeed", "poor", func(i int) (float64, string) {
				return part(r.failures[i].verdicts.givenUp, r.failures[i].verdicts.calls)
			}},
		}},
		{"dead.svg", "Requests per call to a server that is down", r.all, []column{{"", "plain", func(i int) (float64, string) { return times(r.failures[i].dead) }}}},
		{"limits.svg", "Calls lost under a rate limit", r.all, limits},
		{"time.svg", "Time of a call, by hand = 1", callers, []column{
			{"in memory", "plain", func(i int) (float64, string) { return times(r.cost.memory[i].ratio) }},
			{"on loopback", "plain", func(i int) (float64, string) { return times(r.cost.loopback[i].ratio) }},
			{fmt.Sprintf("list of %s users", thousands(r.cost.users)), "plain", func(i int) (float64, string) { return times(r.cost.list[i].ratio) }},
		}},
	}
}

func (r *results) draw(dir string) error {
	for _, c := range r.charts() {
		if err := os.WriteFile(filepath.Join(dir, c.file), []byte(c.svg()), 0o644); err != nil { //nolint:gosec // It is for everyone to read.
			return err
		}
	}
	return nil
}

// The chart has a ground of its own, so that it is readable even where the page's theme
// is not that of the browser.
const style = `<style>
text { font: 14px -apple-system, "Segoe UI", "Noto Sans", Helvetica, Arial, sans-serif; fill: #1f2328 }
.title { font-weight: 600; font-size: 16px }
.head { fill: #59636e; font-size: 13px }
.ours { font-weight: 600 }
.ground { fill: #ffffff }
.line { fill: #eaf5ec }
.bad { fill: #cf222e }
.poor { fill: #bf8700 }
.plain { fill: #0969da }
@media (prefers-color-scheme: dark) {
	text { fill: #f0f6fc }
	.head { fill: #9198a1 }
	.ground { fill: #0d1117 }
	.line { fill: #12261e }
	.bad { fill: #f85149 }
	.poor { fill: #d29922 }
	.plain { fill: #4493f8 }
}
</style>
`

func (c *chart) svg() string {
	const (
		width, margin = 840, 16
		names         = 190 // the width of the names
		line          = 26
		bar           = 14
		number        = 52 // the width of the number behind a bar
		gap           = 20 // between columns
	)
	top := margin + line
	if c.columns[0].head != "" {
		top += line
	}
	height := top + len(c.rows)*line + margin
	room := (width - 2*margin - names) / len(c.columns) // of a column

	most := 0.0 // of all columns, so that their bars compare
	for _, column := range c.columns {
		for i := range c.rows {
			value, _ := column.value(i)
			most = max(most, value)
		}
	}

	var b strings.Builder
	draw := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	draw(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%[1]d" height="%[2]d" role="img">`, width, height)
	draw(`<title>%s</title>`, html.EscapeString(c.title))
	b.WriteString(style)
	draw(`<rect class="ground" width="%d" height="%d" rx="6"/>`, width, height)
	draw(`<text class="title" x="%d" y="%d">%s</text>`, margin, margin+14, html.EscapeString(c.title))
	draw(`<rect class="line" x="%d" y="%d" width="%d" height="%d" rx="3"/>`, margin/2, top+ours*line, width-margin, line)
	for i, caller := range c.rows {
		draw(`<text class="%s" x="%d" y="%d">%s</text>`, class(i), margin, top+i*line+18, html.EscapeString(caller.name))
	}
	for n, column := range c.columns {
		x := margin + names + n*room
		if column.head != "" {
			draw(`<text class="head" x="%d" y="%d">%s</text>`, x, top-8, html.EscapeString(column.head))
		}
		for i := range c.rows {
			y, long := top+i*line, 0.0
			value, text := column.value(i)
			if value > 0 {
				long = max(1, value/most*float64(room-gap-number))
				draw(`<rect class="%s" x="%d" y="%d" width="%.1f" height="%d" rx="2"/>`, column.class, x, y+(line-bar)/2, long, bar)
			}
			draw(`<text class="%s" x="%.1f" y="%d">%s</text>`, class(i), float64(x)+long+6, y+18, text)
		}
	}
	return b.String() + "</svg>\n"
}

func class(i int) string {
	if i == ours {
		return "ours"
	}
	return "other"
}
