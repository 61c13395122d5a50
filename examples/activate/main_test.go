package main

import (
	"bytes"
	"context"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/flashbacknetwork/flashback-go/flashbacktest"
)

const refused = `{"success": false, "message": "Insufficient permissions to activate users"}`

// result is what the command did.
type result struct {
	status         int
	stdout, stderr string
}

// command runs the command with an environment.
func command(ctx context.Context, env map[string]string, args ...string) result {
	var stdout, stderr bytes.Buffer
	status := run(ctx, args, func(name string) string { return env[name] }, &stdout, &stderr)
	return result{status, stdout.String(), stderr.String()}
}

// environment is that of a command that uses the backend.
func environment(backend *flashbacktest.Server) map[string]string {
	return map[string]string{"FLASHBACK_ACCESS_TOKEN": backend.Token(), "FLASHBACK_BASE_URL": backend.URL}
}

// TestMain is the command itself for a test that needs it as a process.
func TestMain(m *testing.M) {
	if os.Getenv("TEST_AS_COMMAND") != "" {
		main()
	}
	os.Exit(m.Run())
}

func TestTour(t *testing.T) {
	t.Parallel()
	got := command(t.Context(), nil)
	require.Equal(t, 0, got.status, got.stderr)
	assert.Empty(t, got.stderr)
	for _, row := range [][]string{
		{"deleted", "200 User activated successfully", "success"},
		{"active", "400 User is not deleted", "ErrUserNotDeleted"},
		{"elsewhere", "403 Insufficient permissions to activate users", "ErrForbidden"},
		{"nobody", "404 User not found", "ErrNotFound"},
		{"unlucky", "500 Internal server error, 5 times", "ErrServer"},
		{"ErrOutcomeUnknown"},
		{"request 1", "activates the user; no response comes"},
		{"request 2", "changes nothing; the response is 400 User is not deleted"},
		{"the user", "is active, says the backend"},
		{"the last response", "read alone, reports a failure: User is not deleted"},
		{"Activate", "reports success: Recovered=true, Attempts=2"},
	} {
		assert.Regexp(t, `(?m)^ +`+strings.Join(row, "  +")+`$`, got.stdout)
	}
	lines := strings.Split(strings.TrimSuffix(got.stdout, "\n"), "\n")
	assert.LessOrEqual(t, len(lines), 24, "it fits on one screen")
	for _, line := range lines {
		assert.LessOrEqual(t, utf8.RuneCountInString(line), 80, line)
	}
	assert.NotContains(t, got.stdout, "request 3")
	assert.Equal(t, got, command(t.Context(), nil), "it says the same each time")
}

func TestOnABackend(t *testing.T) {
	t.Parallel()
	twice := []flashbacktest.Fault{flashbacktest.Drop(), flashbacktest.Respond(http.StatusForbidden, refused)}
	for name, test := range map[string]struct {
		faults   []flashbacktest.Fault
		args     []string
		token    func(good string) string // nil for the good one
		noToken  bool
		baseURL  string // "" for the backend's
		status   int
		stdout   string
		stderr   string   // a part of it
		stderrNo []string // not in it
		requests int
	}{
		"activated": {
			args:     []string{"user-1"},
			stdout:   "User \"user-1\" is active, by this call. The server's message: \"User activated successfully\"\n",
			requests: 1,
		},
		"recovered": {
			args:     []string{"user-1"},
			faults:   []flashbacktest.Fault{flashbacktest.LoseResponse(flashbacktest.CutResponse)},
			stdout:   "User \"user-1\" is active, most likely by this call; a response was lost.\n",
			requests: 2,
		},
		"control characters of the server do not reach the terminal": {
			args:     []string{"user-1"},
			faults:   []flashbacktest.Fault{flashbacktest.Respond(http.StatusOK, `{"success": true, "message": "\u001b[2J"}`)},
			stdout:   "User \"user-1\" is active, by this call. The server's message: \"\\x1b[2J\"\n",
			requests: 1,
		},
		"a token with a newline": {
			args:     []string{"user-1"},
			token:    func(good string) string { return good + "\n" },
			stdout:   "User \"user-1\" is active, by this call. The server's message: \"User activated successfully\"\n",
			requests: 1,
		},
		"a failure": {
			args:     []string{"nobody"},
			status:   1,
			stderr:   `"nobody": not found: User not found (`,
			stderrNo: []string{"Run this again"},
			requests: 1,
		},
		"an unknown outcome": {
			args:     []string{"user-1"},
			faults:   twice,
			status:   3,
			stderr:   "\nThe user may be active. Run this again, or get the user.\n",
			requests: 2,
		},
		"a bad token": {
			args:     []string{"user-1"},
			token:    func(string) string { return "not-a-token-of-the-backend" },
			status:   1,
			stderr:   "unauthorized",
			requests: 1,
		},
		"a token that can't be one": {
			args:   []string{"user-1"},
			token:  func(good string) string { return "Bearer " + good },
			status: 2,
			stderr: `the access token starts with "Bearer "; pass the token alone`,
		},
		"a token that is blank": {
			args:   []string{"user-1"},
			token:  func(string) string { return " \n" },
			status: 2,
			stderr: "the access token is empty",
		},
		"a bad base URL": {
			args:    []string{"user-1"},
			baseURL: "https://user:a-password@localhost",
			status:  2,
			stderr:  "the base URL has user info", stderrNo: []string{"a-password"},
		},
		"no ID":             {status: 2, stderr: "give one argument: the ID of the user to activate\n"},
		"two IDs":           {args: []string{"user-1", "user-2"}, status: 2, stderr: "give one argument"},
		"an empty ID":       {args: []string{""}, status: 2, stderr: "the ID is empty"},
		"an ID alone":       {args: []string{"user-1"}, noToken: true, status: 2, stderr: "FLASHBACK_ACCESS_TOKEN is not set"},
		"help":              {args: []string{"--help"}, stdout: usage},
		"help beside an ID": {args: []string{"-h", "user-1"}, stdout: usage},
		"an unknown flag":   {args: []string{"-force", "user-1"}, status: 2, stderr: "flag provided but not defined: -force"},
		"an ID like a flag": {args: []string{"--", "-1"}, status: 1, stderr: "User not found", requests: 1},
		"an ID like a path": {args: []string{"../user-1"}, status: 1, stderr: "User not found", requests: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			backend := flashbacktest.New(t)
			backend.AddDeletedUser("user-1")
			backend.Script(test.faults...)
			env := environment(backend)
			if test.token != nil {
				env["FLASHBACK_ACCESS_TOKEN"] = test.token(backend.Token())
			}
			if test.noToken {
				delete(env, "FLASHBACK_ACCESS_TOKEN")
			}
			if test.baseURL != "" {
				env["FLASHBACK_BASE_URL"] = test.baseURL
			}

			got := command(t.Context(), env, test.args...)

			assert.Equal(t, test.status, got.status)
			assert.Equal(t, test.stdout, got.stdout)
			if test.stderr == "" {
				assert.Empty(t, got.stderr)
			}
			assert.Contains(t, got.stderr, test.stderr)
			for _, no := range append(test.stderrNo, backend.Token(), "not-a-token-of-the-backend") {
				assert.NotContains(t, got.stderr+got.stdout, no)
			}
			assert.Len(t, backend.Requests(), test.requests)
		})
	}
}

// fullDisk is a file on a disk that is full.
type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, syscall.ENOSPC }

func TestAResultThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	const active = `User "user-1" is active, by this call.`

	t.Run("of an activation is on standard error, and a success", func(t *testing.T) {
		t.Parallel()
		backend := flashbacktest.New(t)
		backend.AddDeletedUser("user-1")
		var stderr bytes.Buffer
		env := environment(backend)
		assert.Equal(t, succeeded, run(t.Context(), []string{"user-1"}, func(name string) string { return env[name] }, fullDisk{}, &stderr))
		assert.Contains(t, stderr.String(), "The result could not be written (no space left on device): "+active)
	})

	t.Run("of anything else is a failure", func(t *testing.T) {
		t.Parallel()
		for _, args := range [][]string{nil, {"-h"}} {
			var stderr bytes.Buffer
			assert.Equal(t, failed, run(t.Context(), args, func(string) string { return "" }, fullDisk{}, &stderr))
			assert.Equal(t, "no space left on device\n", stderr.String())
		}
	})

	t.Run("since the pipe is closed", func(t *testing.T) {
		t.Parallel()
		if runtime.GOOS == "windows" {
			t.Skip("has no SIGPIPE")
		}
		backend := flashbacktest.New(t)
		backend.AddDeletedUser("user-1")
		reader, writer, err := os.Pipe()
		require.NoError(t, err)
		require.NoError(t, reader.Close())
		process := exec.CommandContext(t.Context(), os.Args[0], "user-1") //nolint:gosec // The test runs itself.
		process.Env = append(os.Environ(), "TEST_AS_COMMAND=1", "FLASHBACK_ACCESS_TOKEN="+backend.Token(), "FLASHBACK_BASE_URL="+backend.URL)
		var stderr bytes.Buffer
		process.Stdout, process.Stderr = writer, &stderr
		require.NoError(t, process.Run())
		require.NoError(t, writer.Close())
		assert.Contains(t, stderr.String(), "broken pipe): "+active)
	})
}

func TestCanceled(t *testing.T) {
	t.Parallel()
	const advice = "Run this again"

	t.Run("before", func(t *testing.T) {
		t.Parallel()
		backend := flashbacktest.New(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for _, got := range []result{command(ctx, environment(backend), "user-1"), command(ctx, nil)} {
			assert.Equal(t, 1, got.status)
			assert.Empty(t, got.stdout)
			assert.Contains(t, got.stderr, "context canceled")
			assert.NotContains(t, got.stderr, advice)
		}
		assert.Empty(t, backend.Requests())
	})

	t.Run("while the backend is silent", func(t *testing.T) {
		t.Parallel()
		backend := flashbacktest.New(t)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		backend.Decide(func(*http.Request) flashbacktest.Fault {
			cancel()
			return flashbacktest.Fault{Lose: flashbacktest.Stall}
		})
		got := command(ctx, environment(backend), "user-1")
		assert.Equal(t, 3, got.status)
		assert.Contains(t, got.stderr, "context canceled")
		assert.Contains(t, got.stderr, advice)
	})

	t.Run("by a signal", func(t *testing.T) {
		t.Parallel()
		if runtime.GOOS == "windows" {
			t.Skip("has no SIGTERM")
		}
		backend := flashbacktest.New(t)
		received := make(chan struct{})
		backend.Decide(func(*http.Request) flashbacktest.Fault {
			close(received)
			return flashbacktest.Fault{Lose: flashbacktest.Stall}
		})
		process := exec.CommandContext(t.Context(), os.Args[0], "user-1") //nolint:gosec // The test runs itself.
		process.Env = append(os.Environ(), "TEST_AS_COMMAND=1", "FLASHBACK_ACCESS_TOKEN="+backend.Token(), "FLASHBACK_BASE_URL="+backend.URL)
		var stderr bytes.Buffer
		process.Stderr = &stderr
		require.NoError(t, process.Start())
		<-received
		require.NoError(t, process.Process.Signal(syscall.SIGTERM))
		var exit *exec.ExitError
		require.ErrorAs(t, process.Wait(), &exit)
		assert.Equal(t, unknown, exit.ExitCode())
		assert.Contains(t, stderr.String(), advice)
	})
}
