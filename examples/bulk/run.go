package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
	"riverqueue.com/riverui"

	flashback "github.com/flashbacknetwork/flashback-go"
)

// run works the jobs of one queue until none is due.
type run struct {
	options options
	store   *store
	client  *flashback.Client
	job     activate // but for the ID
	bar     *progress
	clock   rivertype.TimeGenerator // in tests; else it is the database's
}

// all adds the users and works all that are due. When ctx ends, it begins no further
// one and finishes what it has begun.
func (r *run) all(ctx context.Context, added []string) error {
	probe, err := r.client.With(flashback.WithMaxRetries(0))
	if err != nil {
		return err
	}
	stopping, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	g := &gate{say: r.bar.say, stop: stop, read: func(ctx context.Context, userID string) error {
		_, err := probe.Organization.Users.Get(ctx, userID)
		return err
	}}
	workers, queue := river.NewWorkers(), r.job.queue()
	river.AddWorker(workers, &worker{users: r.client.Organization.Users, probe: probe.Organization.Users, gate: g, stopping: stopping})
	logger := slog.New(slog.NewTextHandler(&seldom{say: r.bar.say}, &slog.HandlerOptions{Level: slog.LevelError}))
	client, err := river.NewClient(r.store.driver, &river.Config{
		Logger: logger, PollOnly: true, Workers: workers, Queues: map[string]river.QueueConfig{queue: {MaxWorkers: r.options.workers}},
		FetchCooldown: 2 * time.Millisecond, FetchPollInterval: 100 * time.Millisecond,
		JobTimeout: jobTimeout, RescueStuckJobsAfter: rescueAfter, RetryPolicy: retryPolicy{},
		CompletedJobRetentionPeriod: -1, CancelledJobRetentionPeriod: -1, DiscardedJobRetentionPeriod: -1, // they are the verdicts
		Test: river.TestConfig{Time: r.clock},
	})
	if err != nil {
		return err
	}
	if err := r.store.add(ctx, client, r.job, added); err != nil {
		return fmt.Errorf("no user was added to %s: %w", r.store.name, err)
	}
	if r.options.ui != "" {
		closeUI, err := serveUI(ctx, r.options.ui, client, logger)
		if err != nil {
			return err
		}
		defer closeUI()
	}
	if err := client.Start(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() {
		r.bar.say("Finishing what is begun. Ctrl-C again ends at once, and loses nothing either.")
	})()
	r.watch(stopping, g)
	stop(nil)
	soft, cancel := context.WithTimeout(context.WithoutCancel(ctx), jobTimeout)
	defer cancel()
	err = client.Stop(soft)
	if cause := context.Cause(stopping); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return err
}

// watch shows what is due until nothing is, or ctx ends.
func (r *run) watch(ctx context.Context, g *gate) {
	var moved time.Time
	for last, told := -1, false; ctx.Err() == nil; {
		began := time.Now()
		due, running, err := r.store.due(ctx, r.job.queue())
		outage, throttled := g.state()
		switch {
		case err != nil: // River tells
		case due == 0:
			return
		case due != last:
			last, moved, told = due, time.Now(), false
		case due == running && !told && !outage && time.Since(moved) > 5*time.Second:
			told = true
			r.bar.say("The last %d users are another process's, which may have been killed. They are taken from it %v after it began.", due, rescueAfter)
		}
		if err == nil {
			r.bar.update(due, throttled)
		}
		select {
		case <-time.After(max(100*time.Millisecond, 20*time.Since(began))): // counting millions takes a while
		case <-ctx.Done():
		}
	}
}

// seldom shows the errors that River logs, which are those of the store: one now and
// then.
type seldom struct {
	say func(format string, args ...any)
	mu  sync.Mutex
	at  time.Time
}

func (s *seldom) Write(line []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.at) > 15*time.Second {
		s.at = time.Now()
		s.say("The store fails, and nothing is sent until it works again: %s", line)
	}
	return len(line), nil
}

// serveUI serves River's page.
func serveUI(ctx context.Context, address string, client *river.Client[*sql.Tx], logger *slog.Logger) (stop func(), err error) {
	ui, err := riverui.NewHandler(&riverui.HandlerOpts{Endpoints: riverui.NewEndpoints(client, nil), Logger: logger})
	if err != nil {
		return nil, err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("-ui: %w", err)
	}
	serving, cancel := context.WithCancel(context.WithoutCancel(ctx))
	server := &http.Server{Handler: http.NewCrossOriginProtection().Handler(ui), ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(listener) }() // until it is closed
	return func() {
		_ = server.Close()
		cancel()
	}, ui.Start(serving)
}
