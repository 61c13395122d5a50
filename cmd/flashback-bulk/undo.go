package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// inverse is the operation that undoes another.
var inverse = map[string]string{"activate": "delete", "delete": "activate", "role": "role"}

func (c *cli) undoCommand() *cobra.Command {
	cmd := c.command("undo", "Undo what an export says was done", func(cmd *cobra.Command) error { return c.undoExport(cmd.Context()) })
	cmd.Long = `Undo what an export says was done: who was activated is deleted, who was deleted is activated,
and who got a role gets the former one. That is a new task for each one that is undone. Only those
count whose verdict is that it was done: not those who were so before.`
	cmd.Flags().StringVar(&c.undo, "of", "", "a `file` that export has written, as CSV; leave out the lines that are to stay; - is standard input")
	cmd.Flags().IntVar(&c.most, "most", 10_000, "refuse more users than this, as a guard against mistakes")
	cmd.Flags().BoolVar(&c.dryRun, "dry-run", false, "say who would be changed, and change nothing")
	_ = cmd.MarkFlagRequired("of") // there is such a flag
	c.workFlags(cmd.Flags())
	return cmd
}

func (c *cli) undoExport(ctx context.Context) error {
	backend, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer backend.close()
	rows, err := withFile(c.undo, c.stdin, readExport)
	if err != nil {
		return err
	}
	tasks := map[string][]user{}
	skipped := 0
	for _, row := range rows {
		if u, can := undone(row); can && row["backend"] == backend.url {
			u.Backend = backend.url
			tasks[u.Task] = append(tasks[u.Task], u)
		} else {
			skipped++
		}
	}
	c.bar.say("%d lines of %s have nothing that can be undone here.", skipped, c.undo)
	names := make([]string, 0, len(tasks))
	for task := range tasks {
		names = append(names, task)
	}
	for _, task := range slices.Sorted(slices.Values(names)) {
		users := tasks[task]
		if c.dryRun {
			for _, u := range users {
				if _, err := fmt.Fprintln(c.stdout, u.What, printable(u.ID)); err != nil {
					return err
				}
			}
		} else if err := c.begin(ctx, backend, users[0], users); err != nil {
			return err
		}
	}
	return nil
}

// undone is what undoes a line of an export, if anything does.
func undone(row map[string]string) (u user, can bool) {
	op := operationOf(row["operation"])
	back := inverse[row["operation"]]
	if op == nil || back == "" || row["verdict"] != string(op.done) && row["verdict"] != string(recovered) {
		return user{}, false
	}
	u = user{ID: row["id"], Operation: back, Task: "undo-" + row["task"], What: back}
	if back == "role" {
		role, err := parseRole(row["former"])
		if err != nil {
			return user{}, false
		}
		u.Role, u.What = &role, "role as before"
	}
	return u, true
}

func readExport(name string, r io.Reader) ([]map[string]string, error) {
	text, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	table, err := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(text, []byte("\ufeff")))).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(table) == 0 || !slices.Contains(table[0], "operation") || !slices.Contains(table[0], "former") {
		return nil, fmt.Errorf("%s is nothing that export has written, as CSV with its header line", name)
	}
	rows := make([]map[string]string, 0, len(table))
	for _, line := range table[1:] {
		row := map[string]string{}
		for i, value := range line {
			row[table[0][i]] = uncell(value)
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// uncell is the text that cell has made of it.
func uncell(value string) string {
	if text, quoted := strings.CutPrefix(value, "'"); quoted && cell(text) == value {
		return text
	}
	return value
}

func (c *cli) forgetCommand() *cobra.Command {
	cmd := c.command("forget", "Take users out of a task, so that they can be added again", func(cmd *cobra.Command) error {
		ctx := cmd.Context()
		if c.source.file == "" || c.task == "" {
			return errors.New("give --ids and --task")
		}
		ids, err := withFile(c.source.file, c.stdin, readIDs)
		if err != nil {
			return err
		}
		s, err := openStore(ctx, c.store, true) // which makes none
		if err != nil {
			return err
		}
		s.close()
		if s, err = openStore(ctx, c.store, false); err != nil {
			return err
		}
		defer s.close()
		n, err := s.forget(ctx, c.task, ids)
		if err == nil {
			c.bar.say("%d of %d are taken out.", n, len(ids))
		}
		return err
	})
	cmd.Flags().StringVar(&c.source.file, "ids", "", "a `file` with one ID of the store a line; - is standard input")
	cmd.Flags().StringVar(&c.task, "task", "", "the `name` of the task")
	return cmd
}

// forget removes the jobs of users, but for those that a process is busy with.
func (s *store) forget(ctx context.Context, task string, ids []string) (n int64, err error) {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return 0, err
	}
	defer func() { _ = tx.Rollback() }() // of what is not committed
	for _, id := range ids {
		done, err := tx.ExecContext(ctx, "DELETE FROM river_job WHERE queue = $1 AND args ->> 'id' = $2 AND state <> 'running'", task, id)
		if err != nil {
			return 0, err
		}
		one, _ := done.RowsAffected() // both drivers know
		n += one
	}
	return n, tx.Commit()
}
