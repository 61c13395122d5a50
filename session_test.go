package flashback_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	flashback "github.com/flashbacknetwork/flashback-go"
	"github.com/flashbacknetwork/flashback-go/flashbacktest"
)

const password = "Passw0rd-of-jane"

// withJane is a backend with tokens of an hour and a user who can log in.
func withJane() *flashbacktest.Backend {
	b := flashbacktest.NewBackend()
	b.SetTokenLifetime(time.Hour)
	b.AddUser(flashbacktest.User{ID: "jane", Email: "jane@example.com", Password: password, Role: flashback.RoleOwner})
	return b
}

// logIn is Jane's session, and a client that uses it.
func logIn(t *testing.T, b *flashbacktest.Backend, opts ...flashback.Option) (*flashback.Session, *flashback.Client) {
	t.Helper()
	session, err := flashback.Login(t.Context(), "jane@example.com", flashback.NewSecret(password), b.Options(opts...)...)
	require.NoError(t, err)
	return session, b.ClientWithToken("", flashback.WithSession(session))
}

func see(ctx context.Context, c *flashback.Client) error {
	_, err := c.Organization.Users.Get(ctx, "jane")
	return err
}

// count counts the requests with a path.
func count(b *flashbacktest.Backend, path string) int {
	n := 0
	for _, r := range b.Requests() {
		if r.Path == path {
			n++
		}
	}
	return n
}

const (
	refreshPath = "/user/refresh"
	janePath    = "/organization/users/jane"
)

// job is a job of three hours with a call a minute. It tells how many calls succeeded and
// failed, and what it was told wrong.
func job(t *testing.T, b *flashbacktest.Backend, client *flashback.Client) (succeeded int, failures []error, wrong []string) {
	t.Helper()
	for i := range 180 {
		name := fmt.Sprintf("Jane %d", i)
		_, err := client.Organization.Users.Update(t.Context(), "jane", flashback.UserUpdate{Name: &name})
		user, _ := b.User("jane")
		applied := user.Name == name
		if err == nil {
			succeeded++
		} else {
			failures = append(failures, err)
		}
		if applied != (err == nil) && !errors.Is(err, flashback.ErrOutcomeUnknown) {
			wrong = append(wrong, fmt.Sprintf("call %d: applied %v, told %v", i, applied, err))
		}
		<-time.After(time.Minute)
	}
	return succeeded, failures, wrong
}

func TestAJobOfThreeHoursRenewsThreeTimesAndNoCallFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := withJane()
		_, client := logIn(t, b)
		succeeded, failures, wrong := job(t, b, client)
		assert.Equal(t, 180, succeeded)
		assert.Empty(t, failures)
		assert.Empty(t, wrong)
		assert.Equal(t, 3, count(b, refreshPath))
		assert.Equal(t, 180, count(b, janePath), "no 401")
	})
	t.Run("the control: a token alone", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			b := withJane()
			session, _ := logIn(t, b)
			succeeded, failures, _ := job(t, b, b.ClientWithToken(session.Tokens().Access.Reveal()))
			assert.Equal(t, 60, succeeded)
			assert.Len(t, failures, 120)
		})
	})
}

func TestWhereEverySecondResponseOfARefreshIsLostNoCallIsToldWrong(t *testing.T) {
	t.Parallel()
	for name, ends := range map[string]bool{"a refresh ends the old token": true, "it does not": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := withJane()
				if !ends {
					b.KeepRefreshTokens()
				}
				refreshes := 0
				b.Decide(func(r *http.Request) flashbacktest.Fault {
					if r.URL.Path != refreshPath {
						return flashbacktest.None()
					}
					if refreshes++; refreshes%2 == 0 {
						return flashbacktest.LoseResponse(flashbacktest.CutResponse)
					}
					return flashbacktest.None()
				})
				_, client := logIn(t, b)
				succeeded, failures, wrong := job(t, b, client)
				assert.Empty(t, wrong)
				if !ends {
					assert.Equal(t, 180, succeeded)
					assert.Equal(t, 5, refreshes, "three renewals, two of them repeated")
					return
				}
				// The first renewal succeeds, and the second is lost with its response. Its
				// access token serves the job to its end.
				assert.Equal(t, 115, succeeded)
				assert.Equal(t, 3, refreshes, "none after the refusal")
				require.Len(t, failures, 65)
				for _, err := range failures {
					require.ErrorIs(t, err, flashback.ErrSessionLost)
					require.ErrorIs(t, err, flashback.ErrUnauthorized)
					require.NotErrorIs(t, err, flashback.ErrOutcomeUnknown)
					require.ErrorContains(t, err, "the session may be lost: log in again")
				}
				assert.Equal(t, 115, count(b, janePath))
			})
		})
	}
}

func TestFiveHundredGoroutinesShareOneRenewal(t *testing.T) {
	t.Parallel()
	for name, at := range map[string]time.Duration{"when the token has ended": time.Hour, "ahead of its end": 56 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := withJane()
				b.ScriptFor("refresh", flashbacktest.Fault{Delay: time.Second})
				_, client := logIn(t, b)
				<-time.After(at)
				var wait sync.WaitGroup
				errs := make(chan error, 500)
				for range 500 {
					wait.Go(func() { errs <- see(t.Context(), client) })
				}
				wait.Wait()
				close(errs)
				for err := range errs {
					require.NoError(t, err)
				}
				assert.Equal(t, 1, count(b, refreshPath))
				assert.Equal(t, 500, count(b, janePath))
			})
		})
	}
}

func TestACallerWhoGivesUpDoesNotEndTheRenewal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := withJane()
		b.ScriptFor("refresh", flashbacktest.Fault{Delay: 10 * time.Second})
		session, client := logIn(t, b)
		<-time.After(2 * time.Hour)
		begun := time.Now()
		var wait sync.WaitGroup
		var tooLate, canceled error
		var response flashback.Response
		wait.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			tooLate = see(flashback.WithResponse(ctx, &response), client)
			assert.Equal(t, time.Second, time.Since(begun))
		})
		wait.Go(func() {
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(2*time.Second, func() { cancel(errors.New("enough")) })
			_, canceled = session.Token(ctx)
		})
		<-time.After(time.Millisecond)
		require.NoError(t, see(t.Context(), client))
		assert.Equal(t, 10*time.Second, time.Since(begun).Truncate(time.Second))
		wait.Wait()
		assert.Equal(t, 1, count(b, refreshPath))
		require.ErrorIs(t, tooLate, context.DeadlineExceeded)
		require.NotErrorIs(t, tooLate, flashback.ErrUnauthorized)
		assert.Zero(t, response.Attempts, "the renewal's response is not the call's")
		require.ErrorIs(t, canceled, context.Canceled)
		require.ErrorContains(t, canceled, "enough")
	})
}

func TestARefusedTokenIsRenewedAtOnceAndOnce(t *testing.T) {
	t.Parallel()
	b := withJane()
	session, client := logIn(t, b)
	b.RevokeToken(session.Tokens().Access.Reveal())
	require.NoError(t, see(t.Context(), client))
	assert.Equal(t, 1, count(b, refreshPath))

	b.ScriptFor("jane", flashbacktest.Respond(401, ""), flashbacktest.Respond(401, ""))
	err := see(t.Context(), client)
	require.ErrorIs(t, err, flashback.ErrUnauthorized)
	require.NotErrorIs(t, err, flashback.ErrSessionLost)
	assert.Equal(t, 2, asError(t, err).Attempts)
	assert.Equal(t, 2, count(b, refreshPath))
}

func TestARefusedRefreshTokenIsToldEachCallAndAskedOnce(t *testing.T) {
	t.Parallel()
	for name, refusal := range map[string]flashbacktest.Fault{
		"401": flashbacktest.None(), "a bare 401": flashbacktest.Respond(401, ""),
		"400":                flashbacktest.Respond(400, `{"success":false,"error_code":"NO_TOKEN"}`),
		"403":                flashbacktest.Respond(403, `{"success":false,"message":"no"}`),
		"404":                flashbacktest.Respond(404, `{"success":false,"message":"no"}`),
		"200 that denies it": flashbacktest.Respond(200, `{"success":false,"error_code":"NO_TOKEN"}`),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := withJane()
				session, client := logIn(t, b)
				b.RevokeToken(session.Tokens().Refresh.Reveal())
				b.ScriptFor("refresh", refusal)
				<-time.After(time.Hour)
				var wait sync.WaitGroup
				errs := make(chan error, 50)
				for range 50 {
					wait.Go(func() { errs <- see(t.Context(), client) })
				}
				wait.Wait()
				close(errs)
				for err := range errs {
					require.ErrorIs(t, err, flashback.ErrSessionLost)
					require.ErrorIs(t, err, flashback.ErrUnauthorized)
					assert.Zero(t, asError(t, err).Attempts)
				}
				for range 3 {
					require.ErrorIs(t, see(t.Context(), client), flashback.ErrSessionLost)
					<-time.After(time.Hour)
				}
				_, err := session.Token(t.Context())
				require.ErrorIs(t, err, flashback.ErrSessionLost)
				assert.Equal(t, "user.refresh", asError(t, err).Op)
				assert.Equal(t, 1, count(b, refreshPath))
				assert.Zero(t, count(b, janePath))
			})
		})
	}
}

func TestARenewalThatFailsForAWhileIsTriedAgain(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]flashbacktest.Fault{
		"503": flashbacktest.Respond(503, ""), "a proxy's page": flashbacktest.Respond(404, "<html>"), "no connection": flashbacktest.Refuse(),
		"a success without a token": flashbacktest.Respond(200, `{"success":true,"refreshToken":"r"}`), "204": flashbacktest.Respond(204, ""),
		"a token that can't be sent": flashbacktest.Respond(200, `{"success":true,"accessToken":"a\nb"}`),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := withJane()
				_, client := logIn(t, b)
				down := true
				b.Decide(func(r *http.Request) flashbacktest.Fault {
					if down && r.URL.Path == refreshPath {
						return fault
					}
					return flashbacktest.None()
				})
				<-time.After(56 * time.Minute)
				require.NoError(t, see(t.Context(), client), "the old token lives")
				sent := count(b, refreshPath)
				require.NoError(t, see(t.Context(), client))
				assert.Equal(t, sent, count(b, refreshPath), "there is a pause between renewals")
				<-time.After(4 * time.Minute)
				err := see(t.Context(), client)
				require.Error(t, err)
				for _, kind := range []error{flashback.ErrUnauthorized, flashback.ErrServer, flashback.ErrSessionLost, flashback.ErrUnexpectedResponse} {
					require.NotErrorIs(t, err, kind, "it is not this call's")
				}
				assert.Equal(t, 2, count(b, janePath))
				down = false
				require.NoError(t, see(t.Context(), client))
			})
		})
	}
}

func TestAStalledRenewalLeavesTimeForACallWithALivingToken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := withJane()
		_, client := logIn(t, b)
		b.ScriptFor("refresh", flashbacktest.Fault{Lose: flashbacktest.Stall})
		<-time.After(56 * time.Minute)
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
		defer cancel()
		begun := time.Now()
		require.NoError(t, see(ctx, client))
		assert.Equal(t, 2*time.Second, time.Since(begun))
		<-time.After(time.Minute) // the renewal's
	})
}

func TestAStalledRenewalDoesNotKeepCallsWithALivingToken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := withJane()
		_, client := logIn(t, b)
		b.ScriptFor("refresh", flashbacktest.Fault{Lose: flashbacktest.Stall})
		<-time.After(56 * time.Minute)
		begun := time.Now()
		require.NoError(t, see(t.Context(), client))
		assert.Equal(t, 5*time.Second, time.Since(begun), "the one who began it waits a little")
		require.NoError(t, see(t.Context(), client))
		assert.Equal(t, 5*time.Second, time.Since(begun), "the next does not")
		<-time.After(time.Minute)
		require.NoError(t, see(t.Context(), client))
		assert.Equal(t, 2, count(b, refreshPath), "it went on, and succeeded")
	})
}

func TestNewTokensAreKeptBeforeTheyAreUsed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := withJane()
		var kept []flashback.Tokens
		var failing error
		session, client := logIn(t, b, flashback.OnRenew(func(_ context.Context, tokens flashback.Tokens) error {
			if failing != nil {
				return failing
			}
			kept = append(kept, tokens)
			return nil
		}))
		require.Len(t, kept, 1, "of the login")
		assert.Equal(t, session.Tokens(), kept[0])
		<-time.After(time.Hour)
		failing = errors.New("the disk is full")
		_, err := session.Token(t.Context())
		require.ErrorIs(t, err, failing)
		require.NotErrorIs(t, err, flashback.ErrOutcomeUnknown, "they will be offered again")
		err = see(t.Context(), client)
		require.ErrorContains(t, err, "the disk is full")
		require.ErrorIs(t, err, failing)
		assert.Zero(t, count(b, janePath))
		assert.Equal(t, kept[0].Refresh, session.Tokens().Refresh)
		require.Error(t, see(t.Context(), client))
		failing = nil
		require.NoError(t, see(t.Context(), client))
		assert.Equal(t, 1, count(b, refreshPath), "what was granted is kept, not asked for again")
		require.Len(t, kept, 2)
		assert.NotEqual(t, kept[0], kept[1])
		assert.Equal(t, session.Tokens(), kept[1])

		resumed, err := flashback.Resume(t.Context(), kept[1], b.Options()...)
		require.NoError(t, err)
		require.NoError(t, see(t.Context(), b.ClientWithToken("", flashback.WithSession(resumed))))
		assert.Equal(t, 1, count(b, refreshPath))
	})
}

// shelf is a store in memory that sessions share. Like a database, it keeps nothing once the
// context has ended.
type shelf struct {
	lock    chan struct{} // of one
	tokens  flashback.Tokens
	failing error
	slow    time.Duration // how long keeping takes
	writes  int
}

func newShelf() *shelf { return &shelf{lock: make(chan struct{}, 1)} }

func (s *shelf) Update(ctx context.Context, f func(flashback.Tokens) (flashback.Tokens, error)) error {
	select {
	case s.lock <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-s.lock }()
	next, err := f(s.tokens)
	if err != nil || next == s.tokens {
		return err
	}
	select {
	case <-time.After(s.slow):
	case <-ctx.Done():
	}
	if err := cmp.Or(s.failing, ctx.Err()); err != nil {
		return err
	}
	s.tokens = next
	s.writes++
	return nil
}

type nilError struct{ text string }

func (e *nilError) Error() string { return e.text }

// idle is a store that keeps nothing, and does not even ask for what to keep.
type idle struct{}

func (idle) Update(context.Context, func(flashback.Tokens) (flashback.Tokens, error)) error {
	return nil
}

func TestAStoreThatAsksForNothingIsNoSuccess(t *testing.T) {
	t.Parallel()
	b := withJane()
	session, err := flashback.Login(t.Context(), "jane@example.com", flashback.NewSecret(password), b.Options(flashback.WithTokenStore(idle{}))...)
	assert.Nil(t, session)
	require.ErrorContains(t, err, "token store")
	require.NotErrorIs(t, err, flashback.ErrOutcomeUnknown)
	assert.Empty(t, b.Requests())
}

// twice is a store that asks twice, as one does that has to start again.
type twice struct{ *shelf }

func (s twice) Update(ctx context.Context, f func(flashback.Tokens) (flashback.Tokens, error)) error {
	return s.shelf.Update(ctx, func(kept flashback.Tokens) (flashback.Tokens, error) {
		_, _ = f(kept)
		return f(kept)
	})
}

func TestAStoreThatAsksTwiceSendsNothingTwice(t *testing.T) {
	t.Parallel()
	b, kept := withJane(), newShelf()
	session, client := logIn(t, b, flashback.WithTokenStore(twice{kept}))
	b.RevokeToken(session.Tokens().Access.Reveal())
	require.NoError(t, see(t.Context(), client))
	require.NoError(t, session.Logout(t.Context()))
	for _, path := range []string{"/user/login", refreshPath, "/user/logout"} {
		assert.Equal(t, 1, count(b, path), path)
	}
	assert.Zero(t, kept.tokens)
}

// impatient is a store that works in another goroutine, for which it waits 5 s.
type impatient struct {
	*shelf

	after time.Duration
}

func (i *impatient) Update(ctx context.Context, f func(flashback.Tokens) (flashback.Tokens, error)) error {
	done := make(chan error, 1)
	after := i.after
	go func() {
		<-time.After(after)
		done <- i.shelf.Update(context.WithoutCancel(ctx), f)
	}()
	select {
	case err := <-done:
		return err
	case <-time.After(5 * time.Second):
		return errors.New("it takes over 5 s")
	}
}

func TestAStoreThatDoesNotWaitLosesNoTokens(t *testing.T) {
	t.Parallel()
	change := map[string]func(t *testing.T, b *flashbacktest.Backend, store flashback.TokenStore, session *flashback.Session) error{
		"login": func(t *testing.T, b *flashbacktest.Backend, store flashback.TokenStore, _ *flashback.Session) error {
			t.Helper()
			_, err := flashback.Login(t.Context(), "jane@example.com", flashback.NewSecret(password), b.Options(flashback.WithTokenStore(store))...)
			return err
		},
		"resume": func(t *testing.T, b *flashbacktest.Backend, store flashback.TokenStore, _ *flashback.Session) error {
			t.Helper()
			_, err := flashback.Resume(t.Context(), flashback.Tokens{}, b.Options(flashback.WithTokenStore(store))...)
			return err
		},
		"logout": func(t *testing.T, _ *flashbacktest.Backend, _ flashback.TokenStore, session *flashback.Session) error {
			t.Helper()
			return session.Logout(t.Context())
		},
	}
	for name, change := range change {
		t.Run(name+", asking too late", func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b, store := withJane(), &impatient{shelf: newShelf()}
				session, _ := logIn(t, b, flashback.WithTokenStore(store))
				b.Reset()
				store.after = 10 * time.Second
				require.ErrorContains(t, change(t, b, store, session), "over 5 s")
				<-time.After(time.Minute)
				assert.Empty(t, b.Requests(), "nothing is sent late")
				assert.NotZero(t, store.tokens, "what it has is alive")
			})
		})
		if name == "resume" {
			continue // it sends nothing
		}
		t.Run(name+", leaving early", func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b, store := withJane(), &impatient{shelf: newShelf()}
				session, _ := logIn(t, b, flashback.WithTokenStore(store))
				b.Decide(func(*http.Request) flashbacktest.Fault {
					<-time.After(10 * time.Second)
					return flashbacktest.None()
				})
				err := change(t, b, store, session)
				require.ErrorIs(t, err, flashback.ErrOutcomeUnknown)
				require.ErrorContains(t, err, "over 5 s")
			})
		})
	}
}

func TestAnErrorThatIsANilPointerDoesNoHarm(t *testing.T) {
	t.Parallel()
	b := withJane()
	_, err := flashback.Login(t.Context(), "jane@example.com", flashback.NewSecret(password), b.Options(flashback.OnRenew(
		func(context.Context, flashback.Tokens) error { return (*nilError)(nil) },
	))...)
	require.ErrorContains(t, err, "nilError")
	_, err = b.ClientWithToken("", flashback.WithTokenSource(
		func(context.Context) (string, error) { return "", (*nilError)(nil) },
	)).Organization.Users.Activate(t.Context(), "user-1")
	require.ErrorContains(t, err, "nilError")
}

func TestTokensThatCanNotBeSentAreNotResumed(t *testing.T) {
	t.Parallel()
	for text, says := range map[string]string{"[redacted]": "Reveal", "token-1\n": "TrimSpace", "Bearer token-1": "Bearer"} {
		token := flashback.NewSecret(text)
		for _, tokens := range []flashback.Tokens{{Access: token}, {Refresh: token}} {
			_, err := flashback.Resume(t.Context(), tokens)
			require.ErrorIs(t, err, flashback.ErrInvalidArgument)
			require.ErrorContains(t, err, says)
		}
	}
}

func TestTokensThatCanNotBeUsedAreNotKept(t *testing.T) {
	t.Parallel()
	for name, bad := range map[string]flashback.Tokens{
		"an ID alone":           {ID: "x"},
		"a base URL alone":      {BaseURL: "https://backend.flashback.test"},
		"a secret as printed":   {Access: flashback.NewSecret("[redacted]"), Refresh: flashback.NewSecret("[redacted]")},
		"one good and one bad":  {Access: flashback.NewSecret("good-token"), Refresh: flashback.NewSecret("bad-token\n")},
		"those of another host": {Access: flashback.NewSecret("good-token"), BaseURL: "https://other.example"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, kept := withJane(), newShelf()
			_, err := flashback.Resume(t.Context(), bad, b.Options(flashback.WithTokenStore(kept))...)
			require.ErrorIs(t, err, flashback.ErrInvalidArgument)
			assert.Zero(t, kept.tokens)
			session, _ := logIn(t, b)
			resumed, err := flashback.Resume(t.Context(), session.Tokens(), b.Options(flashback.WithTokenStore(kept))...)
			require.NoError(t, err)
			assert.Equal(t, session.Tokens(), resumed.Tokens())
			assert.Equal(t, session.Tokens(), kept.tokens)
		})
	}
}

func TestAnIDIsThatOfItsRefreshToken(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ more, want string }{
		"another refresh token, without its ID": {`,"refreshToken":"another"`, ""},
		"another refresh token, with its ID":    {`,"refreshToken":"another","tokenId":"id-2"`, "id-2"},
		"the same refresh token":                {`,"refreshToken":"first"`, "id-1"},
		"no refresh token":                      {``, "id-1"},
		"no refresh token, and an ID":           {`,"tokenId":"id-2"`, "id-2"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := withJane()
			b.ScriptFor("refresh", flashbacktest.Respond(200, `{"success":true,"accessToken":"new-access"`+tt.more+`}`))
			session, err := flashback.Resume(t.Context(), flashback.Tokens{Refresh: flashback.NewSecret("first"), ID: "id-1"}, b.Options()...)
			require.NoError(t, err)
			_, err = session.Token(t.Context())
			require.NoError(t, err)
			assert.Equal(t, tt.want, session.Tokens().ID)
		})
	}
}

func TestTheDeadlineOfARenewalIsNotTheCallers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := withJane()
		session, _ := logIn(t, b)
		<-time.After(2 * time.Hour)
		b.Decide(func(*http.Request) flashbacktest.Fault {
			return flashbacktest.Fault{Status: 503, Header: http.Header{"Retry-After": {"50"}}}
		})
		_, err := session.Token(context.Background())
		require.ErrorIs(t, err, flashback.ErrServer)
		require.NotErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, "user.refresh", asError(t, err).Op)
	})
}

func TestAStoreThatEndsItsGoroutineKeepsNobodyWaiting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := withJane()
		kept := 0
		session, _ := logIn(t, b, flashback.OnRenew(func(context.Context, flashback.Tokens) error {
			if kept++; kept > 1 {
				runtime.Goexit() // as t.FailNow does
			}
			return nil
		}))
		<-time.After(2 * time.Hour)
		_, err := session.Token(t.Context())
		require.ErrorContains(t, err, "ended the goroutine")
	})
}

func TestASessionIsResumedFromARefreshTokenAlone(t *testing.T) {
	t.Parallel()
	b := withJane()
	session, _ := logIn(t, b)
	resumed, err := flashback.Resume(t.Context(), flashback.Tokens{Refresh: session.Tokens().Refresh}, b.Options()...)
	require.NoError(t, err)
	assert.Zero(t, count(b, refreshPath), "it sends nothing")
	require.NoError(t, see(t.Context(), b.ClientWithToken("", flashback.WithSession(resumed))))
	assert.Equal(t, 1, count(b, refreshPath))
}

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
	} {
		b.Reset()
		session, err := flashback.Login(t.Context(), tt.email, flashback.NewSecret(tt.password), b.Options()...)
		assert.Nil(t, session)
		require.ErrorIs(t, err, flashback.ErrUnauthorized)
		assert.Equal(t, tt.code, asError(t, err).Code)
		require.ErrorContains(t, err, tt.code)
		require.Len(t, b.Requests(), 1)
		assert.Empty(t, b.Requests()[0].Header.Get("Authorization"))
	}
}

func TestALoginWhoseResponseIsLostIsRepeated(t *testing.T) {
	t.Parallel()
	b := withJane()
	b.Script(flashbacktest.LoseResponse(flashbacktest.CutBody))
	_, client := logIn(t, b)
	require.NoError(t, see(t.Context(), client))
	assert.Equal(t, 2, count(b, "/user/login"))

	b.Script(flashbacktest.Respond(200, `{"success":true}`))
	_, err := flashback.Login(t.Context(), "jane@example.com", flashback.NewSecret(password), b.Options()...)
	require.ErrorIs(t, err, flashback.ErrUnexpectedResponse)
	require.NotErrorIs(t, err, flashback.ErrOutcomeUnknown)
	require.ErrorContains(t, err, "no accessToken")
}

func TestALoginThatNeedsASecondFactorIsCompletedByVerifyingIt(t *testing.T) {
	t.Parallel()
	b := withJane()
	jane, _ := b.User("jane")
	jane.MFACode = "123456"
	b.AddUser(jane)
	var kept []flashback.Tokens
	session, err := flashback.Login(t.Context(), "jane@example.com", flashback.NewSecret(password), b.Options(
		flashback.OnRenew(func(_ context.Context, tokens flashback.Tokens) error {
			kept = append(kept, tokens)
			return nil
		}))...)
	assert.Nil(t, session)
	var mfa *flashback.MFARequiredError
	require.ErrorAs(t, err, &mfa)
	assert.Equal(t, "user.login", asError(t, err).Op)
	assert.Equal(t, []flashback.MFAType{flashback.MFAGoogleAuth}, mfa.Methods)
	assert.Equal(t, flashback.MFAGoogleAuth, mfa.Primary)
	assert.Empty(t, kept, "a session that is not complete is not kept")

	client := b.ClientWithToken("", flashback.WithSession(mfa.Session))
	require.ErrorIs(t, see(t.Context(), client), flashback.ErrForbidden)
	wrong := mfa.Session.VerifyMFA(t.Context(), flashback.MFA{Type: flashback.MFAGoogleAuth, Code: flashback.NewSecret("654321")})
	require.ErrorIs(t, wrong, flashback.ErrBadRequest)
	assert.Equal(t, "Invalid code", asError(t, wrong).Message)
	for _, bad := range []flashback.MFA{{}, {Type: flashback.MFAGoogleAuth}, {Type: flashback.MFAPasskey, Code: flashback.NewSecret("x")}} {
		require.ErrorIs(t, mfa.Session.VerifyMFA(t.Context(), bad), flashback.ErrInvalidArgument)
	}
	require.NoError(t, mfa.Session.VerifyMFA(t.Context(), flashback.MFA{Type: flashback.MFAGoogleAuth, Code: flashback.NewSecret("123456")}))
	require.NoError(t, see(t.Context(), client))
	require.Len(t, kept, 1)
	assert.Equal(t, mfa.Session.Tokens(), kept[0])

	b.RevokeToken(kept[0].Access.Reveal())
	require.NoError(t, see(t.Context(), client), "what a renewal gives is complete too")
	require.NoError(t, mfa.Session.VerifyMFA(t.Context(), flashback.MFA{Type: flashback.MFAMagicLink, Code: flashback.NewSecret("123456")}))
	requests := b.Requests()
	assert.JSONEq(t, `{"mfaType":"MAGIC_LINK","token":"123456"}`, string(requests[len(requests)-1].Body))
}

func TestAWrongSecondFactorIsSentOnce(t *testing.T) {
	t.Parallel()
	b := withJane()
	session, _ := logIn(t, b)
	b.ScriptFor("verify-login", flashbacktest.Respond(401, `{"success":false,"error":"Invalid code"}`))
	err := session.VerifyMFA(t.Context(), flashback.MFA{Type: flashback.MFAGoogleAuth, Code: flashback.NewSecret("654321")})
	require.ErrorIs(t, err, flashback.ErrUnauthorized)
	assert.Equal(t, 1, asError(t, err).Attempts)
	assert.Zero(t, count(b, refreshPath))
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
		assert.Equal(t, 1, count(b, "/mfa/status"))
	}
}

// halfLogIn logs Jane in at a backend that then asks for a second factor. Another user, John, needs
// none.
// withJaneAndJohn is a backend where Jane needs a second factor, and John none.
func withJaneAndJohn() *flashbacktest.Backend {
	b := withJane()
	jane, _ := b.User("jane")
	jane.MFACode = "123456"
	b.AddUser(jane)
	b.AddUser(flashbacktest.User{ID: "john", Email: "john@example.com", Password: password, Role: flashback.RoleOwner})
	return b
}

func halfLogIn(t *testing.T, opts ...flashback.Option) (*flashbacktest.Backend, *flashback.Session) {
	t.Helper()
	b := withJaneAndJohn()
	_, err := flashback.Login(t.Context(), "jane@example.com", flashback.NewSecret(password), b.Options(opts...)...)
	var mfa *flashback.MFARequiredError
	require.ErrorAs(t, err, &mfa)
	return b, mfa.Session
}

func logInJohn(t *testing.T, b *flashbacktest.Backend, opts ...flashback.Option) *flashback.Session {
	t.Helper()
	session, err := flashback.Login(t.Context(), "john@example.com", flashback.NewSecret(password), b.Options(opts...)...)
	require.NoError(t, err)
	return session
}

var janesCode = flashback.MFA{Type: flashback.MFAGoogleAuth, Code: flashback.NewSecret("123456")}

// userOf is whose access token it is.
func userOf(t *testing.T, token flashback.Secret) string {
	t.Helper()
	claims, err := base64.RawURLEncoding.DecodeString(strings.Split(token.Reveal(), ".")[1])
	require.NoError(t, err)
	var said struct{ UserID string }
	require.NoError(t, json.Unmarshal(claims, &said))
	return said.UserID
}

func TestASessionThatWaitsForASecondFactorKeepsOffTheStore(t *testing.T) {
	t.Parallel()
	for name, shared := range map[string]bool{"that another user has": true, "that is empty": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				kept := newShelf()
				b, session := halfLogIn(t, flashback.WithTokenStore(kept))
				assert.Zero(t, kept.tokens)
				if shared {
					<-time.After(50 * time.Minute)
					logInJohn(t, b, flashback.WithTokenStore(kept))
				}
				before := kept.tokens
				for range 3 {
					<-time.After(time.Hour)
					token, err := session.Token(t.Context())
					require.NoError(t, err)
					assert.Equal(t, "jane", userOf(t, flashback.NewSecret(token)))
				}
				assert.Equal(t, 3, count(b, refreshPath))
				kept.failing = errors.New("the disk is full")
				b.RevokeToken(session.Tokens().Access.Reveal())
				_, err := session.ListTokens(t.Context())
				require.NoError(t, err, "it needs no store")
				require.NoError(t, session.Logout(t.Context()))
				assert.Zero(t, session.Tokens())
				assert.Equal(t, before, kept.tokens)
			})
		})
	}
	t.Run("until it is verified", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			kept := newShelf()
			b, session := halfLogIn(t, flashback.WithTokenStore(kept))
			logInJohn(t, b, flashback.WithTokenStore(kept))
			require.NoError(t, session.VerifyMFA(t.Context(), janesCode))
			assert.Equal(t, session.Tokens(), kept.tokens)
			assert.Equal(t, "jane", userOf(t, kept.tokens.Access))
			<-time.After(time.Hour)
			require.NoError(t, see(t.Context(), b.ClientWithToken("", flashback.WithSession(session))))
			assert.Equal(t, session.Tokens(), kept.tokens)
		})
	})
}

func TestAVerificationThatWasNotKeptIsKeptSoon(t *testing.T) {
	t.Parallel()
	for name, shared := range map[string]bool{"in place of another user's": true, "in an empty store": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				kept := newShelf()
				b, session := halfLogIn(t, flashback.WithTokenStore(kept))
				if shared {
					logInJohn(t, b, flashback.WithTokenStore(kept))
				}
				before := kept.tokens
				kept.failing = errors.New("the disk is full")
				err := session.VerifyMFA(t.Context(), janesCode)
				require.ErrorIs(t, err, flashback.ErrOutcomeUnknown)
				require.ErrorIs(t, err, kept.failing)
				assert.Equal(t, "mfa.verifyLogin", asError(t, err).Op)
				client := b.ClientWithToken("", flashback.WithSession(session))
				require.ErrorIs(t, see(t.Context(), client), flashback.ErrForbidden, "they are not used before they are kept")
				assert.Equal(t, before, kept.tokens)
				kept.failing = nil
				<-time.After(30 * time.Second)
				require.NoError(t, see(t.Context(), client))
				assert.Equal(t, session.Tokens(), kept.tokens)
				assert.Equal(t, "jane", userOf(t, kept.tokens.Access))
				assert.Zero(t, count(b, refreshPath))
			})
		})
	}
	t.Run("and is ended by a logout", func(t *testing.T) {
		t.Parallel()
		kept := newShelf()
		b, session := halfLogIn(t, flashback.WithTokenStore(kept))
		logInJohn(t, b, flashback.WithTokenStore(kept))
		before, limited := kept.tokens, session.Tokens()
		kept.failing = errors.New("the disk is full")
		require.Error(t, session.VerifyMFA(t.Context(), janesCode))
		require.NoError(t, session.Logout(t.Context()))
		assert.Equal(t, before, kept.tokens)
		requests := b.Requests()
		last := requests[len(requests)-1]
		assert.Equal(t, "/user/logout", last.Path)
		assert.NotContains(t, string(last.Body), limited.Refresh.Reveal())
	})
}

func TestWhatIsAppliedAndNotKeptIsNoDefiniteFailure(t *testing.T) {
	t.Parallel()
	for _, store := range []string{"fails", "hangs"} {
		for name, call := range map[string]func(context.Context, *flashbacktest.Backend, *flashback.Session, flashback.Option) error{
			"login": func(ctx context.Context, b *flashbacktest.Backend, _ *flashback.Session, opt flashback.Option) error {
				_, err := flashback.Login(ctx, "john@example.com", flashback.NewSecret(password), b.Options(opt)...)
				return err
			},
			"verification": func(ctx context.Context, _ *flashbacktest.Backend, s *flashback.Session, _ flashback.Option) error {
				return s.VerifyMFA(ctx, janesCode)
			},
			"logout": func(ctx context.Context, _ *flashbacktest.Backend, s *flashback.Session, _ flashback.Option) error {
				return s.Logout(ctx)
			},
		} {
			t.Run(name+", the store "+store, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					kept := newShelf()
					opt := flashback.WithTokenStore(kept)
					b, session := halfLogIn(t, opt)
					require.NoError(t, session.VerifyMFA(t.Context(), janesCode))
					ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
					defer cancel()
					if store == "fails" {
						kept.failing = errors.New("the disk is full")
					} else {
						kept.slow = time.Hour
					}
					begun := time.Now()
					err := call(ctx, b, session, opt)
					require.ErrorIs(t, err, flashback.ErrOutcomeUnknown)
					require.ErrorContains(t, err, "token store")
					if store == "hangs" {
						assert.Equal(t, 30*time.Second, time.Since(begun), "10 s after the deadline")
					}
					if name == "logout" {
						kept.failing, kept.slow = nil, 0
						require.NoError(t, session.Logout(t.Context()), "another one succeeds")
						assert.Zero(t, kept.tokens)
					}
				})
			})
		}
	}
}

func TestADeadlineThatPassesAfterTheResponseLosesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		kept := newShelf()
		kept.slow = 3 * time.Second
		b, session := halfLogIn(t, flashback.WithTokenStore(kept))
		within := func(limit time.Duration, call func(context.Context) error) {
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			require.NoError(t, call(ctx))
			require.ErrorIs(t, ctx.Err(), context.DeadlineExceeded)
		}
		within(2*time.Second, func(ctx context.Context) error { return session.VerifyMFA(ctx, janesCode) })
		assert.Equal(t, session.Tokens(), kept.tokens)
		require.NoError(t, see(t.Context(), b.ClientWithToken("", flashback.WithSession(session))))
		within(2*time.Second, session.Logout)
		assert.Zero(t, kept.tokens)
		var john *flashback.Session
		within(2*time.Second, func(ctx context.Context) (err error) {
			john, err = flashback.Login(ctx, "john@example.com", flashback.NewSecret(password), b.Options(flashback.WithTokenStore(kept))...)
			return err
		})
		assert.Equal(t, john.Tokens(), kept.tokens)
	})
}

func TestWhoWaitsInVainForTheTokensHasSentNothing(t *testing.T) {
	t.Parallel()
	for name, call := range map[string]func(context.Context, *flashback.Session) error{
		"/mfa/verify-login": func(ctx context.Context, s *flashback.Session) error { return s.VerifyMFA(ctx, janesCode) },
		"/user/logout":      func(ctx context.Context, s *flashback.Session) error { return s.Logout(ctx) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b, session := halfLogIn(t)
				<-time.After(56 * time.Minute)
				b.ScriptFor("refresh", flashbacktest.Fault{Delay: 25 * time.Second})
				_, err := session.Token(t.Context()) // a renewal is under way
				require.NoError(t, err)
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				err = call(ctx, session)
				require.ErrorIs(t, err, context.DeadlineExceeded)
				require.NotErrorIs(t, err, flashback.ErrOutcomeUnknown)
				assert.Zero(t, count(b, name))
				require.NoError(t, call(t.Context(), session))
				assert.Equal(t, 1, count(b, name))
			})
		})
	}
	t.Run("the store's", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			kept := newShelf()
			b := withJane()
			session, _ := logIn(t, b, flashback.WithTokenStore(kept))
			kept.lock <- struct{}{}
			b.Reset()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, login := flashback.Login(ctx, "jane@example.com", flashback.NewSecret(password), b.Options(flashback.WithTokenStore(kept))...)
			for _, err := range []error{login, session.Logout(ctx)} {
				require.ErrorIs(t, err, context.DeadlineExceeded)
				require.NotErrorIs(t, err, flashback.ErrOutcomeUnknown)
			}
			assert.Empty(t, b.Requests())
		})
	})
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
				session, err := flashback.Login(ctx, "jane@example.com", flashback.NewSecret(password), b.Options(flashback.WithTokenStore(kept))...)
				require.NoError(t, err)
				assert.Equal(t, tt.takes, time.Since(begun))
				assert.Equal(t, session.Tokens(), kept.tokens)
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
				session, err := flashback.Login(ctx, "jane@example.com", flashback.NewSecret(password), b.Options(flashback.WithTokenStore(kept))...)
				require.NoError(t, err)
				assert.Equal(t, session.Tokens(), kept.tokens)
			}
		})
	})
}

func TestALogoutEndsTheSession(t *testing.T) {
	t.Parallel()
	b := withJane()
	var kept flashback.Tokens
	session, client := logIn(t, b, flashback.OnRenew(func(_ context.Context, tokens flashback.Tokens) error {
		kept = tokens
		return nil
	}))
	old := kept
	b.ScriptFor("logout", flashbacktest.LoseResponse(flashbacktest.CutResponse))
	require.NoError(t, session.Logout(t.Context()))
	assert.Equal(t, 2, count(b, "/user/logout"))
	assert.Zero(t, kept)
	assert.Zero(t, session.Tokens())
	b.Reset()
	require.ErrorIs(t, see(t.Context(), client), flashback.ErrSessionLost)
	require.ErrorIs(t, session.Logout(t.Context()), flashback.ErrSessionLost)
	assert.Empty(t, b.Requests())

	resumed, err := flashback.Resume(t.Context(), flashback.Tokens{Refresh: old.Refresh}, b.Options()...)
	require.NoError(t, err)
	_, err = resumed.Token(t.Context())
	require.ErrorIs(t, err, flashback.ErrSessionLost)
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
				other, err := flashback.Resume(t.Context(), flashback.Tokens{}, b.Options(flashback.WithTokenStore(kept))...)
				require.NoError(t, err)
				<-time.After(56 * time.Minute)
				b.ScriptFor("refresh", flashbacktest.Fault{Delay: 10 * time.Second})
				switch renewedBy {
				case "this session":
					require.NoError(t, see(t.Context(), client), "with the old token")
				case "another session":
					_, err = other.Token(t.Context())
					require.NoError(t, err)
				}
				require.NoError(t, session.Logout(t.Context()))
				<-time.After(time.Minute)
				assert.Zero(t, session.Tokens())
				assert.Zero(t, kept.tokens)
				last, _ := logIn(t, b)
				list, err := last.ListTokens(t.Context())
				require.NoError(t, err)
				assert.Len(t, list, 1, "its own")
			})
		})
	}
}

func TestALogoutWithTokensThatAreRefused(t *testing.T) {
	t.Parallel()
	noUser := flashbacktest.Respond(401, `{"success":false,"error_code":"NO_AUTH_USER"}`)
	for name, tt := range map[string]struct {
		before    func(b *flashbacktest.Backend, tokens flashback.Tokens)
		logouts   int // requests
		refreshes int
		fails     string
		unknown   bool
	}{
		"an access token that was revoked is renewed": {func(b *flashbacktest.Backend, tokens flashback.Tokens) {
			b.RevokeToken(tokens.Access.Reveal())
		}, 2, 1, "", false},
		"one that has ended is renewed before": {func(*flashbacktest.Backend, flashback.Tokens) {
			<-time.After(2 * time.Hour)
		}, 1, 1, "", false},
		"so is one after a bare 401": {func(b *flashbacktest.Backend, _ flashback.Tokens) {
			b.ScriptFor("logout", flashbacktest.Respond(401, ""))
		}, 2, 1, "", false},
		"but once": {func(b *flashbacktest.Backend, _ flashback.Tokens) {
			b.ScriptFor("logout", noUser, noUser)
		}, 2, 1, "unauthorized", false},
		"a refresh token that is refused too has ended": {func(b *flashbacktest.Backend, tokens flashback.Tokens) {
			b.RevokeToken(tokens.Access.Reveal())
			b.RevokeToken(tokens.Refresh.Reveal())
		}, 1, 1, "", false},
		"and one that the logout itself does not find": {func(b *flashbacktest.Backend, tokens flashback.Tokens) {
			b.RevokeToken(tokens.Refresh.Reveal())
			b.ScriptFor("logout", flashbacktest.Respond(404, `{"success":false,"error_code":"NO_TOKEN"}`))
		}, 1, 1, "", false},
		"and one of a logout whose response was lost": {func(b *flashbacktest.Backend, _ flashback.Tokens) {
			b.ScriptFor("logout", flashbacktest.LoseResponse(flashbacktest.CutResponse), noUser)
		}, 2, 1, "", false},
		"a renewal that fails tells nothing": {func(b *flashbacktest.Backend, tokens flashback.Tokens) {
			b.RevokeToken(tokens.Access.Reveal())
			b.ScriptFor("refresh", slices.Repeat([]flashbacktest.Fault{flashbacktest.Respond(503, "")}, 5)...)
		}, 1, 5, "session: ", false},
		"nor what became of a lost response": {func(b *flashbacktest.Backend, _ flashback.Tokens) {
			b.ScriptFor("logout", flashbacktest.LoseResponse(flashbacktest.CutResponse), noUser)
			b.ScriptFor("refresh", slices.Repeat([]flashbacktest.Fault{flashbacktest.Respond(503, "")}, 5)...)
		}, 2, 5, "session: ", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b, kept := withJane(), newShelf()
				session, _ := logIn(t, b, flashback.WithTokenStore(kept))
				tt.before(b, session.Tokens())
				err := session.Logout(t.Context())
				assert.Equal(t, tt.logouts, count(b, "/user/logout"))
				assert.Equal(t, tt.refreshes, count(b, refreshPath))
				if tt.fails == "" {
					require.NoError(t, err)
					assert.Zero(t, session.Tokens())
					assert.Zero(t, kept.tokens)
					return
				}
				require.ErrorContains(t, err, tt.fails)
				require.NotErrorIs(t, err, flashback.ErrServer, "it is the renewal's")
				assert.Equal(t, "user.logout", asError(t, err).Op)
				assert.Equal(t, tt.logouts, asError(t, err).Attempts)
				assert.Equal(t, tt.unknown, asError(t, err).OutcomeUnknown)
				assert.Equal(t, tt.unknown, errors.Is(err, flashback.ErrOutcomeUnknown))
				assert.NotZero(t, kept.tokens)
				require.NoError(t, session.Logout(t.Context()), "another one succeeds")
			})
		})
	}
}

func TestALogoutGoesOnFromTheNewestTokens(t *testing.T) {
	t.Parallel()
	b, kept := withJane(), newShelf()
	session, _ := logIn(t, b, flashback.WithTokenStore(kept))
	old := session.Tokens()
	other, err := flashback.Resume(t.Context(), flashback.Tokens{}, b.Options(flashback.WithTokenStore(kept))...)
	require.NoError(t, err)
	b.RevokeToken(old.Access.Reveal())
	_, err = other.ListTokens(t.Context())
	require.NoError(t, err)
	require.Equal(t, old, session.Tokens(), "it does not know")
	b.RevokeToken(other.Tokens().Access.Reveal())
	require.NoError(t, session.Logout(t.Context()))
	assert.Zero(t, kept.tokens)
}

func TestADeadlineOfALogoutPassesDuringARenewal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := withJane()
		session, _ := logIn(t, b)
		<-time.After(2 * time.Hour)
		b.ScriptFor("refresh", flashbacktest.Fault{Delay: 10 * time.Second})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := session.Logout(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, "user.logout", asError(t, err).Op)
		assert.Zero(t, count(b, "/user/logout"))
		require.NoError(t, session.Logout(t.Context()))
		assert.Equal(t, 1, count(b, refreshPath), "it went on")
	})
}

// late is a store during whose waiting the caller gives up.
type late struct {
	*shelf

	cancel func()
}

func (s late) Update(ctx context.Context, f func(flashback.Tokens) (flashback.Tokens, error)) error {
	s.cancel()
	return s.shelf.Update(context.WithoutCancel(ctx), f)
}

func TestACallerWhoGivesUpBeforeAChangeChangesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, kept := withJane(), newShelf()
		cancel := func() {}
		session, client := logIn(t, b, flashback.WithTokenStore(late{kept, func() { cancel() }}))
		b.RevokeToken(session.Tokens().Refresh.Reveal())
		<-time.After(56 * time.Minute)
		require.NoError(t, see(t.Context(), client), "the session is lost, and its token lives")
		ctx, stop := context.WithCancel(t.Context())
		cancel = stop
		err := session.Logout(ctx)
		require.ErrorIs(t, err, context.Canceled)
		require.NotErrorIs(t, err, flashback.ErrOutcomeUnknown)
		assert.NotZero(t, session.Tokens())
		assert.NotZero(t, kept.tokens)
	})
}

func TestTokensThatWereNotKeptDoNotReplaceThoseOfALogin(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, kept := withJane(), newShelf()
		session, client := logIn(t, b, flashback.WithTokenStore(kept))
		<-time.After(time.Hour)
		kept.failing = errors.New("the disk is full")
		require.ErrorIs(t, see(t.Context(), client), kept.failing)
		kept.failing = nil
		logIn(t, b, flashback.WithTokenStore(kept))
		login := kept.tokens
		require.NoError(t, see(t.Context(), client))
		assert.Equal(t, login, kept.tokens)
		assert.Equal(t, login, session.Tokens())
	})
}

func TestAnEndedTokenOfAnotherSessionIsRenewed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, kept := withJane(), newShelf()
		session, client := logIn(t, b, flashback.WithTokenStore(kept))
		other, err := flashback.Resume(t.Context(), flashback.Tokens{}, b.Options(flashback.WithTokenStore(kept))...)
		require.NoError(t, err)
		<-time.After(time.Hour)
		_, err = other.Token(t.Context())
		require.NoError(t, err)
		<-time.After(time.Hour)
		require.NoError(t, see(t.Context(), client))
		assert.Equal(t, 2, count(b, refreshPath))
		assert.Equal(t, 1, count(b, janePath))
		assert.Equal(t, session.Tokens(), kept.tokens)
	})
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
	assert.Zero(t, kept.tokens)
}

func TestALogoutAfterThatOfAnotherSessionWritesNoTokens(t *testing.T) {
	t.Parallel()
	for name, revoked := range map[string]bool{"with a living token": false, "with a revoked one": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, kept := withJane(), newShelf()
			first, _ := logIn(t, b, flashback.WithTokenStore(kept))
			second, err := flashback.Resume(t.Context(), flashback.Tokens{}, b.Options(flashback.WithTokenStore(kept))...)
			require.NoError(t, err)
			require.NoError(t, first.Logout(t.Context()))
			writes := kept.writes
			if revoked {
				b.RevokeToken(second.Tokens().Access.Reveal())
			}
			require.NoError(t, second.Logout(t.Context()))
			assert.Equal(t, writes, kept.writes)
			assert.Zero(t, kept.tokens)
			assert.Zero(t, second.Tokens())
		})
	}
}

func TestAVerificationIsThatOfItsOwnLogin(t *testing.T) {
	t.Parallel()
	b, kept := withJaneAndJohn(), newShelf()
	b.ScriptFor("status", flashbacktest.Respond(404, ""))
	session, _ := logIn(t, b, flashback.WithTokenStore(kept)) // and nothing tells that it needs a second factor
	logInJohn(t, b, flashback.WithTokenStore(kept))
	require.NoError(t, session.VerifyMFA(t.Context(), janesCode))
	assert.Equal(t, "jane", userOf(t, kept.tokens.Access))
	assert.Equal(t, session.Tokens(), kept.tokens)
}

func TestAVerificationThatNothingAskedForAndWasNotKeptIsKeptSoon(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, kept := withJaneAndJohn(), newShelf()
		b.ScriptFor("status", flashbacktest.Respond(404, ""))
		session, _ := logIn(t, b, flashback.WithTokenStore(kept))
		kept.failing = errors.New("the disk is full")
		require.ErrorIs(t, session.VerifyMFA(t.Context(), janesCode), flashback.ErrOutcomeUnknown)
		kept.failing = nil
		logInJohn(t, b, flashback.WithTokenStore(kept))
		<-time.After(30 * time.Second)
		require.NoError(t, see(t.Context(), b.ClientWithToken("", flashback.WithSession(session))))
		assert.Equal(t, "jane", userOf(t, session.Tokens().Access))
		assert.Equal(t, session.Tokens(), kept.tokens)
	})
}

func TestAVerificationWithARevokedTokenIsSentAgainWithAnother(t *testing.T) {
	t.Parallel()
	b, session := halfLogIn(t)
	b.RevokeToken(session.Tokens().Access.Reveal())
	require.NoError(t, session.VerifyMFA(t.Context(), janesCode))
	assert.Equal(t, 2, count(b, "/mfa/verify-login"))
	assert.Equal(t, 1, count(b, refreshPath))
	require.NoError(t, see(t.Context(), b.ClientWithToken("", flashback.WithSession(session))))

	b, session = halfLogIn(t)
	b.RevokeToken(session.Tokens().Access.Reveal())
	b.RevokeToken(session.Tokens().Refresh.Reveal())
	require.ErrorIs(t, session.VerifyMFA(t.Context(), janesCode), flashback.ErrSessionLost)
	assert.Equal(t, 1, count(b, "/mfa/verify-login"))
}

func TestRefreshTokensAreListedAndRevoked(t *testing.T) {
	t.Parallel()
	b := withJane()
	first, _ := logIn(t, b)
	second, _ := logIn(t, b)
	list, err := first.ListTokens(t.Context())
	require.NoError(t, err)
	assert.Len(t, list, 2)
	require.NoError(t, first.RevokeToken(t.Context(), second.Tokens().ID))
	list, err = first.ListTokens(t.Context())
	require.NoError(t, err)
	require.Len(t, list, 1)
	assert.JSONEq(t, fmt.Sprintf(`{"id":%q}`, first.Tokens().ID), string(list[0]))
	require.ErrorIs(t, first.RevokeToken(t.Context(), second.Tokens().ID), flashback.ErrNotFound)
	require.ErrorIs(t, first.RevokeToken(t.Context(), ".."), flashback.ErrInvalidArgument)
	b.RevokeToken(second.Tokens().Access.Reveal())
	_, err = second.Token(t.Context())
	require.NoError(t, err, "nobody has said that it is refused")
	_, err = second.ListTokens(t.Context())
	require.ErrorIs(t, err, flashback.ErrSessionLost)

	b.Script(flashbacktest.Respond(200, `{"success":true,"tokens":{}}`), flashbacktest.Respond(200, `{"success":true,"tokens":[]}`))
	_, err = first.ListTokens(t.Context())
	require.ErrorIs(t, err, flashback.ErrUnexpectedResponse)
	list, err = first.ListTokens(t.Context())
	require.NoError(t, err)
	assert.Empty(t, list)
}

// jwt is an access token with the claims.
func jwt(claims string) string {
	part := base64.RawURLEncoding.EncodeToString
	return part([]byte(`{"alg":"none"}`)) + "." + part([]byte(claims)) + "." + part([]byte("x"))
}

func TestWhenATokenEnds(t *testing.T) {
	t.Parallel()
	const hour = 3600
	unknown := time.Duration(0)
	for name, tt := range map[string]struct {
		claims, expiresAt string        // with the server's seconds from now in them; no claims: no JWT
		ahead             time.Duration // the server's clock
		noDate            bool
		want              time.Duration
	}{
		"exp, less iat":                                       {`{"iat":%[1]d,"exp":%[2]d}`, "", 0, false, time.Hour},
		"exp counts more than expiresAt":                      {`{"iat":%[1]d,"exp":%[2]d}`, "%[3]d", 0, false, time.Hour},
		"exp, less iat, with our clock an hour fast":          {`{"iat":%[1]d,"exp":%[2]d}`, "", -time.Hour, true, time.Hour},
		"exp, less iat, with our clock an hour slow":          {`{"iat":%[1]d,"exp":%[2]d}`, "", time.Hour, true, time.Hour},
		"exp, by the server's Date":                           {`{"exp":%[2]d}`, "", 0, false, time.Hour},
		"exp, by the server's Date, our clock an hour fast":   {`{"exp":%[2]d}`, "", -time.Hour, false, time.Hour},
		"exp, by the server's Date, our clock an hour slow":   {`{"exp":%[2]d}`, "", time.Hour, false, time.Hour},
		"exp with a fraction":                                 {`{"iat":%[1]d,"exp":%[2]d.5}`, "", 0, false, time.Hour + 500*time.Millisecond},
		"expiresAt in seconds":                                {"", "%[2]d", 0, false, time.Hour},
		"expiresAt in milliseconds":                           {"", "%[2]d000", 0, false, time.Hour},
		"expiresAt, our clock an hour fast":                   {"", "%[2]d000", -time.Hour, false, time.Hour},
		"a JWT without exp":                                   {`{}`, "%[2]d", 0, false, time.Hour},
		"an exp in the past":                                  {`{"exp":%[4]d}`, "", 0, false, unknown},
		"an exp before iat":                                   {`{"iat":%[1]d,"exp":%[4]d}`, "", 0, false, unknown},
		"an exp in the past by our clock, which is all there": {`{"exp":%[2]d}`, "", -2 * time.Hour, true, unknown},
		"an exp that is a text":                               {`{"exp":"%[2]d"}`, "", 0, false, unknown},
		"an exp too large":                                    {`{"iat":0,"exp":1e300}`, "", 0, false, 10 * 365 * 24 * time.Hour},
		"claims that are no JSON":                             {`{"exp`, "", 0, false, unknown},
		"nothing":                                             {"", "", 0, false, unknown},
		"an expiresAt that is a text":                         {"", `"soon"`, 0, false, unknown},
		"an expiresAt in the past":                            {"", "%[4]d", 0, false, unknown},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				renewals, asked := 0, 0
				server := roundTripper(func(r *http.Request) (*http.Response, error) {
					now := time.Now().Add(tt.ahead)
					fill := func(text string) string {
						if !strings.Contains(text, "%[") {
							return text
						}
						return fmt.Sprintf(text+"%.0[1]s%.0[2]s%.0[3]s%.0[4]s", now.Unix(), now.Unix()+hour, now.Unix()+2*hour, now.Unix()-hour)
					}
					body := `{"id":"jane"}`
					switch r.URL.Path {
					case "/mfa/status":
					case "/user/login", refreshPath:
						if r.URL.Path == refreshPath {
							renewals++
						}
						access, expiresAt := fmt.Sprintf("token-%d", renewals), ""
						if tt.claims != "" {
							access = jwt(strings.Split(fill(tt.claims), "%!")[0])
						}
						if tt.expiresAt != "" {
							expiresAt = `,"expiresAt":` + strings.Split(fill(tt.expiresAt), "%!")[0]
						}
						body = fmt.Sprintf(`{"success":true,"accessToken":%q%s}`, access, expiresAt)
					default:
						asked++
					}
					header := http.Header{"Content-Type": {"application/json"}}
					if !tt.noDate {
						header.Set("Date", now.UTC().Format(http.TimeFormat))
					}
					return &http.Response{StatusCode: 200, Header: header, Body: io.NopCloser(strings.NewReader(body))}, nil
				})
				opt := flashback.WithHTTPClient(&http.Client{Transport: server})
				session, err := flashback.Resume(t.Context(), flashback.Tokens{Refresh: flashback.NewSecret("r")}, opt)
				require.NoError(t, err)
				client, err := flashback.NewClient("", opt, flashback.WithSession(session))
				require.NoError(t, err)
				require.NoError(t, see(t.Context(), client))
				ends := session.Tokens().ExpiresAt
				other, err := flashback.Login(t.Context(), "jane@example.com", flashback.NewSecret("p"), opt)
				require.NoError(t, err)
				assert.Equal(t, ends, other.Tokens().ExpiresAt, "a login's token")
				if tt.want == unknown {
					assert.Zero(t, ends)
					<-time.After(10 * time.Hour)
					require.NoError(t, see(t.Context(), client))
					assert.Equal(t, 1, renewals, "not before a 401")
					return
				}
				assert.Equal(t, tt.want, time.Until(ends))
				<-time.After(tt.want - min(5*time.Minute, tt.want/10) - time.Second)
				require.NoError(t, see(t.Context(), client))
				assert.Equal(t, 1, renewals)
				<-time.After(2 * time.Second)
				require.NoError(t, see(t.Context(), client))
				assert.Equal(t, 2, renewals)
				assert.Equal(t, 3, asked)
			})
		})
	}
}

func TestAnOldTokenGivenAnewDoesNotMakeEachCallRenew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := withJane()
		session, client := logIn(t, b)
		same := fmt.Sprintf(`{"success":true,"accessToken":%q}`, session.Tokens().Access.Reveal())
		b.Decide(func(r *http.Request) flashbacktest.Fault {
			if r.URL.Path == refreshPath {
				return flashbacktest.Respond(200, same)
			}
			return flashbacktest.None()
		})
		<-time.After(56 * time.Minute)
		for range 10 {
			require.NoError(t, see(t.Context(), client))
		}
		assert.Equal(t, 1, count(b, refreshPath))
	})
}

func TestASessionThatCanNotBeIsRefused(t *testing.T) {
	t.Parallel()
	b := withJane()
	keep := flashback.OnRenew(func(context.Context, flashback.Tokens) error { return nil })
	session, client := logIn(t, b)
	tokens, secret := session.Tokens(), flashback.NewSecret(password)
	elsewhere := tokens
	elsewhere.BaseURL = "https://other.example"
	source := flashback.WithTokenSource(func(context.Context) (string, error) { return "x", nil })
	b.Reset()
	ctx := t.Context()
	var none *flashback.Session
	for name, call := range map[string]func() error{
		"an empty e-mail address": func() error { _, err := flashback.Login(ctx, " ", secret, b.Options()...); return err },
		"an empty password":       func() error { _, err := flashback.Login(ctx, "a@b.c", flashback.Secret{}, b.Options()...); return err },
		"a nil context":           func() error { _, err := flashback.Login(nil, "a@b.c", secret, b.Options()...); return err }, //nolint:staticcheck // It is what is tested.
		"a nil option":            func() error { _, err := flashback.Login(ctx, "a@b.c", secret, nil); return err },
		"no tokens":               func() error { _, err := flashback.Resume(ctx, flashback.Tokens{}, b.Options()...); return err },
		"tokens of another backend": func() error {
			_, err := flashback.Resume(ctx, elsewhere, b.Options()...)
			return err
		},
		"a nil OnRenew":        func() error { _, err := flashback.Resume(ctx, tokens, flashback.OnRenew(nil)); return err },
		"a nil WithTokenStore": func() error { _, err := flashback.Resume(ctx, tokens, flashback.WithTokenStore(nil)); return err },
		"two OnRenew":          func() error { _, err := flashback.Resume(ctx, tokens, keep, keep); return err },
		"a session with a source": func() error {
			_, err := flashback.Resume(ctx, tokens, source)
			return err
		},
		"a client with OnRenew": func() error { _, err := flashback.NewClient("token", keep); return err },
		"a client with two": func() error {
			_, err := flashback.NewClient("token", b.Options(flashback.WithSession(session))...)
			return err
		},
		"a client elsewhere": func() error { _, err := flashback.NewClient("", flashback.WithSession(session)); return err },
		"a copy elsewhere":   func() error { _, err := client.With(flashback.WithBaseURL("https://other.example")); return err },
		"no session":         func() error { _, err := flashback.NewClient("", flashback.WithSession(none)); return err },
		"a zero session": func() error {
			_, err := flashback.NewClient("", flashback.WithSession(&flashback.Session{}))
			return err
		},
		"Token of no session":     func() error { _, err := none.Token(ctx); return err },
		"Token of a zero session": func() error { _, err := (&flashback.Session{}).Token(ctx); return err },
		"Token without a context": func() error { _, err := session.Token(nil); return err }, //nolint:staticcheck // as above
		"Logout of no session":    func() error { return none.Logout(ctx) },
		"VerifyMFA of none":       func() error { return none.VerifyMFA(ctx, flashback.MFA{}) },
		"ListTokens of none":      func() error { _, err := none.ListTokens(ctx); return err },
		"RevokeToken of none":     func() error { return none.RevokeToken(ctx, "x") },
	} {
		err := call()
		require.ErrorIs(t, err, flashback.ErrInvalidArgument, name)
		assert.NotEmpty(t, asError(t, err).Op, name)
	}
	assert.Zero(t, none.Tokens())
	assert.Empty(t, b.Requests())
	_, err := client.With(source, flashback.WithBaseURL("https://other.example"))
	require.NoError(t, err, "the source takes the session's place")
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
			var logged bytes.Buffer
			var lock sync.Mutex
			opts := b.Options(flashback.WithMaxRetries(1), flashback.WithLogger(slog.New(slog.NewJSONHandler(writer(func(p []byte) (int, error) {
				lock.Lock()
				defer lock.Unlock()
				return logged.Write(p)
			}), &slog.HandlerOptions{Level: slog.LevelDebug}))))
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
			client, err := flashback.NewClient("", append(opts, flashback.WithSession(session))...)
			check(client, err)
			check(nil, see(t.Context(), client))
			session, err = flashback.Resume(t.Context(), flashback.Tokens{Access: flashback.NewSecret(marked), Refresh: flashback.NewSecret(marked)}, opts...)
			check(session, err)
			mfa := flashback.MFA{Type: flashback.MFAMagicLink, Code: flashback.NewSecret(marked)}
			check(mfa, session.VerifyMFA(t.Context(), mfa))
			_, err = session.ListTokens(t.Context())
			check(session, err)
			check(nil, session.RevokeToken(t.Context(), "1"))
			check(session, session.Logout(t.Context()))
			assert.NotContains(t, logged.String(), marked)
		})
	}
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

type writer func([]byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

func TestASourceLearnsWhichTokenWasRefused(t *testing.T) {
	t.Parallel()
	b := withJane()
	bad, good := b.AddToken("jane"), b.AddToken("jane")
	b.RevokeToken(bad)
	cached := bad
	var refused []string
	client := b.ClientWithToken("", flashback.WithTokenSource(func(ctx context.Context) (string, error) {
		refused = append(refused, flashback.RefusedToken(ctx))
		if flashback.RefusedToken(ctx) == cached {
			cached = good
		}
		return cached, nil
	}))
	require.NoError(t, see(t.Context(), client))
	require.NoError(t, see(t.Context(), client))
	assert.Equal(t, []string{"", bad, ""}, refused)
	assert.Empty(t, flashback.RefusedToken(t.Context()))
}
