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
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	flashback "github.com/flashbacknetwork/flashback-go"
	"github.com/flashbacknetwork/flashback-go/flashbacktest"
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
		entries = append(entries, e)
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
	c.backend.ScriptFor("lost", flashbacktest.LoseAnswer(flashbacktest.CutAnswer))
	c.backend.ScriptFor("unlucky", flashbacktest.Answer(501, ""))
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
	assert.Contains(t, stderr, "2 users are left. To go on: bulk -journal "+c.journal)

	c.backend.Reset()
	status, _, _, err = c.run(t.Context())
	require.NoError(t, err)
	assert.Equal(t, somethingDue, status, "one is forbidden still")
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
	c.backend.Script(flashbacktest.LoseAnswer(flashbacktest.CutAnswer), flashbacktest.Answer(403, `{"message":"No"}`))
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

func TestAllWhoWereDeletedSince(t *testing.T) {
	t.Parallel()
	c := newCommand(t)
	for id, at := range map[string]time.Time{"old": time.Now().Add(-50 * time.Hour), "new": time.Now().Add(-time.Hour)} {
		c.backend.AddUser(flashbacktest.User{ID: id, DeletedAt: &at})
	}
	for _, since := range []string{"48h", time.Now().Add(-30 * time.Hour).Format(time.DateOnly), time.Now().Add(-2 * time.Hour).Format(time.RFC3339)} {
		status, stdout, stderr, err := c.run(t.Context(), "-deleted-since", since, "-dry-run")
		require.NoError(t, err)
		assert.Equal(t, allActive, status)
		assert.Equal(t, "new\n", stdout)
		assert.Contains(t, stderr, "1 users would be activated")
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
	c.backend.Script(flashbacktest.Answer(200, `{"success":true,"data":[{"id":"a","deletedAt":"2026-01-01T00:00:00.000Z"}],"total":2}`))
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
	c.backend.ScriptFor("0", flashbacktest.Answer(503, ""), flashbacktest.LoseAnswer(flashbacktest.CutAnswer))
	c.backend.ScriptFor("1", flashbacktest.Fault{Delay: 100 * time.Millisecond})
	time.AfterFunc(20*time.Millisecond, stop)
	status, _, stderr, err := c.run(ctx, "-ids", "-", "-workers", "2")
	require.NoError(t, err)
	assert.Equal(t, somethingDue, status)
	assert.Contains(t, stderr, "stopped; all that was begun is done.\n")
	assert.Contains(t, stderr, "To go on: bulk -journal "+c.journal)
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

func TestAJournalOutlivesWhatWasHalfWritten(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "journal")
	j, err := openJournal(path, false)
	require.NoError(t, err)
	require.NoError(t, j.plan([]string{"a", "b", "a"}))
	require.NoError(t, j.append(entry{ID: "a", Verdict: activated}))
	_, err = openJournal(path, false)
	require.ErrorContains(t, err, "in use by another run")
	j.close()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteString(`{"id":"b","verdict":"activ`)
	require.NoError(t, errors.Join(err, f.Close()))

	j, err = openJournal(path, false)
	require.NoError(t, err)
	assert.Equal(t, []string{"b"}, j.due())
	require.NoError(t, j.append(entry{ID: "b", Verdict: recovered}))
	j.close()
	j, err = openJournal(path, true)
	require.NoError(t, err)
	assert.Empty(t, j.due())
	assert.Equal(t, 2, j.settled())

	other := filepath.Join(t.TempDir(), "other")
	require.NoError(t, os.WriteFile(other, []byte("a letter\n"), 0o600))
	_, err = openJournal(other, false)
	require.ErrorContains(t, err, "line 1, is not of a journal")
	text, err := os.ReadFile(other)
	require.NoError(t, err)
	assert.Equal(t, "a letter\n", string(text))
}

func TestAJournalThatCannotBeWrittenEndsTheRun(t *testing.T) {
	t.Parallel()
	j, err := openJournal(filepath.Join(t.TempDir(), "journal"), false)
	require.NoError(t, err)
	ids := make([]string, 100)
	for i := range ids {
		ids[i] = fmt.Sprint(i)
	}
	require.NoError(t, j.plan(ids))
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
	start := func() *exec.Cmd {
		return exec.CommandContext(t.Context(), program, "-demo", "-demo-users", fmt.Sprint(users), "-journal", path)
	}
	for range kills {
		cmd := start()
		require.NoError(t, cmd.Start())
		time.Sleep(rand.N(200 * time.Millisecond))
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	require.Eventually(t, func() bool { return start().Run() == nil }, time.Minute, time.Millisecond, "an exit status of 0, at last")

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
