package main

import (
	"context"
	"database/sql"
	"errors"
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
	probe, err := api.With(flashback.WithMaxRetries(0))
	if err != nil {
		return err
	}
	w := &worker{users: api.Organization.Users, probe: probe.Organization.Users, breaker: newBreaker(bar.say), bar: bar, stopping: ctx}
	workers := river.NewWorkers()
	river.AddWorker(workers, w)
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
	all, open, err := s.check(ctx, job)
	if err != nil {
		return err
	} else if all == 0 && o.source == (source{}) {
		return fmt.Errorf("%s has no users for the task %q; give -ids or -deleted-since", s.name, o.task)
	}
	for _, id := range append([]string{open}, users...) {
		_, err := api.Organization.Users.Get(ctx, id)
		if why := blame(err); why != "" && why != down {
			return fmt.Errorf("%s: %w", why, err)
		} else if !errors.Is(err, flashback.ErrInvalidArgument) {
			break
		}
	}
	if o.dryRun {
		return s.add(ctx, client, job, users, stdout)
	} else if err := s.add(ctx, client, job, users, nil); err != nil {
		return fmt.Errorf("no user was added to %s: %w", s.name, err)
	}
	if o.ui != "" {
		closeUI, err := serveUI(ctx, o.ui, client, logger)
		if err != nil {
			return err
		}
		defer closeUI()
	}
	if err := client.Start(ctx); err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() {
		bar.say("Finishing what is begun. Ctrl-C again ends at once, and loses nothing either.")
	})()
	watch(ctx, s, job.Task, w)
	return client.Stop(context.WithoutCancel(ctx))
}

// watch shows what is due until nothing is, or ctx ends.
func watch(ctx context.Context, s *store, task string, w *worker) {
	moved, last, told := time.Now(), -1, false
	for ctx.Err() == nil {
		began := time.Now()
		all, due, running, err := s.count(ctx, task)
		if err == nil { // else River tells
			if w.bar.update(all, due); due == 0 {
				return
			}
		}
		if due != last {
			last, moved = due, time.Now()
		} else if due == running && due > 0 && !told && w.breaker.State() == gobreaker.StateClosed && time.Since(moved) > 5*time.Second {
			told = true
			w.bar.say("The last %d users are another process's. If it was killed, they are taken from it within two minutes.", due)
		}
		w.wait(max(100*time.Millisecond, 20*time.Since(began))) // counting millions takes a while
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
