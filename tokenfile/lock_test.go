package tokenfile_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	flashback "github.com/flashbacknetwork/flashback-go"
	"github.com/flashbacknetwork/flashback-go/flashbacktest"
	"github.com/flashbacknetwork/flashback-go/tokenfile"
)

func tokens(n string) flashback.Tokens {
	return flashback.Tokens{
		Access: flashback.NewSecret("access-" + n), Refresh: flashback.NewSecret("refresh-" + n), ID: "token-" + n,
		IssuedAt:  time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC),
		ExpiresAt: time.Date(2026, 12, 1, 13, 0, 0, 0, time.UTC), BaseURL: "https://a.test",
	}
}

// opened locks the file, and returns what is kept.
func opened(t *testing.T, path string) (flashback.TokenLock, flashback.Tokens) {
	t.Helper()
	lock, err := tokenfile.New(path).Lock(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { _ = lock.Unlock() }) // also of a test that fails
	kept, err := lock.Load()
	require.NoError(t, err)
	return lock, kept
}

func keep(t *testing.T, path string, next flashback.Tokens) {
	t.Helper()
	lock, _ := opened(t, path)
	require.NoError(t, lock.Begin())
	require.NoError(t, lock.Save(next))
	require.NoError(t, lock.Unlock())
}

func interrupted(lock flashback.TokenLock) time.Time {
	return lock.(interface{ Interrupted() time.Time }).Interrupted() //nolint:forcetypeassert,errcheck // It is documented.
}

// beside returns the names in the directory of path.
func beside(t *testing.T, path string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

func contents(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path) //nolint:gosec // It is the test's own.
	require.NoError(t, err)
	return string(text)
}

// copyDir copies what a process that is killed now leaves on the disk.
func copyDir(t *testing.T, path string) (copied string) {
	t.Helper()
	dir := t.TempDir()
	for _, name := range beside(t, path) {
		text := contents(t, filepath.Join(filepath.Dir(path), name))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	return filepath.Join(dir, filepath.Base(path))
}

func TestTokensComeBackAsTheyWere(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	for _, want := range []flashback.Tokens{
		tokens("1"),
		{Access: flashback.NewSecret("a"), BaseURL: "https://a.test"},
		{Refresh: flashback.NewSecret("r"), BaseURL: "https://a.test"},
		{Access: flashback.NewSecret(strings.Repeat("large", 100_000)), BaseURL: "https://a.test"}, // more than the room
		tokens("2"),
	} {
		keep(t, path, want)
		lock, kept := opened(t, path)
		assert.Equal(t, want, kept)
		assert.Zero(t, interrupted(lock))
		require.NoError(t, lock.Unlock())
		assert.Equal(t, []string{"session.json", "session.json.lock"}, beside(t, path))
	}
	keep(t, path, flashback.Tokens{})
	assert.Equal(t, []string{"session.json.lock"}, beside(t, path))
}

func TestTokensThatCanNotBeReadBackAreNotKept(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	lock, _ := opened(t, path)
	require.NoError(t, lock.Begin())
	err := lock.Save(flashback.Tokens{Access: flashback.NewSecret(strings.Repeat("x", 1<<20)), BaseURL: "https://a.test"})
	require.ErrorContains(t, err, "larger than 1 MiB")
	require.NoError(t, lock.Save(tokens("1")), "another try")
}

func TestBeginMakesRoomAndAMarker(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		path := newPath(t)
		keep(t, path, tokens("1"))
		begun := time.Now()
		lock, _ := opened(t, path)
		require.NoError(t, lock.Begin())
		assert.Equal(t, strings.Repeat("\n", 64<<10), contents(t, path+".new"))
		left := copyDir(t, path)
		require.NoError(t, lock.Unlock())

		for _, path := range []string{path, left} {
			_, marker, _ := strings.Cut(contents(t, path), "presented")
			assert.NotContains(t, marker, "refresh-1")
			<-time.After(time.Hour)
			lock, kept := opened(t, path)
			assert.Equal(t, tokens("1"), kept)
			assert.True(t, begun.Equal(interrupted(lock)))
			require.NoError(t, lock.Begin(), "once more")
			require.NoError(t, lock.Unlock())
			lock, _ = opened(t, path)
			assert.True(t, begun.Equal(interrupted(lock)), "the time of the first one stays")
			require.NoError(t, lock.Begin())
			require.NoError(t, lock.Save(tokens("2")))
			require.NoError(t, lock.Unlock())
			lock, kept = opened(t, path)
			assert.Equal(t, tokens("2"), kept)
			assert.Zero(t, interrupted(lock))
			require.NoError(t, lock.Unlock())
			assert.Equal(t, []string{"session.json", "session.json.lock"}, beside(t, path))
		}
	})
}

func TestSaveOfWhatWasLoadedTakesBackWhatBeginDid(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	keep(t, path, tokens("1"))
	keep(t, path, tokens("1"))
	lock, _ := opened(t, path)
	assert.Zero(t, interrupted(lock))
	require.NoError(t, lock.Begin())
	require.NoError(t, lock.Unlock()) // A process is ended while it renews.
	keep(t, path, tokens("1"))        // The next one gets a refusal that is not the API's.
	lock, _ = opened(t, path)
	assert.NotZero(t, interrupted(lock), "the first one's request has no response yet")
	require.NoError(t, lock.Unlock())
}

func TestAMarkerOfAnotherRefreshTokenTellsNothing(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	keep(t, path, tokens("1"))
	lock, _ := opened(t, path)
	require.NoError(t, lock.Begin())
	require.NoError(t, lock.Unlock())
	require.NoError(t, os.WriteFile(path, []byte(strings.ReplaceAll(contents(t, path), "refresh-1", "refresh-2")), 0o600))
	lock, kept := opened(t, path)
	assert.Equal(t, "refresh-2", kept.Refresh.Reveal())
	assert.Zero(t, interrupted(lock))
}

// journalOf returns what Save writes into the room, with the newlines that follow.
func journalOf(t *testing.T, old, next flashback.Tokens) string {
	t.Helper()
	path := newPath(t)
	if old != (flashback.Tokens{}) {
		keep(t, path, old)
	}
	keep(t, path, next)
	text := contents(t, path)
	return text + strings.Repeat("\n", 64<<10-len(text))
}

func TestAWholeJournalIsAdoptedAndAnyOtherIsNot(t *testing.T) {
	t.Parallel()
	none, first, second := flashback.Tokens{}, tokens("1"), tokens("2")
	prolonged := first
	prolonged.ExpiresAt = second.ExpiresAt.Add(time.Hour)
	journal := journalOf(t, first, second)
	for name, tt := range map[string]struct {
		kept    flashback.Tokens
		journal string
		want    flashback.Tokens
	}{
		"whole":                        {first, journal, second},
		"whole and cut to its length":  {first, strings.TrimRight(journal, "\n"), second},
		"the same refresh token":       {first, journalOf(t, first, prolonged), prolonged},
		"of a first login":             {none, journalOf(t, none, first), first},
		"of a login over others":       {first, journalOf(t, first, first), first},
		"of other tokens than kept":    {tokens("3"), journal, tokens("3")},
		"of tokens that were removed":  {none, journal, none},
		"of a first login, and others": {second, journalOf(t, none, first), second},
		"empty":                        {first, "", first},
		"room":                         {first, strings.Repeat("\n", 64<<10), first},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := newPath(t)
			if tt.kept != none {
				keep(t, path, tt.kept)
			}
			require.NoError(t, os.WriteFile(path+".new", []byte(tt.journal), 0o600))
			lock, kept := opened(t, path)
			assert.Equal(t, tt.want, kept)
			require.NoError(t, lock.Unlock())
			assert.NoFileExists(t, path+".new")
			_, kept = opened(t, path)
			assert.Equal(t, tt.want, kept)
		})
	}
}

// Of what is written, whole blocks may be missing after the power was lost, and the end after a SIGKILL.
func TestATornJournalIsNotAdopted(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	second := tokens("2")
	second.Access = flashback.NewSecret(strings.Repeat("eyJ0eXAi", 300))
	journal := journalOf(t, tokens("1"), second)
	length := len(strings.TrimRight(journal, "\n"))
	keep(t, path, tokens("1"))
	try := func(torn string) flashback.Tokens {
		require.NoError(t, os.WriteFile(path+".new", []byte(torn), 0o600))
		lock, kept := opened(t, path)
		require.NoError(t, lock.Unlock())
		return kept
	}
	for end := 0; end < length; end += 7 {
		require.Equal(t, tokens("1"), try(journal[:end]), "cut")
		require.Equal(t, tokens("1"), try(journal[:end]+strings.Repeat("\n", len(journal)-end)), "cut, in its room")
	}
	for block := 0; block < length; block += 512 {
		end := min(block+512, length)
		require.Equal(t, tokens("1"), try(journal[:block]+strings.Repeat("\n", end-block)+journal[end:]), "without a block")
	}
	require.Equal(t, second, try(journal))
}

func TestAtEachMomentOfASaveTheOldTokensOrTheNewOnesAreOnTheDisk(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	keep(t, path, tokens("1"))
	lock, _ := opened(t, path)
	require.NoError(t, lock.Begin())
	begun := copyDir(t, path)
	require.NoError(t, lock.Save(tokens("2")))
	saved := copyDir(t, path)
	journaled := copyDir(t, begun)
	require.NoError(t, os.WriteFile(journaled+".new", []byte(contents(t, saved)), 0o600))
	for left, want := range map[string]flashback.Tokens{begun: tokens("1"), journaled: tokens("2"), saved: tokens("2")} {
		_, kept := opened(t, left)
		assert.Equal(t, want, kept)
	}
}

func TestARelativePathIsThatOfTheDirectoryAtNew(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	t.Chdir(dir)
	file := tokenfile.New("session.json")
	t.Chdir(other)
	require.NoError(t, update(t.Context(), file, func(flashback.Tokens) (flashback.Tokens, error) { return tokens("1"), nil }))
	assert.FileExists(t, filepath.Join(dir, "session.json"))
	assert.Empty(t, beside(t, filepath.Join(other, "session.json")))
	assert.Equal(t, "session.json", filepath.Base(file.String()))
	assert.True(t, filepath.IsAbs(file.String()))
}

func TestALockFileThatIsRemovedIsNotTheLock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		path := newPath(t)
		lock, _ := opened(t, path)
		waiting := make(chan error)
		go func() {
			waiting <- update(t.Context(), tokenfile.New(path), func(flashback.Tokens) (flashback.Tokens, error) { return tokens("2"), nil })
		}()
		<-time.After(time.Second)
		require.NoError(t, lock.Unlock())
		require.NoError(t, <-waiting)
		require.NoError(t, os.Remove(path+".lock"))
		lock, kept := opened(t, path)
		assert.Equal(t, tokens("2"), kept)
		require.NoError(t, lock.Unlock())
	})
}

// renewals are the refreshes that b has seen, with the file as it was at that moment.
type renewals struct {
	left []string // copies of the file and what is beside it
}

func (r *renewals) see(t *testing.T, b *flashbacktest.Backend, path string) {
	t.Helper()
	b.Decide(func(req *http.Request) flashbacktest.Fault {
		if req.URL.Path == "/user/refresh" {
			r.left = append(r.left, copyDir(t, path))
		}
		return flashbacktest.None()
	})
}

func TestWhileARefreshIsSentItsMarkerAndItsRoomAreOnTheDisk(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, path := withJane(), newPath(t)
		session := logIn(t, b, path)
		<-time.After(time.Hour)
		var seen renewals
		seen.see(t, b, path)
		_, err := session.Token(t.Context())
		require.NoError(t, err)
		require.Len(t, seen.left, 1)
		assert.Len(t, contents(t, seen.left[0]+".new"), 64<<10)

		var marked struct {
			Presented struct {
				Digest string
				At     time.Time
			}
		}
		require.NoError(t, json.Unmarshal([]byte(contents(t, seen.left[0])), &marked))
		assert.Len(t, marked.Presented.Digest, 64)
		assert.True(t, time.Now().Equal(marked.Presented.At))

		// The process was killed at that moment. The server has ended the refresh token.
		when := marked.Presented.At.Format(time.RFC3339)
		<-time.After(2 * time.Hour)
		for range 2 { // processes
			next, err := flashback.Resume(t.Context(), flashback.Tokens{}, b.Options(store(seen.left[0]))...)
			require.NoError(t, err)
			_, err = next.Token(t.Context())
			require.ErrorIs(t, err, flashback.ErrSessionLost)
			require.ErrorContains(t, err, "interrupted at "+when)
		}
		_, err = session.Token(t.Context())
		require.NoError(t, err)
	})
}

func TestAProcessThatFindsAMarkerTriesTheTokenAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, path := withJane(), newPath(t)
		b.KeepRefreshTokens()
		logIn(t, b, path)
		<-time.After(time.Hour)
		lock, _ := opened(t, path)
		require.NoError(t, lock.Begin())
		require.NoError(t, lock.Unlock())
		_, client := resume(t, b, path)
		require.NoError(t, see(t.Context(), client))
		lock, _ = opened(t, path)
		assert.Zero(t, interrupted(lock))
		require.NoError(t, lock.Unlock())
	})
}

func TestOnlyADefiniteResponseClearsTheMarker(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		fault  flashbacktest.Fault
		marked bool
	}{
		"the response is lost":        {flashbacktest.LoseResponse(flashbacktest.CutResponse), true},
		"a 503":                       {flashbacktest.Respond(503, ""), true},
		"a 429":                       {flashbacktest.Respond(429, ""), false},
		"a gateway's 403":             {flashbacktest.Respond(403, `{"message":"Forbidden"}`), false},
		"no connection":               {flashbacktest.Refuse(), false},
		"the API's own refusal":       {flashbacktest.Respond(401, `{"success":false,"error_code":"INVALID_REFRESH_TOKEN"}`), false},
		"a 401 that is not the API's": {flashbacktest.Respond(401, "<html>"), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b, path := withJane(), newPath(t)
				session, err := flashback.Login(t.Context(), email, flashback.NewSecret(password), b.Options(store(path), flashback.WithMaxRetries(0))...)
				require.NoError(t, err)
				<-time.After(time.Hour)
				b.Script(tt.fault)
				_, err = session.Token(t.Context())
				require.Error(t, err)
				require.NoError(t, session.Close(t.Context()))
				assert.Equal(t, []string{"session.json", "session.json.lock"}, beside(t, path))
				lock, _ := opened(t, path)
				assert.Equal(t, tt.marked, !interrupted(lock).IsZero())
				require.NoError(t, lock.Unlock())
			})
		})
	}
}
