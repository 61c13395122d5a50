package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gofrs/flock"
)

// alive shows other processes that this one is at work with a store, and finds the jobs that
// a killed one had begun: with SQLite by a lock on a file, which all share who are at work;
// with PostgreSQL by an advisory lock for each process.
type alive struct {
	id   string // River's name for this process
	s    *store
	file *flock.Flock
	conn *sql.Conn // has the advisory lock
	dead []string  // which processes had no lock at the last look
	stop context.CancelFunc
	done chan struct{}
}

// lookAlive is how often a process looks for others that were killed. One that has lost its
// database for a moment gets its lock again sooner.
const lookAlive = 2 * time.Second

// join has s show others that this process is at work. Jobs of killed processes are due again.
func (s *store) join(ctx context.Context) error {
	a := &alive{id: fmt.Sprintf("flashback-bulk-%d", time.Now().UnixNano()), s: s, done: make(chan struct{})}
	s.alive = a
	ctx, a.stop = context.WithCancel(context.WithoutCancel(ctx))
	if !s.isPostgres() {
		close(a.done)
		return a.lockFile(ctx)
	}
	err := a.look(ctx)
	go func() {
		defer close(a.done)
		for ctx.Err() == nil {
			select {
			case <-time.After(lookAlive):
				_ = a.look(ctx) // The next look may work.
			case <-ctx.Done():
			}
		}
	}()
	return err
}

func (a *alive) lockFile(ctx context.Context) error {
	if a.s.name == "" {
		return nil // it is nobody else's
	}
	a.file = flock.New(a.s.name+".lock", flock.SetPermissions(0o600))
	alone, err := a.file.TryLock()
	if err == nil && alone {
		_, err = a.s.db.ExecContext(ctx, "UPDATE river_job SET state = 'available', attempt = max(attempt - 1, 0), metadata = jsonb_set(metadata, '$.killed', json('true')) WHERE state = 'running'")
		if err == nil { // who was killed can't give it up
			_, err = a.s.db.ExecContext(ctx, "DELETE FROM river_leader")
		}
		err = errors.Join(err, a.file.Unlock())
	}
	if err == nil {
		err = a.file.RLock()
	}
	return err
}

// isHeld is a condition of SQL: a process has its advisory lock. %s is its name.
const isHeld = "EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())" +
	" AND (classid::bigint << 32) | objid::bigint = hashtextextended(%s, 0))"

const workerOf = "attempted_by[array_upper(attempted_by, 1)]"

// look takes the advisory lock, if this process does not have it, and makes the jobs due again
// of processes that have had none for two looks.
func (a *alive) look(ctx context.Context) error {
	held := false
	if a.conn != nil {
		err := a.conn.QueryRowContext(ctx, "SELECT "+fmt.Sprintf(isHeld, "$1"), a.id).Scan(&held)
		if err != nil {
			_ = a.conn.Close() // it is broken
			a.conn = nil
		}
	}
	if a.conn == nil {
		conn, err := a.s.db.Conn(ctx)
		if err != nil {
			return err
		}
		a.conn = conn
	}
	if !held {
		if _, err := a.conn.ExecContext(ctx, "SELECT pg_advisory_lock(hashtextextended($1, 0))", a.id); err != nil {
			return err
		}
	}
	dead, err := column(ctx, a.conn, "SELECT DISTINCT "+workerOf+" FROM river_job WHERE state = 'running' AND NOT "+fmt.Sprintf(isHeld, workerOf)+
		" UNION SELECT leader_id FROM river_leader WHERE NOT "+fmt.Sprintf(isHeld, "leader_id"))
	if err != nil {
		return err
	}
	for _, id := range dead {
		if !slices.Contains(a.dead, id) || !strings.HasPrefix(id, "flashback-bulk-") {
			continue
		}
		if _, err := a.conn.ExecContext(ctx, "UPDATE river_job SET state = 'available', attempt = greatest(attempt - 1, 0), metadata = metadata || '{\"killed\": true}' WHERE state = 'running' AND "+workerOf+" = $1", id); err != nil {
			return err
		}
		if _, err := a.conn.ExecContext(ctx, "DELETE FROM river_leader WHERE leader_id = $1", id); err != nil {
			return err
		}
	}
	a.dead = dead
	return nil
}

func (a *alive) close() {
	a.stop()
	<-a.done
	if a.conn != nil {
		_ = a.conn.Close() // the pool's end closes it, and so gives up the lock
	}
	if a.file != nil {
		_ = a.file.Unlock() // the end of the process does, too
	}
}
