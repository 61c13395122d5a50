package main

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	flashback "github.com/flashbacknetwork/flashback-go"
	"github.com/flashbacknetwork/flashback-go/flashbacktest"
	"github.com/flashbacknetwork/flashback-go/tokenfile"
)

// fixture runs the command against a backend and a store of its own.
type fixture struct {
	t       *testing.T
	backend *flashbacktest.Server
	store   string
	env     map[string]string
	stdin   string
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	backend := flashbacktest.New(t)
	return &fixture{t: t, backend: backend, store: filepath.Join(t.TempDir(), "a store?#%.db"), env: map[string]string{
		"FLASHBACK_ACCESS_TOKEN": backend.Token(), "FLASHBACK_BASE_URL": backend.URL,
	}}
}

// TestMain is the command itself, in less time, where a test starts it as a process.
func TestMain(m *testing.M) {
	switch os.Getenv("BULK_TEST_PROCESS") {
	case "quick":
		maxAttempts, jobTimeout, rescueAfter = 2, 2*time.Second, 3*time.Second
		main()
	case "real":
		main()
	}
	os.Exit(m.Run())
}

const activated, alreadyActive verdict = "activated", "already active"

// withCommand is for the tests of activate, which give no command.
func withCommand(args []string) []string {
	switch {
	case len(args) == 0:
		return []string{"resume"}
	case strings.HasPrefix(args[0], "-"):
		return append([]string{"activate"}, args...)
	}
	return args
}

// process is the command in a process of its own.
func (f *fixture) process(how string, args ...string) (process *exec.Cmd, stdout, stderr *bytes.Buffer) {
	f.t.Helper()
	process, stdout, stderr = f.command(how, args...)
	require.NoError(f.t, process.Start())
	return process, stdout, stderr
}

// command is the same, not yet started.
func (f *fixture) command(how string, args ...string) (process *exec.Cmd, stdout, stderr *bytes.Buffer) {
	f.t.Helper()
	stdout, stderr = &bytes.Buffer{}, &bytes.Buffer{}
	process = exec.CommandContext(f.t.Context(), os.Args[0], append(withCommand(args), "--store", f.store)...) //nolint:gosec // This test.
	process.Env = append(os.Environ(), "BULK_TEST_PROCESS="+how)
	for key, value := range f.env {
		process.Env = append(process.Env, key+"="+value)
	}
	process.Stdout, process.Stderr = stdout, stderr
	return process, stdout, stderr
}

// addUsers adds deleted users to the backend, and returns a file with their IDs.
func (f *fixture) addUsers(n int) (ids string) {
	f.t.Helper()
	var lines strings.Builder
	for i := range n {
		id := fmt.Sprintf("user-%04d", i)
		f.backend.AddDeletedUser(id)
		lines.WriteString(id + "\n")
	}
	ids = filepath.Join(f.t.TempDir(), "ids")
	require.NoError(f.t, os.WriteFile(ids, []byte(lines.String()), 0o600))
	return ids
}

// settledOnce requires that each user was activated once, and that the store says so.
func (f *fixture) settledOnce(users int) {
	f.t.Helper()
	assert.Empty(f.t, f.unsettled(users))
}

// unsettled is what is wrong with that.
func (f *fixture) unsettled(users int) (wrong []string) {
	f.t.Helper()
	counts := map[verdict]int{}
	for _, v := range f.verdicts() {
		counts[v]++
	}
	applied := map[string]int{}
	for _, request := range f.backend.Requests() {
		if request.Method == http.MethodPost && request.Applied {
			applied[request.Path]++
		}
	}
	f.t.Logf("%v, %d calls", counts, f.activations())
	if counts[activated]+counts[recovered] != users || len(applied) != users {
		wrong = append(wrong, fmt.Sprintf("%v, and %d were activated", counts, len(applied)))
	}
	for path, times := range applied {
		if times > 1 {
			wrong = append(wrong, fmt.Sprintf("%s %d times", path, times))
		}
	}
	return wrong
}

func TestControlsOfWhatIsSettledOnce(t *testing.T) {
	t.Parallel()
	for name, after := range map[string]func(f *fixture){
		"activated by someone else before": func(f *fixture) { f.backend.AddUser(flashbacktest.User{ID: "user-0000"}) },
		"activated again": func(f *fixture) {
			_, err := f.backend.Client().Organization.Users.Activate(t.Context(), "user-0000")
			require.NoError(t, err)
			f.backend.AddDeletedUser("user-0000")
		},
		"missing": func(f *fixture) {
			f.backend.Decide(func(*http.Request) flashbacktest.Fault { return flashbacktest.Respond(404, "") })
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			ids := f.addUsers(2)
			after(f)
			_, _, _, _ = f.run(t.Context(), "--ids", ids)
			assert.NotEmpty(t, f.unsettled(2))
		})
	}
}

// postgres is a store in a schema of its own. The test is skipped without a database.
func postgres(t *testing.T) string {
	t.Helper()
	database := os.Getenv("BULK_TEST_POSTGRES")
	if database == "" {
		t.Skip("BULK_TEST_POSTGRES names no database, such as postgres://localhost/test")
	}
	u, err := url.Parse(database)
	require.NoError(t, err)
	schema := fmt.Sprintf("test_%d", time.Now().UnixNano())
	db, err := sql.Open("pgx", database)
	require.NoError(t, err)
	_, err = db.ExecContext(t.Context(), "CREATE SCHEMA "+schema)
	require.NoError(t, errors.Join(err, db.Close()))
	query := u.Query()
	query.Set("search_path", schema)
	u.RawQuery = query.Encode()
	return u.String()
}

// onEachStore runs a test with SQLite and with PostgreSQL.
func onEachStore(t *testing.T, test func(t *testing.T, f *fixture)) {
	t.Helper()
	t.Run("SQLite", func(t *testing.T) {
		t.Parallel()
		test(t, newFixture(t))
	})
	t.Run("PostgreSQL", func(t *testing.T) {
		t.Parallel()
		store := postgres(t)
		f := newFixture(t)
		f.store = store
		test(t, f)
	})
}

func (f *fixture) run(ctx context.Context, args ...string) (status int, stdout, stderr string, err error) {
	f.t.Helper()
	var out, errs bytes.Buffer
	if args = withCommand(args); !slices.Contains(args, "--store") {
		args = append(args, "--store", f.store)
	}
	status, err = command(ctx, args, func(key string) string { return f.env[key] }, strings.NewReader(f.stdin), &out, &errs)
	return status, out.String(), errs.String(), err
}

// exported is each user's line of an export.
func (f *fixture) exported() map[string][]string {
	f.t.Helper()
	status, stdout, _, err := f.run(f.t.Context(), "export")
	require.NoError(f.t, err)
	assert.Equal(f.t, allDone, status)
	lines, err := csv.NewReader(strings.NewReader(stdout)).ReadAll()
	require.NoError(f.t, err)
	assert.Equal(f.t, []string{"backend", "task", "operation", "id", "verdict", "attempts", "finished", "error", "created", "former"}, lines[0])
	users := map[string][]string{}
	for _, line := range lines[1:] {
		users[line[3]] = line
	}
	assert.Len(f.t, users, len(lines)-1, "no user is there twice")
	return users
}

func (f *fixture) verdicts() map[string]verdict {
	f.t.Helper()
	verdicts := map[string]verdict{}
	for id, line := range f.exported() {
		verdicts[id] = verdict(line[4])
	}
	return verdicts
}

// activations counts the calls that the backend has seen.
func (f *fixture) activations() (n int) {
	for _, request := range f.backend.Requests() {
		if request.Method == http.MethodPost {
			n++
		}
	}
	return n
}

func TestEachUserGetsAVerdict(t *testing.T) {
	t.Parallel()
	onEachStore(t, func(t *testing.T, f *fixture) {
		t.Helper()
		for _, id := range []string{"deleted", "lost", "busy", "a/b", "bad"} {
			f.backend.AddDeletedUser(id)
		}
		f.backend.AddUser(flashbacktest.User{ID: "active"})
		f.backend.AddUser(flashbacktest.User{ID: "elsewhere", OrgID: "org-2"})
		f.backend.ScriptFor("lost", flashbacktest.LoseResponse(flashbacktest.CutResponse))
		f.backend.ScriptFor("busy", flashbacktest.RateLimited(time.Second))
		f.backend.ScriptFor("bad", flashbacktest.Respond(400, `{"success":false,"message":"No"}`))
		f.stdin = "\ufeffdeleted\r\n\n# a comment\n lost \nbusy\na/b\nbad\nactive\nelsewhere\nnobody\n..\ndeleted\n"
		status, stdout, _, err := f.run(t.Context(), "--ids", "-")
		require.NoError(t, err)
		assert.Equal(t, someRefused, status)
		want := map[string]verdict{
			"deleted": activated, "lost": recovered, "busy": activated, "a/b": activated, "active": alreadyActive,
			"elsewhere": forbidden, "nobody": notFound, "..": invalid, "bad": refused,
		}
		assert.Equal(t, want, f.verdicts())
		assert.Contains(t, stdout, "      3  activated        such as a/b\n")
		assert.Contains(t, stdout, "      1  not found        such as flashback: organization.users.activate \"nobody\": not found: User not found")
		assert.Contains(t, stdout, "      9  users\n")
		line := f.exported()["elsewhere"]
		assert.Equal(t, []string{f.backend.URL, "activate", "activate", "elsewhere", "forbidden", "1"}, line[:6])
		assert.Contains(t, line[7], "Insufficient permissions")
		_, stdout, _, err = f.run(t.Context(), "export", "--json")
		require.NoError(t, err)
		assert.Equal(t, 9, strings.Count(stdout, "\n"))
		assert.Contains(t, stdout, `"error":"","finished":"20`)
		assert.Contains(t, stdout, `"id":"a/b","operation":"activate","task":"activate","verdict":"activated"}`+"\n")

		f.backend.Reset()
		f.backend.AddUser(flashbacktest.User{ID: "elsewhere"})
		status, _, _, err = f.run(t.Context())
		require.NoError(t, err)
		assert.Equal(t, someRefused, status)
		assert.Equal(t, 1, f.activations(), "who is settled is not asked again")
		want["elsewhere"] = alreadyActive
		assert.Equal(t, want, f.verdicts())

		f.stdin = "deleted\nlate\n"
		f.backend.AddDeletedUser("late")
		status, stdout, _, err = f.run(t.Context(), "--ids", "-", "--dry-run")
		require.NoError(t, err)
		assert.Equal(t, allDone, status)
		assert.Equal(t, "late\n", stdout)
	})
}

func TestAStoreIsForOneBackendAndATaskHasItsOwnUsers(t *testing.T) {
	t.Parallel()
	onEachStore(t, func(t *testing.T, f *fixture) {
		t.Helper()
		f.backend.AddDeletedUser("user-1")
		f.stdin = "user-1\n"
		for _, task := range []string{"activate", "again"} {
			status, stdout, _, err := f.run(t.Context(), "--ids", "-", "--task", task)
			require.NoError(t, err)
			assert.Equal(t, allDone, status)
			assert.Contains(t, stdout, "      1  users\n")
		}
		assert.Equal(t, 2, f.activations())
		_, _, _, err := f.run(t.Context(), "resume", "--task", "another")
		require.ErrorContains(t, err, `has no users for the task "another"`)

		other := flashbacktest.New(t)
		f.env["FLASHBACK_BASE_URL"] = other.URL + "/"
		status, _, _, err := f.run(t.Context(), "--ids", "-")
		require.ErrorContains(t, err, "has users of "+f.backend.URL+"; give another --store for those of "+other.URL)
		assert.Equal(t, couldNot, status)
		assert.Empty(t, other.Requests())
	})
}

func TestTooManyUsersAreRefused(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.stdin = "a\nb\nc\nb\n"
	status, _, _, err := f.run(t.Context(), "--ids", "-", "--most", "2")
	require.ErrorContains(t, err, "there are 3 users, and --most is 2")
	assert.Equal(t, couldNot, status)
	assert.NoFileExists(t, f.store)
	status, _, _, err = f.run(t.Context(), "--ids", "-", "--most", "3")
	require.NoError(t, err)
	assert.Equal(t, someRefused, status)
}

func TestIDsThatCannotBeReadAreRefused(t *testing.T) {
	t.Parallel()
	for stdin, says := range map[string]string{
		"a\ncaf\xe9": "line 2, is not UTF-8", "\xff\xfea\x00": "line 1, is not UTF-8", "a\n" + strings.Repeat("x", 1e6): "line 2, is longer than 64 KiB",
	} {
		f := newFixture(t)
		f.stdin = stdin
		status, _, _, err := f.run(t.Context(), "--ids", "-")
		require.ErrorContains(t, err, says)
		assert.Equal(t, couldNot, status)
		assert.NoFileExists(t, f.store)
	}
}

func TestAllWhoWereDeletedSince(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for id, at := range map[string]time.Time{"old": time.Now().Add(-60 * time.Hour), "new": time.Now().Add(-time.Hour)} {
		f.backend.AddUser(flashbacktest.User{ID: id, DeletedAt: &at})
	}
	for _, since := range []string{"48h", time.Now().Add(-30 * time.Hour).Format(time.DateOnly), time.Now().Add(-2 * time.Hour).Format(time.RFC3339)} {
		status, stdout, _, err := f.run(t.Context(), "--deleted-since", since, "--dry-run")
		require.NoError(t, err)
		assert.Equal(t, allDone, status)
		assert.Equal(t, "new\n", stdout)
	}
	assert.NoFileExists(t, f.store, "a dry run leaves nothing")
	for _, request := range f.backend.Requests() {
		assert.Equal(t, "GET", request.Method)
	}
	status, _, _, err := f.run(t.Context(), "--deleted-since", "48h")
	require.NoError(t, err)
	assert.Equal(t, allDone, status)
	assert.Equal(t, map[string]verdict{"new": activated}, f.verdicts())
	if runtime.GOOS != "windows" {
		info, err := os.Stat(f.store)
		require.NoError(t, err)
		assert.Equal(t, os.FileMode(0o600), info.Mode())
	}
}

func TestAListThatIsNotWholeIsRefused(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.backend.Script(flashbacktest.Respond(200, `{"success":true,"data":[{"id":"a","deletedAt":"2026-01-01T00:00:00.000Z"}],"total":2}`))
	status, _, _, err := f.run(t.Context(), "--deleted-since", "1000000h")
	require.ErrorContains(t, err, "1 of 2 users")
	assert.Equal(t, couldNot, status)
}

func TestACtrlCFinishesWhatIsBegun(t *testing.T) {
	t.Parallel()
	onEachStore(t, func(t *testing.T, f *fixture) {
		t.Helper()
		ctx, stop := context.WithCancel(t.Context())
		for i := range 200 {
			f.backend.AddDeletedUser(fmt.Sprint(i))
			f.stdin += fmt.Sprintln(i)
		}
		f.backend.LimitRate(100, 1)
		f.backend.Decide(func(r *http.Request) flashbacktest.Fault {
			if r.Method == http.MethodPost {
				stop()
			}
			return flashbacktest.None()
		})
		status, _, stderr, err := f.run(ctx, "--ids", "-")
		require.NoError(t, err)
		assert.Equal(t, somethingDue, status)
		assert.Contains(t, stderr, "Finishing what is begun.")
		assert.Contains(t, stderr, "To go on: flashback-bulk resume.")
		for id, v := range f.verdicts() {
			user, _ := f.backend.User(id)
			assert.Equal(t, v == activated, !user.Deleted(), "%s: %s", id, v)
		}
		f.backend.LimitRate(0, 0)
		status, _, _, err = f.run(t.Context())
		require.NoError(t, err)
		assert.Equal(t, allDone, status)
	})
}

func TestWhoeverTheRateLimitHoldsBackIsDueAndHasNotFailed(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	ids := f.addUsers(2)
	ctx, stop := context.WithCancel(t.Context())
	f.backend.Decide(func(r *http.Request) flashbacktest.Fault {
		if r.Method != http.MethodPost {
			return flashbacktest.None()
		}
		stop()
		return flashbacktest.RateLimited(time.Hour)
	})
	status, _, _, err := f.run(ctx, "--ids", ids)
	require.NoError(t, err)
	assert.Equal(t, somethingDue, status)
	assert.Equal(t, map[string]verdict{"user-0000": due, "user-0001": due}, f.verdicts())
}

func TestAKilledProcessLosesNothing(t *testing.T) {
	t.Parallel()
	onEachStore(t, func(t *testing.T, f *fixture) {
		t.Helper()
		ids := f.addUsers(300)
		f.backend.Decide(trouble)
		f.backend.LimitRate(100, 10)
		for i := range 3 {
			process, _, stderr := f.process("quick", "--ids", ids)
			require.Eventually(t, func() bool { return f.activations() > 50*i+20 }, 30*time.Second, 10*time.Millisecond, "%s", stderr)
			<-time.After(rand.N(300 * time.Millisecond))
			require.NoError(t, process.Process.Kill())
			require.Error(t, process.Wait())
		}
		for again := 0; ; again++ { // two attempts at a job can both fail, and then the same command is to be run again
			process, stdout, stderr := f.process("quick")
			err := process.Wait()
			if err == nil {
				break
			}
			require.Equal(t, somethingDue, process.ProcessState.ExitCode(), "%s%s", stdout, stderr)
			require.Less(t, again, 5, "%s%s", stdout, stderr)
		}
		f.settledOnce(300)
	})
}

// proxy passes TCP connections on, until it is closed.
func proxy(t *testing.T, address, to string) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	require.NoError(t, err)
	go func() {
		var connections []net.Conn
		for {
			in, err := listener.Accept()
			if err != nil {
				break
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				_ = in.Close()
				continue
			}
			connections = append(connections, in, out)
			go func() { _, _ = io.Copy(in, out) }()
			go func() { _, _ = io.Copy(out, in) }()
		}
		for _, connection := range connections {
			_ = connection.Close()
		}
	}()
	return listener
}

func TestADatabaseThatGoesAwayComesBack(t *testing.T) {
	t.Parallel()
	store := postgres(t)
	u, err := url.Parse(store)
	require.NoError(t, err)
	between := proxy(t, "127.0.0.1:0", u.Host)
	f := newFixture(t)
	ids := f.addUsers(500)
	f.backend.LimitRate(200, 10)
	direct := u.Host
	u.Host = between.Addr().String()
	f.store = u.String()
	process, _, stderr := f.process("quick", "--ids", ids)
	require.Eventually(t, func() bool { return f.activations() > 50 }, 10*time.Second, 10*time.Millisecond)
	require.NoError(t, between.Close())
	<-time.After(3 * time.Second)
	between = proxy(t, u.Host, direct)
	require.NoError(t, process.Wait(), "%s", stderr)
	f.store = store
	f.settledOnce(500)
	assert.Contains(t, stderr.String(), "The store fails, and no user is begun until it works again")
	require.NoError(t, between.Close())
}

func TestWhatIsNotSettledIsTriedAgainAndThenGivenUp(t *testing.T) {
	t.Parallel()
	onEachStore(t, func(t *testing.T, f *fixture) {
		t.Helper()
		ids := f.addUsers(20)
		f.backend.ScriptFor("user-0003", flashbacktest.Respond(501, ""))
		f.backend.ScriptFor("user-0007", slices.Repeat([]flashbacktest.Fault{flashbacktest.Respond(500, "")}, 50)...)
		process, stdout, _ := f.process("quick", "--ids", ids)
		require.Error(t, process.Wait())
		assert.Equal(t, somethingDue, process.ProcessState.ExitCode())
		assert.Contains(t, stdout.String(), "      1  unknown          such as flashback: organization.users.activate \"user-0007\"")
		assert.Contains(t, stdout.String(), "     19  activated ")
		assert.Equal(t, "2", f.exported()["user-0003"][5], "times")

		f.backend.Reset()
		f.backend.AddUser(flashbacktest.User{ID: "user-0007"})
		process, stdout, _ = f.process("quick")
		require.NoError(t, process.Wait(), "%s", stdout)
		assert.Equal(t, recovered, f.verdicts()["user-0007"])
	})
}

func TestTwoAtOnceShareAStore(t *testing.T) {
	t.Parallel()
	onEachStore(t, func(t *testing.T, f *fixture) {
		t.Helper()
		for i := range 500 {
			f.backend.AddDeletedUser(fmt.Sprint(i))
			f.stdin += fmt.Sprintln(i)
		}
		var both sync.WaitGroup
		for range 2 {
			both.Go(func() {
				status, stdout, _, err := f.run(t.Context(), "--ids", "-")
				if !assert.NoError(t, err) { //nolint:testifylint // Not the test's own goroutine.
					return
				}
				assert.Equal(t, allDone, status)
				assert.Contains(t, stdout, "    500  activated")
			})
		}
		both.Wait()
		assert.Equal(t, 500, f.activations())
	})
}

func TestAWrongBaseURLOrTokenEndsTheRun(t *testing.T) {
	t.Parallel()
	page := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(page.Close)
	for _, tt := range []struct{ url, token, says string }{
		{"http://127.0.0.1:1", "", "the backend can't be reached; check the network and FLASHBACK_BASE_URL"},
		{page.URL, "", "this is not the API; check FLASHBACK_BASE_URL"},
		{"/v1", "", "this is not the API; check FLASHBACK_BASE_URL"},
		{"", "another-token", "the access token is not accepted"},
	} {
		f := newFixture(t)
		for i := range 50 {
			f.backend.AddDeletedUser(fmt.Sprint(i))
			f.stdin += fmt.Sprintln(i)
		}
		good := maps.Clone(f.env)
		if f.env["FLASHBACK_BASE_URL"] = tt.url; strings.HasPrefix(tt.url, "/") || tt.url == "" {
			f.env["FLASHBACK_BASE_URL"] = f.backend.URL + tt.url
		}
		f.env["FLASHBACK_ACCESS_TOKEN"] = cmp.Or(tt.token, f.backend.Token())
		status, _, _, err := f.run(t.Context(), "--ids", "-")
		require.ErrorContains(t, err, tt.says)
		require.ErrorContains(t, err, f.env["FLASHBACK_BASE_URL"])
		assert.Equal(t, couldNot, status)
		assert.Less(t, len(f.backend.Requests()), 40)
		f.env = good
		status, _, _, err = f.run(t.Context(), "--ids", "-")
		require.NoError(t, err)
		assert.Equal(t, allDone, status, "no user was given up")
	}
}

func TestASessionOutlivesItsToken(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.backend.AddUser(flashbacktest.User{ID: "jane", Email: "jane@example.com", Password: "Passw0rd", Role: flashback.RoleOwner})
	path := filepath.Join(t.TempDir(), "session.json")
	session, err := flashback.Login(t.Context(), "jane@example.com", flashback.NewSecret("Passw0rd"),
		f.backend.Options(flashback.WithTokenStore(tokenfile.New(path)))...)
	require.NoError(t, err)
	f.backend.RevokeToken(session.Tokens().Access.Reveal())
	f.backend.AddDeletedUser("user-1")
	f.stdin = "user-1\n"
	status, _, _, err := f.run(t.Context(), "--token-file", path, "--ids", "-")
	require.NoError(t, err)
	assert.Equal(t, allDone, status)
	renewed, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.NotContains(t, string(renewed), session.Tokens().Refresh.Reveal())
}

func TestATokenFileIsReadAgain(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	path := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(path, []byte(f.backend.Token()+"\n"), 0o600))
	f.env = map[string]string{"FLASHBACK_BASE_URL": f.backend.URL}
	for i := range 100 {
		f.backend.AddDeletedUser(fmt.Sprint(i))
		f.stdin += fmt.Sprintln(i)
	}
	n, during, expired := 0, 0, time.Time{}
	f.backend.Decide(func(*http.Request) flashbacktest.Fault {
		switch n++; {
		case n <= 50:
			return flashbacktest.None()
		case expired.IsZero():
			expired = time.Now()
		case time.Since(expired) > 5*time.Second:
			return flashbacktest.None()
		}
		during++
		return flashbacktest.Respond(401, "")
	})
	status, _, stderr, err := f.run(t.Context(), "--ids", "-", "--token-file", path)
	require.NoError(t, err)
	assert.Equal(t, allDone, status)
	assert.Contains(t, stderr, "Paused: the access token is not accepted")
	assert.Contains(t, stderr, "The backend can be used again.")
	assert.LessOrEqual(t, during, 16+outageAfter+5, "what was begun, and one a second")
	assert.Len(t, f.verdicts(), 100)
}

func TestATokenFileThatGoesAwayHoldsTheJobs(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(path string) error{
		"no such file":   os.Remove,
		"is empty":       func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"is a directory": func(path string) error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o700)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			path := filepath.Join(t.TempDir(), "token")
			token := f.backend.Token()
			require.NoError(t, os.WriteFile(path, []byte(token), 0o600))
			f.env = map[string]string{"FLASHBACK_BASE_URL": f.backend.URL}
			ids := f.addUsers(100)
			n := 0
			f.backend.Decide(func(*http.Request) flashbacktest.Fault {
				if n++; n == 50 {
					require.NoError(t, spoil(path))
					time.AfterFunc(5*time.Second, func() {
						assert.NoError(t, errors.Join(os.RemoveAll(path), os.WriteFile(path, []byte(token), 0o600)))
					})
				}
				return flashbacktest.None()
			})
			status, _, stderr, err := f.run(t.Context(), "--ids", ids, "--token-file", path)
			require.NoError(t, err)
			assert.Equal(t, allDone, status)
			assert.Regexp(t, "Paused: the access token can't be read or renewed: .*"+name, stderr)
			assert.Contains(t, stderr, "The backend can be used again.")
			for id, line := range f.exported() {
				assert.Equal(t, []string{string(activated), "1"}, line[4:6], "%s spent no attempt", id)
			}
			f.settledOnce(100)
		})
	}
}

func TestBadUseIsRefused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		args []string
		says string
	}{
		{[]string{"user-1"}, "unknown command"},
		{[]string{"activate", "user-1"}, "--ids"},
		{[]string{"--ids", "-", "--workers", "0"}, "invalid number of workers"},
		{[]string{"--ids", "-", "--deleted-since", "1h"}, "not both"},
		{[]string{"--deleted-since", "yesterday"}, "2026-11-01"},
		{[]string{"--deleted-since", "-1h"}, "duration like 48h"},
		{[]string{"--token", "x"}, "unknown flag"},
		{[]string{"--ids", "no-such-file"}, "no-such-file"},
		{[]string{"--ids", "-", "--token-file", "no-such-file"}, "no-such-file"},
		{[]string{"activate"}, "give --ids or another source"},
		{[]string{"--store", "", "--ids", "-"}, "--store is empty"},
		{[]string{"export", "--store", ""}, "--store is empty"},
		{[]string{"--ids", ""}, "--ids is empty"},
		{[]string{"--ids", "-", "--token-file", ""}, "--token-file is empty"},
		{[]string{"--ids", "-", "--task", ""}, "--task is empty"},
		{[]string{"--ids", "-", "--ui", ""}, "--ui is empty"},
		{[]string{"--deleted-since", ""}, "2026-11-01"},
		{[]string{"export", "user-1"}, "is no flag"},
		{[]string{"export"}, "can't be used"},
		{[]string{"--ui", "256.0.0.1:1", "--ids", "-"}, "--ui"},
	} {
		f := newFixture(t)
		status, _, _, err := f.run(t.Context(), tt.args...)
		require.ErrorContains(t, err, tt.says)
		assert.Equal(t, couldNot, status)
		assert.Empty(t, f.backend.Requests())
	}
	f := newFixture(t)
	f.env = nil
	f.stdin = "user-1\n"
	_, _, _, err := f.run(t.Context(), "--ids", "-")
	require.ErrorContains(t, err, "FLASHBACK_ACCESS_TOKEN")
	_, stdout, _, err := f.run(t.Context(), "activate", "--help")
	require.NoError(t, err)
	assert.Contains(t, stdout, "--deleted-since")
}

func TestAStoreThatIsNotOursIsLeftAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	require.NoError(t, os.WriteFile(at("letter"), []byte(strings.Repeat("Dear John, ", 100)), 0o600))
	for name, statement := range map[string]string{
		"newer": "INSERT INTO river_migration (line, version) SELECT 'main', version + 100 FROM river_migration",
		"kinds": "INSERT INTO river_job (kind, max_attempts) VALUES ('send_letter', 1)",
	} {
		s, err := openStore(t.Context(), at(name), false)
		require.NoError(t, err, name)
		_, err = s.db.ExecContext(t.Context(), statement)
		require.NoError(t, err)
		s.close()
	}
	app, err := sql.Open("sqlite", "file:"+at("app"))
	require.NoError(t, err)
	_, err = app.ExecContext(t.Context(), "CREATE TABLE letters (text)")
	require.NoError(t, errors.Join(err, app.Close()))
	for name, says := range map[string]string{
		at("letter"): "not a database", at("app"): "another program's", at("newer"): "of another version", at("kinds"): "has send_letter",
		dir: "give another --store", at("missing/store"): "give another --store", "mysql://host/db": "give another --store",
		"postgres://user:secret@127.0.0.1:1/db": "postgres://127.0.0.1/db can't be used", "postgres://user:secret@host:port/db": "--store",
	} {
		f := newFixture(t)
		f.store, f.stdin = name, "user-1\n"
		before, _ := os.ReadFile(name)
		status, _, _, err := f.run(t.Context(), "--ids", "-")
		require.ErrorContains(t, err, says, name)
		assert.NotContains(t, err.Error(), "secret")
		assert.Equal(t, couldNot, status)
		assert.Empty(t, f.backend.Requests())
		after, _ := os.ReadFile(name)
		assert.Equal(t, before, after)
	}
	for _, args := range [][]string{{"export"}, {"--ids", "-", "--dry-run"}} {
		f := newFixture(t)
		f.store = at("app")
		before, err := os.ReadFile(f.store)
		require.NoError(t, err)
		status, _, _, err := f.run(t.Context(), args...)
		require.ErrorContains(t, err, "another program's")
		assert.Equal(t, couldNot, status)
		after, err := os.ReadFile(f.store)
		require.NoError(t, err)
		assert.Equal(t, before, after)
	}
}

func TestWhatOnlyReadsMakesNoTables(t *testing.T) {
	t.Parallel()
	onEachStore(t, func(t *testing.T, f *fixture) {
		t.Helper()
		f.backend.AddDeletedUser("user-1")
		f.stdin = "user-1\n"
		for range 2 { // the first has made none
			status, stdout, _, err := f.run(t.Context(), "export")
			require.ErrorContains(t, err, "there are no jobs in it")
			assert.Equal(t, couldNot, status)
			assert.Empty(t, stdout)
			_, _, _, err = f.run(t.Context(), "--dry-run")
			require.ErrorContains(t, err, "there are no jobs in it")
			status, stdout, _, err = f.run(t.Context(), "--ids", "-", "--dry-run")
			require.NoError(t, err)
			assert.Equal(t, allDone, status)
			assert.Equal(t, "user-1\n", stdout)
		}
		if !strings.HasPrefix(f.store, "postgres") {
			assert.NoFileExists(t, f.store)
		}
		assert.Zero(t, f.activations())
	})
}

func TestADryRunIsWhoARunAsksFor(t *testing.T) {
	t.Parallel()
	onEachStore(t, func(t *testing.T, f *fixture) {
		t.Helper()
		f.backend.AddDeletedUser("settled")
		f.backend.AddUser(flashbacktest.User{ID: "forbidden", OrgID: "another"})
		f.stdin = "settled\nforbidden\n"
		_, _, _, err := f.run(t.Context(), "--ids", "-")
		require.NoError(t, err)
		f.stdin = "new\nsettled\n"
		_, stdout, _, err := f.run(t.Context(), "--ids", "-", "--dry-run")
		require.NoError(t, err)
		assert.Equal(t, "forbidden\nnew\n", stdout)
		_, stdout, _, err = f.run(t.Context(), "--dry-run")
		require.NoError(t, err)
		assert.Equal(t, "forbidden\n", stdout)
		before := f.activations()
		_, _, _, err = f.run(t.Context(), "--ids", "-")
		require.NoError(t, err)
		assert.Equal(t, 2, f.activations()-before)
	})
}

// fullDisk is a file on a disk that is full.
type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("the disk is full") }

func TestAResultThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.backend.AddDeletedUser("user-1")
	run := func(args ...string) (status int, stderr string, err error) {
		var errs bytes.Buffer
		status, err = command(t.Context(), append(withCommand(args), "--store", f.store), func(key string) string { return f.env[key] }, strings.NewReader("user-1\n"), fullDisk{}, &errs)
		return status, errs.String(), err
	}
	status, _, err := run("--ids", "-", "--dry-run")
	require.ErrorContains(t, err, "the disk is full")
	assert.Equal(t, couldNot, status)

	status, stderr, err := run("--ids", "-")
	require.NoError(t, err)
	assert.Equal(t, allDone, status, "which is true of the users")
	assert.Contains(t, stderr, "The table of verdicts could not be written (the disk is full):\n      1  activated")

	for _, args := range [][]string{{"export"}, {"export", "--json"}} {
		status, _, err = run(args...)
		require.ErrorContains(t, err, "the disk is full")
		assert.Equal(t, couldNot, status)
	}
}

func TestItSaysSoIfThereIsNobody(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"--ids", "-"}, {"--ids", "-", "--dry-run"}, {"--deleted-since", "2099-01-01"}} {
		f := newFixture(t)
		f.backend.AddDeletedUser("user-1")
		f.stdin = "\n# nobody\n"
		status, _, stderr, err := f.run(t.Context(), args...)
		require.NoError(t, err)
		assert.Equal(t, allDone, status)
		assert.Contains(t, stderr, "There are no users to add.")
	}
	f := newFixture(t)
	f.stdin = "user-1\n"
	_, _, stderr, err := f.run(t.Context(), "--ids", "-")
	require.NoError(t, err)
	assert.NotContains(t, stderr, "There are no users")
}

func TestThePageIsServed(t *testing.T) {
	t.Parallel()
	onEachStore(t, func(t *testing.T, f *fixture) {
		t.Helper()
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		address := listener.Addr().String()
		require.NoError(t, listener.Close())
		f.backend.AddDeletedUser("user-1")
		f.stdin = "user-1\n"
		var statuses []int
		var bodies bytes.Buffer
		f.backend.Decide(func(r *http.Request) flashbacktest.Fault {
			for _, ask := range []struct{ method, path string }{{"GET", "/"}, {"GET", "/api/jobs?state=running"}, {"POST", "/api/jobs/cancel"}} {
				if r.Method != http.MethodPost {
					break // it begins with the work
				}
				request, err := http.NewRequest(ask.method, "http://"+address+ask.path, strings.NewReader(`{"ids":["1"]}`))
				require.NoError(t, err)
				request.Header.Set("Origin", "http://elsewhere.example")
				response, err := http.DefaultClient.Do(request)
				require.NoError(t, err)
				statuses = append(statuses, response.StatusCode)
				_, err = bodies.ReadFrom(response.Body)
				require.NoError(t, errors.Join(err, response.Body.Close()))
			}
			return flashbacktest.None()
		})
		status, _, _, err := f.run(t.Context(), "--ids", "-", "--ui", address)
		require.NoError(t, err)
		assert.Equal(t, allDone, status)
		assert.Equal(t, []int{200, 200, 403}, statuses, "other pages can't change jobs")
		assert.Contains(t, bodies.String(), "<title>River</title>")
		assert.Contains(t, bodies.String(), "user-1")
		_, err = net.Dial("tcp", address)
		require.Error(t, err, "it ends with the run")
	})
}
