package flashback

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/flashbacknetwork/flashback-go/internal/attempt"
	"github.com/flashbacknetwork/flashback-go/internal/call"
	"github.com/flashbacknetwork/flashback-go/internal/redact"
	"github.com/flashbacknetwork/flashback-go/internal/session"
)

const (
	lockTimeout    = 3 * time.Minute // of a renewal, for the lock of the store
	renewalTimeout = 3 * time.Minute // of a renewal's request, with its retries
	grace          = time.Second     // after the end of a caller's context, for the request to say how far it got
	patience       = 5 * time.Second // of a call that can go on without what it waits for
	maxSecrets     = 32              // tokens that are redacted: the newest ones
)

// renewer is the inside of a [Session]. What is done next with the tokens is decided by state.
type renewer struct {
	client  *Client // whose access tokens are the session's
	baseURL string
	store   TokenStore

	mu      sync.Mutex // guards what follows
	state   state
	running *change // nil: none
	failed  error   // why the last renewal has not led to another access token
	lost    error   // what the API said when it refused the refresh token
	secrets []string
	closed  bool
}

type state = session.State[Secret]

func newRenewer(op string, opts []Option) (*renewer, error) {
	r := new(renewer)
	client, err := newSettings("").build(op, append(slices.Clip(opts), func(set *settings) error {
		if set.caller.Renews {
			return errors.New("WithTokenSource is an option of NewClient; a session has tokens of its own")
		}
		r.store, set.store = set.store, nil
		if r.store == nil {
			r.store = new(memory)
		}
		r.baseURL, set.session = set.caller.BaseURL.String(), r
		set.caller.Renews, set.caller.Token, set.caller.Secrets = true, r.source, r.known
		return nil
	}))
	r.client = client
	return r, err
}

func (r *renewer) session() *Session { return &Session{func() *renewer { return r }} }

// source is the session as the source of its clients' tokens.
func (r *renewer) source(ctx context.Context) (string, error) {
	token, err := r.token(ctx, call.RefusedToken(ctx))
	if err != nil {
		return "", inCall(err)
	}
	return token, nil
}

// token hands out an access token, and renews it if that is due. refused is the one that has just got a
// 401; "" if none has.
func (r *renewer) token(ctx context.Context, refused string) (string, error) {
	if ctx == nil {
		return "", nilContext(refreshTokens.op.Name)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state = r.state.AfterUnauthorized(NewSecret(refused), time.Now())
	usable := false
	for range 3 { // A renewal may save what was granted before, and leave another one due.
		now := time.Now()
		usable = r.state.Usable(now)
		if r.closed || usable && (r.running != nil || r.state.Next(now) == session.Nothing) {
			break
		}
		running := r.renewal(ctx)
		r.mu.Unlock()
		ended := running.wait(ctx, usable)
		r.mu.Lock()
		usable = r.state.Usable(time.Now())
		switch {
		case usable: // The renewal was beside, or has succeeded.
		case !ended && ctx.Err() != nil:
			return "", waiting(ctx, refreshTokens.op.Name)
		case !ended: // Meanwhile the token has ended, or a 401 has refused it: now the renewal is worth waiting for.
			continue
		case running.renews() && running.err != nil:
			return "", running.err
		default:
			continue
		}
		break
	}
	token := r.state.Tokens().Access.Reveal()
	switch {
	case r.closed:
		return "", &Error{Op: refreshTokens.op.Name, Err: errors.New("the session is closed")}
	case !usable:
		return "", noTokens(refreshTokens.op.Name, "the session has no access token") // as after a logout meanwhile
	case token == refused && r.failed != nil:
		return "", r.failed
	}
	return token, nil
}

// renewal returns the change that runs, and begins a renewal if there is none. r.mu is held.
func (r *renewer) renewal(ctx context.Context) *change {
	if r.running != nil {
		return r.running
	}
	ctx = WithResponse(context.WithoutCancel(ctx), nil) // The response to wait for is that of the call.
	return r.start(ctx, refreshTokens.op.Name, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, lockTimeout)
		defer cancel()
		return r.withLock(ctx, refreshTokens.op.Name, r.renew)
	})
}

// patient returns how long to wait for what a call can go on without. The rest of the time is for the call.
func patient(ctx context.Context) time.Duration {
	if deadline, bounded := ctx.Deadline(); bounded {
		return min(patience, time.Until(deadline)/2)
	}
	return patience
}

// renew renews the tokens, or keeps those that were granted before and could not be kept.
func (r *renewer) renew(ctx context.Context, lock TokenLock, kept Tokens) error {
	op := refreshTokens.op.Name
	next, tokens := r.opened(kept)
	switch next {
	case session.Nothing:
		return nil
	case session.Wait:
		if r.failed == nil { // It was not a renewal that failed, but a logout.
			return &Error{Op: op, Err: errors.New("the token store has just failed; the session tries again in half a minute")}
		}
		return r.failed
	case session.LogIn:
		return r.lost
	case session.NoTokens:
		return noTokens(op, "there is no refresh token")
	case session.Renew, session.Save:
	}
	interrupted := interruptedAt(lock)
	if err := lock.Begin(); err != nil {
		return r.storeError(op, err)
	}
	if next == session.Save {
		return r.save(op, lock, r.granted())
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), renewalTimeout)
	defer cancel()
	tokens, err := r.requestRefresh(ctx, tokens)
	switch {
	case refusedByAPI(err):
		return settle(lock, kept, r.lose(interrupted, err))
	case err != nil:
		r.update(state.AfterFailure)
		return settle(lock, kept, err)
	}
	return r.save(op, lock, tokens)
}

// interruptedAt returns when a renewal was begun whose response nobody has seen; the zero time if none was.
func interruptedAt(lock TokenLock) (at time.Time) {
	if marked, ok := lock.(interface{ Interrupted() time.Time }); ok {
		at = marked.Interrupted()
	}
	return at
}

// lose records that the API has refused the refresh token with err, and returns the error that says so.
func (r *renewer) lose(interrupted time.Time, err error) error {
	var why error
	if !interrupted.IsZero() {
		why = fmt.Errorf("a renewal was interrupted at %v", interrupted.Format(time.RFC3339))
	}
	var refusal *Error
	errors.As(err, &refusal)
	lost := *refusal
	lost.Err, lost.OutcomeUnknown = join(ErrSessionLost, why, refusal.Err), false
	r.update(func(s state, _ time.Time) state { return s.AfterRefusal() })
	return &lost
}

// refusedByAPI tells whether the API itself has refused a token, and not something in front of it.
func refusedByAPI(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.StatusCode == http.StatusUnauthorized && e.envelope
}

// settle ends what Begin began, if err tells that nothing has changed on the server, and returns err. The
// store's own error is not told: it says less.
func settle(lock TokenLock, kept Tokens, err error) error {
	var e *Error
	if errors.As(err, &e) && !e.OutcomeUnknown {
		_ = lock.Save(kept)
	}
	return err
}

// save keeps tokens that were granted. They are used only then.
func (r *renewer) save(op string, lock TokenLock, tokens Tokens) error {
	r.update(func(s state, now time.Time) state { return s.AfterGrant(session.Tokens[Secret](tokens), now) })
	granted := r.granted()
	if err := lock.Save(granted); err != nil {
		return r.storeError(op, err)
	}
	r.update(func(s state, now time.Time) state {
		r.failed = nil
		if granted.Access == s.Tokens().Access {
			r.failed = &Error{Op: refreshTokens.op.Name, Err: errors.New("a renewal has given the same access token again")}
		}
		return s.AfterSaving(now)
	})
	return nil
}

// opened is told what the store has, and returns what to do next, and the tokens in use.
func (r *renewer) opened(kept Tokens) (session.Action, Tokens) {
	r.update(func(s state, _ time.Time) state { return s.AfterOpening(session.Tokens[Secret](kept)) })
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state.Next(time.Now()), Tokens(r.state.Tokens())
}

// granted returns the tokens that were granted and are not kept yet.
func (r *renewer) granted() Tokens {
	r.mu.Lock()
	defer r.mu.Unlock()
	return Tokens(r.state.Granted())
}

// update changes the state.
func (r *renewer) update(change func(state, time.Time) state) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state = change(r.state, time.Now())
	for _, t := range []session.Tokens[Secret]{r.state.Tokens(), r.state.Granted()} {
		r.hide(Tokens(t))
	}
}

// hide has tokens redacted in all errors and logs of the session and its clients. r.mu is held.
func (r *renewer) hide(tokens Tokens) {
	for _, token := range []Secret{tokens.Access, tokens.Refresh} {
		if text := token.Reveal(); text != "" && !slices.Contains(r.secrets, text) {
			r.secrets = append(slices.Clone(r.secrets), text) // A call may be reading the old slice.
		}
	}
	r.secrets = r.secrets[max(0, len(r.secrets)-maxSecrets):]
}

// known returns the tokens that are to be redacted.
func (r *renewer) known() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.secrets
}

func noTokens(op, text string) error {
	return &Error{Op: op, Err: join(ErrNoTokens, errors.New(text))}
}

// storeError is an error of the token store as that of op. If a request was sent before, nobody knows what
// the user has now.
func (r *renewer) storeError(op string, err error) *Error {
	r.update(state.AfterStoreFailure)
	err = attempt.NonNil(err)
	var secrets redact.Secrets
	for _, token := range r.known() {
		secrets.AddToken(token)
	}
	text := secrets.Text(err.Error())
	if text != err.Error() {
		err = nil // It has a token in it.
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return &Error{Op: op, OutcomeUnknown: r.running.sent, Err: newOpaque("token store: "+text, err)}
}

// sessionError is the error of a session in that of a call. A token source of the caller's
// can't make one.
type sessionError struct{ *multiError }

// inCall returns err for the error of a call, which it must not lend its kind: only that the
// user has to log in concerns the call too.
func inCall(err error) error {
	text := "session: " + err.Error()
	errs := []error{newOpaque(text, err)}
	for _, kind := range []error{ErrSessionLost, ErrNoTokens} {
		if errors.Is(err, kind) {
			errs = append(errs, kind)
		}
	}
	return sessionError{&multiError{text, errs}}
}

// ofRenewal returns the error of a renewal. It matches its kinds, and not the renewal's own
// deadline, which is not the caller's.
func ofRenewal(err error) error {
	var e *Error
	if !errors.As(err, &e) {
		return err
	}
	failed := *e
	failed.OutcomeUnknown = false
	if e.Err == nil { // as for a status that has no kind, such as 418
		return &failed
	}
	failed.Err = &multiError{e.Err.Error(), append(kindsIn(e.Err), newOpaque(e.Err.Error(), e.Err))}
	return &failed
}
