package main

import (
	"strings"
	"testing"
)

func TestWhoDoesBetterIsNamed(t *testing.T) {
	t.Parallel()
	rows := []caller{{name: "this"}, {name: "worse"}, {name: "better"}, {name: "a little better"}, {name: "not measured"}}
	values := []float64{2, 3, 1, 1.999, 0}
	got := better(rows, 0, []metric{
		{"column", "luck", func(i int) (float64, bool) { return values[i], i < 4 }, ratio},
		{"another", "none", func(i int) (float64, bool) { return float64(i), true }, ratio},
	})
	if want := "- *column*, this SDK 2.00: better 1.00. The reason: luck.\n"; strings.TrimSpace(got) != strings.TrimSpace(want) {
		t.Errorf("got %q", got)
	}
}
