// Command activate activates a user of a Flashback organization.
//
// Without an access token and without an argument it needs no set-up: it shows
// what Activate makes of the documented responses, and of a lost one, on a fake
// backend.
//
//	go run ./examples/activate
//
// With an access token in the environment variable FLASHBACK_ACCESS_TOKEN it
// activates the user with the given ID. FLASHBACK_BASE_URL names another backend
// than the documented one.
//
//	go run ./examples/activate 550e8400-e29b-41d4-a716-446655440000
//
// The exit status is 0 on success, even if the result could not be written, 1 if the user
// was not activated, 2 if the command was used wrongly, and 3 if the outcome is unknown.
// Errors are on standard error.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	flashback "github.com/flashbacknetwork/flashback-go"
	"github.com/flashbacknetwork/flashback-go/flashbacktest"
)

// The exit statuses.
const (
	succeeded = iota
	failed
	misused
	unknown
)

const usage = `Usage: activate [user-id]

Activates the user with the ID. Without an ID and a token it shows on a fake
backend what can come of that.

  FLASHBACK_ACCESS_TOKEN  the access token
  FLASHBACK_BASE_URL      the address of the backend, if it is not the documented one

Exit status: 0 success (even if the result could not be written), 1 failure,
2 wrong use, 3 outcome unknown.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	signal.Ignore(syscall.Signal(13)) // SIGPIPE, for which not every system has a name: a closed pipe is an error of the write
	status := run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}

// run is main with all that it needs, and returns the exit status.
func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("activate", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	err := flags.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		_, err = io.WriteString(stdout, usage)
		return report(stderr, err)
	}
	switch token := getenv("FLASHBACK_ACCESS_TOKEN"); {
	case err != nil:
		return report(stderr, misuseError{err})
	case token == "" && flags.NArg() == 0:
		err = tour(ctx, stdout)
	case token == "":
		err = misuseError{errors.New("FLASHBACK_ACCESS_TOKEN is not set; set it, or give no user ID to see the tour")}
	case flags.NArg() != 1:
		err = misuseError{errors.New("give one argument: the ID of the user to activate")}
	default:
		err = activate(ctx, token, getenv("FLASHBACK_BASE_URL"), flags.Arg(0), stdout, stderr)
	}
	return report(stderr, err)
}

// misuseError is wrong use of the command.
type misuseError struct{ error }

// report writes an error, and returns the exit status.
func report(stderr io.Writer, err error) int {
	if err == nil {
		return succeeded
	}
	_, _ = fmt.Fprintln(stderr, err) // there is nowhere else to report to
	var misuse misuseError
	switch {
	case errors.Is(err, flashback.ErrOutcomeUnknown):
		_, _ = fmt.Fprintln(stderr, "The user may be active. Run this again, or get the user.")
		return unknown
	case errors.As(err, &misuse), errors.Is(err, flashback.ErrInvalidArgument):
		return misused
	}
	return failed
}

// activate activates a user on the real backend.
func activate(ctx context.Context, token, baseURL, userID string, stdout, stderr io.Writer) error {
	var opts []flashback.Option
	if baseURL != "" {
		opts = append(opts, flashback.WithBaseURL(baseURL))
	}
	// A token from a file often has a newline at its end.
	client, err := flashback.NewClient(strings.TrimSpace(token), opts...)
	if err != nil {
		return err
	}
	activation, err := client.Organization.Users.Activate(ctx, userID)
	if err != nil {
		return err
	}
	how := fmt.Sprintf("by this call. The server's message: %q", activation.Message)
	if activation.Recovered {
		how = "most likely by this call; a response was lost."
	}
	result := fmt.Sprintf("User %q is active, %s\n", activation.UserID, how)
	if _, err := io.WriteString(stdout, result); err != nil { // which does not change what was done
		_, _ = fmt.Fprintf(stderr, "The result could not be written (%v): %s", err, result)
	}
	return nil
}

// tour shows what can come of a call, on a fake backend.
func tour(ctx context.Context, stdout io.Writer) error {
	backend := flashbacktest.NewBackend()
	users := backend.Client().Organization.Users

	var out strings.Builder
	out.WriteString("FLASHBACK_ACCESS_TOKEN is not set: this is a tour on a fake backend.\n")
	if err := documented(ctx, &out, backend, users); err != nil {
		return err
	}
	if err := lost(ctx, &out, backend, users); err != nil {
		return err
	}
	_, err := io.WriteString(stdout, out.String())
	return err
}

// documented gets each of the documented responses.
func documented(ctx context.Context, out *strings.Builder, backend *flashbacktest.Backend, users *flashback.UsersService) error {
	backend.AddDeletedUser("deleted")
	backend.AddUser(flashbacktest.User{ID: "active"})
	backend.AddUser(flashbacktest.User{ID: "elsewhere", OrgID: "another-organization"})
	backend.AddDeletedUser("unlucky")
	internal := flashbacktest.Respond(500, `{"success": false, "message": "Internal server error"}`)
	backend.ScriptFor("unlucky", slices.Repeat([]flashbacktest.Fault{internal}, 5)...)

	out.WriteString("\nThe documented responses\n\n")
	fmt.Fprintf(out, "  %-9s  %-46s  %s\n", "user", "last response", "result")
	for _, id := range []string{"deleted", "active", "elsewhere", "nobody", "unlucky"} {
		activation, err := users.Activate(ctx, id)
		if ctx.Err() != nil {
			return err
		}
		var failure *flashback.Error
		if !errors.As(err, &failure) {
			fmt.Fprintf(out, "  %-9s  %-46s  %s\n", id, "200 "+activation.Message, "success")
			continue
		}
		response := fmt.Sprintf("%d %s", failure.StatusCode, failure.Message)
		if failure.Attempts > 1 {
			response += fmt.Sprintf(", %d times", failure.Attempts)
		}
		for _, kind := range kinds(err) {
			fmt.Fprintf(out, "  %-9s  %-46s  %s\n", id, response, kind)
			id, response = "", ""
		}
	}
	return nil
}

// kinds names the kinds of an error that Activate returned.
func kinds(err error) []string {
	var names []string
	for _, kind := range []struct {
		err  error
		name string
	}{
		{flashback.ErrUserNotDeleted, "ErrUserNotDeleted"},
		{flashback.ErrForbidden, "ErrForbidden"},
		{flashback.ErrNotFound, "ErrNotFound"},
		{flashback.ErrServer, "ErrServer"},
		{flashback.ErrOutcomeUnknown, "ErrOutcomeUnknown"},
	} {
		if errors.Is(err, kind.err) {
			names = append(names, kind.name)
		}
	}
	return names
}

// notDeleted is the documented message of the 400 for a user who is active.
const notDeleted = "User is not deleted"

// lost gets no response to a request that was applied.
func lost(ctx context.Context, out *strings.Builder, backend *flashbacktest.Backend, users *flashback.UsersService) error {
	backend.Reset()
	backend.AddDeletedUser("lost")
	backend.Script(flashbacktest.LoseResponse(flashbacktest.CutResponse)) // for the next request alone
	activation, err := users.Activate(ctx, "lost")
	if err != nil {
		return err
	}

	out.WriteString("\nThe lost response: the request is applied, and the connection breaks\n\n")
	for i, request := range backend.Requests() {
		what := "changes nothing; the response is 400 " + notDeleted
		if request.Applied {
			what = "activates the user; no response comes"
		}
		fmt.Fprintf(out, "  request %d          %s\n", i+1, what)
	}
	user, _ := backend.User("lost")
	state := "is active"
	if user.Deleted() {
		state = "is deleted"
	}
	fmt.Fprintf(out, "  the user           %s, says the backend\n", state)
	fmt.Fprintf(out, "  the last response  read alone, reports a failure: %s\n", notDeleted)
	fmt.Fprintf(out, "  Activate           reports success: Recovered=%t, Attempts=%d\n", activation.Recovered, activation.Attempts)
	return nil
}
