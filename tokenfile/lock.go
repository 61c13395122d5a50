package tokenfile

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"time"

	flashback "github.com/flashbacknetwork/flashback-go"
)

// lock is a [File] while it is locked. The second file, with ".new" after its name, is the room for new
// tokens and then the journal that has them, until it takes the place of the file.
type lock struct {
	path   string
	unlock func() error

	kept      content  // what Load has returned, and the marker
	room      *os.File // made by Begin; nil: none
	journaled bool     // the journal has what is kept, and must not be lost
}

func (l *lock) journal() string   { return l.path + ".new" }
func (l *lock) temporary() string { return l.path + ".tmp" }

// Load returns the tokens that are kept. If a process has ended before the journal took the place of
// the file, they are those of the journal.
func (l *lock) Load() (flashback.Tokens, error) {
	kept, err := read(l.path)
	if err != nil {
		return flashback.Tokens{}, failed("reading", l.path, err)
	}
	journal, err := read(l.journal())
	if err != nil && !errors.Is(err, errNoTokens) { // which a process has left that was ended before it wrote them
		return flashback.Tokens{}, failed("reading", l.journal(), err)
	}
	// What goes wrong from here on is told by Begin, because the tokens can be used all the same.
	if l.journaled = !journal.empty() && journal.Replaces == digest(kept.RefreshToken); l.journaled {
		kept = journal
		_ = l.replace()
	} else {
		_ = remove(l.journal())
	}
	_ = remove(l.temporary())
	l.kept = kept
	return kept.tokens(), nil
}

// Interrupted tells when a process began to present the kept refresh token and saw no response; the
// zero time if none did.
func (l *lock) Interrupted() time.Time {
	if l.kept.Presented == nil || l.kept.Presented.Digest != digest(l.kept.RefreshToken) {
		return time.Time{}
	}
	return l.kept.Presented.At
}

// Begin makes the room, and then the marker. An older marker for the same refresh token stays. Both are
// durable when it returns.
func (l *lock) Begin() error {
	if err := l.makeRoom(); err != nil {
		return err
	}
	if l.kept.empty() {
		return nil // The room has shown that the directory can be written.
	}
	marked := l.kept
	if l.Interrupted().IsZero() && marked.RefreshToken != "" {
		marked.Presented = &presented{digest(marked.RefreshToken), time.Now().UTC()}
	}
	// An unchanged file is replaced too: that shows that it can be.
	err := writeNew(l.temporary(), marked)
	if err == nil {
		err = rename(l.temporary(), l.path)
	}
	if err != nil {
		return errors.Join(failed("writing", l.path, err), remove(l.temporary()), l.dropRoom())
	}
	return nil
}

func (l *lock) makeRoom() (err error) {
	if l.journaled {
		if err := l.replace(); err != nil {
			return failed("writing", l.path, err)
		}
	}
	if err := l.dropRoom(); err != nil {
		return err
	}
	if l.room, err = makeRoom(l.journal()); err != nil {
		return failed("making room for new tokens beside", l.path, err)
	}
	return nil
}

func (l *lock) dropRoom() error {
	if l.room == nil {
		return nil
	}
	closed := l.room.Close()
	l.room = nil
	return errors.Join(closed, remove(l.journal()))
}

// Save keeps tokens. With those of Load, the file gets again what it had then, and the marker of an
// earlier process with it. With the zero Tokens, the file is removed.
func (l *lock) Save(tokens flashback.Tokens) error {
	if tokens == (flashback.Tokens{}) {
		if err := errors.Join(l.dropRoom(), remove(l.journal()), remove(l.path), syncDir(l.path)); err != nil {
			return failed("removing", l.path, err)
		}
		l.kept, l.journaled = content{}, false
		return nil
	}
	next := contentOf(tokens)
	if tokens == l.kept.tokens() {
		next = l.kept
	}
	next.Replaces = digest(l.kept.RefreshToken)
	if l.room == nil {
		if err := l.makeRoom(); err != nil {
			return err
		}
	}
	err := fill(l.room, next)
	l.room = nil
	if err != nil {
		return failed("writing", l.journal(), err) // It stays. If it is whole nevertheless, Load finds it.
	}
	l.kept, l.journaled = next, true
	if err := l.replace(); err != nil {
		return failed("writing", l.path, err)
	}
	return nil
}

// replace puts the journal in the place of the file.
func (l *lock) replace() error {
	err := rename(l.journal(), l.path)
	if err == nil {
		l.journaled = false
	}
	return err
}

// Unlock removes the room if it was not used, and releases the lock.
func (l *lock) Unlock() error {
	return errors.Join(l.dropRoom(), l.unlock())
}

func failed(what, path string, err error) error {
	return fmt.Errorf("%w (%s %s)", explain(err), what, path)
}

// digest tells refresh tokens apart without naming them; "" is no token.
func digest(refreshToken string) string {
	if refreshToken == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(refreshToken))
	return hex.EncodeToString(sum[:])
}
