package flashback_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jarcoal/httpmock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	flashback "github.com/flashbacknetwork/flashback-go"
)

// userID needs escaping in a path.
const userID = "a/b"

// janeJSON is a user as documented, and jane is what a caller gets of it.
const janeJSON = `{"id":"a/b","email":"jane@example.com","name":"Jane","lastName":"Doe","orgId":"org-1","orgRole":2,
	"validated":true,"deletedAt":null,"orgRoleDescription":"WORKSPACES","orgRoles":[0,1,2]}`

var jane = flashback.User{
	ID: userID, Email: "jane@example.com", Name: "Jane", LastName: "Doe", OrgID: "org-1", OrgRole: new(flashback.RoleWorkspaces),
	OrgRoleDescription: "WORKSPACES", OrgRoles: []flashback.Role{0, 1, 2}, Validated: true,
}

var newUser = flashback.NewUser{
	Email: "jane@example.com", Password: flashback.NewSecret("pa<55>word"), FirstName: "Jane", LastName: "Doe",
}

// method is one of the calls, with all that its request must be.
type method struct {
	name string
	call func(ctx context.Context, c *flashback.Client) (any, error)
	verb string
	path string
	body string // "" for none
	op   string
	id   string
}

// userMethods are the calls on users and their organization.
var userMethods = []method{
	{"list", func(ctx context.Context, c *flashback.Client) (any, error) {
		return c.Organization.Users.List(ctx)
	}, "GET", "/organization/users", "", "organization.users.list", ""},
	{"get", func(ctx context.Context, c *flashback.Client) (any, error) {
		return c.Organization.Users.Get(ctx, userID)
	}, "GET", "/organization/users/a%2Fb", "", "organization.users.get", userID},
	{"create", func(ctx context.Context, c *flashback.Client) (any, error) {
		return c.Organization.Users.Create(ctx, newUser)
	}, "POST", "/organization/users", `{"email":"jane@example.com","password":"pa<55>word","firstName":"Jane","lastName":"Doe"}`, "organization.users.create", ""},
	{"create with all fields", func(ctx context.Context, c *flashback.Client) (any, error) {
		return c.Organization.Users.Create(ctx, flashback.NewUser{
			Email: "e", FirstName: "f", LastName: "l", OrgRole: new(flashback.RoleUser),
			SendInvite: new(false), Provider: "p", AuthMethod: flashback.AuthGitHub,
		})
	}, "POST", "/organization/users", `{"email":"e","password":"","firstName":"f","lastName":"l","orgRole":0,"sendInvite":false,"provider":"p","authMethod":"GITHUB"}`, "organization.users.create", ""},
	{"update", func(ctx context.Context, c *flashback.Client) (any, error) {
		return c.Organization.Users.Update(ctx, userID, flashback.UserUpdate{LastName: new(""), OrgRole: new(flashback.RoleOwner)})
	}, "PUT", "/organization/users/a%2Fb", `{"lastName":"","orgRole":255}`, "organization.users.update", userID},
	{"delete", func(ctx context.Context, c *flashback.Client) (any, error) {
		return c.Organization.Users.Delete(ctx, userID)
	}, "DELETE", "/organization/users/a%2Fb", "", "organization.users.delete", userID},
	{"activate", func(ctx context.Context, c *flashback.Client) (any, error) {
		return c.Organization.Users.Activate(ctx, userID)
	}, "POST", "/organization/users/a%2Fb/activate", "", "organization.users.activate", userID},
	{"resend the invitation", func(ctx context.Context, c *flashback.Client) (any, error) {
		return c.Organization.Users.ResendInvitation(ctx, userID)
	}, "POST", "/organization/users/a%2Fb/resend-invitation", "", "organization.users.resendInvitation", userID},
	{"get the organization", func(ctx context.Context, c *flashback.Client) (any, error) {
		return c.Organization.Get(ctx, "o/1")
	}, "GET", "/organization/o%2F1", "", "organization.get", "o/1"},
	{"update the organization", func(ctx context.Context, c *flashback.Client) (any, error) {
		return c.Organization.Update(ctx, "o/1", flashback.OrganizationUpdate{
			Name: new("n"), Address1: new("1"), Address2: new("2"), City: new("c"),
			Zipcode: new("z"), Phone: new("p"), State: new("s"), Country: new("y"),
			Website: new(""), IsBusiness: new(false), MFAEnforced: new(true),
		})
	}, "PUT", "/organization/o%2F1", `{"name":"n","address1":"1","address2":"2","city":"c","zipcode":"z","phone":"p","state":"s","country":"y","website":"","is_business":false,"mfaEnforced":true}`, "organization.update", "o/1"},
}

// methodOf is the call with a name.
func methodOf(t *testing.T, name string) method {
	t.Helper()
	for _, m := range methods {
		if m.name == name {
			return m
		}
	}
	require.Fail(t, "there is no such call", name)
	return method{}
}

// good is a body with which the call succeeds.
func (m *method) good() string {
	switch m.name {
	case "list", "list the workspaces":
		return `{"success":true,"data":[],"total":0,"workspaces":[]}`
	case "get the organization", "update the organization":
		return `{"success":true,"data":{"id":"o/1"}}`
	}
	return `{"success":true,"data":{"id":"a/b","userId":"a/b"},"workspace":{"id":"w/1"}}`
}

// reads tells whether the call changes nothing.
func (m *method) reads() bool { return m.verb == http.MethodGet }

// sequence is what a client has sent, a letter for each request.
func (w *wire) sequence() string {
	var all strings.Builder
	for _, req := range w.sent() {
		if req.Method == http.MethodPut {
			all.WriteByte('U')
			continue
		}
		all.WriteString(req.Method[:1])
	}
	return all.String()
}

// lost is an attempt whose response was lost.
var lost = fails(io.ErrUnexpectedEOF)

// unsent is an attempt that was never sent.
var unsent = fails(fmt.Errorf("%w: %w", flashback.ErrNotSent, syscall.ECONNREFUSED))

func TestACallSendsItsDocumentedRequest(t *testing.T) {
	t.Parallel()
	for _, m := range methods {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			for _, base := range []string{"", "/api", "/a%2Fb"} {
				var body string
				w := newWire(t, func(req *http.Request) (*http.Response, error) {
					if req.Body != nil {
						text, err := io.ReadAll(req.Body)
						if err != nil {
							return nil, err
						}
						body = string(text)
					}
					return httpmock.NewStringResponse(200, m.good()), nil
				})
				_, err := m.call(t.Context(), w.client(flashback.WithBaseURL("https://h.example"+base)))
				require.NoError(t, err)
				require.Len(t, w.sent(), 1)
				req := w.sent()[0]
				assert.Equal(t, m.verb, req.Method)
				assert.Equal(t, "https://h.example"+base+m.path, req.URL.String())
				want := http.Header{
					"Accept": {"application/json"}, "Authorization": {"Bearer " + wireToken}, "User-Agent": {"flashback-go/" + flashback.Version},
				}
				if m.body == "" {
					assert.Nil(t, req.Body)
				} else {
					want.Set("Content-Type", "application/json")
					assert.JSONEq(t, m.body, body)
					assert.Equal(t, int64(len(body)), req.ContentLength)
				}
				assert.Equal(t, want, req.Header)
			}
		})
	}
}

// The documented responses of all calls, what the caller is told of them and, of those
// that are settled by a read-back, the response to that.
func TestADocumentedResponseIsToldAsWhatItIs(t *testing.T) {
	t.Parallel()
	refusal := func(message string) string { return fmt.Sprintf(`{"success":false,"message":%q}`, message) }
	withData := func(data, message string) string {
		return fmt.Sprintf(`{"success":false,"data":%s,"message":%q}`, data, message)
	}
	const (
		noList   = `{"success":false,"data":[],"total":0}`
		bill     = `{"id":"u-2","email":"bill@example.com","name":"Bill","lastName":"Roe","orgId":null,"orgRole":null,"validated":false,"deletedAt":"2026-01-02T03:04:05.006Z","orgRoleDescription":"USER","orgRoles":[]}`
		org      = `{"id":"o/1","name":"Acme","domain":"acme.example","deletedAt":null,"is_business":true,"mfaEnforced":false,"reposDisabled":false}`
		notFound = "User not found"
		internal = "Internal server error"
	)
	acme := &flashback.Organization{ID: "o/1", Name: "Acme", Domain: "acme.example", IsBusiness: true}
	deleted := time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC)
	for _, tt := range []struct {
		call    string
		status  int
		body    string
		want    any // of a success
		kinds   []string
		message string
		code    string
		then    *readBack
	}{
		{call: "list", status: 200, body: `{"success":true,"data":[` + janeJSON + `,` + bill + `],"total":2}`, want: &flashback.UserList{Total: 2, Users: []flashback.User{jane, {
			ID: "u-2", Email: "bill@example.com", Name: "Bill", LastName: "Roe", DeletedAt: &deleted, OrgRoleDescription: "USER",
		}}}},
		{call: "list", status: 403, body: noList, kinds: []string{"ErrForbidden"}},
		{call: "list", status: 500, body: noList, kinds: []string{"ErrServer"}},

		{call: "create", status: 201, body: `{"success":true,"data":` + janeJSON + `,"message":"User created successfully. An invitation was sent"}`, want: &jane},

		{call: "get", status: 200, body: janeJSON, want: &jane},
		{call: "get", status: 403, body: refusal("Insufficient permissions to view users"), kinds: []string{"ErrForbidden"}, message: "Insufficient permissions to view users"},
		{call: "get", status: 404, body: refusal(notFound), kinds: []string{"ErrNotFound"}, message: notFound},
		{call: "get", status: 500, body: refusal(internal), kinds: []string{"ErrServer"}, message: internal},

		{call: "update", status: 200, body: `{"success":true,"data":` + janeJSON + `,"message":"User updated successfully"}`, want: &jane},
		{call: "update", status: 400, body: withData("{}", "Invalid role combination"), kinds: []string{"ErrBadRequest", "ErrRoleCombination"}, message: "Invalid role combination"},
		{call: "update", status: 403, body: withData("{}", "Insufficient permissions to update users"), kinds: []string{"ErrForbidden"}, message: "Insufficient permissions to update users"},
		{call: "update", status: 404, body: withData("{}", notFound), kinds: []string{"ErrNotFound"}, message: notFound},
		{call: "update", status: 500, body: withData("{}", internal), kinds: []string{"ErrOutcomeUnknown", "ErrServer"}, message: internal},

		{call: "delete", status: 200, body: `{"success":true,"message":"User deleted successfully"}`, want: &flashback.Deletion{UserID: userID, Message: "User deleted successfully", Attempts: 1}},
		{call: "delete", status: 400, body: refusal("Cannot delete yourself"), kinds: []string{"ErrBadRequest", "ErrSelfDeletion"}, message: "Cannot delete yourself"},
		{call: "delete", status: 403, body: refusal("Insufficient permissions to delete users"), kinds: []string{"ErrForbidden"}, message: "Insufficient permissions to delete users"},
		{call: "delete", status: 404, body: refusal(notFound), kinds: []string{"ErrNotFound"}, message: notFound, then: &readBack{404, refusal(notFound)}},
		{call: "delete", status: 500, body: refusal(internal), kinds: []string{"ErrOutcomeUnknown", "ErrServer"}, message: internal, then: &readBack{200, janeJSON}},

		{call: "activate", status: 200, body: activated, want: &flashback.Activation{UserID: userID, Message: "User activated successfully", Attempts: 1}},
		{call: "activate", status: 400, body: notDeleted, kinds: []string{"ErrBadRequest", "ErrUserNotDeleted"}, message: "User is not deleted"},
		{call: "activate", status: 403, body: refusal("Insufficient permissions to activate users"), kinds: []string{"ErrForbidden"}, message: "Insufficient permissions to activate users"},
		{call: "activate", status: 404, body: refusal(notFound), kinds: []string{"ErrNotFound"}, message: notFound},
		{call: "activate", status: 500, body: refusal(internal), kinds: []string{"ErrOutcomeUnknown", "ErrServer"}, message: internal},

		{call: "resend the invitation", status: 200, body: `{"success":true}`, want: &flashback.Invitation{UserID: userID, Attempts: 1}},
		{call: "resend the invitation", status: 200, body: `{"success":true,"message":"Sent"}`, want: &flashback.Invitation{UserID: userID, Message: "Sent", Attempts: 1}},

		{call: "get the organization", status: 200, body: `{"success":true,"data":` + org + `}`, want: acme},
		{call: "get the organization", status: 403, body: withData("null", "Access denied: you can only view your own organization"), kinds: []string{"ErrForbidden"}, message: "Access denied: you can only view your own organization"},
		{call: "get the organization", status: 404, body: withData("null", "Organization not found"), kinds: []string{"ErrNotFound"}, message: "Organization not found"},
		{call: "get the organization", status: 500, body: withData("null", internal), kinds: []string{"ErrServer"}, message: internal},

		{call: "update the organization", status: 200, body: `{"success":true,"data":` + org + `,"message":"Organization updated successfully"}`, want: acme},
		{call: "update the organization", status: 400, body: withData("null", "No valid fields to update"), kinds: []string{"ErrBadRequest", "ErrNoFields"}, message: "No valid fields to update"},
		{call: "update the organization", status: 403, body: withData("null", "Insufficient permissions: only OWNER and ADMINISTRATOR roles can modify organization"), kinds: []string{"ErrForbidden"}, message: "Insufficient permissions: only OWNER and ADMINISTRATOR roles can modify organization"},
		{call: "update the organization", status: 404, body: withData("null", "Organization not found"), kinds: []string{"ErrNotFound"}, message: "Organization not found"},
		{call: "update the organization", status: 500, body: withData("null", internal), kinds: []string{"ErrOutcomeUnknown", "ErrServer"}, message: internal},

		// What the rest of the platform responds to a bad token.
		{call: "list", status: 401, body: `{"success":false,"error_code":"NO_AUTH_USER"}`, kinds: []string{"ErrUnauthorized"}, code: "NO_AUTH_USER"},
		{call: "create", status: 401, body: `{"success":false,"error_code":"NO_AUTH_USER"}`, kinds: []string{"ErrUnauthorized"}, code: "NO_AUTH_USER"},
		{call: "delete", status: 401, body: `{"success":false,"error_code":"NO_AUTH_USER"}`, kinds: []string{"ErrUnauthorized"}, code: "NO_AUTH_USER"},
	} {
		t.Run(fmt.Sprintf("%s %d %s%s", tt.call, tt.status, tt.message, tt.code), func(t *testing.T) {
			t.Parallel()
			responses := []httpmock.Responder{says(tt.status, tt.body)}
			if tt.then != nil {
				responses = append(responses, says(tt.then.status, tt.then.body))
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
			e := asError(t, err)
			assert.ElementsMatch(t, tt.kinds, kinds(err), "%v", err)
			assert.Equal(t, tt.status, e.StatusCode)
			assert.Equal(t, tt.message, e.Message)
			assert.Equal(t, tt.code, e.Code)
			assert.JSONEq(t, tt.body, string(e.Body))
			assert.Equal(t, m.op, e.Op)
			assert.Equal(t, m.id, e.ID)
			assert.Equal(t, m.verb, e.Method)
			assert.Equal(t, flashback.DefaultBaseURL+m.path, e.URL)
			assert.Equal(t, len(responses), e.Attempts)
		})
	}
}

// readBack is the response to a read-back.
type readBack struct {
	status int
	body   string
}

func TestARefusalIsToldByItsStatus(t *testing.T) {
	t.Parallel()
	for _, m := range methods {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			for _, tt := range []struct {
				status int
				body   string
				kinds  []string
			}{
				{400, `{"success":false,"message":"No"}`, []string{"ErrBadRequest"}},
				{400, `{"success":false,"message":"No valid fields in the form"}`, []string{"ErrBadRequest"}},
				{400, `{"success":false}`, []string{"ErrBadRequest"}},
				{401, ``, []string{"ErrUnauthorized"}},
				{403, `{"error":"No"}`, []string{"ErrForbidden"}},
				{404, `{"message":"No"}`, []string{"ErrNotFound"}},
				{404, `<html>`, []string{"ErrUnexpectedResponse"}},
				{409, `{"success":false,"message":"No"}`, []string{"ErrConflict"}},
				{410, `{"success":false,"message":"No"}`, []string{}},
				{422, `{"success":false,"message":["No","Never"]}`, []string{"ErrBadRequest"}},
				{307, ``, []string{"ErrUnexpectedResponse"}},
				{501, ``, []string{"ErrServer"}},
				{200, `{"success":false,"message":"No"}`, []string{"ErrUnexpectedResponse"}},
				{200, `{"success":false,"message":"No","id":"a/b","data":{"id":"a/b"}}`, []string{"ErrUnexpectedResponse"}},
			} {
				responses := []httpmock.Responder{says(tt.status, tt.body)}
				if strings.HasPrefix(m.name, "delete") && (tt.status == 400 || tt.status == 404 || tt.status == 409 || tt.status == 410) {
					responses = append(responses, says(200, janeAndTeam)) // the read-back
				}
				w := newWire(t, responses...)
				got, err := m.call(t.Context(), w.client())
				assert.Nil(t, got)
				e := asError(t, err)
				assert.ElementsMatch(t, tt.kinds, kinds(err), "%d %s", tt.status, tt.body)
				assert.Equal(t, tt.status, e.StatusCode)
				assert.Equal(t, len(responses), e.Attempts)
				assert.False(t, e.OutcomeUnknown)
			}
		})
	}
}

func TestADocumentedMessageIsThatOfItsOwnCall(t *testing.T) {
	t.Parallel()
	own := map[string]string{
		"User is not deleted": "activate", "Cannot delete yourself": "delete", "Invalid role combination": "update",
		"No valid fields to update": "update the organization",
	}
	for message, call := range own {
		for _, m := range methods {
			w := newWire(t, says(400, fmt.Sprintf(`{"success":false,"message":%q}`, message)), says(200, janeAndTeam))
			_, err := m.call(t.Context(), w.client())
			if m.name == call {
				assert.Len(t, kinds(err), 2, "%s: %s", m.name, message)
			} else {
				assert.Equal(t, []string{"ErrBadRequest"}, kinds(err), "%s: %s", m.name, message)
			}
		}
	}
}

// What is repeated, by what came of the attempt before. Those that are read back in
// between have tables of their own.
func TestWhatIsRepeated(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name      string
		before    httpmock.Responder
		ambiguous bool
	}{
		{"429", says(429, ""), false},
		{"425", says(425, ""), false},
		{"never sent", unsent, false},
		{"a lost response", lost, true},
		{"408", says(408, ""), true},
		{"500", says(500, `{"success":false,"message":"Internal server error"}`), true},
		{"503 with a page", says(503, htmlPage), true},
		{"a status that does not exist", says(799, `{"success":true}`), true},
		{"200 with a page", says(200, htmlPage), true},
		{"200 with nothing", says(200, ""), true},
	} {
		for _, m := range methods {
			readsBack := strings.HasPrefix(m.name, "delete") || strings.HasPrefix(m.name, "create") || strings.HasSuffix(m.name, "a user") || m.name == "set an access"
			if tt.ambiguous && readsBack {
				continue
			}
			t.Run(tt.name+", "+m.name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					if tt.ambiguous && (m.name == "resend the invitation" || m.name == "a new workspace") {
						w := newWire(t, tt.before)
						got, err := m.call(t.Context(), w.client())
						assert.Nil(t, got)
						require.ErrorIs(t, err, flashback.ErrOutcomeUnknown)
						return
					}
					w := newWire(t, tt.before, says(200, m.good()))
					_, err := m.call(t.Context(), w.client())
					require.NoError(t, err)
					assert.Len(t, w.sent(), 2)
				})
			})
		}
	}
}

// 202 says that it will be done, and 303 that it was done or not: neither is repeated.
func TestAResponseThatLeavesItOpenIsNotRepeated(t *testing.T) {
	t.Parallel()
	for _, m := range methods {
		for _, status := range []int{202, 301, 302, 303} {
			w := newWire(t, says(status, m.good(), "Location", "/elsewhere"), says(404, noWay)) // of a read-back
			got, err := m.call(t.Context(), w.client())
			assert.Nil(t, got)
			require.ErrorIs(t, err, flashback.ErrUnexpectedResponse, "%s %d", m.name, status)
			assert.Equal(t, !m.reads(), errors.Is(err, flashback.ErrOutcomeUnknown), "%s %d", m.name, status)
			for _, req := range w.sent()[1:] {
				assert.Equal(t, http.MethodGet, req.Method, "a read-back is all that follows")
			}
		}
	}
}

func TestNoContentIsASuccessOfWhatReadsNothing(t *testing.T) {
	t.Parallel()
	for _, m := range methods {
		responses := []httpmock.Responder{says(204, "")}
		if strings.HasPrefix(m.name, "create") {
			responses = append(responses, says(403, noWay)) // to the list
		}
		w := newWire(t, responses...)
		got, err := m.call(t.Context(), w.client())
		assert.Len(t, w.sent(), len(responses))
		if m.reads() {
			require.ErrorIs(t, err, flashback.ErrUnexpectedResponse, m.name)
			require.NotErrorIs(t, err, flashback.ErrOutcomeUnknown)
			continue
		}
		require.NoError(t, err, m.name)
		assert.NotNil(t, got)
	}
}

func TestAResponseWithoutWhatIsReadIsNoSuccessOfARead(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		call  string
		body  string
		again bool // it is no response of the API's at all
		says  string
	}{
		{"a list that is null", "list", `{"success":true,"data":null,"total":0}`, false, "no list in its data"},
		{"a list that is missing", "list", `{"success":true,"total":0}`, false, "no list in its data"},
		{"a list that is an object", "list", `{"success":true,"data":{}}`, false, "no list in its data"},
		{"a list without an envelope", "list", `[]`, true, "expected a list of users"},
		{"a list with a word", "list", `{"success":true,"data":[{"id":"a"},"b"]}`, false, "an element 1 that is no user"},
		{"a list with a null", "list", `{"success":true,"data":[{"id":"a"},{"id":"b"},null]}`, false, "an element 2 that is no user"},
		{"a list with a list", "list", `{"success":true,"data":[[]]}`, false, "an element 0 that is no user"},
		{"a list of users without an ID", "list", `{"success":true,"data":[{"email":"e"}]}`, false, "an element 0 that is no user"},
		{"a list of users whose IDs are numbers", "list", `{"success":true,"data":[{"id":5}]}`, false, "an element 0 that is no user"},
		{"a user that is null", "get", `{"success":true,"data":null}`, false, "no user that has an ID"},
		{"a user that is a word", "get", `{"success":true,"data":"a/b"}`, false, "no user that has an ID"},
		{"a user without an ID", "get", `{"success":true,"data":{}}`, false, "no user that has an ID"},
		{"a user within another object", "get", `{"success":true,"data":{"user":{"id":"a/b"}}}`, false, "no user that has an ID"},
		{"a key with capitals", "get", `{"success":true,"data":{"ID":"a/b"}}`, false, "no user that has an ID"},
		{"a message", "get", `{"message":"hello"}`, false, "no user that has an ID"},
		{"another user", "get", `{"id":"a"}`, false, `another user, "a"`},
		{"another user in an envelope", "get", `{"success":true,"data":{"id":"A/B"}}`, false, `another user, "A/B"`},
		{"an object that is no user", "get", `{"status":"ok"}`, true, "expected the user"},
		{"a page", "get", htmlPage, true, "DOCTYPE"},
		{"an organization without an ID", "get the organization", `{"success":true,"data":{}}`, false, "no organization that has an ID"},
		{"an organization that is null", "get the organization", `{"success":true,"data":null}`, false, "no organization that has an ID"},
		{"another organization", "get the organization", `{"success":true,"data":{"id":"o/2"}}`, false, `another organization, "o/2"`},
		{"a bare organization", "get the organization", `{"id":"o/1"}`, true, "expected the organization"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w, m := newWire(t, says(200, tt.body), says(200, tt.body)), methodOf(t, tt.call)
			got, err := m.call(t.Context(), w.client(flashback.WithMaxRetries(1)))
			assert.Nil(t, got)
			assert.Equal(t, []string{"ErrUnexpectedResponse"}, kinds(err))
			require.ErrorContains(t, err, tt.says)
			if tt.again {
				assert.Len(t, w.sent(), 2)
			} else {
				assert.Len(t, w.sent(), 1)
			}
		})
	}
}

func TestAUUIDInUpperCaseIsTheSame(t *testing.T) {
	t.Parallel()
	const lower, upper = "0b7c2d1e-94a5-4b56-8f0d-3d1c2b7a9e4f", "0B7C2D1E-94A5-4B56-8F0D-3D1C2B7A9E4F"
	w := newWire(t, says(200, `{"success":true,"data":{"id":"`+lower+`"}}`), says(200, `{"success":true,"data":{"id":"`+lower+`"}}`))
	client := w.client()
	got, err := client.Organization.Users.Get(t.Context(), upper)
	require.NoError(t, err)
	assert.Equal(t, lower, got.ID)
	_, err = client.Organization.Users.Update(t.Context(), upper, flashback.UserUpdate{OrgRole: new(flashback.RoleUser)})
	require.NoError(t, err)
}

// An envelope without its data still says that the change was applied.
func TestAChangeWithoutDataReturnsWhatWasAskedFor(t *testing.T) {
	t.Parallel()
	asked := map[string]any{
		"create": &flashback.User{Email: "jane@example.com", Name: "Jane", LastName: "Doe"},
		"update": &flashback.User{ID: userID, OrgRole: new(flashback.RoleOwner)},
		"update the organization": &flashback.Organization{
			ID: "o/1", Name: "n", Address1: "1", Address2: "2", City: "c", Zipcode: "z", Phone: "p", State: "s", Country: "y", MFAEnforced: true,
		},
	}
	for _, body := range []string{
		`{"success":true,"message":"Done"}`, `{"success":true,"data":null}`, `{"success":true,"data":7}`, `{"success":true,"data":{}}`, `{"message":"Done"}`,
	} {
		for _, m := range methods {
			if m.reads() {
				continue
			}
			responses := []httpmock.Responder{says(200, body)}
			if strings.HasPrefix(m.name, "create") {
				responses = append(responses, says(403, noWay)) // to the list
			}
			got, err := m.call(t.Context(), newWire(t, responses...).client())
			require.NoError(t, err, m.name)
			if want, ok := asked[m.name]; ok {
				assert.Equal(t, want, got, "%s %s", m.name, body)
			}
		}
	}
	w := newWire(t, says(200, `{"success":true}`), says(200, `{"success":true}`))
	user, err := w.client().Organization.Users.Update(t.Context(), "u-1", flashback.UserUpdate{Name: new("n"), LastName: new("l")})
	require.NoError(t, err)
	assert.Equal(t, &flashback.User{ID: "u-1", Name: "n", LastName: "l"}, user)
	org, err := w.client().Organization.Update(t.Context(), "o-1", flashback.OrganizationUpdate{Website: new("w"), IsBusiness: new(true)})
	require.NoError(t, err)
	assert.Equal(t, &flashback.Organization{ID: "o-1", Website: "w", IsBusiness: true}, org)
	// The response to a change is about that change, in whatever way the server writes the ID.
	for call, want := range map[string]any{
		"update": &flashback.User{ID: "another", Name: "Bill"}, "update the organization": &flashback.Organization{ID: "another", Name: "Bill"},
	} {
		got, err := methodOf(t, call).call(t.Context(), newWire(t, says(200, `{"success":true,"data":{"id":"another","name":"Bill"}}`)).client())
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
	w = newWire(t, says(201, `{"success":true,"data":{"id":"u-9","email":"jane+tag@example.com"}}`))
	created, err := w.client().Organization.Users.Create(t.Context(), newUser)
	require.NoError(t, err)
	assert.Equal(t, "u-9", created.ID)
}

func TestACreateIsCompletedFromTheList(t *testing.T) {
	t.Parallel()
	list := func(users string) httpmock.Responder { return says(200, `{"success":true,"data":[`+users+`]}`) }
	const old = `{"id":"u-0","email":"jane@example.com","deletedAt":"2026-01-02T03:04:05Z"},{"id":"u-1","email":"joe@example.com"}`
	asked := flashback.User{Email: "jane@example.com", Name: "Jane", LastName: "Doe"}
	for name, tt := range map[string]struct {
		list httpmock.Responder
		want flashback.User
	}{
		"the user is there":     {list(old + "," + janeJSON), jane},
		"nobody is":             {list(old), asked},
		"it can't be read":      {says(403, noWay), asked},
		"it is not a list":      {says(200, `{"success":true}`), asked},
		"the token has expired": {says(401, ""), asked},
	} {
		w := newWire(t, says(201, `{"success":true,"message":"User created successfully."}`, "X-Request-Id", "r-1"), tt.list)
		var response flashback.Response
		got, err := w.client().Organization.Users.Create(flashback.WithResponse(t.Context(), &response), newUser)
		require.NoError(t, err, name)
		assert.Equal(t, &tt.want, got, name)
		assert.Equal(t, "r-1", response.RequestID, "of the create")
	}
}

// stamp is a time as the API writes it, that long after the bubble's clock.
func stamp(after time.Duration) string {
	return time.Now().UTC().Add(after).Format("2006-01-02T15:04:05.000Z")
}

// dated is a response of a server whose clock is ahead of ours.
func dated(ahead time.Duration, status int, body string) httpmock.Responder {
	return func(req *http.Request) (*http.Response, error) {
		return says(status, body, "Date", time.Now().UTC().Add(ahead).Format(http.TimeFormat))(req)
	}
}

// deletedAt is a user as a read-back sees one.
func deletedAt(value string) string {
	return `{"success":true,"data":{"id":"a/b","deletedAt":` + value + `}}`
}

func deletedAfter(d time.Duration) string { return deletedAt(`"` + stamp(d) + `"`) }

func TestADeleteIsSettledByAReadBack(t *testing.T) {
	t.Parallel()
	const (
		active     = `{"id":"a/b","deletedAt":null}`
		gone       = `{"success":false,"message":"User not found"}`
		isSo       = `{"success":false,"message":"User is already deleted"}`
		denied     = `{"success":false,"message":"Insufficient permissions to view users"}`
		unknown    = "ErrOutcomeUnknown"
		hour       = time.Hour
		recovered  = "recovered"
		success    = "success"
		unexpected = "ErrUnexpectedResponse"
	)
	ok := says(200, `{"success":true,"message":"User deleted"}`)
	isActive := says(200, active)
	type responses = []httpmock.Responder
	for _, tt := range []struct {
		name      string
		responses func() responses // made in the bubble, whose clock they show
		sent      string
		want      string // or the kinds of the failure
	}{
		{"an attempt that tells is not read back", func() responses { return responses{ok} }, "D", success},
		{"what was not sent is not read back", func() responses { return responses{unsent, says(429, ""), says(425, ""), ok} }, "DDDD", success},
		{"204 is a success", func() responses { return responses{says(204, "")} }, "D", success},

		{"deleted since the call began", func() responses { return responses{lost, says(200, deletedAfter(0))} }, "DG", recovered},
		{"deleted since the call began, without an envelope", func() responses {
			return responses{lost, says(200, `{"id":"a/b","deletedAt":"`+stamp(0)+`"}`)}
		}, "DG", recovered},
		{"deleted as much earlier as the tolerance", func() responses { return responses{lost, says(200, deletedAfter(-time.Second))} }, "DG", recovered},
		{"deleted before the call", func() responses {
			return responses{lost, says(200, deletedAfter(-2*time.Second-time.Millisecond)), ok}
		}, "DGD", success},
		{"deleted before the call, and refused then", func() responses {
			return responses{lost, says(200, deletedAfter(-hour)), says(400, isSo), says(200, deletedAfter(-hour))}
		}, "DGDG", unknown},
		{"active, so it is repeated", func() responses { return responses{lost, isActive, ok} }, "DGD", success},
		{"active twice", func() responses { return responses{lost, isActive, says(502, htmlPage), isActive, ok} }, "DGDGD", success},
		{"active, and deleted at the second read-back", func() responses {
			return responses{lost, isActive, says(400, isSo), says(200, deletedAfter(0))}
		}, "DGDG", recovered},
		{"active, and refused otherwise", func() responses { return responses{lost, isActive, says(403, denied), isActive} }, "DGDG", unknown},

		{"the server's clock is an hour ahead", func() responses {
			return responses{dated(hour, 503, ""), dated(hour, 200, deletedAfter(hour))}
		}, "DG", recovered},
		{"the server's clock is an hour ahead, and it was before", func() responses {
			return responses{dated(hour, 503, ""), dated(hour, 200, deletedAfter(hour-3*time.Second)), ok}
		}, "DGD", success},
		{"the server's clock is an hour ahead, and only the read-back tells so", func() responses {
			return responses{lost, dated(hour, 200, deletedAfter(0)), ok}
		}, "DGD", success},
		{"the server's clock is an hour behind", func() responses {
			return responses{dated(-hour, 503, ""), dated(-hour, 200, deletedAfter(-hour))}
		}, "DG", recovered},
		{"the server's clock is an hour behind, and it was before", func() responses {
			return responses{dated(-hour, 503, ""), dated(-hour, 200, deletedAfter(-hour-3*time.Second)), ok}
		}, "DGD", success},
		{"the server's clock is an hour behind, and only the read-back tells so", func() responses {
			return responses{lost, dated(-hour, 200, deletedAfter(-hour))}
		}, "DG", recovered},
		{"an unreadable Date leaves our clock", func() responses {
			return responses{says(503, "", "Date", "soon"), says(200, deletedAfter(-hour), "Date", "soon"), ok}
		}, "DGD", success},
		{"an old state from a cache, with its old Date", func() responses {
			return responses{dated(0, 503, ""), dated(-hour, 200, deletedAfter(-hour)), ok}
		}, "DGD", success},
		{"an old state from a cache, with its Age", func() responses {
			return responses{lost, says(200, deletedAfter(-hour), "Date", time.Now().UTC().Add(-hour).Format(http.TimeFormat), "Age", "3600"), ok}
		}, "DGD", success},

		{"deletedAt is missing", func() responses { return responses{lost, says(200, `{"success":true,"data":{"id":"a/b"}}`), ok} }, "DGD", success},
		{"deletedAt is missing in a bare user", func() responses { return responses{lost, says(200, `{"id":"a/b"}`), ok} }, "DGD", success},
		{"deletedAt is empty", func() responses { return responses{says(500, ""), says(200, deletedAt(`""`)), ok} }, "DGD", success},
		{"deletedAt is false", func() responses { return responses{lost, says(200, deletedAt(`false`)), ok} }, "DGD", success},
		{"deletedAt is a number", func() responses { return responses{lost, says(200, deletedAt(`1764000000000`)), ok} }, "DGD", success},
		{"deletedAt is a word", func() responses { return responses{lost, says(200, deletedAt(`"yesterday"`)), ok} }, "DGD", success},
		{"deletedAt is in the year 1", func() responses { return responses{lost, says(200, deletedAt(`"0001-01-01T00:00:00Z"`)), ok} }, "DGD", success},
		{"deletedAt is spelled otherwise", func() responses {
			return responses{lost, says(200, `{"success":true,"data":{"id":"a/b","deleted_at":null}}`), ok}
		}, "DGD", success},
		{"another user", func() responses {
			return responses{lost, says(200, `{"success":true,"data":{"id":"a","deletedAt":null}}`), ok}
		}, "DGD", success},
		{"a user within another object", func() responses {
			return responses{lost, says(200, `{"success":true,"data":{"user":{"id":"a/b","deletedAt":"`+stamp(0)+`"}}}`), ok}
		}, "DGD", success},
		{"no user", func() responses { return responses{lost, says(200, `{"success":true,"data":null}`), ok} }, "DGD", success},
		{"nobody", func() responses { return responses{lost, says(404, gone), ok} }, "DGD", success},
		{"not allowed", func() responses { return responses{says(500, ""), says(403, denied), ok} }, "DGD", success},
		{"nothing can be read, and it is refused then", func() responses {
			return responses{lost, says(403, denied), says(400, isSo), says(403, denied)}
		}, "DGDG", unknown},
		{"nothing can be read, time after time", func() responses {
			return responses{lost, says(403, denied), says(503, ""), says(403, denied), lost, says(403, denied)}
		}, "DGDGDG", "ErrServer " + unknown},
		{"nothing can be read, and then it can", func() responses {
			return responses{lost, says(403, denied), lost, says(200, deletedAfter(0))}
		}, "DGDG", recovered},
		{"a read-back is repeated", func() responses { return responses{lost, says(503, ""), lost, says(200, deletedAfter(0))} }, "DGGG", recovered},
		{"a read-back has the retries of the call, and no more", func() responses {
			return responses{lost, says(503, ""), says(503, ""), says(503, ""), says(503, ""), ok}
		}, "DGGGGD", success},
		{"all attempts are used up", func() responses {
			return responses{lost, isActive, lost, isActive, lost, says(200, deletedAfter(0))}
		}, "DGDGDG", recovered},
		{"all attempts are used up, and it was not", func() responses {
			return responses{lost, lost, lost, lost, isActive, lost, isActive}
		}, "DGGGGDG", unknown},

		{"400 at first, and deleted since: a proxy repeated it", func() responses { return responses{says(400, isSo), says(200, deletedAfter(0))} }, "DG", recovered},
		{"404 at first, and deleted since", func() responses { return responses{says(404, gone), says(200, deletedAfter(0))} }, "DG", recovered},
		{"409 at first, and deleted since", func() responses { return responses{says(409, isSo), says(200, deletedAfter(0))} }, "DG", recovered},
		{"410 at first, and deleted since", func() responses { return responses{says(410, isSo), says(200, deletedAfter(0))} }, "DG", recovered},
		{"400 at first, and deleted before", func() responses { return responses{says(400, isSo), says(200, deletedAfter(-hour))} }, "DG", "ErrBadRequest"},
		{"400 at first, and active", func() responses { return responses{says(400, isSo), isActive} }, "DG", "ErrBadRequest"},
		{"404 at first, and for the read-back too", func() responses { return responses{says(404, gone), says(404, gone)} }, "DG", "ErrNotFound"},
		{"410 at first, and for the read-back too", func() responses { return responses{says(410, gone), says(410, gone)} }, "DG", unknown},
		{"403 for the read-back of a 400", func() responses { return responses{says(400, isSo), says(403, denied)} }, "DG", unknown},
		{"a documented refusal at first stands", func() responses {
			return responses{says(400, `{"success":false,"message":"Cannot delete yourself"}`)}
		}, "D", "ErrBadRequest ErrSelfDeletion"},
		{"400 at first, and nobody", func() responses { return responses{says(400, isSo), says(404, gone)} }, "DG", unknown},
		{"400 at first, and nothing can be read", func() responses { return responses{says(400, isSo), says(200, `{"success":true}`)} }, "DG", unknown},
		{"403 at first stands", func() responses { return responses{says(403, denied)} }, "D", "ErrForbidden"},
		{"422 at first stands", func() responses { return responses{says(422, denied)} }, "D", "ErrBadRequest"},

		{"202, and deleted since", func() responses { return responses{says(202, `{"success":true}`), says(200, deletedAfter(0))} }, "DG", recovered},
		{"202, and not yet", func() responses { return responses{says(202, `{"success":true}`), isActive} }, "DG", unexpected + " " + unknown},
		{"303, and deleted since", func() responses { return responses{says(303, "", "Location", "/x"), says(200, deletedAfter(0))} }, "DG", recovered},
		{"303, and not", func() responses { return responses{says(303, "", "Location", "/x"), isActive} }, "DG", unexpected + " " + unknown},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWire(t, tt.responses()...)
				deletion, err := w.client().Organization.Users.Delete(t.Context(), userID)
				assert.Equal(t, tt.sent, w.sequence())
				for _, req := range w.sent() {
					if req.Method == http.MethodGet {
						assert.Equal(t, []string{"no-cache"}, req.Header["Cache-Control"])
						assert.Equal(t, "/organization/users/a%2Fb", req.URL.EscapedPath())
					} else {
						assert.Empty(t, req.Header["Cache-Control"])
					}
				}
				if tt.want != success && tt.want != recovered {
					assert.Nil(t, deletion)
					e := asError(t, err)
					assert.ElementsMatch(t, strings.Fields(tt.want), kinds(err), "%v", err)
					assert.Equal(t, len(w.sent()), e.Attempts)
					assert.Equal(t, http.MethodDelete, e.Method)
					return
				}
				require.NoError(t, err)
				assert.Equal(t, userID, deletion.UserID)
				assert.Equal(t, tt.want == recovered, deletion.Recovered)
				assert.Equal(t, len(w.sent()), deletion.Attempts)
			})
		})
	}
}

// Get (deleted, cached), Activate, and then a Delete whose read-back comes from the cache.
func TestACacheDoesNotMakeADeleteASuccess(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cached := deletedAfter(-time.Minute)
		date := time.Now().UTC().Format(http.TimeFormat)
		w := newWire(t,
			says(200, cached, "Date", date),
			dated(0, 200, activated),
			dated(0, 503, ""), says(200, cached, "Date", date), // the same response again
			dated(0, 200, `{"success":true}`))
		users := w.client().Organization.Users
		_, err := users.Get(t.Context(), userID)
		require.NoError(t, err)
		<-time.After(10 * time.Minute)
		_, err = users.Activate(t.Context(), userID)
		require.NoError(t, err)
		deletion, err := users.Delete(t.Context(), userID)
		require.NoError(t, err)
		assert.False(t, deletion.Recovered)
		assert.Equal(t, "GPDGD", w.sequence())
	})
}

func TestAReadBackThatTellsNothingSaysWhy(t *testing.T) {
	t.Parallel()
	remove := func(c *flashback.Client) *flashback.Error {
		_, err := c.Organization.Users.Delete(t.Context(), userID)
		require.ErrorIs(t, err, flashback.ErrOutcomeUnknown)
		return asError(t, err)
	}
	err := remove(newWire(t, lost, says(404, `{"message":"User not found"}`)).client(flashback.WithMaxRetries(0)))
	require.ErrorContains(t, err, "the read-back got HTTP 404: User not found")
	require.NotErrorIs(t, err, flashback.ErrNotFound)
	assert.Zero(t, err.StatusCode)

	err = remove(newWire(t, lost, fails(errors.New("no route"))).client(flashback.WithMaxRetries(0)))
	require.ErrorContains(t, err, "no route")

	mine, asked := errors.New("mine"), 0
	err = remove(newWire(t, lost).clientWithToken("", flashback.WithTokenSource(func(context.Context) (string, error) {
		if asked++; asked > 1 {
			return "", mine
		}
		return "access-token", nil
	})))
	require.ErrorIs(t, err, mine)
	assert.Equal(t, 1, err.Attempts)

	err = remove(newWire(t, lost, says(429, "", "Retry-After", "120")).client(flashback.WithMaxRetries(0)))
	assert.Equal(t, 2*time.Minute, err.RetryAfter)

	ctx, cancel := context.WithCancel(t.Context())
	w := newWire(t, func(*http.Request) (*http.Response, error) { cancel(); return nil, io.ErrUnexpectedEOF })
	_, failure := w.client().Organization.Users.Delete(ctx, userID)
	require.ErrorIs(t, failure, context.Canceled)
	require.ErrorIs(t, failure, flashback.ErrOutcomeUnknown)
	assert.Equal(t, "D", w.sequence())
}

func TestAGateThatClosesDuringAReadBackHoldsTheRepetitionBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var deletes []time.Duration
		begun := time.Now()
		transport := roundTripper(func(req *http.Request) (*http.Response, error) {
			if req.Method == http.MethodGet {
				<-time.After(10 * time.Second)
				return says(200, `{"success":true,"data":{"id":"a/b","deletedAt":null}}`)(req)
			}
			mu.Lock()
			defer mu.Unlock()
			deletes = append(deletes, time.Since(begun))
			switch len(deletes) {
			case 1:
				return lost(req)
			case 2:
				return says(429, "", "Retry-After", "30")(req)
			}
			return says(200, `{"success":true}`)(req)
		})
		client, err := flashback.NewClient("access-token", flashback.WithHTTPClient(&http.Client{Transport: transport}))
		require.NoError(t, err)
		var both sync.WaitGroup
		for i := range 2 {
			both.Go(func() {
				<-time.After(time.Duration(i) * 5 * time.Second)
				_, err := client.Organization.Users.Delete(t.Context(), userID)
				assert.NoError(t, err)
			})
		}
		both.Wait()
		require.Len(t, deletes, 4)
		assert.GreaterOrEqual(t, deletes[2], 35*time.Second)
	})
}

func TestAReadBackIsNoRetry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWire(t, lost, says(200, deletedAfter(0)))
		deletion, err := w.client(flashback.WithMaxRetries(0)).Organization.Users.Delete(t.Context(), userID)
		require.NoError(t, err)
		assert.True(t, deletion.Recovered)
	})
}

// It may settle what a call that is not repeated has done, unless nothing may be sent.
func TestAReadBackIsMadeWhereARepetitionIsNot(t *testing.T) {
	t.Parallel()
	busy := says(503, "", "Retry-After", "3600")
	for name, tt := range map[string]struct {
		first     httpmock.Responder
		opt       flashback.Option
		deleted   bool
		sent      string
		recovered bool
	}{
		"the server asks to wait too long":    {busy, flashback.WithMaxRetries(4), true, "DG", true},
		"the same, and nothing is done":       {busy, flashback.WithMaxRetries(4), false, "DG", false},
		"the wait would outlast the deadline": {lost, flashback.WithBackoff(time.Hour, time.Hour), true, "DG", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				readBack := `{"id":"a/b","deletedAt":null}`
				if tt.deleted {
					readBack = deletedAfter(0)
				}
				w := newWire(t, tt.first, says(200, readBack))
				deletion, err := w.client(tt.opt).Organization.Users.Delete(ctx, userID)
				assert.Equal(t, tt.sent, w.sequence())
				if tt.recovered {
					require.NoError(t, err)
					assert.True(t, deletion.Recovered)
				} else {
					require.ErrorIs(t, err, flashback.ErrOutcomeUnknown)
				}
			})
		})
	}
}

func TestAReadBackComesAfterTheWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var at []time.Duration
		began := time.Now()
		note := func(respond httpmock.Responder) httpmock.Responder {
			return func(req *http.Request) (*http.Response, error) {
				at = append(at, time.Since(began))
				return respond(req)
			}
		}
		w := newWire(t, note(lost), note(says(200, `{"id":"a/b","deletedAt":null}`)), note(says(200, `{"success":true}`)))
		_, err := w.client(flashback.WithBackoff(7*time.Second, 7*time.Second)).Organization.Users.Delete(t.Context(), userID)
		require.NoError(t, err)
		require.Len(t, at, 3)
		assert.GreaterOrEqual(t, at[1], 3500*time.Millisecond)
		assert.Equal(t, at[1], at[2], "nothing is waited for in between")
	})
}

func TestATotalIsNotBelieved(t *testing.T) {
	t.Parallel()
	body := `{"success":true,"total":2147483647,"data":[{"id":"u-1","name":"` + strings.Repeat("x", 1<<20) + `"}]}`
	list, err := newWire(t, says(200, body)).client().Organization.Users.List(t.Context())
	require.ErrorIs(t, err, flashback.ErrIncompleteList)
	assert.Len(t, list.Users, 1)
	assert.Less(t, cap(list.Users), 10_000, "no more memory than what came")
}

func TestACreateIsSettledByTheList(t *testing.T) {
	t.Parallel()
	listOf := func(total int, users ...string) httpmock.Responder {
		return says(200, fmt.Sprintf(`{"success":true,"data":[%s],"total":%d}`, strings.Join(users, ","), total))
	}
	created := `{"id":"u-9","email":"jane@example.com","name":"Jane","lastName":"Doe","orgRole":0,"deletedAt":null}`
	bill := `{"id":"u-2","email":"bill@example.com","name":"Jane","lastName":"Doe"}`
	with := func(old, text string) string { return strings.Replace(created, old, text, 1) }
	ok := says(201, `{"success":true,"data":`+created+`}`)
	const unknown = "ErrOutcomeUnknown"
	for _, tt := range []struct {
		name      string
		responses []httpmock.Responder
		sent      string
		id        string // of the result
		kinds     string
	}{
		{"an attempt that tells is not read back", []httpmock.Responder{ok}, "P", "u-9", ""},
		{"what was not applied is repeated", []httpmock.Responder{unsent, says(429, ""), says(425, ""), ok}, "PPPP", "u-9", ""},
		{"a refusal stands", []httpmock.Responder{says(400, noWay)}, "P", "", "ErrBadRequest"},
		{"a conflict stands", []httpmock.Responder{says(409, noWay)}, "P", "", "ErrConflict"},
		{"the list has the user", []httpmock.Responder{lost, listOf(2, bill, created)}, "PG", "u-9", ""},
		{"the list is larger than other responses", []httpmock.Responder{lost, listOf(2, strings.Replace(bill, "Doe", strings.Repeat("Roe", 1<<19), 1), created)}, "PG", "u-9", ""},
		{"the list has the address in other letters", []httpmock.Responder{lost, listOf(1, with("jane@", "JANE@"))}, "PG", "u-9", ""},
		{"the list has the user, and fewer than its total", []httpmock.Responder{lost, listOf(7, bill, created)}, "PG", "u-9", ""},
		{"the list has the user without a role", []httpmock.Responder{lost, listOf(1, with(`"orgRole":0,`, ""))}, "PG", "u-9", ""},
		{"nobody has the address, so it is repeated", []httpmock.Responder{lost, listOf(1, bill), ok}, "PGP", "u-9", ""},
		{"there is nobody at all", []httpmock.Responder{says(500, ""), listOf(0), ok}, "PGP", "u-9", ""},
		{"the list has no total", []httpmock.Responder{lost, says(200, `{"success":true,"data":[`+bill+`]}`), ok}, "PGP", "u-9", ""},
		{"nobody, and then a conflict that the list explains", []httpmock.Responder{lost, listOf(1, bill), says(409, noWay), listOf(2, bill, created)}, "PGPG", "u-9", ""},
		{"nobody, and then a conflict that it does not", []httpmock.Responder{lost, listOf(1, bill), says(409, noWay), listOf(1, bill)}, "PGPG", "", unknown},
		{"another one has the address", []httpmock.Responder{lost, listOf(1, with("Jane", "Joan"))}, "PG", "", unknown},
		{"one with another last name", []httpmock.Responder{lost, listOf(1, with("Doe", "Roe"))}, "PG", "", unknown},
		{"one with a role that can't be read", []httpmock.Responder{lost, listOf(1, with(`"orgRole":0`, `"orgRole":"OWNER"`))}, "PG", "", unknown},
		{"one with another role", []httpmock.Responder{lost, listOf(1, with(`"orgRole":0`, `"orgRole":2`))}, "PG", "", unknown},
		{"one who is deleted", []httpmock.Responder{lost, listOf(1, with(`"deletedAt":null`, `"deletedAt":"2026-01-02T03:04:05.006Z"`))}, "PG", "", unknown},
		{"the list is shorter than its total", []httpmock.Responder{lost, listOf(7, bill)}, "PG", "", unknown},
		{"the list is not allowed", []httpmock.Responder{lost, says(403, `{"success":false,"data":[],"total":0}`)}, "PG", "", unknown},
		{"the list has something that is no user", []httpmock.Responder{lost, listOf(2, bill, "null")}, "PG", "", unknown},
		{"the list is a page", []httpmock.Responder{lost, says(200, htmlPage), says(200, htmlPage), says(200, htmlPage), says(200, htmlPage)}, "PGGGG", "", unknown},
		{"202, and the list has the user", []httpmock.Responder{says(202, `{"success":true}`), listOf(1, created)}, "PG", "u-9", ""},
		{"202, and nobody yet", []httpmock.Responder{says(202, `{"success":true}`), listOf(0)}, "PG", "", "ErrUnexpectedResponse " + unknown},
		{"303, and the list has the user", []httpmock.Responder{says(303, "", "Location", "/x"), listOf(1, created)}, "PG", "u-9", ""},
		{"303, and nobody", []httpmock.Responder{says(303, "", "Location", "/x"), listOf(0)}, "PG", "", "ErrUnexpectedResponse " + unknown},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWire(t, tt.responses...)
				user, err := w.client().Organization.Users.Create(t.Context(), newUser)
				assert.Equal(t, tt.sent, w.sequence())
				for _, req := range w.sent() {
					assert.Equal(t, "/organization/users", req.URL.Path)
					if req.Method == http.MethodGet {
						assert.Equal(t, []string{"no-cache"}, req.Header["Cache-Control"])
					}
				}
				if tt.id == "" {
					assert.Nil(t, user)
					assert.ElementsMatch(t, strings.Fields(tt.kinds), kinds(err), "%v", err)
					assert.Equal(t, len(w.sent()), asError(t, err).Attempts)
					return
				}
				require.NoError(t, err)
				assert.Equal(t, tt.id, user.ID)
				assert.Equal(t, "Jane", user.Name)
			})
		})
	}
}

func TestAnActivationIsSettledByItsMessageOrAReadBack(t *testing.T) {
	t.Parallel()
	const (
		recovered = "recovered"
		success   = "success"
		unknown   = "ErrOutcomeUnknown"
		otherwise = `{"success":false,"message":"The user is active already"}`
	)
	active, deleted := says(200, deletedAt("null")), says(200, deletedAt(`"2026-01-02T03:04:05.006Z"`))
	for _, tt := range []struct {
		name      string
		responses []httpmock.Responder
		sent      string
		want      string // or the kinds of the failure
	}{
		{"an attempt that tells is enough", []httpmock.Responder{says(200, activated)}, "P", success},
		{"204 is a success", []httpmock.Responder{says(204, "")}, "P", success},
		{"repeated, and applied then", []httpmock.Responder{lost, says(503, ""), says(200, activated)}, "PPP", success},
		{"the message settles it", []httpmock.Responder{lost, says(400, notDeleted)}, "PP", recovered},
		{"the message in other letters", []httpmock.Responder{lost, says(400, `{"message":" user is NOT deleted. "}`)}, "PP", recovered},
		{"the message of a first attempt is a failure", []httpmock.Responder{says(400, notDeleted)}, "P", "ErrBadRequest ErrUserNotDeleted"},
		{"the message after attempts that were not applied", []httpmock.Responder{unsent, says(429, ""), says(400, notDeleted)}, "PPP", "ErrBadRequest ErrUserNotDeleted"},
		{"the message with another status settles nothing", []httpmock.Responder{lost, says(404, notDeleted)}, "PP", unknown},
		{"worded otherwise, at first", []httpmock.Responder{says(400, otherwise)}, "P", "ErrBadRequest"},
		{"worded otherwise, and active", []httpmock.Responder{lost, says(400, otherwise), active}, "PPG", recovered},
		{"worded otherwise, and deleted", []httpmock.Responder{lost, says(400, otherwise), deleted}, "PPG", unknown},
		{"worded otherwise, and nothing can be read", []httpmock.Responder{lost, says(400, otherwise), says(200, `{"success":true}`)}, "PPG", unknown},
		{"worded otherwise, and another user", []httpmock.Responder{lost, says(400, otherwise), says(403, noWay)}, "PPG", unknown},
		{"202, and active", []httpmock.Responder{says(202, activated), active}, "PG", recovered},
		{"202, and not yet", []httpmock.Responder{says(202, activated), deleted}, "PG", "ErrUnexpectedResponse " + unknown},
		{"303 tells nothing", []httpmock.Responder{says(303, "", "Location", "/x")}, "P", "ErrUnexpectedResponse " + unknown},
		{"a denial", []httpmock.Responder{says(200, noWay)}, "P", "ErrUnexpectedResponse"},
		{"refused after an ambiguous attempt", []httpmock.Responder{lost, says(403, noWay)}, "PP", unknown},
		{"a conflict after an ambiguous attempt", []httpmock.Responder{lost, says(409, noWay)}, "PP", unknown},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWire(t, tt.responses...)
				activation, err := w.client().Organization.Users.Activate(t.Context(), userID)
				assert.Equal(t, tt.sent, w.sequence())
				if tt.want != success && tt.want != recovered {
					assert.Nil(t, activation)
					assert.ElementsMatch(t, strings.Fields(tt.want), kinds(err), "%v", err)
					assert.Equal(t, len(w.sent()), asError(t, err).Attempts)
					return
				}
				require.NoError(t, err)
				assert.Equal(t, userID, activation.UserID)
				assert.Equal(t, tt.want == recovered, activation.Recovered)
				assert.Equal(t, len(w.sent()), activation.Attempts)
			})
		})
	}
}

// A transport may send a request again by itself, as net/http does over HTTP/2; it
// tells the trace of it.
func TestWhatIsNotIdempotentIsNotSentAgainByTheTransport(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"create", "resend the invitation", "delete", "update"} {
		sentAgain := false
		w := newWire(t, func(req *http.Request) (*http.Response, error) {
			trace := httptrace.ContextClientTrace(req.Context())
			for range 2 {
				trace.GetConn("h.example:443")
				trace.GotConn(httptrace.GotConnInfo{})
			}
			if err := req.Context().Err(); err != nil {
				return nil, err
			}
			sentAgain = true
			return says(403, noWay)(req)
		}, says(403, noWay)) // of a read-back
		m := methodOf(t, name)
		_, err := m.call(t.Context(), w.client())
		require.ErrorIs(t, err, flashback.ErrOutcomeUnknown, name)
		require.NotErrorIs(t, err, context.Canceled)
		assert.Equal(t, name == "delete" || name == "update", sentAgain, name)
	}
}

func TestBadInputIsRefusedAndNothingIsSent(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	users := w.client().Organization.Users
	ctx := t.Context()
	var none context.Context
	for name, tt := range map[string]struct {
		call func() error
		says string
	}{
		"a get without an ID": {func() error { _, err := users.Get(ctx, ""); return err }, "ID is empty"},
		"an ID that is a path": {func() error {
			_, err := users.Update(ctx, "..", flashback.UserUpdate{Name: new("")})
			return err
		}, "path segment"},
		"an update of nothing":          {func() error { _, err := users.Update(ctx, "user-1", flashback.UserUpdate{}); return err }, "set a field"},
		"an ID with a newline":          {func() error { _, err := users.Delete(ctx, "user-1\n"); return err }, "strings.TrimSpace"},
		"an ID with a zero-width space": {func() error { _, err := users.Delete(ctx, "user\u200b-1"); return err }, "invisible"},
		"an ID with a byte order mark":  {func() error { _, err := users.Activate(ctx, "\ufeffuser-1"); return err }, "invisible"},
		"an ID that is not UTF-8":       {func() error { _, err := users.Activate(ctx, "user-\xff"); return err }, "UTF-8"},
		"an invitation of nobody":       {func() error { _, err := users.ResendInvitation(ctx, ""); return err }, "ID is empty"},
		"a create without an address":   {func() error { _, err := users.Create(ctx, flashback.NewUser{Password: newUser.Password}); return err }, "e-mail address is empty"},
		"an address of white space": {func() error {
			_, err := users.Create(ctx, flashback.NewUser{Email: " ", Password: newUser.Password})
			return err
		}, "e-mail address is empty"},
		"a create without a password": {func() error { _, err := users.Create(ctx, flashback.NewUser{Email: "e"}); return err }, "password is empty"},
		"a local user without a password": {func() error {
			_, err := users.Create(ctx, flashback.NewUser{Email: "e", AuthMethod: flashback.AuthLocal})
			return err
		}, "NewSecret"},
		"another spelling of local": {func() error {
			_, err := users.Create(ctx, flashback.NewUser{Email: "e", AuthMethod: "local"})
			return err
		}, "password is empty"},
		"a password that is not UTF-8": {func() error {
			_, err := users.Create(ctx, flashback.NewUser{Email: "e", Password: flashback.NewSecret("p\xe4ss")})
			return err
		}, "UTF-8"},
		"an address that is not UTF-8": {func() error {
			_, err := users.Create(ctx, flashback.NewUser{Email: "e\xff", Password: newUser.Password})
			return err
		}, "UTF-8"},
		"an AuthMethod that is not UTF-8": {func() error {
			_, err := users.Create(ctx, flashback.NewUser{Email: "e", AuthMethod: "\xff"})
			return err
		}, "UTF-8"},
		"a name that is not UTF-8": {func() error {
			_, err := users.Update(ctx, "user-1", flashback.UserUpdate{Name: new("\xff")})
			return err
		}, "UTF-8"},
		"a nil context":                {func() error { _, err := users.List(none); return err }, "context.Background()"},
		"the zero value of a service":  {func() error { _, err := new(flashback.UsersService).Activate(ctx, "user-1"); return err }, "NewClient"},
		"a nil service":                {func() error { _, err := (*flashback.UsersService)(nil).List(ctx); return err }, "NewClient"},
		"the service of a zero client": {func() error { _, err := (&flashback.OrganizationService{}).Users.Create(ctx, newUser); return err }, "NewClient"},
		"an update by a service of no one": {func() error {
			_, err := new(flashback.UsersService).Update(ctx, "a", flashback.UserUpdate{Name: new(string)})
			return err
		}, "NewClient"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := tt.call()
			require.ErrorContains(t, err, tt.says)
			assert.Equal(t, []string{"ErrInvalidArgument"}, kinds(err))
			e := asError(t, err)
			assert.Zero(t, e.Attempts)
			assert.NotContains(t, err.Error(), "pa<55>word")
		})
	}
	assert.Empty(t, w.sent())
}

func TestTextOfOtherScriptsIsSentAsItIs(t *testing.T) {
	t.Parallel()
	var body []byte
	w := newWire(t, func(req *http.Request) (*http.Response, error) {
		body, _ = io.ReadAll(req.Body)
		return httpmock.NewStringResponse(201, `{"success":true,"data":{"id":"u"}}`), nil
	})
	_, err := w.client().Organization.Users.Create(t.Context(), flashback.NewUser{
		Email: "e", Password: flashback.NewSecret("pä😀<&>\u2028"), FirstName: "日本", LastName: "O'Neill",
	})
	require.NoError(t, err)
	assert.JSONEq(t, `{"email":"e","password":"pä😀<&>\u2028","firstName":"日本","lastName":"O'Neill"}`, string(body))
}

func TestAReadBackIsBelievedByTheLaterClock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, readBackByTheLaterClock)
}

func readBackByTheLaterClock(t *testing.T) {
	t.Helper()
	lost, now := fails(errors.New("lost")), time.Now()
	httpDate := func(ahead time.Duration) string { return now.Add(ahead).UTC().Format(http.TimeFormat) }
	for name, tt := range map[string]struct {
		first     httpmock.Responder
		deletedAt time.Duration // before now
		header    []string      // of the read-back
		recovered bool
	}{
		"a proxy whose clock is behind, and an old deletion": {says(502, "", "Date", httpDate(-time.Hour)), 30 * time.Minute, []string{"Date", httpDate(0)}, false},
		"a date of the year 1, and an old deletion":          {says(502, "", "Date", "Mon, 01 Jan 0001 00:00:00 GMT"), 8760 * time.Hour, []string{"Date", httpDate(0)}, false},
		"no date, and a deletion that is to come":            {lost, -30 * time.Minute, nil, false},
		"no date, and a fresh deletion":                      {lost, 0, nil, true},
		"an Age too large to be read":                        {lost, 0, []string{"Date", httpDate(0), "Age", "99999999999999999999"}, false},
		"the server's clock an hour ahead":                   {lost, -time.Hour, []string{"Date", httpDate(time.Hour)}, true},
	} {
		func() {
			at := now.Add(-tt.deletedAt).UTC().Format(time.RFC3339Nano)
			w := newWire(t, tt.first, says(200, `{"id":"user-1","deletedAt":"`+at+`"}`, tt.header...))
			got, err := w.client(flashback.WithMaxRetries(0)).Organization.Users.Delete(t.Context(), "user-1")
			if !tt.recovered {
				assert.True(t, asError(t, err).OutcomeUnknown, "%s: %v", name, err)
				return
			}
			require.NoError(t, err, name)
			assert.True(t, got.Recovered, name)
		}()
	}
	w := newWire(t, lost, says(400, `{"message":"Organization is frozen"}`), says(200, `{"id":"user-1","deletedAt":null}`, "Age", "2147483648"))
	_, err := w.client(flashback.WithMaxRetries(1)).Organization.Users.Activate(t.Context(), "user-1")
	assert.True(t, asError(t, err).OutcomeUnknown, "the state is as old as can be")
}

func TestAResultSharesNothingWithWhatWasAskedFor(t *testing.T) {
	t.Parallel()
	role := flashback.RoleBilling
	got, err := newWire(t, says(204, "")).client().Organization.Users.Update(t.Context(), "user-1", flashback.UserUpdate{OrgRole: &role})
	require.NoError(t, err)
	assert.NotSame(t, &role, got.OrgRole)
	assert.Equal(t, role, *got.OrgRole)
}
