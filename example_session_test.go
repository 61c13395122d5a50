package flashback_test

import (
	"context"
	"errors"
	"fmt"

	flashback "github.com/flashbacknetwork/flashback-go"
	"github.com/flashbacknetwork/flashback-go/flashbacktest"
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
