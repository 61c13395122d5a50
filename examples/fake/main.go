// Command fake serves a fake Flashback backend on a loopback address, for programs in any
// language and for trials by hand. It keeps its data in memory until it is stopped.
//
//	go run ./examples/fake -addr 127.0.0.1:8080
//
// It prints the address and an access token as assignments for a shell, and whom and what it
// begins with. Any program that takes the address of the backend can use it:
//
//	FLASHBACK_BASE_URL=http://127.0.0.1:8080 FLASHBACK_ACCESS_TOKEN=... go run ./examples/activate user-1
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	flashback "github.com/flashbacknetwork/flashback-go"
	"github.com/flashbacknetwork/flashback-go/flashbacktest"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:8080", "the address to serve on; port 0 finds a free one")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := serve(ctx, *addr, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// serve serves a backend until ctx ends.
func serve(ctx context.Context, addr string, stdout io.Writer) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	backend := seeded()
	server := &http.Server{Handler: backend, ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() { _ = server.Close() }) // only the listener could fail to close

	fmt.Fprintf(stdout, "FLASHBACK_BASE_URL=http://%s\nFLASHBACK_ACCESS_TOKEN=%s\n\n", listener.Addr(), backend.Token())
	fmt.Fprintln(stdout, "The token is of the user owner. To log in: jane@example.com, with the password Secret12.")
	for _, user := range backend.Users() {
		state := "active"
		if user.Deleted() {
			state = "deleted"
		}
		fmt.Fprintf(stdout, "user %s: %s, role %d\n", user.ID, state, user.Role)
	}
	for _, workspace := range backend.Workspaces() {
		fmt.Fprintf(stdout, "workspace %s: %v\n", workspace.ID, workspace.Users)
	}
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// seeded is a backend with users of each kind, and a workspace.
func seeded() *flashbacktest.Backend {
	backend := flashbacktest.NewBackend()
	for _, id := range []string{"user-1", "user-2", "user-3"} {
		backend.AddDeletedUser(id)
	}
	backend.AddUser(flashbacktest.User{
		ID: "jane", Email: "jane@example.com", Name: "Jane", LastName: "Doe", Password: "Secret12",
		Role: flashback.RoleWorkspaces, Validated: true,
	})
	backend.AddWorkspace(flashbacktest.Workspace{
		ID: "workspace-1", Name: "Workspace 1", Users: map[string]string{"owner": "ADMIN", "jane": "WRITE"},
	})
	return backend
}
