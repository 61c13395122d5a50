package flashback

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/flashbacknetwork/flashback-go/internal/attempt"
	"github.com/flashbacknetwork/flashback-go/internal/call"
	"github.com/flashbacknetwork/flashback-go/internal/jsonvalue"
	"github.com/flashbacknetwork/flashback-go/internal/redact"
)

// Tokens are what a [Session] rests on. To keep them, use Reveal: a [Secret] is encoded as
// "[redacted]".
type Tokens struct {
	// Access lives for an hour.
	Access Secret
	// Refresh gets other tokens.
	Refresh Secret
	// ID names the refresh token for [Session.RevokeToken]; "" if unknown.
	ID string
	// ExpiresAt is the end of Access, by this machine's clock; zero if nothing tells.
	ExpiresAt time.Time
	// BaseURL is the only backend that gets them.
	BaseURL string
}

func (t Tokens) alive() bool {
	return t.Access != Secret{} && (t.ExpiresAt.IsZero() || time.Now().Before(t.ExpiresAt))
}

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

// resumed checks the tokens to go on with, before they are kept.
func resumed(tokens Tokens) (Tokens, error) {
	if tokens.Refresh == (Secret{}) && tokens.Access == (Secret{}) {
		return Tokens{}, invalid("Resume", "", errors.New("there are no tokens; log in first"))
	}
	for name, token := range map[string]Secret{"access": tokens.Access, "refresh": tokens.Refresh} {
		if err := checkToken(token.Reveal()); err != nil && token != (Secret{}) {
			return Tokens{}, invalid("Resume", "", fmt.Errorf("the %s token %w", name, err))
		}
	}
	return tokens, nil
}

// TokenStore keeps tokens for several sessions and processes. Package tokenfile has one.
type TokenStore interface {
	// Update keeps the tokens that f makes of those that are kept, while no other Update of
	// them runs anywhere. The zero Tokens are none. If f fails, its error is returned, and
	// nothing changes.
	Update(ctx context.Context, f func(kept Tokens) (Tokens, error)) error
}

// keeper carries out one change of a session's tokens. own are those it has.
type keeper func(ctx context.Context, own Tokens, f func(kept Tokens) (Tokens, error)) error

const keepTimeout = 10 * time.Second

// update has f called once, unless it fails before. The end of ctx ends the waiting before
// f, and the keeping after it only keepTimeout later: what was granted must not be lost with
// the caller.
func (k keeper) update(ctx context.Context, own Tokens, f func(Tokens) (Tokens, error)) (called bool, err error) {
	keeping, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, cancel)
	var next Tokens
	var failed error
	turn := make(chan struct{}, 1) // a store may ask in another goroutine, and not wait for it
	over := false
	err = attempt.NonNil(k(keeping, own, func(kept Tokens) (Tokens, error) {
		turn <- struct{}{}
		defer func() { <-turn }()
		switch {
		case called: // it asks again
			return next, failed
		case over:
			return Tokens{}, errors.New("nobody waits for this change any more")
		case !stop():
			return Tokens{}, ctx.Err()
		}
		called = true
		next, failed = f(kept)
		stop = context.AfterFunc(ctx, func() {
			select {
			case <-time.After(keepTimeout):
				cancel()
			case <-keeping.Done():
			}
		})
		return next, failed
	}))
	turn <- struct{}{}
	defer func() { <-turn }()
	over = true
	stop()
	if !called && err == nil {
		err = errors.New("it has not asked for what to keep")
	}
	return called, err
}

// keepNothing is the keeper of a session alone.
func keepNothing(_ context.Context, own Tokens, f func(Tokens) (Tokens, error)) error {
	_, err := f(own)
	return err
}

// OnRenew is an option of [Login] and [Resume]. It calls keep with the tokens of each login
// and renewal before they are used, since the old refresh token may be worth nothing then,
// and with the zero Tokens after a logout. If keep fails, it is called again with the same
// tokens, except by Login. It must not use the session.
func OnRenew(keep func(ctx context.Context, tokens Tokens) error) Option {
	if keep == nil {
		return withKeeper(nil)
	}
	return withKeeper(func(ctx context.Context, own Tokens, f func(Tokens) (Tokens, error)) error {
		next, err := f(own)
		if err != nil || next == own {
			return err
		}
		return keep(ctx, next)
	})
}

// WithTokenStore is an option of [Login] and [Resume]. It keeps the session's tokens in
// store, which sessions can share: a renewal by one serves all.
func WithTokenStore(store TokenStore) Option {
	if store == nil {
		return withKeeper(nil)
	}
	return withKeeper(func(ctx context.Context, _ Tokens, f func(Tokens) (Tokens, error)) error {
		return store.Update(ctx, f)
	})
}

func withKeeper(k keeper) Option {
	return func(s *settings) error {
		if k == nil || s.keep != nil {
			return errors.New("OnRenew or WithTokenStore got nil, or more than one is given; give one")
		}
		s.keep = k
		return nil
	}
}

// grant is what a response grants.
type grant struct {
	access, refresh, id string
	expiresAt           float64 // seconds or milliseconds; 0 if it does not say
}

func readGrant(key string) func(*call.Response, *args[grant]) (*grant, error) {
	return func(r *call.Response, _ *args[grant]) (*grant, error) {
		body := r.Body
		var g grant
		g.access, _ = jsonvalue.String(member(body, key))
		g.refresh, _ = jsonvalue.String(member(body, "refreshToken"))
		g.id, _ = jsonvalue.String(member(body, "tokenId"))
		g.expiresAt = number(member(body, "expiresAt"))
		if checkToken(g.access) != nil {
			return nil, fmt.Errorf("no %s that can be sent", key)
		}
		return &g, nil
	}
}

// number is a JSON number, or 0.
func number(value []byte) float64 {
	n, err := strconv.ParseFloat(string(value), 64)
	if err != nil || math.IsNaN(n) || math.IsInf(n, 0) {
		return 0
	}
	return n
}

// lifetime is how long the access token of a grant lives from now, which is the
// server's; 0 if nothing tells, or what tells can't be right. What is in the token counts
// more than what is beside it, and needs no clock if it says when the token was made.
func (g *grant) lifetime(now time.Time) time.Duration {
	seconds := 0.0
	issued := float64(now.UnixMilli()) / 1000
	if g.expiresAt != 0 {
		ends := g.expiresAt
		if ends >= 1e11 { // in seconds, the year 5138
			ends /= 1000
		}
		seconds = ends - issued
	}
	if parts := strings.Split(g.access, "."); len(parts) == 3 {
		claims, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
		if err == nil && json.Valid(claims) {
			if at := number(member(claims, "iat")); at > 0 {
				issued = at
			}
			if ends := number(member(claims, "exp")); ends != 0 {
				seconds = ends - issued
			}
		}
	}
	const most = 10 * 365 * 24 * 3600
	return time.Duration(max(0, min(seconds, most)) * float64(time.Second))
}
