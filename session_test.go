package flashback_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
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

const (
	loginPath   = "/user/login"
	refreshPath = "/user/refresh"
	logoutPath  = "/user/logout"
	statusPath  = "/mfa/status"
	verifyPath  = "/mfa/verify-login"
	janePath    = "/organization/users/jane"
)

// withJane is a backend with tokens of an hour and a user who can log in.
func withJane() *flashbacktest.Backend {
	b := flashbacktest.NewBackend()
	b.SetTokenLifetime(time.Hour)
	b.AddUser(flashbacktest.User{ID: "jane", Email: "jane@example.com", Password: password, Role: flashback.RoleOwner})
	return b
}

// withJaneAndJohn is a backend where Jane needs a second factor, and John none.
func withJaneAndJohn() *flashbacktest.Backend {
	b := withJane()
	jane, _ := b.User("jane")
	jane.MFACode = "123456"
	b.AddUser(jane)
	b.AddUser(flashbacktest.User{ID: "john", Email: "john@example.com", Password: password, Role: flashback.RoleOwner})
	return b
}

// tryLogIn logs a user in.
func tryLogIn(ctx context.Context, b *flashbacktest.Backend, user string, opts ...flashback.Option) (*flashback.Session, error) {
	return flashback.Login(ctx, user+"@example.com", flashback.NewSecret(password), b.Options(opts...)...)
}

// logIn is Jane's session, and a client of it.
func logIn(t *testing.T, b *flashbacktest.Backend, opts ...flashback.Option) (*flashback.Session, *flashback.Client) {
	t.Helper()
	session, err := tryLogIn(t.Context(), b, "jane", opts...)
	require.NoError(t, err)
	return session, clientFor(t, session)
}

func clientFor(t *testing.T, session *flashback.Session, opts ...flashback.Option) *flashback.Client {
	t.Helper()
	client, err := session.Client(opts...)
	require.NoError(t, err)
	return client
}

// pendingLogin is a login of Jane's that waits for its second factor.
func pendingLogin(t *testing.T, b *flashbacktest.Backend, opts ...flashback.Option) *flashback.MFARequiredError {
	t.Helper()
	session, err := tryLogIn(t.Context(), b, "jane", opts...)
	assert.Nil(t, session)
	var mfa *flashback.MFARequiredError
	require.ErrorAs(t, err, &mfa)
	return mfa
}

var janesCode = flashback.MFA{Type: flashback.MFAGoogleAuth, Code: flashback.NewSecret("123456")}

func resume(t *testing.T, b *flashbacktest.Backend, tokens flashback.Tokens, opts ...flashback.Option) *flashback.Session {
	t.Helper()
	session, err := flashback.Resume(t.Context(), tokens, b.Options(opts...)...)
	require.NoError(t, err)
	return session
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

// onPath plays fault for all requests with a path.
func onPath(path string, fault flashbacktest.Fault) func(*http.Request) flashbacktest.Fault {
	return func(r *http.Request) flashbacktest.Fault {
		if r.URL.Path == path {
			return fault
		}
		return flashbacktest.None()
	}
}

// userOf is whose access token it is.
func userOf(t *testing.T, token flashback.Secret) string {
	t.Helper()
	claims, err := base64.RawURLEncoding.DecodeString(strings.Split(token.Reveal(), ".")[1])
	require.NoError(t, err)
	var said struct{ UserID string }
	require.NoError(t, json.Unmarshal(claims, &said))
	return said.UserID
}

// shelf is a store in memory that sessions share.
type shelf struct {
	locked chan struct{} // has one element while the store is locked

	mu     sync.Mutex
	tokens flashback.Tokens
	steps  []string
	saves  int
	before map[string]func() error // what happens at the beginning of a step
	marked time.Time               // when a process ended while it renewed
}

func newShelf() *shelf {
	return &shelf{locked: make(chan struct{}, 1), before: map[string]func() error{}}
}

// at has f called at the beginning of a step: lock, load, begin, save or unlock. nil ends that.
func (s *shelf) at(step string, f func() error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before[step] = f
}

func (s *shelf) step(name string) error {
	s.mu.Lock()
	s.steps = append(s.steps, name)
	f := s.before[name]
	s.mu.Unlock()
	if f == nil {
		return nil
	}
	return f()
}

// taken returns the steps since the last time that it was called.
func (s *shelf) taken() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	steps := s.steps
	s.steps = nil
	return steps
}

func (s *shelf) kept() flashback.Tokens {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tokens
}

func (s *shelf) Lock(ctx context.Context) (flashback.TokenLock, error) {
	if err := s.step("lock"); err != nil {
		return nil, err
	}
	select {
	case s.locked <- struct{}{}:
		return heldShelf{s}, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("the shelf is locked: %w", ctx.Err())
	}
}

type heldShelf struct{ *shelf }

func (h heldShelf) Load() (flashback.Tokens, error) { return h.kept(), h.step("load") }
func (h heldShelf) Begin() error                    { return h.step("begin") }
func (h heldShelf) Interrupted() time.Time          { return h.marked }

func (h heldShelf) Save(tokens flashback.Tokens) error {
	if err := h.step("save"); err != nil {
		return err
	}
	s := h.shelf
	s.mu.Lock()
	defer s.mu.Unlock()
	if tokens != s.tokens {
		s.saves++
	}
	s.tokens = tokens
	return nil
}

func (h heldShelf) Unlock() error {
	err := h.step("unlock")
	<-h.locked
	return err
}

var errDisk = errors.New("the disk is full")

func diskFull() error { return errDisk }

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
				assert.Equal(t, 114, succeeded)
				assert.Equal(t, 3, refreshes, "none after the refusal")
				require.Len(t, failures, 66)
				for _, err := range failures {
					require.ErrorIs(t, err, flashback.ErrSessionLost)
					require.ErrorIs(t, err, flashback.ErrUnauthorized)
					require.NotErrorIs(t, err, flashback.ErrOutcomeUnknown)
					require.ErrorContains(t, err, "the session is lost: log in again")
				}
				assert.Equal(t, 114, count(b, janePath))
			})
		})
	}
}

func TestFiveHundredGoroutinesShareOneRenewal(t *testing.T) {
	t.Parallel()
	for name, at := range map[string]time.Duration{"when the token has ended": time.Hour, "ahead of its end": 55 * time.Minute} {
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
		synctest.Wait() // The first one begins the renewal.
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

func TestARefusedTokenIsRenewed(t *testing.T) {
	t.Parallel()
	for name, retries := range map[string]int{"in the call": 4, "for the next call, where none is retried": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := withJane()
				session, client := logIn(t, b, flashback.WithMaxRetries(retries))
				b.RevokeToken(session.Tokens().Access.Reveal())
				failures := 0
				for range 20 {
					if err := see(t.Context(), client); err != nil {
						require.ErrorIs(t, err, flashback.ErrUnauthorized)
						require.NotErrorIs(t, err, flashback.ErrSessionLost)
						assert.Equal(t, 1, asError(t, err).Attempts)
						failures++
					}
					<-time.After(time.Second)
				}
				assert.Equal(t, 1, count(b, refreshPath))
				assert.Equal(t, 21, count(b, janePath)+failures, "a call that may not be retried fails once")
				assert.Equal(t, retries == 0, failures == 1)
			})
		})
	}
	t.Run("once in a call", func(t *testing.T) {
		t.Parallel()
		b := withJane()
		_, client := logIn(t, b)
		b.ScriptFor("jane", flashbacktest.Respond(401, ""), flashbacktest.Respond(401, ""))
		err := see(t.Context(), client)
		require.ErrorIs(t, err, flashback.ErrUnauthorized)
		require.NotErrorIs(t, err, flashback.ErrSessionLost)
		assert.Equal(t, 2, asError(t, err).Attempts)
		assert.Equal(t, 1, count(b, refreshPath))
	})
	t.Run("where its end is not known, and no call is retried", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			b := withJane()
			session, _ := logIn(t, b)
			opaque := flashback.Tokens{Access: session.Tokens().Access, Refresh: session.Tokens().Refresh}
			client := clientFor(t, resume(t, b, opaque, flashback.WithMaxRetries(0)))
			<-time.After(time.Hour)
			var failures int
			for range 20 {
				if see(t.Context(), client) != nil {
					failures++
				}
				<-time.After(time.Minute)
			}
			assert.Equal(t, 1, failures)
			assert.Equal(t, 1, count(b, refreshPath))
		})
	})
}

func TestTheAPIsRefusalOfARefreshTokenIsFinal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, logged := withJane(), &records{}
		session, client := logIn(t, b, flashback.WithLogger(logged.logger()))
		b.RevokeToken(session.Tokens().Refresh.Reveal())
		<-time.After(55 * time.Minute)
		require.NoError(t, see(t.Context(), client), "its access token lives")
		<-time.After(5 * time.Minute)
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
			require.ErrorContains(t, err, "log in again")
			assert.Zero(t, asError(t, err).Attempts)
		}
		for range 3 {
			require.ErrorIs(t, see(t.Context(), client), flashback.ErrSessionLost)
			<-time.After(time.Hour)
		}
		_, err := session.Token(t.Context())
		require.ErrorIs(t, err, flashback.ErrSessionLost)
		require.NotErrorIs(t, err, flashback.ErrOutcomeUnknown)
		assert.Equal(t, "user.refresh", asError(t, err).Op)
		assert.Equal(t, 1, count(b, refreshPath))
		assert.Equal(t, 1, count(b, janePath))
		assert.Equal(t, 1, strings.Count(logged.text(), "renewal failed"), "it is logged once")
	})
}

func TestAnyOtherFailureOfARefreshIsReportedPausedAndAskedAgain(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]flashbacktest.Fault{
		"a 400": flashbacktest.Respond(400, `{"message":"Bad Request"}`), "a 400 like the API's": flashbacktest.Respond(400, `{"success":false,"error_code":"NO_TOKEN"}`),
		"a 403": flashbacktest.Respond(403, `{"message":"Forbidden"}`), "a 404": flashbacktest.Respond(404, `{"message":"no Route matched with those values"}`),
		"a 401 page": flashbacktest.Respond(401, "<html>who are you?</html>"), "a bare 401": flashbacktest.Respond(401, ""),
		"a 401 in JSON of another kind": flashbacktest.Respond(401, `{"detail":"no"}`),
		"a 200 that denies it":          flashbacktest.Respond(200, `{"success":false,"error_code":"NO_TOKEN"}`),
		"a 503":                         flashbacktest.Respond(503, ""), "a page": flashbacktest.Respond(404, "<html>"), "no connection": flashbacktest.Refuse(),
		"a 429": flashbacktest.Respond(429, ""), "a 429 for an hour": flashbacktest.RateLimited(time.Hour),
		"no response": flashbacktest.Drop(), "a redirect": flashbacktest.Respond(302, ""),
		"a success without a token":  flashbacktest.Respond(200, `{"success":true,"refreshToken":"r"}`),
		"a token that can't be sent": flashbacktest.Respond(200, `{"success":true,"accessToken":"a\nb"}`),
		"a 204":                      flashbacktest.Respond(204, ""),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := withJane()
				logged := &records{}
				session, client := logIn(t, b, flashback.WithoutThrottling(), flashback.WithLogger(logged.logger()))
				b.Decide(onPath(refreshPath, fault))
				<-time.After(55 * time.Minute)
				require.NoError(t, see(t.Context(), client), "the old token lives")
				assert.Contains(t, logged.text(), `level=WARN msg="flashback: renewal failed" op=user.refresh`)
				sent := count(b, refreshPath)
				for range 5 {
					require.NoError(t, see(t.Context(), client))
				}
				assert.Equal(t, sent, count(b, refreshPath), "there is a pause")
				<-time.After(5 * time.Minute)
				var response flashback.Response
				err := see(flashback.WithResponse(t.Context(), &response), client)
				require.Error(t, err)
				assert.Zero(t, response.Attempts, "those of the renewal are not the call's")
				for _, kind := range []error{flashback.ErrUnauthorized, flashback.ErrServer, flashback.ErrSessionLost, flashback.ErrUnexpectedResponse} {
					require.NotErrorIs(t, err, kind, "it is not this call's")
				}
				sent = count(b, refreshPath)
				again := see(t.Context(), client)
				require.EqualError(t, again, err.Error(), "it is told meanwhile")
				assert.Equal(t, sent, count(b, refreshPath), "there is a pause without a living token too")
				assert.Equal(t, 2, strings.Count(logged.text(), "renewal failed"), "each is logged once")
				b.Decide(nil)
				<-time.After(30 * time.Second)
				require.NoError(t, see(t.Context(), client))
				assert.NotZero(t, session.Tokens())
			})
		})
	}
}

func TestARefusedTokenIsUsedAgainWhileItCanNotBeRenewed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := withJane()
		_, client := logIn(t, b, flashback.WithoutThrottling())
		b.Decide(onPath(refreshPath, flashbacktest.Respond(503, "")))
		b.ScriptFor("jane", flashbacktest.Respond(401, "<html>a gateway's page</html>"))
		err := see(t.Context(), client)
		require.ErrorIs(t, err, flashback.ErrUnauthorized)
		require.ErrorContains(t, err, "session: ", "why there is no other token")
		for range 10 {
			require.NoError(t, see(t.Context(), client), "it lives")
		}
		assert.Equal(t, 5, count(b, refreshPath), "the attempts of one renewal")
	})
}

func TestALivingTokenIsNotKeptByARenewal(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ limit, waits time.Duration }{
		"who begins it waits for 5 s":     {0, 5 * time.Second},
		"or half of the time that it has": {4 * time.Second, 2 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := withJane()
				session, client := logIn(t, b)
				b.ScriptFor("refresh", flashbacktest.Fault{Lose: flashbacktest.Stall})
				<-time.After(55 * time.Minute)
				ctx, cancel := context.WithCancel(t.Context())
				if tt.limit > 0 {
					ctx, cancel = context.WithTimeout(t.Context(), tt.limit)
				}
				defer cancel()
				begun := time.Now()
				require.NoError(t, see(ctx, client))
				assert.Equal(t, tt.waits, time.Since(begun))
				require.NoError(t, see(ctx, client))
				assert.Equal(t, tt.waits, time.Since(begun), "the next call does not wait")
				old := session.Tokens()
				<-time.After(time.Minute)
				assert.NotEqual(t, old, session.Tokens(), "it went on")
				assert.Equal(t, 2, count(b, refreshPath))
			})
		})
	}
}

func TestALockThatIsHeldForLongTakesNoTimeFromTheRequest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, kept := withJane(), newShelf()
		session, client := logIn(t, b, flashback.WithTokenStore(kept), flashback.WithAttemptTimeout(2*time.Minute))
		<-time.After(time.Hour)
		kept.locked <- struct{}{} // another process renews
		time.AfterFunc(155*time.Second, func() { <-kept.locked })
		b.ScriptFor("refresh", flashbacktest.Fault{Delay: 100 * time.Second})
		begun := time.Now()
		require.NoError(t, see(t.Context(), client))
		assert.Equal(t, 255*time.Second, time.Since(begun).Truncate(time.Second))
		assert.Equal(t, 1, count(b, refreshPath))
		assert.Equal(t, session.Tokens(), kept.kept())
	})
	t.Run("nor does a caller who gives up", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			b, kept := withJane(), newShelf()
			_, client := logIn(t, b, flashback.WithTokenStore(kept))
			<-time.After(time.Hour)
			kept.locked <- struct{}{}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			require.ErrorIs(t, see(ctx, client), context.DeadlineExceeded)
			<-kept.locked
			synctest.Wait()
			assert.Equal(t, 1, count(b, refreshPath), "the renewal goes on")
		})
	})
	t.Run("and is waited for, but 3 minutes at most", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			b, kept := withJane(), newShelf()
			session, _ := logIn(t, b, flashback.WithTokenStore(kept))
			<-time.After(time.Hour)
			kept.locked <- struct{}{}
			begun := time.Now()
			_, err := session.Token(context.Background())
			require.ErrorContains(t, err, "the shelf is locked")
			assert.Equal(t, 3*time.Minute, time.Since(begun))
			require.NotErrorIs(t, err, context.DeadlineExceeded, "it is not the caller's")
			assert.Zero(t, count(b, refreshPath))
			<-kept.locked
			_, err = session.Token(context.Background())
			require.NoError(t, err)
		})
	})
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
		require.NotErrorIs(t, err, flashback.ErrOutcomeUnknown, "it is no call of the user's")
		assert.Equal(t, "user.refresh", asError(t, err).Op)
	})
}

func TestTheSameAccessTokenGivenAgainDoesNotMakeEachCallRenew(t *testing.T) {
	t.Parallel()
	// The server accepts the token for as long as it likes, and gives it again with each refresh.
	prolonging := func(t *testing.T, expiresAt func() string) (*flashbacktest.Backend, *flashback.Session, *flashback.Client) {
		t.Helper()
		b := flashbacktest.NewBackend()
		b.AddUser(flashbacktest.User{ID: "jane", Email: "jane@example.com", Role: flashback.RoleOwner})
		token := b.AddToken("jane")
		b.Decide(func(r *http.Request) flashbacktest.Fault {
			if r.URL.Path != refreshPath {
				return flashbacktest.None()
			}
			return flashbacktest.Respond(200, fmt.Sprintf(`{"success":true,"accessToken":%q%s}`, token, expiresAt()))
		})
		session := resume(t, b, flashback.Tokens{Access: flashback.NewSecret(token), Refresh: flashback.NewSecret("refresh-token-1"), ExpiresAt: time.Now().Add(time.Hour)})
		return b, session, clientFor(t, session)
	}
	inAnHour := func() string { return fmt.Sprintf(`,"expiresAt":%d`, time.Now().Add(time.Hour).UnixMilli()) }
	nothing := func() string { return "" }
	t.Run("with a later end", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			b, session, client := prolonging(t, inAnHour)
			for range 100 * 60 {
				require.NoError(t, see(t.Context(), client))
				<-time.After(time.Minute)
			}
			assert.InDelta(t, 100*60/55, count(b, refreshPath), 2, "one in the last tenth of each hour")
			assert.Greater(t, time.Until(session.Tokens().ExpiresAt), time.Duration(0))
		})
	})
	t.Run("without an end, which is not known then", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			b, session, client := prolonging(t, nothing)
			<-time.After(55 * time.Minute)
			for range 10 {
				require.NoError(t, see(t.Context(), client))
			}
			assert.Equal(t, 1, count(b, refreshPath), "there is a pause")
			<-time.After(10 * time.Minute)
			for range 1000 {
				require.NoError(t, see(t.Context(), client))
				<-time.After(time.Second)
			}
			assert.Equal(t, 2, count(b, refreshPath), "until a 401")
			assert.Zero(t, session.Tokens().ExpiresAt)
		})
	})
	t.Run("and a 429 to a refresh fails no call", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			b, _, client := prolonging(t, nothing)
			<-time.After(65 * time.Minute)
			require.NoError(t, see(t.Context(), client))
			b.Decide(onPath(refreshPath, flashbacktest.RateLimited(time.Hour)))
			for range 100 {
				require.NoError(t, see(t.Context(), client))
				<-time.After(time.Minute)
			}
		})
	})
	t.Run("a refused one is told, and used as long as nothing better is there", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			b, _, client := prolonging(t, nothing)
			b.ScriptFor("jane", slices.Repeat([]flashbacktest.Fault{flashbacktest.Respond(401, "")}, 3)...)
			for range 3 {
				err := see(t.Context(), client)
				require.ErrorIs(t, err, flashback.ErrUnauthorized)
				require.ErrorContains(t, err, "a renewal has given the same access token again")
			}
			require.NoError(t, see(t.Context(), client))
			assert.Equal(t, 1, count(b, refreshPath))
			<-time.After(30 * time.Second)
			b.ScriptFor("jane", flashbacktest.Respond(401, ""))
			require.ErrorIs(t, see(t.Context(), client), flashback.ErrUnauthorized)
			assert.Equal(t, 2, count(b, refreshPath))
		})
	})
	t.Run("a JWT, whose claims say nothing new", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			b := withJane()
			session, client := logIn(t, b)
			ends := session.Tokens().ExpiresAt
			b.Decide(onPath(refreshPath, flashbacktest.Respond(200, fmt.Sprintf(`{"success":true,"accessToken":%q}`, session.Tokens().Access.Reveal()))))
			<-time.After(55 * time.Minute)
			for range 10 {
				require.NoError(t, see(t.Context(), client))
			}
			assert.Equal(t, 1, count(b, refreshPath))
			assert.Equal(t, ends, session.Tokens().ExpiresAt)
		})
	})
}

func TestATokenIsRenewedInTheLastTenthOfItsWholeLife(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		life, left time.Duration
		renews     bool
	}{
		"3 of 60 minutes are left":  {time.Hour, 3 * time.Minute, true},
		"7 of 60 minutes are left":  {time.Hour, 7 * time.Minute, false},
		"2 of 24 hours are left":    {24 * time.Hour, 2 * time.Hour, true},
		"3 of 24 hours are left":    {24 * time.Hour, 3 * time.Hour, false},
		"20 of 600 s are left":      {10 * time.Minute, 20 * time.Second, true},
		"3 minutes, of an hour":     {0, 3 * time.Minute, true},
		"7 minutes, of an hour":     {0, 7 * time.Minute, false},
		"a clock that was set back": {-time.Hour, 3 * time.Minute, false},
	} {
		t.Run(name+", in a new process", func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := withJane()
				first, _ := logIn(t, b)
				tokens := first.Tokens()
				tokens.ExpiresAt = time.Now().Add(tt.left)
				tokens.IssuedAt = time.Time{}
				if tt.life != 0 {
					tokens.IssuedAt = tokens.ExpiresAt.Add(-tt.life)
				}
				require.NoError(t, see(t.Context(), clientFor(t, resume(t, b, tokens))))
				assert.Equal(t, tt.renews, count(b, refreshPath) == 1)
			})
		})
	}
	t.Run("as kept in a store", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			b, kept := withJane(), newShelf()
			b.SetTokenLifetime(24 * time.Hour)
			logIn(t, b, flashback.WithTokenStore(kept))
			<-time.After(21 * time.Hour)
			require.NoError(t, see(t.Context(), clientFor(t, resume(t, b, flashback.Tokens{}, flashback.WithTokenStore(kept)))))
			assert.Zero(t, count(b, refreshPath))
			<-time.After(time.Hour)
			require.NoError(t, see(t.Context(), clientFor(t, resume(t, b, flashback.Tokens{}, flashback.WithTokenStore(kept)))))
			assert.Equal(t, 1, count(b, refreshPath))
		})
	})
}

func TestCloseWaitsForARenewalAndForItsTokensToBeKept(t *testing.T) {
	t.Parallel()
	t.Run("the end of main", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			b, kept := withJane(), newShelf()
			session, client := logIn(t, b, flashback.WithTokenStore(kept))
			old := kept.kept()
			<-time.After(55 * time.Minute)
			b.ScriptFor("refresh", flashbacktest.Fault{Delay: 700 * time.Millisecond})
			kept.at("save", func() error { <-time.After(time.Second); return nil })
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			begun := time.Now()
			require.NoError(t, see(ctx, client), "with the living token")
			require.NoError(t, session.Close(t.Context()))
			assert.Equal(t, 1700*time.Millisecond, time.Since(begun))
			assert.NotEqual(t, old, kept.kept())
			resumed := resume(t, b, flashback.Tokens{}, flashback.WithTokenStore(kept))
			<-time.After(time.Hour)
			require.NoError(t, see(t.Context(), clientFor(t, resumed)), "the next program goes on")
		})
	})
	t.Run("tokens that could not be kept are offered once more", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			b, kept := withJane(), newShelf()
			session, client := logIn(t, b, flashback.WithTokenStore(kept))
			<-time.After(55 * time.Minute)
			kept.at("save", diskFull)
			require.NoError(t, see(t.Context(), client))
			err := session.Close(t.Context())
			require.ErrorIs(t, err, errDisk)
			require.ErrorContains(t, err, "token store: ")
			old := kept.kept()
			kept.at("save", nil)
			require.NoError(t, session.Close(t.Context()))
			assert.NotEqual(t, old, kept.kept())
			assert.Equal(t, 1, count(b, refreshPath))
		})
	})
	t.Run("for as long as its context lasts", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			b := withJane()
			session, client := logIn(t, b)
			<-time.After(55 * time.Minute)
			b.ScriptFor("refresh", flashbacktest.Fault{Delay: time.Minute})
			require.NoError(t, see(t.Context(), client))
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			begun := time.Now()
			require.ErrorIs(t, session.Close(ctx), context.DeadlineExceeded)
			assert.Equal(t, time.Second, time.Since(begun))
			require.NoError(t, session.Close(t.Context()), "another one waits on")
		})
	})
	t.Run("then nothing is handed out and nothing is sent", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			b, kept := withJane(), newShelf()
			session, client := logIn(t, b, flashback.WithTokenStore(kept))
			kept.taken()
			require.NoError(t, session.Close(t.Context()))
			require.NoError(t, session.Close(t.Context()))
			assert.Empty(t, kept.taken(), "there is nothing to keep")
			b.Reset()
			<-time.After(time.Hour)
			require.ErrorContains(t, see(t.Context(), client), "the session is closed")
			_, err := session.Token(t.Context())
			require.ErrorContains(t, err, "the session is closed")
			require.ErrorContains(t, session.Logout(t.Context()), "the session is closed")
			assert.Empty(t, b.Requests())
			assert.NotZero(t, kept.kept(), "it is not logged out")
		})
	})
}

// A channel of one bubble ends the process if it is touched in another.
func TestASessionOfOneBubbleIsUsedInAnother(t *testing.T) {
	t.Parallel()
	b, kept := withJane(), newShelf()
	var session *flashback.Session
	var client *flashback.Client
	synctest.Test(t, func(t *testing.T) {
		session, client = logIn(t, b)
		<-time.After(55 * time.Minute)
		b.ScriptFor("refresh", flashbacktest.Respond(403, ""))
		require.NoError(t, see(t.Context(), client), "a renewal has failed, and there is a pause")
	})
	outside, outsideClient := logIn(t, b, flashback.WithTokenStore(kept))
	use := func(t *testing.T) {
		t.Helper()
		b.RevokeToken(session.Tokens().Access.Reveal())
		b.RevokeToken(outside.Tokens().Access.Reveal())
		require.NoError(t, see(t.Context(), client))
		require.NoError(t, see(t.Context(), outsideClient))
	}
	use(t)
	for range 2 {
		synctest.Test(t, use)
	}
	require.NoError(t, session.Logout(t.Context()))
	require.NoError(t, outside.Close(t.Context()))
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
				client := clientFor(t, session)
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
				<-time.After(tt.want - tt.want/10 - time.Second)
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

// records are what was logged, for several goroutines.
type records struct {
	mu     sync.Mutex
	logged bytes.Buffer
}

func (r *records) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.logged.Write(p)
}

func (r *records) text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.logged.String()
}

// logger logs everything.
func (r *records) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(r, &slog.HandlerOptions{Level: slog.LevelDebug}))
}
