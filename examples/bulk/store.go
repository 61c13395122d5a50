package main

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverdatabasesql"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivermigrate"
	_ "modernc.org/sqlite" // the driver
)

// store is the database with the jobs.
type store struct {
	name   string
	db     *sql.DB
	driver riverdriver.Driver[*sql.Tx]
}

// openStore opens PostgreSQL or a SQLite file, in a mode of SQLite's: rw, or rwc to make it.
func openStore(ctx context.Context, name, mode string) (*store, error) {
	var s *store
	if strings.HasPrefix(name, "postgres://") || strings.HasPrefix(name, "postgresql://") {
		config, err := pgx.ParseConfig(name)
		if err != nil {
			return nil, fmt.Errorf("-store: %w", err) // without the password
		}
		db := stdlib.OpenDB(*config)
		db.SetMaxOpenConns(8)
		s = &store{"postgres://" + config.Host + "/" + config.Database, db, riverdatabasesql.New(db)}
	} else {
		file := url.URL{Scheme: "file", OmitHost: true, Path: filepath.ToSlash(name)}
		db, err := sql.Open("sqlite", file.String()+"?mode="+mode+"&_txlock=immediate&_pragma=busy_timeout(60000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)")
		if err != nil {
			return nil, err
		}
		db.SetMaxOpenConns(1) // as River's driver asks for
		s = &store{name, db, riversqlite.New(db)}
	}
	migrator, err := rivermigrate.New(s.driver, &rivermigrate.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	for range 5 { // another process may be at it
		if _, err = migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err == nil {
			if _, err = migrator.ExistingVersions(ctx); err == nil {
				return s, nil
			}
			err = fmt.Errorf("its tables are of another version: %w", err)
		}
		<-time.After(200 * time.Millisecond)
	}
	s.close()
	return nil, fmt.Errorf("%s can't be used; look into it, or give another -store: %w", s.name, err)
}

// Conditions: who needs nothing more, in any run, and who is this run's.
const (
	settled    = "coalesce(metadata -> 'output' ->> 'verdict', '') IN ('activated', 'recovered', 'already active', 'not found', 'invalid', 'refused')"
	unfinished = "state IN ('available', 'pending', 'retryable', 'running', 'scheduled')"
)

// check makes sure that all jobs are this command's and for this backend, as River would
// discard others that are stuck. It returns how many the task has, and an ID that is open.
func (s *store) check(ctx context.Context, job activate) (all int, open string, err error) {
	var other string
	row := s.db.QueryRowContext(ctx, "SELECT count(CASE WHEN queue = $1 THEN 1 END), coalesce(min(CASE WHEN queue = $1 AND NOT "+settled+" THEN args ->> 'id' END), ''),"+
		" coalesce(max(CASE WHEN kind <> $2 THEN kind WHEN args ->> 'backend' <> $3 THEN 'users of ' || (args ->> 'backend') END), '') FROM river_job", job.Task, kind, job.Backend)
	if err = row.Scan(&all, &open, &other); other != "" {
		err = fmt.Errorf("%s has %s; give another -store for those of %s", s.name, other, job.Backend)
	}
	return all, open, err
}

// count counts a task's jobs, those that are due, and those that a process has begun.
func (s *store) count(ctx context.Context, task string) (all, due, running int, err error) {
	row := s.db.QueryRowContext(ctx, "SELECT count(*), count(CASE WHEN "+unfinished+" THEN 1 END), count(CASE WHEN state = 'running' THEN 1 END)"+
		" FROM river_job WHERE queue = $1", task)
	err = row.Scan(&all, &due, &running)
	return all, due, running, err
}

// add adds the users that are new, and makes those due again that were given up. After an
// error it has done nothing; nor in a dry run, which writes who is due then.
func (s *store) add(ctx context.Context, client *river.Client[*sql.Tx], job activate, users []string, dryRun io.Writer) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // of what is not committed
	if _, err := tx.ExecContext(ctx, "UPDATE river_job SET state = 'available', finalized_at = NULL, max_attempts = attempt + $2"+
		" WHERE queue = $1 AND NOT "+unfinished+" AND NOT "+settled, job.Task, maxAttempts); err != nil {
		return err
	}
	for batch := range slices.Chunk(users, 2000) {
		jobs := make([]river.InsertManyParams, len(batch))
		for i, id := range batch {
			job.ID = id
			jobs[i].Args = job
		}
		if _, err := client.InsertManyTx(ctx, tx, jobs); err != nil {
			return err
		}
	}
	if dryRun == nil {
		return tx.Commit()
	}
	rows, err := tx.QueryContext(ctx, "SELECT args ->> 'id' FROM river_job WHERE queue = $1 AND "+unfinished+" ORDER BY 1", job.Task)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }() // Err tells
	for id := ""; rows.Next() && rows.Scan(&id) == nil; {
		fmt.Fprintln(dryRun, id)
	}
	return rows.Err()
}

func (s *store) close() { _ = s.db.Close() }
