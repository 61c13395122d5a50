// Command flashback-bulk does one thing to many users: it activates, deletes, invites or
// creates them. It can be stopped or killed and run again at any time, and on many machines
// at once: a store has a job for each user. See flashback-bulk --help.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	flashback "github.com/flashbacknetwork/flashback-go"
	"github.com/flashbacknetwork/flashback-go/tokenfile"
)

const allDone, someRefused, couldNot, somethingDue = 0, 1, 2, 3

const help = `flashback-bulk does one thing to many users of a Flashback organization, and knows of each
whether it was done, also if responses are lost, the backend limits the rate, or the process
is killed. Each user is a job in a store: a SQLite file, or PostgreSQL for many machines. Who
is settled in a task is not asked again.

The access token comes from FLASHBACK_ACCESS_TOKEN or --token-file, the address of the backend
from FLASHBACK_BASE_URL.

Exit status:
  0  every user is as asked for
  1  some are not, and another run does not help: refused, not found, perhaps invited
  2  it could not be done: bad flags, a bad list, no access, a store that can't be used
  3  something is left: resume

In the progress, users are "done" when they have a verdict, and "begun" while a process is
busy with them. Those that are left are "due".`

func main() {
	signal.Ignore(syscall.SIGPIPE) // a closed pipe is an error of a write, such as a full disk
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the process at once, which loses nothing either
	status, err := command(ctx, os.Args[1:], os.Getenv, os.Stdin, os.Stdout, os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "flashback-bulk:", printable(err.Error()))
	}
	stop()
	os.Exit(status)
}

// cli is one run of the command.
type cli struct {
	env    func(string) string
	stdin  io.Reader
	stdout io.Writer
	bar    *progress
	status int

	source                      source
	store, task, tokenFile, ui  string
	workers, most               int
	dryRun, json                bool
	repeatUnknown, notFoundOkay bool

	role, workspace, access, undo string
}

func command(ctx context.Context, args []string, env func(string) string, stdin io.Reader, stdout, stderr io.Writer) (status int, err error) {
	c := &cli{env: env, stdin: stdin, stdout: stdout, bar: newProgress(stderr, env)}
	root := c.root() //nolint:contextcheck // Each command has its own.
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	if err := root.ExecuteContext(ctx); err != nil {
		return couldNot, err
	}
	return c.status, nil
}

func (c *cli) root() *cobra.Command {
	root := &cobra.Command{
		Use: "flashback-bulk", Short: "Do one thing to many users", Long: help, Version: flashback.Version,
		SilenceUsage: true, SilenceErrors: true,
		Example: `  flashback-bulk activate --deleted-since 48h --dry-run
  flashback-bulk delete --ids leavers.txt
  flashback-bulk create --csv department.csv
  flashback-bulk activate --ids - --store postgres://db.example/bulk   # on many machines
  flashback-bulk resume
  flashback-bulk export > verdicts.csv`,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) (err error) {
			cmd.Flags().Visit(func(f *pflag.Flag) {
				if f.Value.Type() == "string" && f.Value.String() == "" {
					err = fmt.Errorf("--%s is empty; is a variable not set?", f.Name)
				}
			})
			return err
		},
	}
	root.PersistentFlags().StringVar(&c.store, "store", "flashback-bulk.db", "the `database` with the jobs: a file of SQLite, or postgres://…")
	for _, op := range operations {
		root.AddCommand(c.operationCommand(op))
	}
	resume := c.command("resume", "Go on with what the store has", func(cmd *cobra.Command) error { return c.resume(cmd.Context()) })
	c.workFlags(resume.Flags())
	status := c.command("status", "Show how many users have which verdict", func(cmd *cobra.Command) error { return c.showStatus(cmd.Context()) })
	for _, cmd := range []*cobra.Command{resume, status} {
		cmd.Flags().StringVar(&c.task, "task", "", "the `name` of the task; all of the store unless given")
	}
	export := c.command("export", "Write the verdicts of all users, as CSV", func(cmd *cobra.Command) error {
		return export(cmd.Context(), c.store, c.json, c.stdout)
	})
	export.Flags().BoolVar(&c.json, "json", false, "write a JSON object a line")
	root.AddCommand(resume, status, export, c.undoCommand(), c.forgetCommand())
	return root
}

func (c *cli) command(name, short string, run func(cmd *cobra.Command) error) *cobra.Command {
	return &cobra.Command{
		Use: name, Short: short,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("%q is no flag; users are given with --ids", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return run(cmd) },
	}
}

// workFlags are the flags of each command that changes users.
func (c *cli) workFlags(flags *pflag.FlagSet) {
	flags.StringVar(&c.tokenFile, "token-file", "", "a `file` with the access token, or of a session, in place of FLASHBACK_ACCESS_TOKEN")
	flags.StringVar(&c.ui, "ui", "", "the `address` of a page to look at, such as localhost:8080; whoever reaches it can change the jobs")
	flags.IntVar(&c.workers, "workers", 16, "how many users at a time")
	flags.BoolVar(&c.notFoundOkay, "not-found-ok", false, "do not stop if the first 100 users are all not found")
}

func (c *cli) operationCommand(op *operation) *cobra.Command {
	cmd := c.command(op.name, op.short, func(cmd *cobra.Command) error { return c.start(cmd.Context(), op) })
	cmd.Long = op.short + ".\n\n" + op.long
	flags := cmd.Flags()
	flags.SortFlags = false
	if op.name == "create" {
		flags.StringVar(&c.source.csv, "csv", "", "a `file` with the columns email, firstName, lastName, role and authMethod; - is standard input")
	} else {
		flags.StringVar(&c.source.file, "ids", "", "a `file` with one user ID or e-mail address a line; - is standard input")
	}
	switch op.name {
	case "activate":
		flags.Func("deleted-since", "all users deleted since `when`: a date (its midnight here), a time (RFC 3339), or a duration such as 48h", c.source.parseSince)
		flags.BoolVar(&c.source.demo, "demo", false, "run against a fake backend with 5,000 users, faults and a rate limit, with a temporary store")
	case "invite", "delete":
		flags.BoolVar(&c.source.notValidated, "not-validated", false, "all users who have not validated their account")
	case "role":
		flags.StringVar(&c.role, "role", "", "the `role`: USER, BILLING, WORKSPACES, ADMINISTRATORS or OWNER")
		_ = cmd.MarkFlagRequired("role") // there is such a flag
	case "workspace-add":
		flags.StringVar(&c.access, "access", "READ", "what they may do with the workspace: READ, WRITE or ADMIN")
	}
	if strings.HasPrefix(op.name, "workspace-") {
		flags.StringVar(&c.workspace, "workspace", "", "the `ID` of the workspace")
		_ = cmd.MarkFlagRequired("workspace") // likewise
	}
	if op.name == "invite" {
		flags.BoolVar(&c.repeatUnknown, "repeat-unknown", false, "send those an invitation again who may have got it: its outcome is unknown")
	}
	flags.StringVar(&c.task, "task", "", "the `name` of this task, that of the command unless given; a user who is settled in one is asked again in another")
	flags.IntVar(&c.most, "most", 10_000, "refuse more users than this, as a guard against mistakes")
	flags.BoolVar(&c.dryRun, "dry-run", false, "say which users a run would ask for, and change nothing")
	c.workFlags(flags)
	return cmd
}

// start adds the users of a source to a task, and works all of it.
func (c *cli) start(ctx context.Context, op *operation) error {
	given := 0
	for _, is := range []bool{c.source.file != "", c.source.csv != "", !c.source.since.IsZero(), c.source.notValidated, c.source.demo} {
		if is {
			given++
		}
	}
	like, err := c.settings(op)
	switch {
	case err != nil:
		return err
	case given > 1:
		return errors.New("give one source of users, not both")
	case given == 0 && !c.repeatUnknown && !c.dryRun:
		return errors.New("there are no users: give " + map[bool]string{true: "--csv", false: "--ids or another source"}[op.name == "create"] + " (resume goes on with what the store has)")
	}
	backend, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer backend.close()
	users, err := c.source.read(ctx, backend.api, c.stdin)
	if err != nil {
		return err
	}
	if len(users) == 0 && given > 0 {
		c.bar.say("There are no users to add.")
	}
	for i, u := range users {
		u.Backend, u.Task, u.Operation, u.What = backend.url, like.Task, op.name, like.What
		u.Workspace, u.Access = like.Workspace, like.Access
		if like.Role != nil {
			u.Role = like.Role
		}
		users[i] = u
	}
	if c.dryRun {
		return c.dry(ctx, backend, like, users, given > 0)
	}
	return c.begin(ctx, backend, like, users)
}

// settings are what all users of a task have. Unless a task is named, each setting has its own.
func (c *cli) settings(op *operation) (like user, err error) {
	like = user{Task: op.name, What: op.name}
	switch op.name {
	case "role":
		role, err := parseRole(c.role)
		if err != nil {
			return like, fmt.Errorf("--role: %w", err)
		}
		like.Role = &role
		like.What += " " + role.String()
		like.Task += "-" + strings.ToLower(role.String())
	case "workspace-add", "workspace-remove":
		like.Workspace = c.workspace
		if op.name == "workspace-add" {
			like.Access = flashback.Access(strings.ToUpper(c.access))
			if !slices.Contains([]flashback.Access{flashback.AccessRead, flashback.AccessWrite, flashback.AccessAdmin}, like.Access) {
				return like, fmt.Errorf("--access: %q is none; use READ, WRITE or ADMIN", c.access)
			}
		}
		like.What = strings.TrimSpace(fmt.Sprintf("%s %s %s", op.name, like.Workspace, like.Access))
		hash := fnv.New32a() // the name of a queue has few characters
		_, _ = hash.Write([]byte(like.What))
		like.Task += fmt.Sprintf("-%08x", hash.Sum32())
	}
	like.Task = cmp.Or(c.task, like.Task)
	return like, nil
}

// begin adds users to a task like this one, and works all of it.
func (c *cli) begin(ctx context.Context, backend *backend, like user, users []user) error {
	if len(users) > c.most {
		return fmt.Errorf("there are %d users, and --most is %d; give more if all of them are meant", len(users), c.most)
	}
	s, err := openStore(ctx, c.storeName(), false)
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.join(ctx); err != nil {
		return err
	}
	return c.work(ctx, backend, s, like.Task, like.What, users)
}

// storeName is the store; the demo has one of its own.
func (c *cli) storeName() string {
	if !c.source.demo {
		return c.store
	}
	dir, err := os.MkdirTemp("", "flashback-bulk-demo")
	if err != nil {
		return c.store
	}
	c.bar.say("The store of the demo is %s/demo.db.", dir)
	return dir + "/demo.db"
}

// dry writes who would be asked for.
func (c *cli) dry(ctx context.Context, backend *backend, like user, users []user, given bool) error {
	s, err := openStore(ctx, c.store, true)
	if errors.Is(err, errNoJobs) && given {
		s, err = openStore(ctx, "", false) // nobody has a job yet
	}
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.check(ctx, backend.url, like.Task, like.What); err != nil {
		return err
	}
	if err := backend.probe(ctx, users); err != nil {
		return err
	}
	ids, err := known(ctx, s.db, like.Task)
	if err != nil {
		return err
	}
	again, err := column(ctx, s.db, "SELECT args ->> 'id' FROM river_job WHERE queue = $1 AND ("+unfinished+" OR NOT "+settled+")", like.Task)
	if err != nil {
		return err
	}
	users = unknownTo(ids, users)
	lines := make([]string, 0, len(users)+len(again))
	for _, u := range users {
		lines = append(lines, u.String())
	}
	for _, id := range again {
		lines = append(lines, printable(id))
	}
	_, err = io.WriteString(c.stdout, sortedLines(lines))
	return err
}

// resume works the tasks of a store.
func (c *cli) resume(ctx context.Context) error {
	s, err := openStore(ctx, c.store, true) // which makes none
	if err != nil {
		return err
	}
	tasks, err := s.tasks(ctx, c.task)
	s.close()
	if err != nil {
		return err
	}
	backend, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer backend.close()
	if s, err = openStore(ctx, c.store, false); err != nil {
		return err
	}
	defer s.close()
	if err := s.join(ctx); err != nil {
		return err
	}
	for _, task := range tasks {
		if err := c.work(ctx, backend, s, task, "", nil); err != nil {
			return err
		}
	}
	return nil
}

// showStatus writes the tables of a store's tasks.
func (c *cli) showStatus(ctx context.Context) error {
	s, err := openStore(ctx, c.store, true)
	if err != nil {
		return err
	}
	defer s.close()
	tasks, err := s.tasks(ctx, c.task)
	if err != nil {
		return err
	}
	for _, task := range tasks {
		text, status, err := s.table(ctx, task)
		if err != nil {
			return err
		}
		c.status = max(c.status, status)
		if _, err := fmt.Fprintf(c.stdout, "%s\n%s", task, text); err != nil {
			return err
		}
	}
	return nil
}

// backend is what the users are of.
type backend struct {
	api   *flashback.Client
	url   string
	close func()
}

func (c *cli) connect(ctx context.Context) (*backend, error) {
	opts := append(make([]flashback.Option, 0, 6), flashback.WithUserAgent("flashback-bulk"), flashback.WithAttemptTimeout(jobTimeout/2), flashback.WithOutageWait(jobTimeout/3))
	if c.source.demo {
		demo := newDemo()
		return &backend{demo.Client(opts...), "the demo", demo.Close}, nil
	}
	base := cmp.Or(strings.TrimRight(c.env("FLASHBACK_BASE_URL"), "/"), flashback.DefaultBaseURL)
	opts = append(opts, flashback.WithBaseURL(base))
	source := func(context.Context) (string, error) { return c.env("FLASHBACK_ACCESS_TOKEN"), nil }
	if c.tokenFile != "" {
		source = func(context.Context) (string, error) { // each time, as the file may get another one
			text, err := os.ReadFile(c.tokenFile)
			return strings.TrimSpace(string(text)), err
		}
	}
	switch token, err := source(ctx); {
	case err != nil:
		return nil, err
	case token == "":
		return nil, errors.New("there is no access token: set FLASHBACK_ACCESS_TOKEN or give --token-file (or try activate --demo)")
	case c.tokenFile != "" && strings.HasPrefix(token, "{"): // a session, which outlives a token's hour
		session, err := flashback.Resume(ctx, flashback.Tokens{}, append(opts, flashback.WithTokenStore(tokenfile.New(c.tokenFile)))...)
		if err != nil {
			return nil, err
		}
		api, err := session.Client()
		return &backend{api, base, func() {
			if err := session.Close(context.WithoutCancel(ctx)); err != nil {
				c.bar.say("The tokens of the session are not kept: %v", err)
			}
		}}, err
	}
	api, err := flashback.NewClient("", append(opts, flashback.WithTokenSource(source))...)
	return &backend{api, base, func() {}}, err
}

// probe finds out whether anything works, with the first user that can be asked for.
func (b *backend) probe(ctx context.Context, users []user) error {
	for _, u := range users {
		_, err := b.api.Organization.Users.Get(ctx, u.ID)
		if why := blame(err); why != "" && why != down {
			return fmt.Errorf("%s: %w", why, err)
		} else if !errors.Is(err, flashback.ErrInvalidArgument) {
			break
		}
	}
	return nil
}
