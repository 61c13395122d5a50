package flashback_test

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	flashback "github.com/flashbacknetwork/flashback-go"
	"github.com/flashbacknetwork/flashback-go/flashbacktest"
)

// The Go blocks of README.md run as they stand, in a module of a user's. Only the
// library's default address is another then: that of a fake backend.
func TestREADME(t *testing.T) {
	t.Parallel()
	readme := readFile(t, "README.md")
	backend := flashbacktest.New(t)
	user := newUserModule(t, backend)

	var programs, tests []string
	for _, block := range codeBlocks(readme, "go") {
		if strings.HasPrefix(block, "package main\n") {
			programs = append(programs, block)
		} else {
			tests = append(tests, block)
		}
	}
	require.Len(t, programs, 3, "each has its subtest")
	require.Len(t, tests, 1, "each has its subtest")

	t.Run("first program", func(t *testing.T) {
		t.Parallel()
		run := user.build(t, programs[0])
		backend.AddDeletedUser("user-1")
		out, err := run(backend.Token())
		require.NoError(t, err)
		assert.Equal(t, "user-1 is active: User activated successfully\n", out)

		_, err = run(backend.Token())
		require.Error(t, err, "the user is active")
		_, err = run("")
		require.Error(t, err, "there is no token")
	})

	t.Run("deleted in the last week", func(t *testing.T) {
		t.Parallel()
		own := flashbacktest.New(t)
		run := newUserModule(t, own).build(t, programs[1])
		for id, ago := range map[string]time.Duration{"yesterday": 24 * time.Hour, "long-ago": 30 * 24 * time.Hour} {
			at := time.Now().Add(-ago)
			own.AddUser(flashbacktest.User{ID: id, Email: id + "@example.com", DeletedAt: &at})
		}
		out, err := run(own.Token())
		require.NoError(t, err)
		assert.Equal(t, "yesterday@example.com is active\n", out)
		left, _ := own.User("long-ago")
		assert.True(t, left.Deleted())
	})

	t.Run("errors", func(t *testing.T) {
		t.Parallel()
		run := user.build(t, programs[2])
		backend.AddDeletedUser("user-2")
		answer := func(status int) flashbacktest.Fault {
			return flashbacktest.Respond(status, `{"success": false, "message": "No."}`)
		}
		for _, step := range []struct {
			want   string
			faults []flashbacktest.Fault
		}{
			{"wrong user, or a token without the right", []flashbacktest.Fault{answer(http.StatusForbidden)}},
			{"wrong user, or a token without the right", []flashbacktest.Fault{answer(http.StatusNotFound)}},
			{"not now; try again in 1h0m0s", []flashbacktest.Fault{flashbacktest.RateLimited(time.Hour)}},
			{
				`failed: flashback: organization.users.activate "user-2": bad request: No. (HTTP 400)`,
				[]flashbacktest.Fault{answer(http.StatusBadRequest)},
			},
			{
				"may be active by now: call again, or look",
				[]flashbacktest.Fault{flashbacktest.Drop(), answer(http.StatusForbidden)},
			},
			{"is active", nil},
			{"was active already", nil},
		} {
			backend.ScriptFor("user-2", step.faults...)
			out, err := run(backend.Token())
			require.NoError(t, err)
			assert.Equal(t, step.want+"\n", out)
		}
	})

	t.Run("test", func(t *testing.T) {
		t.Parallel()
		dir := user.write(t, "my_test.go", tests[0])
		assert.Contains(t, user.goCommand(t, "test", "-v", dir), "--- PASS: TestALostAnswer")
	})

	t.Run("tour", func(t *testing.T) {
		t.Parallel()
		command := exec.CommandContext(t.Context(), "go", "run", "./examples/activate")
		command.Env = append(os.Environ(), "FLASHBACK_ACCESS_TOKEN=")
		out, err := command.Output()
		require.NoError(t, err)
		assert.Equal(t, []string{string(out)}, codeBlocks(readme, "text"))
	})
}

// The blocks of docs/testing.md are whole test files, which run as they stand.
func TestTestingPage(t *testing.T) {
	t.Parallel()
	blocks := codeBlocks(readFile(t, "docs/testing.md"), "go")
	require.Len(t, blocks, 3)
	user := newUserModule(t, flashbacktest.New(t))
	for i, want := range []string{"TestRestore", "TestRestoreAll", "TestEachError"} {
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
	page, options, example := readFile(t, "docs/operating.md"), readFile(t, "options.go"), readFile(t, "example_test.go")
	records := regexp.MustCompile("`(flashback: [a-z ]+)` \\| ([A-Z][a-z]+) \\|").FindAllStringSubmatch(page, -1)
	require.Len(t, records, 4)
	for _, r := range records {
		assert.Contains(t, options, `"`+r[1]+`", at `+r[2]+`:`)
	}
	assert.Equal(t, 4, strings.Count(options, `"flashback: `))
	for _, name := range regexp.MustCompile(`\bErr[A-Z]\w+`).FindAllString(readFile(t, "errors.go"), -1) {
		if name != "ErrBadRequest" && name != "ErrInvalidArgument" { // no outage
			assert.Contains(t, page, name)
		}
	}
	for line := range strings.Lines(codeBlocks(page, "go")[0]) {
		assert.Contains(t, example, strings.TrimSpace(line))
	}
}

// The table of options has every option, with the default that its doc comment
// states.
func TestREADMEOptions(t *testing.T) {
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

	listed := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `(With.*?\\))` \\| (.*?) \\|").FindAllStringSubmatch(readFile(t, "README.md"), -1) {
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
}

// The page and the package documentation name every kind of error.
func TestREADMEErrors(t *testing.T) {
	t.Parallel()
	readme, doc := readFile(t, "README.md"), parseGo(t, "doc.go").Doc.Text()
	found := 0
	for name := range parseGo(t, "errors.go").Scope.Objects {
		if strings.HasPrefix(name, "Err") && name != "Error" {
			found++
			assert.Contains(t, readme, "`"+name+"`")
			assert.Contains(t, doc, "["+name+"]")
		}
	}
	assert.NotZero(t, found)
}

func TestPagesLinkToWhatIsThere(t *testing.T) {
	t.Parallel()
	for _, page := range []string{"README.md", "docs/operating.md", "docs/proof.md"} {
		links := regexp.MustCompile(`\]\(([^):]+)\)`).FindAllStringSubmatch(readFile(t, page), -1)
		for _, link := range links {
			_, err := os.Stat(filepath.Join(filepath.Dir(page), link[1]))
			assert.NoError(t, err, page)
		}
	}
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
