//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package tokenfile

import (
	"errors"
	"os"
	"syscall"
)

// tryLock locks the file at path. The lock ends with the process. A lock file that was removed or replaced
// meanwhile counts as locked: others would lock another one.
func tryLock(path string) (unlock func() error, err error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600) //nolint:gosec // The caller names it.
	if err != nil {
		return nil, err
	}
	for {
		err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if errors.Is(err, syscall.EWOULDBLOCK) || err == nil && !names(path, file) {
		err = errLocked
	}
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	return file.Close, nil
}

// names tells whether path is still that of file.
func names(path string, file *os.File) bool {
	locked, err := file.Stat()
	if err != nil {
		return false
	}
	named, err := os.Lstat(path)
	return err == nil && os.SameFile(locked, named)
}
