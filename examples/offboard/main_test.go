package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	flashback "github.com/flashbacknetwork/flashback-go"
	"github.com/flashbacknetwork/flashback-go/flashbacktest"
)

func TestTheExampleNeedsNoSetUp(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	require.NoError(t, run(t.Context(), false, nil, func(string) string { return "" }, &out))
	assert.Equal(t, `2 people; dry run: true
jane@example.com leaves Research
jane@example.com leaves Sales
jane@example.com is deleted
joe@example.com leaves Sales
joe@example.com is deleted
2 people; dry run: false
jane@example.com leaves Research: done, lost a response: true
jane@example.com leaves Sales: done, lost a response: false
jane@example.com is deleted: done, lost a response: false
joe@example.com leaves Sales: done, lost a response: false
joe@example.com is deleted: done, lost a response: true
`, out.String())
}

func newBackend(t *testing.T) *flashbacktest.Backend {
	t.Helper()
	backend := flashbacktest.NewBackend()
	backend.AddUser(flashbacktest.User{ID: "user-1", Email: "jane@example.com"})
	backend.AddWorkspace(flashbacktest.Workspace{ID: "1", Name: "Research", Users: map[string]string{"owner": "ADMIN", "user-1": "WRITE"}})
	backend.AddWorkspace(flashbacktest.Workspace{ID: "2", Name: "Sales", Users: map[string]string{"owner": "READ", "user-1": "WRITE"}})
	return backend
}

func TestNobodyIsDeletedWhoIsStillInAWorkspace(t *testing.T) {
	t.Parallel()
	backend := newBackend(t) // whose owner may not change Sales
	err := offboard(t.Context(), backend.Client(), []string{"Jane@example.com"}, true, new(strings.Builder))
	require.ErrorIs(t, err, flashback.ErrForbidden)
	user, _ := backend.User("user-1")
	assert.False(t, user.Deleted())

	backend.AddWorkspace(flashbacktest.Workspace{ID: "2", Name: "Sales", Users: map[string]string{"owner": "ADMIN", "user-1": "WRITE"}})
	var out strings.Builder
	require.NoError(t, offboard(t.Context(), backend.Client(), []string{"jane@example.com"}, true, &out), "a run can be repeated")
	assert.NotContains(t, out.String(), "Research")
	user, _ = backend.User("user-1")
	assert.True(t, user.Deleted())
	require.NoError(t, offboard(t.Context(), backend.Client(), []string{"jane@example.com"}, true, &out))
}

func TestNothingIsChangedByADryRunOrAWrongAddress(t *testing.T) {
	t.Parallel()
	backend := newBackend(t)
	owner, _ := backend.User("owner")
	require.NoError(t, offboard(t.Context(), backend.Client(), []string{"jane@example.com"}, false, new(strings.Builder)))
	for _, wrong := range []string{"nobody@example.com", owner.Email} {
		require.Error(t, offboard(t.Context(), backend.Client(), []string{"jane@example.com", wrong}, true, new(strings.Builder)))
	}
	for _, request := range backend.Requests() {
		assert.Equal(t, http.MethodGet, request.Method)
	}
}

func TestARealBackendIsOneWithAToken(t *testing.T) {
	t.Parallel()
	backend := newBackend(t)
	server := httptest.NewServer(backend)
	defer server.Close()
	env := map[string]string{"FLASHBACK_ACCESS_TOKEN": backend.Token() + "\n", "FLASHBACK_BASE_URL": server.URL}
	var out strings.Builder
	require.NoError(t, run(t.Context(), false, []string{"jane@example.com"}, func(key string) string { return env[key] }, &out))
	assert.Contains(t, out.String(), "jane@example.com leaves Sales\n")
	env["FLASHBACK_BASE_URL"] = "://"
	require.Error(t, run(t.Context(), false, nil, func(key string) string { return env[key] }, &out))
}
