package flashback_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"sync"

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
	// flashback: NewClient: invalid argument: the access token is empty; give one, or WithTokenSource, or use Session.Client
	// flashback: NewClient: invalid argument: the access token starts with "Bearer "; pass the token alone
	// flashback: NewClient: invalid argument: the access token begins or ends with white space (a file's newline?); use strings.TrimSpace
	// flashback: NewClient: invalid argument: the access token has white space in it; pass the token alone
}

func ExampleUsersService_Activate() {
	backend := flashbacktest.NewBackend()
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
	// flashback: organization.users.activate "nobody": not found: User not found (POST https://backend.flashback.test/organization/users/nobody/activate, HTTP 404)
}

// The backend activates the user, and the connection breaks before the response. The
// response to the second attempt is 400 "User is not deleted". That response alone reports a
// failure; the call as a whole succeeded.
func ExampleUsersService_Activate_recovered() {
	backend := flashbacktest.NewBackend()
	backend.AddDeletedUser("user-1")
	backend.Script(flashbacktest.LoseResponse(flashbacktest.CutResponse))

	activation, err := backend.Client().Organization.Users.Activate(context.Background(), "user-1")
	if err != nil {
		fmt.Println(err)
		return
	}
	user, _ := backend.User("user-1")
	fmt.Println("attempts:", activation.Attempts)
	fmt.Println("recovered:", activation.Recovered)
	fmt.Println("the backend has the user as deleted:", user.Deleted())
	// Output:
	// attempts: 2
	// recovered: true
	// the backend has the user as deleted: false
}

// An unknown outcome comes with any other kind, so check for it first.
func ExampleError() {
	backend := flashbacktest.NewBackend()
	backend.AddDeletedUser("user-1")
	backend.Script( // the first response is lost, and the second one settles nothing
		flashbacktest.LoseResponse(flashbacktest.CutResponse),
		flashbacktest.Respond(403, `{"success": false, "message": "Insufficient permissions to activate users"}`),
	)

	_, err := backend.Client().Organization.Users.Activate(context.Background(), "user-1")

	switch {
	case errors.Is(err, flashback.ErrOutcomeUnknown):
		fmt.Println("may be active: call again, or get the user")
	case errors.Is(err, flashback.ErrUserNotDeleted):
		fmt.Println("was active already")
	case errors.Is(err, flashback.ErrForbidden), errors.Is(err, flashback.ErrNotFound):
		fmt.Println("wrong user, or a token without the right")
	}
	if failure, ok := errors.AsType[*flashback.Error](err); ok {
		fmt.Printf("HTTP %d after %d attempts: %s\n", failure.StatusCode, failure.Attempts, failure.Message)
	}
	fmt.Println("forbidden as well:", errors.Is(err, flashback.ErrForbidden))
	// Output:
	// may be active: call again, or get the user
	// HTTP 403 after 2 attempts: Insufficient permissions to activate users
	// forbidden as well: false
}

// A root certificate of one's own, for a backend whose certificate no public authority
// has signed.
func ExampleWithHTTPClient() {
	backend := flashbacktest.NewBackend()
	backend.AddDeletedUser("user-1")
	server := httptest.NewTLSServer(backend)
	defer server.Close()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate()) // for a file: AppendCertsFromPEM

	transport := flashback.NewTransport()
	transport.TLSClientConfig = &tls.Config{RootCAs: roots}
	client, err := flashback.NewClient(backend.Token(), flashback.WithBaseURL(server.URL),
		flashback.WithHTTPClient(&http.Client{Transport: transport}))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.CloseIdleConnections()
	activation, err := client.Organization.Users.Activate(context.Background(), "user-1")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(activation.Message)
	// Output: User activated successfully
}

// A proxy of one's own, in place of that in the environment. This one wants a password.
func ExampleWithHTTPClient_proxy() {
	const token = "an-access-token"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Println("the proxy got:", r.Method, r.Host)
		w.WriteHeader(http.StatusProxyAuthRequired)
	}))
	defer server.Close()
	proxy, err := url.Parse(server.URL) // such as http://user:password@proxy.example.com:3128
	if err != nil {
		fmt.Println(err)
		return
	}

	transport := flashback.NewTransport()
	transport.Proxy = http.ProxyURL(proxy)
	client, err := flashback.NewClient(token, flashback.WithHTTPClient(&http.Client{Transport: transport}))
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = client.Organization.Users.Activate(context.Background(), "user-1")
	fmt.Println("may be active:", errors.Is(err, flashback.ErrOutcomeUnknown))
	// Output:
	// the proxy got: CONNECT backend.flashback.tech:443
	// may be active: false
}

// printing prints the attempts that a transport makes.
type printing struct{ http.RoundTripper }

func (t printing) RoundTrip(req *http.Request) (*http.Response, error) {
	if attempt, ok := flashback.AttemptFrom(req.Context()); ok {
		fmt.Println(attempt.Number, req.Method, attempt.Op, attempt.ReadBack)
	}
	return t.RoundTripper.RoundTrip(req)
}

// The client's own transport in a wrapper. The response to the delete is lost, and a
// read-back settles it.
func ExampleWithHTTPClient_wrapped() {
	backend := flashbacktest.NewServer()
	defer backend.Close()
	backend.AddUser(flashbacktest.User{ID: "user-1"})
	backend.Script(flashbacktest.LoseResponse(flashbacktest.CutResponse))

	transport := flashback.NewTransport()
	defer transport.CloseIdleConnections()
	client, err := flashback.NewClient(backend.Token(), flashback.WithBaseURL(backend.URL),
		flashback.WithHTTPClient(&http.Client{Transport: printing{transport}}))
	if err != nil {
		fmt.Println(err)
		return
	}
	deletion, err := client.Organization.Users.Delete(context.Background(), "user-1")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("recovered:", deletion.Recovered)
	// Output:
	// 1 DELETE organization.users.delete false
	// 2 GET organization.users.get true
	// recovered: true
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

// cache keeps the token of a source, as oauth2.ReuseTokenSource does, until the server
// refuses it. Package examples/oauth2 has it for golang.org/x/oauth2.
type cache struct {
	fetch func() (string, error)

	mu    sync.Mutex
	token string
}

func (c *cache) Token(ctx context.Context) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.token != "" && c.token != flashback.RefusedToken(ctx) {
		return c.token, nil
	}
	var err error
	c.token, err = c.fetch()
	return c.token, err
}

// A token that was revoked before its end is fetched anew once the server refuses it.
func ExampleRefusedToken() {
	backend := flashbacktest.NewServer()
	defer backend.Close()
	backend.AddDeletedUser("user-1")
	tokens := []string{"a-revoked-token", backend.Token()}

	source := &cache{fetch: func() (string, error) {
		token := tokens[0]
		tokens = tokens[1:]
		fmt.Println("fetched a token")
		return token, nil
	}}
	client, err := flashback.NewClient("", flashback.WithBaseURL(backend.URL), flashback.WithTokenSource(source.Token))
	if err != nil {
		fmt.Println(err)
		return
	}
	for range 2 {
		_, err = client.Organization.Users.Activate(context.Background(), "user-1")
		fmt.Println("was active already:", errors.Is(err, flashback.ErrUserNotDeleted))
	}
	// Output:
	// fetched a token
	// fetched a token
	// was active already: false
	// was active already: true
}

func ExampleWithResponse() {
	backend := flashbacktest.NewBackend()
	backend.AddUser(flashbacktest.User{ID: "user-1"})
	backend.Script(flashbacktest.Respond(503, ""))

	var response flashback.Response
	ctx := flashback.WithResponse(context.Background(), &response)
	if _, err := backend.Client().Organization.Users.Get(ctx, "user-1"); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(response.StatusCode, "after", response.Attempts, "attempts")
	// Output: 200 after 2 attempts
}

func ExampleWithLogger() {
	backend := flashbacktest.NewBackend()
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
	backend := flashbacktest.NewBackend()
	ctx, users := context.Background(), backend.Client().Organization.Users

	jane, err := users.Create(ctx, flashback.NewUser{
		Email:      "jane@example.com",
		Password:   flashback.NewSecret("Correct horse 1"),
		FirstName:  "Jane",
		LastName:   "Doe",
		OrgRole:    new(flashback.RoleBilling),
		SendInvite: new(true),
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

	jane, err = users.Update(ctx, jane.ID, flashback.UserUpdate{OrgRole: new(flashback.RoleWorkspaces)})
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
	// created: Jane Doe BILLING
	// invited again: Invitation sent successfully
	// updated: WORKSPACES
	// deleted: jane@example.com
	// deleted now: false
}

// A lost response to a delete is settled by a read-back.
func ExampleUsersService_Delete() {
	backend := flashbacktest.NewBackend()
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

// A lost response to a create is settled by reading the list of users.
func ExampleUsersService_Create() {
	backend := flashbacktest.NewBackend()
	backend.Script(flashbacktest.LoseResponse(flashbacktest.CutResponse))
	users := backend.Client().Organization.Users

	user, err := users.Create(context.Background(), flashback.NewUser{
		Email: "jane@example.com", Password: flashback.NewSecret("Correct horse 1"), FirstName: "Jane", LastName: "Doe",
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("created:", user.Email)
	for _, request := range backend.Requests() {
		fmt.Println(request.Method)
	}
	// Output:
	// created: jane@example.com
	// POST
	// GET
}

// What can come of a create. What the API says to an address that is taken is not
// documented, so a refusal is told by its message.
func ExampleUsersService_Create_errors() {
	backend := flashbacktest.NewBackend()
	users := backend.Client().Organization.Users
	refuse := flashbacktest.Respond(403, `{"success": false, "message": "Insufficient permissions"}`)
	jane := flashback.NewUser{Email: "jane@example.com", Password: flashback.NewSecret("Correct horse 1"), FirstName: "Jane", LastName: "Doe"}

	for _, step := range []struct {
		user   flashback.NewUser
		faults []flashbacktest.Fault
	}{
		{user: flashback.NewUser{Email: "jane@example.com"}}, // without a password
		{jane, []flashbacktest.Fault{refuse}},
		{jane, []flashbacktest.Fault{flashbacktest.Drop(), refuse}}, // lost, and the list can't be read
		{user: jane},
	} {
		backend.Script(step.faults...)
		user, err := users.Create(context.Background(), step.user)
		switch {
		case errors.Is(err, flashback.ErrOutcomeUnknown):
			fmt.Println("may be there: list the users")
		case errors.Is(err, flashback.ErrInvalidArgument):
			fmt.Println("nothing was sent")
		case err != nil:
			message := err.Error()
			if failure, ok := errors.AsType[*flashback.Error](err); ok {
				message = failure.Message
			}
			fmt.Println("not created:", message)
		default:
			fmt.Println("created:", user.Email)
		}
	}
	// Output:
	// nothing was sent
	// not created: Insufficient permissions
	// may be there: list the users
	// created: jane@example.com
}

// A list may lack users, if its Total says so, and a user's DeletedAt is the zero time if
// it can't be read.
func ExampleUsersService_List() {
	backend := flashbacktest.NewBackend()
	backend.AddDeletedUser("user-1")
	list, err := backend.Client().Organization.Users.List(context.Background())
	if err != nil {
		fmt.Println(err)
		return
	}
	if list.Total > len(list.Users) {
		fmt.Println("the list is not complete")
	}
	for _, user := range list.Deleted() {
		fmt.Println(user.ID, "is deleted; readable date:", !user.DeletedAt.IsZero())
	}
	// Output: user-1 is deleted; readable date: true
}

// Do calls an endpoint that has no method of its own.
func ExampleClient_Do() {
	backend := flashbacktest.NewBackend()
	backend.Handle("GET /bucket/{id}", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"success": true, "data": {"id": "bucket-1"}}`)
	})

	var bucket struct {
		Data struct{ ID string }
	}
	err := backend.Client().Do(context.Background(), flashback.Request{
		Method:   http.MethodGet,
		Path:     "/bucket/{id}",
		Segments: map[string]string{"id": "bucket-1"},
	}, &bucket)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(bucket.Data.ID)
	// Output: bucket-1
}

func ExampleOrganizationService_Update() {
	backend := flashbacktest.NewBackend()

	org, err := backend.Client().Organization.Update(context.Background(), flashbacktest.DefaultOrg, flashback.OrganizationUpdate{
		City:    new("Zürich"),
		Website: new(""), // made empty; what is nil is left as it is
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(org.Name, "in", org.City)
	// Output: Organization 1 in Zürich
}

// Queues deliver twice. A job should take a user who is active already for done: an
// earlier delivery may have activated the user. Somebody who has just pressed a button
// should see the error instead.
func ExampleUsersService_Activate_redelivery() {
	backend := flashbacktest.NewBackend()
	backend.AddDeletedUser("user-1")
	users := backend.Client().Organization.Users

	job := func(ctx context.Context, userID string) error {
		_, err := users.Activate(ctx, userID)
		if errors.Is(err, flashback.ErrUserNotDeleted) {
			return nil // an earlier delivery has done it
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
	// button: flashback: organization.users.activate "user-1": user not deleted (bad request): User is not deleted (POST https://backend.flashback.test/organization/users/user-1/activate, HTTP 400)
}
