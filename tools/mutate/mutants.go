package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// mutant breaks a rule: old stands in file once, and is replaced by broken.
type mutant struct{ file, rule, old, broken string }

// in are the mutants of a file, each a rule, the old text and the broken one.
func in(file string, list ...[3]string) (all []mutant) {
	for _, m := range list {
		all = append(all, mutant{file, m[0], m[1], m[2]})
	}
	return all
}

var mutants = slices.Concat(engine, internals, public, files)

// generated are the mutants of what is regular: the cells of tables, and lines of which
// each does the same to another field.
func generated(root string) (all []mutant, err error) {
	without := func(rule string) func([]string) mutant {
		return func(m []string) mutant { return mutant{rule: rule + m[1], old: m[0], broken: m[2]} }
	}
	flip := map[string]string{"true": "false", "false": "true"}
	for _, g := range []struct {
		file, pattern string
		mutant        func(m []string) mutant
	}{
		{"internal/verdict/attempt.go", `\t(\w+): +\{applied: (\w+),`, func(m []string) mutant {
			return mutant{rule: m[1] + " may have been applied, or not", old: m[0], broken: strings.Replace(m[0], m[2], flip[m[2]], 1)}
		}},
		{"internal/verdict/attempt.go", `\t(\w+): +\{applied: \w+, retryable: (\w+)`, func(m []string) mutant {
			return mutant{rule: m[1] + " is tried again, or not", old: m[0], broken: strings.Replace(m[0], "retryable: "+m[2], "retryable: "+flip[m[2]], 1)}
		}},
		{"internal/verdict/attempt.go", `\t(\w+): +\{applied: \w+, retryable: \w+(, responded: true)?\}`, func(m []string) mutant {
			if m[2] == "" {
				return mutant{rule: m[1] + " tells nothing", old: m[0], broken: strings.Replace(m[0], "}", ", responded: true}", 1)}
			}
			return mutant{rule: m[1] + " is a decision", old: m[0], broken: strings.Replace(m[0], m[2], "", 1)}
		}},
		{"internal/attempt/sent.go", `\t(\d+): +(\w+), +// (\w+)`, func(m []string) mutant {
			return mutant{rule: "the alert " + m[3] + " heals, or not", old: m[0], broken: strings.Replace(m[0], m[2], flip[m[2]], 1)}
		}},
		{"users.go", `\tsetIfGiven\(&wanted\.(\w+), update\.\w+\)()\n`, without("an update without a user in the response returns ")},
		{"organization.go", `\tsetIfGiven\(&org\.(\w+), update\.\w+\)()\n`, without("an update without an organization in the response returns ")},
		{"user_decode.go", `u\.(\w+), _ = (jsonvalue\.String\(value\))`, without("a user has ")},
	} {
		source, err := os.ReadFile(filepath.Join(root, g.file))
		if err != nil {
			return nil, err
		}
		found := regexp.MustCompile(g.pattern).FindAllStringSubmatch(string(source), -1)
		if found == nil {
			return nil, fmt.Errorf("%s has nothing like %s", g.file, g.pattern)
		}
		for _, m := range found {
			one := g.mutant(m)
			one.file = g.file
			if !slices.Contains(equivalent, one.rule) {
				all = append(all, one)
			}
		}
	}
	return all, nil
}

// equivalent are mutants that no test can notice.
var equivalent = []string{
	// The call ends there, and is a success whatever came before.
	"Succeeded may have been applied, or not", "Succeeded is tried again, or not", "AlreadySo is tried again, or not",
}
