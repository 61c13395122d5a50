package flashbacktest_test

import (
	"encoding/json"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/flashbacknetwork/flashback-go/flashbacktest"
)

// granted are the tokens in a response.
type granted struct {
	AccessToken, FullAccessToken, RefreshToken, TokenID string
	ExpiresAt                                           int64
}

func tokensIn(t *testing.T, status int, body string) granted {
	t.Helper()
	require.Equal(t, http.StatusOK, status, body)
	var g granted
	require.NoError(t, json.Unmarshal([]byte(body), &g))
	return g
}

func withJane(code string) *flashbacktest.Backend {
	b := flashbacktest.NewBackend()
	b.AddUser(flashbacktest.User{ID: "jane", Email: "jane@example.com", Password: "Passw0rd", MFACode: code})
	return b
}

const credentials = `{"email":"jane@example.com","password":"Passw0rd"}`

func logIn(t *testing.T, b *flashbacktest.Backend) granted {
	t.Helper()
	status, body := ask(t, b, "", http.MethodPost, "/user/login", credentials)
	return tokensIn(t, status, body)
}

func refresh(t *testing.T, b *flashbacktest.Backend, token string) (int, string) {
	t.Helper()
	return ask(t, b, "", http.MethodPost, "/user/refresh", `{"refresh_token":"`+token+`"}`)
}

func TestTokensOfALoginLiveAsLongAsTheySay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := withJane("")
		b.SetTokenLifetime(time.Hour)
		login := logIn(t, b)
		assert.Equal(t, time.Now().Add(time.Hour).UnixMilli(), login.ExpiresAt)
		assert.NotEmpty(t, login.TokenID)
		<-time.After(time.Hour - time.Second)
		status, _ := ask(t, b, login.AccessToken, http.MethodGet, "/token", "")
		assert.Equal(t, http.StatusOK, status)
		<-time.After(time.Second)
		for _, path := range []string{"/token", "/mfa/status"} {
			status, body := ask(t, b, login.AccessToken, http.MethodGet, path, "")
			assert.Equal(t, http.StatusUnauthorized, status)
			assert.JSONEq(t, `{"success":false,"error_code":"NO_AUTH_USER"}`, body)
		}
		status, body := refresh(t, b, login.RefreshToken)
		status, _ = ask(t, b, tokensIn(t, status, body).AccessToken, http.MethodGet, "/token", "")
		assert.Equal(t, http.StatusOK, status)
	})
}

func TestARefreshEndsTheOldTokenUnlessTokensAreKept(t *testing.T) {
	t.Parallel()
	b := withJane("")
	first := logIn(t, b)
	status, body := refresh(t, b, first.RefreshToken)
	second := tokensIn(t, status, body)
	assert.NotEqual(t, first.RefreshToken, second.RefreshToken)
	status, body = refresh(t, b, first.RefreshToken)
	assert.Equal(t, http.StatusUnauthorized, status)
	assert.JSONEq(t, `{"success":false,"error_code":"INVALID_REFRESH_TOKEN"}`, body)
	b.KeepRefreshTokens()
	for range 2 {
		status, body = refresh(t, b, second.RefreshToken)
		tokensIn(t, status, body)
	}
	b.RevokeToken(second.RefreshToken)
	status, _ = refresh(t, b, second.RefreshToken)
	assert.Equal(t, http.StatusUnauthorized, status)
}

func TestALogoutAndARevocationEndARefreshToken(t *testing.T) {
	t.Parallel()
	b := withJane("")
	first, second := logIn(t, b), logIn(t, b)
	status, body := ask(t, b, first.AccessToken, http.MethodGet, "/token", "")
	assert.Equal(t, http.StatusOK, status)
	assert.JSONEq(t, `{"success":true,"tokens":[{"id":"`+first.TokenID+`"},{"id":"`+second.TokenID+`"}]}`, body)
	status, body = ask(t, b, b.Token(), http.MethodDelete, "/token/"+second.TokenID, "")
	assert.Equal(t, http.StatusNotFound, status, "it is another user's")
	assert.JSONEq(t, `{"success":false,"message":"Token not found"}`, body)
	status, body = ask(t, b, first.AccessToken, http.MethodDelete, "/token/"+second.TokenID, "")
	assert.Equal(t, http.StatusOK, status)
	assert.JSONEq(t, `{"success":true}`, body)
	status, _ = refresh(t, b, second.RefreshToken)
	assert.Equal(t, http.StatusUnauthorized, status)
	status, body = ask(t, b, first.AccessToken, http.MethodPost, "/user/logout", `{"refresh_token":"`+first.RefreshToken+`"}`)
	assert.Equal(t, http.StatusOK, status)
	assert.JSONEq(t, `{"success":true}`, body)
	status, _ = refresh(t, b, first.RefreshToken)
	assert.Equal(t, http.StatusUnauthorized, status)
	for _, method := range [][2]string{{http.MethodPost, "/user/logout"}, {http.MethodDelete, "/token/x"}, {http.MethodPost, "/mfa/verify-login"}} {
		status, _ = ask(t, b, "bad", method[0], method[1], "{}")
		assert.Equal(t, http.StatusUnauthorized, status)
	}
}

func TestALoginWithASecondFactorHasFewRightsUntilItIsVerified(t *testing.T) {
	t.Parallel()
	b := withJane("123456")
	for _, path := range []string{"/bucket", "/mfa/code"} { // two of the test's own
		b.Handle("POST "+path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusCreated)
		})
	}
	login := logIn(t, b)
	for path, method := range map[string]string{"/organization/org-1": http.MethodGet, "/bucket": http.MethodPost} {
		status, body := ask(t, b, login.AccessToken, method, path, "")
		assert.Equal(t, http.StatusForbidden, status)
		assert.JSONEq(t, `{"success":false,"message":"MFA verification required"}`, body)
	}
	status, _ := ask(t, b, login.AccessToken, http.MethodPost, "/mfa/code", "")
	assert.Equal(t, http.StatusCreated, status)
	_, body := ask(t, b, login.AccessToken, http.MethodGet, "/mfa/status", "")
	assert.JSONEq(t, `{"success":true,"data":{"isEnabled":true,"isRequired":true,"isEnforced":false,"enabledMethods":["GOOGLE_AUTH"],`+
		`"primaryMethod":"GOOGLE_AUTH","sessionVerified":false}}`, body)
	status, body = ask(t, b, login.AccessToken, http.MethodPost, "/mfa/verify-login", `{"mfaType":"GOOGLE_AUTH","code":"1"}`)
	assert.Equal(t, http.StatusBadRequest, status)
	assert.JSONEq(t, `{"success":false,"error":"Invalid code"}`, body)
	status, body = ask(t, b, login.AccessToken, http.MethodPost, "/mfa/verify-login", `{"mfaType":"GOOGLE_AUTH","code":"123456"}`)
	full := tokensIn(t, status, body)
	assert.Empty(t, full.AccessToken)
	status, _ = ask(t, b, full.FullAccessToken, http.MethodGet, "/organization/org-1", "")
	assert.Equal(t, http.StatusOK, status)
	status, _ = ask(t, b, full.FullAccessToken, http.MethodPost, "/bucket", "")
	assert.Equal(t, http.StatusCreated, status)
	for token, want := range map[string]int{login.RefreshToken: http.StatusForbidden, full.RefreshToken: http.StatusOK} {
		status, body = refresh(t, b, token)
		status, _ = ask(t, b, tokensIn(t, status, body).AccessToken, http.MethodGet, "/organization/org-1", "")
		assert.Equal(t, want, status)
	}
	_, body = ask(t, withJane(""), logIn(t, withJane("")).AccessToken, http.MethodGet, "/mfa/status", "")
	assert.Contains(t, body, "NO_AUTH_USER", "a token is one backend's")
}
