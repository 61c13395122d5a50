package main

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/riverqueue/river"
	"github.com/sony/gobreaker/v2"
	"riverqueue.com/riverui"

	flashback "github.com/flashbacknetwork/flashback-go"
)

// run adds the users and works all that are due, until none is; a dry run writes who that
// would be. When ctx ends, it begins no further one and finishes what it has begun.
func run(ctx context.Context, o options, s *store, job activate, api *flashback.Client, users []string, stdout io.Writer, bar *progress) error {
	working, stop := context.WithCancel(ctx)
	defer stop()
	g, err := newGate(api, bar.say, working.Done())
	if err != nil {
		return err
	}
	workers := river.NewWorkers()
	river.AddWorker(workers, &worker{gate: g, bar: bar})
	logger := slog.New(slog.NewTextHandler(bar, &slog.HandlerOptions{Level: slog.LevelError}))
	client, err := river.NewClient(s.driver, &river.Config{
		Logger: logger, PollOnly: true, Workers: workers, Queues: map[string]river.QueueConfig{job.Task: {MaxWorkers: o.workers}},
		FetchCooldown: 2 * time.Millisecond, FetchPollInterval: 100 * time.Millisecond,
		JobTimeout: jobTimeout, RescueStuckJobsAfter: rescueAfter, SoftStopTimeout: jobTimeout,
		CompletedJobRetentionPeriod: -1, CancelledJobRetentionPeriod: -1, DiscardedJobRetentionPeriod: -1, // they are the verdicts
	})
	if err != nil {
		return err
	}
	known, err := column(ctx, s.db, "SELECT args ->> 'id' FROM river_job WHERE queue = $1 AND NOT "+settled+" LIMIT 1", job.Task)
	if err != nil {
		return err
	}
	if err := g.check(ctx, append(known, users...)); err != nil {
		return err
	}
	due, err := s.add(ctx, client, job, users, o.dryRun)
	if err != nil {
		return fmt.Errorf("no user was added to %s: %w", s.name, err)
	}
	if o.dryRun {
		for _, id := range due {
			fmt.Fprintln(stdout, id)
		}
		bar.say("Users that would be activated: %d.", len(due))
		return nil
	}
	if o.ui != "" {
		closeUI, err := serveUI(working, o.ui, client, logger)
		if err != nil {
			return err
		}
		defer closeUI()
	}
	if err := client.Start(working); err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() {
		bar.say("Finishing what is begun. Ctrl-C again ends at once, and loses nothing either.")
	})()
	watch(working, s, job.Task, g, bar)
	stop()
	<-client.Stopped()
	return nil
}

// watch shows what is due until nothing is, or ctx ends.
func watch(ctx context.Context, s *store, task string, g *gate, bar *progress) {
	moved, last, told := time.Now(), -1, false
	for ctx.Err() == nil {
		began := time.Now()
		all, due, running, err := s.count(ctx, task)
		switch {
		case err != nil: // River tells
		case due == 0:
			return
		case due != last:
			last, moved = due, time.Now()
		case due == running && !told && g.breaker.State() == gobreaker.StateClosed && time.Since(moved) > 5*time.Second:
			told = true
			bar.say("The last %d users are another process's. If it was killed, they are taken from it within two minutes.", due)
		}
		if err == nil {
			bar.update(all, due)
		}
		select {
		case <-time.After(max(100*time.Millisecond, 20*time.Since(began))): // counting millions takes a while
		case <-ctx.Done():
		}
	}
}

// serveUI serves River's page.
func serveUI(ctx context.Context, address string, client *river.Client[*sql.Tx], logger *slog.Logger) (closeUI func(), err error) {
	ui, err := riverui.NewHandler(&riverui.HandlerOpts{Endpoints: riverui.NewEndpoints(client, nil), Logger: logger})
	if err != nil {
		return nil, err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("-ui: %w", err)
	}
	server := &http.Server{Handler: http.NewCrossOriginProtection().Handler(ui), ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(listener) }() // until it is closed
	return func() { _ = server.Close() }, ui.Start(ctx)
}
