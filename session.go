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
type lostSessionError struct{ foreign }

func (l lostSessionError) Is(target error) bool {
	return target == ErrSessionLost || target == ErrUnauthorized || l.foreign.Is(target)
}

// RefusedToken returns the token that has just got a 401, in the context of a source
// ([WithTokenSource]) that is asked for another one; else "".
func RefusedToken(ctx context.Context) string { return call.RefusedToken(ctx) }

var (
	// A second login makes a second refresh token, which nobody knows, and nothing else: for
	// the caller, a login that failed was not applied.
	loginUser = operation{
		Op: call.Op{
			Name: "user.login", Method: http.MethodPost, Path: "/user/login",
			Rule: verdict.Rule{Repeat: verdict.Safe}, Auth: call.Anonymous, Read: readGrant("accessToken"), Required: true, Grants: true,
		},
		expects: "tokens",
	}
	// It is repeated with the same refresh token, which is the only one there is. If that
	// was spent by an attempt whose response was lost, there is nothing better to do.
	refreshTokens = operation{
		Op: call.Op{
			Name: "user.refresh", Method: http.MethodPost, Path: "/user/refresh",
			Rule: verdict.Rule{Repeat: verdict.Idempotent}, Auth: call.Anonymous, Read: readGrant("accessToken"), Required: true, Grants: true,
		},
		expects: "tokens",
	}
	verifyMFA = operation{
		Op: call.Op{
			Name: "mfa.verifyLogin", Method: http.MethodPost, Path: "/mfa/verify-login",
			Rule: verdict.Rule{Repeat: verdict.Idempotent}, Auth: call.Fixed, Read: readGrant("fullAccessToken"), Required: true, Grants: true,
		},
		expects: "tokens",
	}
	mfaStatus = operation{
		Op: call.Op{
			Name: "mfa.status", Method: http.MethodGet, Path: "/mfa/status",
			Rule: verdict.Rule{Repeat: verdict.Safe}, Auth: call.Fixed, Read: readMFA, Required: true,
		},
		expects: "an object",
	}
	logoutUser = operation{
		Op: call.Op{
			Name: "user.logout", Method: http.MethodPost, Path: "/user/logout",
			Rule: verdict.Rule{Repeat: verdict.Idempotent}, Auth: call.Fixed,
		},
		expects: "an envelope",
	}
	listTokens = operation{
		Op: call.Op{
			Name: "token.list", Method: http.MethodGet, Path: "/token",
			Rule: verdict.Rule{Repeat: verdict.Safe}, Read: readTokenList, Required: true, Grants: true,
		},
		expects: "a list of tokens",
	}
	revokeToken = operation{
		Op: call.Op{
			Name: "token.revoke", Method: http.MethodDelete, Path: "/token/{id}",
			Rule: verdict.Rule{Repeat: verdict.Idempotent},
		},
		expects: "an envelope",
	}
)

func readTokenList(body []byte, _ *call.Input) (any, error) {
	list := member(body, "tokens")
	if jsonvalue.Kind(list) != '[' {
		return nil, errors.New("no list of tokens")
	}
	tokens := []json.RawMessage{}
	for token := range jsonvalue.Elements(list) {
		tokens = append(tokens, bytes.Clone(token))
	}
	return tokens, nil
}

const (
	renewalTimeout = 3 * time.Minute
	renewalPause   = 30 * time.Second // after one that did not help, while the token lives
	patience       = 5 * time.Second  // with a renewal, while the token lives
)

// Session hands out access tokens, and renews them ahead of their end and when the server
// refuses one. It is safe for concurrent use, and needs no closing.
type Session struct {
	// A function, which no printer looks into.
	state func() *session
}

type session struct {
	caller  caller // whose source of tokens is the session
	baseURL string
	keep    keeper
	turn    chan struct{} // held by the one who changes the tokens, and changes what follows
	pending Tokens        // granted for the refresh token that follows, and not kept yet
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
	client, err := newSettings("").client(op, append(slices.Clip(opts), func(set *settings) error {
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
	s.caller = client.call()
	s.baseURL = s.caller().BaseURL.String()
	if s.keep == nil {
		s.keep = func(_ context.Context, own Tokens, f func(Tokens) (Tokens, error)) error {
			_, err := f(own)
			return err
		}
	}
	return s, nil
}

// Login logs in. The options are those of [NewClient], for the session's own requests, and
// [OnRenew] or [WithTokenStore].
//
// A refused login matches [ErrUnauthorized], and its Code says why: USER_NOT_FOUND,
// INVALID_PASSWORD, USER_INACTIVE or NO_PASSWORD_SET. If the user's status, which Login asks
// for, says that a second factor is needed, the error has a [*MFARequiredError]; without a
// status the session is returned. Login is repeated after an ambiguous attempt, which
// leaves at most a refresh token on the server that nobody has.
func Login(ctx context.Context, email string, password Secret, opts ...Option) (*Session, error) {
	text := password.Reveal()
	switch {
	case strings.TrimSpace(email) == "":
		return nil, invalid(loginUser.Name, "", errors.New("the e-mail address is empty"))
	case text == "":
		return nil, invalid(loginUser.Name, "", errors.New("the password is empty"))
	}
	s, err := newSession("Login", opts)
	if err != nil {
		return nil, err
	}
	// Where the tokens can't be kept, no password is sent.
	if err := s.change(ctx, loginUser.Name, unchanged); err != nil {
		return nil, err
	}
	outcome, err := s.caller.do(ctx, &loginUser, call.Input{Password: text}, struct {
		Email    string `json:"email"`
		Password string `json:"password"`
	}{email, text})
	if err != nil {
		return nil, err
	}
	tokens := s.granted(&outcome, Tokens{})
	session := &Session{func() *session { return s }}
	s.use(tokens)
	if mfa := s.needsMFA(ctx); mfa != nil {
		mfa.Session = session
		return nil, &Error{Op: loginUser.Name, Attempts: outcome.Attempts, Err: mfa}
	}
	s.use(Tokens{}) // until they are kept
	if err := s.change(ctx, loginUser.Name, func(Tokens) (Tokens, error) { return tokens, nil }); err != nil {
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

func (t Tokens) alive() bool {
	return t.Access != Secret{} && (t.ExpiresAt.IsZero() || time.Now().Before(t.ExpiresAt))
}

// token hands out an access token, and renews it if it is due.
func (s *session) token(ctx context.Context) (string, error) {
	s.mu.Lock()
	if refused := call.RefusedToken(ctx); refused != "" && refused == s.tokens.Access.Reveal() {
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
		wait := patience
		if deadline, bounded := ctx.Deadline(); bounded {
			wait = min(wait, time.Until(deadline)/2) // the rest is for the call
		}
		timer := time.NewTimer(wait)
		defer timer.Stop()
		enough = timer.C
	}
	select {
	case <-run.done:
	case <-enough:
	case <-ctx.Done():
		return "", waiting(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !s.tokens.alive() && run.err != nil:
		return "", run.err
	case s.tokens.Access == Secret{}: // a logout came in between
		return "", noTokens()
	}
	return s.tokens.Access.Reveal(), nil
}

// source is the session as the source of a client's tokens.
func (s *session) source(ctx context.Context) (string, error) {
	token, err := s.token(ctx)
	var failed *Error
	switch {
	case errors.Is(err, ErrSessionLost) && errors.As(err, &failed):
		return "", lostSessionError{newForeign(failed.Err.Error(), failed)}
	case err != nil:
		return "", fmt.Errorf("session: %w", err)
	}
	return token, nil
}

// renew gets other tokens.
func (s *session) renew(ctx context.Context, run *renewal) {
	ctx, cancel := context.WithTimeout(WithResponse(ctx, nil), renewalTimeout) // whose response is the caller's own
	defer cancel()
	err := error(&Error{Op: refreshTokens.Name, Err: errors.New("the token store has ended the goroutine")}) // with runtime.Goexit
	defer func() { s.renewed(run, err) }()
	own := s.current()
	err = s.change(ctx, refreshTokens.Name, func(kept Tokens) (Tokens, error) {
		switch {
		case kept.Access != own.Access && kept.alive():
			return kept, nil // another session has renewed them
		case s.pending != Tokens{} && s.spent == kept.Refresh:
			return s.pending, nil
		case s.lost != nil && s.useless == kept.Refresh:
			return Tokens{}, s.lost
		}
		next, err := s.refresh(ctx, kept)
		if errors.Is(err, ErrSessionLost) {
			s.lost, s.useless = err, kept.Refresh
		}
		return next, err
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

func (s *session) refresh(ctx context.Context, kept Tokens) (Tokens, error) {
	text := kept.Refresh.Reveal()
	if text == "" {
		return Tokens{}, noTokens()
	}
	outcome, err := s.caller.do(ctx, &refreshTokens, call.Input{Password: text}, refreshBody{text})
	if err == nil {
		return s.granted(&outcome, kept), nil
	}
	var e *Error
	if errors.As(err, &e) && e.refused() {
		lost := *e
		lost.Err = causes{ErrSessionLost, e.Err}
		return Tokens{}, &lost
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
func (s *session) granted(o *call.Outcome, old Tokens) Tokens {
	g, _ := o.Found.(*grant)
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

// change changes the tokens, one change at a time: f gets those that are kept and returns
// those to keep and then to use.
func (s *session) change(ctx context.Context, op string, f func(kept Tokens) (Tokens, error)) error {
	if ctx == nil {
		return invalid(op, "", errors.New("the context is nil; use context.Background()"))
	}
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return waiting(ctx)
	}
	defer func() { <-s.turn }()
	var next Tokens
	var failed error
	own := s.current()
	err := attempt.Real(s.keep(ctx, own, func(kept Tokens) (Tokens, error) {
		if kept == (Tokens{}) {
			kept = own
		}
		if kept.BaseURL != "" && kept.BaseURL != s.baseURL {
			failed = invalid(op, "", fmt.Errorf("the tokens are those of another backend, %s, and this is %s", kept.BaseURL, s.baseURL))
			return Tokens{}, failed
		}
		if kept != (Tokens{}) {
			kept.BaseURL = s.baseURL
		}
		if next, failed = f(kept); failed == nil && next != kept {
			s.pending, s.spent = next, kept.Refresh
		}
		return next, failed
	}))
	switch {
	case failed != nil:
		return failed
	case err != nil:
		return &Error{Op: op, Err: newForeign("token store: "+err.Error(), err)}
	}
	s.pending = Tokens{}
	s.use(next)
	return nil
}

func unchanged(kept Tokens) (Tokens, error) { return kept, nil }

// waiting is the error of a caller who has waited in vain.
func waiting(ctx context.Context) error {
	err := causes{fmt.Errorf("waiting for the session's tokens: %w", ctx.Err())}
	if cause := attempt.Real(context.Cause(ctx)); !errors.Is(ctx.Err(), cause) {
		err = err.and(newForeign(cause.Error(), cause))
	}
	return &Error{Op: refreshTokens.Name, Err: err}
}

func noTokens() error {
	return &Error{Op: refreshTokens.Name, Err: causes{ErrSessionLost, errors.New("there is no refresh token")}}
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
	state, err := s.of(ctx, refreshTokens.Name)
	if err != nil {
		return "", err
	}
	return state.token(ctx)
}

// Tokens returns the session's tokens.
func (s *Session) Tokens() Tokens {
	if s == nil || s.state == nil {
		return Tokens{}
	}
	return s.state().current()
}

// Logout ends the session on the server, and then has no tokens. It is repeated. If the
// outcome is unknown, call Logout again.
func (s *Session) Logout(ctx context.Context) error {
	state, err := s.of(ctx, logoutUser.Name)
	if err != nil {
		return err
	}
	if err := state.change(ctx, logoutUser.Name, unchanged); err != nil { // to the newest refresh token
		return err
	}
	if _, err := state.token(ctx); err != nil {
		return err
	}
	text := state.current().Refresh.Reveal()
	if text == "" {
		return invalid(logoutUser.Name, "", errors.New("there is no refresh token"))
	}
	if _, err := state.caller.do(ctx, &logoutUser, call.Input{Password: text}, refreshBody{text}); err != nil {
		return err
	}
	return state.change(ctx, logoutUser.Name, func(Tokens) (Tokens, error) {
		state.use(Tokens{})
		return Tokens{}, nil
	})
}

// ListTokens returns the user's refresh tokens as the server has them. What an element has
// is not known; it may be secret.
func (s *Session) ListTokens(ctx context.Context) ([]json.RawMessage, error) {
	state, err := s.of(ctx, listTokens.Name)
	if err != nil {
		return nil, err
	}
	outcome, err := state.caller.do(ctx, &listTokens, call.Input{}, nil)
	tokens, _ := outcome.Found.([]json.RawMessage)
	return tokens, err
}

// RevokeToken ends a refresh token. It is repeated. If the outcome is unknown, call it again.
// Behind a proxy that repeats requests, a 404 may come of this call's own success.
func (s *Session) RevokeToken(ctx context.Context, tokenID string) error {
	state, err := s.of(ctx, revokeToken.Name)
	if err != nil {
		return err
	}
	_, err = state.caller.do(ctx, &revokeToken, call.Input{ID: tokenID}, nil)
	return err
}
