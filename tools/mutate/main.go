// Mutate breaks the rules of the package one at a time and reports whether the tests
// notice. Run it with go run ./mutate in this directory. With an argument, such as
// verdict or retry, it breaks only the rules that have it in their name or file. With -check
// it breaks none, and only says which of them are out of date.
// Nothing in the repository changes: the go command is told to read another file in
// place of the one that is broken.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

func main() {
	check := flag.Bool("check", false, "only check that the text of each mutant stands once in its file")
	flag.Parse()
	if err := run(strings.Join(flag.Args(), " "), *check); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(filter string, check bool) error {
	only, err := regexp.Compile(filter)
	if err != nil {
		return err
	}
	root, err := filepath.Abs("..")
	if err != nil {
		return err
	}
	all, err := generated(root)
	if err != nil {
		return err
	}
	all = slices.DeleteFunc(slices.Concat(mutants, all), func(m mutant) bool { return !only.MatchString(m.file + " " + m.rule) })
	if check {
		return outOfDate(root, all)
	}
	dir, err := os.MkdirTemp("", "mutate")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }() // what is left is in the temporary folder
	t := tester{root: root, dir: dir}
	if err := t.write("", nil); err != nil {
		return err
	}
	for _, tests := range []string{"./internal/...", ".", "./proof"} {
		if output, ok := t.pass(tests); !ok {
			return fmt.Errorf("the tests fail without a mutant:\n%s", output)
		}
	}
	begun, tried, bad := time.Now(), 0, 0
	for _, m := range all {
		tried++
		verdict, noticed := t.try(m)
		if !noticed {
			bad++
		}
		fmt.Printf("%-24s %-70s %s\n", m.file, m.rule, verdict)
	}
	fmt.Printf("%d mutants, %d not noticed, %v\n", tried, bad, time.Since(begun).Round(time.Second))
	if bad > 0 {
		return fmt.Errorf("%d rules can be broken without a test noticing", bad)
	}
	return nil
}

// outOfDate says which mutants have no place in the file that they break.
func outOfDate(root string, all []mutant) error {
	bad := 0
	for _, m := range all {
		if _, err := m.text(root); err != nil {
			bad++
			fmt.Printf("%-24s %-70s %v\n", m.file, m.rule, err)
		}
	}
	if bad > 0 {
		return fmt.Errorf("%d of %d mutants are out of date", bad, len(all))
	}
	return nil
}

// text returns the broken file.
func (m mutant) text(root string) ([]byte, error) {
	source, err := os.ReadFile(filepath.Join(root, m.file))
	if err != nil {
		return nil, err
	}
	if n := strings.Count(string(source), m.old); n != 1 {
		return nil, fmt.Errorf("OUT OF DATE: %q stands there %d times", m.old, n)
	}
	return []byte(strings.Replace(string(source), m.old, m.broken, 1)), nil
}

// tester runs tests of the repository in root.
type tester struct{ root, dir string }

// write makes the go command read text in place of a file.
func (t *tester) write(file string, text []byte) error {
	replaced := map[string]string{}
	if file != "" {
		replaced[filepath.Join(t.root, file)] = filepath.Join(t.dir, "broken.go")
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replaced})
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(t.dir, "broken.go"), text, 0o600),
		os.WriteFile(filepath.Join(t.dir, "overlay.json"), overlay, 0o600),
	)
}

// try tells which test notices a mutant.
func (t *tester) try(m mutant) (verdict string, noticed bool) {
	text, err := m.text(t.root)
	if err != nil {
		return err.Error(), false
	}
	if err := t.write(m.file, text); err != nil {
		return err.Error(), false
	}
	for _, tests := range suites(m.file) {
		output, ok := t.pass(tests...)
		switch {
		case strings.Contains(output, "[build failed]"), strings.Contains(output, "[setup failed]"):
			return "DOES NOT COMPILE: " + output, false
		case !ok:
			if name := failed.FindStringSubmatch(output); name != nil {
				return name[1], true
			}
			return "a panic or a timeout in " + tests[0], true
		}
	}
	return "NOT NOTICED", false
}

var failed = regexp.MustCompile(`(?m)^--- FAIL: (\w+)`)

// suites are the tests that may notice a mutant in a file, the fast ones first.
func suites(file string) (all [][]string) {
	dir := path.Dir(file)
	if dir != "." {
		all = append(all, []string{"./" + dir})
	}
	if strings.HasPrefix(dir, "internal/") && dir != "internal/call" {
		all = append(all, []string{"./internal/call"})
	}
	return append(all, []string{"."}, []string{"./proof"})
}

// pass runs tests of packages or of files: all but those of the pages' programs.
func (t *tester) pass(tests ...string) (output string, ok bool) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	args := slices.Concat([]string{
		"test", "-overlay", filepath.Join(t.dir, "overlay.json"), "-short", "-failfast", "-vet=off", "-ldflags=-s -w", "-timeout=3m", "-skip=README|Page",
	}, tests)
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = t.root
	out, err := cmd.CombinedOutput()
	return string(out), err == nil
}
