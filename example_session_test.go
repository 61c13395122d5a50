package flashback_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	flashback "github.com/flashbacknetwork/flashback-go"
	"github.com/flashbacknetwork/flashback-go/flashbacktest"
	"github.com/flashbacknetwork/flashback-go/tokenfile"
)

// A program that is run again and again goes on with the session of its last run. Only if there is none,
// or it is lost, the user has to log in. examples/session is this program for the real backend.
func Example_session() {
	ctx := context.Background()
	backend := flashbacktest.NewServer()
	defer backend.Close()
	backend.AddUser(flashbacktest.User{ID: "jane", Email: "jane@example.com", Password: "Passw0rd", MFACode: "123456"})
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = os.RemoveAll(dir) }()

	run := func() (err error) {
		options := []flashback.Option{
			flashback.WithBaseURL(backend.URL), // for the real backend, leave this out
			flashback.WithTokenStore(tokenfile.New(filepath.Join(dir, "session.json"))),
		}
		session, err := flashback.Resume(ctx, flashback.Tokens{}, options...)
		if err == nil {
			_, err = session.Token(ctx) // renewed, if that is due
		}
		if errors.Is(err, flashback.ErrUnauthorized) { // there are no tokens yet, or the session is lost
			fmt.Println("logging in")
			session, err = flashback.Login(ctx, "jane@example.com", flashback.NewSecret("Passw0rd"), options...)
		}
		var mfa *flashback.MFARequiredError
		if errors.As(err, &mfa) {
			session, err = mfa.Verify(ctx, flashback.MFA{Type: mfa.Primary, Code: flashback.NewSecret("123456")})
		}
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, session.Close(ctx)) }()

		client, err := session.Client()
		if err != nil {
			return err
		}
		organization, err := client.Organization.Get(ctx, "org-1")
		if err != nil {
			return err
		}
		fmt.Println(organization.Name)
		return nil
	}
	fmt.Println(run())
	fmt.Println(run())
	// Output:
	// logging in
	// Organization 1
	// <nil>
	// Organization 1
	// <nil>
}

// vault keeps the tokens of one session in a variable. With the client of a secret manager, Load and Save
// ask that; for several sessions, Lock has to wait for the others.
type vault struct{ tokens flashback.Tokens }

func (v *vault) Lock(context.Context) (flashback.TokenLock, error) { return v, nil }
func (v *vault) Load() (flashback.Tokens, error)                   { return v.tokens, nil }
func (v *vault) Begin() error                                      { return nil }
func (v *vault) Save(tokens flashback.Tokens) error                { v.tokens = tokens; return nil }
func (v *vault) Unlock() error                                     { return nil }

func ExampleTokenStore() {
	ctx := context.Background()
	backend := flashbacktest.NewServer()
	defer backend.Close()
	backend.AddUser(flashbacktest.User{ID: "jane", Email: "jane@example.com", Password: "Passw0rd"})

	store := new(vault)
	session, err := flashback.Login(ctx, "jane@example.com", flashback.NewSecret("Passw0rd"),
		flashback.WithBaseURL(backend.URL), flashback.WithTokenStore(store))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = session.Close(ctx) }()
	fmt.Println(store.tokens == session.Tokens(), store.tokens.Refresh)
	// Output: true [redacted]
}

// One session gives its tokens to several clients, and renews them once for all.
func ExampleSession_Client() {
	ctx := context.Background()
	backend := flashbacktest.NewServer()
	defer backend.Close()
	backend.AddUser(flashbacktest.User{ID: "jane", Email: "jane@example.com", Password: "Passw0rd", Role: flashback.RoleOwner})

	session, err := flashback.Login(ctx, "jane@example.com", flashback.NewSecret("Passw0rd"), flashback.WithBaseURL(backend.URL))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = session.Close(ctx) }()
	backend.RevokeToken(session.Tokens().Access.Reveal()) // as if its hour were over
	for _, agent := range []string{"reports/1.0", "cleaner/1.0"} {
		client, err := session.Client(flashback.WithUserAgent(agent))
		if err != nil {
			fmt.Println(err)
			return
		}
		user, err := client.Organization.Users.Get(ctx, "jane")
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(user.Email)
	}
	renewals := 0
	for _, request := range backend.Requests() {
		if request.Path == "/user/refresh" {
			renewals++
		}
	}
	fmt.Println("renewals:", renewals)
	// Output:
	// jane@example.com
	// jane@example.com
	// renewals: 1
}

// The server's refresh tokens have no method, because their responses are documented nowhere.
func ExampleClient_Do_tokens() {
	ctx := context.Background()
	backend := flashbacktest.NewServer()
	defer backend.Close()
	backend.AddUser(flashbacktest.User{ID: "jane", Email: "jane@example.com", Password: "Passw0rd"})
	session, err := flashback.Login(ctx, "jane@example.com", flashback.NewSecret("Passw0rd"), flashback.WithBaseURL(backend.URL))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = session.Close(ctx) }()
	client, err := session.Client()
	if err != nil {
		fmt.Println(err)
		return
	}
	tokenID := session.Tokens().ID

	var list struct {
		Tokens []json.RawMessage `json:"tokens"`
	}
	err = client.Do(ctx, flashback.Request{Method: "GET", Path: "/token"}, &list)
	fmt.Println(len(list.Tokens), err)
	err = client.Do(ctx, flashback.Request{Method: "DELETE", Path: "/token/{id}", Segments: map[string]string{"id": tokenID}}, nil)
	fmt.Println(err)
	// Output:
	// 1 <nil>
	// <nil>
}
