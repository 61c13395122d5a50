package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	flashback "github.com/flashbacknetwork/flashback-go"
	"github.com/flashbacknetwork/flashback-go/flashbacktest"
	"github.com/flashbacknetwork/flashback-go/tokenfile"
)

// command runs the command against a backend of its own.
type command struct {
	t       *testing.T
	backend *flashbacktest.Server
	journal string
	env     map[string]string
	stdin   string
}

func newCommand(t *testing.T) *command {
	t.Helper()
	backend := flashbacktest.New(t)
	return &command{t: t, backend: backend, journal: filepath.Join(t.TempDir(), "journal"), env: map[string]string{
		"FLASHBACK_ACCESS_TOKEN": backend.Token(), "FLASHBACK_BASE_URL": backend.URL,
	}}
}

func (c *command) run(ctx context.Context, args ...string) (status int, stdout, stderr string, err error) {
	c.t.Helper()
	var out, errs bytes.Buffer
	status, err = run(ctx, append(args, "-journal", c.journal), func(key string) string { return c.env[key] }, strings.NewReader(c.stdin), &out, &errs)
	return status, out.String(), errs.String(), err
}

func (c *command) entries() (entries []entry) {
	c.t.Helper()
	text, err := os.ReadFile(c.journal)
	require.NoError(c.t, err)
	for line := range strings.Lines(string(text)) {
		var e entry
		require.NoError(c.t, json.Unmarshal([]byte(line), &e), line)
		if e.ID != "" {
			entries = append(entries, e)
		}
	}
	return entries
}

func (c *command) verdicts() map[string]verdict {
	latest := map[string]verdict{}
	for _, e := range c.entries() {
		latest[e.ID] = e.Verdict
	}
	return latest
}

func TestEachUserGetsAVerdict(t *testing.T) {
	t.Parallel()
	c := newCommand(t)
	for _, id := range []string{"deleted", "lost", "unlucky", "a/b"} {
		c.backend.AddDeletedUser(id)
	}
	c.backend.AddUser(flashbacktest.User{ID: "active"})
	c.backend.AddUser(flashbacktest.User{ID: "elsewhere", OrgID: "org-2"})
	c.backend.ScriptFor("lost", flashbacktest.LoseResponse(flashbacktest.CutResponse))
	c.backend.ScriptFor("unlucky", flashbacktest.Respond(501, ""))
	c.stdin = "\ufeffdeleted\r\n\n# a comment\n lost \nunlucky\na/b\nactive\nelsewhere\nnobody\n..\ndeleted\n"
	status, stdout, stderr, err := c.run(t.Context(), "-ids", "-")
	require.NoError(t, err)
	assert.Equal(t, somethingDue, status)
	want := map[string]verdict{
		"deleted": activated, "lost": recovered, "unlucky": failed, "a/b": activated, "active": alreadyActive,
		"elsewhere": forbidden, "nobody": notFound, "..": invalid,
	}
	assert.Equal(t, want, c.verdicts())
	assert.Contains(t, stdout, "      2  activated\n")
	assert.Contains(t, stdout, "      8  users\n")
	assert.Contains(t, stderr, "2 users are left. To go on: bulk -journal "+strconv.Quote(c.journal))

	c.backend.Reset()
	status, _, _, err = c.run(t.Context())
	require.NoError(t, err)
	assert.Equal(t, someRefused, status, "one is forbidden still")
	assert.Len(t, c.backend.Requests(), 2, "what is settled is not asked again")
	want["unlucky"] = activated
	assert.Equal(t, want, c.verdicts())

	c.backend.AddUser(flashbacktest.User{ID: "elsewhere"})
	status, _, _, err = c.run(t.Context())
	require.NoError(t, err)
	assert.Equal(t, someRefused, status, "all is settled, and two can't be activated")
}

func TestAnUnknownOutcomeIsAskedAgain(t *testing.T) {
	t.Parallel()
	c := newCommand(t)
	c.backend.AddDeletedUser("user-1")
	c.backend.Script(flashbacktest.LoseResponse(flashbacktest.CutResponse), flashbacktest.Respond(403, `{"message":"No"}`))
	c.stdin = "user-1"
	status, _, _, err := c.run(t.Context(), "-ids", "-")
	require.NoError(t, err)
	assert.Equal(t, allActive, status)
	var verdicts []verdict
	for _, e := range c.entries() {
		verdicts = append(verdicts, e.Verdict)
	}
	assert.Equal(t, []verdict{planned, unknown, recovered}, verdicts)
}

func TestIDsThatCannotBeReadAreRefused(t *testing.T) {
	t.Parallel()
	for stdin, says := range map[string]string{
		"a\ncaf\xe9": "line 2, is not UTF-8", "\xff\xfea\x00": "line 1, is not UTF-8", "a\n" + strings.Repeat("x", 1e6): "line 2, is longer than 64 KiB",
	} {
		c := newCommand(t)
		c.stdin = stdin
		status, _, _, err := c.run(t.Context(), "-ids", "-")
		require.ErrorContains(t, err, says)
		assert.Equal(t, couldNot, status)
		assert.NoFileExists(t, c.journal)
	}
}

func TestAllWhoWereDeletedSince(t *testing.T) {
	t.Parallel()
	c := newCommand(t)
	for id, at := range map[string]time.Time{"old": time.Now().Add(-60 * time.Hour), "new": time.Now().Add(-time.Hour)} {
		c.backend.AddUser(flashbacktest.User{ID: id, DeletedAt: &at})
	}
	for _, since := range []string{"48h", time.Now().Add(-30 * time.Hour).Format(time.DateOnly), time.Now().Add(-2 * time.Hour).Format(time.RFC3339)} {
		status, stdout, stderr, err := c.run(t.Context(), "-deleted-since", since, "-dry-run")
		require.NoError(t, err)
		assert.Equal(t, allActive, status)
		assert.Equal(t, "new\n", stdout)
		assert.Contains(t, stderr, "would be activated: 1\n")
	}
	assert.NoFileExists(t, c.journal, "a dry run leaves nothing")
	for _, request := range c.backend.Requests() {
		assert.Equal(t, "GET", request.Method)
	}
	status, _, _, err := c.run(t.Context(), "-deleted-since", "48h")
	require.NoError(t, err)
	assert.Equal(t, allActive, status)
	assert.Equal(t, map[string]verdict{"new": activated}, c.verdicts())
}

func TestAListThatIsNotWholeIsRefused(t *testing.T) {
	t.Parallel()
	c := newCommand(t)
	c.backend.Script(flashbacktest.Respond(200, `{"success":true,"data":[{"id":"a","deletedAt":"2026-01-01T00:00:00.000Z"}],"total":2}`))
	status, _, _, err := c.run(t.Context(), "-deleted-since", "1000000h")
	require.ErrorContains(t, err, "1 of 2 users")
	assert.Equal(t, couldNot, status)
}

func TestACtrlCFinishesWhatIsBegun(t *testing.T) {
	t.Parallel()
	c := newCommand(t)
	ctx, stop := context.WithCancel(t.Context())
	for i := range 20 {
		c.backend.AddDeletedUser(fmt.Sprint(i))
		c.stdin += fmt.Sprintln(i)
	}
	c.backend.ScriptFor("0", flashbacktest.Respond(503, ""), flashbacktest.LoseResponse(flashbacktest.CutResponse))
	c.backend.ScriptFor("1", flashbacktest.Fault{Delay: 100 * time.Millisecond})
	time.AfterFunc(20*time.Millisecond, stop)
	status, _, stderr, err := c.run(ctx, "-ids", "-", "-workers", "2")
	require.NoError(t, err)
	assert.Equal(t, somethingDue, status)
	assert.Contains(t, stderr, "finishing what is begun")
	assert.Contains(t, stderr, "To go on: bulk -journal "+strconv.Quote(c.journal))
	for id, v := range c.verdicts() {
		user, _ := c.backend.User(id)
		assert.Equal(t, v.active(), !user.Deleted(), "%s: %s", id, v)
	}
	status, _, _, err = c.run(t.Context())
	require.NoError(t, err)
	assert.Equal(t, allActive, status)
}

func TestATokenThatIsNotAcceptedEndsTheRun(t *testing.T) {
	t.Parallel()
	c := newCommand(t)
	c.env["FLASHBACK_ACCESS_TOKEN"] = "another-token"
	for i := range 100 {
		c.stdin += fmt.Sprintln(i)
	}
	status, _, _, err := c.run(t.Context(), "-ids", "-", "-workers", "1")
	require.ErrorContains(t, err, "access token is not accepted")
	assert.Equal(t, couldNot, status)
	assert.Less(t, len(c.backend.Requests()), 5)
	path := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(path, []byte(c.backend.Token()+"\n"), 0o600))
	for i := range 100 {
		c.backend.AddDeletedUser(fmt.Sprint(i))
	}
	status, _, _, err = c.run(t.Context(), "-token-file", path)
	require.NoError(t, err)
	assert.Equal(t, allActive, status)
}

func TestASessionOutlivesItsToken(t *testing.T) {
	t.Parallel()
	c := newCommand(t)
	c.backend.AddUser(flashbacktest.User{ID: "jane", Email: "jane@example.com", Password: "Passw0rd", Role: flashback.RoleOwner})
	path := filepath.Join(t.TempDir(), "session.json")
	session, err := flashback.Login(t.Context(), "jane@example.com", flashback.NewSecret("Passw0rd"),
		c.backend.Options(flashback.WithTokenStore(tokenfile.New(path)))...)
	require.NoError(t, err)
	c.backend.RevokeToken(session.Tokens().Access.Reveal())
	c.backend.AddDeletedUser("user-1")
	c.stdin = "user-1\n"
	status, _, _, err := c.run(t.Context(), "-token-file", path, "-ids", "-")
	require.NoError(t, err)
	assert.Equal(t, allActive, status)
	renewed, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.NotContains(t, string(renewed), session.Tokens().Refresh.Reveal())
}

func TestBadUseIsRefused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		args []string
		says string
	}{
		{[]string{"user-1"}, "-ids"},
		{[]string{"-workers", "0"}, "at least 1"},
		{[]string{"-demo", "-ids", "-"}, "of its own"},
		{[]string{"-ids", "-", "-deleted-since", "1h"}, "not both"},
		{[]string{"-deleted-since", "yesterday"}, "2026-11-01"},
		{[]string{"-deleted-since", "-1h"}, "more than 0"},
		{[]string{"-token", "x"}, "not defined"},
		{[]string{"-ids", "no-such-file"}, "no-such-file"},
		{[]string{"-token-file", "no-such-file"}, "no-such-file"},
		{nil, "give -ids or -deleted-since"},
	} {
		c := newCommand(t)
		status, _, _, err := c.run(t.Context(), tt.args...)
		require.ErrorContains(t, err, tt.says)
		assert.Equal(t, couldNot, status)
		assert.Empty(t, c.backend.Requests())
	}
	c := newCommand(t)
	c.env = nil
	_, _, _, err := c.run(t.Context())
	require.ErrorContains(t, err, "FLASHBACK_ACCESS_TOKEN")
	_, _, stderr, err := c.run(t.Context(), "-h")
	require.ErrorIs(t, err, flag.ErrHelp)
	assert.Contains(t, stderr, "-deleted-since")
}

const backendName = "https://backend.example"

func TestAJournalOutlivesWhatWasHalfWritten(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "journal")
	j, err := openJournal(path, backendName, false)
	require.NoError(t, err)
	require.NoError(t, j.plan([]string{"a", "b", "a"}, false))
	require.NoError(t, j.append(entry{ID: "a", Verdict: activated}))
	_, err = openJournal(path, backendName, false)
	require.ErrorContains(t, err, "in use by another run")
	j.close()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteString(`{"id":"b","verdict":"activ`)
	require.NoError(t, errors.Join(err, f.Close()))

	j, err = openJournal(path, backendName, false)
	require.NoError(t, err)
	assert.Equal(t, []string{"b"}, j.due())
	require.NoError(t, j.append(entry{ID: "b", Verdict: recovered}))
	j.close()
	j, err = openJournal(path, backendName, true)
	require.NoError(t, err)
	assert.Empty(t, j.due())
	assert.True(t, j.whole)
	assert.Len(t, j.ids, 2)
	j.close()
	_, err = openJournal(path, "the demo", false)
	require.ErrorContains(t, err, "about the users of "+backendName)
}

func TestAPlanThatWasCutIsNotForTheWhole(t *testing.T) {
	t.Parallel()
	c := newCommand(t)
	j, err := openJournal(c.journal, c.backend.URL, false)
	require.NoError(t, err)
	require.NoError(t, j.plan([]string{"a", "b"}, false))
	j.close()
	text, err := os.ReadFile(c.journal)
	require.NoError(t, err)
	lines := strings.SplitAfter(string(text), "\n")
	require.NoError(t, os.WriteFile(c.journal, []byte(lines[0]+lines[1]), 0o600))
	for _, id := range []string{"a", "b"} {
		c.backend.AddDeletedUser(id)
	}
	status, _, _, err := c.run(t.Context())
	require.ErrorContains(t, err, "does not have all users")
	assert.Equal(t, couldNot, status)
	assert.Empty(t, c.backend.Requests())
	c.stdin = "a\nb"
	status, _, _, err = c.run(t.Context(), "-ids", "-")
	require.NoError(t, err)
	assert.Equal(t, allActive, status)
	assert.Equal(t, map[string]verdict{"a": activated, "b": activated}, c.verdicts())
}

func TestWhatIsNoJournalIsLeftAlone(t *testing.T) {
	t.Parallel()
	journal, err := json.Marshal(header{format, backendName})
	require.NoError(t, err)
	for _, text := range []string{
		"a letter\n", "a secret", "{}", `{"id":"u","email":"x"}` + "\n", `{"id":"u","verdict":"activated"}` + "\n",
		string(journal) + "\n" + `{"id":"u","verdict":"none"}` + "\n", string(journal) + "\n" + `{"verdict":"activated"}` + "\n", string(journal) + "\n\x00\x00\n",
	} {
		path := filepath.Join(t.TempDir(), "other")
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		for _, dryRun := range []bool{true, false} {
			_, err := openJournal(path, backendName, dryRun)
			require.ErrorContains(t, err, "give another file with -journal", text)
		}
		left, err := os.ReadFile(path)
		require.NoError(t, err)
		assert.Equal(t, text, string(left))
	}
	for _, begun := range []string{"", string(journal[:5]), string(journal), string(journal) + "\n", string(journal) + "\n" + `{"id`} {
		path := filepath.Join(t.TempDir(), "begun")
		require.NoError(t, os.WriteFile(path, []byte(begun), 0o600))
		j, err := openJournal(path, backendName, false)
		require.NoError(t, err, begun)
		require.NoError(t, j.plan([]string{"a"}, false))
		j.close()
		j, err = openJournal(path, backendName, true)
		require.NoError(t, err, begun)
		assert.Equal(t, []string{"a"}, j.due())
		j.close()
	}
	_, err = openJournal("/dev/null", backendName, false)
	require.ErrorContains(t, err, "no regular file")
}

func TestAnUnknownOutcomeIsNotForgotten(t *testing.T) {
	t.Parallel()
	for _, err := range []error{flashback.ErrForbidden, flashback.ErrServer, flashback.ErrRateLimited, flashback.ErrUnauthorized, flashback.ErrNotFound} {
		assert.Equal(t, unknown, judge(unknown, nil, &flashback.Error{Err: err}))
	}
	assert.Equal(t, recovered, judge(unknown, nil, &flashback.Error{Err: flashback.ErrUserNotDeleted}))
	assert.Equal(t, alreadyActive, judge(planned, nil, &flashback.Error{Err: flashback.ErrUserNotDeleted}))
	assert.Equal(t, notFound, judge(planned, nil, &flashback.Error{Err: flashback.ErrNotFound, Message: "User not found"}))
	assert.Equal(t, failed, judge(planned, nil, &flashback.Error{Err: flashback.ErrNotFound, Message: "Cannot POST"}), "the path may be wrong")
}

func TestAJournalThatCannotBeWrittenEndsTheRun(t *testing.T) {
	t.Parallel()
	j, err := openJournal(filepath.Join(t.TempDir(), "journal"), backendName, false)
	require.NoError(t, err)
	ids := make([]string, 100)
	for i := range ids {
		ids[i] = fmt.Sprint(i)
	}
	require.NoError(t, j.plan(ids, false))
	j.close()
	users := &counter{}
	w := &work{users: users, journal: j, workers: 1, bar: newProgress(io.Discard, 0)}
	require.ErrorContains(t, w.all(t.Context(), j.due()), "journal can't be written")
	assert.Less(t, users.n, 10)
}

type counter struct{ n int }

func (c *counter) Activate(context.Context, string) (*flashback.Activation, error) {
	c.n++
	return &flashback.Activation{}, nil
}

// The command is killed at random moments, as often as it takes.
func TestKilledAndRunAgainNothingIsLost(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	program, path := filepath.Join(dir, "bulk"), filepath.Join(dir, "journal")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, ".").CombinedOutput()
	require.NoError(t, err, string(out))
	const users, kills = 600, 10
	start := func(ctx context.Context) *exec.Cmd {
		return exec.CommandContext(ctx, program, "-demo", "-demo-users", fmt.Sprint(users), "-journal", path)
	}
	for range kills {
		ctx, kill := context.WithTimeout(t.Context(), rand.N(200*time.Millisecond))
		_ = start(ctx).Run() // with SIGKILL at its end
		kill()
	}
	require.Eventually(t, func() bool { return start(t.Context()).Run() == nil }, time.Minute, time.Millisecond, "an exit status of 0, at last")

	text, err := os.ReadFile(path + ".backend")
	require.NoError(t, err)
	assert.Len(t, strings.Fields(string(text)), users, "all are active")
	c := &command{t: t, journal: path}
	settled := map[string]int{}
	for _, e := range c.entries() {
		if e.Verdict.settled() {
			settled[e.ID]++
		}
	}
	assert.Len(t, settled, users)
	for id, n := range settled {
		assert.Equal(t, 1, n, id)
	}
}
