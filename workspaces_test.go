package flashback_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jarcoal/httpmock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	flashback "github.com/flashbacknetwork/flashback-go"
	"github.com/flashbacknetwork/flashback-go/flashbacktest"
)

var methods = slices.Concat(userMethods, workspaceMethods)

var workspaceMethods = []method{
	{"list the workspaces", func(ctx context.Context, c *flashback.Client) (any, error) {
		list, err := c.Workspaces.List(ctx)
		if err != nil {
			return nil, err
		}
		return list, nil
	}, "GET", "/workspace", "", "workspaces.list", ""},
	{"get the workspace", func(ctx context.Context, c *flashback.Client) (any, error) {
		return c.Workspaces.Get(ctx, "w/1")
	}, "GET", "/workspace/w%2F1", "", "workspaces.get", "w/1"},
	{"a new workspace", func(ctx context.Context, c *flashback.Client) (any, error) {
		return c.Workspaces.Create(ctx, "Team")
	}, "POST", "/workspace", `{"name":"Team"}`, "workspaces.create", ""},
	{"rename the workspace", func(ctx context.Context, c *flashback.Client) (any, error) {
		return c.Workspaces.Rename(ctx, "w/1", "Team")
	}, "PUT", "/workspace/w%2F1", `{"name":"Team"}`, "workspaces.rename", "w/1"},
	{"delete the workspace", func(ctx context.Context, c *flashback.Client) (any, error) {
		return c.Workspaces.Delete(ctx, "w/1")
	}, "DELETE", "/workspace/w%2F1", "", "workspaces.delete", "w/1"},
	{"add a user", func(ctx context.Context, c *flashback.Client) (any, error) {
		return c.Workspaces.AddUser(ctx, "w/1", "a/b", flashback.AccessWrite)
	}, "POST", "/workspace/w%2F1/users", `{"userId":"a/b","role":"WRITE"}`, "workspaces.addUser", "w/1"},
	{"set an access", func(ctx context.Context, c *flashback.Client) (any, error) {
		return c.Workspaces.SetAccess(ctx, "w/1", "a/b", flashback.AccessWrite)
	}, "PUT", "/workspace/w%2F1/users/a%2Fb", `{"role":"WRITE"}`, "workspaces.setAccess", "w/1"},
	{"remove a user", func(ctx context.Context, c *flashback.Client) (any, error) {
		return c.Workspaces.RemoveUser(ctx, "w/1", "a/b")
	}, "DELETE", "/workspace/w%2F1/users/a%2Fb", "", "workspaces.removeUser", "w/1"},
	{"profile", func(ctx context.Context, c *flashback.Client) (any, error) {
		return c.Profile(ctx)
	}, "GET", "/user/profile", "", "profile", ""},
	{"role", func(ctx context.Context, c *flashback.Client) (any, error) {
		return c.Organization.Users.Role(ctx, userID)
	}, "GET", "/user/a%2Fb", "", "organization.users.role", userID},
	{"set the role", func(ctx context.Context, c *flashback.Client) (any, error) {
		return c.Organization.Users.SetRole(ctx, userID, flashback.RoleBilling)
	}, "PUT", "/user/a%2Fb/role", `{"orgRole":1}`, "organization.users.setRole", userID},
}

const (
	teamJSON = `{"id":"w/1","name":"Team","orgId":"org-1","default":true,"deletedAt":null,"users":[{"userId":"a/b","role":"ADMIN",
		"user":{"id":"a/b","name":"Jane","lastName":"Doe","email":"jane@example.com","orgRole":2}}]}`
	noWorkspace = `{"success":false,"message":"Workspace not found or access denied"}`
)

// janeAndTeam is what the read-backs of all calls can read.
var janeAndTeam = strings.TrimSuffix(janeJSON, "}") + `,"workspace":` + teamJSON + `}`

var team = flashback.Workspace{
	ID: "w/1", Name: "Team", OrgID: "org-1", Default: true, Users: []flashback.WorkspaceUser{{
		UserID: "a/b", Access: flashback.AccessAdmin,
		User: flashback.User{ID: "a/b", Name: "Jane", LastName: "Doe", Email: "jane@example.com", OrgRole: new(flashback.RoleWorkspaces)},
	}},
}

var me = flashback.Profile{
	ID: userID, Email: "jane@example.com", Name: "Jane", LastName: "Doe", OrgID: "org-1", OrgRole: new(flashback.RoleWorkspaces),
	OrgRoleDescription: "WORKSPACES", OrgRoles: []flashback.Role{0, 1, 2}, Validated: true, MFARequired: true, IsBusiness: true,
}

// teamWith is a workspace with its users, each as "id role", as a read-back sees it.
func teamWith(users ...string) string {
	all := []map[string]string{}
	for _, user := range users {
		id, role, _ := strings.Cut(user, " ")
		all = append(all, map[string]string{"userId": id, "role": role})
	}
	encoded, err := json.Marshal(all)
	if err != nil {
		panic(err) // of texts
	}
	return `{"success":true,"workspace":{"id":"w/1","name":"Team","users":` + string(encoded) + `}}`
}

// The documented responses of the calls on workspaces, and of who is who.
func TestADocumentedResponseAboutWorkspacesIsToldAsWhatItIs(t *testing.T) {
	t.Parallel()
	const (
		caller   = "User not found or account is not validated"
		manage   = "Insufficient permissions to manage workspace users"
		noMember = "User not found in workspace"
		short    = `{"success":true,"workspace":{"id":"w/1","name":"Team","orgId":"org-1"}}`
		data     = `{"id":"a/b","email":"jane@example.com","name":"Jane","lastName":"Doe","orgId":"org-1","orgRole":2,"orgRoleDescription":"WORKSPACES","orgRoles":[0,1,2],"validated":true,"mfaRequired":true,"isBusiness":true}`
	)
	shortTeam := &flashback.Workspace{ID: "w/1", Name: "Team", OrgID: "org-1"}
	member := func(access flashback.Access) *flashback.Membership {
		return &flashback.Membership{WorkspaceID: "w/1", UserID: "a/b", Access: access, Attempts: 1}
	}
	for _, tt := range []struct {
		call    string
		status  int
		body    string // "" is a refusal with the message
		want    any    // of a success
		kinds   []string
		message string
		then    string // what a read-back sees
	}{
		{call: "list the workspaces", status: 200, body: `{"success":true,"workspaces":[` + teamJSON + `,{"id":"w-2"}]}`, want: []flashback.Workspace{team, {ID: "w-2"}}},
		{call: "list the workspaces", status: 200, body: `{"success":true,"workspaces":[]}`, want: []flashback.Workspace{}},
		{call: "list the workspaces", status: 400, kinds: []string{"ErrBadRequest", "ErrNotValidated"}, message: caller},
		{call: "list the workspaces", status: 404, kinds: []string{"ErrNotFound"}, message: "User not found"},
		{call: "list the workspaces", status: 500, kinds: []string{"ErrServer"}, message: "Failed to fetch workspaces"},

		{call: "get the workspace", status: 200, body: `{"success":true,"workspace":` + teamJSON + `}`, want: &team},
		{call: "get the workspace", status: 400, kinds: []string{"ErrBadRequest", "ErrNotValidated"}, message: caller},
		{call: "get the workspace", status: 404, kinds: []string{"ErrNotFound"}, message: "Workspace not found or access denied"},
		{call: "get the workspace", status: 404, kinds: []string{"ErrNotFound"}, message: "User not found"},
		{call: "get the workspace", status: 500, kinds: []string{"ErrServer"}, message: "Failed to fetch workspace"},

		{call: "a new workspace", status: 201, body: short, want: shortTeam},
		{call: "a new workspace", status: 201, body: `{"success":true}`, want: &flashback.Workspace{Name: "Team"}},
		{call: "a new workspace", status: 400, kinds: []string{"ErrBadRequest", "ErrNotValidated"}, message: caller},
		{call: "a new workspace", status: 403, kinds: []string{"ErrForbidden"}, message: "Insufficient permissions to create workspaces"},
		{call: "a new workspace", status: 500, kinds: []string{"ErrOutcomeUnknown", "ErrServer"}, message: "Failed to create workspace"},

		{call: "rename the workspace", status: 200, body: short, want: shortTeam},
		{call: "rename the workspace", status: 200, body: `{"success":true}`, want: &flashback.Workspace{ID: "w/1", Name: "Team"}},
		{call: "rename the workspace", status: 400, kinds: []string{"ErrBadRequest", "ErrNotValidated"}, message: caller},
		{call: "rename the workspace", status: 403, kinds: []string{"ErrForbidden"}, message: "Insufficient permissions to update workspace"},
		{call: "rename the workspace", status: 404, kinds: []string{"ErrNotFound"}, message: "Workspace not found"},
		{call: "rename the workspace", status: 500, kinds: []string{"ErrOutcomeUnknown", "ErrServer"}, message: "Failed to update workspace"},

		{call: "delete the workspace", status: 200, body: `{"success":true}`, want: &flashback.WorkspaceDeletion{WorkspaceID: "w/1", Attempts: 1}},
		{call: "delete the workspace", status: 400, kinds: []string{"ErrBadRequest", "ErrNotValidated"}, message: caller},
		{call: "delete the workspace", status: 400, kinds: []string{"ErrBadRequest", "ErrWorkspaceNotEmpty"}, message: "Cannot delete workspace with existing buckets or repos"},
		{call: "delete the workspace", status: 403, kinds: []string{"ErrForbidden"}, message: "Insufficient permissions to delete workspace"},
		{call: "delete the workspace", status: 404, kinds: []string{"ErrNotFound"}, message: "Workspace not found", then: noWorkspace},
		{call: "delete the workspace", status: 500, kinds: []string{"ErrOutcomeUnknown", "ErrServer"}, message: "Failed to delete workspace", then: teamWith()},

		{call: "add a user", status: 200, body: `{"success":true}`, want: member(flashback.AccessWrite)},
		{call: "add a user", status: 400, kinds: []string{"ErrBadRequest", "ErrNotValidated"}, message: caller},
		{call: "add a user", status: 403, kinds: []string{"ErrForbidden"}, message: manage},
		{call: "add a user", status: 404, kinds: []string{"ErrNotFound", "ErrTargetUserNotFound"}, message: "Target user not found"},
		{call: "add a user", status: 404, kinds: []string{"ErrNotFound"}, message: "Workspace not found"},
		{call: "add a user", status: 500, kinds: []string{"ErrOutcomeUnknown", "ErrServer"}, message: "Failed to add user to workspace", then: teamWith()},

		{call: "set an access", status: 200, body: `{"success":true}`, want: member(flashback.AccessWrite)},
		{call: "set an access", status: 400, kinds: []string{"ErrBadRequest", "ErrNotValidated"}, message: caller},
		{call: "set an access", status: 403, kinds: []string{"ErrForbidden"}, message: manage},
		{call: "set an access", status: 404, kinds: []string{"ErrNotFound", "ErrNotInWorkspace"}, message: noMember},
		{call: "set an access", status: 500, kinds: []string{"ErrOutcomeUnknown", "ErrServer"}, message: "Failed to update user role", then: teamWith("a/b READ")},

		{call: "remove a user", status: 200, body: `{"success":true}`, want: member("")},
		{call: "remove a user", status: 400, kinds: []string{"ErrBadRequest", "ErrNotValidated"}, message: caller},
		{call: "remove a user", status: 403, kinds: []string{"ErrForbidden"}, message: manage},
		{call: "remove a user", status: 404, kinds: []string{"ErrNotFound", "ErrNotInWorkspace"}, message: noMember},
		{call: "remove a user", status: 500, kinds: []string{"ErrOutcomeUnknown", "ErrServer"}, message: "Failed to remove user from workspace", then: teamWith("a/b WRITE")},

		{call: "profile", status: 200, body: `{"success":true,"data":` + data + `}`, want: &me},
		{call: "profile", status: 404, kinds: []string{"ErrNotFound"}, message: "User not found"},
		{call: "profile", status: 500, kinds: []string{"ErrServer"}, message: "Internal server error"},

		{call: "role", status: 200, body: `{"success":true,"data":{"userId":"a/b","orgRole":2,"orgRoleDescription":"WORKSPACES","orgRoles":[0,1,2]}}`, want: &flashback.UserRole{
			UserID: userID, OrgRole: new(flashback.RoleWorkspaces), OrgRoleDescription: "WORKSPACES", OrgRoles: []flashback.Role{0, 1, 2},
		}},
		{call: "role", status: 403, kinds: []string{"ErrForbidden"}, message: "User not associated with any organization"},
		{call: "role", status: 404, kinds: []string{"ErrNotFound"}, message: "User not found"},
		{call: "role", status: 500, kinds: []string{"ErrServer"}, message: "Internal server error"},

		{call: "set the role", status: 200, body: `{"success":true,"data":{"userId":"a/b","previousRole":0,"newRole":1,"message":"Done"}}`, want: &flashback.RoleChange{
			UserID: userID, PreviousRole: new(flashback.RoleUser), NewRole: flashback.RoleBilling, Message: "Done",
		}},
		{call: "set the role", status: 200, body: `{"success":true}`, want: &flashback.RoleChange{UserID: userID, NewRole: flashback.RoleBilling}},
		{call: "set the role", status: 403, kinds: []string{"ErrForbidden"}, message: "No"},
	} {
		t.Run(fmt.Sprintf("%s %d %s", tt.call, tt.status, tt.message), func(t *testing.T) {
			t.Parallel()
			if tt.body == "" {
				tt.body = fmt.Sprintf(`{"success":false,"message":%q}`, tt.message)
			}
			responses := []httpmock.Responder{says(tt.status, tt.body)}
			if tt.then != "" {
				status := 200
				if tt.then == noWorkspace {
					status = 404
				}
				responses = append(responses, says(status, tt.then))
			}
			w, m := newWire(t, responses...), methodOf(t, tt.call)
			got, err := m.call(t.Context(), w.client(flashback.WithMaxRetries(0)))
			assert.Len(t, w.sent(), len(responses))
			if tt.kinds == nil {
				require.NoError(t, err)
				assert.Equal(t, tt.want, got)
				return
			}
			assert.Nil(t, got)
			assert.ElementsMatch(t, tt.kinds, kinds(err), "%v", err)
			e := asError(t, err)
			assert.Equal(t, tt.message, e.Message)
			assert.Equal(t, m.op, e.Op)
			assert.Equal(t, m.id, e.ID)
		})
	}
}

func TestAMembershipIsSettledByItsWorkspace(t *testing.T) {
	t.Parallel()
	const noMember = `{"success":false,"message":"User not found in workspace"}`
	read := func(body string) httpmock.Responder { return says(200, body) }
	done, found := says(200, `{"success":true}`), func(users ...string) httpmock.Responder { return read(teamWith(users...)) }
	for _, tt := range []struct {
		name      string
		call      string
		responses []httpmock.Responder
		sequence  string // of what is sent, a letter for each
		recovered bool
		kinds     []string // of a failure
	}{
		{"an add that was applied", "add a user", []httpmock.Responder{lost, found("x READ", "a/b WRITE")}, "PG", true, nil},
		{"an add that was not", "add a user", []httpmock.Responder{lost, found("x READ"), done}, "PGP", false, nil},
		{"an add with another access in its place", "add a user", []httpmock.Responder{lost, found("a/b READ")}, "PG", false, []string{"ErrOutcomeUnknown"}},
		{"an add of a user who is gone", "add a user", []httpmock.Responder{lost, found(), says(404, `{"success":false,"message":"Target user not found"}`), found()}, "PGPG", false, []string{"ErrOutcomeUnknown"}},
		{"an add whose workspace can't be read", "add a user", []httpmock.Responder{lost, says(404, noWorkspace)}, "PG", false, []string{"ErrOutcomeUnknown"}},
		{"an add with a list that is missing", "add a user", []httpmock.Responder{lost, read(`{"success":true,"workspace":{"id":"w/1"}}`)}, "PG", false, []string{"ErrOutcomeUnknown"}},
		{"an add with a workspace that is deleted", "add a user", []httpmock.Responder{lost, read(`{"success":true,"workspace":{"id":"w/1","deletedAt":"2026-01-02T03:04:05Z","users":[]}}`)}, "PG", false, []string{"ErrOutcomeUnknown"}},
		{"an add with another workspace", "add a user", []httpmock.Responder{lost, read(strings.Replace(teamWith(), "w/1", "w/2", 1))}, "PG", false, []string{"ErrOutcomeUnknown"}},
		{"an add that can't be retried", "add a user", []httpmock.Responder{says(303, "", "Location", "/x"), found()}, "PG", false, []string{"ErrOutcomeUnknown", "ErrUnexpectedResponse"}},
		{"an add that was accepted for later, and is done", "add a user", []httpmock.Responder{says(202, ""), found("a/b WRITE")}, "PG", true, nil},

		{"a change that was applied", "set an access", []httpmock.Responder{lost, found("a/b WRITE")}, "UG", true, nil},
		{"a change that was not", "set an access", []httpmock.Responder{lost, found("a/b READ"), done}, "UGU", false, nil},
		{"a change of a user who is not there", "set an access", []httpmock.Responder{lost, found(), says(404, noMember), found()}, "UGUG", false, []string{"ErrOutcomeUnknown"}},
		{"a change whose workspace can't be read", "set an access", []httpmock.Responder{lost, says(403, noWay), done}, "UGU", false, nil},
		{"a change with a user whose role is odd", "set an access", []httpmock.Responder{lost, read(`{"success":true,"workspace":{"id":"w/1","users":[{"userId":"a/b","role":3}]}}`), done}, "UGU", false, nil},

		{"a removal that was applied", "remove a user", []httpmock.Responder{lost, found("x READ")}, "DG", true, nil},
		{"a removal that was not", "remove a user", []httpmock.Responder{lost, found("a/b READ"), done}, "DGD", false, nil},
		{"a removal of a user who is not there", "remove a user", []httpmock.Responder{says(404, noMember)}, "D", false, []string{"ErrNotFound", "ErrNotInWorkspace"}},
		{"a removal that finds it done", "remove a user", []httpmock.Responder{lost, says(403, noWay), says(404, noMember), found()}, "DGDG", true, nil},
		{"a removal with a user of unknown role", "remove a user", []httpmock.Responder{lost, read(`{"success":true,"workspace":{"id":"w/1","users":[{"userId":"a/b"}]}}`), done}, "DGD", false, nil},
		{"a removal with a user of unknown ID", "remove a user", []httpmock.Responder{lost, read(`{"success":true,"workspace":{"id":"w/1","users":[{"userId":7,"role":"READ"}]}}`), done}, "DGD", false, nil},
		{"a removal with users that are no list", "remove a user", []httpmock.Responder{lost, read(`{"success":true,"workspace":{"id":"w/1","users":null}}`), done}, "DGD", false, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w, m := newWire(t, tt.responses...), methodOf(t, tt.call)
				got, err := m.call(t.Context(), w.client())
				assert.Equal(t, tt.sequence, w.sequence())
				if tt.kinds != nil {
					assert.ElementsMatch(t, tt.kinds, kinds(err), "%v", err)
					return
				}
				require.NoError(t, err)
				want := &flashback.Membership{WorkspaceID: "w/1", UserID: "a/b", Access: "WRITE", Attempts: len(tt.responses), Recovered: tt.recovered}
				if tt.call == "remove a user" {
					want.Access = ""
				}
				assert.Equal(t, want, got)
				for _, req := range w.sent() {
					if req.Method == http.MethodGet {
						assert.Equal(t, "/workspace/w%2F1", req.URL.EscapedPath())
						assert.Equal(t, "no-cache", req.Header.Get("Cache-Control"))
					}
				}
			})
		})
	}
}

func TestADeleteOfAWorkspaceIsSettledByAReadBack(t *testing.T) {
	t.Parallel()
	const gone = `{"success":false,"message":"Workspace not found"}`
	deleted := func(value string) httpmock.Responder {
		return says(200, `{"success":true,"workspace":{"id":"w/1","deletedAt":`+value+`}}`)
	}
	absent, there, done := says(404, noWorkspace), says(200, teamWith()), says(200, `{"success":true}`)
	get := func(c *flashback.Client) { _, _ = c.Workspaces.Get(context.Background(), "w/1") }
	list := func(c *flashback.Client) { _, _ = c.Workspaces.List(context.Background()) }
	listed := says(200, `{"success":true,"workspaces":[{"id":"w/1"}]}`)
	synctest.Test(t, func(t *testing.T) {
		for _, tt := range []struct {
			name      string
			before    func(*flashback.Client)
			responses []httpmock.Responder // the first one is of before
			sequence  string
			recovered bool
			kinds     []string
		}{
			{"not found, and never read", nil, []httpmock.Responder{lost, absent, says(404, gone), absent}, "DGDG", false, []string{"ErrOutcomeUnknown"}},
			{"not found, and got before", get, []httpmock.Responder{there, lost, absent}, "GDG", true, nil},
			{"not found, and listed before", list, []httpmock.Responder{listed, lost, absent}, "GDG", true, nil},
			{"not found, and got before, when it was deleted", get, []httpmock.Responder{deleted(`"2000-01-01T00:00:00Z"`), lost, absent, says(404, gone), absent}, "GDGDG", false, []string{"ErrOutcomeUnknown"}},
			{"not found before", get, []httpmock.Responder{absent, lost, absent, says(404, gone), absent}, "GDGDG", false, []string{"ErrOutcomeUnknown"}},
			{"not found by a cache", get, []httpmock.Responder{there, lost, says(404, noWorkspace, "Age", "60"), done}, "GDGD", false, nil},
			{"the caller is not found", get, []httpmock.Responder{there, lost, says(404, `{"success":false,"message":"User not found"}`), done}, "GDGD", false, nil},
			{"a gateway's 404", get, []httpmock.Responder{there, lost, says(404, `{"message":"no Route matched with those values"}`), done}, "GDGD", false, nil},
			{"a page with status 404", get, []httpmock.Responder{there, lost, says(404, htmlPage), done}, "GDGD", false, nil},
			{"still there", nil, []httpmock.Responder{lost, there, done}, "DGD", false, nil},
			{"deleted now", nil, []httpmock.Responder{lost, deleted(`"` + stamp(0) + `"`)}, "DG", true, nil},
			{"deleted an hour ago", nil, []httpmock.Responder{lost, deleted(`"` + stamp(-time.Hour) + `"`), done}, "DGD", false, nil},
			{"deleted, nobody knows when", nil, []httpmock.Responder{lost, deleted(`"yesterday"`), done}, "DGD", false, nil},
			{"refused, and not there", nil, []httpmock.Responder{says(404, gone), absent}, "DG", false, []string{"ErrNotFound"}},
			{"refused, and read before: a proxy repeated it", get, []httpmock.Responder{there, says(404, gone), absent}, "GDG", true, nil},
			{"refused, and still there", get, []httpmock.Responder{there, says(409, noWay), there}, "GDG", false, []string{"ErrConflict"}},
			{"not empty", get, []httpmock.Responder{there, says(400, `{"success":false,"message":"Cannot delete workspace with existing buckets or repos"}`)}, "GD", false, []string{"ErrBadRequest", "ErrWorkspaceNotEmpty"}},
		} {
			w := newWire(t, tt.responses...)
			client := w.client()
			if tt.before != nil {
				tt.before(client)
			}
			got, err := client.Workspaces.Delete(t.Context(), "w/1")
			assert.Equal(t, tt.sequence, w.sequence(), tt.name)
			if tt.kinds != nil {
				assert.ElementsMatch(t, tt.kinds, kinds(err), "%s: %v", tt.name, err)
				continue
			}
			require.NoError(t, err, tt.name)
			attempts := len(tt.responses)
			if tt.before != nil {
				attempts--
			}
			assert.Equal(t, &flashback.WorkspaceDeletion{WorkspaceID: "w/1", Attempts: attempts, Recovered: tt.recovered}, got, tt.name)
		}
	})
}

// What a client has read is known to its copies, and no longer once it has deleted it.
func TestAWorkspaceThatTheClientHasDeletedWasNotReadSince(t *testing.T) {
	t.Parallel()
	gone := says(404, `{"success":false,"message":"Workspace not found"}`)
	w := newWire(t, says(200, teamWith()), lost, says(404, noWorkspace), gone, says(404, noWorkspace))
	client := w.client()
	_, err := client.Workspaces.Get(t.Context(), "w/1")
	require.NoError(t, err)
	other, err := client.With(flashback.WithUserAgent("other"))
	require.NoError(t, err)
	got, err := other.Workspaces.Delete(t.Context(), "w/1")
	require.NoError(t, err)
	assert.True(t, got.Recovered)
	_, err = client.Workspaces.Delete(t.Context(), "w/1")
	assert.Equal(t, []string{"ErrNotFound"}, kinds(err))
}

func TestAnAmbiguousCreateOfAWorkspaceIsUnknown(t *testing.T) {
	t.Parallel()
	w := newWire(t, unsent, lost)
	_, err := w.client().Workspaces.Create(t.Context(), "Team")
	assert.Equal(t, []string{"ErrOutcomeUnknown"}, kinds(err))
	assert.Equal(t, "PP", w.sequence(), "what was never sent is retried")
}

func TestBadInputForWorkspacesIsRefusedAndNothingIsSent(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	c := w.client()
	ctx := t.Context()
	for says, call := range map[string]func() error{
		"the ID is empty": func() error { _, err := c.Workspaces.Get(ctx, ""); return err },
		"the ID is a path segment": func() error {
			_, err := c.Workspaces.Rename(ctx, "..", "n")
			return err
		},
		"the name is empty":    func() error { _, err := c.Workspaces.Create(ctx, " "); return err },
		"name is empty":        func() error { _, err := c.Workspaces.Rename(ctx, "w", ""); return err },
		"the user ID is empty": func() error { _, err := c.Workspaces.RemoveUser(ctx, "w", ""); return err },
		"the user ID is a path": func() error {
			_, err := c.Workspaces.AddUser(ctx, "w", ".", flashback.AccessRead)
			return err
		},
		`invalid access "read": use AccessRead, AccessWrite or AccessAdmin`: func() error {
			_, err := c.Workspaces.AddUser(ctx, "w", "u", "read")
			return err
		},
		`invalid access "": use AccessRead`:       func() error { _, err := c.Workspaces.SetAccess(ctx, "w", "u", ""); return err },
		"UTF-8":                                   func() error { _, err := c.Workspaces.Create(ctx, "\xff"); return err },
		`"profile" is the name of another`:        func() error { _, err := c.Organization.Users.Role(ctx, "profile"); return err },
		"invalid role 256":                        func() error { _, err := c.Organization.Users.SetRole(ctx, "u", 256); return err },
		"invalid role -1":                         func() error { _, err := c.Organization.Users.SetRole(ctx, "u", -1); return err },
		"it was not made by NewClient":            func() error { _, err := new(flashback.WorkspacesService).Delete(ctx, "w"); return err },
		"by NewClient":                            func() error { _, err := (*flashback.WorkspacesService)(nil).List(ctx); return err },
		"not made by NewClient":                   func() error { _, err := (*flashback.Client)(nil).Profile(ctx); return err },
		"which is where to get it":                func() error { _, err := new(flashback.Client).Profile(ctx); return err },
		"was not made by NewClient, which":        func() error { _, err := new(flashback.Client).Workspaces.Delete(ctx, "w"); return err },
		"invalid argument: the user ID has contr": func() error { _, err := c.Workspaces.SetAccess(ctx, "w", "u\n", "READ"); return err },
	} {
		err := call()
		require.ErrorContains(t, err, says)
		assert.Equal(t, []string{"ErrInvalidArgument"}, kinds(err))
	}
	assert.Empty(t, w.sent())
}

func TestADocumentedMessageIsThatOfItsOwnStatus(t *testing.T) {
	t.Parallel()
	for message, want := range map[string]map[int]string{
		"User not found or account is not validated": {400: "ErrNotValidated", 404: "", 422: ""},
		"User not found in workspace":                {400: "", 404: "ErrNotInWorkspace", 422: ""},
	} {
		for status, kind := range want {
			general := map[int]string{400: "ErrBadRequest", 404: "ErrNotFound", 422: "ErrBadRequest"}[status]
			_, err := newWire(t, says(status, fmt.Sprintf(`{"success":false,"message":%q}`, message))).client().Workspaces.SetAccess(t.Context(), "w/1", "a/b", flashback.AccessRead)
			if kind == "" {
				assert.Equal(t, []string{general}, kinds(err), "%d %s", status, message)
			} else {
				assert.ElementsMatch(t, []string{general, kind}, kinds(err), "%d %s", status, message)
			}
		}
	}
}

func TestAListOfWorkspacesMayBeLarge(t *testing.T) {
	t.Parallel()
	body := `{"success":true,"workspaces":[` + strings.Repeat(teamJSON+",", 8000) + teamJSON + `]}`
	require.Greater(t, len(body), 1<<20)
	list, err := newWire(t, says(200, body)).client().Workspaces.List(t.Context())
	require.NoError(t, err)
	assert.Len(t, list, 8001)
}

// An ID with a placeholder in it is an ID.
func TestAnIDIsNoPlaceholder(t *testing.T) {
	t.Parallel()
	w := newWire(t, says(200, `{"success":true}`))
	_, err := w.client().Workspaces.RemoveUser(t.Context(), "{userId}", "{id}")
	require.NoError(t, err)
	assert.Equal(t, "/workspace/%7BuserId%7D/users/%7Bid%7D", w.sent()[0].URL.EscapedPath())
}

func TestAResponseAboutAnotherIsNotTaken(t *testing.T) {
	t.Parallel()
	for call, body := range map[string]string{
		"get the workspace":    `{"success":true,"workspace":{"id":"w/2"}}`,
		"rename the workspace": `{"success":true,"workspace":{"id":"w/2"}}`,
		"role":                 `{"success":true,"data":{"userId":"c/d"}}`,
		"set the role":         `{"success":true,"data":{"userId":"c/d"}}`,
	} {
		m := methodOf(t, call)
		_, err := m.call(t.Context(), newWire(t, says(200, body)).client())
		require.ErrorIs(t, err, flashback.ErrUnexpectedResponse)
		require.ErrorContains(t, err, "another ")
	}
	for call, body := range map[string]string{
		"list the workspaces": `{"success":true,"workspaces":[{"name":"x"}]}`,
		"get the workspace":   `{"success":true,"workspace":null}`,
		"profile":             `{"success":true,"data":{}}`,
		"role":                `{"success":true,"data":{"orgRole":1}}`,
	} {
		m := methodOf(t, call)
		_, err := m.call(t.Context(), newWire(t, says(200, body)).client())
		assert.Equal(t, []string{"ErrUnexpectedResponse"}, kinds(err), "%s: %v", call, err)
	}
}

func TestAWorkspaceAndAProfileAreEncodedByTheAPIsKeys(t *testing.T) {
	t.Parallel()
	for want, result := range map[string]any{
		`{"workspaceId":"w","userId":"u","role":"READ","attempts":2,"recovered":true}`: flashback.Membership{WorkspaceID: "w", UserID: "u", Access: flashback.AccessRead, Attempts: 2, Recovered: true},
		`{"workspaceId":"w","attempts":2,"recovered":true}`:                            flashback.WorkspaceDeletion{WorkspaceID: "w", Attempts: 2, Recovered: true},
		`{"userId":"u","previousRole":null,"newRole":1,"message":"m"}`:                 flashback.RoleChange{UserID: "u", NewRole: flashback.RoleBilling, Message: "m"},
	} {
		got, err := json.Marshal(result)
		require.NoError(t, err)
		assert.JSONEq(t, want, string(got))
	}
	encoded, err := json.Marshal(team)
	require.NoError(t, err)
	var again flashback.Workspace
	require.NoError(t, json.Unmarshal(encoded, &again))
	assert.Equal(t, team, again)
	encoded, err = json.Marshal(me)
	require.NoError(t, err)
	var profile flashback.Profile
	require.NoError(t, json.Unmarshal(encoded, &profile))
	assert.Equal(t, me, profile)
}

// The whole way of a user through workspaces, each of whose responses is lost.
func TestPeopleAndTheirWorkspacesWithLostResponses(t *testing.T) {
	t.Parallel()
	backend := flashbacktest.New(t)
	backend.AddUser(flashbacktest.User{ID: "jane", Email: "jane@example.com"})
	client, ctx := backend.Client(), t.Context()
	lose := func() { backend.Script(flashbacktest.LoseResponse(flashbacktest.CutResponse)) }

	created, err := client.Workspaces.Create(ctx, "Team")
	require.NoError(t, err)
	added := func(got *flashback.Membership, err error) {
		t.Helper()
		require.NoError(t, err)
		assert.True(t, got.Recovered)
		assert.Equal(t, 2, got.Attempts)
	}
	lose()
	added(client.Workspaces.AddUser(ctx, created.ID, "jane", flashback.AccessRead))
	lose()
	added(client.Workspaces.SetAccess(ctx, created.ID, "jane", flashback.AccessAdmin))
	ws, err := client.Workspaces.Get(ctx, created.ID)
	require.NoError(t, err)
	require.Len(t, ws.Users, 2)
	assert.Equal(t, "jane@example.com", ws.Users[0].User.Email)
	assert.Equal(t, flashback.AccessAdmin, ws.Users[0].Access)
	lose()
	added(client.Workspaces.RemoveUser(ctx, created.ID, "jane"))
	_, err = client.Workspaces.RemoveUser(ctx, created.ID, "jane")
	require.ErrorIs(t, err, flashback.ErrNotInWorkspace)
	_, err = client.Workspaces.AddUser(ctx, created.ID, "nobody", flashback.AccessRead)
	require.ErrorIs(t, err, flashback.ErrTargetUserNotFound)
	lose()
	renamed, err := client.Workspaces.Rename(ctx, created.ID, "Club")
	require.NoError(t, err)
	assert.Equal(t, "Club", renamed.Name)

	backend.AddWorkspace(flashbacktest.Workspace{ID: "full", NotEmpty: true, Users: map[string]string{"owner": "ADMIN"}})
	_, err = client.Workspaces.Delete(ctx, "full")
	require.ErrorIs(t, err, flashback.ErrWorkspaceNotEmpty)
	list, err := client.Workspaces.List(ctx)
	require.NoError(t, err)
	assert.Len(t, list, 2)
	lose()
	deleted, err := client.Workspaces.Delete(ctx, created.ID)
	require.NoError(t, err)
	assert.True(t, deleted.Recovered)

	profile, err := client.Profile(ctx)
	require.NoError(t, err)
	assert.Equal(t, "owner", profile.ID)
	lose()
	change, err := client.Organization.Users.SetRole(ctx, "jane", flashback.RoleBilling)
	require.NoError(t, err)
	assert.Equal(t, flashback.RoleBilling, change.NewRole)
	role, err := client.Organization.Users.Role(ctx, "jane")
	require.NoError(t, err)
	assert.Equal(t, flashback.RoleBilling, *role.OrgRole)

	backend.AddUser(flashbacktest.User{ID: "guest"})
	_, err = backend.ClientWithToken(backend.AddToken("guest")).Workspaces.List(ctx)
	require.ErrorIs(t, err, flashback.ErrNotValidated)
}
