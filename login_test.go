package flashback_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	flashback "github.com/flashbacknetwork/flashback-go"
	"github.com/flashbacknetwork/flashback-go/flashbacktest"
)

func TestARefusedLoginSaysWhy(t *testing.T) {
	t.Parallel()
	b := withJane()
	at := time.Now()
	b.AddUser(flashbacktest.User{ID: "gone", Email: "gone@example.com", Password: password, DeletedAt: &at})
	b.AddUser(flashbacktest.User{ID: "sso", Email: "sso@example.com"})
	for _, tt := range []struct{ email, password, code string }{
		{"nobody@example.com", password, "USER_NOT_FOUND"},
		{"jane@example.com", "another", "INVALID_PASSWORD"},
		{"gone@example.com", password, "USER_INACTIVE"},
		{"sso@example.com", password, "NO_PASSWORD_SET"},
		{"jane@example.com", "PASSWORD", "INVALID_PASSWORD"}, // whose code has it in it
		{"jane@example.com", "INVALID", "INVALID_PASSWORD"},
		{"jane@example.com", "_", "INVALID_PASSWORD"},
	} {
		b.Reset()
		session, err := flashback.Login(t.Context(), tt.email, flashback.NewSecret(tt.password), b.Options()...)
		assert.Nil(t, session)
		require.ErrorIs(t, err, flashback.ErrUnauthorized)
		require.NotErrorIs(t, err, flashback.ErrNoTokens)
		assert.Equal(t, tt.code, asError(t, err).Code)
		require.ErrorContains(t, err, tt.code)
		require.Len(t, b.Requests(), 1)
		assert.Empty(t, b.Requests()[0].Header.Get("Authorization"))
	}
	t.Run("but a code that nothing documents may be an echo", func(t *testing.T) {
		t.Parallel()
		b := withJane()
		b.Script(flashbacktest.Respond(401, `{"success":false,"error_code":"BAD_`+password+`"}`))
		_, err := tryLogIn(t.Context(), b, "jane")
		assert.Equal(t, "BAD_[redacted]", asError(t, err).Code)
	})
}

func TestALoginWhoseResponseIsLostIsRetried(t *testing.T) {
	t.Parallel()
	b := withJane()
	b.Script(flashbacktest.LoseResponse(flashbacktest.CutBody))
	_, client := logIn(t, b)
	require.NoError(t, see(t.Context(), client))
	assert.Equal(t, 2, count(b, loginPath))

	b.Script(flashbacktest.Respond(200, `{"success":true}`))
	_, err := tryLogIn(t.Context(), b, "jane")
	require.ErrorIs(t, err, flashback.ErrUnexpectedResponse)
	require.NotErrorIs(t, err, flashback.ErrOutcomeUnknown)
	require.ErrorContains(t, err, "no accessToken")
}

func TestTheResponseToALoginIsTold(t *testing.T) {
	t.Parallel()
	b := withJane()
	b.ScriptFor("login", flashbacktest.Drop())
	var response flashback.Response
	ctx := flashback.WithResponse(t.Context(), &response)
	session, err := tryLogIn(ctx, b, "jane")
	require.NoError(t, err)
	assert.Equal(t, 2, response.Attempts)
	assert.Equal(t, http.StatusOK, response.StatusCode)
	require.NoError(t, session.Logout(ctx))
	assert.Equal(t, 1, response.Attempts)
}

func TestALoginThatNeedsASecondFactorIsCompletedByVerifyingIt(t *testing.T) {
	t.Parallel()
	b, kept := withJaneAndJohn(), newShelf()
	opt := flashback.WithTokenStore(kept)
	_, err := tryLogIn(t.Context(), b, "john", opt)
	require.NoError(t, err)
	johns := kept.kept()
	mfa := pendingLogin(t, b, opt)
	assert.Equal(t, []flashback.MFAType{flashback.MFAGoogleAuth}, mfa.Methods)
	assert.Equal(t, flashback.MFAGoogleAuth, mfa.Primary)
	assert.Equal(t, johns, kept.kept(), "what is not complete is not kept")
	assert.Empty(t, kept.locked)

	session, wrong := mfa.Verify(t.Context(), flashback.MFA{Type: flashback.MFAGoogleAuth, Code: flashback.NewSecret("654321")})
	assert.Nil(t, session)
	require.ErrorIs(t, wrong, flashback.ErrBadRequest)
	assert.Equal(t, "Invalid code", asError(t, wrong).Message)
	assert.Equal(t, "mfa.verifyLogin", asError(t, wrong).Op)
	assert.Equal(t, johns, kept.kept())
	for _, bad := range []flashback.MFA{{}, {Type: flashback.MFAGoogleAuth}, {Type: "PASSKEY", Code: flashback.NewSecret("x")}} {
		_, err := mfa.Verify(t.Context(), bad)
		require.ErrorIs(t, err, flashback.ErrInvalidArgument)
	}
	session, err = mfa.Verify(t.Context(), janesCode)
	require.NoError(t, err)
	client := clientFor(t, session)
	require.NoError(t, see(t.Context(), client))
	assert.Equal(t, session.Tokens(), kept.kept(), "it takes the place of what was kept")
	assert.Equal(t, "jane", userOf(t, kept.kept().Access))
	b.RevokeToken(kept.kept().Access.Reveal())
	require.NoError(t, see(t.Context(), client), "what a renewal gives is complete too")

	_, err = mfa.Verify(t.Context(), flashback.MFA{Type: flashback.MFAMagicLink, Code: flashback.NewSecret("123456")})
	require.NoError(t, err)
}

func TestTheTokenOfALinkIsSentAsOne(t *testing.T) {
	t.Parallel()
	b := withJaneAndJohn()
	_, err := pendingLogin(t, b).Verify(t.Context(), flashback.MFA{Type: flashback.MFAMagicLink, Code: flashback.NewSecret("123456")})
	require.NoError(t, err)
	requests := b.Requests()
	assert.JSONEq(t, `{"mfaType":"MAGIC_LINK","token":"123456"}`, string(requests[len(requests)-1].Body))
}

func TestARefusedSecondFactorIsSentOnce(t *testing.T) {
	t.Parallel()
	for name, refusal := range map[string]flashbacktest.Fault{
		"of a wrong code": flashbacktest.Respond(401, `{"success":false,"error":"Invalid code"}`), "of the login's token": flashbacktest.None(),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := withJaneAndJohn()
				mfa := pendingLogin(t, b)
				b.ScriptFor("verify-login", refusal)
				if name == "of the login's token" {
					<-time.After(time.Hour)
				}
				_, err := mfa.Verify(t.Context(), janesCode)
				require.ErrorIs(t, err, flashback.ErrUnauthorized)
				assert.Equal(t, 1, asError(t, err).Attempts)
				assert.Zero(t, count(b, refreshPath))
			})
		})
	}
}

func TestALoginGoesOnWithoutAStatusOfTheSecondFactor(t *testing.T) {
	t.Parallel()
	for _, fault := range []flashbacktest.Fault{
		flashbacktest.Respond(404, ""), flashbacktest.Respond(503, ""), flashbacktest.Drop(), flashbacktest.Respond(200, `{"success":true}`),
		flashbacktest.Respond(200, `{"success":true,"data":{"isEnabled":true}}`),
		flashbacktest.Respond(200, `{"success":true,"data":{"isEnabled":false,"sessionVerified":false}}`),
	} {
		b := withJane()
		b.ScriptFor("status", fault)
		_, client := logIn(t, b)
		require.NoError(t, see(t.Context(), client))
		assert.Equal(t, 1, count(b, statusPath))
	}
}

func TestALoginDoesNotWaitLongForTheStatusOfTheSecondFactor(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ limit, takes time.Duration }{
		"half of the time":     {4 * time.Second, 2 * time.Second},
		"5 seconds at most":    {20 * time.Second, 5 * time.Second},
		"without any deadline": {0, 5 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b, kept := withJane(), newShelf()
				b.ScriptFor("status", flashbacktest.Fault{Lose: flashbacktest.Stall})
				ctx, cancel := context.WithCancel(t.Context())
				if tt.limit > 0 {
					ctx, cancel = context.WithTimeout(t.Context(), tt.limit)
				}
				defer cancel()
				begun := time.Now()
				session, err := tryLogIn(ctx, b, "jane", flashback.WithTokenStore(kept))
				require.NoError(t, err)
				assert.Equal(t, tt.takes, time.Since(begun))
				assert.Equal(t, session.Tokens(), kept.kept())
			})
		})
	}
	t.Run("and is not lost if the caller gives up meanwhile", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			for range 20 {
				b, kept := withJane(), newShelf()
				b.ScriptFor("status", flashbacktest.Fault{Lose: flashbacktest.Stall})
				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(time.Second, cancel)
				session, err := tryLogIn(ctx, b, "jane", flashback.WithTokenStore(kept))
				require.NoError(t, err)
				assert.Equal(t, session.Tokens(), kept.kept())
			}
		})
	})
}

func TestALogoutEndsTheSession(t *testing.T) {
	t.Parallel()
	b, kept := withJane(), newShelf()
	session, client := logIn(t, b, flashback.WithTokenStore(kept))
	old := kept.kept()
	b.ScriptFor("logout", flashbacktest.LoseResponse(flashbacktest.CutResponse))
	require.NoError(t, session.Logout(t.Context()))
	assert.Equal(t, 2, count(b, logoutPath))
	assert.Zero(t, kept.kept())
	assert.Zero(t, session.Tokens())
	b.Reset()
	for _, err := range []error{see(t.Context(), client), session.Logout(t.Context())} {
		require.ErrorIs(t, err, flashback.ErrNoTokens)
		require.ErrorIs(t, err, flashback.ErrUnauthorized)
		require.NotErrorIs(t, err, flashback.ErrSessionLost)
	}
	assert.Empty(t, b.Requests())
	require.NoError(t, session.Close(t.Context()))

	resumed := resume(t, b, flashback.Tokens{Refresh: old.Refresh})
	_, err := resumed.Token(t.Context())
	require.ErrorIs(t, err, flashback.ErrSessionLost)
}

func TestALogoutIsTrue(t *testing.T) {
	t.Parallel()
	noUser := flashbacktest.Respond(401, `{"success":false,"error_code":"NO_AUTH_USER"}`)
	forbidden := flashbacktest.Respond(403, `{"message":"Forbidden"}`)
	nothing := func(*flashbacktest.Backend, flashback.Tokens) {}
	always := func(fault flashbacktest.Fault) func(*flashbacktest.Backend, flashback.Tokens) {
		return func(b *flashbacktest.Backend, _ flashback.Tokens) {
			b.Decide(func(*http.Request) flashbacktest.Fault { return fault })
		}
	}
	script := func(path string, faults ...flashbacktest.Fault) func(*flashbacktest.Backend, flashback.Tokens) {
		return func(b *flashbacktest.Backend, _ flashback.Tokens) { b.ScriptFor(path, faults...) }
	}
	all := func(steps ...func(*flashbacktest.Backend, flashback.Tokens)) func(*flashbacktest.Backend, flashback.Tokens) {
		return func(b *flashbacktest.Backend, tokens flashback.Tokens) {
			for _, step := range steps {
				step(b, tokens)
			}
		}
	}
	revokeAccess := func(b *flashbacktest.Backend, tokens flashback.Tokens) { b.RevokeToken(tokens.Access.Reveal()) }
	revokeRefresh := func(b *flashbacktest.Backend, tokens flashback.Tokens) { b.RevokeToken(tokens.Refresh.Reveal()) }
	outage := slices.Repeat([]flashbacktest.Fault{flashbacktest.Respond(503, "")}, 5)
	for name, tt := range map[string]struct {
		before             func(b *flashbacktest.Backend, tokens flashback.Tokens)
		logouts, refreshes int    // requests
		fails              string // "": it succeeds
		unknown            bool
	}{
		"acknowledged": {nothing, 1, 0, "", false},
		"an access token that was revoked is renewed":        {revokeAccess, 2, 1, "", false},
		"one that has ended is renewed before":               {func(*flashbacktest.Backend, flashback.Tokens) { <-time.After(2 * time.Hour) }, 1, 1, "", false},
		"so is one after a bare 401":                         {script("logout", flashbacktest.Respond(401, "")), 2, 1, "", false},
		"but once":                                           {script("logout", noUser, noUser), 2, 1, "unauthorized", false},
		"a refresh token that the API refuses too has ended": {all(revokeAccess, revokeRefresh), 1, 1, "", false},
		"and one that the logout itself does not find":       {all(revokeRefresh, script("logout", flashbacktest.Respond(404, `{"success":false,"error_code":"NO_TOKEN"}`))), 1, 1, "", false},
		"or calls bad":                                       {all(revokeRefresh, script("logout", flashbacktest.Respond(400, `{"success":false,"error_code":"NO_TOKEN"}`))), 1, 1, "", false},
		"and one of a logout whose response was lost":        {script("logout", flashbacktest.LoseResponse(flashbacktest.CutResponse), noUser), 2, 1, "", false},

		"a gateway's 403 is no logout":                {always(forbidden), 1, 0, "forbidden", false},
		"nor is its 404":                              {always(flashbacktest.Respond(404, `{"message":"no Route matched with those values"}`)), 1, 1, "session: ", false},
		"nor is its 400":                              {always(flashbacktest.Respond(400, `{"message":"Bad Request"}`)), 1, 1, "session: ", false},
		"nor is a proxy's 401":                        {always(flashbacktest.Respond(401, "<html>Log in to the proxy</html>")), 1, 1, "session: ", false},
		"nor is a 404 page":                           {always(flashbacktest.Respond(404, "<html>")), 1, 1, "session: ", false},
		"nor is a success that denies it":             {always(flashbacktest.Respond(200, `{"success":false}`)), 1, 0, "unexpected response", false},
		"nor is a page with a 200":                    {always(flashbacktest.Respond(200, "<html>")), 5, 0, "unexpected response", true},
		"nor is a 409":                                {always(flashbacktest.Respond(409, `{"message":"no"}`)), 1, 0, "conflict", false},
		"nor is an outage":                            {always(flashbacktest.Respond(503, "")), 5, 0, "server error", true},
		"nor no connection":                           {always(flashbacktest.Refuse()), 0, 0, "refused", false},
		"nor is a logout that is refused after a 403": {all(revokeAccess, script("refresh", forbidden)), 1, 1, "session: ", false},
		"a renewal that fails tells nothing":          {all(revokeAccess, script("refresh", outage...)), 1, 5, "session: ", false},
		"nor what became of a lost response":          {all(script("logout", flashbacktest.LoseResponse(flashbacktest.CutResponse), noUser), script("refresh", outage...)), 2, 5, "session: ", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b, kept := withJane(), newShelf()
				session, client := logIn(t, b, flashback.WithTokenStore(kept), flashback.WithoutThrottling())
				tt.before(b, session.Tokens())
				err := session.Logout(t.Context())
				assert.Equal(t, tt.logouts, count(b, logoutPath))
				assert.Equal(t, tt.refreshes, count(b, refreshPath))
				if tt.fails == "" {
					require.NoError(t, err)
					assert.Zero(t, session.Tokens())
					assert.Zero(t, kept.kept())
					return
				}
				require.ErrorContains(t, err, tt.fails)
				require.NotErrorIs(t, err, flashback.ErrSessionLost)
				assert.Equal(t, "user.logout", asError(t, err).Op)
				if tt.logouts > 0 {
					assert.Equal(t, tt.logouts, asError(t, err).Attempts)
				}
				assert.Equal(t, tt.unknown, asError(t, err).OutcomeUnknown)
				assert.Equal(t, tt.unknown, errors.Is(err, flashback.ErrOutcomeUnknown))
				assert.NotZero(t, session.Tokens())
				assert.Equal(t, session.Tokens(), kept.kept(), "the tokens stay")
				b.Decide(nil)
				<-time.After(time.Minute)
				require.NoError(t, see(t.Context(), client), "and the session goes on")
				require.NoError(t, session.Logout(t.Context()), "until another one")
				assert.Zero(t, kept.kept())
			})
		})
	}
}

func TestALogoutEndsTheNewestRefreshToken(t *testing.T) {
	t.Parallel()
	for name, renewedBy := range map[string]string{
		"where a renewal is due": "nobody", "where one is under way": "this session", "where another session is at it": "another session",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b, kept := withJane(), newShelf()
				session, client := logIn(t, b, flashback.WithTokenStore(kept))
				other := resume(t, b, flashback.Tokens{}, flashback.WithTokenStore(kept))
				<-time.After(55 * time.Minute)
				b.ScriptFor("refresh", flashbacktest.Fault{Delay: 10 * time.Second})
				switch renewedBy {
				case "this session":
					require.NoError(t, see(t.Context(), client), "with the old token")
				case "another session":
					_, err := other.Token(t.Context())
					require.NoError(t, err)
				}
				require.NoError(t, session.Logout(t.Context()))
				<-time.After(time.Minute)
				assert.Zero(t, session.Tokens())
				assert.Zero(t, kept.kept())
				_, last := logIn(t, b)
				var list struct{ Tokens []any }
				require.NoError(t, last.Do(t.Context(), flashback.Request{Method: http.MethodGet, Path: "/token"}, &list))
				assert.Len(t, list.Tokens, 1, "its own")
			})
		})
	}
}

func TestALogoutGoesOnFromTheNewestTokens(t *testing.T) {
	t.Parallel()
	b, kept := withJane(), newShelf()
	session, _ := logIn(t, b, flashback.WithTokenStore(kept))
	old := session.Tokens()
	other := resume(t, b, flashback.Tokens{}, flashback.WithTokenStore(kept))
	b.RevokeToken(old.Access.Reveal())
	require.NoError(t, see(t.Context(), clientFor(t, other)))
	require.Equal(t, old, session.Tokens(), "it does not know")
	b.RevokeToken(other.Tokens().Access.Reveal())
	require.NoError(t, session.Logout(t.Context()))
	assert.Zero(t, kept.kept())
}

func TestALogoutOfALostSessionAsksTheServerNoMore(t *testing.T) {
	t.Parallel()
	b, kept := withJane(), newShelf()
	session, client := logIn(t, b, flashback.WithTokenStore(kept))
	b.RevokeToken(session.Tokens().Access.Reveal())
	b.RevokeToken(session.Tokens().Refresh.Reveal())
	require.ErrorIs(t, see(t.Context(), client), flashback.ErrSessionLost)
	b.Reset()
	require.NoError(t, session.Logout(t.Context()))
	assert.Empty(t, b.Requests())
	assert.Zero(t, session.Tokens())
	assert.Zero(t, kept.kept())
}

func TestALogoutAfterThatOfAnotherSessionWritesNoTokens(t *testing.T) {
	t.Parallel()
	for name, revoked := range map[string]bool{"with a living token": false, "with a revoked one": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, kept := withJane(), newShelf()
			first, _ := logIn(t, b, flashback.WithTokenStore(kept))
			second := resume(t, b, flashback.Tokens{}, flashback.WithTokenStore(kept))
			require.NoError(t, first.Logout(t.Context()))
			saves := kept.saves
			if revoked {
				b.RevokeToken(second.Tokens().Access.Reveal())
			}
			require.NoError(t, second.Logout(t.Context()))
			assert.Equal(t, saves, kept.saves)
			assert.Zero(t, kept.kept())
			assert.Zero(t, second.Tokens())
		})
	}
}

func TestAClientOfASessionHasItsOptions(t *testing.T) {
	t.Parallel()
	b := withJane()
	logged := &records{}
	session, client := logIn(t, b, flashback.WithLogger(logged.logger()), flashback.WithUserAgent("acme/1"))
	require.NoError(t, see(t.Context(), client))
	require.NoError(t, see(t.Context(), clientFor(t, session, flashback.WithUserAgent("acme/2"))))
	var agents []string
	for _, r := range b.Requests() {
		if r.Path == janePath {
			agents = append(agents, strings.Fields(r.Header.Get("User-Agent"))[0])
		}
	}
	assert.Equal(t, []string{"acme/1", "acme/2"}, agents)
	assert.Contains(t, logged.text(), "organization.users.get")

	source := flashback.WithTokenSource(func(context.Context) (string, error) { return "x", nil })
	elsewhere := flashback.WithBaseURL("https://other.example")
	for name, opt := range map[string]flashback.Option{
		"a source of its own": source, "another backend": elsewhere, "a store": flashback.WithTokenStore(newShelf()), "nil": nil,
	} {
		_, err := session.Client(opt)
		require.ErrorIs(t, err, flashback.ErrInvalidArgument, name)
		assert.Equal(t, "Session.Client", asError(t, err).Op)
	}
	_, err := client.With(elsewhere)
	require.ErrorIs(t, err, flashback.ErrInvalidArgument)
	_, err = client.With(source, elsewhere)
	require.NoError(t, err, "the source takes the session's place")
}

func TestASessionThatCanNotBeIsRefused(t *testing.T) {
	t.Parallel()
	b, kept := withJane(), newShelf()
	session, _ := logIn(t, b)
	tokens, secret := session.Tokens(), flashback.NewSecret(password)
	elsewhere := tokens
	elsewhere.BaseURL = "https://other.example"
	source := flashback.WithTokenSource(func(context.Context) (string, error) { return "x", nil })
	b.Reset()
	ctx := t.Context()
	var none *flashback.Session
	for name, call := range map[string]func() error{
		"an empty e-mail address":   func() error { _, err := flashback.Login(ctx, " ", secret, b.Options()...); return err },
		"an empty password":         func() error { _, err := flashback.Login(ctx, "a@b.c", flashback.Secret{}, b.Options()...); return err },
		"a login without a context": func() error { _, err := flashback.Login(nil, "a@b.c", secret, b.Options()...); return err }, //nolint:staticcheck // It is what is tested.
		"Resume without a context":  func() error { _, err := flashback.Resume(nil, tokens, b.Options()...); return err },         //nolint:staticcheck // as above
		"a nil option":              func() error { _, err := flashback.Login(ctx, "a@b.c", secret, nil); return err },
		"tokens of another backend": func() error { _, err := flashback.Resume(ctx, elsewhere, b.Options()...); return err },
		"a nil store":               func() error { _, err := flashback.Resume(ctx, tokens, flashback.WithTokenStore(nil)); return err },
		"two stores": func() error {
			_, err := flashback.Resume(ctx, tokens, flashback.WithTokenStore(kept), flashback.WithTokenStore(kept))
			return err
		},
		"a session with a source":    func() error { _, err := flashback.Resume(ctx, tokens, b.Options(source)...); return err },
		"a client with a store":      func() error { _, err := flashback.NewClient("token", flashback.WithTokenStore(kept)); return err },
		"Client of no session":       func() error { _, err := none.Client(); return err },
		"Client of a zero session":   func() error { _, err := (&flashback.Session{}).Client(); return err },
		"Token of no session":        func() error { _, err := none.Token(ctx); return err },
		"Token of a zero session":    func() error { _, err := (&flashback.Session{}).Token(ctx); return err },
		"Token without a context":    func() error { _, err := session.Token(nil); return err }, //nolint:staticcheck // as above
		"Close of no session":        func() error { return none.Close(ctx) },
		"Close without a context":    func() error { return session.Close(nil) }, //nolint:staticcheck // as above
		"Logout of no session":       func() error { return none.Logout(ctx) },
		"Logout without a context":   func() error { return session.Logout(nil) }, //nolint:staticcheck // as above
		"Verify of no login":         func() error { _, err := (*flashback.PendingLogin)(nil).Verify(ctx, janesCode); return err },
		"Verify of a zero login":     func() error { _, err := (&flashback.PendingLogin{}).Verify(ctx, janesCode); return err },
		"Verify of an error by hand": func() error { _, err := (&flashback.MFARequiredError{}).Verify(ctx, janesCode); return err },
	} {
		err := call()
		require.ErrorIs(t, err, flashback.ErrInvalidArgument, name)
		assert.NotEmpty(t, asError(t, err).Op, name)
	}
	assert.Zero(t, none.Tokens())
	assert.Empty(t, b.Requests())
	assert.Empty(t, kept.taken())
}

func TestTheSecretsOfASessionAreNowhere(t *testing.T) {
	t.Parallel()
	said := `{"success":false,"error_code":"` + marked + `","message":"bad ` + marked + `"}`
	granted := `{"success":true,"accessToken":"` + marked + `","refreshToken":"` + marked + `"}`
	for name, fault := range map[string]flashbacktest.Fault{
		"a success":           flashbacktest.Respond(200, granted),
		"a success, cut":      {Status: 200, Body: granted + granted, Lose: flashbacktest.CutBody},
		"a success, delayed":  flashbacktest.Respond(202, granted),
		"a token, not read":   flashbacktest.Respond(200, `{"success":true,"token":"`+marked+`"}`),
		"a token in an array": flashbacktest.Respond(200, `[`+granted+`]`),
		"a token in no JSON":  flashbacktest.Respond(200, marked),
		"a redirect":          echo(302, granted),
		"a refusal":           echo(401, said),
		"a bad request":       echo(400, said),
		"a denial":            echo(200, said),
		"an outage":           echo(500, said),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := flashbacktest.NewBackend()
			logged := &records{}
			opts := b.Options(flashback.WithMaxRetries(1), flashback.WithLogger(slog.New(slog.NewJSONHandler(logged, &slog.HandlerOptions{Level: slog.LevelDebug}))))
			b.Decide(func(*http.Request) flashbacktest.Fault { return fault })
			check := func(shown any, err error) {
				assert.Empty(t, leaks(shown))
				if err == nil {
					return
				}
				assert.Empty(t, leaks(err))
				e := asError(t, err)
				assert.Empty(t, leaks(*e))
				assert.NotContains(t, string(e.Body), marked)
				if mfa, ok := errors.AsType[*flashback.MFARequiredError](err); ok {
					assert.Empty(t, leaks(*mfa))
				}
			}
			session, err := flashback.Login(t.Context(), "a@b.c", flashback.NewSecret(marked), opts...)
			check(session, err)
			session, err = flashback.Resume(t.Context(), flashback.Tokens{Refresh: flashback.NewSecret(marked)}, opts...)
			check(session, err)
			_, err = session.Token(t.Context())
			check(session, err)
			check(*session, nil)
			check(session.Tokens(), nil)
			client, err := session.Client()
			check(client, err)
			check(nil, see(t.Context(), client))
			session, err = flashback.Resume(t.Context(), flashback.Tokens{Access: flashback.NewSecret(marked), Refresh: flashback.NewSecret(marked)}, opts...)
			check(session, err)
			check(session, session.Logout(t.Context()))
			check(session, session.Close(t.Context()))
			assert.NotContains(t, logged.text(), marked)
		})
	}
	t.Run("of a second factor", func(t *testing.T) {
		t.Parallel()
		b := withJaneAndJohn()
		mfa := pendingLogin(t, b)
		b.ScriptFor("verify-login", echo(400, said))
		code := flashback.MFA{Type: flashback.MFAMagicLink, Code: flashback.NewSecret(marked)}
		assert.Empty(t, leaks(code))
		_, err := mfa.Verify(t.Context(), code)
		assert.Empty(t, leaks(err))
		assert.Empty(t, leaks(mfa))
		assert.NotContains(t, string(asError(t, err).Body), marked)
	})
}

// What is granted is a secret that nobody has sent.
func TestTokensThatCouldNotBeReadAreNowhere(t *testing.T) {
	t.Parallel()
	granted := `{"success":true,"accessToken":"` + marked + `"}`
	for name, fault := range map[string]flashbacktest.Fault{
		"cut":         {Status: 200, Body: granted + granted, Lose: flashbacktest.CutBody},
		"delayed":     flashbacktest.Respond(202, granted),
		"in a field":  flashbacktest.Respond(200, `{"success":true,"token":"`+marked+`"}`),
		"in an array": flashbacktest.Respond(200, `[`+granted+`]`),
		"in no JSON":  flashbacktest.Respond(200, marked),
		"redirected":  flashbacktest.Respond(302, granted),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := flashbacktest.NewBackend()
			b.Decide(func(*http.Request) flashbacktest.Fault { return fault })
			opts := b.Options(flashback.WithMaxRetries(0))
			_, login := flashback.Login(t.Context(), "a@b.c", flashback.NewSecret("what is sent"), opts...)
			session, err := flashback.Resume(t.Context(), flashback.Tokens{Refresh: flashback.NewSecret("what-is-sent")}, opts...)
			require.NoError(t, err)
			_, renewal := session.Token(t.Context())
			for _, err := range []error{login, renewal} {
				assert.Empty(t, leaks(err))
				assert.NotContains(t, string(asError(t, err).Body), marked)
			}
		})
	}
}

// A server may echo any token that the session has or had, in the response to any call.
func TestAllTokensOfASessionAreRedactedInAllItsCalls(t *testing.T) {
	t.Parallel()
	for name, with := range map[string]func(*testing.T, *flashback.Client) *flashback.Client{
		"a client": func(_ *testing.T, c *flashback.Client) *flashback.Client { return c },
		"a copy of one": func(t *testing.T, c *flashback.Client) *flashback.Client {
			t.Helper()
			other, err := c.With(flashback.WithMaxRetries(1))
			require.NoError(t, err)
			return other
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := withJane()
			logged := &records{}
			session, client := logIn(t, b, flashback.WithLogger(logged.logger()))
			client = with(t, client)
			first := session.Tokens()
			b.RevokeToken(first.Access.Reveal())
			require.NoError(t, see(t.Context(), client))
			second := session.Tokens()
			tokens := []string{first.Access.Reveal(), first.Refresh.Reveal(), second.Access.Reveal(), second.Refresh.Reveal()}
			body := `{"success":false,"message":"can't serialize token ` + strings.Join(tokens, " or ") + `"}`
			b.Decide(func(*http.Request) flashbacktest.Fault {
				return flashbacktest.Fault{Status: 422, Body: body, Header: http.Header{"X-Request-Id": {first.Refresh.Reveal()}, "Via": {second.Refresh.Reveal()}}}
			})
			err := client.Do(t.Context(), flashback.Request{Method: http.MethodGet, Path: "/token"}, nil)
			require.ErrorIs(t, err, flashback.ErrBadRequest)
			assert.Equal(t, "can't serialize token [redacted] or [redacted] or [redacted] or [redacted]", asError(t, err).Message)
			shown := fmt.Sprintf("%+v %v %s %v", *asError(t, err), err, asError(t, err).Body, asError(t, err).Header) + logged.text()
			for _, token := range tokens {
				assert.NotContains(t, shown, token)
			}
		})
	}
	t.Run("and those that it was resumed with", func(t *testing.T) {
		t.Parallel()
		b, kept := withJane(), newShelf()
		first, _ := logIn(t, b, flashback.WithTokenStore(kept))
		client := clientFor(t, resume(t, b, flashback.Tokens{}, flashback.WithTokenStore(kept)))
		b.ScriptFor("jane", flashbacktest.Respond(403, `{"message":"no `+first.Tokens().Refresh.Reveal()+`"}`))
		assert.Equal(t, "no [redacted]", asError(t, see(t.Context(), client)).Message)
	})
	t.Run("and in the error of a renewal of its own", func(t *testing.T) {
		t.Parallel()
		b := withJane()
		session, client := logIn(t, b)
		first := session.Tokens()
		b.RevokeToken(first.Access.Reveal())
		b.Decide(onPath(refreshPath, flashbacktest.Respond(403, `{"message":"no `+first.Access.Reveal()+` `+first.Refresh.Reveal()+`"}`)))
		err := see(t.Context(), client)
		require.ErrorContains(t, err, "no [redacted] [redacted]")
	})
	t.Run("a renewal during a call", func(t *testing.T) {
		t.Parallel()
		b := withJane()
		session, client := logIn(t, b)
		b.RevokeToken(session.Tokens().Access.Reveal())
		b.Decide(func(r *http.Request) flashbacktest.Fault {
			if r.URL.Path == janePath && session.Tokens().Access.Reveal() == strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ") {
				return flashbacktest.Respond(403, `{"message":"no `+session.Tokens().Refresh.Reveal()+`"}`)
			}
			return flashbacktest.None()
		})
		b.ScriptFor("jane", flashbacktest.Respond(401, ""))
		err := see(t.Context(), client)
		require.ErrorIs(t, err, flashback.ErrForbidden)
		assert.Equal(t, "no [redacted]", asError(t, err).Message)
	})
}

// contextStore prints the contexts that it is given.
type contextStore struct {
	*shelf

	seen func(context.Context)
}

func (c contextStore) Lock(ctx context.Context) (flashback.TokenLock, error) {
	c.seen(ctx)
	return c.shelf.Lock(ctx)
}

// contextHandler is a handler that prints the contexts that it is given.
type contextHandler struct {
	slog.Handler

	seen func(context.Context)
}

func (c contextHandler) Handle(ctx context.Context, record slog.Record) error {
	c.seen(ctx)
	return c.Handler.Handle(ctx, record)
}

func TestNoContextOfACallersFunctionShowsAToken(t *testing.T) {
	t.Parallel()
	b := withJane()
	var printed strings.Builder
	var calls atomic.Int32
	seen := func(ctx context.Context) {
		calls.Add(1)
		fmt.Fprintf(&printed, "%v %+v %#v\n", ctx, ctx, ctx)
	}
	handler := contextHandler{(&records{}).logger().Handler(), seen}
	session, client := logIn(t, b, flashback.WithTokenStore(contextStore{newShelf(), seen}), flashback.WithLogger(slog.New(handler)))
	old := session.Tokens()
	b.RevokeToken(old.Access.Reveal())
	require.NoError(t, see(t.Context(), client))

	refused := b.AddToken("jane")
	b.RevokeToken(refused)
	var learned []string
	other := b.ClientWithToken("", flashback.WithTokenSource(func(ctx context.Context) (string, error) {
		seen(ctx)
		learned = append(learned, flashback.RefusedToken(ctx))
		if len(learned) == 1 {
			return refused, nil
		}
		return session.Tokens().Access.Reveal(), nil
	}))
	require.NoError(t, see(t.Context(), other))
	assert.Equal(t, []string{"", refused}, learned)
	require.NoError(t, session.Logout(t.Context()))
	assert.Greater(t, calls.Load(), int32(10))
	for _, token := range []string{old.Access.Reveal(), old.Refresh.Reveal(), refused} {
		assert.NotContains(t, printed.String(), token)
	}
}

// A connection's buffers keep what it has read.
func TestAConnectionThatCarriedNewTokensIsClosed(t *testing.T) {
	t.Parallel()
	backend := flashbacktest.NewBackend()
	backend.AddUser(flashbacktest.User{ID: "jane", Email: "jane@example.com", Password: password, MFACode: "123456", Role: flashback.RoleOwner})
	closed := map[string]bool{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		closed[r.URL.Path] = r.Close
		body, _ := io.ReadAll(r.Body)
		target := *r.URL
		target.Scheme, target.Host = "https", "backend.flashback.test"
		resp, err := backend.RoundTrip( //nolint:bodyclose // It is in memory.
			&http.Request{Method: r.Method, URL: &target, Header: r.Header, Body: io.NopCloser(bytes.NewReader(body))})
		if !assert.NoError(t, err) {
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(resp.StatusCode)
		_, _ = io.Copy(w, resp.Body)
	}))
	defer server.Close()
	_, err := flashback.Login(t.Context(), "jane@example.com", flashback.NewSecret(password), flashback.WithBaseURL(server.URL))
	mfa, ok := errors.AsType[*flashback.MFARequiredError](err)
	require.True(t, ok)
	session, err := mfa.Verify(t.Context(), janesCode)
	require.NoError(t, err)
	defer func() { assert.NoError(t, session.Close(t.Context())) }()
	backend.RevokeToken(session.Tokens().Access.Reveal())
	require.NoError(t, see(t.Context(), clientFor(t, session)))
	assert.Equal(t, map[string]bool{loginPath: true, statusPath: false, verifyPath: true, refreshPath: true, janePath: false}, closed)
}

func TestASourceLearnsWhichTokenWasRefused(t *testing.T) {
	t.Parallel()
	for name, retries := range map[string]int{"and the call is retried": 4, "also if the call has no retry left": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := withJane()
			bad, good := b.AddToken("jane"), b.AddToken("jane")
			b.RevokeToken(bad)
			cached := bad
			var refused []string
			client := b.ClientWithToken("", flashback.WithMaxRetries(retries), flashback.WithTokenSource(func(ctx context.Context) (string, error) {
				refused = append(refused, flashback.RefusedToken(ctx))
				if flashback.RefusedToken(ctx) == cached {
					cached = good
				}
				return cached, nil
			}))
			err := see(t.Context(), client)
			assert.Equal(t, retries == 0, errors.Is(err, flashback.ErrUnauthorized))
			require.NoError(t, see(t.Context(), client))
			assert.Equal(t, []string{"", bad, ""}, refused)
			assert.Empty(t, flashback.RefusedToken(t.Context()))
		})
	}
}
