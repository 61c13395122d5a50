//go:build race

package proof_test

import "runtime"

const raceEnabled = true

// With the race detector the timers of a bubble crash if they elapse on two processors
// at once, as those of a crowd do (golang.org/issue/78156). What is reported does not
// depend on the number of processors.
func init() { runtime.GOMAXPROCS(1) }
