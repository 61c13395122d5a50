package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	flashback "github.com/flashbacknetwork/flashback-go"
)

// The connection is the subject: other programs come to it over a socket.
func TestAClientWorksWithWhatIsPrinted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	printed, stdout := io.Pipe()
	served := make(chan error, 1)
	go func() {
		served <- serve(ctx, "127.0.0.1:0", stdout)
		_ = stdout.Close()
	}()
	value := map[string]string{}
	lines := bufio.NewScanner(printed)
	for lines.Scan() && lines.Text() != "" {
		name, text, _ := strings.Cut(lines.Text(), "=")
		value[name] = text
	}
	rest := make(chan string, 1)
	go func() {
		text, _ := io.ReadAll(printed)
		rest <- string(text)
	}()

	client, err := flashback.NewClient(value["FLASHBACK_ACCESS_TOKEN"], flashback.WithBaseURL(value["FLASHBACK_BASE_URL"]))
	require.NoError(t, err)
	defer client.CloseIdleConnections()
	_, err = client.Organization.Users.Activate(t.Context(), "user-1")
	require.NoError(t, err)
	var list struct{ Workspaces []struct{ ID string } }
	require.NoError(t, client.Do(t.Context(), flashback.Request{Method: http.MethodGet, Path: "/workspace"}, &list))
	require.Len(t, list.Workspaces, 1)
	assert.Equal(t, "workspace-1", list.Workspaces[0].ID)

	cancel()
	require.NoError(t, <-served)
	text := <-rest
	for _, line := range []string{"user jane: active, role 2\n", "user user-2: deleted, role 0\n", "workspace workspace-1: map[jane:WRITE owner:ADMIN]\n"} {
		assert.Contains(t, text, line)
	}
}

func TestAnAddressThatCannotBeServedOnIsAnError(t *testing.T) {
	t.Parallel()
	require.ErrorContains(t, serve(t.Context(), "no address", io.Discard), "no address")
}
