package flashbacktest_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	flashback "github.com/flashbacknetwork/flashback-go"
	"github.com/flashbacknetwork/flashback-go/flashbacktest"
)

// team is a backend with workspaces of each kind and validated users with each access, and
// their tokens.
func team(t *testing.T) (*flashbacktest.Backend, map[string]string) {
	t.Helper()
	b := flashbacktest.NewBackend()
	tokens := map[string]string{"owner": b.Token()}
	for _, u := range []flashbacktest.User{
		{ID: "admin", Validated: true},
		{ID: "writer", Validated: true, Role: flashback.RoleBilling},
		{ID: "reader", Validated: true, Email: "r@example.com", Name: "Rea", LastName: "Der", Role: flashback.RoleWorkspaces},
		{ID: "outsider", Validated: true},
		{ID: "newcomer", Role: flashback.RoleOwner},
		{ID: "stranger", Validated: true, OrgID: "org-2", Role: flashback.RoleOwner},
	} {
		b.AddUser(u)
		tokens[u.ID] = b.AddToken(u.ID)
	}
	b.AddDeletedUser("gone")
	members := map[string]string{"admin": "ADMIN", "writer": "WRITE", "reader": "READ", "newcomer": "ADMIN"}
	now := time.Now()
	b.AddWorkspace(flashbacktest.Workspace{ID: "ws-1", Name: "One", Users: members})
	b.AddWorkspace(flashbacktest.Workspace{ID: "ws-2", Name: "Two", Users: map[string]string{"reader": "READ"}, Default: true})
	b.AddWorkspace(flashbacktest.Workspace{ID: "full", Name: "Full", Users: members, NotEmpty: true})
	b.AddWorkspace(flashbacktest.Workspace{ID: "deleted", Users: members, DeletedAt: &now})
	b.AddWorkspace(flashbacktest.Workspace{ID: "theirs", OrgID: "org-2", Users: members})
	return b, tokens
}

const (
	readerOfTwo = `{"userId":"reader","role":"READ","user":{"id":"reader","name":"Rea","lastName":"Der","email":"r@example.com","orgRole":2}}`
	workspace2  = `{"id":"ws-2","name":"Two","orgId":"org-1","default":true,"users":[` + readerOfTwo + `]}`
	workspace1  = `{"id":"ws-1","name":"One","orgId":"org-1","users":[` +
		`{"userId":"admin","role":"ADMIN","user":{"id":"admin","name":"","lastName":"","email":"","orgRole":0}},` +
		`{"userId":"newcomer","role":"ADMIN","user":{"id":"newcomer","name":"","lastName":"","email":"","orgRole":255}},` +
		readerOfTwo + `,` +
		`{"userId":"writer","role":"WRITE","user":{"id":"writer","name":"","lastName":"","email":"","orgRole":1}}]}`

	succeeded     = `{"success":true}`
	notValidated  = `{"success":false,"message":"User not found or account is not validated"}`
	noWorkspace   = `{"success":false,"message":"Workspace not found"}`
	notAccessible = `{"success":false,"message":"Workspace not found or access denied"}`
	mayNotManage  = `{"success":false,"message":"Insufficient permissions to manage workspace users"}`
	noMember      = `{"success":false,"message":"User not found in workspace"}`
	noTarget      = `{"success":false,"message":"Target user not found"}`
)

func TestEachDocumentedResponseAboutWorkspaces(t *testing.T) {
	t.Parallel()
	const ws, users = "/workspace/ws-1", "/workspace/ws-1/users"
	renamed := `{"success":true,"workspace":{"id":"ws-1","name":"Uno","orgId":"org-1"}}`
	for _, tt := range []struct {
		name, caller, method, path, body string
		status                           int
		want                             string
	}{
		{"list, two", "reader", "GET", "/workspace", "", 200, ""},
		{"list, none", "outsider", "GET", "/workspace", "", 200, `{"success":true,"workspaces":[]}`},
		{"list, another organization's", "stranger", "GET", "/workspace", "", 200, `{"success":true,"workspaces":[]}`},
		{"list, not validated", "newcomer", "GET", "/workspace", "", 400, notValidated},

		{"create", "reader", "POST", "/workspace", `{"name":"One"}`, 201, `{"success":true,"workspace":{"id":"created-workspace-1","name":"One","orgId":"org-1"}}`},
		{"create, too low a role", "writer", "POST", "/workspace", `{"name":"New"}`, 403, refused("Insufficient permissions to create workspaces", "")},
		{"create, not validated", "newcomer", "POST", "/workspace", `{"name":"New"}`, 400, notValidated},
		{"create without a name", "owner", "POST", "/workspace", `{}`, 400, refused("Invalid workspace", "")},

		{"get", "reader", "GET", ws, "", 200, `{"success":true,"workspace":` + workspace1 + `}`},
		{"get the default one", "reader", "GET", "/workspace/ws-2", "", 200, `{"success":true,"workspace":` + workspace2 + `}`},
		{"get without access", "owner", "GET", ws, "", 404, notAccessible},
		{"get nothing", "admin", "GET", "/workspace/nothing", "", 404, notAccessible},
		{"get a deleted one", "admin", "GET", "/workspace/deleted", "", 404, notAccessible},
		{"get another organization's", "admin", "GET", "/workspace/theirs", "", 404, notAccessible},
		{"get, not validated", "newcomer", "GET", ws, "", 400, notValidated},

		{"update", "admin", "PUT", ws, `{"name":"Uno"}`, 200, renamed},
		{"update nothing of it", "admin", "PUT", ws, `{}`, 200, `{"success":true,"workspace":{"id":"ws-1","name":"One","orgId":"org-1"}}`},
		{"update to no name", "admin", "PUT", ws, `{"name":""}`, 400, refused("Invalid workspace", "")},
		{"update, too little access", "writer", "PUT", ws, `{"name":"Uno"}`, 403, refused("Insufficient permissions to update workspace", "")},
		{"update, an owner without access", "owner", "PUT", ws, `{"name":"Uno"}`, 403, refused("Insufficient permissions to update workspace", "")},
		{"update nothing", "admin", "PUT", "/workspace/nothing", `{"name":"Uno"}`, 404, noWorkspace},
		{"update a deleted one", "admin", "PUT", "/workspace/deleted", `{"name":"Uno"}`, 404, noWorkspace},
		{"update, not validated", "newcomer", "PUT", ws, `{"name":"Uno"}`, 400, notValidated},

		{"delete", "admin", "DELETE", ws, "", 200, succeeded},
		{"delete one with buckets", "admin", "DELETE", "/workspace/full", "", 400, refused("Cannot delete workspace with existing buckets or repos", "")},
		{"delete, too little access", "writer", "DELETE", ws, "", 403, refused("Insufficient permissions to delete workspace", "")},
		{"delete nothing", "admin", "DELETE", "/workspace/nothing", "", 404, noWorkspace},
		{"delete a deleted one", "admin", "DELETE", "/workspace/deleted", "", 404, noWorkspace},
		{"delete, not validated", "newcomer", "DELETE", ws, "", 400, notValidated},

		{"add a user", "admin", "POST", users, `{"userId":"outsider","role":"READ"}`, 200, succeeded},
		{"add, too little access", "writer", "POST", users, `{"userId":"outsider","role":"READ"}`, 403, mayNotManage},
		{"add nobody", "admin", "POST", users, `{"userId":"nobody","role":"READ"}`, 404, noTarget},
		{"add a deleted user", "admin", "POST", users, `{"userId":"gone","role":"READ"}`, 404, noTarget},
		{"add a stranger", "admin", "POST", users, `{"userId":"stranger","role":"READ"}`, 404, noTarget},
		{"add a user twice", "admin", "POST", users, `{"userId":"reader","role":"WRITE"}`, 409, refused("User is already in the workspace", "")},
		{"add with a role that is none", "admin", "POST", users, `{"userId":"outsider","role":"read"}`, 400, refused("Invalid role", "")},
		{"add to nothing", "admin", "POST", "/workspace/nothing/users", `{"userId":"outsider","role":"READ"}`, 403, mayNotManage},
		{"add, not validated", "newcomer", "POST", users, `{"userId":"outsider","role":"READ"}`, 400, notValidated},

		{"set access", "admin", "PUT", users + "/reader", `{"role":"WRITE"}`, 200, succeeded},
		{"set access, too little of one's own", "reader", "PUT", users + "/reader", `{"role":"ADMIN"}`, 403, mayNotManage},
		{"set access of one who is not in it", "admin", "PUT", users + "/outsider", `{"role":"READ"}`, 404, noMember},
		{"set access that is none", "admin", "PUT", users + "/reader", `{"role":"OWNER"}`, 400, refused("Invalid role", "")},
		{"set access, not validated", "newcomer", "PUT", users + "/reader", `{"role":"READ"}`, 400, notValidated},

		{"remove a user", "admin", "DELETE", users + "/reader", "", 200, succeeded},
		{"remove, too little access", "writer", "DELETE", users + "/reader", "", 403, mayNotManage},
		{"remove one who is not in it", "admin", "DELETE", users + "/outsider", "", 404, noMember},
		{"remove, not validated", "newcomer", "DELETE", users + "/reader", "", 400, notValidated},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b, tokens := team(t)
			before := b.Workspaces()
			status, got := ask(t, b, tokens[tt.caller], tt.method, tt.path, tt.body)
			assert.Equal(t, tt.status, status)
			if tt.name == "list, two" {
				full := `{"id":"full","name":"Full",` + workspace1[len(`{"id":"ws-1","name":"One",`):]
				tt.want = `{"success":true,"workspaces":[` + full + `,` + workspace1 + `,` + workspace2 + `]}`
			}
			assert.JSONEq(t, tt.want, got)
			applied := tt.status < 300 && tt.method != http.MethodGet
			assert.Equal(t, applied, b.Requests()[0].Applied)
			if !applied {
				assert.Equal(t, before, b.Workspaces(), "a refusal changes nothing")
			}
		})
	}
}

func TestWhatTheCallsMakeOfAWorkspace(t *testing.T) {
	t.Parallel()
	b, tokens := team(t)
	ok := func(caller, method, path, body string) {
		t.Helper()
		status, got := ask(t, b, tokens[caller], method, path, body)
		require.Less(t, status, 300, got)
	}
	ok("owner", http.MethodPost, "/workspace", `{"name":"New"}`)
	ok("owner", http.MethodPost, "/workspace", `{"name":"New"}`) // a name need not be unique
	created, found := b.Workspace("created-workspace-2")
	require.True(t, found)
	want := flashbacktest.Workspace{ID: "created-workspace-2", Name: "New", OrgID: "org-1", Users: map[string]string{"owner": "ADMIN"}}
	assert.Equal(t, want, created)

	const path = "/workspace/created-workspace-2"
	ok("owner", http.MethodPost, path+"/users", `{"userId":"reader","role":"READ"}`)
	ok("owner", http.MethodPost, path+"/users", `{"userId":"writer","role":"READ"}`)
	ok("owner", http.MethodPost, path+"/users", `{"userId":"outsider","role":"WRITE"}`)
	ok("owner", http.MethodPut, path+"/users/writer", `{"role":"ADMIN"}`)
	ok("writer", http.MethodDelete, path+"/users/reader", "")
	ok("writer", http.MethodPut, path, `{"name":"Newer"}`)
	want.Name, want.Users = "Newer", map[string]string{"owner": "ADMIN", "writer": "ADMIN", "outsider": "WRITE"}
	changed, _ := b.Workspace("created-workspace-2")
	assert.Equal(t, want, changed)
	assert.False(t, changed.Deleted())

	ok("owner", http.MethodDelete, path, "")
	deleted, _ := b.Workspace("created-workspace-2")
	assert.True(t, deleted.Deleted())
	first, _ := b.Workspace("created-workspace-1")
	assert.Equal(t, "New", first.Name)
}

func TestADeletedUserStaysInTheirWorkspaces(t *testing.T) {
	t.Parallel()
	b, tokens := team(t)
	status, _ := ask(t, b, tokens["owner"], http.MethodDelete, "/organization/users/reader", "")
	require.Equal(t, 200, status)
	_, got := ask(t, b, tokens["writer"], http.MethodGet, "/workspace/ws-1", "")
	assert.Contains(t, got, readerOfTwo)
}

func TestWorkspacesAreCopies(t *testing.T) {
	t.Parallel()
	b := flashbacktest.NewBackend()
	at := time.Now()
	given := flashbacktest.Workspace{ID: "ws", Users: map[string]string{"owner": "ADMIN"}, DeletedAt: &at}
	b.AddWorkspace(given)
	given.Users["owner"], at = "READ", at.Add(time.Hour)
	one, _ := b.Workspace("ws")
	assert.Equal(t, "ADMIN", one.Users["owner"])
	assert.NotEqual(t, at, *one.DeletedAt)
	one.Users["owner"] = "READ"
	b.Workspaces()[0].Users["owner"] = "READ"
	again, _ := b.Workspace("ws")
	assert.Equal(t, "ADMIN", again.Users["owner"])

	_, found := b.Workspace("another")
	assert.False(t, found)
	b.Reset()
	assert.Len(t, b.Workspaces(), 1)
}

func TestWhoAmIAndWhoseRole(t *testing.T) {
	t.Parallel()
	const profile = `"name":"Rea","lastName":"Der","email":"r@example.com","orgId":"org-1","orgRole":2,"orgRoleDescription":"WORKSPACES","orgRoles":[0,1,2],"validated":true`
	given := func(previous, role string) string {
		return `{"success":true,"data":{"userId":"writer","previousRole":` + previous + `,"newRole":` + role + `,"message":"User role updated successfully"}}`
	}
	tooLow := refused("Insufficient permissions to update user roles", "")
	for _, tt := range []struct {
		name, caller, method, path, body string
		status                           int
		want                             string
	}{
		{"profile", "reader", "GET", "/user/profile", "", 200, `{"success":true,"data":{"id":"reader",` + profile + `,"mfaRequired":false,"isBusiness":true}}`},
		{"profile, not validated", "newcomer", "GET", "/user/profile", "", 200, `{"success":true,"data":{"id":"newcomer","name":"","lastName":"","email":"","orgId":"org-1","orgRole":255,"orgRoleDescription":"OWNER","orgRoles":[0,1,2,254,255],"validated":false,"mfaRequired":false,"isBusiness":true}}`},
		{"role", "outsider", "GET", "/user/reader", "", 200, `{"success":true,"data":{"userId":"reader","orgRole":2,"orgRoleDescription":"WORKSPACES","orgRoles":[0,1,2]}}`},
		{"role of a stranger", "owner", "GET", "/user/stranger", "", 403, refused("User not associated with any organization", "")},
		{"role of nobody", "owner", "GET", "/user/nobody", "", 404, userNotFound},

		{"set role, one's own", "reader", "PUT", "/user/writer/role", `{"orgRole":2}`, 200, given("1", "2")},
		{"set role, a lower one", "reader", "PUT", "/user/writer/role", `{"orgRole":0}`, 200, given("1", "0")},
		{"set role, a higher one", "reader", "PUT", "/user/writer/role", `{"orgRole":254}`, 403, tooLow},
		{"set role of one with a higher one", "reader", "PUT", "/user/owner/role", `{"orgRole":0}`, 403, tooLow},
		{"set role, too low a role", "writer", "PUT", "/user/outsider/role", `{"orgRole":0}`, 403, tooLow},
		{"set role of a stranger", "owner", "PUT", "/user/stranger/role", `{"orgRole":0}`, 403, tooLow},
		{"set role of nobody", "owner", "PUT", "/user/nobody/role", `{"orgRole":0}`, 404, userNotFound},
		{"set role, a reserved one", "owner", "PUT", "/user/writer/role", `{"orgRole":3}`, 400, refused("Invalid role", "")},
		{"set no role", "owner", "PUT", "/user/writer/role", `{}`, 400, refused("Invalid role", "")},
		{"set role, owner by an owner", "owner", "PUT", "/user/writer/role", `{"orgRole":255}`, 200, given("1", "255")},
		{"set role of the last owner", "owner", "PUT", "/user/owner/role", `{"orgRole":254}`, 400, refused("Cannot change the role of the last owner", "")},
		{"set role of the last owner to the same", "owner", "PUT", "/user/owner/role", `{"orgRole":255}`, 200, `{"success":true,"data":{"userId":"owner","previousRole":255,"newRole":255,"message":"User role updated successfully"}}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b, tokens := team(t)
			b.AddOrganization(flashback.Organization{ID: flashbacktest.DefaultOrg, IsBusiness: true})
			newcomer, _ := b.User("newcomer")
			if tt.name != "profile, not validated" {
				newcomer.Role = flashback.RoleUser // so that there is one owner
				b.AddUser(newcomer)
			}
			before := b.Users()
			status, got := ask(t, b, tokens[tt.caller], tt.method, tt.path, tt.body)
			assert.Equal(t, tt.status, status)
			assert.JSONEq(t, tt.want, got)
			if tt.status >= 300 {
				assert.Equal(t, before, b.Users())
			}
		})
	}
	b := withJane("123456")
	_, got := ask(t, b, b.AddToken("jane"), http.MethodGet, "/user/profile", "")
	assert.Contains(t, got, `"mfaRequired":true`)
}
