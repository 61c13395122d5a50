package main

import (
	"context"
	"encoding/csv"
	"errors"
	"flag"
	"fmt"
	"io"
)

// Expressions of SQL. A user who is not settled is due or has been given up, with the
// verdict of the last attempt; on the page, jobs can also be canceled.
const (
	lastError  = "coalesce(metadata -> 'output' ->> 'error', '')"
	verdictNow = "CASE WHEN " + unfinished + " THEN 'due'" +
		" WHEN state = 'cancelled' AND coalesce(metadata -> 'output' ->> 'verdict', 'unknown') IN ('unknown', 'failed') THEN 'canceled'" +
		" ELSE coalesce(metadata -> 'output' ->> 'verdict', 'unknown') END"
)

// table writes how many users have which verdict, with an example of each, and returns
// the exit status.
func (s *store) table(ctx context.Context, queue string, out io.Writer) (status int, err error) {
	rows, err := s.db.QueryContext(ctx, "SELECT "+verdictNow+", count(*), min(args ->> 'id'), max("+lastError+")"+
		" FROM river_job WHERE queue = $1 GROUP BY 1 ORDER BY 1", queue)
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
		case unknown, failed, "due":
			status = somethingDue
		default:
			status = max(status, someRefused)
		}
	}
	fmt.Fprintf(out, "%7d  users\n", users)
	return status, rows.Err()
}

// export writes the verdicts of all users in a store, as CSV.
func export(ctx context.Context, args []string, stdout, stderr io.Writer) (int, error) {
	flags := flag.NewFlagSet("bulk export", flag.ContinueOnError)
	flags.SetOutput(stderr)
	name := flags.String("store", "bulk.db", storeUsage)
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return allActive, err
	} else if err != nil || flags.NArg() > 0 {
		return couldNot, errors.Join(err, errors.New("bulk export takes -store alone"))
	}
	s, err := openStore(ctx, *name, false)
	if err != nil {
		return couldNot, err
	}
	defer s.close()
	rows, err := s.db.QueryContext(ctx, "SELECT args ->> 'backend', args ->> 'task', args ->> 'id', "+verdictNow+
		", CAST(attempt AS text), coalesce(CAST(finalized_at AS text), ''), "+lastError+" FROM river_job ORDER BY id")
	if err != nil {
		return couldNot, err
	}
	defer func() { _ = rows.Close() }() // Err tells
	table := csv.NewWriter(stdout)
	r := []string{"backend", "task", "id", "verdict", "attempts", "finished", "error"}
	for err = table.Write(r); err == nil && rows.Next(); err = errors.Join(err, table.Write(r)) {
		err = rows.Scan(&r[0], &r[1], &r[2], &r[3], &r[4], &r[5], &r[6])
	}
	table.Flush()
	if err := errors.Join(err, rows.Err(), table.Error()); err != nil {
		return couldNot, err
	}
	return allActive, nil
}
