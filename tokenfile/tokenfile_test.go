package tokenfile_test

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	flashback "github.com/flashbacknetwork/flashback-go"
	"github.com/flashbacknetwork/flashback-go/flashbacktest"
	"github.com/flashbacknetwork/flashback-go/tokenfile"
)

const (
	email    = "jane@example.com"
	password = "Passw0rd-of-jane"
)

func addJane(b *flashbacktest.Backend) {
	b.SetTokenLifetime(time.Hour)
	b.AddUser(flashbacktest.User{ID: "jane", Email: email, Password: password, Role: flashback.RoleOwner})
}

func withJane() *flashbacktest.Backend {
	b := flashbacktest.NewBackend()
	addJane(b)
	return b
}

// newPath is the path of a file that does not exist.
func newPath(t *testing.T) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "session.json")
}

func store(path string) flashback.Option { return flashback.WithTokenStore(tokenfile.New(path)) }

func logIn(t *testing.T, b *flashbacktest.Backend, path string) *flashback.Session {
	t.Helper()
	session, err := flashback.Login(t.Context(), email, flashback.NewSecret(password), b.Options(store(path))...)
	require.NoError(t, err)
	return session
}

func resume(t *testing.T, b *flashbacktest.Backend, path string) (*flashback.Session, *flashback.Client) {
	t.Helper()
	session, err := flashback.Resume(t.Context(), flashback.Tokens{}, b.Options(store(path))...)
	require.NoError(t, err)
	return session, clientOf(t, session)
}

func clientOf(t *testing.T, session *flashback.Session) *flashback.Client {
	t.Helper()
	client, err := session.Client()
	require.NoError(t, err)
	return client
}

// update changes the tokens in a file as a session does.
func update(ctx context.Context, file *tokenfile.File, f func(kept flashback.Tokens) (flashback.Tokens, error)) (err error) {
	lock, err := file.Lock(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	kept, err := lock.Load()
	if err != nil {
		return err
	}
	if err := lock.Begin(); err != nil {
		return err
	}
	next, err := f(kept)
	if err != nil {
		return errors.Join(err, lock.Save(kept))
	}
	return lock.Save(next)
}

func see(ctx context.Context, c *flashback.Client) error {
	_, err := c.Organization.Users.Get(ctx, "jane")
	return err
}

func refreshes(b *flashbacktest.Backend) int {
	n := 0
	for _, r := range b.Requests() {
		if r.Path == "/user/refresh" {
			n++
		}
	}
	return n
}

func TestASessionIsResumedFromItsFile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, path := withJane(), newPath(t)
		first := logIn(t, b, path)
		info, err := os.Stat(path)
		require.NoError(t, err)
		if runtime.GOOS != "windows" {
			assert.Equal(t, fs.FileMode(0o600), info.Mode())
		}
		second, client := resume(t, b, path)
		assert.Equal(t, first.Tokens().Refresh, second.Tokens().Refresh)
		assert.WithinDuration(t, first.Tokens().ExpiresAt, second.Tokens().ExpiresAt, 0)
		assert.Equal(t, first.Tokens().BaseURL, second.Tokens().BaseURL)
		assert.Equal(t, first.Tokens().ID, second.Tokens().ID)
		require.NoError(t, see(t.Context(), client))
		assert.Zero(t, refreshes(b))

		require.NoError(t, second.Logout(t.Context()))
		_, err = os.Stat(path)
		require.ErrorIs(t, err, fs.ErrNotExist)
		_, err = flashback.Resume(t.Context(), flashback.Tokens{}, b.Options(store(path))...)
		require.ErrorIs(t, err, flashback.ErrNoTokens)
	})
}

func TestSessionsThatShareAFileShareTheirRenewals(t *testing.T) {
	t.Parallel()
	for name, wait := range map[string]time.Duration{"ahead of the end": 56 * time.Minute, "at the end": time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b, path := withJane(), newPath(t)
				logIn(t, b, path)
				var clients []*flashback.Client
				for range 8 {
					_, client := resume(t, b, path)
					clients = append(clients, client)
				}
				for i := range 3 {
					<-time.After(wait)
					var group sync.WaitGroup
					for _, client := range clients {
						group.Go(func() { assert.NoError(t, see(t.Context(), client)) })
					}
					group.Wait()
					assert.Equal(t, i+1, refreshes(b), "each ends the refresh token that it was made with")
				}
			})
		})
	}
	t.Run("the control: without the file", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			b := withJane()
			tokens := logIn(t, b, newPath(t)).Tokens()
			<-time.After(time.Hour)
			lost := 0
			for range 8 {
				session, err := flashback.Resume(t.Context(), tokens, b.Options()...)
				require.NoError(t, err)
				if _, err := session.Token(t.Context()); errors.Is(err, flashback.ErrSessionLost) {
					lost++
				}
			}
			assert.Equal(t, 7, lost)
		})
	})
}

func TestALostSessionGoesOnWhenAnotherProcessLogsIn(t *testing.T) {
	t.Parallel()
	b, path := withJane(), newPath(t)
	session := logIn(t, b, path)
	_, client := resume(t, b, path)
	b.RevokeToken(session.Tokens().Access.Reveal())
	b.RevokeToken(session.Tokens().Refresh.Reveal())
	for range 3 {
		require.ErrorIs(t, see(t.Context(), client), flashback.ErrSessionLost)
	}
	assert.Equal(t, 1, refreshes(b))
	logIn(t, b, path)
	require.NoError(t, see(t.Context(), client))
	assert.Equal(t, 1, refreshes(b))
}

func TestAFileThatCanNotBeTrustedIsRefusedBeforeAnythingIsSent(t *testing.T) {
	t.Parallel()
	good := `{"baseURL":"https://backend.flashback.test","accessToken":"s3cr3t-access","refreshToken":"s3cr3t-refresh"}`
	for name, tt := range map[string]struct {
		content string
		mode    fs.FileMode
		want    string
	}{
		"others can read it":  {good, 0o604, "others can read"},
		"its group can":       {good, 0o640, "others can read"},
		"others can write it": {good, 0o602, "others can read"},
		"another backend's":   {strings.Replace(good, "backend.", "other.", 1), 0o600, "can't be used; remove"},
		"no backend's":        {strings.Replace(good, "baseURL", "base", 1), 0o600, "no tokens in it"},
		"empty":               {"", 0o600, "no tokens in it"},
		"half":                {good[:len(good)-9], 0o600, "no tokens in it"},
		"something else":      {"s3cr3t-access", 0o600, "no tokens in it"},
		"no tokens":           {`{"baseURL":"https://backend.flashback.test"}`, 0o600, "no tokens in it"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if runtime.GOOS == "windows" && tt.mode != 0o600 {
				t.Skip("Windows has no such modes")
			}
			b, path := withJane(), newPath(t)
			require.NoError(t, os.WriteFile(path, []byte(tt.content), 0o600))
			require.NoError(t, os.Chmod(path, tt.mode))
			_, loginErr := flashback.Login(t.Context(), email, flashback.NewSecret(password), b.Options(store(path))...)
			_, resumeErr := flashback.Resume(t.Context(), flashback.Tokens{}, b.Options(store(path))...)
			for _, err := range []error{loginErr, resumeErr} {
				require.ErrorContains(t, err, tt.want)
				var e *flashback.Error
				require.ErrorAs(t, err, &e)
				assert.NotContains(t, fmt.Sprintf("%v %+v %#v", err, *e, *e), "s3cr3t")
				assert.Equal(t, tt.mode != 0o600, errors.Is(err, tokenfile.ErrReadable))
			}
			assert.Empty(t, b.Requests())
			left, err := os.ReadFile(path) //nolint:gosec // It is the test's own.
			require.NoError(t, err)
			assert.Equal(t, tt.content, string(left))
		})
	}
}

// requireRefused requires that a login with the file is refused before anything is sent,
// and that nothing is left in dir but what was there.
func requireRefused(t *testing.T, path, dir, want string) {
	t.Helper()
	before, err := os.ReadDir(dir)
	require.NoError(t, err)
	b := withJane()
	_, err = flashback.Login(t.Context(), email, flashback.NewSecret(password), b.Options(store(path))...)
	require.ErrorContains(t, err, want)
	assert.Empty(t, b.Requests())
	after, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Len(t, after, len(before))
}

func TestAPathThatCanNotBeAFilesIsRefusedBeforeAnythingIsSent(t *testing.T) {
	t.Parallel()
	dir, slash := t.TempDir(), string(filepath.Separator)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
	for name, tt := range map[string]struct{ path, in, want string }{
		"empty":                       {"", ".", `the path "" is empty`},
		"this directory":              {".", ".", "no regular file"},
		"the parent":                  {"..", ".", "no regular file"},
		"a directory":                 {dir, filepath.Dir(dir), "no regular file"},
		"a directory with a slash":    {dir + slash, dir, "that of a directory"},
		"none with a slash":           {filepath.Join(dir, "none") + slash, dir, "that of a directory"},
		"a file with a slash":         {filepath.Join(dir, "file") + slash, dir, "that of a directory"},
		"in a directory that is none": {filepath.Join(dir, "none", "file"), dir, "none"},
		"in a file":                   {filepath.Join(dir, "file", "file"), dir, "file"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			requireRefused(t, tt.path, tt.in, tt.want)
		})
	}
}

func link(t *testing.T, target, path string) {
	t.Helper()
	if err := os.Symlink(target, path); err != nil {
		t.Skip(err) // Windows asks for a privilege
	}
}

func TestALinkAndTheFileThatItNamesAreOneFile(t *testing.T) {
	t.Parallel()
	for name, links := range map[string][][2]string{ // the last one is used
		"relative":                      {{filepath.Join("real", "session.json"), "link"}},
		"absolute":                      {{"", "link"}},
		"a link to a link":              {{"", "first"}, {"first", "link"}},
		"out of a directory's link":     {{filepath.Join("real", "sub"), "linked"}, {filepath.Join("..", "session.json"), filepath.Join("linked", "link")}},
		"in the same directory, linked": {{"real", "linked"}, {"session.json", filepath.Join("linked", "link")}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b, dir := withJane(), t.TempDir()
				file, path := filepath.Join(dir, "real", "session.json"), ""
				require.NoError(t, os.MkdirAll(filepath.Join(dir, "real", "sub"), 0o700))
				for _, one := range links {
					path = filepath.Join(dir, one[1])
					if one[0] == "" {
						one[0] = file
					}
					link(t, one[0], path)
				}
				session := logIn(t, b, path) // the file does not exist yet
				_, client := resume(t, b, file)
				require.NoError(t, update(t.Context(), tokenfile.New(file), func(kept flashback.Tokens) (flashback.Tokens, error) {
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					defer cancel()
					err := update(ctx, tokenfile.New(path), func(kept flashback.Tokens) (flashback.Tokens, error) { return kept, nil })
					require.ErrorContains(t, err, "another process has the lock", "the lock is one")
					return kept, nil
				}))
				<-time.After(time.Hour)
				_, err := session.Token(t.Context())
				require.NoError(t, err)
				require.NoError(t, see(t.Context(), client))
				assert.Equal(t, 1, refreshes(b))
				require.NoError(t, session.Logout(t.Context()))
				assert.NoFileExists(t, file)
				logIn(t, b, path)
				assert.FileExists(t, file)
				info, err := os.Lstat(path)
				require.NoError(t, err)
				assert.Equal(t, fs.ModeSymlink, info.Mode().Type(), "it is still a link")
			})
		})
	}
}

func TestALinkThatLeadsNowhereIsRefusedBeforeAnythingIsSent(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for path, tt := range map[string]struct{ target, want string }{
		"one":       {"two", "symbolic links"},
		"two":       {"one", "symbolic links"},
		"itself":    {"itself", "symbolic links"},
		"nowhere":   {filepath.Join("none", "file"), "none"},
		"directory": {".", "no regular file"},
		"slash":     {"none" + string(filepath.Separator), "that of a directory"},
	} {
		link(t, tt.target, filepath.Join(dir, path))
		t.Run(path, func(t *testing.T) { // once all are there
			t.Parallel()
			requireRefused(t, filepath.Join(dir, path), dir, tt.want)
		})
	}
}

func TestAFailedChangeLeavesTheFileAsItIs(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	file := tokenfile.New(path)
	tokens := flashback.Tokens{Access: flashback.NewSecret("a"), BaseURL: "https://a.test"}
	keep := func(next flashback.Tokens, err error) error {
		return update(t.Context(), file, func(flashback.Tokens) (flashback.Tokens, error) { return next, err })
	}
	require.NoError(t, keep(tokens, nil))
	before, err := os.Stat(path)
	require.NoError(t, err)
	failure := errors.New("no")
	require.ErrorIs(t, keep(flashback.Tokens{}, failure), failure)
	require.NoError(t, update(t.Context(), file, func(kept flashback.Tokens) (flashback.Tokens, error) {
		assert.Equal(t, tokens, kept)
		return kept, nil
	}))
	after, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, before.Mode(), after.Mode())
	require.NoError(t, os.WriteFile(path+".new", []byte("what a crash has left"), 0o600))
	tokens.Refresh = flashback.NewSecret("r")
	require.NoError(t, keep(tokens, nil))
	entries, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	assert.Len(t, entries, 2, "the file and its lock")
	replaced, err := os.Stat(path)
	require.NoError(t, err)
	if runtime.GOOS != "windows" {
		assert.Equal(t, fs.FileMode(0o600), replaced.Mode())
	}
}

func TestChangesComeOneAfterTheOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		path := newPath(t)
		var group sync.WaitGroup
		for range 20 {
			group.Go(func() {
				assert.NoError(t, update(t.Context(), tokenfile.New(path), func(kept flashback.Tokens) (flashback.Tokens, error) {
					<-time.After(time.Second)
					return flashback.Tokens{Access: flashback.NewSecret(kept.Access.Reveal() + "x"), BaseURL: "https://a.test"}, nil
				}))
			})
		}
		group.Wait()
		assert.NoError(t, update(t.Context(), tokenfile.New(path), func(kept flashback.Tokens) (flashback.Tokens, error) {
			assert.Equal(t, strings.Repeat("x", 20), kept.Access.Reveal())
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			err := update(ctx, tokenfile.New(path), func(kept flashback.Tokens) (flashback.Tokens, error) { return kept, nil })
			assert.ErrorIs(t, err, context.DeadlineExceeded)
			assert.ErrorContains(t, err, "another process has the lock")
			return kept, nil
		}))
	})
}

// childPath and childURL tell a child process of this test what to do.
const childPath, childURL = "TOKENFILE_TEST_PATH", "TOKENFILE_TEST_URL"

func TestMain(m *testing.M) {
	if path := os.Getenv(childPath); path != "" {
		child(path, os.Getenv(childURL))
		return
	}
	os.Exit(m.Run())
}

// child makes calls until it is killed, each of which needs a renewal.
func child(path, url string) {
	ctx := context.Background()
	session, err := flashback.Resume(ctx, flashback.Tokens{}, flashback.WithBaseURL(url), store(path))
	if err != nil {
		panic(err)
	}
	client, err := session.Client()
	if err != nil {
		panic(err)
	}
	for {
		if err := see(ctx, client); err != nil {
			panic(err)
		}
		_, _ = os.Stdout.WriteString("a call\n")
	}
}

// refuseEveryOther refuses every other call, so that it is renewed.
func refuseEveryOther() func(*http.Request) flashbacktest.Fault {
	refuse := false
	return func(r *http.Request) flashbacktest.Fault {
		if !strings.HasPrefix(r.URL.Path, "/organization/") {
			return flashbacktest.None()
		}
		if refuse = !refuse; refuse {
			return flashbacktest.Respond(http.StatusUnauthorized, "")
		}
		return flashbacktest.None()
	}
}

// kills is how many processes each of three series kills.
var kills = flag.Int("kills", 10, "how many processes are killed while they renew, in each of three series")

func TestAProcessThatIsKilledLosesNoTokensThatAreOnTheDisk(t *testing.T) {
	t.Parallel()
	for _, series := range []string{"first", "second", "third"} {
		t.Run("a refresh ends the old token/"+series, func(t *testing.T) {
			t.Parallel()
			killAtRandom(t, flashbacktest.New(t), false)
		})
	}
	t.Run("it does not: then the session always works", func(t *testing.T) {
		t.Parallel()
		server := flashbacktest.New(t)
		server.KeepRefreshTokens()
		killAtRandom(t, server, true)
	})
}

// killAtRandom kills processes at random moments of renewals, and counts how many sessions were lost, and how
// many of these had tokens on the disk that the server takes.
func killAtRandom(t *testing.T, server *flashbacktest.Server, keeps bool) {
	t.Helper()
	path := newPath(t)
	addJane(server.Backend)
	_, err := flashback.Login(t.Context(), email, flashback.NewSecret(password), server.Options(store(path))...)
	require.NoError(t, err)
	lost, hadGood, renewals, adopted := 0, 0, 0, 0
	for range *kills {
		server.Decide(refuseEveryOther())
		killOne(t, server.URL, path)
		renewals += refreshes(server.Backend)
		server.Reset()
		left := ""
		for _, name := range beside(t, path) {
			text := contents(t, filepath.Join(filepath.Dir(path), name))
			if left += text; strings.HasSuffix(name, ".new") && strings.Contains(text, "refreshToken") {
				adopted++
			}
		}

		session, err := flashback.Resume(t.Context(), flashback.Tokens{}, server.Options(store(path))...)
		require.NoError(t, err, "the file is whole")
		server.RevokeToken(session.Tokens().Access.Reveal())
		server.Reset()
		if err = see(t.Context(), clientOf(t, session)); err == nil {
			continue
		}
		require.ErrorIs(t, err, flashback.ErrSessionLost)
		_, err = session.Token(t.Context())
		require.ErrorContains(t, err, "interrupted at")
		lost++
		if takesOne(t, server, left) {
			hadGood++
		}
		_, err = flashback.Login(t.Context(), email, flashback.NewSecret(password), server.Options(store(path))...)
		require.NoError(t, err)
		server.Reset()
	}
	t.Logf("killed %d processes during %d renewals: %d left a journal, %d sessions were lost, %d of these had good tokens on the disk",
		*kills, renewals, adopted, lost, hadGood)
	assert.Greater(t, renewals, *kills)
	assert.Zero(t, hadGood)
	if keeps {
		assert.Zero(t, lost)
	}
}

// takesOne tells whether the server takes any refresh token that stands in a text.
func takesOne(t *testing.T, server *flashbacktest.Server, text string) bool {
	t.Helper()
	for _, token := range regexp.MustCompile(`"refreshToken": "([^"]+)"`).FindAllStringSubmatch(text, -1) {
		tokens := flashback.Tokens{Refresh: flashback.NewSecret(token[1])}
		session, err := flashback.Resume(t.Context(), tokens, server.Options()...)
		require.NoError(t, err)
		if _, err := session.Token(t.Context()); err == nil {
			return true
		}
	}
	return false
}

// killOne kills a process at a random moment of its calls, each of which needs a renewal.
func killOne(t *testing.T, url, path string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0]) //nolint:gosec // It is this test.
	cmd.Env = append(os.Environ(), childPath+"="+path, childURL+"="+url)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	_, err = bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	<-time.After(rand.N(50 * time.Millisecond)) // at random, as the process is real
	require.NoError(t, cmd.Process.Kill())      // SIGKILL
	_ = cmd.Wait()
}
