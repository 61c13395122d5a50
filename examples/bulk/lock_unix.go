//go:build unix

package main

import (
	"os"
	"syscall"
)

// lock keeps a second run off the file, until this process ends in whatever way.
func lock(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) }
