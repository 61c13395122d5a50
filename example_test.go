package flashback_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	flashback "github.com/flashbacknetwork/flashback-go"
	"github.com/flashbacknetwork/flashback-go/flashbacktest"
)

func Example() {
	// A fake backend with one deleted user stands in for the real one.
	backend := flashbacktest.NewServer()
	defer backend.Close()
	backend.AddDeletedUser("user-1")

	// For the real one, leave WithBaseURL out.
	client, err := flashback.NewClient(backend.Token(), flashback.WithBaseURL(backend.URL))
	if err != nil {
		fmt.Println(err)
		return
	}
	activation, err := client.Organization.Users.Activate(context.Background(), "user-1")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(activation.UserID, "is active:", activation.Message)
	// Output: user-1 is active: User activated successfully
}

func ExampleNewClient() {
	for _, token := range []string{"", "Bearer eyJhbGciOi", "eyJhbGciOi\n", "an access token"} {
		_, err := flashback.NewClient(token)
		fmt.Println(err)
	}
	// Output:
	// flashback: NewClient: invalid argument: the access token is empty
	// flashback: NewClient: invalid argument: the access token starts with "Bearer "; pass the token alone
	// flashback: NewClient: invalid argument: the access token begins or ends with white space (a file's newline?); use strings.TrimSpace
	// flashback: NewClient: invalid argument: the access token has white space in it; pass the token alone
}

func ExampleUsersService_Activate() {
	backend := flashbacktest.NewServer()
	defer backend.Close()
	backend.AddDeletedUser("deleted")
	backend.AddUser(flashbacktest.User{ID: "active"})
	users := backend.Client().Organization.Users

	for _, id := range []string{"deleted", "active", "nobody"} {
		activation, err := users.Activate(context.Background(), id)
		switch {
		case err == nil:
			fmt.Printf("%s: %s\n", id, activation.Message)
		case errors.Is(err, flashback.ErrUserNotDeleted):
			fmt.Printf("%s: was active already\n", id)
		default:
			fmt.Println(err)
		}
	}
	// Output:
	// deleted: User activated successfully
	// active: was active already
	// flashback: organization.users.activate "nobody": not found: User not found (HTTP 404)
}

// The backend activates the user, and the connection breaks before its answer. The
// second attempt is told that the user is not deleted. On its own that answer
// reports a failure; the call as a whole succeeded.
func ExampleUsersService_Activate_recovered() {
	backend := flashbacktest.NewServer()
	defer backend.Close()
	backend.AddDeletedUser("user-1")
	backend.Script(flashbacktest.LoseResponse(flashbacktest.CutResponse))

	activation, err := backend.Client().Organization.Users.Activate(context.Background(), "user-1")
	if err != nil {
		fmt.Println(err)
		return
	}
	user, _ := backend.User("user-1")
	fmt.Println("last answer:", activation.Message)
	fmt.Println("attempts:", activation.Attempts)
	fmt.Println("recovered:", activation.Recovered)
	fmt.Println("the backend has the user as deleted:", user.Deleted())
	// Output:
	// last answer: User is not deleted
	// attempts: 2
	// recovered: true
	// the backend has the user as deleted: false
}

// An unknown outcome goes with any other kind, so ask for it first.
func ExampleError() {
	backend := flashbacktest.NewServer()
	defer backend.Close()
	backend.AddDeletedUser("user-1")
	backend.Script( // the first answer is lost, and the second one settles nothing
		flashbacktest.LoseResponse(flashbacktest.CutResponse),
		flashbacktest.Respond(403, `{"success": false, "message": "Insufficient permissions to activate users"}`),
	)

	_, err := backend.Client().Organization.Users.Activate(context.Background(), "user-1")

	switch {
	case errors.Is(err, flashback.ErrOutcomeUnknown):
		fmt.Println("may be active by now: call again, or look")
	case errors.Is(err, flashback.ErrUserNotDeleted):
		fmt.Println("was active already")
	case errors.Is(err, flashback.ErrForbidden), errors.Is(err, flashback.ErrNotFound):
		fmt.Println("wrong user, or a token without the right")
	}
	var failure *flashback.Error
	if errors.As(err, &failure) {
		fmt.Printf("HTTP %d after %d attempts: %s\n", failure.StatusCode, failure.Attempts, failure.Message)
	}
	fmt.Println("forbidden as well:", errors.Is(err, flashback.ErrForbidden))
	// Output:
	// may be active by now: call again, or look
	// HTTP 403 after 2 attempts: Insufficient permissions to activate users
	// forbidden as well: true
}

// The source has another token when the first one turns out to be no longer good.
func ExampleWithTokenSource() {
	backend := flashbacktest.NewServer()
	defer backend.Close()
	backend.AddDeletedUser("user-1")
	tokens := []string{"an-expired-token", backend.Token()}

	client, err := flashback.NewClient("", // no fixed token
		flashback.WithBaseURL(backend.URL),
		flashback.WithTokenSource(func(context.Context) (string, error) {
			token := tokens[0]
			tokens = tokens[1:]
			return token, nil
		}),
	)
	if err != nil {
		fmt.Println(err)
		return
	}
	activation, err := client.Organization.Users.Activate(context.Background(), "user-1")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s, with attempt %d\n", activation.Message, activation.Attempts)
	// Output: User activated successfully, with attempt 2
}

func ExampleWithLogger() {
	backend := flashbacktest.NewServer()
	defer backend.Close()
	backend.AddDeletedUser("user-1")
	backend.Script(flashbacktest.ApplyThenRespond(502, "<html>Bad Gateway</html>"))

	// A handler without what differs from run to run.
	logger := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey || a.Key == "wait" {
				return slog.Attr{}
			}
			return a
		},
	}))
	client := backend.Client(flashback.WithLogger(logger))
	if _, err := client.Organization.Users.Activate(context.Background(), "user-1"); err != nil {
		fmt.Println(err)
	}
	// Output:
	// level=INFO msg="flashback: retrying" op=organization.users.activate id=user-1 attempts=1 status=502
	// level=INFO msg="flashback: recovered" op=organization.users.activate id=user-1 attempts=2 message="User is not deleted"
}

// The whole life of a user.
func ExampleUsersService() {
	backend := flashbacktest.NewServer()
	defer backend.Close()
	ctx, users := context.Background(), backend.Client().Organization.Users

	jane, err := users.Create(ctx, flashback.NewUser{
		Email:      "jane@example.com",
		Password:   flashback.NewSecret("correct horse battery staple"),
		FirstName:  "Jane",
		LastName:   "Doe",
		OrgRole:    flashback.Ptr(flashback.RoleBilling),
		SendInvite: flashback.Ptr(true),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("created:", jane.Name, jane.LastName, jane.OrgRole)

	invitation, err := users.ResendInvitation(ctx, jane.ID)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("invited again:", invitation.Message)

	jane, err = users.Update(ctx, jane.ID, flashback.UserUpdate{OrgRole: flashback.Ptr(flashback.RoleWorkspaces)})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("updated:", jane.OrgRole)

	if _, err = users.Delete(ctx, jane.ID); err != nil {
		fmt.Println(err)
		return
	}
	list, err := users.List(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, user := range list.Deleted() {
		fmt.Println("deleted:", user.Email)
		if _, err := users.Activate(ctx, user.ID); err != nil {
			fmt.Println(err)
			return
		}
	}
	jane, err = users.Get(ctx, jane.ID)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("deleted now:", jane.Deleted())
	// Output:
	// created: Jane Doe billing
	// invited again: Invitation sent
	// updated: workspaces
	// deleted: jane@example.com
	// deleted now: false
}

// A delete whose answer was lost is settled by looking at the user.
func ExampleUsersService_Delete() {
	backend := flashbacktest.NewServer()
	defer backend.Close()
	backend.AddUser(flashbacktest.User{ID: "user-1"})
	backend.Script(flashbacktest.LoseResponse(flashbacktest.CutResponse))

	deletion, err := backend.Client().Organization.Users.Delete(context.Background(), "user-1")
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, request := range backend.Requests() {
		fmt.Println(request.Method)
	}
	fmt.Println("recovered:", deletion.Recovered)
	// Output:
	// DELETE
	// GET
	// recovered: true
}

// A create whose answer was lost is not repeated: there could be two users then.
func ExampleUsersService_Create() {
	backend := flashbacktest.NewServer()
	defer backend.Close()
	backend.Script(flashbacktest.LoseResponse(flashbacktest.CutResponse))
	ctx, users := context.Background(), backend.Client().Organization.Users

	_, err := users.Create(ctx, flashback.NewUser{Email: "jane@example.com", Password: flashback.NewSecret("correct horse")})
	if errors.Is(err, flashback.ErrOutcomeUnknown) {
		list, err := users.List(ctx)
		if err != nil {
			fmt.Println(err)
			return
		}
		for _, user := range list.Users {
			if user.Email == "jane@example.com" {
				fmt.Println("was created")
			}
		}
	}
	// Output: was created
}

func ExampleOrganizationService_Update() {
	backend := flashbacktest.NewServer()
	defer backend.Close()

	org, err := backend.Client().Organization.Update(context.Background(), flashbacktest.DefaultOrg, flashback.OrganizationUpdate{
		City:    flashback.Ptr("Zürich"),
		Website: flashback.Ptr(""), // made empty; what is nil is left as it is
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(org.Name, "in", org.City)
	// Output: Organization 1 in Zürich
}

// Queues deliver twice. To a job, a user who is active already is done: it asked for
// an active user, and an earlier delivery may have made one. Somebody who has just
// pressed a button asked for something else, and should be told that there was
// nothing to bring back.
func ExampleUsersService_Activate_redelivery() {
	backend := flashbacktest.NewServer()
	defer backend.Close()
	backend.AddDeletedUser("user-1")
	users := backend.Client().Organization.Users

	job := func(ctx context.Context, userID string) error {
		_, err := users.Activate(ctx, userID)
		if errors.Is(err, flashback.ErrUserNotDeleted) {
			return nil // a delivery before this one has done it
		}
		return err // and with any error, the queue delivers again
	}
	for range 2 {
		fmt.Println("job:", job(context.Background(), "user-1"))
	}
	_, err := users.Activate(context.Background(), "user-1")
	fmt.Println("button:", err)
	// Output:
	// job: <nil>
	// job: <nil>
	// button: flashback: organization.users.activate "user-1": user not deleted (bad request): User is not deleted (HTTP 400)
}
