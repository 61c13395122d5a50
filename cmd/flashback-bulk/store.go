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
	"github.com/jackc/pgx/v5/pgconn"
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
	alive  *alive
}

var errNoJobs = errors.New("there are no jobs in it")

// openStore opens PostgreSQL or a SQLite file, or for "" a temporary store. It makes what is
// missing, unless the store is only to be read.
func openStore(ctx context.Context, name string, readOnly bool) (s *store, err error) {
	const unusable = "%s can't be used; look into it, or give another --store: %w"
	isPostgres := strings.HasPrefix(name, "postgres://") || strings.HasPrefix(name, "postgresql://")
	if !isPostgres && (strings.Contains(name, "://") || strings.Contains(name, "host=") || strings.Contains(name, "dbname=")) { // each machine would get a file of its own
		return nil, fmt.Errorf(unusable, withoutPassword(name), errors.New("it is neither a file nor postgres://…"))
	}
	if isPostgres {
		config, err := pgx.ParseConfig(name)
		if err != nil {
			return nil, fmt.Errorf("--store: %w", err) // without the password
		}
		db := stdlib.OpenDB(*config)
		db.SetMaxOpenConns(8)
		s = &store{"postgres://" + config.Host + "/" + config.Database, db, riverdatabasesql.New(db), nil}
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
	var failure *pgconn.PgError
	if errors.As(err, &failure) && (failure.Code == "26000" || failure.Code == "42P05") { // a prepared statement is missing, or is there
		err = fmt.Errorf("behind PgBouncer in transaction mode, add default_query_exec_mode=exec to the address: %w", err)
	}
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
	return &store{name, db, riversqlite.New(db), nil}, nil
}

// Expressions of SQL, and conditions: who needs nothing more, in any run, and who is this run's.
// An invitation whose outcome is unknown may have been sent.
const (
	verdictOf  = "CASE WHEN state = 'cancelled' AND metadata ->> 'cancel_attempted_at' IS NOT NULL THEN 'canceled' ELSE coalesce(metadata -> 'output' ->> 'verdict', 'due') END"
	errorOf    = "coalesce(metadata -> 'output' ->> 'error', '')"
	settled    = "(" + verdictOf + " NOT IN ('due', 'unknown', 'failed', 'forbidden') OR " + mayNot + ")"
	mayNot     = "(args ->> 'operation' = 'invite' AND " + verdictOf + " = 'unknown')"
	unfinished = "state IN ('available', 'pending', 'retryable', 'running', 'scheduled')"
)

// counts says how many users of a task there are, in what state.
type counts struct {
	all, due int
	running  int // begun by a process
	later    int // due again at some time
	paused   bool
}

func (s *store) count(ctx context.Context, task string) (n counts, err error) {
	err = s.db.QueryRowContext(ctx, "SELECT count(*), count(CASE WHEN "+unfinished+" THEN 1 END), count(CASE WHEN state = 'running' THEN 1 END),"+
		" count(CASE WHEN state IN ('retryable', 'scheduled') THEN 1 END), (SELECT count(*) > 0 FROM river_queue WHERE name = $1 AND paused_at IS NOT NULL)"+
		" FROM river_job WHERE queue = $1", task).Scan(&n.all, &n.due, &n.running, &n.later, &n.paused)
	return n, err
}

// known returns the IDs of a task's users, sorted.
func known(ctx context.Context, db querier, task string) ([]string, error) {
	return column(ctx, db, "SELECT args ->> 'id' FROM river_job WHERE queue = $1", task)
}

// add adds those users to a task that it does not have, and makes those due again that were
// given up. After an error it has done nothing.
func (s *store) add(ctx context.Context, client *river.Client[*sql.Tx], task string, users []user, repeatUnknown bool, said func(done int)) error {
	for try := 0; ; try++ {
		err := s.addOnce(ctx, client, task, users, repeatUnknown, said)
		var failure *pgconn.PgError
		if !errors.As(err, &failure) || failure.Code != "40P01" && failure.Code != "40001" || try == 5 { // a deadlock, or another transaction was first
			return err
		}
	}
}

func (s *store) addOnce(ctx context.Context, client *river.Client[*sql.Tx], task string, users []user, repeatUnknown bool, said func(done int)) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // of what is not committed
	if s.isPostgres() {                  // SQLite's transaction is alone by itself
		if _, err := tx.ExecContext(ctx, "SELECT pg_advisory_xact_lock(hashtextextended('flashback-bulk adds', 0))"); err != nil {
			return err
		}
	}
	if repeatUnknown {
		empty := "jsonb('{}')"
		if s.isPostgres() {
			empty = "'{}'"
		}
		forget := "UPDATE river_job SET state = 'available', finalized_at = NULL, errors = NULL, max_attempts = attempt + $2, metadata = " + empty +
			" WHERE queue = $1 AND NOT " + unfinished + " AND " + mayNot
		if _, err := tx.ExecContext(ctx, forget, task, maxAttempts); err != nil {
			return err
		}
	}
	if _, err := tx.ExecContext(ctx, "UPDATE river_job SET state = 'available', finalized_at = NULL, max_attempts = attempt + $2"+
		" WHERE queue = $1 AND NOT "+unfinished+" AND NOT "+settled, task, maxAttempts); err != nil {
		return err
	}
	ids, err := known(ctx, tx, task)
	if err != nil {
		return err
	}
	users = unknownTo(ids, users)
	for i, batch := range slices.Collect(slices.Chunk(users, 2000)) {
		jobs := make([]river.InsertManyParams, len(batch))
		for i := range batch {
			jobs[i].Args = batch[i]
		}
		if _, err := client.InsertManyTx(ctx, tx, jobs); err != nil {
			return err
		}
		said(2000*i + len(batch))
	}
	return tx.Commit()
}

// unknownTo returns the users whose IDs are not among those, which are sorted.
func unknownTo(ids []string, users []user) []user {
	return slices.DeleteFunc(slices.Clone(users), func(u user) bool {
		_, found := slices.BinarySearch(ids, u.ID)
		return found
	})
}

func (s *store) isPostgres() bool { return strings.HasPrefix(s.name, "postgres://") }

// querier is a database or a transaction.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// column is the first column of a query's result, sorted.
func column(ctx context.Context, db querier, query string, args ...any) (values []string, err error) {
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

func (s *store) close() {
	if s.alive != nil {
		s.alive.close()
	}
	_ = s.db.Close()
}

// table says how many users of a task have which verdict, with an example of each.
func (s *store) table(ctx context.Context, task string) (text string, status int, err error) {
	var out strings.Builder
	rows, err := s.db.QueryContext(ctx, "SELECT "+verdictOf+", count(*), max(CASE WHEN "+mayNot+" THEN 1 ELSE 0 END), coalesce(nullif(max("+errorOf+"), ''), min(args ->> 'id'))"+
		" FROM river_job WHERE queue = $1 GROUP BY 1 ORDER BY 1", task)
	if err != nil {
		return "", 0, err
	}
	defer func() { _ = rows.Close() }() // Err tells
	users := 0
	for rows.Next() {
		v, n, final, example := verdict(""), 0, false, ""
		if err := rows.Scan(&v, &n, &final, &example); err != nil {
			return "", 0, err
		}
		fmt.Fprintf(&out, "%7d  %-15s  such as %s\n", n, v, printable(example))
		users += n
		switch {
		case slices.Contains([]verdict{due, unknown, failed}, v) && !final:
			status = somethingDue
		case slices.Contains([]verdict{unknown, notFound, invalid, refused, forbidden, canceled}, v):
			status = max(status, someRefused)
		}
	}
	fmt.Fprintf(&out, "%7d  users\n", users)
	return out.String(), status, rows.Err()
}

// export writes the verdicts of all users in a store.
func export(ctx context.Context, name string, asJSON bool, stdout io.Writer) error {
	s, err := openStore(ctx, name, true)
	if err != nil {
		return err
	}
	defer s.close()
	rows, err := s.db.QueryContext(ctx, "SELECT args ->> 'backend', args ->> 'task', args ->> 'operation', args ->> 'id', "+verdictOf+
		", CAST(attempt AS text), coalesce(CAST(finalized_at AS text), ''), "+errorOf+
		", coalesce(metadata -> 'output' ->> 'created', ''), coalesce(metadata -> 'output' ->> 'former', '') FROM river_job ORDER BY id")
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }() // Err tells
	names := []string{"backend", "task", "operation", "id", "verdict", "attempts", "finished", "error", "created", "former"}
	table := csv.NewWriter(stdout)
	write := func(row []string) error {
		for i := range row {
			row[i] = cell(row[i])
		}
		return table.Write(row)
	}
	if asJSON {
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
	row := make([]string, len(names))
	places := make([]any, len(names))
	for i := range row {
		places[i] = &row[i]
	}
	for err == nil && rows.Next() {
		if err = rows.Scan(places...); err == nil {
			err = write(row)
		}
	}
	table.Flush()
	return errors.Join(err, rows.Err(), table.Error())
}

// cell is a text that no spreadsheet takes for a formula.
func cell(text string) string {
	if text != "" && strings.ContainsRune("=+-@\t\r", rune(text[0])) {
		return "'" + text
	}
	return text
}

// withoutPassword is a store's name for a message.
func withoutPassword(name string) string {
	if before, after, found := strings.Cut(name, "@"); found && strings.Contains(before, ":") {
		return "…@" + after
	} else if strings.Contains(name, "password=") {
		return "this"
	}
	return name
}
