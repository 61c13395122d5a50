package flashback

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/flashbacknetwork/flashback-go/internal/call"
	"github.com/flashbacknetwork/flashback-go/internal/redact"
)

// Tokens are the access token and the refresh token of a [Session]. To keep them, use Reveal: a [Secret]
// is encoded as "[redacted]".
type Tokens struct {
	// Access authenticates calls. It lives for an hour.
	Access Secret
	// Refresh gets the next tokens, often once only.
	Refresh Secret
	// ID is the server's name for Refresh, with which it can be revoked; "" if not known.
	ID string
	// IssuedAt is when Access was granted, by this machine's clock; zero if nothing tells. Together with
	// ExpiresAt it says how long the whole life of Access is.
	IssuedAt time.Time
	// ExpiresAt is the end of Access, by this machine's clock; zero if nothing tells.
	ExpiresAt time.Time
	// BaseURL is the address of the only backend that the tokens are sent to.
	BaseURL string
}

func (t Tokens) empty() bool { return t.Access == Secret{} && t.Refresh == Secret{} }

// check says why tokens can't be used with a backend.
func (t Tokens) check(baseURL string) error {
	if t.BaseURL != "" && t.BaseURL != baseURL {
		return fmt.Errorf("they are those of another backend, %s, and this is %s", t.BaseURL, baseURL)
	}
	for name, token := range map[string]Secret{"access": t.Access, "refresh": t.Refresh} {
		if err := checkToken(token.Reveal()); err != nil && token != (Secret{}) {
			return fmt.Errorf("the %s token %w", name, err)
		}
	}
	return nil
}

// TokenStore keeps the tokens of a session, for this process or for several. Package tokenfile
// has one.
type TokenStore interface {
	// Lock waits, within ctx, until nobody else has the lock, in this process or in another that
	// uses the same store.
	Lock(ctx context.Context) (TokenLock, error)
}

// TokenLock is a [TokenStore] while it is locked. Its methods are called one at a time, in this order: Load;
// Begin and Save, if something is to be sent or kept; Unlock, in any case.
//
// It can have another method, Interrupted() time.Time, which is called after Load and tells when a process
// began to present the kept refresh token and saw no response; the zero time if none did. The error of a lost
// session says so. A store with a String method is named by it in errors.
type TokenLock interface {
	// Load returns the tokens that are kept; the zero Tokens, if there are none.
	Load() (Tokens, error)
	// Begin makes room for new tokens, and a durable marker that the kept refresh token is about
	// to be presented. If it fails, nothing is sent.
	Begin() error
	// Save keeps tokens durably, and ends what Begin began. With the tokens of Load, nothing has
	// changed; the zero Tokens mean that there are none. It is not called if the response to what
	// was sent is not known: then the marker stays.
	Save(tokens Tokens) error
	// Unlock releases the lock. It is called once, in any case.
	Unlock() error
}

// WithTokenStore is an option of [Login] and [Resume]. It keeps the session's tokens in store, which
// sessions can share: a renewal by one serves all.
func WithTokenStore(store TokenStore) Option {
	return func(s *settings) error {
		if store == nil || s.store != nil {
			return errors.New("WithTokenStore got nil, or is given twice; give one store")
		}
		s.store = store
		return nil
	}
}

// memory is the TokenStore of a session that has no other. The session locks it.
type memory struct{ kept Tokens }

func (m *memory) Lock(context.Context) (TokenLock, error) { return m, nil }
func (m *memory) Load() (Tokens, error)                   { return m.kept, nil }
func (m *memory) Begin() error                            { return nil }
func (m *memory) Unlock() error                           { return nil }

func (m *memory) Save(tokens Tokens) error {
	m.kept = tokens
	return nil
}

// RefusedToken returns the token that has just got a 401, in the context of a source ([WithTokenSource])
// that is asked for another one; else "".
func RefusedToken(ctx context.Context) string { return call.RefusedToken(ctx) }

// checkToken returns what is wrong with a token, as the rest of a sentence that
// begins with "the access token". It never quotes the token.
func checkToken(token string) error {
	switch {
	case token == "":
		return errors.New("is empty")
	case len(token) >= len("Bearer ") && strings.EqualFold(token[:len("Bearer ")], "Bearer "):
		return errors.New(`starts with "Bearer "; pass the token alone`)
	case strings.TrimSpace(token) != token:
		return errors.New("begins or ends with white space (a file's newline?); use strings.TrimSpace")
	case strings.Trim(token, `"'`) != token:
		return errors.New("begins or ends with a quotation mark (an env file's?); pass the token alone")
	case token == redact.Mark:
		return errors.New("is a Secret that was printed; keep what its Reveal returns")
	case strings.ContainsFunc(token, unicode.IsSpace):
		return errors.New("has white space in it; pass the token alone")
	case strings.ContainsFunc(token, func(r rune) bool { return !unicode.IsPrint(r) }):
		return errors.New("has a control character or an invisible one in it (a byte order mark?); pass the token alone")
	}
	return nil
}
