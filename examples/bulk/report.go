package main

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Expressions of SQL.
const (
	verdictOf = "coalesce(metadata -> 'output' ->> 'verdict', 'due')"
	errorOf   = "coalesce(metadata -> 'output' ->> 'error', '')"
)

// table writes how many users have which verdict, with an example of each, and returns
// the exit status.
func (s *store) table(ctx context.Context, task string, out io.Writer) (status int, err error) {
	rows, err := s.db.QueryContext(ctx, "SELECT "+verdictOf+", count(*), coalesce(nullif(max("+errorOf+"), ''), min(args ->> 'id')) FROM river_job WHERE queue = $1 GROUP BY 1 ORDER BY 1", task)
	if err != nil {
		return 0, err
	}
	defer func() { _ = rows.Close() }() // Err tells
	users := 0
	for rows.Next() {
		var v verdict
		var n int
		var example string
		if err := rows.Scan(&v, &n, &example); err != nil {
			return 0, err
		}
		fmt.Fprintf(out, "%7d  %-14s  such as %s\n", n, v, example)
		users += n
		switch v {
		case activated, recovered, alreadyActive:
		case due, unknown, failed:
			status = somethingDue
		case notFound, invalid, refused, forbidden:
			status = max(status, someRefused)
		}
	}
	fmt.Fprintf(out, "%7d  users\n", users)
	return status, rows.Err()
}

// export writes the verdicts of all users in a store.
func export(ctx context.Context, o options, stdout io.Writer) error {
	s, err := openStore(ctx, o.store, false)
	if err != nil {
		return err
	}
	defer s.close()
	rows, err := s.db.QueryContext(ctx, "SELECT args ->> 'backend', args ->> 'task', args ->> 'id', "+verdictOf+
		", CAST(attempt AS text), coalesce(CAST(finalized_at AS text), ''), "+errorOf+" FROM river_job ORDER BY id")
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }() // Err tells
	names := []string{"backend", "task", "id", "verdict", "attempts", "finished", "error"}
	table := csv.NewWriter(stdout)
	write := table.Write
	if o.json {
		write = func(row []string) error {
			object := map[string]string{}
			for i, value := range row {
				object[names[i]] = value
			}
			return json.NewEncoder(stdout).Encode(object)
		}
	} else {
		err = table.Write(names)
	}
	for r := make([]string, len(names)); err == nil && rows.Next(); {
		if err = rows.Scan(&r[0], &r[1], &r[2], &r[3], &r[4], &r[5], &r[6]); err == nil {
			err = write(r)
		}
	}
	table.Flush()
	return errors.Join(err, rows.Err(), table.Error())
}
