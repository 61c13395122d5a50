// Command session goes on with the session of its last run. If there is none, or it is lost, it logs in with
// FLASHBACK_EMAIL and FLASHBACK_PASSWORD, and asks for a second factor if one is needed.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"

	flashback "github.com/flashbacknetwork/flashback-go"
	"github.com/flashbacknetwork/flashback-go/tokenfile"
)

func main() {
	if err := run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) (err error) {
	store := flashback.WithTokenStore(tokenfile.New("session.json"))
	session, err := flashback.Resume(ctx, flashback.Tokens{}, store)
	if err == nil {
		_, err = session.Token(ctx) // renewed, if that is due
	}
	if errors.Is(err, flashback.ErrUnauthorized) { // there are no tokens yet, or the session is lost
		session, err = flashback.Login(ctx, os.Getenv("FLASHBACK_EMAIL"), flashback.NewSecret(os.Getenv("FLASHBACK_PASSWORD")), store)
	}
	var mfa *flashback.MFARequiredError
	if errors.As(err, &mfa) {
		fmt.Print("code: ")
		var code string
		_, _ = fmt.Scanln(&code) // an empty code is refused
		session, err = mfa.Verify(ctx, flashback.MFA{Type: mfa.Primary, Code: flashback.NewSecret(code)})
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, session.Close(ctx)) }() // waits for a renewal that runs

	client, err := session.Client()
	if err != nil {
		return err
	}
	users, err := client.Organization.Users.List(ctx)
	if err == nil {
		fmt.Println(len(users.Users), "users")
	}
	return err
}
