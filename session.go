package flashback

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
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

// Session hands out access tokens. It renews them ahead of their end, and when the server refuses one.
// It is safe for concurrent use. [Session.Close] waits for a renewal that runs: a program that ends
// without it can lose the session.
type Session struct {
	// renewer is a func, because fmt and deep printers do not look inside functions: the tokens stay
	// hidden.
	renewer func() *renewer
}

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

// change is a change of the tokens while it runs. There is one at a time. It runs in a goroutine of its
// own, because a store may hang, and belongs to none of those who wait for it.
type change struct {
	op   string
	done chan struct{} // closed when the change has ended
	err  error
	sent bool // a request was begun; guarded by the renewer's mu
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
		case !ended:
			return "", waiting(ctx, refreshTokens.op.Name)
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

// lose records that the API has refused the refresh token with err, and says so.
func (r *renewer) lose(interrupted time.Time, err error) error {
	var why error
	if !interrupted.IsZero() {
		why = fmt.Errorf("a renewal was interrupted at %v", interrupted.Format(time.RFC3339))
	}
	var refusal *Error
	errors.As(err, &refusal)
	lost := *refusal
	lost.Err, lost.OutcomeUnknown = join(ErrSessionLost, why, refusal.Err), false
	r.update(func(s state, _ time.Time) state {
		r.lost = &lost
		return s.AfterRefusal()
	})
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
		r.failed = &Error{Op: refreshTokens.op.Name, Err: errors.New("a renewal has given the same access token again")} // if it has
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

// change runs f while nothing else changes the tokens, and while the store is locked.
func (r *renewer) change(ctx context.Context, op string, f func(context.Context, TokenLock, Tokens) error) error {
	return r.alone(ctx, op, func(ctx context.Context) error { return r.withLock(ctx, op, f) })
}

// withLock runs f while the store is locked, with the tokens that are kept there.
func (r *renewer) withLock(ctx context.Context, op string, f func(context.Context, TokenLock, Tokens) error) (err error) {
	lock, err := r.store.Lock(ctx)
	switch {
	case err != nil && ctx.Err() != nil:
		late := waiting(ctx, op)
		late.Err = join(late.Err, r.storeError(op, err).Err)
		return late
	case err != nil:
		return r.storeError(op, err)
	case lock == nil:
		return r.storeError(op, errors.New("its Lock returned nil"))
	}
	defer func() {
		if failed := lock.Unlock(); failed != nil && err == nil {
			err = r.storeError(op, failed)
		}
	}()
	kept, err := lock.Load()
	if err != nil {
		return r.storeError(op, err)
	}
	if ctx.Err() != nil { // The store may have taken longer, and nothing is begun late.
		return waiting(ctx, op)
	}
	if kept.empty() {
		kept = Tokens{}
	} else if err := kept.check(r.baseURL); err != nil {
		return invalid(op, "", fmt.Errorf("the tokens in %s can't be used; remove them, or give another store: %w", r.nameOfStore(), err))
	}
	return f(ctx, lock, kept)
}

// nameOfStore returns what the store calls itself, such as the name of a file.
func (r *renewer) nameOfStore() string {
	if named, ok := r.store.(fmt.Stringer); ok {
		return named.String()
	}
	return "the token store"
}

// alone runs f while nothing else changes the tokens. A store may hang: the caller waits not much longer
// than ctx lasts, and f goes on.
func (r *renewer) alone(ctx context.Context, op string, f func(context.Context) error) error {
	if ctx == nil {
		return nilContext(op)
	}
	told := responseFor(ctx)
	var response Response
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.running != nil {
		running := r.running
		r.mu.Unlock()
		ended := running.wait(ctx, false)
		r.mu.Lock()
		if !ended {
			return waiting(ctx, op)
		}
	}
	running := r.start(WithResponse(ctx, &response), op, f)
	r.mu.Unlock()
	ended := running.wait(ctx, false)
	if !ended { // The request says soon how far it got.
		after, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
		ended = running.wait(after, false)
		cancel()
	}
	r.mu.Lock()
	if !ended {
		late := waiting(ctx, op)
		late.OutcomeUnknown = running.sent
		return late
	}
	if told != nil {
		*told = response
	}
	return running.err
}

// start runs f. r.mu is held, and nothing else runs.
func (r *renewer) start(ctx context.Context, op string, f func(context.Context) error) *change {
	c := &change{op: op, done: make(chan struct{})}
	r.running = c
	go func() {
		broken := errors.New("its goroutine was ended") // by runtime.Goexit, if this stays
		defer func() {
			if p := recover(); p != nil {
				broken = fmt.Errorf("panic: %v", p) // of the store, or of a transport
			}
			if broken != nil {
				c.err = r.storeError(op, broken)
			}
			r.end(ctx, c)
		}()
		c.err = f(ctx)
		broken = nil
	}()
	return c
}

// end tells those who wait for c that it has ended. A renewal that fails is logged, because whoever has a
// living token is told nothing else.
func (r *renewer) end(ctx context.Context, c *change) {
	r.mu.Lock()
	failed := c.renews() && c.err != nil
	if failed {
		c.err = ofRenewal(c.err)
		r.failed = c.err
	}
	r.running = nil
	r.mu.Unlock()
	close(c.done)
	if failed {
		r.client.settings().caller.LogCall(ctx, slog.LevelWarn, "flashback: renewal failed", c.op, "", 0, slog.Any("error", c.err))
	}
}

func (c *change) renews() bool { return c.op == refreshTokens.op.Name }

// wait waits for the end of c within ctx, and not for long if the caller has a usable token.
func (c *change) wait(ctx context.Context, usable bool) bool {
	if usable {
		short, cancel := context.WithTimeout(ctx, patient(ctx))
		defer cancel()
		ctx = short
	}
	select {
	case <-c.done:
		return true
	case <-ctx.Done():
		return false
	}
}

func nilContext(op string) error {
	return invalid(op, "", errors.New("the context is nil; use context.Background()"))
}

// waiting is the error of a caller who has waited in vain.
func waiting(ctx context.Context, op string) *Error {
	err := fmt.Errorf("waiting for the session's tokens: %w", ctx.Err())
	if cause := attempt.NonNil(context.Cause(ctx)); !errors.Is(ctx.Err(), cause) {
		err = join(err, newOpaque(cause.Error(), cause))
	}
	return &Error{Op: op, Err: err}
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
	failed.Err = &multiError{e.Err.Error(), append(kindsIn(e.Err), newOpaque(e.Err.Error(), e.Err))}
	return &failed
}
