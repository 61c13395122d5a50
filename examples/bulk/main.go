// Command bulk activates many soft-deleted users. It can be stopped or killed and run
// again at any time, and on many machines at once: a store has a job for each user.
//
//	bulk -ids deleted.txt               # one ID a line; - is standard input
//	bulk -deleted-since 2026-11-01      # or all users deleted since then
//	bulk                                # go on with what the store has
//	bulk -store postgres://db/bulk      # on as many machines as you like
//	bulk export > verdicts.csv
//
// The token comes from FLASHBACK_ACCESS_TOKEN or from -token-file, which may also be the
// file of a session that package tokenfile keeps; the address from FLASHBACK_BASE_URL.
//
// The exit status is 0 if every user is active, 1 if some can't be activated (by this
// token, at least), 3 if there is something left to do, so that the command should be
// run again, and 2 if it could not be done at all.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/riverqueue/river"
	"riverqueue.com/riverui"

	flashback "github.com/flashbacknetwork/flashback-go"
	"github.com/flashbacknetwork/flashback-go/tokenfile"
)

const allActive, someRefused, couldNot, somethingDue = 0, 1, 2, 3

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the process at once, which loses nothing either
	status, err := command(ctx, os.Args[1:], os.Getenv, os.Stdin, os.Stdout, os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		status = allActive
	} else if err != nil {
		fmt.Fprintln(os.Stderr, "bulk:", err)
	}
	stop()
	os.Exit(status)
}

type options struct {
	source                     source
	store, task, tokenFile, ui string
	workers, most              int
	dryRun, export, json       bool
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("bulk", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.source.file, "ids", "", "a `file` with one user ID a line; - is standard input")
	flags.Func("deleted-since", "activate all users deleted since `when`: a date (its midnight here), a time (RFC 3339), or a duration such as 48h", o.source.parseSince)
	flags.StringVar(&o.store, "store", "bulk.db", "the `database` with the jobs: a file of SQLite, or postgres://…")
	flags.StringVar(&o.task, "task", "activate", "the `name` of this task; a user who is settled in one is asked again in another")
	flags.StringVar(&o.tokenFile, "token-file", "", "a `file` with the access token, or of a session, in place of FLASHBACK_ACCESS_TOKEN")
	flags.StringVar(&o.ui, "ui", "", "the `address` of a page to look at, such as localhost:8080; whoever reaches it can change the jobs")
	flags.IntVar(&o.workers, "workers", 16, "how many users at a time")
	flags.IntVar(&o.most, "most", 10_000, "refuse more users than this, as a guard against mistakes")
	flags.BoolVar(&o.dryRun, "dry-run", false, "say who would be activated, and change nothing")
	flags.BoolVar(&o.source.demo, "demo", false, "run against a fake backend with 5,000 users, faults and a rate limit")
	flags.BoolVar(&o.json, "json", false, "export a JSON object a line, not CSV")
	if o.export = len(args) > 0 && args[0] == "export"; o.export {
		args = args[1:]
	}
	err := flags.Parse(args)
	flags.Visit(func(f *flag.Flag) {
		if value, ok := f.Value.(flag.Getter); ok && value.Get() == "" && err == nil {
			err = fmt.Errorf("-%s is empty; is a variable not set?", f.Name)
		}
	})
	switch {
	case err != nil:
	case flags.NArg() > 0:
		err = fmt.Errorf("%q is no flag; give IDs with -ids", flags.Arg(0))
	case o.source.file != "" && !o.source.since.IsZero():
		err = errors.New("give -ids or -deleted-since, not both")
	}
	return o, err
}

func command(ctx context.Context, args []string, env func(string) string, stdin io.Reader, stdout, stderr io.Writer) (status int, err error) {
	defer func() {
		if err != nil {
			status = couldNot
		}
	}()
	o, err := parse(args, stderr)
	if err != nil {
		return 0, err
	} else if o.export {
		return allActive, export(ctx, o, stdout)
	}
	client, base, err := connect(ctx, o, env)
	if err != nil {
		return 0, err
	}
	ids, err := o.source.read(ctx, client, stdin)
	if err != nil {
		return 0, err
	}
	bar := newProgress(stderr)
	if len(ids) == 0 && o.source != (source{}) {
		bar.say("There are no users to add.")
	}
	slices.Sort(ids) // in one order everywhere, so that no two machines wait for each other
	if ids = slices.Compact(ids); len(ids) > o.most {
		return 0, fmt.Errorf("there are %d users, and -most is %d; give more if all of them are meant", len(ids), o.most)
	}
	s, err := openStore(ctx, o.store, o.dryRun)
	if o.dryRun && errors.Is(err, errNoJobs) && o.source != (source{}) {
		s, err = openStore(ctx, "", false) // nobody has a job yet
	}
	if err != nil {
		return 0, err
	}
	defer s.close()
	if err := run(ctx, o, s, activate{Backend: base, Task: o.task}, client, ids, stdout, bar); err != nil || o.dryRun {
		return allActive, err
	}
	bar.say("")
	text, status, err := s.table(context.WithoutCancel(ctx), o.task)
	if _, failed := io.WriteString(stdout, text); failed != nil { // which changes nothing of what was done
		bar.say("The table of verdicts could not be written (%v):\n%s", failed, text)
	}
	if status == somethingDue {
		bar.say("Something is left. To go on, run the same command again.")
	}
	return status, err
}

// connect returns a client, and the base URL of what it is for.
func connect(ctx context.Context, o options, env func(string) string) (client *flashback.Client, base string, err error) {
	// In an outage River waits, and not a worker.
	opts := []flashback.Option{flashback.WithUserAgent("flashback-bulk"), flashback.WithOutageWait(0), flashback.WithAttemptTimeout(jobTimeout / 2)}
	if o.source.demo {
		return newDemo().Client(opts...), "the demo", nil
	}
	base = cmp.Or(strings.TrimRight(env("FLASHBACK_BASE_URL"), "/"), flashback.DefaultBaseURL)
	opts = append(opts, flashback.WithBaseURL(base))
	source := func(context.Context) (string, error) { return env("FLASHBACK_ACCESS_TOKEN"), nil }
	if o.tokenFile != "" {
		source = func(context.Context) (string, error) { // each time, as the file may get another one
			text, err := os.ReadFile(o.tokenFile)
			return strings.TrimSpace(string(text)), err
		}
	}
	switch token, err := source(ctx); {
	case err != nil:
		return nil, "", err
	case token == "":
		return nil, "", errors.New("there is no access token: set FLASHBACK_ACCESS_TOKEN or give -token-file (or try -demo)")
	case o.tokenFile != "" && strings.HasPrefix(token, "{"): // a session, which outlives a token's hour
		session, err := flashback.Resume(ctx, flashback.Tokens{}, append(opts, flashback.WithTokenStore(tokenfile.New(o.tokenFile)))...)
		if err != nil {
			return nil, "", err
		}
		opts = append(opts, flashback.WithSession(session))
	default:
		opts = append(opts, flashback.WithTokenSource(source))
	}
	client, err = flashback.NewClient("", opts...)
	return client, base, err
}

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
	if o.dryRun {
		again, err := column(ctx, s.db, "SELECT args ->> 'id' FROM river_job WHERE queue = $1 AND ("+unfinished+" OR NOT "+settled+")", job.Task)
		if err == nil {
			_, err = fmt.Fprint(stdout, strings.Join(append(slices.Sorted(slices.Values(slices.Concat(users, again))), ""), "\n"))
		}
		return err
	}
	if err := s.add(ctx, client, job, users); err != nil {
		return fmt.Errorf("no user was added to %s: %w", s.name, err)
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
