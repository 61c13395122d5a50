//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd || windows)

package tokenfile

import "errors"

// tryLock fails: without a lock, two processes would spend each other's refresh token.
func tryLock(string) (unlock func(), err error) { return nil, errors.ErrUnsupported }
