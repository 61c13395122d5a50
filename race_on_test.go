//go:build race

package flashback_test

const raceEnabled = true
