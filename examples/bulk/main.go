// Command bulk activates many soft-deleted users, and can be stopped and run again at
// any time: a journal has each user's verdict, and a run does what is not settled yet.
//
//	bulk -ids deleted.txt               # one ID a line; - is standard input
//	bulk -deleted-since 2026-11-01      # or all users deleted since then
//	bulk                                # go on with what the journal has
//
// The token comes from FLASHBACK_ACCESS_TOKEN or from -token-file, which may also be the
// file of a session that package tokenfile keeps; the address from
// FLASHBACK_BASE_URL, if it is not the real backend's.
//
// The exit status is 0 if every user is active, 1 if some can't be activated (by this
// token, at least), 3 if there is something left to do, so that the command should be
// run again, and 2 if it could not be done at all.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	flashback "github.com/flashbacknetwork/flashback-go"
	"github.com/flashbacknetwork/flashback-go/tokenfile"
)

const (
	allActive    = 0
	someRefused  = 1
	couldNot     = 2
	somethingDue = 3
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the process at once, which loses nothing either
	status, err := run(ctx, os.Args[1:], os.Getenv, os.Stdin, os.Stdout, os.Stderr)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bulk:", err)
	}
	stop()
	os.Exit(status)
}

// options are the flags.
type options struct {
	source    source
	journal   string
	tokenFile string
	workers   int
	dryRun    bool
	demo      bool
	demoUsers int
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("bulk", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.source.file, "ids", "", "a `file` with one user ID a line; - is standard input")
	flags.Func("deleted-since", "activate all users deleted since `when`: a date (its midnight here), a time (RFC 3339), or a duration such as 48h", o.source.parseSince)
	flags.StringVar(&o.journal, "journal", "", "the `file` with the verdicts, which a later run goes on with; one for each backend and task (default bulk.jsonl, or bulk-demo.jsonl)")
	flags.StringVar(&o.tokenFile, "token-file", "", "a `file` with the access token, or of a session, in place of FLASHBACK_ACCESS_TOKEN")
	flags.IntVar(&o.workers, "workers", 16, "how many users at a time")
	flags.BoolVar(&o.dryRun, "dry-run", false, "say who would be activated, and change nothing")
	flags.BoolVar(&o.demo, "demo", false, "run against a fake backend with faults and a rate limit")
	flags.IntVar(&o.demoUsers, "demo-users", 5000, "how many users that has")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	switch {
	case flags.NArg() > 0:
		return o, fmt.Errorf("%q is no flag; give IDs with -ids", flags.Arg(0))
	case o.workers < 1:
		return o, errors.New("-workers needs at least 1")
	case o.demo && o.source != (source{}):
		return o, errors.New("-demo has users of its own; leave -ids and -deleted-since out")
	case o.source.file != "" && !o.source.since.IsZero():
		return o, errors.New("give -ids or -deleted-since, not both")
	}
	if o.source.all = o.demo; o.journal == "" {
		o.journal = "bulk.jsonl"
		if o.demo {
			o.journal = "bulk-demo.jsonl"
		}
	}
	return o, nil
}

func run(ctx context.Context, args []string, env func(string) string, stdin io.Reader, stdout, stderr io.Writer) (int, error) {
	o, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return allActive, err
	}
	if err != nil {
		return couldNot, err
	}
	b, err := connect(ctx, o, env)
	if err != nil {
		return couldNot, err
	}
	defer b.close()
	ids, err := o.source.read(ctx, b.client, stdin)
	if err != nil {
		return couldNot, err
	}
	j, err := openJournal(o.journal, b.name, o.dryRun)
	if err != nil {
		return couldNot, err
	}
	defer j.close()
	if o.source == (source{}) && (len(j.ids) == 0 || !j.whole) {
		return couldNot, fmt.Errorf("%s does not have all users; give -ids or -deleted-since", o.journal)
	}
	earlier := len(j.ids) - len(j.due())
	if err := j.plan(ids, o.dryRun); err != nil {
		return couldNot, err
	}
	todo := j.due()
	if earlier > 0 {
		fmt.Fprintf(stderr, "%d of %d users were settled by an earlier run with %s\n", earlier, len(j.ids), o.journal)
	}
	if o.dryRun {
		for _, id := range todo {
			fmt.Fprintln(stdout, id)
		}
		fmt.Fprintf(stderr, "users that would be activated: %d\n", len(todo))
		return allActive, nil
	}
	defer context.AfterFunc(ctx, func() {
		fmt.Fprintln(stderr, "\nfinishing what is begun; Ctrl-C again ends at once, and loses nothing either")
	})()
	w := &work{users: b.client.Organization.Users, journal: j, workers: o.workers, bar: newProgress(stderr, len(todo))}
	err = w.all(ctx, todo)
	w.bar.finish()
	summary(stdout, j)
	if err != nil {
		return couldNot, err
	}
	if left := len(j.due()); left > 0 {
		fmt.Fprintf(stderr, "%d users are left. To go on: %s\n", left, again(o))
	}
	switch {
	case j.count(func(v verdict) bool { return !v.settled() && v != forbidden }) > 0:
		return somethingDue, nil
	case j.count(func(v verdict) bool { return !v.active() }) > 0:
		return someRefused, nil
	}
	return allActive, nil
}

// again is the command that goes on with what is left.
func again(o options) string {
	command := "bulk -journal " + strconv.Quote(o.journal)
	if o.demo {
		command += fmt.Sprint(" -demo -demo-users ", o.demoUsers)
	}
	if o.tokenFile != "" {
		command += " -token-file " + strconv.Quote(o.tokenFile)
	}
	return command
}

// backend is what the users are activated on.
type backend struct {
	client *flashback.Client
	name   string // in the journal
	close  func()
}

func connect(ctx context.Context, o options, env func(string) string) (*backend, error) {
	if o.demo {
		d, err := newDemo(o.journal+".backend", o.demoUsers)
		if err != nil {
			return nil, err
		}
		client, err := flashback.NewClient(d.Token(), flashback.WithBaseURL(d.URL))
		return &backend{client, "the demo", d.Close}, err
	}
	token := env("FLASHBACK_ACCESS_TOKEN")
	if o.tokenFile != "" {
		text, err := os.ReadFile(o.tokenFile)
		if err != nil {
			return nil, err
		}
		token = strings.TrimSpace(string(text))
	}
	if token == "" {
		return nil, errors.New("there is no access token: set FLASHBACK_ACCESS_TOKEN or give -token-file (or try -demo)")
	}
	base := env("FLASHBACK_BASE_URL")
	if base == "" {
		base = flashback.DefaultBaseURL
	}
	opts := []flashback.Option{flashback.WithUserAgent("flashback-bulk"), flashback.WithBaseURL(base)}
	if strings.HasPrefix(token, "{") { // a session, which outlives a token's hour
		session, err := flashback.Resume(ctx, flashback.Tokens{}, append(opts, flashback.WithTokenStore(tokenfile.New(o.tokenFile)))...)
		if err != nil {
			return nil, err
		}
		token, opts = "", append(opts, flashback.WithSession(session))
	}
	client, err := flashback.NewClient(token, opts...)
	return &backend{client, base, func() {}}, err
}
