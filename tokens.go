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

	"github.com/flashbacknetwork/flashback-go/internal/attempt"
	"github.com/flashbacknetwork/flashback-go/internal/call"
	"github.com/flashbacknetwork/flashback-go/internal/jsonvalue"
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
	// IssuedAt is when Access was granted, by this machine's clock; zero if nothing tells. With
	// ExpiresAt it says how long the whole life of Access is.
	IssuedAt time.Time
	// ExpiresAt is the end of Access, by this machine's clock; zero if nothing tells.
	ExpiresAt time.Time
	// BaseURL is the only backend that gets them.
	BaseURL string
}

func (t Tokens) alive() bool {
	return t.Access != Secret{} && (t.ExpiresAt.IsZero() || time.Now().Before(t.ExpiresAt))
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

// TokenStore keeps the tokens of a session, for this process or for several. Package tokenfile
// has one.
type TokenStore interface {
	// Lock waits, within ctx, until nobody else has the lock, in this process or in another that
	// uses the same store.
	Lock(ctx context.Context) (TokenLock, error)
}

// TokenLock is a [TokenStore] while it is locked. Its methods are called one at a time, in this
// order: Load, then Begin and Save if something is to be sent or kept, then Unlock.
//
// A TokenLock that also has a method Interrupted() time.Time tells with it, after Load, when a
// process began to present the kept refresh token without having learned the response; the zero
// time if none has. The error of a lost session says so.
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
	err = attempt.Real(k(keeping, own, func(kept Tokens) (Tokens, error) {
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
	return withKeeper(func(ctx context.Context, _ Tokens, f func(Tokens) (Tokens, error)) (err error) {
		lock, err := store.Lock(ctx)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, lock.Unlock()) }()
		kept, err := lock.Load()
		if err != nil {
			return err
		}
		if err := lock.Begin(); err != nil {
			return err
		}
		next, err := f(kept)
		if err != nil {
			return err
		}
		return lock.Save(next)
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

func readGrant(key string) func([]byte, *call.Input) (any, error) {
	return func(body []byte, _ *call.Input) (any, error) {
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
