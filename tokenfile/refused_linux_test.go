package tokenfile_test

import (
	"errors"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	flashback "github.com/flashbacknetwork/flashback-go"
	"github.com/flashbacknetwork/flashback-go/flashbacktest"
	"github.com/flashbacknetwork/flashback-go/tokenfile"
)

// These tests change what only root may change.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can mount and change owners")
	}
}

func runOrSkip(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput(); err != nil { //nolint:gosec // The test names it.
		t.Skipf("%s: %v: %s", name, err, out)
	}
}

func mount(t *testing.T, target string, args ...string) {
	t.Helper()
	runOrSkip(t, "mount", append(args, target)...)
	t.Cleanup(func() { assert.NoError(t, syscall.Unmount(target, syscall.MNT_DETACH)) })
}

// fillDisk writes into dir until nothing fits any more, and returns what makes room again.
func fillDisk(t *testing.T, dir string) (free func()) {
	t.Helper()
	path := filepath.Join(dir, "ballast")
	file, err := os.Create(path) //nolint:gosec // It is the test's own.
	require.NoError(t, err)
	for err == nil {
		_, err = file.Write(make([]byte, 4096))
	}
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.NoError(t, file.Close())
	return func() { require.NoError(t, os.Remove(path)) }
}

// What is wrong with the place is found before a token is spent: once it is mended, the session goes on.
func TestAPlaceThatCanNotBeWrittenIsFoundBeforeATokenIsSpent(t *testing.T) {
	t.Parallel()
	needRoot(t)
	for name, tt := range map[string]struct {
		spoil func(t *testing.T, path string) (mend func())
		want  string
		is    error
	}{
		"a full disk": {
			spoil: func(t *testing.T, path string) func() {
				t.Helper()
				return fillDisk(t, filepath.Dir(path))
			},
			want: "no space left on device (making room for new tokens beside", is: syscall.ENOSPC,
		},
		"an immutable directory": {
			spoil: func(t *testing.T, path string) func() {
				t.Helper()
				dir := filepath.Dir(path)
				runOrSkip(t, "chattr", "+i", dir)
				return func() { runOrSkip(t, "chattr", "-i", dir) }
			},
			want: "not permitted (making room for new tokens beside", is: syscall.EPERM,
		},
		"an immutable file": {
			spoil: func(t *testing.T, path string) func() {
				t.Helper()
				runOrSkip(t, "chattr", "+i", path)
				return func() { runOrSkip(t, "chattr", "-i", path) }
			},
			want: "not permitted (writing", is: syscall.EPERM,
		},
		"a file that is mounted by itself": {
			spoil: func(t *testing.T, path string) func() {
				t.Helper()
				runOrSkip(t, "mount", "--bind", path, path)
				return func() { require.NoError(t, syscall.Unmount(path, 0)) }
			},
			want: "mount its directory", is: syscall.EBUSY,
		},
		"a directory that is read-only": {
			spoil: func(t *testing.T, path string) func() {
				t.Helper()
				runOrSkip(t, "mount", "-o", "remount,ro", filepath.Dir(path))
				return func() { runOrSkip(t, "mount", "-o", "remount,rw", filepath.Dir(path)) }
			},
			want: "read-only file system (locking", is: syscall.EROFS,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			options := []string{"-t", "tmpfs", "-o", "size=256k", "tmpfs"}
			if errors.Is(tt.is, syscall.EPERM) {
				options = []string{"--bind", dir} // tmpfs of older kernels knows no immutable files
			}
			mount(t, dir, options...)
			synctest.Test(t, func(t *testing.T) {
				b, path := withJane(), filepath.Join(dir, "session.json")
				session := logIn(t, b, path)
				b.Reset()
				<-time.After(time.Hour)
				mend := tt.spoil(t, path)
				_, err := session.Token(t.Context())
				_, loginErr := flashback.Login(t.Context(), email, flashback.NewSecret(password), b.Options(store(path))...)
				logoutErr := session.Logout(t.Context())
				mend()
				for _, err := range []error{err, loginErr, logoutErr} {
					require.Error(t, err)
					require.ErrorContains(t, err, tt.want)
					require.ErrorIs(t, err, tt.is)
					require.NotErrorIs(t, err, flashback.ErrUnauthorized)
					require.NotErrorIs(t, err, flashback.ErrOutcomeUnknown)
				}
				assert.Empty(t, b.Requests())
				assert.Equal(t, []string{"session.json", "session.json.lock"}, beside(t, path))

				<-time.After(time.Minute)
				_, err = session.Token(t.Context())
				require.NoError(t, err)
				assert.Equal(t, 1, refreshes(b))
			})
		})
	}
}

func TestTokensFitIntoTheRoomOnADiskThatGetsFullMeanwhile(t *testing.T) {
	t.Parallel()
	needRoot(t)
	dir := t.TempDir()
	mount(t, dir, "-t", "tmpfs", "-o", "size=256k", "tmpfs")
	synctest.Test(t, func(t *testing.T) {
		b, path := withJane(), filepath.Join(dir, "session.json")
		session := logIn(t, b, path)
		<-time.After(time.Hour)
		b.Decide(func(r *http.Request) flashbacktest.Fault {
			if r.URL.Path == "/user/refresh" {
				fillDisk(t, dir)
			}
			return flashbacktest.None()
		})
		_, err := session.Token(t.Context())
		require.NoError(t, err)
		assert.Equal(t, 1, refreshes(b))
		resumed, err := flashback.Resume(t.Context(), flashback.Tokens{}, b.Options(store(path))...)
		require.NoError(t, err)
		assert.Equal(t, session.Tokens().Refresh, resumed.Tokens().Refresh)
	})
}

func TestAFileOfAnotherUserIsRefusedBeforeAnythingIsSent(t *testing.T) {
	t.Parallel()
	needRoot(t)
	for _, name := range []string{"", ".new"} {
		b, path := withJane(), newPath(t)
		logIn(t, b, path)
		if name != "" {
			require.NoError(t, os.WriteFile(path+name, []byte(contents(t, path)), 0o600))
		}
		require.NoError(t, os.Chown(path+name, 65534, 65534))
		b.Reset()
		_, err := flashback.Resume(t.Context(), flashback.Tokens{}, b.Options(store(path))...)
		require.ErrorIs(t, err, tokenfile.ErrForeign)
		require.NotErrorIs(t, err, flashback.ErrNoTokens)
		_, err = flashback.Login(t.Context(), email, flashback.NewSecret(password), b.Options(store(path))...)
		require.ErrorIs(t, err, tokenfile.ErrForeign)
		assert.Empty(t, b.Requests())
	}
}

// A process is killed before the journal takes the place of the file, and then the file or its directory
// can't be changed any more: the tokens of the journal are used, and not lost.
func TestTokensOfAJournalThatCanNotTakeItsPlaceAreUsed(t *testing.T) {
	t.Parallel()
	needRoot(t)
	for _, fixed := range []string{"file", "directory"} {
		path := newPath(t)
		target := path
		if fixed == "directory" {
			target = filepath.Dir(path)
		}
		journal := journalOf(t, tokens("1"), tokens("2"))
		keep(t, path, tokens("1"))
		require.NoError(t, os.WriteFile(path+".new", []byte(journal), 0o600))
		runOrSkip(t, "chattr", "+i", target)
		lock, kept := opened(t, path)
		beginErr, saveErr := lock.Begin(), lock.Save(tokens("3"))
		unlockErr := lock.Unlock()
		runOrSkip(t, "chattr", "-i", target)
		assert.Equal(t, tokens("2"), kept)
		require.ErrorIs(t, beginErr, fs.ErrPermission)
		require.ErrorIs(t, saveErr, fs.ErrPermission)
		require.NoError(t, unlockErr)
		assert.FileExists(t, path+".new", "the only copy")
		_, kept = opened(t, path)
		assert.Equal(t, tokens("2"), kept)
	}
}
