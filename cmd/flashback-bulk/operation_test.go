package main

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	flashback "github.com/flashbacknetwork/flashback-go"
	"github.com/flashbacknetwork/flashback-go/flashbacktest"
)

// crowd is a list of users for an operation on a backend, and what the backend knows of each
// of them when the operation was done once.
type crowd struct {
	args []string
	// applied is how often the operation was applied to the user with a number.
	applied func(n int) int
}

func (f *fixture) list(lines []string) string {
	f.t.Helper()
	path := filepath.Join(f.t.TempDir(), "list")
	require.NoError(f.t, os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600))
	return path
}

func (f *fixture) crowd(operation string, users int) crowd {
	f.t.Helper()
	ids := make([]string, users)
	add := func(u flashbacktest.User, n int) {
		ids[n] = fmt.Sprintf("user-%04d", n)
		u.ID, u.Email = ids[n], ids[n]+"@example.com"
		f.backend.AddUser(u)
	}
	members := map[string]string{"owner": "ADMIN"}
	yesterday := time.Now().Add(-24 * time.Hour)
	for n := range users {
		switch operation {
		case "activate":
			add(flashbacktest.User{DeletedAt: &yesterday}, n)
		case "create":
			ids[n] = fmt.Sprintf("user-%04d@example.com,Jane,Doe", n)
		default:
			if add(flashbacktest.User{}, n); operation == "workspace-remove" {
				members[ids[n]] = "READ"
			}
		}
	}
	f.backend.AddWorkspace(flashbacktest.Workspace{ID: "ws-1", Users: members})
	c := crowd{args: []string{operation, "--ids", ""}, applied: func(n int) int {
		return f.applied(func(r flashbacktest.Request) bool {
			return strings.Contains(r.Path, "/"+ids[n]+"/") || strings.HasSuffix(r.Path, "/"+ids[n]) || strings.Contains(string(r.Body), `"`+ids[n]+`"`)
		})
	}}
	switch operation {
	case "create":
		ids = append([]string{"E-Mail,first name,last_name"}, ids...)
		c.args[1] = "--csv"
		c.applied = func(n int) int {
			return f.applied(func(r flashbacktest.Request) bool {
				return strings.Contains(string(r.Body), fmt.Sprintf(`"user-%04d@example.com"`, n))
			})
		}
	case "role":
		c.args = append(c.args, "--role", "billing")
	case "workspace-add", "workspace-remove":
		c.args = append(c.args, "--workspace", "ws-1")
	}
	c.args[2] = f.list(ids)
	return c
}

func (f *fixture) applied(is func(r flashbacktest.Request) bool) (times int) {
	for _, r := range f.backend.Requests() {
		if r.Applied && is(r) {
			times++
		}
	}
	return times
}

// changes is how many requests that change something the backend has received.
func (f *fixture) changes() (n int) {
	for _, r := range f.backend.Requests() {
		if r.Method != http.MethodGet {
			n++
		}
	}
	return n
}

// killed runs the command with kills, and then to its end.
func (f *fixture) killed(how string, args []string, kills, each int, tick time.Duration) {
	f.t.Helper()
	for range kills {
		before := f.changes()
		process, _, stderr := f.process(how, args...)
		require.Eventually(f.t, func() bool { return f.changes() >= before+each }, 30*time.Second, tick, "%s", stderr)
		<-time.After(rand.N(100 * time.Millisecond))
		require.NoError(f.t, process.Process.Kill())
		_ = process.Wait() // it may have ended
	}
	for again := 0; ; again++ { // two attempts at a job can both fail, and then the same command is to be run again
		process, stdout, stderr := f.process(how, args...)
		if _ = process.Wait(); process.ProcessState.ExitCode() != somethingDue {
			f.t.Logf("%s", stdout)
			return
		}
		require.Less(f.t, again, 5, "%s%s", stdout, stderr)
	}
}

func TestEachOperationIsDoneOnceWhateverHappens(t *testing.T) {
	t.Parallel()
	const users = 60
	for _, op := range operations {
		t.Run(op.name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			c := f.crowd(op.name, users)
			f.backend.Decide(trouble)
			f.backend.LimitRate(200, 20)
			f.killed("quick", c.args, 2, 15, 5*time.Millisecond)

			verdicts := map[verdict]int{}
			for _, v := range f.verdicts() {
				verdicts[v]++
			}
			t.Logf("%v", verdicts)
			unsure := 0
			for n := range users {
				switch times := c.applied(n); {
				case op.ifUnknown == leave && times == 0:
					unsure++
				case op.ifUnknown == repeat && op.name == "role":
					assert.GreaterOrEqual(t, times, 1)
				default:
					assert.Equal(t, 1, times, "user %d", n)
				}
			}
			assert.Equal(t, users, verdicts[op.done]+verdicts[recovered]+verdicts[unknown])
			if op.ifUnknown != leave {
				assert.Zero(t, verdicts[unknown])
			}
			assert.LessOrEqual(t, unsure, verdicts[unknown])

			before := f.changes()
			_, _, _, err := f.run(t.Context(), c.args...)
			require.NoError(t, err)
			assert.Equal(t, before, f.changes(), "a second run of the list does nothing")
		})
	}
}

func TestAnInvitationWithUnknownOutcomeIsNotSentAgain(t *testing.T) {
	t.Parallel()
	onEachStore(t, func(t *testing.T, f *fixture) {
		t.Helper()
		f.backend.AddUser(flashbacktest.User{ID: "user-1"})
		f.backend.AddUser(flashbacktest.User{ID: "user-2"})
		f.backend.ScriptFor("user-1", flashbacktest.None(), flashbacktest.LoseResponse(flashbacktest.CutResponse))
		f.stdin = "user-1\nuser-2\n"
		for range 2 {
			status, stdout, _, err := f.run(t.Context(), "invite", "--ids", "-")
			require.NoError(t, err)
			assert.Equal(t, someRefused, status)
			assert.Contains(t, stdout, "      1  unknown ")
			assert.Equal(t, map[string]verdict{"user-1": unknown, "user-2": "invited"}, f.verdicts())
			user, _ := f.backend.User("user-1")
			assert.Equal(t, 1, user.Invitations)
		}
		status, _, _, err := f.run(t.Context(), "invite", "--repeat-unknown")
		require.NoError(t, err)
		assert.Equal(t, allDone, status)
		user, _ := f.backend.User("user-1")
		assert.Equal(t, 2, user.Invitations)
	})
}

func TestAnUnknownOutcomeIsSettledByWhatComesLater(t *testing.T) {
	t.Parallel()
	for later, want := range map[string]verdict{
		`404 {"success":false,"message":"User not found"}`:       notFound,
		`403 {"success":false,"message":"Insufficient"}`:         forbidden,
		`400 {"success":false,"message":"User is not deleted"}`:  recovered,
		`200 {"success":true,"message":"User activated"}`:        "activated",
		`501 {"success":false,"message":"Is not implemented"}`:   unknown,
		`404 <html>This server knows no such path at all</html>`: unknown,
	} {
		t.Run(later[:3], func(t *testing.T) {
			t.Parallel()
			op, b := operationOf("activate"), flashbacktest.NewBackend()
			var status int
			_, err := fmt.Sscanf(later, "%d", &status)
			require.NoError(t, err)
			b.Script(flashbacktest.Respond(status, later[4:]))
			var response flashback.Response
			out, _ := op.attempt(t.Context(), b.Client(flashback.WithMaxRetries(0)), user{ID: "user-1"}, unknown, &response)
			assert.Equal(t, want, out.Verdict)
		})
	}
}

func TestEMailAddressesAreLookedUpOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for n := range 3 {
		f.backend.AddUser(flashbacktest.User{ID: fmt.Sprint("user-", n), Email: fmt.Sprintf("User%d@example.com", n)})
	}
	f.backend.AddUser(flashbacktest.User{ID: "twin", Email: "user2@example.com"})
	f.stdin = "user0@example.com\nuser-1\nUSER0@EXAMPLE.COM\n"
	status, _, _, err := f.run(t.Context(), "delete", "--ids", "-")
	require.NoError(t, err)
	assert.Equal(t, allDone, status)
	assert.Equal(t, map[string]verdict{"user-0": "deleted", "user-1": "deleted"}, f.verdicts())
	lists := 0
	for _, r := range f.backend.Requests() {
		if r.Path == "/organization/users" {
			lists++
		}
	}
	assert.Equal(t, 1, lists)

	f.stdin = "user-1\nuser2@example.com\nnobody@example.com\n"
	_, _, _, err = f.run(t.Context(), "delete", "--ids", "-")
	require.ErrorContains(t, err, "nobody@example.com (nobody has this address)")
	require.ErrorContains(t, err, "user2@example.com (2 users have this address; give an ID)")
	assert.Equal(t, 2, f.changes())
}

func TestBadRowsAreNamedByTheirLines(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.stdin = "\ufeffLast name;First Name;E-mail;Role;auth method\r\nDoe;Jane;jane@example.com;;\r\n" +
		"Doe;;john@example.com;;\r\nDoe;Jim;jim at example.com;;\r\nDoe;Jil;JANE@example.com;;\r\nDoe;Joe;joe@example.com;KING;\r\nDoe;Jo\r\nDoe;Jon;jon@example.com;;CARD\r\n"
	_, _, _, err := f.run(t.Context(), "create", "--csv", "-")
	for _, says := range []string{
		"line 3: a name is missing", `line 4: "jim at example.com" is no e-mail`, "line 5: JANE@example.com is in line 2, too",
		`line 6: "KING" is no role`, "line 7: it has 2 columns, and the header 5", `line 8: "CARD" is no authMethod`,
	} {
		require.ErrorContains(t, err, says)
	}
	assert.NotContains(t, err.Error(), "line 2:")
	assert.Empty(t, f.backend.Requests())
	for stdin, says := range map[string]string{
		"":                                     "no header line",
		"email,firstName\na@b.example,A\n":     "the column lastname is missing",
		"email,firstName,lastName,password\n":  "take the column of passwords out",
		"email,firstName,lastName,shoe size\n": `no use for the column "shoe size"`,
		"email,e-mail,firstName,lastName\n":    "is there twice",
		"email,firstName,lastName\n\"a":        "line 2",
		"em\x00ail":                            "is not UTF-8",
	} {
		f.stdin = stdin
		_, _, _, err := f.run(t.Context(), "create", "--csv", "-")
		require.ErrorContains(t, err, says, stdin)
	}
	assert.Empty(t, f.backend.Requests())
	assert.NoFileExists(t, f.store)

	f.stdin = "email,firstName,lastName,role,authMethod\njane@example.com,Jane,Doe,billing,google\njohn@example.com,John,Doe,,\n"
	_, stdout, _, err := f.run(t.Context(), "create", "--csv", "-", "--dry-run")
	require.NoError(t, err)
	assert.Contains(t, stdout, `jane@example.com  first name "Jane", last name "Doe", role BILLING, GOOGLE, with an invitation`)
	assert.NoFileExists(t, f.store)
	status, _, _, err := f.run(t.Context(), "create", "--csv", "-")
	require.NoError(t, err)
	assert.Equal(t, allDone, status)
	for _, u := range f.backend.Users() {
		if u.Email == "john@example.com" {
			require.NotEmpty(t, u.Password)
			stored, err := os.ReadFile(f.store)
			require.NoError(t, err)
			assert.NotContains(t, string(stored), u.Password)
		}
	}
}

func TestASpreadsheetIsNoListOfIDs(t *testing.T) {
	t.Parallel()
	for _, stdin := range []string{"id,name\nuser-1,Jane\n", "\"user-1\"\n", "User ID\nuser-1\n", "email\n", "user-1;x\n", "# a comment\n\nuser-1\tJane\n"} {
		f := newFixture(t)
		f.stdin = stdin
		status, _, _, err := f.run(t.Context(), "delete", "--ids", "-")
		require.ErrorContains(t, err, "looks like the header of a spreadsheet", stdin)
		assert.Equal(t, couldNot, status)
		assert.Empty(t, f.backend.Requests())
	}
}

func TestAnExportCanBeUndone(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.backend.AddUser(flashbacktest.User{ID: "-1", Role: flashback.RoleWorkspaces})
	f.backend.AddUser(flashbacktest.User{ID: "user-2", Role: flashback.RoleBilling})
	f.backend.AddDeletedUser("user-3")
	f.stdin = "-1\nuser-2\n"
	for _, args := range [][]string{{"role", "--role", "USER", "--ids", "-"}, {"delete", "--ids", "-"}} {
		status, _, _, err := f.run(t.Context(), args...)
		require.NoError(t, err)
		assert.Equal(t, allDone, status)
	}
	f.stdin = "user-3\n"
	_, _, _, err := f.run(t.Context(), "activate", "--ids", "-")
	require.NoError(t, err)
	_, table, _, err := f.run(t.Context(), "export")
	require.NoError(t, err)
	assert.Contains(t, table, ",'-1,", "no cell begins as a formula does")

	f.stdin = table
	_, stdout, _, err := f.run(t.Context(), "undo", "--of", "-", "--dry-run")
	require.NoError(t, err)
	assert.Equal(t, 5, strings.Count(stdout, "\n"), stdout)
	status, _, _, err := f.run(t.Context(), "undo", "--of", "-")
	require.NoError(t, err)
	assert.Equal(t, allDone, status)
	for id, want := range map[string]flashback.Role{"-1": flashback.RoleWorkspaces, "user-2": flashback.RoleBilling} {
		u, _ := f.backend.User(id)
		assert.False(t, u.Deleted())
		assert.Equal(t, want, u.Role)
	}
	third, _ := f.backend.User("user-3")
	assert.True(t, third.Deleted())
	f.stdin = "id\n"
	_, _, _, err = f.run(t.Context(), "undo", "--of", "-")
	require.ErrorContains(t, err, "nothing that export has written")
}

func TestAUserCanBeTakenOutOfAStore(t *testing.T) {
	t.Parallel()
	onEachStore(t, func(t *testing.T, f *fixture) {
		t.Helper()
		f.backend.AddUser(flashbacktest.User{ID: "user-2"})
		f.stdin = "user-1\nuser-2\n"
		status, _, _, err := f.run(t.Context(), "delete", "--ids", "-")
		require.NoError(t, err)
		assert.Equal(t, someRefused, status)
		f.stdin = "user-1\n"
		_, _, stderr, err := f.run(t.Context(), "forget", "--ids", "-", "--task", "delete")
		require.NoError(t, err)
		assert.Contains(t, stderr, "1 of 1 are taken out.")
		assert.Equal(t, map[string]verdict{"user-2": "deleted"}, f.verdicts())
		status, stdout, _, err := f.run(t.Context(), "status")
		require.NoError(t, err)
		assert.Equal(t, allDone, status)
		assert.Contains(t, stdout, "delete\n      1  deleted ")
	})
}

func TestAListOfNobodyStopsTheRun(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	lines := make([]string, 500)
	for n := range lines {
		lines[n] = fmt.Sprint("nobody-", n)
	}
	ids := f.list(lines)
	status, _, _, err := f.run(t.Context(), "activate", "--ids", ids)
	require.ErrorContains(t, err, "the first 100 users are all not found")
	assert.Equal(t, couldNot, status)
	assert.Less(t, f.activations(), 150)
	status, _, _, err = f.run(t.Context(), "resume", "--not-found-ok")
	require.NoError(t, err)
	assert.Equal(t, someRefused, status)
	assert.Equal(t, 500, f.activations())
}

func TestATaskIsOfOneOperation(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.backend.AddUser(flashbacktest.User{ID: "user-1"})
	f.stdin = "user-1\n"
	_, _, _, err := f.run(t.Context(), "role", "--role", "BILLING", "--task", "mine", "--ids", "-")
	require.NoError(t, err)
	for _, args := range [][]string{{"role", "--role", "USER"}, {"delete"}} {
		_, _, _, err := f.run(t.Context(), append(args, "--task", "mine", "--ids", "-")...)
		require.ErrorContains(t, err, `the task "mine" is to role BILLING`)
	}
	names := []string{}
	for _, u := range f.backend.Requests() {
		if u.Method != http.MethodGet {
			names = append(names, u.Path)
		}
	}
	assert.Len(t, slices.Compact(names), 1)
}
