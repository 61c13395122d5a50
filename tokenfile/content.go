package tokenfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	flashback "github.com/flashbacknetwork/flashback-go"
)

const (
	maxSize  = 1 << 20  // bytes of a file
	roomSize = 64 << 10 // bytes for new tokens: many times what they are
)

var errNoTokens = errors.New("it has no tokens in it; remove it and log in again")

// content is a file as JSON.
type content struct {
	BaseURL      string    `json:"baseURL"`
	AccessToken  string    `json:"accessToken"`
	RefreshToken string    `json:"refreshToken"`
	TokenID      string    `json:"tokenId,omitempty"`
	IssuedAt     time.Time `json:"issuedAt,omitzero"`
	ExpiresAt    time.Time `json:"expiresAt,omitzero"`

	// Presented is the marker of a refresh token that was presented without a response.
	Presented *presented `json:"presented,omitempty"`
	// Replaces is the digest of the refresh token in whose place these tokens were granted. It tells a
	// journal that belongs to the file from one that does not.
	Replaces string `json:"replaces,omitempty"`
}

type presented struct {
	Digest string    `json:"digest"` // of the refresh token, as SHA-256
	At     time.Time `json:"at"`
}

func (c content) empty() bool { return c.AccessToken == "" && c.RefreshToken == "" }

func (c content) tokens() flashback.Tokens {
	return flashback.Tokens{
		Access: flashback.NewSecret(c.AccessToken), Refresh: flashback.NewSecret(c.RefreshToken),
		ID: c.TokenID, IssuedAt: c.IssuedAt, ExpiresAt: c.ExpiresAt, BaseURL: c.BaseURL,
	}
}

func contentOf(t flashback.Tokens) content {
	return content{
		BaseURL: t.BaseURL, AccessToken: t.Access.Reveal(), RefreshToken: t.Refresh.Reveal(),
		TokenID: t.ID, IssuedAt: t.IssuedAt.UTC(), ExpiresAt: t.ExpiresAt.UTC(),
	}
}

// encode returns the text of a file.
func (c content) encode() ([]byte, error) {
	text, err := json.MarshalIndent(c, "", "  ") //nolint:gosec // The file is for secrets.
	switch {
	case err != nil:
		return nil, err
	case len(text) >= maxSize:
		return nil, errors.New("the tokens are larger than 1 MiB")
	}
	return append(text, '\n'), nil
}

// read returns what is in a file; nothing if there is none.
func read(path string) (c content, err error) {
	info, err := os.Lstat(path) // before it is opened, since opening a FIFO waits
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return content{}, nil
	case err != nil:
		return content{}, err
	}
	if err := checkRegular(info); err != nil {
		return content{}, err
	}
	file, err := os.Open(path) //nolint:gosec // The caller names it.
	if err != nil {
		return content{}, err
	}
	defer func() { _ = file.Close() }() // it was only read
	if info, err = file.Stat(); err != nil {
		return content{}, err
	}
	switch {
	case !isOwn(info):
		return content{}, ErrForeign
	case info.Mode().Perm()&0o077 != 0 && runtime.GOOS != "windows":
		return content{}, ErrReadable
	}
	text, err := io.ReadAll(io.LimitReader(file, maxSize))
	if err != nil {
		return content{}, err
	}
	if json.Unmarshal(text, &c) != nil || c.empty() || c.BaseURL == "" {
		return content{}, errNoTokens // The error of package json may quote a token.
	}
	return c, nil
}

func checkRegular(info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return errors.New("it is no regular file")
	}
	return nil
}

// makeRoom makes a file of newlines, which are on the disk when it returns, as is the file's name. The
// tokens that overwrite them are followed by newlines, or have one inside a string if some of them did not
// reach the disk: only the former is JSON.
func makeRoom(path string) (*os.File, error) {
	file, err := create(path)
	if err != nil {
		return nil, err
	}
	_, err = file.Write(bytes.Repeat([]byte{'\n'}, roomSize))
	if err = errors.Join(err, file.Sync(), syncDir(path)); err != nil {
		return nil, errors.Join(err, file.Close(), remove(path))
	}
	return file, nil
}

// fill writes c at the beginning of the room, and closes it.
func fill(room *os.File, c content) error {
	text, err := c.encode()
	if err == nil {
		_, err = room.WriteAt(text, 0)
	}
	if err == nil {
		err = room.Sync() // From here on, the tokens can't be lost.
	}
	if err == nil {
		_ = room.Truncate(int64(len(text))) // The newlines do no harm.
	}
	return errors.Join(err, room.Close())
}

// writeNew writes c into a file that does not exist.
func writeNew(path string, c content) error {
	text, err := c.encode()
	if err != nil {
		return err
	}
	file, err := create(path)
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	return errors.Join(err, file.Sync(), file.Close())
}

// create makes a file anew. What a crash has left there is removed: the lock is held.
func create(path string) (*os.File, error) {
	if err := remove(path); err != nil {
		return nil, err
	}
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // The caller names it.
}

// remove removes a file, if there is one.
func remove(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// rename replaces a file by another one, as a whole and durably.
func rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return syncDir(to)
}

// syncDir makes the names in a file's directory durable, where the system can.
func syncDir(path string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	parent, _ := filepath.Split(path)
	dir, err := os.Open(parent + ".") //nolint:gosec // The caller names it.
	if errors.Is(err, fs.ErrPermission) {
		return nil // a directory that can be written and not read
	}
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }() // it was only read
	if err := dir.Sync(); !errors.Is(err, syscall.EINVAL) && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return nil
}

// explain leaves the paths out of an error of the system, and adds what to do.
func explain(err error) error {
	var ofPath *fs.PathError
	var ofLink *os.LinkError
	switch {
	case errors.As(err, &ofPath):
		err = ofPath.Err
	case errors.As(err, &ofLink):
		err = ofLink.Err
	}
	if runtime.GOOS != "windows" && errors.Is(err, syscall.EBUSY) {
		return fmt.Errorf("%w: a file that is mounted by itself can't be replaced; mount its directory", err)
	}
	return err
}
