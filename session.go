package flashback

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/flashbacknetwork/flashback-go/internal/attempt"
	"github.com/flashbacknetwork/flashback-go/internal/call"
	"github.com/flashbacknetwork/flashback-go/internal/jsonvalue"
	"github.com/flashbacknetwork/flashback-go/internal/verdict"
)

// WithSession takes the access tokens of a session, which may serve several clients. Once
// it is lost, calls fail with [ErrSessionLost].
func WithSession(session *Session) Option {
	return func(s *settings) error {
		if session == nil || session.state == nil {
			return errors.New("WithSession got a session that Login or Resume has not made")
		}
		s.session = session.state()
		s.caller.Renews, s.caller.Token = true, s.session.source
		return nil
	}
}

// lostSessionError is the error of a lost session in that of a call.
type lostSessionError struct{ opaqueError }

func (l lostSessionError) Is(target error) bool {
	return target == ErrSessionLost || target == ErrUnauthorized || l.opaqueError.Is(target)
}

// RefusedToken returns the token that has just got a 401, in the context of a source
// ([WithTokenSource]) that is asked for another one; else "".
func RefusedToken(ctx context.Context) string { return call.RefusedToken(ctx) }

var (
	// A second login makes a second refresh token, which nobody knows, and nothing else: for
	// the caller, a login that failed was not applied.
	loginUser = endpoint[grant]{
		op: call.Op{
			Name: "user.login", Method: http.MethodPost,
			Rule: verdict.Rule{Retry: verdict.Safe}, Auth: call.Anonymous, Required: true, Grants: true,
		},
		path: "/user/login", expects: "tokens",
		read: readGrant("accessToken"),
	}
	// It is repeated with the same refresh token, which is the only one there is. If that
	// was spent by an attempt whose response was lost, there is nothing better to do.
	refreshTokens = endpoint[grant]{
		op: call.Op{
			Name: "user.refresh", Method: http.MethodPost,
			Rule: verdict.Rule{Retry: verdict.Idempotent}, Auth: call.Anonymous, Required: true, Grants: true,
		},
		path: "/user/refresh", expects: "tokens",
		read: readGrant("accessToken"),
	}
	logoutUser = endpoint[struct{}]{
		op: call.Op{
			Name: "user.logout", Method: http.MethodPost,
			Rule: verdict.Rule{Retry: verdict.Idempotent}, Auth: call.Fixed,
		},
		path: "/user/logout", expects: "an envelope",
	}
	listTokens = endpoint[[]json.RawMessage]{
		op: call.Op{
			Name: "token.list", Method: http.MethodGet,
			Rule: verdict.Rule{Retry: verdict.Safe}, Required: true, Grants: true,
		},
		path: "/token", expects: "a list of tokens",
		read: readTokenList,
	}
	revokeToken = endpoint[struct{}]{
		op: call.Op{
			Name: "token.revoke", Method: http.MethodDelete,
			Rule: verdict.Rule{Retry: verdict.Idempotent},
		},
		path: "/token/{id}", expects: "an envelope",
	}
)

func readTokenList(r *call.Response, _ *args[[]json.RawMessage]) (*[]json.RawMessage, error) {
	list := member(r.Body, "tokens")
	if jsonvalue.Kind(list) != '[' {
		return nil, errors.New("no list of tokens")
	}
	tokens := []json.RawMessage{}
	for token := range jsonvalue.Elements(list) {
		tokens = append(tokens, bytes.Clone(token))
	}
	return &tokens, nil
}

const (
	renewalTimeout = 3 * time.Minute
	renewalPause   = 30 * time.Second // after one that did not help, while the token lives
	patience       = 5 * time.Second  // with what a call can do without
)

// Session hands out access tokens, and renews them ahead of their end and when the server
// refuses one. It is safe for concurrent use, and needs no closing.
type Session struct {
	// A function, which no printer looks into.
	state func() *session
}

type session struct {
	caller  connection // whose source of tokens is the session
	baseURL string
	keep    keeper
	turn    chan struct{} // held by the one who changes the tokens, and changes what follows
	apart   bool          // a second factor is missing: nothing is kept, and what is kept is another session's
	pending Tokens        // granted in place of the refresh token that follows, and not kept yet
	spent   Secret
	lost    error // what the server said to the refresh token that follows
	useless Secret

	mu      sync.Mutex // for these
	tokens  Tokens
	renewAt time.Time // zero: when the token is refused
	running *renewal
}

// renewal is one that all callers wait for. It belongs to none of them.
type renewal struct {
	done chan struct{}
	err  error
}

func newSession(op string, opts []Option) (*session, error) {
	s := &session{turn: make(chan struct{}, 1)}
	client, err := newSettings("").build(op, append(slices.Clip(opts), func(set *settings) error {
		if set.caller.Renews {
			return errors.New("WithTokenSource and WithSession are options of NewClient")
		}
		s.keep, set.keep = set.keep, nil
		set.caller.Renews, set.caller.Token = true, s.source
		return nil
	}))
	if err != nil {
		return nil, err
	}
	s.caller = client.connection
	s.baseURL = s.caller.settings().caller.BaseURL.String()
	if s.keep == nil {
		s.keep = keepNothing
	}
	return s, nil
}

// Login logs in. The options are those of [NewClient], for the session's own requests, and
// [OnRenew] or [WithTokenStore].
//
// A refused login matches [ErrUnauthorized], and its Code says why: USER_NOT_FOUND,
// INVALID_PASSWORD, USER_INACTIVE or NO_PASSWORD_SET. If the user's status, which Login asks
// for, says that a second factor is needed, the error has a [*MFARequiredError]; without a
// status the session is returned. Login is repeated, which leaves at most a refresh token on
// the server that nobody has.
func Login(ctx context.Context, email string, password Secret, opts ...Option) (*Session, error) {
	text := password.Reveal()
	switch {
	case strings.TrimSpace(email) == "":
		return nil, invalid(loginUser.op.Name, "", errors.New("the e-mail address is empty"))
	case text == "":
		return nil, invalid(loginUser.op.Name, "", errors.New("the password is empty"))
	}
	s, err := newSession("Login", opts)
	if err != nil {
		return nil, err
	}
	session := &Session{func() *session { return s }}
	// Where the tokens can't be kept, no password is sent.
	err = s.change(ctx, loginUser.op.Name, func(Tokens) (Tokens, error) {
		granted, outcome, err := loginUser.do(ctx, s.caller, args[grant]{password: text, body: struct {
			Email    string `json:"email"`
			Password string `json:"password"`
		}{email, text}})
		if err != nil {
			return Tokens{}, err
		}
		tokens := s.granted(granted, outcome, Tokens{})
		if mfa := s.needsMFA(ctx, tokens); mfa != nil {
			mfa.Session, s.apart = session, true
			s.use(tokens)
			return Tokens{}, &Error{Op: loginUser.op.Name, Attempts: outcome.Attempts, Err: mfa}
		}
		return tokens, nil
	})
	if err != nil {
		return nil, err
	}
	return session, nil
}

// Resume goes on with a session whose tokens were kept. It sends nothing. The options are
// those of [Login]. With [WithTokenStore], tokens are used if the store has none.
func Resume(ctx context.Context, tokens Tokens, opts ...Option) (*Session, error) {
	s, err := newSession("Resume", opts)
	if err != nil {
		return nil, err
	}
	if s.tokens = tokens; tokens != (Tokens{}) && tokens.BaseURL == "" {
		s.tokens.BaseURL = s.baseURL
	}
	if err := s.change(ctx, "Resume", resumed); err != nil {
		return nil, err
	}
	return &Session{func() *session { return s }}, nil
}

func (s *session) current() Tokens {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tokens
}

// use makes tokens those of the session.
func (s *session) use(tokens Tokens) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if tokens.Access == s.tokens.Access && !s.renewAt.IsZero() {
		tokens.ExpiresAt = s.tokens.ExpiresAt // as it was read, with the monotonic clock
	} else if s.renewAt = tokens.ExpiresAt; !s.renewAt.IsZero() {
		s.renewAt = s.renewAt.Add(-min(5*time.Minute, max(0, time.Until(s.renewAt)/10)))
	}
	s.tokens = tokens
}

// token hands out an access token, and renews it if it is due or is the one that was
// refused.
func (s *session) token(ctx context.Context, refused string) (string, error) {
	s.mu.Lock()
	if refused != "" && refused == s.tokens.Access.Reveal() {
		s.tokens.ExpiresAt = time.Now()
	}
	alive, run := s.tokens.alive(), s.running
	if alive && (run != nil || s.renewAt.IsZero() || time.Now().Before(s.renewAt)) {
		defer s.mu.Unlock()
		return s.tokens.Access.Reveal(), nil
	}
	if run == nil {
		run = &renewal{done: make(chan struct{})}
		s.running = run
		go s.renew(context.WithoutCancel(ctx), run)
	}
	s.mu.Unlock()
	var enough <-chan time.Time
	if alive {
		timer := time.NewTimer(patient(ctx))
		defer timer.Stop()
		enough = timer.C
	}
	select {
	case <-run.done:
	case <-enough:
	case <-ctx.Done():
		return "", waiting(ctx, refreshTokens.op.Name)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !s.tokens.alive() && run.err != nil:
		return "", run.err
	case s.tokens.Access == Secret{}: // a logout came in between
		return "", noTokens(refreshTokens.op.Name)
	}
	return s.tokens.Access.Reveal(), nil
}

// patient is how long to wait for what a call can do without. The rest of the time is for
// the call.
func patient(ctx context.Context) time.Duration {
	if deadline, bounded := ctx.Deadline(); bounded {
		return min(patience, time.Until(deadline)/2)
	}
	return patience
}

// source is the session as the source of a client's tokens.
func (s *session) source(ctx context.Context) (string, error) {
	token, err := s.token(ctx, call.RefusedToken(ctx))
	if err != nil {
		return "", ofRenewal(err)
	}
	return token, nil
}

// ofRenewal is the error of a renewal in that of a call.
func ofRenewal(err error) error {
	var failed *Error
	if errors.Is(err, ErrSessionLost) && errors.As(err, &failed) {
		return lostSessionError{newOpaque(failed.Err.Error(), failed)}
	}
	return newOpaque("session: "+err.Error(), err)
}

// renew gets other tokens.
func (s *session) renew(ctx context.Context, run *renewal) {
	ctx, cancel := context.WithTimeout(WithResponse(ctx, nil), renewalTimeout) // whose response is the caller's own
	defer cancel()
	err := error(&Error{Op: refreshTokens.op.Name, Err: errors.New("the token store has ended the goroutine")}) // with runtime.Goexit
	defer func() { s.renewed(run, err) }()
	own := s.current()
	err = s.change(ctx, refreshTokens.op.Name, func(newest Tokens) (Tokens, error) {
		if newest.Access != own.Access && newest.alive() {
			return newest, nil // another session has renewed them, or they could not be kept before
		}
		return s.refresh(ctx, newest)
	})
	var failed *Error
	if errors.As(err, &failed) && errors.Is(err, context.DeadlineExceeded) { // the renewal's deadline is not the caller's
		inner := *failed
		inner.Err = renewalError{failed.Err}
		err = &inner
	}
}

// renewed tells all callers that a renewal has ended.
func (s *session) renewed(run *renewal, err error) {
	s.mu.Lock()
	now := time.Now()
	if run.err = err; err != nil || !s.renewAt.IsZero() && s.renewAt.Before(now) {
		s.renewAt = now.Add(renewalPause)
	}
	s.running = nil
	s.mu.Unlock()
	close(run.done)
}

// renewalError is that of a renewal, whose deadline is not the caller's.
type renewalError struct{ err error }

func (f renewalError) Error() string { return f.err.Error() }

func (f renewalError) Is(target error) bool {
	return target != context.DeadlineExceeded && errors.Is(f.err, target)
}

// refresh asks for other tokens, but not with what was refused. The turn is held.
func (s *session) refresh(ctx context.Context, old Tokens) (Tokens, error) {
	text := old.Refresh.Reveal()
	switch {
	case text == "":
		return Tokens{}, noTokens(refreshTokens.op.Name)
	case s.lost != nil && s.useless == old.Refresh:
		return Tokens{}, s.lost
	}
	granted, outcome, err := refreshTokens.do(ctx, s.caller, args[grant]{password: text, body: refreshBody{text}})
	if err == nil {
		return s.granted(granted, outcome, old), nil
	}
	var e *Error
	if errors.As(err, &e) && e.refused() {
		lost := *e
		lost.Err = join(ErrSessionLost, e.Err)
		s.lost, s.useless, err = &lost, old.Refresh, &lost
	}
	return Tokens{}, err
}

type refreshBody struct {
	Token string `json:"refresh_token"`
}

// refused tells whether the server has refused what the body had, and would again.
func (e *Error) refused() bool {
	for _, kind := range []error{ErrUnauthorized, ErrBadRequest, ErrForbidden, ErrNotFound} {
		if errors.Is(e, kind) && e.StatusCode != 0 {
			return true
		}
	}
	return e.StatusCode < 300 && json.Valid(e.Body) && string(member(e.Body, "success")) == "false"
}

// granted are the tokens of a success. What is not in it stays as it was.
func (s *session) granted(g *grant, o *call.Outcome, old Tokens) Tokens {
	now := time.Now()
	server := now
	if date, err := http.ParseTime(o.Response.Header.Get("Date")); err == nil {
		server = date
	}
	next := Tokens{Access: NewSecret(g.access), Refresh: old.Refresh, ID: old.ID, BaseURL: s.baseURL}
	if g.refresh != "" && g.refresh != old.Refresh.Reveal() {
		next.Refresh, next.ID = NewSecret(g.refresh), ""
	}
	next.ID = cmp.Or(g.id, next.ID)
	if lifetime := g.lifetime(server); lifetime > 0 {
		next.ExpiresAt = now.Add(lifetime)
	}
	return next
}

// change changes the tokens, one change at a time. f gets the newest ones, sends what
// there is to send, and returns those to keep and then to use.
func (s *session) change(ctx context.Context, op string, f func(newest Tokens) (Tokens, error)) error {
	if ctx == nil {
		return invalid(op, "", errors.New("the context is nil; use context.Background()"))
	}
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return waiting(ctx, op)
	}
	defer func() { <-s.turn }()
	own, keep := s.current(), s.keep
	// While it is apart, only what VerifyMFA got is kept: at once, or by a renewal if that failed.
	apart := s.apart && op != verifyMFA.op.Name && (op != refreshTokens.op.Name || s.pending == Tokens{})
	if apart {
		keep = keepNothing
	}
	var next Tokens
	var failed error
	applied := false
	begun, err := keep.update(ctx, own, func(kept Tokens) (Tokens, error) {
		if kept == (Tokens{}) {
			kept = own
		}
		if kept.BaseURL != "" && kept.BaseURL != s.baseURL {
			failed = invalid(op, "", fmt.Errorf("the tokens are those of another backend, %s, and this is %s", kept.BaseURL, s.baseURL))
			return Tokens{}, failed
		}
		if s.apart || op == verifyMFA.op.Name { // as a login, it takes the place of what is kept
			kept = own
		}
		newest := kept
		if s.pending != (Tokens{}) && s.spent == kept.Refresh {
			newest = s.pending
		}
		if newest != (Tokens{}) {
			newest.BaseURL = s.baseURL
		}
		if next, failed = f(newest); failed == nil && next != newest {
			s.pending, s.spent = next, kept.Refresh
			applied = op != refreshTokens.op.Name // which is no call of the user's, and goes on by itself
		}
		return next, failed
	})
	switch {
	case failed != nil:
		return failed
	case !begun && ctx.Err() != nil:
		return waiting(ctx, op)
	case err == nil:
		s.pending, s.apart = Tokens{}, apart
		s.use(next)
		return nil
	case s.pending != Tokens{}: // the next call offers them again
		s.apart = s.apart || op == verifyMFA.op.Name
		s.mu.Lock()
		s.renewAt = time.Now()
		s.mu.Unlock()
	}
	return &Error{Op: op, OutcomeUnknown: applied, Err: newOpaque("token store: "+err.Error(), err)}
}

// waiting is the error of a caller who has waited in vain.
func waiting(ctx context.Context, op string) error {
	err := join(fmt.Errorf("waiting for the session's tokens: %w", ctx.Err()))
	if cause := attempt.NonNil(context.Cause(ctx)); !errors.Is(ctx.Err(), cause) {
		err = join(err, newOpaque(cause.Error(), cause))
	}
	return &Error{Op: op, Err: err}
}

func noTokens(op string) error {
	return &Error{Op: op, Err: join(ErrSessionLost, errors.New("there is no refresh token"))}
}

// with is the session's caller with the access token of tokens.
func (s *session) with(tokens Tokens) connection {
	fixed := *s.caller.settings()
	fixed.caller.Token = func(context.Context) (string, error) { return tokens.Access.Reveal(), nil }
	return connection{func() *settings { return &fixed }}
}

// send sends a request about the session itself, with its newest tokens, while nobody
// changes them. If the server refuses them, it is sent again with others, once.
func (s *session) send(ctx context.Context, op string, f func(c connection, newest Tokens) (Tokens, error)) error {
	var first *Error
	for refused := ""; ; {
		if refused != "" || !s.current().alive() {
			_, err := s.token(ctx, refused)
			switch {
			case ctx.Err() != nil:
				return first.then(waiting(ctx, op))
			case err != nil && (op != logoutUser.op.Name || !errors.Is(err, ErrSessionLost)):
				return first.then(&Error{Op: op, Err: ofRenewal(err)})
			}
		}
		again := false
		err := s.change(ctx, op, func(newest Tokens) (Tokens, error) {
			next, err := f(s.with(newest), newest)
			var e *Error
			if again = first == nil && errors.As(err, &e) && e.aboutTokens(); again {
				first, refused = e, newest.Access.Reveal()
				s.use(newest)
			}
			return next, err
		})
		if !again {
			return first.then(err)
		}
	}
}

// aboutTokens tells whether other tokens may help. The code of a second factor may be refused
// with a 401 too, and must not be sent twice.
func (e *Error) aboutTokens() bool {
	if e.Op == verifyMFA.op.Name {
		return e.StatusCode == http.StatusUnauthorized && e.Code == "NO_AUTH_USER"
	}
	return e.refused()
}

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

var errNoSession = errors.New("the session was made by neither Login nor Resume")

// of is the session of a call. It fails for one that is none.
func (s *Session) of(ctx context.Context, op string) (*session, error) {
	switch {
	case s == nil || s.state == nil:
		return nil, invalid(op, "", errNoSession)
	case ctx == nil:
		return nil, invalid(op, "", errors.New("the context is nil; use context.Background()"))
	}
	return s.state(), nil
}

// Token returns an access token that is not known to have ended, renewed if that is due. Its
// error matches [ErrSessionLost] if the refresh token is refused.
func (s *Session) Token(ctx context.Context) (string, error) {
	state, err := s.of(ctx, refreshTokens.op.Name)
	if err != nil {
		return "", err
	}
	return state.token(ctx, call.RefusedToken(ctx))
}

// Tokens returns the session's tokens.
func (s *Session) Tokens() Tokens {
	if s == nil || s.state == nil {
		return Tokens{}
	}
	return s.state().current()
}

// Logout ends the session on the server and drops its tokens, also if the server refuses
// them. It is repeated. If the outcome is unknown, call it again.
func (s *Session) Logout(ctx context.Context) error {
	state, err := s.of(ctx, logoutUser.op.Name)
	if err != nil {
		return err
	}
	return state.send(ctx, logoutUser.op.Name, func(c connection, newest Tokens) (Tokens, error) {
		text := newest.Refresh.Reveal()
		switch {
		case newest == Tokens{}:
			return Tokens{}, noTokens(logoutUser.op.Name)
		case text == "":
			return Tokens{}, invalid(logoutUser.op.Name, "", errors.New("there is no refresh token"))
		case state.lost != nil && state.useless == newest.Refresh:
			return Tokens{}, nil // nothing is left to end
		}
		_, _, err := logoutUser.do(ctx, c, args[struct{}]{password: text, body: refreshBody{text}})
		return Tokens{}, err
	})
}

// ListTokens returns the user's refresh tokens as the server has them. What an element has
// is not known; it may be secret.
func (s *Session) ListTokens(ctx context.Context) ([]json.RawMessage, error) {
	state, err := s.of(ctx, listTokens.op.Name)
	if err != nil {
		return nil, err
	}
	tokens, _, err := listTokens.do(ctx, state.caller, args[[]json.RawMessage]{})
	if err != nil {
		return nil, err
	}
	return *tokens, nil
}

// RevokeToken ends a refresh token. It is repeated. If the outcome is unknown, call it again.
// Behind a proxy that repeats requests, a 404 may come of this call's own success.
func (s *Session) RevokeToken(ctx context.Context, tokenID string) error {
	state, err := s.of(ctx, revokeToken.op.Name)
	if err != nil {
		return err
	}
	_, _, err = revokeToken.do(ctx, state.caller, args[struct{}]{id: tokenID})
	return err
}
