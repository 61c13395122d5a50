package flashback_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	flashback "github.com/flashbacknetwork/flashback-go"
	"github.com/flashbacknetwork/flashback-go/flashbacktest"
	"github.com/flashbacknetwork/flashback-go/tokenfile"
)

func ExampleLogin() {
	ctx := context.Background()
	backend := flashbacktest.NewServer()
	defer backend.Close()
	backend.AddUser(flashbacktest.User{ID: "jane", Email: "jane@example.com", Password: "Passw0rd"})

	// For the real backend, leave WithBaseURL out.
	session, err := flashback.Login(ctx, "jane@example.com", flashback.NewSecret("Passw0rd"), flashback.WithBaseURL(backend.URL))
	var mfa *flashback.MFARequiredError
	if errors.As(err, &mfa) {
		session = mfa.Session
		err = session.VerifyMFA(ctx, flashback.MFA{Type: mfa.Primary, Code: flashback.NewSecret("123456")})
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	client, err := flashback.NewClient("", flashback.WithSession(session), flashback.WithBaseURL(backend.URL))
	if err != nil {
		fmt.Println(err)
		return
	}
	org, err := client.Organization.Get(ctx, "org-1")
	if errors.Is(err, flashback.ErrSessionLost) {
		fmt.Println("log in again")
		return
	}
	fmt.Println(org.Name, err)
	fmt.Println(session.Tokens().Refresh)
	// Output:
	// Organization 1 <nil>
	// [redacted]
}

func ExampleOnRenew() {
	ctx := context.Background()
	backend := flashbacktest.NewServer()
	defer backend.Close()
	backend.AddUser(flashbacktest.User{ID: "jane", Email: "jane@example.com", Password: "Passw0rd"})
	vault := map[string]string{}

	session, err := flashback.Login(ctx, "jane@example.com", flashback.NewSecret("Passw0rd"), flashback.WithBaseURL(backend.URL),
		flashback.OnRenew(func(_ context.Context, tokens flashback.Tokens) error {
			vault["refresh"] = tokens.Refresh.Reveal() // before the tokens are used
			return nil
		}))
	fmt.Println(err, vault["refresh"] == session.Tokens().Refresh.Reveal())

	// Another process, later:
	_, err = flashback.Resume(ctx, flashback.Tokens{Refresh: flashback.NewSecret(vault["refresh"])}, flashback.WithBaseURL(backend.URL))
	fmt.Println(err)
	// Output:
	// <nil> true
	// <nil>
}

// One session gives its tokens to several clients, and renews them once for all.
func ExampleWithSession() {
	ctx := context.Background()
	backend := flashbacktest.NewServer()
	defer backend.Close()
	backend.AddUser(flashbacktest.User{ID: "jane", Email: "jane@example.com", Password: "Passw0rd", Role: flashback.RoleOwner})
	toBackend := flashback.WithBaseURL(backend.URL)

	session, err := flashback.Login(ctx, "jane@example.com", flashback.NewSecret("Passw0rd"), toBackend)
	if err != nil {
		fmt.Println(err)
		return
	}
	backend.RevokeToken(session.Tokens().Access.Reveal()) // as if its hour were over
	for range 2 {
		client, err := flashback.NewClient("", flashback.WithSession(session), toBackend)
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

// The session of one run goes on in the next, without a password.
func ExampleWithTokenStore() {
	ctx := context.Background()
	backend := flashbacktest.NewServer()
	defer backend.Close()
	backend.AddUser(flashbacktest.User{ID: "jane", Email: "jane@example.com", Password: "Passw0rd"})
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = os.RemoveAll(dir) }()
	options := []flashback.Option{
		flashback.WithBaseURL(backend.URL),
		flashback.WithTokenStore(tokenfile.New(filepath.Join(dir, "session.json"))),
	}

	_, err = flashback.Login(ctx, "jane@example.com", flashback.NewSecret("Passw0rd"), options...)
	fmt.Println("login:", err)

	// In another process, or a day later:
	session, err := flashback.Resume(ctx, flashback.Tokens{}, options...)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("logout:", session.Logout(ctx))
	_, err = flashback.Resume(ctx, flashback.Tokens{}, options...)
	fmt.Println("nothing to resume:", errors.Is(err, flashback.ErrInvalidArgument))
	// Output:
	// login: <nil>
	// logout: <nil>
	// nothing to resume: true
}
