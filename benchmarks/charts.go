package main

import (
	"bytes"
	"fmt"
	"image/color"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// series is a bar for each caller.
type series struct {
	name   string // "" if it is the only one
	color  color.Color
	values []float64
}

// chart has horizontal bars, the callers from the top down.
type chart struct {
	file, title string
	format      string // of a value
	stacked     bool   // else the series are beside each other
	series      []series
}

var (
	blue   = color.RGBA{R: 0x1f, G: 0x6f, B: 0xb4, A: 0xff}
	orange = color.RGBA{R: 0xe8, G: 0x8b, B: 0x2d, A: 0xff}
	red    = color.RGBA{R: 0xb8, G: 0x32, B: 0x2a, A: 0xff}
	green  = color.RGBA{R: 0x2a, G: 0x8f, B: 0x57, A: 0xff}
)

func (r *results) draw(dir string) error {
	each := func(f func(i int) float64) []float64 {
		values := make([]float64, len(callers))
		for i := range callers {
			values[i] = f(i)
		}
		return values
	}
	percent := func(n, of int) float64 { return 100 * float64(n) / float64(of) }
	for _, c := range []chart{
		{"time.svg", "Time of one call, in times that of the call by hand", "%.2f", false, []series{
			{"in memory", blue, each(func(i int) float64 { return r.memory[i].ratio })},
			{"on loopback", orange, each(func(i int) float64 { return r.loopback[i].ratio })},
		}},
		{"allocations.svg", "Allocations of one call, in memory", "%.0f", true, apart(each(func(i int) float64 { return float64(r.memory[i].allocs) }))},
		{"connections.svg", fmt.Sprintf("Connections opened by 64 workers in %s calls", thousands(r.crowdCalls)), "%.0f", true,
			apart(each(func(i int) float64 { return float64(r.crowd[i].connections) }))},
		{"verdicts.svg", "Failures of calls that could succeed, under one or two faults", "%.0f %%", true, []series{
			{"wrong verdict", red, each(func(i int) float64 { return percent(r.verdicts[i].wrong, r.verdicts[i].calls) })},
			{"given up", orange, each(func(i int) float64 { return percent(r.verdicts[i].givenUp, r.verdicts[i].calls) })},
		}},
		{"dead.svg", "Requests per call to a server that responds only with 503", "%.1f", true, apart(r.deadRequests)},
	} {
		if err := c.save(dir); err != nil {
			return fmt.Errorf("%s: %w", c.file, err)
		}
	}
	return nil
}

// apart makes the bar of this SDK stand out.
func apart(values []float64) []series {
	our, other := make([]float64, len(values)), slices.Clone(values)
	our[ours], other[ours] = values[ours], 0
	return []series{{"", green, our}, {"", blue, other}}
}

func (c *chart) save(dir string) error {
	plot.DefaultFont.Variant = "Sans"
	plotter.DefaultFont.Variant = "Sans"
	p := plot.New()
	p.BackgroundColor = color.Transparent
	p.Title.Text = c.title
	p.Title.TextStyle.Font.Size = 14
	p.Title.Padding = 12
	if c.series[0].name != "" {
		p.Title.Padding = 32 // the legend is below the title
	}
	p.Legend.Top = true
	p.Legend.YOffs = 34
	p.Legend.ThumbnailWidth = 12
	p.Legend.Padding = 3

	width := vg.Points(20)
	if !c.stacked {
		width = vg.Points(12)
	}
	ends := make([]float64, len(callers))
	longest := 0.0
	var below *plotter.BarChart
	for n, s := range c.series {
		bars, err := plotter.NewBarChart(upward(s.values), width)
		if err != nil {
			return err
		}
		bars.Horizontal = true
		bars.Color = s.color
		bars.LineStyle.Width = 0
		switch {
		case !c.stacked:
			bars.Offset = width * vg.Length(float64(len(c.series)-1)/2-float64(n))
			clear(ends)
		case below != nil:
			bars.StackOn(below)
		}
		below = bars
		p.Add(bars)
		if s.name != "" {
			p.Legend.Add(s.name, bars)
		}
		for i, v := range s.values {
			ends[i] += v
			longest = max(longest, ends[i])
		}
		if !c.stacked || n == len(c.series)-1 {
			labels, err := c.label(ends, bars.Offset)
			if err != nil {
				return err
			}
			p.Add(labels)
		}
	}
	names := make([]string, len(callers))
	for i, caller := range callers {
		names[len(names)-1-i] = caller.name
	}
	p.NominalY(names...)
	p.HideX() // each bar has its value
	p.X.Min, p.X.Max = 0, 1.1*longest
	p.Y.Min, p.Y.Max = -0.6, float64(len(callers))-0.4
	p.Y.Width = 0
	p.Y.Padding = 10

	const w, h, margin = 640, 300, 10
	svg := vgsvg.New(w, h)
	whole := draw.New(svg)
	whole.SetColor(color.White) // readable on a dark page too
	whole.Fill(whole.Path())
	p.Draw(draw.Crop(whole, margin, -2*margin, margin, -margin))
	var b bytes.Buffer
	if _, err := svg.WriteTo(&b); err != nil {
		return err
	}
	// Arial and Helvetica are as wide, where there is no Liberation Sans.
	text := strings.ReplaceAll(b.String(), "font-family:Liberation Sans;", "font-family:Liberation Sans,Arial,Helvetica,sans-serif;")
	return os.WriteFile(filepath.Join(dir, c.file), []byte(text), 0o644) //nolint:gosec // It is for everyone to read.
}

// label writes each value behind its bar.
func (c *chart) label(values []float64, offset vg.Length) (*plotter.Labels, error) {
	points := plotter.XYLabels{}
	for i, v := range upward(values) {
		points.XYs = append(points.XYs, plotter.XY{X: v, Y: float64(i)})
		points.Labels = append(points.Labels, fmt.Sprintf(c.format, v))
	}
	labels, err := plotter.NewLabels(points)
	if err != nil {
		return nil, err
	}
	for i := range labels.TextStyle {
		labels.TextStyle[i].YAlign = draw.YCenter
	}
	labels.Offset = vg.Point{X: 4, Y: offset}
	return labels, nil
}

// upward turns values around: the axis begins at the bottom.
func upward(values []float64) plotter.Values {
	turned := make(plotter.Values, len(values))
	for i, v := range values {
		turned[len(values)-1-i] = v
	}
	return turned
}
