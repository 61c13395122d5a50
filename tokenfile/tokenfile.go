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
)

// File is a [flashback.TokenStore]. It is safe for concurrent use.
type File struct{ path string }

// New returns the file at path, which need not exist. Beside it there will be a lock file,
// path + ".lock", which is never removed, and for moments path + ".new".
func New(path string) *File { return &File{path} }

// content is the file as JSON.
type content struct {
	BaseURL      string    `json:"baseURL"`
	AccessToken  string    `json:"accessToken"`
	RefreshToken string    `json:"refreshToken"`
	TokenID      string    `json:"tokenId,omitempty"`
	ExpiresAt    time.Time `json:"expiresAt,omitzero"`
}

// Update changes the tokens in the file. A file is replaced at once, as a whole, by one of
// mode 0600; for the zero Tokens it is removed. Other processes wait meanwhile, each as
// long as ctx allows. The lock is the operating system's: it ends with its process.
func (f *File) Update(ctx context.Context, change func(kept flashback.Tokens) (flashback.Tokens, error)) error {
	unlock, err := f.lock(ctx)
	if err != nil {
		return fmt.Errorf("%w (locking %s)", err, f.path)
	}
	defer unlock()
	kept, err := f.read()
	if err != nil {
		return fmt.Errorf("%w (reading %s)", err, f.path)
	}
	next, err := change(kept)
	switch {
	case err != nil:
		return err
	case next == kept:
		return nil
	case next == flashback.Tokens{}:
		err = os.Remove(f.path)
	default:
		err = f.write(next)
	}
	if err != nil {
		return fmt.Errorf("%w (writing %s)", err, f.path)
	}
	return nil
}

func (f *File) lock(ctx context.Context) (unlock func(), err error) {
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	for {
		unlock, err := tryLock(f.path + ".lock")
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

func (f *File) read() (flashback.Tokens, error) {
	file, err := os.Open(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return flashback.Tokens{}, nil
	}
	if err != nil {
		return flashback.Tokens{}, err
	}
	defer func() { _ = file.Close() }() // it was only read
	info, err := file.Stat()
	switch {
	case err != nil:
		return flashback.Tokens{}, err
	case !info.Mode().IsRegular():
		return flashback.Tokens{}, errors.New("it is no regular file")
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
		ID: c.TokenID, ExpiresAt: c.ExpiresAt, BaseURL: c.BaseURL,
	}, nil
}

// write replaces the file. What is written is on the disk before it takes the old one's
// place, so that a crash leaves the one or the other.
func (f *File) write(t flashback.Tokens) error {
	text, err := json.MarshalIndent(content{t.BaseURL, t.Access.Reveal(), t.Refresh.Reveal(), t.ID, t.ExpiresAt.UTC()}, "", "  ") //nolint:gosec // The file is for secrets.
	if err != nil {
		return err
	}
	path := f.path + ".new"
	_ = os.Remove(path)                                                      // what a crash left; the lock is ours
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // The caller names it.
	if err != nil {
		return err
	}
	_, err = file.Write(append(text, '\n'))
	err = errors.Join(err, file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(path, f.path)
	}
	if err != nil {
		_ = os.Remove(path)
		return err
	}
	if dir, err := os.Open(filepath.Dir(f.path)); err == nil {
		_ = dir.Sync() // the name too; not every system can
		_ = dir.Close()
	}
	return nil
}
