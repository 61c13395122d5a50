//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd || windows)

package tokenfile

import "errors"

// tryLock fails: without a lock, two processes would present each other's refresh token.
func tryLock(string) (unlock func() error, err error) { return nil, errors.ErrUnsupported }
