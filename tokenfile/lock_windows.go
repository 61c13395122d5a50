package tokenfile

import (
	"errors"
	"syscall"
)

const errSharingViolation syscall.Errno = 32

// tryLock opens the file at path so that nobody else can. That ends with the process.
func tryLock(path string) (unlock func() error, err error) {
	name, err := syscall.UTF16PtrFromString(path)
	if err != nil {
		return nil, err
	}
	const alone = 0 // no sharing
	handle, err := syscall.CreateFile(name, syscall.GENERIC_READ|syscall.GENERIC_WRITE, alone, nil, syscall.OPEN_ALWAYS, syscall.FILE_ATTRIBUTE_NORMAL, 0)
	switch {
	case errors.Is(err, errSharingViolation):
		return nil, errLocked
	case err != nil:
		return nil, err
	}
	return func() error { return syscall.CloseHandle(handle) }, nil
}
