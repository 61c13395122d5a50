package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
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
	"github.com/riverqueue/river/rivertype"
	_ "modernc.org/sqlite" // the driver
)

// activate is a user's job: one for each backend, task and ID, in whatever state it is.
type activate struct {
	Backend string `json:"backend"`
	Task    string `json:"task"`
	ID      string `json:"id"`
}

const kind = "flashback_activate"

func (activate) Kind() string { return kind }

func (activate) InsertOpts() river.InsertOpts {
	return river.InsertOpts{MaxAttempts: maxAttempts, UniqueOpts: river.UniqueOpts{ByArgs: true, ByState: rivertype.JobStates()}}
}

// queue is for the jobs of one backend and task, so that no others are worked.
func (a activate) queue() string {
	hash := fnv.New32a()
	fmt.Fprintf(hash, "%s %s", a.Backend, a.Task)
	name := regexp.MustCompile("[^a-z0-9]+").ReplaceAllString(strings.ToLower(a.Task+" "+strings.TrimPrefix(a.Backend, "https://")), "-")
	return fmt.Sprintf("%s-%08x", strings.Trim(name[:min(len(name), 50)], "-"), hash.Sum32())
}

// store is the database with the jobs.
type store struct {
	name   string
	db     *sql.DB
	driver riverdriver.Driver[*sql.Tx]
	tables string // a query for the names of its tables
}

// openStore opens a SQLite file or PostgreSQL. If no file is to be made, one that does
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
		s = &store{
			fmt.Sprintf("postgres://%s:%d/%s", config.Host, config.Port, config.Database), db, riverdatabasesql.New(db),
			"SELECT table_name FROM information_schema.tables WHERE table_schema = current_schema()",
		}
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
		s = &store{name, db, riversqlite.New(db), "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"}
	}
	var err error
	for range 5 { // another process may be at it
		if err = s.prepare(ctx); err == nil {
			return s, nil
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
		}
	}
	s.close()
	return nil, fmt.Errorf("%s can't be used; look into it, or give another -store: %w", s.name, err)
}

// prepare makes the tables, or makes sure that they are this command's: River discards
// stuck jobs of a kind that is not known here.
func (s *store) prepare(ctx context.Context) error {
	tables, err := column(ctx, s.db, s.tables)
	if err != nil {
		return err
	}
	if i := slices.IndexFunc(tables, func(name string) bool { return !strings.HasPrefix(name, "river_") }); i >= 0 {
		return fmt.Errorf("its table %q is another program's", tables[i])
	}
	migrator, err := rivermigrate.New(s.driver, &rivermigrate.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	existing, err := migrator.ExistingVersions(ctx)
	if err != nil {
		return err
	} else if len(existing) > len(migrator.AllVersions()) {
		return fmt.Errorf("a newer version of this program made it, with schema %d", len(existing))
	}
	if _, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return err
	}
	kinds, err := column(ctx, s.db, "SELECT kind FROM river_job WHERE kind <> $1 LIMIT 1", kind)
	if len(kinds) > 0 {
		return fmt.Errorf("its jobs %q are another program's", kinds[0])
	}
	return err
}

// column is the first column of a query's result.
func column(ctx context.Context, db *sql.DB, query string, args ...any) (values []string, err error) {
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

const unfinished = "state IN ('available', 'pending', 'retryable', 'running', 'scheduled')"

// ids are the users of a queue, sorted.
func (s *store) ids(ctx context.Context, queue, condition string) ([]string, error) {
	ids, err := column(ctx, s.db, "SELECT args ->> 'id' FROM river_job WHERE queue = $1 AND "+condition, queue)
	slices.Sort(ids)
	return ids, err
}

// due counts a queue's jobs that are not finished, and those of them that some process has.
func (s *store) due(ctx context.Context, queue string) (due, running int, err error) {
	row := s.db.QueryRowContext(ctx, "SELECT count(*), count(CASE WHEN state = 'running' THEN 1 END) FROM river_job WHERE queue = $1 AND "+unfinished, queue)
	err = row.Scan(&due, &running)
	return due, running, err
}

// others are the backends and tasks beside that of the queue for which users are due.
func (s *store) others(ctx context.Context, queue string) ([]string, error) {
	return column(ctx, s.db, "SELECT count(*) || ' of ' || min(args ->> 'backend') || ', task ' || min(args ->> 'task')"+
		" FROM river_job WHERE queue <> $1 AND "+unfinished+" GROUP BY queue", queue)
}

// add adds users, and makes those due again that were given up, forbidden, or canceled
// on the page. After an error it has done nothing.
func (s *store) add(ctx context.Context, client *river.Client[*sql.Tx], job activate, users []string) error {
	again, err := column(ctx, s.db, "SELECT id FROM river_job WHERE queue = $1 AND (state = 'discarded' OR state = 'cancelled' AND "+
		"coalesce(metadata -> 'output' ->> 'verdict', '') NOT IN ('not found', 'invalid', 'refused'))", job.queue())
	if err != nil {
		return err
	}
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // of what is not committed
	for batch := range slices.Chunk(users, 2000) {
		jobs := make([]river.InsertManyParams, len(batch))
		for i, id := range batch {
			jobs[i] = river.InsertManyParams{Args: activate{job.Backend, job.Task, id}, InsertOpts: &river.InsertOpts{Queue: job.queue()}}
		}
		if _, err := client.InsertManyTx(ctx, tx, jobs); err != nil {
			return err
		}
	}
	for _, id := range again {
		n, _ := strconv.ParseInt(id, 10, 64) // it is a number
		if _, err := client.JobRetryTx(ctx, tx, n); err != nil {
			return err
		}
	}
	return tx.Commit()
}

func (s *store) close() { _ = s.db.Close() }
