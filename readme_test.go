package flashback_test

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	flashback "github.com/flashbacknetwork/flashback-go"
	"github.com/flashbacknetwork/flashback-go/flashbacktest"
)

// The programs of the pages run as they stand, in a module of a user's. Only the
// library's default address is another then: that of a fake backend.
func TestREADME(t *testing.T) {
	t.Parallel()
	readme := readFile(t, "README.md")
	assert.Less(t, len(strings.Fields(readme)), 900)
	blocks := codeBlocks(readme, "go")
	require.Len(t, blocks, 3, "each has its subtest")

	t.Run("first program", func(t *testing.T) {
		t.Parallel()
		backend := flashbacktest.New(t)
		run := newUserModule(t, backend).build(t, blocks[0])
		backend.AddDeletedUser("user-1")
		out, err := run(backend.Token())
		require.NoError(t, err)
		assert.Equal(t, "user-1 is active\n", out)

		_, err = run(backend.Token())
		require.Error(t, err, "the user is active")
		_, err = run("")
		require.Error(t, err, "there is no token")
	})

	t.Run("errors", func(t *testing.T) {
		t.Parallel()
		assertFromExamples(t, blocks[1])
	})

	t.Run("test", func(t *testing.T) {
		t.Parallel()
		user := newUserModule(t, flashbacktest.New(t))
		dir := user.write(t, "my_test.go", blocks[2])
		assert.Contains(t, user.goCommand(t, "test", "-v", dir), "--- PASS: TestALostResponse")
	})
}

func TestVerdictsPage(t *testing.T) {
	t.Parallel()
	command := exec.CommandContext(t.Context(), "go", "run", "./examples/activate")
	command.Env = append(os.Environ(), "FLASHBACK_ACCESS_TOKEN=")
	out, err := command.Output()
	require.NoError(t, err)
	assert.Equal(t, []string{string(out)}, codeBlocks(readFile(t, "docs/verdicts.md"), "text"))
}

func TestWorkspacesPage(t *testing.T) {
	t.Parallel()
	command := exec.CommandContext(t.Context(), "go", "run", "./examples/offboard")
	command.Env = append(os.Environ(), "FLASHBACK_ACCESS_TOKEN=")
	out, err := command.Output()
	require.NoError(t, err)
	page := readFile(t, "docs/workspaces.md")
	assert.Equal(t, []string{string(out)}, codeBlocks(page, "text"))
	blocks := codeBlocks(page, "go")
	require.Len(t, blocks, 2)
	newUserModule(t, flashbacktest.New(t)).build(t, `package main

import (
	"context"
	"net/url"
	"os"

	flashback "github.com/flashbacknetwork/flashback-go"
)

func main() {
	var (
		ctx                                = context.Background()
		client                             *flashback.Client
		password, pin, workspaceID, repoID string
	)
	func() {
		`+blocks[0]+`
		_, _ = membership, err
	}()
	`+blocks[1]+`
	_ = err
}
`)
}

func TestErrorsPage(t *testing.T) {
	t.Parallel()
	page := readFile(t, "docs/errors.md")
	for _, name := range kindsOfErrors(t) {
		assert.Contains(t, page, "`"+name+"`")
	}

	backend := flashbacktest.New(t)
	backend.AddDeletedUser("user-2")
	blocks := codeBlocks(page, "go")
	require.Len(t, blocks, 1)
	run := newUserModule(t, backend).build(t, blocks[0])
	refused := func(status int) flashbacktest.Fault {
		return flashbacktest.Respond(status, `{"success": false, "message": "No."}`)
	}
	for _, step := range []struct {
		want   string
		faults []flashbacktest.Fault
	}{
		{"wrong user, or a token without the right", []flashbacktest.Fault{refused(http.StatusForbidden)}},
		{"wrong user, or a token without the right", []flashbacktest.Fault{refused(http.StatusNotFound)}},
		{"not now; try again in 1h0m0s", []flashbacktest.Fault{flashbacktest.RateLimited(time.Hour)}},
		{
			`failed: flashback: organization.users.activate "user-2": bad request: No. (POST ` + backend.URL +
				`/organization/users/user-2/activate, HTTP 400)`,
			[]flashbacktest.Fault{refused(http.StatusBadRequest)},
		},
		{
			"may be active: call again, or get the user",
			[]flashbacktest.Fault{flashbacktest.Drop(), refused(http.StatusForbidden)},
		},
		{"is active", nil},
		{"was active already", nil},
	} {
		backend.ScriptFor("user-2", step.faults...)
		out, err := run(backend.Token())
		require.NoError(t, err)
		assert.Equal(t, step.want+"\n", out)
	}
}

// The blocks of docs/testing.md are whole test files, which run as they stand.
func TestTestingPage(t *testing.T) {
	t.Parallel()
	blocks := codeBlocks(readFile(t, "docs/testing.md"), "go")
	require.Len(t, blocks, 4)
	user := newUserModule(t, flashbacktest.New(t))
	for i, want := range []string{"TestRestore", "TestTheBackendStalls", "TestRestoreAll", "TestEachError"} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			dir := user.write(t, "my_test.go", blocks[i])
			assert.Contains(t, user.goCommand(t, "test", "-v", dir), "--- PASS: "+want+" ")
		})
	}
}

// What docs/operating.md says of the log is what the doc comment of WithLogger says, and
// its pattern is that of the example.
func TestOperatingPage(t *testing.T) {
	t.Parallel()
	page, options := readFile(t, "docs/operating.md"), readFile(t, "options.go")
	records := regexp.MustCompile("`(flashback: [a-z ]+)` \\| ([A-Z][a-z]+) \\|").FindAllStringSubmatch(page, -1)
	listed := map[string]bool{}
	for _, r := range records {
		listed[r[1]] = true
		assert.Contains(t, options, `"`+r[1]+`", at `+r[2]+`:`)
	}
	files, err := filepath.Glob("internal/call/*.go")
	require.NoError(t, err)
	logged := map[string]bool{}
	for _, file := range append(files, "endpoint.go", "session.go", "renewer.go", "change.go") {
		if !strings.HasSuffix(file, "_test.go") {
			for _, m := range regexp.MustCompile(`"(flashback: [a-z ]+)"`).FindAllStringSubmatch(readFile(t, file), -1) {
				logged[m[1]] = true
			}
		}
	}
	assert.Equal(t, logged, listed)
	assert.Equal(t, len(listed), strings.Count(options, `"flashback: `))
	noOutage := []string{
		"ErrBadRequest", "ErrSelfDeletion", "ErrRoleCombination", "ErrNoFields", "ErrWorkspaceNotEmpty", "ErrTargetUserNotFound", "ErrInvalidArgument", "ErrNotSent",
	}
	for _, name := range kindsOfErrors(t) {
		if !slices.Contains(noOutage, name) {
			assert.Contains(t, page, name)
		}
	}
	assertFromExamples(t, codeBlocks(page, "go")[0])
}

// Of the program for the users who were deleted in the last week, everybody is either
// activated, too old, or named as left over.
func TestOperatingPagesProgram(t *testing.T) {
	t.Parallel()
	backend := flashbacktest.New(t)
	blocks := codeBlocks(readFile(t, "docs/operating.md"), "go")
	require.Len(t, blocks, 3)
	run := newUserModule(t, backend).build(t, blocks[1])
	yesterday, longAgo := time.Now().AddDate(0, 0, -1), time.Now().AddDate(0, 0, -30)
	for id, at := range map[string]time.Time{"yesterday": yesterday, "refused": yesterday, "long-ago": longAgo} {
		backend.AddUser(flashbacktest.User{ID: id, DeletedAt: &at})
	}
	element := func(id, at string) string { return fmt.Sprintf(`{"id": %q, "deletedAt": %q}`, id, at) }
	backend.Script(flashbacktest.Respond(http.StatusOK, `{"success": true, "total": 6, "data": [`+strings.Join([]string{
		element("refused", yesterday.Format(time.RFC3339)), element("odd", "last week"), `{"id": "active", "deletedAt": null}`,
		element("long-ago", longAgo.Format(time.RFC3339)), element("yesterday", yesterday.Format(time.RFC3339)),
	}, ",")+`]}`))
	backend.ScriptFor("refused", flashbacktest.Respond(http.StatusForbidden, `{"success": false, "message": "No."}`))

	out, err := run(backend.Token())
	assert.Equal(t, "yesterday is active\n", out)
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	assert.Equal(t, 1, exit.ExitCode())
	left := string(exit.Stderr)
	assert.Contains(t, left, "it has 5 of 6 users")
	assert.Contains(t, left, "odd: deleted at a time that can't be read\n")
	assert.Contains(t, left, `"refused": forbidden: No.`)
	assert.NotContains(t, left, "long-ago")
	user, _ := backend.User("long-ago")
	assert.True(t, user.Deleted())

	out, err = run(backend.Token())
	require.NoError(t, err)
	assert.Equal(t, "refused is active\n", out)
}

// The table of options has every option, with the default that its doc comment
// states.
func TestOptionsPage(t *testing.T) {
	t.Parallel()
	options := map[string]string{} // to their doc comments
	for _, declaration := range parseGo(t, "options.go").Decls {
		if f, ok := declaration.(*ast.FuncDecl); ok && strings.HasPrefix(f.Name.Name, "With") {
			var parameters []string
			for _, field := range f.Type.Params.List {
				for _, name := range field.Names {
					parameters = append(parameters, name.Name)
				}
			}
			options[f.Name.Name+"("+strings.Join(parameters, ", ")+")"] = strings.Join(strings.Fields(f.Doc.Text()), " ")
		}
	}
	require.NotEmpty(t, options)

	page := readFile(t, "docs/options.md")
	listed := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `(With.*?\\))` \\| (.*?) \\|").FindAllStringSubmatch(page, -1) {
		option, byDefault := row[1], row[2]
		listed[option] = byDefault
		doc, ok := options[option]
		if !assert.True(t, ok, "%s is no option", option) {
			continue
		}
		switch {
		case option == "WithBaseURL(rawURL)":
			assert.Equal(t, "`"+flashback.DefaultBaseURL+"`", byDefault)
		case regexp.MustCompile(`^\d`).MatchString(byDefault):
			stated := strings.ReplaceAll(byDefault, ", ", " and ")
			assert.Regexp(t, `default is `+regexp.QuoteMeta(stated)+`[.;]`, doc)
		default:
			assert.NotContains(t, doc, "The default is", "of %s", option)
		}
	}
	for option := range options {
		assert.Contains(t, listed, option)
	}
	assertFromExamples(t, strings.Join(codeBlocks(page, "go"), ""))
}

// The package documentation says what each call rests on.
func TestPackageDocumentation(t *testing.T) {
	t.Parallel()
	_, sources, found := strings.Cut(parseGo(t, "doc.go").Doc.Text(), "# Sources\n")
	require.True(t, found)
	for _, name := range []string{"List", "Get", "Create", "Update", "Delete", "Activate", "ResendInvitation"} {
		assert.Contains(t, sources, name)
	}
}

// kindsOfErrors are the names of all kinds of failure.
func kindsOfErrors(t *testing.T) []string {
	t.Helper()
	var names []string
	for _, declaration := range parseGo(t, "errorkinds.go").Decls {
		values, ok := declaration.(*ast.GenDecl)
		if !ok || values.Tok != token.VAR {
			continue
		}
		for _, spec := range values.Specs {
			value, _ := spec.(*ast.ValueSpec)
			if name := value.Names[0].Name; strings.HasPrefix(name, "Err") {
				names = append(names, name)
			}
		}
	}
	require.NotEmpty(t, names)
	return names
}

// assertFromExamples asserts that each line of code is in an example, which is compiled
// and run.
func assertFromExamples(t *testing.T, code string) {
	t.Helper()
	example := readFile(t, "example_test.go")
	require.NotEmpty(t, code)
	for line := range strings.Lines(code) {
		if line = strings.TrimSpace(line); !strings.HasPrefix(line, "//") {
			assert.Contains(t, example, line)
		}
	}
}

func TestPagesLinkToWhatIsThere(t *testing.T) {
	t.Parallel()
	pages, err := filepath.Glob("docs/*.md")
	require.NoError(t, err)
	for _, page := range append(pages, "README.md", "CONTRIBUTING.md", "SECURITY.md") {
		links := regexp.MustCompile(`\]\(([^):]+)\)`).FindAllStringSubmatch(readFile(t, page), -1)
		for _, link := range links {
			path, heading, _ := strings.Cut(link[1], "#")
			path = filepath.Join(filepath.Dir(page), path)
			_, err := os.Stat(path)
			require.NoError(t, err, page)
			if heading != "" {
				assert.Regexp(t, `(?im)^#+ `+strings.ReplaceAll(heading, "-", " ")+`$`, readFile(t, path), page)
			}
		}
	}
}

// The program of docs/sessions.md logs in with a second factor, and goes on with its session in the next run.
func TestSessionsPage(t *testing.T) {
	t.Parallel()
	blocks := codeBlocks(readFile(t, "docs/sessions.md"), "go")
	require.Len(t, blocks, 3)
	assert.Equal(t, readFile(t, "examples/session/main.go"), blocks[0])
	for _, block := range blocks[1:] {
		for line := range strings.Lines(block) {
			assert.Contains(t, readFile(t, "example_session_test.go"), strings.TrimSpace(line))
		}
	}

	backend := flashbacktest.New(t)
	backend.AddUser(flashbacktest.User{ID: "jane", Email: "jane@example.com", Password: "Passw0rd", MFACode: "123456", Role: flashback.RoleOwner})
	user := newUserModule(t, backend)
	user.build(t, blocks[0])
	run := func(stdin string) (string, error) {
		command := exec.CommandContext(t.Context(), filepath.Join(user.dir, filepath.Base(t.Name()), "program.exe")) //nolint:gosec // It was just built.
		command.Dir, command.Stdin = user.dir, strings.NewReader(stdin)
		command.Env = append(os.Environ(), "FLASHBACK_EMAIL=jane@example.com", "FLASHBACK_PASSWORD=Passw0rd")
		out, err := command.Output()
		return string(out), err
	}
	logins := func() (n int) {
		for _, r := range backend.Requests() {
			if r.Path == "/user/login" {
				n++
			}
		}
		return n
	}
	out, err := run("123456\n")
	require.NoError(t, err)
	assert.Equal(t, "code: 2 users\n", out)
	out, err = run("")
	require.NoError(t, err)
	assert.Equal(t, "2 users\n", out)
	assert.Equal(t, 1, logins(), "the second run goes on")
	backend.RevokeToken(backend.Requests()[len(backend.Requests())-1].Header.Get("Authorization")[len("Bearer "):])
	_, err = run("")
	require.NoError(t, err, "a refused token is renewed, and kept")
}

func TestChangelogBeginsWithThisVersion(t *testing.T) {
	t.Parallel()
	release := regexp.MustCompile(`(?m)^## \[(\d.*?)\]`).FindStringSubmatch(readFile(t, "CHANGELOG.md"))
	require.NotNil(t, release)
	assert.Equal(t, flashback.Version, release[1])
}

// userModule is a module that requires this one, as a user's does.
type userModule struct{ dir, overlay string }

func newUserModule(t *testing.T, backend *flashbacktest.Server) userModule {
	t.Helper()
	root, err := filepath.Abs(".")
	require.NoError(t, err)
	m := userModule{dir: t.TempDir()}

	const module = "github.com/flashbacknetwork/flashback-go"
	mod := strings.Replace(readFile(t, "go.mod"), "module "+module, "module example.com/mymodule", 1)
	mod += "\nrequire " + module + " v0.0.0\n\nreplace " + module + " => " + root + "\n"
	writeFile(t, filepath.Join(m.dir, "go.mod"), mod)
	writeFile(t, filepath.Join(m.dir, "go.sum"), readFile(t, "go.sum"))

	client := readFile(t, "client.go")
	changed := strings.Replace(client, `DefaultBaseURL = "`+flashback.DefaultBaseURL+`"`, `DefaultBaseURL = "`+backend.URL+`"`, 1)
	require.NotEqual(t, client, changed)
	writeFile(t, filepath.Join(m.dir, "client.txt"), changed)
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{
		filepath.Join(root, "client.go"): filepath.Join(m.dir, "client.txt"),
	}})
	require.NoError(t, err)
	m.overlay = filepath.Join(m.dir, "overlay.json")
	writeFile(t, m.overlay, string(overlay))
	return m
}

// write makes a package of one file, named after the subtest.
func (m userModule) write(t *testing.T, name, text string) string {
	t.Helper()
	dir := filepath.Join(m.dir, filepath.Base(t.Name()))
	require.NoError(t, os.Mkdir(dir, 0o700))
	writeFile(t, filepath.Join(dir, name), text)
	return dir
}

// build builds a program, and returns a function that runs it with an access token
// and returns what it printed.
func (m userModule) build(t *testing.T, text string) func(accessToken string) (string, error) {
	t.Helper()
	dir := m.write(t, "main.go", text)
	path := filepath.Join(dir, "program.exe") // Windows wants the ending, and others do not mind
	m.goCommand(t, "build", "-overlay", m.overlay, "-o", path, dir)
	return func(accessToken string) (string, error) {
		command := exec.CommandContext(t.Context(), path)
		command.Env = append(os.Environ(), "FLASHBACK_ACCESS_TOKEN="+accessToken)
		out, err := command.Output()
		return string(out), err
	}
}

// goCommand runs the go command, which must not fetch anything.
func (m userModule) goCommand(t *testing.T, args ...string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", args...) //nolint:gosec // The arguments are this file's own.
	command.Dir = m.dir
	command.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOPROXY=off", "GOWORK=off")
	out, err := command.CombinedOutput()
	require.NoError(t, err, string(out))
	return string(out)
}

// codeBlocks returns the code blocks of a page that are in the language.
func codeBlocks(page, language string) []string {
	var found []string
	for _, match := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllStringSubmatch(page, -1) {
		found = append(found, match[1])
	}
	return found
}

func parseGo(t *testing.T, path string) *ast.File {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
	require.NoError(t, err)
	return file
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path) //nolint:gosec // The paths are this file's own.
	require.NoError(t, err)
	return string(text)
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
}
