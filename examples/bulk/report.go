package main

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
)

// Expressions of SQL.
const (
	verdictOf = "coalesce(metadata -> 'output' ->> 'verdict', 'due')"
	errorOf   = "coalesce(metadata -> 'output' ->> 'error', '')"
)

// table writes how many users have which verdict, with an example of each, and returns
// the exit status.
func (s *store) table(ctx context.Context, task string, out io.Writer) (status int, err error) {
	rows, err := s.db.QueryContext(ctx, "SELECT "+verdictOf+", count(*), min(args ->> 'id'), max("+errorOf+") FROM river_job WHERE queue = $1 GROUP BY 1 ORDER BY 1", task)
	if err != nil {
		return couldNot, err
	}
	defer func() { _ = rows.Close() }() // Err tells
	users := 0
	for rows.Next() {
		var v verdict
		var n int
		var example, why string
		if err := rows.Scan(&v, &n, &example, &why); err != nil {
			return couldNot, err
		}
		if why != "" {
			example = why // which has an ID
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
func export(ctx context.Context, args []string, stdout, stderr io.Writer) (int, error) {
	flags := flag.NewFlagSet("bulk export", flag.ContinueOnError)
	flags.SetOutput(stderr)
	name := flags.String("store", "bulk.db", storeUsage)
	lines := flags.Bool("json", false, "write a JSON object a line, not CSV")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return allActive, err
	} else if err != nil || flags.NArg() > 0 {
		return couldNot, errors.Join(err, errors.New("bulk export takes -store and -json alone"))
	}
	if _, err := os.Stat(*name); err != nil && !strings.Contains(*name, "://") {
		return couldNot, err
	}
	s, err := openStore(ctx, *name, false)
	if err != nil {
		return couldNot, err
	}
	defer s.close()
	rows, err := s.db.QueryContext(ctx, "SELECT args ->> 'backend', args ->> 'task', args ->> 'id', "+verdictOf+
		", CAST(attempt AS text), coalesce(CAST(finalized_at AS text), ''), "+errorOf+" FROM river_job ORDER BY id")
	if err != nil {
		return couldNot, err
	}
	defer func() { _ = rows.Close() }() // Err tells
	names := []string{"backend", "task", "id", "verdict", "attempts", "finished", "error"}
	table := csv.NewWriter(stdout)
	write := table.Write
	if *lines {
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
	if err := errors.Join(err, rows.Err(), table.Error()); err != nil {
		return couldNot, err
	}
	return allActive, nil
}
