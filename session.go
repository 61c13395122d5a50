package flashback

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/flashbacknetwork/flashback-go/internal/call"
	"github.com/flashbacknetwork/flashback-go/internal/session"
)

// Session hands out access tokens. It renews them ahead of their end, and when the server refuses one.
// It is safe for concurrent use. [Session.Close] waits for a renewal that runs: a program that ends
// without it can lose the session.
type Session struct {
	// renewer is a func, because fmt and deep printers do not look inside functions: the tokens stay
	// hidden.
	renewer func() *renewer
}

// Login logs in. The options are those of [NewClient], for the session's own requests and its clients
// ([Session.Client]), and [WithTokenStore]. Before the password is sent, the store is locked, read and
// shown to be writable.
//
// A refused login matches [ErrUnauthorized], and its Code says why: USER_NOT_FOUND, INVALID_PASSWORD,
// USER_INACTIVE or NO_PASSWORD_SET. If a second factor is needed, the error has a [*MFARequiredError].
// Login finds that out by a request of its own, for at most 5 s; without a response it returns a
// session, whose calls may fail with [ErrForbidden]. A login whose response is lost is retried, which
// leaves at most a refresh token on the server that nobody has.
//
// If the tokens were granted and could not be kept, the error matches [ErrOutcomeUnknown].
func Login(ctx context.Context, email string, password Secret, opts ...Option) (*Session, error) {
	text := password.Reveal()
	switch {
	case strings.TrimSpace(email) == "":
		return nil, invalid(loginUser.op.Name, "", errors.New("the e-mail address is empty"))
	case text == "":
		return nil, invalid(loginUser.op.Name, "", errors.New("the password is empty"))
	}
	r, err := newRenewer("Login", opts)
	if err != nil {
		return nil, err
	}
	return r.logIn(ctx, loginUser.op.Name, func(ctx context.Context) (Tokens, error) {
		tokens, attempts, err := r.requestLogin(ctx, email, text)
		if err != nil {
			return Tokens{}, err
		}
		if mfa := r.requestMFAStatus(ctx, tokens); mfa != nil {
			mfa.PendingLogin = r.pendingLogin(tokens)
			return Tokens{}, &Error{Op: loginUser.op.Name, Attempts: attempts, Err: mfa}
		}
		return tokens, nil
	})
}

// logIn carries out a login: request sends it, when the place for its tokens has been made.
func (r *renewer) logIn(ctx context.Context, op string, request func(context.Context) (Tokens, error)) (*Session, error) {
	err := r.change(ctx, op, func(ctx context.Context, lock TokenLock, kept Tokens) error {
		if err := lock.Begin(); err != nil {
			return r.storeError(op, err)
		}
		tokens, err := request(ctx)
		if err != nil {
			return settle(lock, kept, err)
		}
		return r.save(op, lock, tokens)
	})
	if err != nil {
		return nil, err
	}
	return r.session(), nil
}

// Resume goes on with a session whose tokens were kept. It sends nothing. The options are those of
// [Login]. With [WithTokenStore], the tokens in the store come first; tokens is used, and kept, if the
// store has none. If there are none at all, the error matches [ErrNoTokens]: log in.
func Resume(ctx context.Context, tokens Tokens, opts ...Option) (*Session, error) {
	const op = "Resume"
	r, err := newRenewer(op, opts)
	if err != nil {
		return nil, err
	}
	if tokens.empty() {
		tokens = Tokens{}
	} else if err := tokens.check(r.baseURL); err != nil {
		return nil, invalid(op, "", fmt.Errorf("the tokens can't be used: %w", err))
	}
	err = r.change(ctx, op, func(_ context.Context, lock TokenLock, kept Tokens) error {
		switch {
		case kept != Tokens{}:
			r.opened(kept)
			return nil
		case tokens == Tokens{}:
			return noTokens(op, "there is nothing to resume")
		}
		if err := lock.Begin(); err != nil {
			return r.storeError(op, err)
		}
		tokens.BaseURL = r.baseURL
		return r.save(op, lock, tokens)
	})
	if err != nil {
		return nil, err
	}
	return r.session(), nil
}

// of returns the inside of s. It fails for a session that neither Login nor Resume has made.
func (s *Session) of(op string) (*renewer, error) {
	if s == nil || s.renewer == nil {
		return nil, invalid(op, "", errors.New("the session was made by neither Login nor Resume"))
	}
	return s.renewer(), nil
}

// Client returns a client whose access tokens are the session's. It has the session's own options, and
// opts behind them. A session can have several clients: they share its renewals, connections and rate
// limits. Once the session is lost, their calls fail with [ErrSessionLost].
func (s *Session) Client(opts ...Option) (*Client, error) {
	const op = "Session.Client"
	r, err := s.of(op)
	if err != nil {
		return nil, err
	}
	set := *r.client.settings()
	return set.build(op, append(slices.Clip(opts), func(set *settings) error {
		if set.session != r {
			return errors.New("the session gives the tokens; leave WithTokenSource out")
		}
		return nil
	}))
}

// Token returns an access token that is not known to have ended, renewed if that is due. After a 401 it
// takes the refused token from the context ([RefusedToken]). Its error matches [ErrSessionLost] if the
// API has refused the refresh token, and [ErrNoTokens] after a logout.
func (s *Session) Token(ctx context.Context) (string, error) {
	r, err := s.of(refreshTokens.op.Name)
	if err != nil {
		return "", err
	}
	return r.token(ctx, call.RefusedToken(ctx))
}

// Tokens returns the tokens in use; the zero Tokens after a logout.
func (s *Session) Tokens() Tokens {
	if s == nil || s.renewer == nil {
		return Tokens{}
	}
	r := s.renewer()
	r.mu.Lock()
	defer r.mu.Unlock()
	return Tokens(r.state.Tokens())
}

// Close waits for a renewal that runs, and for its tokens to be kept. If tokens were granted and could
// not be kept so far, Close tries once more. Its error says that they still are not kept, or that ctx
// ended before. After Close the session hands out no tokens and begins no renewal; it is not logged out.
func (s *Session) Close(ctx context.Context) error {
	const op = "Session.Close"
	r, err := s.of(op)
	if err != nil {
		return err
	}
	if ctx == nil {
		return nilContext(op)
	}
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	defer r.client.CloseIdleConnections()
	return r.alone(ctx, op, func(ctx context.Context) error {
		if r.granted().empty() {
			return nil
		}
		return r.withLock(ctx, op, func(_ context.Context, lock TokenLock, kept Tokens) error {
			if r.opened(kept); r.granted().empty() { // Others have kept newer ones.
				return nil
			}
			if err := lock.Begin(); err != nil {
				return r.storeError(op, err)
			}
			return r.save(op, lock, r.granted())
		})
	})
}

// Logout ends the session on the server and drops its tokens. It returns nil only if the API has
// acknowledged that, or has refused the refresh token itself, so that there is nothing left to end. With
// any other error the tokens stay. If the outcome is unknown, call Logout again.
func (s *Session) Logout(ctx context.Context) error {
	r, err := s.of(logoutUser.op.Name)
	if err != nil {
		return err
	}
	if ctx == nil {
		return nilContext(logoutUser.op.Name)
	}
	var first *Error
	for refused := ""; ; {
		_, err := r.token(ctx, refused)
		switch {
		case err == nil, errors.Is(err, ErrSessionLost):
		case ctx.Err() != nil:
			return first.then(waiting(ctx, logoutUser.op.Name))
		default:
			return first.then(&Error{Op: logoutUser.op.Name, Err: inCall(err)})
		}
		var last *Error
		err = r.change(ctx, logoutUser.op.Name, r.logout)
		if first != nil || !errors.As(err, &last) || !slices.Contains(mayHaveEnded, last.StatusCode) {
			return first.then(err)
		}
		first, refused = last, s.Tokens().Access.Reveal() // A renewal tells whether the session has ended already.
	}
}

// logout sends a logout, and drops the tokens once it is acknowledged.
func (r *renewer) logout(ctx context.Context, lock TokenLock, kept Tokens) error {
	op := logoutUser.op.Name
	next, tokens := r.opened(kept)
	if tokens.Refresh == (Secret{}) {
		return noTokens(op, "there is no refresh token")
	}
	if err := lock.Begin(); err != nil {
		return r.storeError(op, err)
	}
	if next != session.LogIn { // else the API has said already that the session has ended
		if err := r.requestLogout(ctx, tokens); err != nil {
			return settle(lock, kept, err)
		}
	}
	if err := lock.Save(Tokens{}); err != nil {
		return r.storeError(op, err)
	}
	r.update(func(state, time.Time) state { return state{} })
	return nil
}

// mayHaveEnded are the statuses of a logout of tokens that may have ended already.
var mayHaveEnded = []int{http.StatusUnauthorized, http.StatusBadRequest, http.StatusNotFound}

// then is the error of a call that was sent again after e, and ended with err.
func (e *Error) then(err error) error {
	var last *Error
	if e == nil || !errors.As(err, &last) {
		return err
	}
	all := *last
	all.Attempts += e.Attempts
	all.OutcomeUnknown = all.OutcomeUnknown || e.OutcomeUnknown
	return &all
}
