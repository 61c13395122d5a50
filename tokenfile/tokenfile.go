// Package tokenfile keeps the tokens of a session in a file, and shares them among the
// processes of one machine.
//
//	session, err := flashback.Resume(ctx, flashback.Tokens{}, flashback.WithTokenStore(tokenfile.New(path)))
package tokenfile

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"

	flashback "github.com/flashbacknetwork/flashback-go"
)

// ErrReadable is a file that others than its owner can read: its tokens may be known to
// them. Windows has no such modes, and there the directory has to protect the file.
var ErrReadable = errors.New("others can read the file: make it yours alone (chmod 600), and log in again if they may have read it")

const (
	maxSize = 1 << 20               // bytes
	poll    = 20 * time.Millisecond // between two attempts to lock

	maxLinks = 40 // as many as Linux follows
)

// File is a [flashback.TokenStore]. It is safe for concurrent use.
type File struct{ path string }

// New returns the file at path, which need not exist. Where path is a symbolic link, that is
// the file it names, even one that does not exist yet. Beside the file there will be a lock
// file with ".lock" after its name, which is never removed, and for moments one with ".new".
func New(path string) *File { return &File{path} }

// content is the file as JSON.
type content struct {
	BaseURL      string    `json:"baseURL"`
	AccessToken  string    `json:"accessToken"`
	RefreshToken string    `json:"refreshToken"`
	TokenID      string    `json:"tokenId,omitempty"`
	IssuedAt     time.Time `json:"issuedAt,omitzero"`
	ExpiresAt    time.Time `json:"expiresAt,omitzero"`
}

// Update changes the tokens in the file. A file is replaced at once, as a whole, by one of
// mode 0600; for the zero Tokens it is removed. Other processes wait meanwhile, each as
// long as ctx allows. The lock is the operating system's: it ends with its process.
func (f *File) Update(ctx context.Context, change func(kept flashback.Tokens) (flashback.Tokens, error)) error {
	path, err := follow(f.path)
	if err != nil {
		return fmt.Errorf("%w (opening %s)", err, f.path)
	}
	unlock, err := lock(ctx, path+".lock")
	if err != nil {
		return fmt.Errorf("%w (locking %s)", err, path)
	}
	defer unlock()
	kept, err := read(path)
	if err != nil {
		return fmt.Errorf("%w (reading %s)", err, path)
	}
	next, err := change(kept)
	switch {
	case err != nil:
		return err
	case next == kept:
		return nil
	case next == flashback.Tokens{}:
		err = os.Remove(path)
	default:
		err = write(path, next)
	}
	if err != nil {
		return fmt.Errorf("%w (writing %s)", err, path)
	}
	return nil
}

// Lock locks the file.
func (f *File) Lock(ctx context.Context) (flashback.TokenLock, error) {
	path, err := follow(f.path)
	if err != nil {
		return nil, fmt.Errorf("%w (opening %s)", err, f.path)
	}
	unlock, err := lock(ctx, path+".lock")
	if err != nil {
		return nil, fmt.Errorf("%w (locking %s)", err, path)
	}
	return &locked{path: path, unlock: unlock}, nil
}

type locked struct {
	path   string
	unlock func()
	kept   flashback.Tokens
}

func (l *locked) Load() (tokens flashback.Tokens, err error) {
	if l.kept, err = read(l.path); err != nil {
		err = fmt.Errorf("%w (reading %s)", err, l.path)
	}
	return l.kept, err
}

func (l *locked) Begin() error { return nil }

func (l *locked) Save(next flashback.Tokens) (err error) {
	switch next {
	case l.kept:
		return nil
	case flashback.Tokens{}:
		err = os.Remove(l.path)
	default:
		err = write(l.path, next)
	}
	if err != nil {
		err = fmt.Errorf("%w (writing %s)", err, l.path)
	}
	return err
}

func (l *locked) Unlock() error {
	l.unlock()
	return nil
}

// follow returns where the file is. All links to it lead to one path, and so to one lock.
func follow(path string) (string, error) {
	for range maxLinks {
		dir, name := filepath.Split(path)
		if name == "" {
			return "", errors.New("the path is empty, or that of a directory")
		}
		info, err := os.Lstat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return path, nil
		case err != nil:
			return "", err
		case info.Mode().Type() != fs.ModeSymlink:
			return path, regular(info, nil)
		}
		target, err := os.Readlink(path)
		if err != nil {
			return "", err
		}
		if !filepath.IsAbs(target) {
			target = dir + target // not filepath.Join: it drops "linked/..", which is another directory
		}
		path = target
	}
	return "", errors.New("too many symbolic links, or a circle of them")
}

func regular(info fs.FileInfo, err error) error {
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("it is no regular file")
	}
	return err
}

func lock(ctx context.Context, path string) (unlock func(), err error) {
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	for {
		unlock, err := tryLock(path)
		if !errors.Is(err, errLocked) {
			return unlock, err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("another process has it: %w", ctx.Err())
		}
	}
}

var errLocked = errors.New("locked")

func read(path string) (flashback.Tokens, error) {
	err := regular(os.Lstat(path)) // first, since a FIFO waits when it is opened
	var file *os.File
	if err == nil {
		file, err = os.Open(path) //nolint:gosec // The caller names it.
	}
	if errors.Is(err, fs.ErrNotExist) {
		return flashback.Tokens{}, nil
	}
	if err != nil {
		return flashback.Tokens{}, err
	}
	defer func() { _ = file.Close() }() // it was only read
	info, err := file.Stat()
	switch err = regular(info, err); {
	case err != nil:
		return flashback.Tokens{}, err
	case info.Mode().Perm()&0o077 != 0 && runtime.GOOS != "windows":
		return flashback.Tokens{}, ErrReadable
	}
	text, err := io.ReadAll(io.LimitReader(file, maxSize))
	if err != nil {
		return flashback.Tokens{}, err
	}
	var c content
	if json.Unmarshal(text, &c) != nil || c.AccessToken == "" && c.RefreshToken == "" || c.BaseURL == "" {
		return flashback.Tokens{}, errors.New("it has no tokens in it; remove it and log in again") // json's error may quote one
	}
	return flashback.Tokens{
		Access: flashback.NewSecret(c.AccessToken), Refresh: flashback.NewSecret(c.RefreshToken),
		ID: c.TokenID, IssuedAt: c.IssuedAt, ExpiresAt: c.ExpiresAt, BaseURL: c.BaseURL,
	}, nil
}

// write replaces the file. What is written is on the disk before it takes the old one's
// place, so that a crash leaves the one or the other.
func write(path string, t flashback.Tokens) error {
	text, err := json.MarshalIndent(content{t.BaseURL, t.Access.Reveal(), t.Refresh.Reveal(), t.ID, t.IssuedAt.UTC(), t.ExpiresAt.UTC()}, "", "  ") //nolint:gosec // The file is for secrets.
	if err != nil {
		return err
	}
	temp := path + ".new"
	_ = os.Remove(temp)                                                      // what a crash left; the lock is ours
	file, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // The caller names it.
	if err != nil {
		return err
	}
	_, err = file.Write(append(text, '\n'))
	err = errors.Join(err, file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		_ = os.Remove(temp)
		return err
	}
	parent, _ := filepath.Split(path)
	if dir, err := os.Open(parent + "."); err == nil { //nolint:gosec // The caller names it.
		_ = dir.Sync() // the name too; not every system can
		_ = dir.Close()
	}
	return nil
}
