package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
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

// openStore opens PostgreSQL or a SQLite file. If no file is to be made, one that does
// not exist is empty.
func openStore(ctx context.Context, name string, create bool) (*store, error) {
	var s *store
	if strings.HasPrefix(name, "postgres://") || strings.HasPrefix(name, "postgresql://") {
		config, err := pgx.ParseConfig(name)
		if err != nil {
			return nil, fmt.Errorf("-store: %w", err) // without the password
		}
		db := stdlib.OpenDB(*config)
		db.SetMaxOpenConns(8)
		s = &store{fmt.Sprintf("postgres://%s:%d/%s", config.Host, config.Port, config.Database), db, riverdatabasesql.New(db)}
	} else {
		if strings.Contains(name, "://") {
			return nil, fmt.Errorf("%s is no store; give another -store, which is a file or postgres://…", name)
		}
		path := (&url.URL{Path: filepath.ToSlash(name)}).EscapedPath()
		if _, err := os.Stat(name); errors.Is(err, os.ErrNotExist) && !create {
			path = ":memory:"
		}
		db, err := sql.Open("sqlite", "file:"+path+"?_txlock=immediate&_pragma=busy_timeout(60000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)")
		if err != nil {
			return nil, err
		}
		db.SetMaxOpenConns(1) // as River's driver asks for
		s = &store{name, db, riversqlite.New(db)}
	}
	var err error
	for range 5 { // another process may be at it
		if err = s.migrate(ctx); err == nil {
			return s, nil
		}
		<-time.After(200 * time.Millisecond)
	}
	s.close()
	return nil, fmt.Errorf("%s can't be used; look into it, or give another -store: %w", s.name, err)
}

// migrate makes the tables, or brings them to this version.
func (s *store) migrate(ctx context.Context) error {
	migrator, err := rivermigrate.New(s.driver, &rivermigrate.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	if _, err = migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err == nil {
		_, err = migrator.ExistingVersions(ctx) // fails if there is one from the future
	}
	if err != nil {
		return fmt.Errorf("its tables can't be brought to this version: %w", err)
	}
	return nil
}

// check makes sure that all jobs are this command's and for this backend. River would
// discard others that are stuck.
func (s *store) check(ctx context.Context, backend string) error {
	others, err := column(ctx, s.db, "SELECT coalesce('users of ' || (args ->> 'backend'), kind) FROM river_job"+
		" WHERE kind <> $1 OR args ->> 'backend' <> $2 LIMIT 1", kind, backend)
	if len(others) > 0 {
		return fmt.Errorf("%s has %s; give another -store for those of %s", s.name, others[0], backend)
	}
	return err
}

// Conditions: who needs nothing more, in any run, and who is this run's.
const (
	settled    = "coalesce(metadata -> 'output' ->> 'verdict', '') IN ('activated', 'recovered', 'already active', 'not found', 'invalid', 'refused')"
	unfinished = "state IN ('available', 'pending', 'retryable', 'running', 'scheduled')"
)

// count counts a task's jobs, those that are not finished, and of these those that some
// process has.
func (s *store) count(ctx context.Context, task string) (all, due, running int, err error) {
	row := s.db.QueryRowContext(ctx, "SELECT count(*), count(CASE WHEN "+unfinished+" THEN 1 END), count(CASE WHEN state = 'running' THEN 1 END)"+
		" FROM river_job WHERE queue = $1", task)
	err = row.Scan(&all, &due, &running)
	return all, due, running, err
}

// add adds the users that are new, makes those due again that were given up, and
// returns who is due. After an error, or in a dry run, it has done nothing.
func (s *store) add(ctx context.Context, client *river.Client[*sql.Tx], job activate, users []string, dryRun bool) (due []string, err error) {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return nil, err
	}
	defer func() { _ = tx.Rollback() }() // of what is not committed
	again, err := column(ctx, tx, "SELECT id FROM river_job WHERE queue = $1 AND NOT "+unfinished+" AND NOT "+settled, job.Task)
	if err != nil {
		return nil, err
	}
	for _, id := range again {
		n, _ := strconv.ParseInt(id, 10, 64) // it is a number
		if _, err := client.JobRetryTx(ctx, tx, n); err != nil {
			return nil, err
		}
	}
	for batch := range slices.Chunk(users, 2000) {
		jobs := make([]river.InsertManyParams, len(batch))
		for i, id := range batch {
			job.ID = id
			jobs[i].Args = job
		}
		if _, err := client.InsertManyTx(ctx, tx, jobs); err != nil {
			return nil, err
		}
	}
	if dryRun {
		return column(ctx, tx, "SELECT args ->> 'id' FROM river_job WHERE queue = $1 AND "+unfinished+" ORDER BY id", job.Task)
	}
	return nil, tx.Commit()
}

func (s *store) close() { _ = s.db.Close() }

type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// column is the first column of a query's result.
func column(ctx context.Context, db querier, query string, args ...any) (values []string, err error) {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // Err tells
	for rows.Next() {
		var value string
		if err := rows.Scan(&value); err != nil {
			return nil, err
		}
		values = append(values, value)
	}
	return values, rows.Err()
}
