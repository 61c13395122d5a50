// Package tokenfile keeps the tokens of a session in a file, and shares them among the processes of one
// machine.
//
//	session, err := flashback.Resume(ctx, flashback.Tokens{}, flashback.WithTokenStore(tokenfile.New(path)))
//
// A process that is killed at any moment loses no tokens that have reached the disk:
//
//   - Before anything is sent, [flashback.TokenLock.Begin] makes room for the new tokens in a second file,
//     and writes a marker into the first one: it says that the refresh token is about to be presented, and
//     when. So a full disk, a directory that can't be written or a file that can't be replaced is found
//     before a token is spent.
//   - The tokens that the server grants are written into that room, and only then does the second file take
//     the place of the first one. A process that finds a second file with whole tokens goes on with them.
//   - A process that finds a marker tries the refresh token nevertheless. If the server refuses it, the
//     error says when a renewal was interrupted.
package tokenfile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"

	flashback "github.com/flashbacknetwork/flashback-go"
)

// ErrReadable is the error for a file that others than its owner can read or write: they may know its
// tokens. Windows has no such modes, and there the directory has to protect the file.
var ErrReadable = errors.New("others can read the file: make it yours alone (chmod 600), and log in again if they may have read it")

// ErrForeign is the error for a file whose owner is another user, who can read and change its tokens. It is
// not found out on Windows.
var ErrForeign = errors.New("the file belongs to another user: run as that user, or give another path")

const (
	lockPoll = 20 * time.Millisecond // between two attempts to lock
	maxLinks = 40                    // as many symbolic links as Linux follows
)

var errLocked = errors.New("another process has the lock")

// File is a [flashback.TokenStore]. It is safe for concurrent use.
type File struct {
	path string
	err  error // why the path can't be used
}

// New returns the file at path, which need not exist. A relative path is that of the directory in which
// the process is now. Where path is a symbolic link, File is the file that the link names, even if there
// is none yet. Beside the file there is a lock file with ".lock" after its name, which is never removed.
// While tokens are changed there are files with ".new" and ".tmp" after it.
func New(path string) *File {
	absolute, err := makeAbsolute(path)
	return &File{absolute, err}
}

// String returns the path.
func (f *File) String() string { return f.path }

// Lock waits, within ctx, until no other process has the lock and no other session of this one. The lock
// is the operating system's: it ends with its process.
func (f *File) Lock(ctx context.Context) (flashback.TokenLock, error) {
	if f.err != nil {
		return nil, f.err
	}
	path, err := follow(f.path)
	if err != nil {
		return nil, failed("opening", f.path, err)
	}
	unlock, err := waitForLock(ctx, path+".lock")
	if err != nil {
		return nil, failed("locking", path, err)
	}
	return &lock{path: path, unlock: unlock}, nil
}

// makeAbsolute does not clean the path where a directory may be a symbolic link: "linked/.." is then another
// directory than ".".
func makeAbsolute(path string) (string, error) {
	if _, name := filepath.Split(path); name == "" {
		return path, fmt.Errorf("the path %q is empty, or that of a directory", path)
	}
	if runtime.GOOS == "windows" { // which cleans each path by itself
		return filepath.Abs(path)
	}
	if filepath.IsAbs(path) {
		return path, nil
	}
	dir, err := os.Getwd()
	if err != nil {
		return path, fmt.Errorf("%w (making %s absolute)", err, path)
	}
	return dir + string(filepath.Separator) + path, nil
}

// follow returns the path of the file to which symbolic links lead. All links to a file lead to one path, and
// so to one lock.
func follow(path string) (string, error) {
	for range maxLinks {
		dir, name := filepath.Split(path)
		if name == "" {
			return "", errors.New("the link is empty, or that of a directory")
		}
		info, err := os.Lstat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return path, nil
		case err != nil:
			return "", err
		case info.Mode().Type() != fs.ModeSymlink:
			return path, checkRegular(info)
		}
		target, err := os.Readlink(path)
		if err != nil {
			return "", err
		}
		if !filepath.IsAbs(target) {
			target = dir + target // not filepath.Join, which cleans the path
		}
		path = target
	}
	return "", errors.New("too many symbolic links, or a circle of them")
}

func waitForLock(ctx context.Context, path string) (unlock func() error, err error) {
	ticker := time.NewTicker(lockPoll)
	defer ticker.Stop()
	for {
		unlock, err := tryLock(path)
		if !errors.Is(err, errLocked) {
			return unlock, err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", errLocked, ctx.Err())
		}
	}
}
