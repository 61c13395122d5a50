package main

import (
	"context"
	"database/sql"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
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

var errNoJobs = errors.New("there are no jobs in it")

// openStore opens PostgreSQL or a SQLite file, or for "" a temporary store. It makes what is
// missing, unless the store is only to be read.
func openStore(ctx context.Context, name string, readOnly bool) (s *store, err error) {
	const unusable = "%s can't be used; look into it, or give another -store: %w"
	if strings.HasPrefix(name, "postgres://") || strings.HasPrefix(name, "postgresql://") {
		config, err := pgx.ParseConfig(name)
		if err != nil {
			return nil, fmt.Errorf("-store: %w", err) // without the password
		}
		db := stdlib.OpenDB(*config)
		db.SetMaxOpenConns(8)
		s = &store{"postgres://" + config.Host + "/" + config.Database, db, riverdatabasesql.New(db)}
	} else if s, err = openFile(ctx, name, readOnly); err != nil {
		return nil, fmt.Errorf(unusable, name, err)
	}
	migrator, err := rivermigrate.New(s.driver, &rivermigrate.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	for try := 0; !readOnly && try < 5; try++ {
		if _, err = migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err == nil {
			break
		}
		<-time.After(200 * time.Millisecond) // another process may be at it
	}
	if err == nil {
		versions, failed := migrator.ExistingVersions(ctx)
		if len(versions) > 0 {
			return s, nil
		} else if err = errNoJobs; failed != nil {
			err = fmt.Errorf("its tables can't be read, or are of another version: %w", failed)
		}
	}
	s.close()
	return nil, fmt.Errorf(unusable, s.name, err)
}

// openFile opens a SQLite file: to be read even where the directory can't be written to.
func openFile(ctx context.Context, name string, readOnly bool) (*store, error) {
	if !readOnly {
		if file, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600); err == nil { // for nobody else to read; else SQLite tells
			_ = file.Close()
		}
		s, err := openSQLite(ctx, name, "mode=rw&_txlock=immediate&_pragma=synchronous(FULL)")
		if err == nil {
			_, err = s.db.ExecContext(ctx, "PRAGMA journal_mode(WAL)")
		}
		return s, err
	}
	if _, err := os.Stat(name); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %w", errNoJobs, err)
	}
	s, err := openSQLite(ctx, name, "mode=ro")
	if _, log := os.Stat(name + "-wal"); err != nil && log != nil { // so nobody is at work, and all is in the file
		return openSQLite(ctx, name, "mode=ro&immutable=1")
	}
	return s, err
}

// openSQLite opens a file with our tables or none.
func openSQLite(ctx context.Context, name, how string) (*store, error) {
	file := url.URL{Scheme: "file", OmitHost: true, Path: filepath.ToSlash(name)}
	db, err := sql.Open("sqlite", file.String()+"?_pragma=busy_timeout(60000)&"+how)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1) // as River's driver asks for
	tables, err := column(ctx, db, "SELECT name FROM sqlite_master")
	if err == nil && len(tables) > 0 && !slices.Contains(tables, "river_migration") {
		err = errors.New("it is another program's")
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &store{name, db, riversqlite.New(db)}, nil
}

// Expressions of SQL, and conditions: who needs nothing more, in any run, and who is this run's.
const (
	verdictOf  = "coalesce(metadata -> 'output' ->> 'verdict', 'due')"
	errorOf    = "coalesce(metadata -> 'output' ->> 'error', '')"
	settled    = "coalesce(metadata -> 'output' ->> 'verdict', '') IN ('activated', 'recovered', 'already active', 'not found', 'invalid', 'refused')"
	unfinished = "state IN ('available', 'pending', 'retryable', 'running', 'scheduled')"
)

// count counts a task's jobs, those that are due, and those that a process has begun.
func (s *store) count(ctx context.Context, task string) (all, due, running int, err error) {
	err = s.db.QueryRowContext(ctx, "SELECT count(*), count(CASE WHEN "+unfinished+" THEN 1 END), count(CASE WHEN state = 'running' THEN 1 END)"+
		" FROM river_job WHERE queue = $1", task).Scan(&all, &due, &running)
	return all, due, running, err
}

// add adds users, and makes those due again that were given up. After an error it has done
// nothing.
func (s *store) add(ctx context.Context, client *river.Client[*sql.Tx], job activate, users []string) error {
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
	return tx.Commit()
}

// column is the first column of a query's result, sorted.
func column(ctx context.Context, db *sql.DB, query string, args ...any) (values []string, err error) {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // Err tells
	for value := ""; err == nil && rows.Next(); values = append(values, value) {
		err = rows.Scan(&value)
	}
	slices.Sort(values)
	return values, errors.Join(err, rows.Err())
}

func (s *store) close() { _ = s.db.Close() }

// table says how many users have which verdict, with an example of each.
func (s *store) table(ctx context.Context, task string) (text string, status int, err error) {
	var out strings.Builder
	rows, err := s.db.QueryContext(ctx, "SELECT "+verdictOf+", count(*), coalesce(nullif(max("+errorOf+"), ''), min(args ->> 'id')) FROM river_job WHERE queue = $1 GROUP BY 1 ORDER BY 1", task)
	if err != nil {
		return "", 0, err
	}
	defer func() { _ = rows.Close() }() // Err tells
	users := 0
	for rows.Next() {
		v, n, example := verdict(""), 0, ""
		if err := rows.Scan(&v, &n, &example); err != nil {
			return "", 0, err
		}
		fmt.Fprintf(&out, "%7d  %-14s  such as %s\n", n, v, example)
		users += n
		switch v {
		case activated, recovered, alreadyActive:
		case due, unknown, failed:
			status = somethingDue
		case notFound, invalid, refused, forbidden:
			status = max(status, someRefused)
		}
	}
	fmt.Fprintf(&out, "%7d  users\n", users)
	return out.String(), status, rows.Err()
}

// export writes the verdicts of all users in a store.
func export(ctx context.Context, o options, stdout io.Writer) error {
	s, err := openStore(ctx, o.store, true)
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
