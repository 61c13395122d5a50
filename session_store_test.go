package flashback_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	flashback "github.com/flashbacknetwork/flashback-go"
	"github.com/flashbacknetwork/flashback-go/flashbacktest"
)

// storeUse is what can be done with a store: a change of what is kept.
type storeUse struct {
	name  string
	path  string // of the request; "" for none
	sends bool
	// prepare makes what is to be used, and returns the use.
	prepare func(t *testing.T, b *flashbacktest.Backend, opt flashback.Option) func(context.Context) error
}

func storeUses() []storeUse {
	return []storeUse{
		{"a login", loginPath, true, func(_ *testing.T, b *flashbacktest.Backend, opt flashback.Option) func(context.Context) error {
			return func(ctx context.Context) error {
				_, err := tryLogIn(ctx, b, "john", opt)
				return err
			}
		}},
		{"a verification", verifyPath, true, func(t *testing.T, b *flashbacktest.Backend, opt flashback.Option) func(context.Context) error {
			t.Helper()
			mfa := pendingLogin(t, b, opt)
			return func(ctx context.Context) error {
				_, err := mfa.Verify(ctx, janesCode)
				return err
			}
		}},
		{"tokens to resume with", "", false, func(t *testing.T, b *flashbacktest.Backend, opt flashback.Option) func(context.Context) error {
			t.Helper()
			john, err := tryLogIn(t.Context(), b, "john")
			require.NoError(t, err)
			return func(ctx context.Context) error {
				_, err := flashback.Resume(ctx, john.Tokens(), b.Options(opt)...)
				return err
			}
		}},
		{"a renewal", refreshPath, true, func(t *testing.T, b *flashbacktest.Backend, opt flashback.Option) func(context.Context) error {
			t.Helper()
			john, err := tryLogIn(t.Context(), b, "john", opt)
			require.NoError(t, err)
			<-time.After(time.Hour)
			return func(ctx context.Context) error {
				_, err := john.Token(ctx)
				return err
			}
		}},
		{"a logout", logoutPath, true, func(t *testing.T, b *flashbacktest.Backend, opt flashback.Option) func(context.Context) error {
			t.Helper()
			john, err := tryLogIn(t.Context(), b, "john", opt)
			require.NoError(t, err)
			return john.Logout
		}},
	}
}

func TestAStoreIsAskedForRoomBeforeARequestAndKeepsWhatCameOfIt(t *testing.T) {
	t.Parallel()
	all := []string{"lock", "load", "begin", "save", "unlock"}
	definite, ambiguous := flashbacktest.Respond(403, `{"message":"Forbidden"}`), flashbacktest.Respond(503, "")
	for _, use := range storeUses() {
		for name, tt := range map[string]struct {
			fault flashbacktest.Fault
			steps []string
		}{
			"that succeeds":               {flashbacktest.None(), all},
			"that is certainly refused":   {definite, all},
			"that has an unknown outcome": {ambiguous, []string{"lock", "load", "begin", "unlock"}},
		} {
			if !use.sends && tt.fault.Status != 0 || use.name == "a login" && tt.fault.Status == 503 {
				continue // It sends nothing; and a login presents no refresh token.
			}
			t.Run(use.name+" "+name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					b, kept := withJaneAndJohn(), newShelf()
					do := use.prepare(t, b, flashback.WithTokenStore(kept))
					kept.taken()
					var sent []string
					b.Decide(func(r *http.Request) flashbacktest.Fault {
						if r.URL.Path == use.path && sent == nil {
							sent = kept.taken()
						}
						return onPath(use.path, tt.fault)(r)
					})
					before := kept.kept()
					err := do(t.Context())
					assert.Equal(t, tt.fault.Status == 0, err == nil)
					if use.sends {
						assert.Equal(t, all[:3], sent, "before the request")
					}
					assert.Equal(t, tt.steps, append(sent, kept.taken()...))
					assert.Equal(t, tt.fault.Status == 0, before != kept.kept())
				})
			})
		}
	}
	t.Run("what is kept is only read by Resume", func(t *testing.T) {
		t.Parallel()
		b, kept := withJane(), newShelf()
		logIn(t, b, flashback.WithTokenStore(kept))
		kept.taken()
		resume(t, b, flashback.Tokens{}, flashback.WithTokenStore(kept))
		assert.Equal(t, []string{"lock", "load", "unlock"}, kept.taken())
	})
	t.Run("a refusal by the API is certain", func(t *testing.T) {
		t.Parallel()
		b, kept := withJane(), newShelf()
		session, client := logIn(t, b, flashback.WithTokenStore(kept))
		b.RevokeToken(session.Tokens().Access.Reveal())
		b.RevokeToken(session.Tokens().Refresh.Reveal())
		kept.taken()
		require.ErrorIs(t, see(t.Context(), client), flashback.ErrSessionLost)
		assert.Equal(t, all, kept.taken())
	})
}

func TestWhatCanNotBeKeptIsNotAskedFor(t *testing.T) {
	t.Parallel()
	for _, use := range storeUses() {
		for _, step := range []string{"lock", "load", "begin"} {
			t.Run(use.name+" with a store that fails to "+step, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					b, kept := withJaneAndJohn(), newShelf()
					do := use.prepare(t, b, flashback.WithTokenStore(kept))
					before := kept.kept()
					b.Reset()
					kept.at(step, diskFull)
					err := do(t.Context())
					require.ErrorIs(t, err, errDisk)
					require.ErrorContains(t, err, "token store: the disk is full")
					require.NotErrorIs(t, err, flashback.ErrOutcomeUnknown)
					assert.Empty(t, b.Requests())
					assert.Equal(t, before, kept.kept())
					assert.Empty(t, kept.locked)
					kept.at(step, nil)
					require.NoError(t, do(t.Context()), "nothing was lost")
				})
			})
		}
	}
	t.Run("a living token is used meanwhile, and it is told", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			b, kept := withJane(), newShelf()
			logged := &records{}
			_, client := logIn(t, b, flashback.WithTokenStore(kept), flashback.WithLogger(logged.logger()))
			<-time.After(54 * time.Minute)
			kept.at("begin", diskFull)
			for range 3 {
				require.NoError(t, see(t.Context(), client))
			}
			assert.Contains(t, logged.text(), `level=WARN msg="flashback: renewal failed" op=user.refresh`)
			assert.Contains(t, logged.text(), "the disk is full")
			<-time.After(6 * time.Minute)
			require.ErrorIs(t, see(t.Context(), client), errDisk)
			assert.Zero(t, count(b, refreshPath))
			kept.at("begin", nil)
			require.NoError(t, see(t.Context(), client))
		})
	})
}

func TestWhatIsAppliedAndNotKeptIsNoDefiniteFailure(t *testing.T) {
	t.Parallel()
	for _, use := range storeUses() {
		if !use.sends || use.name == "a renewal" {
			continue
		}
		t.Run(use.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b, kept := withJaneAndJohn(), newShelf()
				do := use.prepare(t, b, flashback.WithTokenStore(kept))
				kept.at("save", diskFull)
				err := do(t.Context())
				require.ErrorIs(t, err, flashback.ErrOutcomeUnknown)
				require.ErrorIs(t, err, errDisk)
				require.ErrorContains(t, err, "token store: ")
				kept.at("save", nil)
				sent := count(b, use.path)
				require.NoError(t, do(t.Context()), "another one succeeds")
				if use.name == "a verification" {
					assert.Equal(t, sent, count(b, use.path), "what was granted is kept, not asked for again")
				}
			})
		})
	}
}

func TestNewTokensAreKeptBeforeTheyAreUsed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, kept := withJane(), newShelf()
		session, client := logIn(t, b, flashback.WithTokenStore(kept))
		first := kept.kept()
		assert.Equal(t, session.Tokens(), first)
		<-time.After(time.Hour)
		kept.at("save", diskFull)
		_, err := session.Token(t.Context())
		require.ErrorIs(t, err, errDisk)
		require.NotErrorIs(t, err, flashback.ErrOutcomeUnknown, "they will be offered again")
		for range 2 {
			err = see(t.Context(), client)
			require.ErrorContains(t, err, "the disk is full")
			require.ErrorIs(t, err, errDisk)
		}
		assert.Zero(t, count(b, janePath))
		assert.Equal(t, first, session.Tokens())
		kept.at("save", nil)
		require.NoError(t, see(t.Context(), client), "at once")
		assert.Equal(t, 1, count(b, refreshPath), "what was granted is kept, not asked for again")
		assert.Equal(t, 2, kept.saves)
		assert.Equal(t, session.Tokens(), kept.kept())

		resumed := resume(t, b, kept.kept())
		require.NoError(t, see(t.Context(), clientFor(t, resumed)))
		assert.Equal(t, 1, count(b, refreshPath))
	})
	t.Run("and renewed again, if they have ended before they could be kept", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			b, kept := withJane(), newShelf()
			session, client := logIn(t, b, flashback.WithTokenStore(kept))
			<-time.After(time.Hour)
			kept.at("save", diskFull)
			require.ErrorIs(t, see(t.Context(), client), errDisk)
			<-time.After(2 * time.Hour)
			kept.at("save", nil)
			require.NoError(t, see(t.Context(), client))
			assert.Equal(t, 2, count(b, refreshPath))
			assert.Equal(t, session.Tokens(), kept.kept())
		})
	})
	t.Run("a store that has kept them in spite of its error", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			b, kept := withJane(), newShelf()
			session, client := logIn(t, b, flashback.WithTokenStore(kept))
			<-time.After(time.Hour)
			kept.at("unlock", diskFull)
			require.NoError(t, see(t.Context(), client), "they are kept")
			assert.Equal(t, session.Tokens(), kept.kept())
			assert.Equal(t, 1, count(b, refreshPath))
		})
	})
}

// A store can be broken in each step, and in each way.
func TestAStoreThatBreaksKeepsNobodyWaitingAndLosesNothing(t *testing.T) {
	t.Parallel()
	for how, says := range map[string]string{"panics": "token store: panic: the cable", "ends its goroutine": "token store: its goroutine was ended", "hangs": "context deadline exceeded"} {
		for _, step := range []string{"lock", "load", "begin", "save", "unlock"} {
			for _, use := range storeUses() {
				t.Run(fmt.Sprintf("%s, and the store %s in %s", use.name, how, step), func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						b, kept := withJaneAndJohn(), newShelf()
						do := use.prepare(t, b, flashback.WithTokenStore(kept))
						before, sent := kept.kept(), count(b, use.path)
						repaired := make(chan struct{})
						kept.at(step, func() error {
							switch how {
							case "panics":
								panic("the cable")
							case "ends its goroutine":
								runtime.Goexit() // as t.FailNow does
							}
							<-repaired
							return nil
						})
						ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
						defer cancel()
						begun := time.Now()
						err := do(ctx)
						assert.LessOrEqual(t, time.Since(begun), 11*time.Second)
						if use.name != "a renewal" || step != "unlock" { // Then the tokens are kept already.
							require.ErrorContains(t, err, says)
						}
						applied := count(b, use.path) > sent
						assert.Equal(t, use.sends && slices.Contains([]string{"save", "unlock"}, step), applied)
						if use.name != "a renewal" {
							assert.Equal(t, applied, errors.Is(err, flashback.ErrOutcomeUnknown))
						}
						kept.at(step, nil)
						close(repaired)
						synctest.Wait()
						if len(kept.locked) == 1 {
							<-kept.locked // as a process does that ends
						}
						if applied {
							return
						}
						if step != "unlock" && (how != "hangs" || use.sends && use.name != "a renewal") { // What hangs goes on later.
							require.Equal(t, before, kept.kept())
						}
						require.NoError(t, do(t.Context()), "nothing was lost")
					})
				})
			}
		}
	}
}

func TestAStoreThatHangsKeepsNoCallWithALivingToken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, kept := withJane(), newShelf()
		session, client := logIn(t, b, flashback.WithTokenStore(kept))
		<-time.After(54 * time.Minute)
		repaired := make(chan struct{})
		kept.at("save", func() error { <-repaired; return nil })
		begun := time.Now()
		for range 10 {
			require.NoError(t, see(t.Context(), client))
		}
		assert.Equal(t, 5*time.Second, time.Since(begun))
		close(repaired)
		require.NoError(t, session.Close(t.Context()))
		assert.Equal(t, session.Tokens(), kept.kept())
	})
}

func TestATokenThatEndsWhileItsRenewalRunsIsWaitedFor(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		begins  time.Duration // after the login
		refused bool          // the token, while the call waits
	}{
		"by its time": {time.Hour - 2*time.Second, false},
		"by a 401":    {55 * time.Minute, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b, kept := withJane(), newShelf()
				session, client := logIn(t, b, flashback.WithTokenStore(kept))
				<-time.After(tt.begins)
				b.ScriptFor("refresh", flashbacktest.Fault{Delay: 20 * time.Second})
				var calls sync.WaitGroup
				for range 3 {
					calls.Go(func() { assert.NoError(t, see(t.Context(), client)) })
				}
				if tt.refused {
					b.RevokeToken(session.Tokens().Access.Reveal())
					hasty, cancel := context.WithTimeout(t.Context(), 4*time.Second) // half of it is for the renewal
					defer cancel()
					require.ErrorIs(t, see(hasty, client), context.DeadlineExceeded)
				}
				calls.Wait()
				require.NoError(t, see(t.Context(), client))
				assert.Equal(t, 1, count(b, refreshPath))
			})
		})
	}
}

func TestAStoreThatFailsALogoutLosesNoSession(t *testing.T) {
	t.Parallel()
	start := func(t *testing.T) (*flashbacktest.Backend, *shelf, *flashback.Session, *flashback.Client) {
		t.Helper()
		b, kept := withJane(), newShelf()
		b.SetTokenLifetime(2 * time.Minute)
		session, client := logIn(t, b, flashback.WithTokenStore(kept))
		<-time.After(106 * time.Second)
		kept.at("begin", diskFull)
		require.ErrorIs(t, session.Logout(t.Context()), errDisk)
		kept.at("begin", nil)
		return b, kept, session, client
	}
	t.Run("its token ends during the pause", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			_, _, _, client := start(t)
			<-time.After(15 * time.Second)
			err := see(t.Context(), client)
			require.ErrorContains(t, err, "the token store has just failed")
			require.NotErrorIs(t, err, flashback.ErrNoTokens)
			<-time.After(time.Minute)
			require.NoError(t, see(t.Context(), client))
		})
	})
	t.Run("its token gets a 401 during the pause", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			b, _, _, client := start(t)
			b.ScriptFor("jane", flashbacktest.Respond(401, ""), flashbacktest.Respond(401, ""))
			err := see(t.Context(), client)
			require.ErrorIs(t, err, flashback.ErrUnauthorized)
			require.NotContains(t, err.Error(), "same access token")
			assert.Zero(t, count(b, refreshPath))
		})
	})
}

// broken is a store that returns neither a lock nor an error.
type broken struct{}

func (broken) Lock(context.Context) (flashback.TokenLock, error) { return nil, nil } //nolint:nilnil // It is what is tested.

func TestAStoreWithoutALockIsNoStore(t *testing.T) {
	t.Parallel()
	b := withJane()
	_, err := tryLogIn(t.Context(), b, "jane", flashback.WithTokenStore(broken{}))
	require.ErrorContains(t, err, "token store: its Lock returned nil")
	assert.Empty(t, b.Requests())
}

// nilError panics if it is nil, but for its type.
type nilError struct{ text string }

func (e *nilError) Error() string { return e.text }

func TestAnErrorThatIsANilPointerDoesNoHarm(t *testing.T) {
	t.Parallel()
	b, kept := withJane(), newShelf()
	kept.at("begin", func() error { return (*nilError)(nil) })
	_, err := tryLogIn(t.Context(), b, "jane", flashback.WithTokenStore(kept))
	require.ErrorContains(t, err, "nilError")
	_, err = b.ClientWithToken("", flashback.WithTokenSource(
		func(context.Context) (string, error) { return "", (*nilError)(nil) },
	)).Organization.Users.Activate(t.Context(), "user-1")
	require.ErrorContains(t, err, "nilError")
}

// A store's errors may quote what it was given.
func TestTheErrorsOfAStoreShowNoTokens(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"lock", "load", "begin", "save", "unlock"} {
		for _, how := range []string{"fails", "panics"} {
			t.Run(how+" in "+step, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					b, kept := withJane(), newShelf()
					granted := ""
					b.Decide(func(r *http.Request) flashbacktest.Fault {
						if r.URL.Path != refreshPath {
							return flashbacktest.None()
						}
						granted = "granted-access-token"
						return flashbacktest.Respond(200, `{"success":true,"accessToken":"granted-access-token","refreshToken":"granted-refresh-token"}`)
					})
					logged := &records{}
					session, _ := logIn(t, b, flashback.WithTokenStore(kept), flashback.WithLogger(logged.logger()))
					old := session.Tokens()
					<-time.After(time.Hour)
					kept.at(step, func() error {
						text := "can't use " + old.Access.Reveal() + " and " + old.Refresh.Reveal() + " and granted-access-token and granted-refresh-token"
						if how == "panics" {
							panic(text)
						}
						return &nilError{text}
					})
					_, err := session.Token(t.Context())
					if step != "unlock" {
						var inner *nilError
						assert.NotErrorAs(t, err, &inner, "it has a token in it")
						require.ErrorContains(t, err, "can't use [redacted] and [redacted] and")
					}
					for _, secret := range []string{old.Access.Reveal(), old.Refresh.Reveal(), granted} {
						if secret == "" {
							continue // Nothing was sent yet, and nobody knows what will be granted.
						}
						if err != nil {
							assert.NotContains(t, fmt.Sprintf("%v %+v", err, err), secret)
						}
						assert.NotContains(t, logged.text(), secret)
					}
				})
			})
		}
	}
}

func TestADeadlineThatPassesWhileTokensAreKeptLosesNothing(t *testing.T) {
	t.Parallel()
	for _, use := range storeUses() {
		if !use.sends {
			continue
		}
		for name, tt := range map[string]struct {
			slow  time.Duration
			fails bool
		}{"for a moment": {2500 * time.Millisecond, false}, "for long": {time.Minute, true}} {
			t.Run(use.name+" "+name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					b, kept := withJaneAndJohn(), newShelf()
					do := use.prepare(t, b, flashback.WithTokenStore(kept))
					before := kept.kept()
					kept.at("save", func() error { <-time.After(tt.slow); return nil })
					ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
					defer cancel()
					begun := time.Now()
					err := do(ctx)
					assert.LessOrEqual(t, time.Since(begun), 3*time.Second)
					switch {
					case use.name == "a renewal":
						require.ErrorIs(t, err, context.DeadlineExceeded, "who waits for it does not wait longer")
					case tt.fails:
						require.ErrorIs(t, err, context.DeadlineExceeded)
						require.ErrorIs(t, err, flashback.ErrOutcomeUnknown)
					default:
						require.NoError(t, err)
					}
					<-time.After(time.Minute)
					assert.NotEqual(t, before, kept.kept(), "they are kept all the same")
				})
			})
		}
	}
}

func TestWhoGivesUpBeforeTheStoreIsLockedSendsNothing(t *testing.T) {
	t.Parallel()
	for name, late := range map[string]bool{"the store ends its wait": false, "the store waits for longer": true} {
		for _, use := range storeUses() {
			t.Run(use.name+", "+name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					b, kept := withJaneAndJohn(), newShelf()
					do := use.prepare(t, b, flashback.WithTokenStore(kept))
					before := kept.kept()
					b.Reset()
					if late {
						kept.at("load", func() error { <-time.After(10 * time.Second); return nil })
					} else {
						kept.locked <- struct{}{}
					}
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					defer cancel()
					err := do(ctx)
					require.ErrorIs(t, err, context.DeadlineExceeded)
					require.NotErrorIs(t, err, flashback.ErrOutcomeUnknown)
					require.ErrorContains(t, err, "waiting for the session's tokens")
					assert.Empty(t, b.Requests())
					if !late {
						<-kept.locked
					}
					<-time.After(time.Minute)
					if use.name != "a renewal" { // which goes on by itself
						assert.Empty(t, b.Requests(), "nothing is sent late")
						assert.Equal(t, before, kept.kept())
					}
				})
			})
		}
	}
}

func TestWhoWaitsForARenewalInVainSendsNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := withJane()
		session, client := logIn(t, b)
		<-time.After(55 * time.Minute)
		b.ScriptFor("refresh", flashbacktest.Fault{Delay: 25 * time.Second})
		require.NoError(t, see(t.Context(), client), "and a renewal is under way")
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		err := session.Logout(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.NotErrorIs(t, err, flashback.ErrOutcomeUnknown)
		assert.Equal(t, "user.logout", asError(t, err).Op)
		assert.Zero(t, count(b, logoutPath))
		require.NoError(t, session.Logout(t.Context()))
		assert.Equal(t, 1, count(b, refreshPath), "it went on")
		assert.Equal(t, 1, count(b, logoutPath))
	})
}

func TestSessionsShareAStore(t *testing.T) {
	t.Parallel()
	t.Run("a renewal by one serves all", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			b, kept := withJane(), newShelf()
			opt := flashback.WithTokenStore(kept)
			_, client := logIn(t, b, opt)
			other := clientFor(t, resume(t, b, flashback.Tokens{}, opt))
			<-time.After(time.Hour)
			var wait sync.WaitGroup
			for _, c := range []*flashback.Client{client, other} {
				for range 50 {
					wait.Go(func() { assert.NoError(t, see(t.Context(), c)) })
				}
			}
			wait.Wait()
			assert.Equal(t, 1, count(b, refreshPath))
		})
	})
	t.Run("an ended token of another session is renewed", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			b, kept := withJane(), newShelf()
			opt := flashback.WithTokenStore(kept)
			session, client := logIn(t, b, opt)
			other := resume(t, b, flashback.Tokens{}, opt)
			<-time.After(time.Hour)
			_, err := other.Token(t.Context())
			require.NoError(t, err)
			<-time.After(time.Hour)
			require.NoError(t, see(t.Context(), client))
			assert.Equal(t, 2, count(b, refreshPath))
			assert.Equal(t, 1, count(b, janePath))
			assert.Equal(t, session.Tokens(), kept.kept())
		})
	})
	t.Run("a login by another one ends the loss of a session", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			b, kept := withJane(), newShelf()
			opt := flashback.WithTokenStore(kept)
			session, client := logIn(t, b, opt)
			b.RevokeToken(session.Tokens().Refresh.Reveal())
			<-time.After(time.Hour)
			require.ErrorIs(t, see(t.Context(), client), flashback.ErrSessionLost)
			logIn(t, b, opt)
			require.NoError(t, see(t.Context(), client))
			assert.Equal(t, kept.kept(), session.Tokens())
		})
	})
	t.Run("tokens that were not kept do not replace those of a login", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			b, kept := withJane(), newShelf()
			opt := flashback.WithTokenStore(kept)
			session, client := logIn(t, b, opt)
			<-time.After(time.Hour)
			kept.at("save", diskFull)
			require.ErrorIs(t, see(t.Context(), client), errDisk)
			kept.at("save", nil)
			third := clientFor(t, resume(t, b, session.Tokens()))
			require.ErrorIs(t, see(t.Context(), third), flashback.ErrSessionLost, "another one presents the old refresh token")
			logIn(t, b, opt)
			login := kept.kept()
			require.NoError(t, see(t.Context(), client))
			assert.Equal(t, login, kept.kept())
			assert.Equal(t, login, session.Tokens())
			require.NoError(t, session.Close(t.Context()))
		})
	})
	t.Run("nor does Close keep them then", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			b, kept := withJane(), newShelf()
			opt := flashback.WithTokenStore(kept)
			session, client := logIn(t, b, opt)
			<-time.After(time.Hour)
			kept.at("save", diskFull)
			require.ErrorIs(t, see(t.Context(), client), errDisk)
			kept.at("save", nil)
			logIn(t, b, opt)
			login := kept.kept()
			kept.taken()
			require.NoError(t, session.Close(t.Context()))
			assert.Equal(t, login, kept.kept())
			assert.Equal(t, []string{"lock", "load", "unlock"}, kept.taken())
		})
	})
	t.Run("a store that was emptied gets the tokens of a renewal", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			b, kept := withJane(), newShelf()
			session, client := logIn(t, b, flashback.WithTokenStore(kept))
			kept.tokens = flashback.Tokens{}
			<-time.After(time.Hour)
			require.NoError(t, see(t.Context(), client))
			assert.Equal(t, session.Tokens(), kept.kept())
		})
	})
	t.Run("a store without times does not end the knowledge of them", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			b, kept := withJane(), newShelf()
			_, client := logIn(t, b, flashback.WithTokenStore(kept))
			for i := range 3 {
				tokens := kept.kept()
				kept.tokens = flashback.Tokens{Access: tokens.Access, Refresh: tokens.Refresh}
				<-time.After(54 * time.Minute)
				require.NoError(t, see(t.Context(), client))
				assert.Equal(t, i+1, count(b, refreshPath))
			}
		})
	})
}

func TestALostSessionSaysIfARenewalWasInterrupted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, kept := withJane(), newShelf()
		session, _ := logIn(t, b, flashback.WithTokenStore(kept))
		b.RevokeToken(session.Tokens().Refresh.Reveal())
		kept.at("begin", func() error { kept.marked = time.Now(); return nil }) // the marker of this renewal, which is not meant
		kept.marked = time.Date(2026, 12, 1, 13, 30, 0, 0, time.UTC)
		<-time.After(time.Hour)
		_, err := session.Token(t.Context())
		require.ErrorIs(t, err, flashback.ErrSessionLost)
		require.ErrorContains(t, err, "a renewal was interrupted at 2026-12-01T13:30:00Z")
	})
}

// named is a store with a name.
type named struct{ *shelf }

func (named) String() string { return "/home/jane/session.json" }

func TestTokensThatCanNotBeUsedAreRefusedAndNotReplaced(t *testing.T) {
	t.Parallel()
	good, elsewhere := flashback.NewSecret("good-token"), "https://other.example"
	for name, tt := range map[string]struct {
		tokens flashback.Tokens
		says   string
	}{
		"a secret as printed":      {flashback.Tokens{Access: flashback.NewSecret("[redacted]")}, "Reveal"},
		"one with a newline":       {flashback.Tokens{Refresh: flashback.NewSecret("token-1\n")}, "TrimSpace"},
		"one with its scheme":      {flashback.Tokens{Access: flashback.NewSecret("Bearer token-1")}, "Bearer"},
		"one good and one bad":     {flashback.Tokens{Access: good, Refresh: flashback.NewSecret("bad token")}, "the refresh token"},
		"those of another backend": {flashback.Tokens{Access: good, BaseURL: elsewhere}, "https://other.example"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, kept := withJane(), newShelf()
			opt := flashback.WithTokenStore(named{kept})
			_, err := flashback.Resume(t.Context(), tt.tokens, b.Options(opt)...)
			require.ErrorIs(t, err, flashback.ErrInvalidArgument)
			require.ErrorContains(t, err, tt.says)
			assert.Zero(t, kept.kept())

			kept.tokens = tt.tokens
			_, resumed := flashback.Resume(t.Context(), flashback.Tokens{}, b.Options(opt)...)
			_, loggedIn := tryLogIn(t.Context(), b, "jane", opt)
			for _, err := range []error{resumed, loggedIn} {
				require.ErrorIs(t, err, flashback.ErrInvalidArgument)
				require.NotErrorIs(t, err, flashback.ErrNoTokens)
				require.ErrorContains(t, err, "the tokens in /home/jane/session.json can't be used; remove them")
			}
			assert.Equal(t, tt.tokens, kept.kept())
			assert.Empty(t, b.Requests())
			assert.Empty(t, kept.locked)
		})
	}
}

func TestNotLoggedInYetIsNoMistake(t *testing.T) {
	t.Parallel()
	empty := flashback.WithTokenStore(newShelf())
	for name, tt := range map[string]struct {
		tokens flashback.Tokens
		opts   []flashback.Option
	}{
		"zero tokens":     {},
		"an empty store":  {opts: []flashback.Option{empty}},
		"an ID alone":     {tokens: flashback.Tokens{ID: "x"}, opts: []flashback.Option{empty}},
		"a backend alone": {tokens: flashback.Tokens{BaseURL: "https://backend.flashback.test"}, opts: []flashback.Option{empty}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := withJane()
			session, err := flashback.Resume(t.Context(), tt.tokens, b.Options(tt.opts...)...)
			assert.Nil(t, session)
			require.ErrorIs(t, err, flashback.ErrNoTokens)
			require.ErrorIs(t, err, flashback.ErrUnauthorized)
			require.NotErrorIs(t, err, flashback.ErrSessionLost)
			require.NotErrorIs(t, err, flashback.ErrInvalidArgument)
			require.ErrorContains(t, err, "log in")
			assert.Equal(t, "Resume", asError(t, err).Op)
		})
	}
	t.Run("nor is it one to have no refresh token", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			b := withJane()
			first, _ := logIn(t, b)
			tokens := first.Tokens()
			tokens.Refresh = flashback.Secret{}
			client := clientFor(t, resume(t, b, tokens))
			<-time.After(59 * time.Minute)
			require.NoError(t, see(t.Context(), client))
			<-time.After(time.Minute)
			err := see(t.Context(), client)
			require.ErrorIs(t, err, flashback.ErrNoTokens)
			require.ErrorIs(t, err, flashback.ErrUnauthorized)
			require.NotErrorIs(t, err, flashback.ErrSessionLost)
			assert.Zero(t, count(b, refreshPath))
		})
	})
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
			session := resume(t, b, flashback.Tokens{Refresh: flashback.NewSecret("first"), ID: "id-1"})
			assert.Zero(t, count(b, refreshPath), "Resume sends nothing")
			_, err := session.Token(t.Context())
			require.NoError(t, err)
			assert.Equal(t, tt.want, session.Tokens().ID)
		})
	}
}
