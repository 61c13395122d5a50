// Command offboard takes people out of every workspace of an organization and deletes them.
// Without -delete it shows what it would do, and changes nothing.
//
//	go run ./examples/offboard [-delete] jane@example.com joe@example.com
//
// FLASHBACK_ACCESS_TOKEN is the token of an admin, who sees the workspaces that the admin can
// access, and FLASHBACK_BASE_URL another backend than the documented one. Without a token it
// needs no set-up: it does both, for two people on a fake backend that loses responses.
//
// What has been done is left out by the next run, so that a run that failed can be repeated.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"slices"
	"strings"

	flashback "github.com/flashbacknetwork/flashback-go"
	"github.com/flashbacknetwork/flashback-go/flashbacktest"
)

func main() {
	remove := flag.Bool("delete", false, "do it, instead of showing what would be done")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *remove, flag.Args(), os.Getenv, os.Stdout); err != nil {
		log.Fatal(err) //nolint:gocritic // The process ends.
	}
}

func run(ctx context.Context, remove bool, emails []string, getenv func(string) string, out io.Writer) error {
	token := strings.TrimSpace(getenv("FLASHBACK_ACCESS_TOKEN"))
	if token == "" {
		client, people := fake(), []string{"jane@example.com", "joe@example.com"}
		return errors.Join(offboard(ctx, client, people, false, out), offboard(ctx, client, people, true, out))
	}
	client, err := flashback.NewClient(token, flashback.WithBaseURL(cmp.Or(getenv("FLASHBACK_BASE_URL"), flashback.DefaultBaseURL)))
	if err != nil {
		return err
	}
	return offboard(ctx, client, emails, remove, out)
}

// offboard finds everybody before it changes anything, so that a misspelled address stops it
// in time. One person's failure does not stop the others.
func offboard(ctx context.Context, client *flashback.Client, emails []string, remove bool, out io.Writer) error {
	me, err1 := client.Profile(ctx)
	list, err2 := client.Organization.Users.List(ctx) // A list that is cut is an error too.
	workspaces, err3 := client.Workspaces.List(ctx)
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	fmt.Fprintf(out, "%d people; dry run: %t\n", len(emails), !remove)
	var leavers []flashback.User
	for _, email := range emails {
		i := slices.IndexFunc(list.Users, func(u flashback.User) bool { return strings.EqualFold(u.Email, email) })
		if i < 0 || list.Users[i].ID == me.ID {
			return fmt.Errorf("%s is nobody's address, or your own; nothing was changed", email)
		}
		leavers = append(leavers, list.Users[i])
	}
	var err error
	for _, user := range leavers {
		err = errors.Join(err, leave(ctx, client, user, workspaces, remove, out))
	}
	return err
}

// leave takes a user out of the workspaces, and deletes the user if that has succeeded.
func leave(ctx context.Context, client *flashback.Client, user flashback.User, workspaces []flashback.Workspace, remove bool, out io.Writer) error {
	for _, ws := range workspaces {
		if !slices.ContainsFunc(ws.Users, func(u flashback.WorkspaceUser) bool { return u.UserID == user.ID }) {
			continue
		}
		fmt.Fprintf(out, "%s leaves %s", user.Email, ws.Name)
		if remove {
			left, err := client.Workspaces.RemoveUser(ctx, ws.ID, user.ID)
			if err != nil && !errors.Is(err, flashback.ErrNotInWorkspace) { // Somebody else may have been faster.
				return fmt.Errorf("%s was not deleted: %w", user.Email, err)
			}
			fmt.Fprintf(out, ": done, lost a response: %t", err == nil && left.Recovered)
		}
		fmt.Fprintln(out)
	}
	if user.Deleted() { // by an earlier run
		return nil
	}
	fmt.Fprintf(out, "%s is deleted", user.Email)
	if remove {
		deletion, err := client.Organization.Users.Delete(ctx, user.ID)
		if err != nil {
			return fmt.Errorf("%s has left all workspaces: %w", user.Email, err)
		}
		fmt.Fprintf(out, ": done, lost a response: %t", deletion.Recovered)
	}
	fmt.Fprintln(out)
	return nil
}

// fake is the client of a fake backend that loses a response about each of two people.
func fake() *flashback.Client {
	backend := flashbacktest.NewBackend()
	backend.AddUser(flashbacktest.User{ID: "user-1", Email: "jane@example.com"})
	backend.AddUser(flashbacktest.User{ID: "user-2", Email: "joe@example.com"})
	backend.AddWorkspace(flashbacktest.Workspace{ID: "1", Name: "Research", Users: map[string]string{"owner": "ADMIN", "user-1": "WRITE"}})
	backend.AddWorkspace(flashbacktest.Workspace{ID: "2", Name: "Sales", Users: map[string]string{"owner": "ADMIN", "user-1": "READ", "user-2": "READ"}})
	lost := flashbacktest.LoseResponse(flashbacktest.CutResponse)
	backend.ScriptFor("user-1", lost)
	backend.ScriptFor("user-2", flashbacktest.None(), lost)
	return backend.Client()
}
