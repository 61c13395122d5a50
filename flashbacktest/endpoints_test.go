package flashbacktest_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	flashback "github.com/flashbacknetwork/flashback-go"
	"github.com/flashbacknetwork/flashback-go/flashbacktest"
)

// ask sends a request by hand, in the form that the TypeScript client sends it: a
// body has a Content-Type, and there is no other header but the token's.
func ask(t *testing.T, b *flashbacktest.Backend, token, method, path, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "https://any.test"+path, http.NoBody)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+token)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
		req.Body, req.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
	}
	resp, err := b.RoundTrip(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	assert.Equal(t, "application/json", resp.Header.Get("Content-Type"))
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(text)
}

// people is a backend with users of each kind, and their tokens.
func people(t *testing.T) (*flashbacktest.Backend, map[string]string) {
	t.Helper()
	b := flashbacktest.NewBackend()
	at := time.Date(2026, 1, 2, 3, 4, 5, 678_900_000, time.FixedZone("", 3600))
	for _, u := range []flashbacktest.User{
		{ID: "user", Role: flashback.RoleUser},
		{ID: "billing", Role: flashback.RoleBilling},
		{ID: "workspaces", Role: flashback.RoleWorkspaces},
		{ID: "administrator", Role: flashback.RoleAdministrators},
		{ID: "jane", Email: "jane@example.com", Name: "Jane", LastName: "Doe", Role: flashback.RoleBilling, Validated: true},
		{ID: "gone", Email: "gone@example.com", Role: flashback.RoleWorkspaces, DeletedAt: &at},
		{ID: "stranger", OrgID: "org-2"},
	} {
		b.AddUser(u)
	}
	b.AddOrganization(flashback.Organization{ID: "org-2"})
	tokens := map[string]string{"owner": b.Token()}
	for _, id := range []string{"user", "billing", "workspaces", "administrator", "jane", "gone"} {
		tokens[id] = b.AddToken(id)
	}
	return b, tokens
}

const (
	jane = `{"id":"jane","email":"jane@example.com","name":"Jane","lastName":"Doe","orgId":"org-1","orgRole":1,"orgRoleDescription":"BILLING",` +
		`"orgRoles":[0,1],"validated":true,"deletedAt":null}`
	janet = `{"id":"jane","email":"jane@example.com","name":"Janet","lastName":"Doe","orgId":"org-1","orgRole":1,"orgRoleDescription":"BILLING",` +
		`"orgRoles":[0,1],"validated":true,"deletedAt":null}`
	goneUser = `{"id":"gone","email":"gone@example.com","name":"","lastName":"","orgId":"org-1","orgRole":2,"orgRoleDescription":"WORKSPACES",` +
		`"orgRoles":[0,1,2],"validated":false,"deletedAt":"2026-01-02T02:04:05.678Z"}`
	roberta = `{"id":"created-1","email":"r@example.com","name":"Roberta","lastName":"Roe","orgId":"org-1","orgRole":0,"validated":false,` +
		`"deletedAt":null,"orgRoleDescription":"USER","orgRoles":[0]}`
	acme = `{"id":"org-1","name":"Acme","domain":"org-1.example","address1":"","address2":"","city":"","zipcode":"","phone":"","state":"",` +
		`"country":"","website":"","deletedAt":null,"reposDisabled":false,"is_business":true,"mfaEnforced":false}`
)

func refused(message, data string) string {
	if data != "" {
		data = `"data":` + data + `,`
	}
	return `{"success":false,` + data + `"message":"` + message + `"}`
}

func TestEachDocumentedResponse(t *testing.T) {
	t.Parallel()
	const users, org = "/organization/users", "/organization/org-1"
	for _, tt := range []struct {
		name, caller, method, path, body string
		status                           int
		want                             string
	}{
		{"list, too low a role", "billing", "GET", users, "", 403, `{"success":false,"data":[],"total":0}`},

		{"create", "workspaces", "POST", users, `{"email":"r@example.com","password":"Secret12","firstName":"Roberta","lastName":"Roe"}`, 201, `{"success":true,"data":` + roberta + `,"message":"User created successfully."}`},
		{"create, with all fields null", "workspaces", "POST", users, `{"email":"r@example.com","password":"Secret12","firstName":"Roberta","lastName":"Roe","orgRole":null,"sendInvite":null,"provider":null}`, 201, `{"success":true,"data":` + roberta + `,"message":"User created successfully."}`},

		{"get", "workspaces", "GET", users + "/jane", "", 200, jane},
		{"get a deleted user", "workspaces", "GET", users + "/gone", "", 200, goneUser},
		{"get, too low a role", "billing", "GET", users + "/jane", "", 403, refused("Insufficient permissions to view users", "")},
		{"get nobody", "workspaces", "GET", users + "/nobody", "", 404, refused("User not found", "")},

		{"update", "workspaces", "PUT", users + "/jane", `{"name":"Janet"}`, 200, `{"success":true,"data":` + janet + `,"message":"User updated successfully"}`},
		{"update nothing", "workspaces", "PUT", users + "/jane", `{}`, 200, `{"success":true,"data":` + jane + `,"message":"User updated successfully"}`},
		{"update to the role that it has", "workspaces", "PUT", users + "/jane", `{"name":"Janet","orgRole":1}`, 200, `{"success":true,"data":` + janet + `,"message":"User updated successfully"}`},
		{"update, a reserved role", "owner", "PUT", users + "/jane", `{"orgRole":3}`, 400, refused("Invalid role combination", "{}")},
		{"update, too low a role", "billing", "PUT", users + "/jane", `{"name":"Janet"}`, 403, refused("Insufficient permissions to update users", "{}")},
		{"update a stranger", "owner", "PUT", users + "/stranger", `{"name":"Janet"}`, 403, refused("Insufficient permissions to update users", "{}")},
		{"update nobody", "workspaces", "PUT", users + "/nobody", `{"name":"Janet"}`, 404, refused("User not found", "{}")},

		{"delete", "workspaces", "DELETE", users + "/jane", "", 200, `{"success":true,"message":"User deleted successfully"}`},
		{"delete oneself", "workspaces", "DELETE", users + "/workspaces", "", 400, refused("Cannot delete yourself", "")},
		{"delete, too low a role", "billing", "DELETE", users + "/jane", "", 403, refused("Insufficient permissions to delete users", "")},
		{"delete nobody", "workspaces", "DELETE", users + "/nobody", "", 404, refused("User not found", "")},

		{"activate", "workspaces", "POST", users + "/gone/activate", "", 200, activated},
		{"activate an active user", "workspaces", "POST", users + "/jane/activate", "", 400, notDeleted},
		{"activate, too low a role", "billing", "POST", users + "/gone/activate", "", 403, forbidden},
		{"activate nobody", "workspaces", "POST", users + "/nobody/activate", "", 404, userNotFound},

		{"organization", "user", "GET", org, "", 200, `{"success":true,"data":` + acme + `}`},
		{"another organization", "owner", "GET", "/organization/org-2", "", 403, refused("Access denied: you can only view your own organization", "null")},
		{"no organization", "owner", "GET", "/organization/org-3", "", 404, refused("Organization not found", "null")},
		{"update the organization", "administrator", "PUT", org, `{"city":"Bern","is_business":false}`, 200, `{"success":true,"data":` + strings.NewReplacer(`"city":""`, `"city":"Bern"`, `"is_business":true`, `"is_business":false`).Replace(acme) + `,"message":"Organization updated successfully"}`},
		{"update nothing of the organization", "administrator", "PUT", org, `{}`, 400, refused("No valid fields to update", "null")},
		{"update what can't be updated", "administrator", "PUT", org, `{"id":"x","domain":"x","reposDisabled":true,"name":null}`, 400, refused("No valid fields to update", "null")},
		{"update the organization, too low a role", "workspaces", "PUT", org, `{"city":"Bern"}`, 403, refused("Insufficient permissions: only OWNER and ADMINISTRATOR roles can modify organization", "null")},
		{"update no organization", "owner", "PUT", "/organization/org-3", `{"city":"Bern"}`, 404, refused("Organization not found", "null")},

		{"a deleted user's token", "gone", "GET", org, "", 401, `{"success":false,"error_code":"NO_AUTH_USER"}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b, tokens := people(t)
			b.AddOrganization(flashback.Organization{ID: flashbacktest.DefaultOrg, Name: "Acme", Domain: "org-1.example", IsBusiness: true})
			status, got := ask(t, b, tokens[tt.caller], tt.method, tt.path, tt.body)
			assert.Equal(t, tt.status, status)
			assert.JSONEq(t, tt.want, got)
			assert.Equal(t, tt.status < 300 && tt.method != http.MethodGet, b.Requests()[0].Applied)
		})
	}
}

func TestTheListHasAllUsersOfTheOrganization(t *testing.T) {
	t.Parallel()
	b, tokens := people(t)
	status, got := ask(t, b, tokens["workspaces"], http.MethodGet, "/organization/users", "")
	assert.Equal(t, 200, status)
	assert.Contains(t, got, `{"success":true,"data":[{"id":"administrator",`)
	assert.Contains(t, got, goneUser+","+jane)
	assert.Contains(t, got, `"orgRole":254,"orgRoleDescription":"ADMINISTRATOR","orgRoles":[0,1,2,254],"validated":false,"deletedAt":null}`)
	assert.Contains(t, got, `"orgRole":255,"orgRoleDescription":"OWNER","orgRoles":[0,1,2,254,255],"validated":true,"deletedAt":null}`)
	assert.Contains(t, got, `],"total":7}`)
	assert.NotContains(t, got, "stranger")
}

func TestWhoMayGiveWhichRole(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, caller, user string
		role               string
		owners             int
		ok                 bool
	}{
		{name: "below one's own, to one below", caller: "workspaces", user: "jane", role: "0", ok: true},
		{name: "one's own", caller: "workspaces", user: "jane", role: "2"},
		{name: "above one's own", caller: "workspaces", user: "jane", role: "254"},
		{name: "to one with one's own", caller: "administrator", user: "administrator-2", role: "0"},
		{name: "to one above", caller: "administrator", user: "owner", role: "0"},
		{name: "to a deleted one", caller: "administrator", user: "gone", role: "1", ok: true},
		{name: "a lower one to oneself", caller: "administrator", user: "administrator", role: "1", ok: true},
		{name: "a higher one to oneself", caller: "administrator", user: "administrator", role: "255"},
		{name: "an owner's", caller: "owner", user: "jane", role: "254", ok: true},
		{name: "owner, by the owner", caller: "owner", user: "jane", role: "255"},
		{name: "the last owner steps down", caller: "owner", user: "owner", role: "254"},
		{name: "one of two owners steps down", caller: "owner", user: "owner", role: "254", owners: 1, ok: true},
		{name: "a reserved one", caller: "owner", user: "jane", role: "253"},
		{name: "a negative one", caller: "owner", user: "jane", role: "-1"},
		{name: "no number", caller: "owner", user: "jane", role: `"2"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b, tokens := people(t)
			b.AddUser(flashbacktest.User{ID: "administrator-2", Role: flashback.RoleAdministrators})
			now := time.Now() // neither a deleted owner nor one of another organization counts
			b.AddUser(flashbacktest.User{ID: "owner-2", Role: flashback.RoleOwner, DeletedAt: &now})
			b.AddUser(flashbacktest.User{ID: "owner-3", Role: flashback.RoleOwner, OrgID: "org-2"})
			if tt.owners > 0 {
				b.AddUser(flashbacktest.User{ID: "owner-4", Role: flashback.RoleOwner})
			}
			before := b.Users()
			status, _ := ask(t, b, tokens[tt.caller], http.MethodPut, "/organization/users/"+tt.user, `{"name":"New","orgRole":`+tt.role+`}`)
			if tt.ok {
				assert.Equal(t, 200, status)
			} else {
				assert.Equal(t, 400, status)
				assert.Equal(t, before, b.Users())
			}
		})
	}
}

func TestANewUser(t *testing.T) {
	t.Parallel()
	b, tokens := people(t)
	create := func(email, more string) int {
		status, _ := ask(t, b, tokens["workspaces"], http.MethodPost, "/organization/users", `{"email":"`+email+`"`+more+`}`)
		return status
	}
	assert.Equal(t, 201, create("a@example.com", `,"orgRole":1,"password":"Secret12"`))
	assert.Equal(t, 201, create("b@example.com", `,"sendInvite":false`))
	for id, want := range map[string]flashbacktest.User{
		"created-1": {ID: "created-1", Email: "a@example.com", OrgID: "org-1", Role: flashback.RoleBilling, Password: "Secret12", Invitations: 1},
		"created-2": {ID: "created-2", Email: "b@example.com", OrgID: "org-1"},
	} {
		got, _ := b.User(id)
		assert.Equal(t, want, got)
	}
	for _, taken := range []string{"a@example.com", "A@Example.com", "jane@example.com", "gone@example.com"} {
		assert.Equal(t, 409, create(taken, ""), taken)
	}
	assert.Equal(t, 400, create("", ""))
	assert.Equal(t, 400, create("c@example.com", `,"orgRole":2`), "one's own role")
	assert.Equal(t, 400, create("c@example.com", `,"orgRole":3`))
	assert.Equal(t, 201, create("c@example.com", ""))
	assert.Len(t, b.Users(), 11)
}

func TestADeletedUsersTokenIsBadUntilTheyAreActivated(t *testing.T) {
	t.Parallel()
	b, tokens := people(t)
	code := func(token, method, path string) int {
		status, _ := ask(t, b, token, method, path, "")
		return status
	}
	assert.Equal(t, 200, code(tokens["workspaces"], http.MethodGet, "/organization/users"))
	assert.Equal(t, 200, code(tokens["owner"], http.MethodDelete, "/organization/users/workspaces"))
	assert.Equal(t, 401, code(tokens["workspaces"], http.MethodGet, "/organization/users"))
	assert.Equal(t, 400, code(tokens["owner"], http.MethodDelete, "/organization/users/workspaces"))
	assert.Equal(t, 200, code(tokens["owner"], http.MethodPost, "/organization/users/workspaces/activate"))
	assert.Equal(t, 200, code(tokens["workspaces"], http.MethodGet, "/organization/users"))
}
