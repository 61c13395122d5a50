package flashbacktest

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	flashback "github.com/flashbacknetwork/flashback-go"
)

// refreshToken is one that gets access tokens.
type refreshToken struct {
	id, text, userID string
	limited          bool // its access tokens wait for a second factor
}

// Options are those of [Backend.Client], with opts behind them, for [flashback.Login] and
// [flashback.Resume].
func (b *Backend) Options(opts ...flashback.Option) []flashback.Option {
	return append([]flashback.Option{
		flashback.WithBackoff(time.Millisecond, 4*time.Millisecond),
		flashback.WithBaseURL("https://backend.flashback.test"), // which is nobody's, whatever transport opts bring
		flashback.WithHTTPClient(&http.Client{Transport: b}),
	}, opts...)
}

// Options is [Backend.Options], but over the loopback connection.
func (s *Server) Options(opts ...flashback.Option) []flashback.Option {
	return append([]flashback.Option{
		flashback.WithBackoff(time.Millisecond, 4*time.Millisecond), flashback.WithBaseURL(s.URL),
	}, opts...)
}

// KeepRefreshTokens lets a refresh token live on when it has got another one. At first,
// each refresh ends the token that it was made with.
func (b *Backend) KeepRefreshTokens() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.keepsOld = true
}

// sessionEndpoint responds to a request. The backend's mutex is held.
type sessionEndpoint func(b *Backend, r *http.Request, body []byte) (status int, response any)

func (b *Backend) sessionEndpoints(mux *http.ServeMux) {
	for pattern, serve := range map[string]sessionEndpoint{
		"POST /user/login":       (*Backend).login,
		"POST /user/refresh":     (*Backend).refresh,
		"POST /user/logout":      (*Backend).logout,
		"GET /mfa/status":        (*Backend).mfaStatus,
		"POST /mfa/verify-login": (*Backend).verifyLogin,
		"GET /token":             (*Backend).listTokens,
		"DELETE /token/{id}":     (*Backend).revokeToken,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body) // it is in memory
			b.mu.Lock()
			defer b.mu.Unlock()
			status, response := serve(b, r, body)
			respond(w, status, response)
		})
	}
}

// credentials are what the bodies of these calls have.
type credentials struct {
	Email, Password string
	RefreshToken    string `json:"refresh_token"`
	Code, Token     string
}

func read(body []byte) (c credentials) {
	_ = json.Unmarshal(body, &c) // what can't be read is not there
	return c
}

// grantedTokens are what a success gives.
type grantedTokens struct {
	Success      bool   `json:"success"`
	Message      string `json:"message,omitempty"`
	Access       string `json:"accessToken,omitempty"`
	Full         string `json:"fullAccessToken,omitempty"`
	RefreshToken string `json:"refreshToken"`
	TokenID      string `json:"tokenId,omitempty"`
	ExpiresAt    int64  `json:"expiresAt,omitempty"` // milliseconds
	User         any    `json:"user,omitempty"`
}

// grant makes the two tokens of a user. An access token is a JWT that says that it lives
// for an hour, unless [Backend.SetTokenLifetime] says how long it does.
func (b *Backend) grant(user *User, limited bool) grantedTokens {
	b.issued++
	now := time.Now()
	ends := now.Add(cmp.Or(b.lifetime, time.Hour))
	part := base64.RawURLEncoding.EncodeToString
	access := strings.Join([]string{
		part([]byte(`{"alg":"none","typ":"JWT"}`)),
		part(fmt.Appendf(nil, `{"userId":%q,"iat":%d,"exp":%d}`, user.ID, now.Unix(), ends.Unix())),
		part(fmt.Appendf(nil, "fake-%d", b.issued)),
	}, ".")
	b.tokens[access] = token{userID: user.ID, issued: now, limited: limited}
	refresh := refreshToken{fmt.Sprintf("token-%d", b.issued), fmt.Sprintf("fake-refresh-%d-of-%x", b.issued, user.ID), user.ID, limited}
	b.refreshes = append(b.refreshes, refresh)
	return grantedTokens{Success: true, Access: access, RefreshToken: refresh.text, TokenID: refresh.id, ExpiresAt: ends.UnixMilli()}
}

func (b *Backend) login(_ *http.Request, body []byte) (int, any) {
	given := read(body)
	var user *User
	for _, one := range b.users {
		if given.Email != "" && strings.EqualFold(one.Email, given.Email) {
			user = one
		}
	}
	code := ""
	switch {
	case user == nil:
		code = "USER_NOT_FOUND"
	case user.Deleted():
		code = "USER_INACTIVE"
	case user.Password == "":
		code = "NO_PASSWORD_SET"
	case user.Password != given.Password:
		code = "INVALID_PASSWORD"
	}
	if code != "" {
		return http.StatusUnauthorized, envelope{ErrorCode: code}
	}
	granted := b.grant(user, user.MFACode != "")
	granted.User = map[string]string{"id": user.ID, "email": user.Email, "name": user.Name, "orgId": user.OrgID}
	return http.StatusOK, granted
}

func (b *Backend) refresh(_ *http.Request, body []byte) (int, any) {
	i := b.findRefresh(func(t refreshToken) bool { return t.text == read(body).RefreshToken })
	if i < 0 || b.users[b.refreshes[i].userID] == nil || b.users[b.refreshes[i].userID].Deleted() {
		return http.StatusUnauthorized, envelope{ErrorCode: "INVALID_REFRESH_TOKEN"}
	}
	old := b.refreshes[i]
	if !b.keepsOld {
		b.refreshes = slices.Delete(b.refreshes, i, i+1)
	}
	granted := b.grant(b.users[old.userID], old.limited)
	granted.TokenID = ""
	return http.StatusOK, granted
}

func (b *Backend) findRefresh(is func(refreshToken) bool) int {
	return slices.IndexFunc(b.refreshes, is)
}

func (b *Backend) logout(r *http.Request, body []byte) (int, any) {
	caller := b.caller(r)
	if caller == nil {
		return http.StatusUnauthorized, noAuthUser
	}
	given := read(body).RefreshToken
	b.refreshes = slices.DeleteFunc(b.refreshes, func(t refreshToken) bool { return t.text == given && t.userID == caller.ID })
	return http.StatusOK, envelope{Success: true}
}

func (b *Backend) mfaStatus(r *http.Request, _ []byte) (int, any) {
	caller := b.caller(r)
	if caller == nil {
		return http.StatusUnauthorized, noAuthUser
	}
	type status struct {
		Enabled  bool     `json:"isEnabled"`
		Required bool     `json:"isRequired"`
		Enforced bool     `json:"isEnforced"`
		Methods  []string `json:"enabledMethods"`
		Primary  string   `json:"primaryMethod,omitempty"`
		Verified bool     `json:"sessionVerified"`
	}
	found := status{Methods: []string{}, Verified: !b.limited(r)}
	if caller.MFACode != "" {
		found.Enabled, found.Required, found.Methods, found.Primary = true, true, []string{"GOOGLE_AUTH"}, "GOOGLE_AUTH"
	}
	return http.StatusOK, envelope{Success: true, Data: found}
}

func (b *Backend) verifyLogin(r *http.Request, body []byte) (int, any) {
	caller := b.caller(r)
	given := read(body)
	switch {
	case caller == nil:
		return http.StatusUnauthorized, noAuthUser
	case caller.MFACode == "" || cmp.Or(given.Code, given.Token) != caller.MFACode:
		return http.StatusBadRequest, struct {
			Success bool   `json:"success"`
			Error   string `json:"error"`
		}{Error: "Invalid code"}
	}
	granted := b.grant(caller, false)
	return http.StatusOK, grantedTokens{Success: true, Message: "Verified", Full: granted.Access, RefreshToken: granted.RefreshToken}
}

func (b *Backend) listTokens(r *http.Request, _ []byte) (int, any) {
	caller := b.caller(r)
	if caller == nil {
		return http.StatusUnauthorized, noAuthUser
	}
	type listed struct {
		ID string `json:"id"`
	}
	list := []listed{}
	for _, t := range b.refreshes {
		if t.userID == caller.ID {
			list = append(list, listed{t.id})
		}
	}
	return http.StatusOK, struct {
		Success bool     `json:"success"`
		Tokens  []listed `json:"tokens"`
	}{true, list}
}

func (b *Backend) revokeToken(r *http.Request, _ []byte) (int, any) {
	caller := b.caller(r)
	if caller == nil {
		return http.StatusUnauthorized, noAuthUser
	}
	i := b.findRefresh(func(t refreshToken) bool { return t.id == r.PathValue("id") && t.userID == caller.ID })
	if i < 0 {
		return http.StatusNotFound, envelope{Message: "Token not found"}
	}
	b.refreshes = slices.Delete(b.refreshes, i, i+1)
	return http.StatusOK, envelope{Success: true}
}
