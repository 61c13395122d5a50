package main

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/riverqueue/river"

	flashback "github.com/flashbacknetwork/flashback-go"
)

// work adds users to a task, works all that are due, until none is, and writes the table of
// verdicts. When ctx ends, it begins no further one and finishes what it has begun. An empty
// what is that of the task.
func (c *cli) work(ctx context.Context, b *backend, s *store, task, what string, users []user) error {
	if err := s.check(ctx, b.url, task, what); err != nil {
		return err
	}
	interrupted := ctx
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	w, client, err := c.newWorker(ctx, stop, b, s, task)
	if err != nil {
		return err
	}
	if err := c.add(ctx, b, s, client, task, users); err != nil {
		return err
	}
	if c.ui != "" {
		closePage, err := servePage(ctx, c.ui, client, w.bar.logger())
		if err != nil {
			return err
		}
		defer closePage()
	}
	if err := client.Start(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	defer context.AfterFunc(interrupted, func() {
		c.bar.say("Finishing what is begun. Ctrl-C again ends at once, and loses nothing either.")
	})()
	c.watch(ctx, stop, w, s, task)
	if err := client.Stop(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	if err := c.finish(context.WithoutCancel(ctx), s, task); err != nil {
		return err
	}
	if interrupted.Err() == nil {
		return context.Cause(ctx) // nil unless the work has stopped itself
	}
	return nil
}

// newWorker returns what works a task, and River's client for it.
func (c *cli) newWorker(ctx context.Context, stop func(error), b *backend, s *store, task string) (*worker, *river.Client[*sql.Tx], error) {
	probe, err := b.api.With(flashback.WithMaxRetries(0))
	if err != nil {
		return nil, nil, err
	}
	w := &worker{api: b.api, probe: probe, breaker: newBreaker(c.bar.say), bar: c.bar, stopping: ctx, stop: stop, most: 100}
	if c.notFoundOkay {
		w.missing.Store(1 << 62)
	}
	workers := river.NewWorkers()
	river.AddWorker(workers, w)
	client, err := river.NewClient(s.driver, &river.Config{
		ID: s.alive.id, Logger: c.bar.logger(), PollOnly: true, Workers: workers, Queues: map[string]river.QueueConfig{task: {MaxWorkers: c.workers}},
		FetchCooldown: 2 * time.Millisecond, FetchPollInterval: 100 * time.Millisecond,
		JobTimeout: jobTimeout, RescueStuckJobsAfter: rescueAfter, SoftStopTimeout: jobTimeout,
		CompletedJobRetentionPeriod: -1, CancelledJobRetentionPeriod: -1, DiscardedJobRetentionPeriod: -1, // they are the verdicts
	})
	return w, client, err
}

// add adds users once something works.
func (c *cli) add(ctx context.Context, b *backend, s *store, client *river.Client[*sql.Tx], task string, users []user) error {
	ask := users
	if len(ask) == 0 {
		ids, err := column(ctx, s.db, "SELECT args ->> 'id' FROM river_job WHERE queue = $1 LIMIT 1", task)
		if err != nil {
			return err
		}
		for _, id := range ids {
			ask = append(ask, user{ID: id})
		}
	}
	if err := b.probe(ctx, ask); err != nil {
		return err
	}
	began := time.Now()
	err := s.add(ctx, client, task, users, c.repeatUnknown, func(done int) {
		if time.Since(began) > 2*time.Second {
			c.bar.lines.Do(func() { c.bar.say("Adding users to the store: %d of %d.", done, len(users)) })
		}
	})
	if err != nil {
		return fmt.Errorf("no user was added to %s: %w", s.name, err)
	}
	return nil
}

// watch shows how the work goes, until nobody is due or ctx ends.
func (c *cli) watch(ctx context.Context, stop func(error), w *worker, s *store, task string) {
	was, _ := os.Stat(s.name) // of PostgreSQL there is none
	idle := time.Now()
	for last := (counts{}); ctx.Err() == nil; {
		began := time.Now()
		n, err := s.count(ctx, task)
		if now, gone := os.Stat(s.name); was != nil && (gone != nil || !os.SameFile(was, now)) {
			stop(fmt.Errorf("%s was removed or replaced during the run; what was done is known to the backend alone", s.name))
			return
		}
		if err == nil { // else River tells
			if c.bar.update(n); n.due == 0 {
				return
			}
			if n.due != last.due || w.busy.Load() > 0 {
				idle = time.Now()
			}
			last = n
			c.bar.waitsFor(waiting(n, time.Since(idle)))
		}
		w.wait(max(100*time.Millisecond, 20*time.Since(began))) // counting millions takes a while
	}
}

// waiting says what is waited for, if this process has had nothing to do for a while.
func waiting(n counts, idle time.Duration) string {
	switch {
	case n.paused:
		return "The queue is paused on the page; the run goes on when it is resumed there."
	case idle < 2*time.Second:
		return ""
	case n.running > 0:
		return fmt.Sprintf("Waiting for users that another process has begun (%d); should it have been killed, they are due again within two minutes.", n.running)
	case n.later > 0:
		return fmt.Sprintf("Waiting for the next attempt for users for whom one has failed (%d).", n.later)
	}
	return ""
}

// finish writes the table of verdicts.
func (c *cli) finish(ctx context.Context, s *store, task string) error {
	if n, err := s.count(ctx, task); err == nil {
		c.bar.end(n)
	}
	text, status, err := s.table(ctx, task)
	if err != nil {
		return err
	}
	c.status = max(c.status, status)
	if _, failed := io.WriteString(c.stdout, text); failed != nil { // which changes nothing of what was done
		c.bar.say("The table of verdicts could not be written (%v):\n%s", failed, text)
	}
	if status == somethingDue {
		c.bar.say("Something is left. To go on: flashback-bulk resume.")
	}
	return nil
}

// check refuses a task of another backend, or of another operation.
func (s *store) check(ctx context.Context, backend, task, what string) error {
	others, err := column(ctx, s.db, "SELECT coalesce('users of ' || (args ->> 'backend'), kind) FROM river_job WHERE kind <> $1 OR args ->> 'backend' <> $2 LIMIT 1", kind, backend)
	if err != nil {
		return err
	} else if len(others) > 0 { // which River would discard if they were stuck
		return fmt.Errorf("%s has %s; give another --store for those of %s", s.name, others[0], backend)
	}
	others, err = column(ctx, s.db, "SELECT args ->> 'what' FROM river_job WHERE queue = $1 AND args ->> 'what' <> $2 LIMIT 1", task, what)
	if err == nil && len(others) > 0 && what != "" {
		return fmt.Errorf("the task %q is to %s; give another --task", task, others[0])
	}
	return err
}

// tasks returns the names of the tasks, or that of the one which is given.
func (s *store) tasks(ctx context.Context, given string) ([]string, error) {
	tasks, err := column(ctx, s.db, "SELECT DISTINCT queue FROM river_job")
	switch {
	case err != nil:
		return nil, err
	case given != "" && !slices.Contains(tasks, given):
		return nil, fmt.Errorf("%s has no users for the task %q", s.name, given)
	case given != "":
		return []string{given}, nil
	case len(tasks) == 0:
		return nil, fmt.Errorf("%s has no users", s.name)
	}
	return tasks, nil
}

func sortedLines(lines []string) string {
	slices.Sort(lines)
	return strings.Join(append(lines, ""), "\n")
}

func (p *progress) logger() *slog.Logger { return slog.New(storeErrors{p}) }
