package flashback

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/flashbacknetwork/flashback-go/internal/call"
	"github.com/flashbacknetwork/flashback-go/internal/jsonvalue"
	"github.com/flashbacknetwork/flashback-go/internal/verdict"
)

// The requests of a session.
var (
	// loginUser is safe: a second login makes a second refresh token, which nobody knows, and nothing
	// else. For the caller, a login that failed was not applied.
	loginUser = endpoint[grant]{
		op: call.Op{
			Name: "user.login", Method: http.MethodPost,
			Rule: verdict.Rule{Retry: verdict.Safe}, Auth: call.Anonymous, Required: true, Grants: true,
			Codes: []string{"USER_NOT_FOUND", "INVALID_PASSWORD", "USER_INACTIVE", "NO_PASSWORD_SET"},
		},
		path: "/user/login", expects: "tokens",
		read: readGrant("accessToken"),
	}
	// refreshTokens is idempotent: it is retried with the only refresh token there is. If an attempt
	// whose response was lost has replaced that, there is nothing better to do.
	refreshTokens = endpoint[grant]{
		op: call.Op{
			Name: "user.refresh", Method: http.MethodPost,
			Rule: verdict.Rule{Retry: verdict.Idempotent}, Auth: call.Anonymous, Required: true, Grants: true,
		},
		path: "/user/refresh", expects: "tokens",
		read: readGrant("accessToken"),
	}
	verifyMFA = endpoint[grant]{
		op: call.Op{
			Name: "mfa.verifyLogin", Method: http.MethodPost,
			Rule: verdict.Rule{Retry: verdict.Idempotent}, Auth: call.Fixed, Required: true, Grants: true,
		},
		path: "/mfa/verify-login", expects: "tokens",
		read: readGrant("fullAccessToken"),
	}
	mfaStatus = endpoint[MFARequiredError]{
		op: call.Op{
			Name: "mfa.status", Method: http.MethodGet,
			Rule: verdict.Rule{Retry: verdict.Safe}, Auth: call.Fixed, Required: true,
		},
		path: "/mfa/status", expects: "an object",
		read: readMFA,
	}
	logoutUser = endpoint[struct{}]{
		op: call.Op{
			Name: "user.logout", Method: http.MethodPost,
			Rule: verdict.Rule{Retry: verdict.Idempotent}, Auth: call.Fixed,
		},
		path: "/user/logout", expects: "an envelope",
	}
)

type refreshBody struct {
	Token string `json:"refresh_token"`
}

func (r *renewer) requestLogin(ctx context.Context, email, password string) (tokens Tokens, attempts int, err error) {
	body := struct {
		Email    string `json:"email"`
		Password string `json:"password"`
	}{email, password}
	return r.requestGrant(ctx, &loginUser, Tokens{}, password, body)
}

func (r *renewer) requestRefresh(ctx context.Context, old Tokens) (Tokens, error) {
	text := old.Refresh.Reveal()
	tokens, _, err := r.requestGrant(ctx, &refreshTokens, old, text, refreshBody{text})
	return tokens, err
}

func (r *renewer) requestVerify(ctx context.Context, limited Tokens, code string, body map[string]string) (Tokens, error) {
	tokens, _, err := r.requestGrant(ctx, &verifyMFA, limited, code, body)
	return tokens, err
}

// requestMFAStatus asks whether the token of a login needs a second factor, and returns nil if it does not.
// It asks once, and not for long: without a response, the calls of the session will tell.
func (r *renewer) requestMFAStatus(ctx context.Context, tokens Tokens) *MFARequiredError {
	ctx, cancel := context.WithTimeout(WithResponse(ctx, nil), patient(ctx))
	defer cancel()
	ask := r.with(tokens)
	ask.settings().caller.Retry.MaxRetries = 0
	mfa, _, _ := mfaStatus.do(ctx, ask, args[MFARequiredError]{})
	return mfa
}

func (r *renewer) requestLogout(ctx context.Context, tokens Tokens) error {
	text := tokens.Refresh.Reveal()
	_, _, err := logoutUser.do(ctx, r.with(tokens), args[struct{}]{password: text, body: refreshBody{text}})
	return err
}

// requestGrant sends a request for tokens in the place of old. secret is the secret in its body.
func (r *renewer) requestGrant(ctx context.Context, e *endpoint[grant], old Tokens, secret string, body any) (Tokens, int, error) {
	g, outcome, err := e.do(ctx, r.with(old), args[grant]{password: secret, body: body})
	if err != nil {
		return Tokens{}, 0, err
	}
	tokens := g.tokens(outcome.Response.Header, old)
	tokens.BaseURL = r.baseURL
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hide(tokens)
	return tokens, outcome.Attempts, nil
}

// with returns the connection for a request of the change that runs, with the access token of tokens.
func (r *renewer) with(tokens Tokens) connection {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.running.sent = true
	fixed := *r.client.settings()
	fixed.caller.Token = func(context.Context) (string, error) { return tokens.Access.Reveal(), nil }
	return connection{func() *settings { return &fixed }}
}

// grant is what a response grants.
type grant struct {
	access, refresh, id string
	expiresAt           float64 // seconds or milliseconds; 0 if it does not say
}

func readGrant(key string) func(*call.Response, *args[grant]) (*grant, error) {
	return func(r *call.Response, _ *args[grant]) (*grant, error) {
		var g grant
		body := r.Body
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

// tokens makes tokens of a grant in the place of old. What is not in the grant stays as it was.
func (g *grant) tokens(header http.Header, old Tokens) Tokens {
	now := time.Now()
	server := now
	if date, err := http.ParseTime(header.Get("Date")); err == nil {
		server = date
	}
	next := Tokens{Access: NewSecret(g.access), Refresh: old.Refresh, ID: old.ID}
	if g.refresh != "" && g.refresh != old.Refresh.Reveal() {
		next.Refresh, next.ID = NewSecret(g.refresh), ""
	}
	next.ID = cmp.Or(g.id, next.ID)
	if life := g.life(server, next.Access == old.Access); life > 0 {
		next.IssuedAt, next.ExpiresAt = now, now.Add(life)
	}
	return next
}

// life returns how long the access token lives from now, by the server's clock; 0 if nothing tells, or if
// what tells can't be right. What is in the token counts more than what is beside it, and needs no clock
// if it says when the token was made. It says nothing new in a token that was granted before.
func (g *grant) life(now time.Time, again bool) time.Duration {
	seconds := 0.0
	issued := float64(now.UnixMilli()) / 1000
	if g.expiresAt != 0 {
		ends := g.expiresAt
		if ends >= 1e11 { // in seconds, the year 5138
			ends /= 1000
		}
		seconds = ends - issued
	}
	if parts := strings.Split(g.access, "."); len(parts) == 3 && !again {
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

// readMFA reads whether the token needs a second factor: nil, if it does not.
func readMFA(r *call.Response, _ *args[MFARequiredError]) (*MFARequiredError, error) {
	data := member(r.Body, "data")
	if jsonvalue.Kind(data) != '{' {
		return nil, errors.New("no data")
	}
	on := false
	for _, key := range []string{"isEnabled", "isRequired", "isEnforced"} {
		on = on || string(member(data, key)) == "true"
	}
	if !on || string(member(data, "sessionVerified")) != "false" {
		return nil, nil //nolint:nilnil // No second factor is needed.
	}
	var mfa MFARequiredError
	for value := range jsonvalue.Elements(member(data, "enabledMethods")) {
		if method, ok := jsonvalue.String(value); ok {
			mfa.Methods = append(mfa.Methods, MFAType(method))
		}
	}
	primary, _ := jsonvalue.String(member(data, "primaryMethod"))
	mfa.Primary = MFAType(primary)
	return &mfa, nil
}
