package attempt

import (
	"errors"
	"slices"
	"syscall"
)

// exhausted are the errors of a process or machine that has no file descriptor, port or buffer left.
var exhausted = []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.EADDRNOTAVAIL, syscall.ENOBUFS}

// Exhausted tells whether there is no connection because this process or machine has none left. Those in flight give
// theirs back.
func Exhausted(err error) bool {
	return slices.ContainsFunc(exhausted, func(e syscall.Errno) bool { return errors.Is(err, e) })
}
