package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/riverqueue/river"
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
	others, errOthers := column(ctx, s.db, "SELECT coalesce('users of ' || (args ->> 'backend'), kind) FROM river_job WHERE kind <> $1 OR args ->> 'backend' <> $2 LIMIT 1", kind, job.Backend)
	known, err := column(ctx, s.db, "SELECT args ->> 'id' FROM river_job WHERE queue = $1", job.Task)
	switch {
	case errors.Join(err, errOthers) != nil:
		return errors.Join(err, errOthers)
	case len(others) > 0: // which River would discard if they were stuck
		return fmt.Errorf("%s has %s; give another -store for those of %s", s.name, others[0], job.Backend)
	case len(known) == 0 && o.source == (source{}):
		return fmt.Errorf("%s has no users for the task %q; give -ids or -deleted-since", s.name, o.task)
	}
	users = slices.DeleteFunc(users, func(id string) bool { // to insert them again would hold up who is at work with them
		_, found := slices.BinarySearch(known, id)
		return found
	})
	for _, id := range slices.Concat(users, known) { // to find out whether anything works
		_, err := api.Organization.Users.Get(ctx, id)
		if why := blame(err); why != "" && why != down {
			return fmt.Errorf("%s: %w", why, err)
		} else if !errors.Is(err, flashback.ErrInvalidArgument) {
			break
		}
	}
	due, err := s.add(ctx, client, job, users, o.dryRun)
	if err != nil {
		return fmt.Errorf("no user was added to %s: %w", s.name, err)
	} else if o.dryRun {
		fmt.Fprint(stdout, strings.Join(append(due, ""), "\n"))
		return nil
	}
	if o.ui != "" {
		ui, err := riverui.NewHandler(&riverui.HandlerOpts{Endpoints: riverui.NewEndpoints(client, nil), Logger: logger})
		if err != nil {
			return err
		}
		listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", o.ui)
		if err != nil {
			return fmt.Errorf("-ui: %w", err)
		}
		server := &http.Server{Handler: http.NewCrossOriginProtection().Handler(ui), ReadHeaderTimeout: jobTimeout}
		go func() { _ = server.Serve(listener) }() // until it is closed
		defer func() { _ = server.Close() }()
		if err := ui.Start(ctx); err != nil {
			return err
		}
	}
	if err := client.Start(ctx); err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() {
		bar.say("Finishing what is begun. Ctrl-C again ends at once, and loses nothing either.")
	})()
	for ctx.Err() == nil {
		began := time.Now()
		if all, due, running, err := s.count(ctx, job.Task); err == nil { // else River tells
			if bar.update(all, due, running); due == 0 {
				break
			}
		}
		w.wait(max(100*time.Millisecond, 20*time.Since(began))) // counting millions takes a while
	}
	return client.Stop(context.WithoutCancel(ctx))
}
