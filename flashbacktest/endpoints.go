package flashbacktest

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	flashback "github.com/flashbacknetwork/flashback-go"
)

// endpoint answers a request of the caller about the user or the organization with
// the ID, and tells whether it changed something. The backend's mutex is held.
type endpoint func(b *Backend, caller *User, id string, body []byte) (*response, bool)

// endpoints are what the backend answers, by path and method. A * is an ID.
var endpoints = map[string]map[string]endpoint{
	"/organization/users": {
		http.MethodGet:  (*Backend).list,
		http.MethodPost: (*Backend).create,
	},
	"/organization/users/*": {
		http.MethodGet:    (*Backend).get,
		http.MethodPut:    (*Backend).update,
		http.MethodDelete: (*Backend).delete,
	},
	"/organization/users/*/activate":          {http.MethodPost: (*Backend).activate},
	"/organization/users/*/resend-invitation": {http.MethodPost: (*Backend).resendInvitation},
	"/organization/*": {
		http.MethodGet: (*Backend).getOrganization,
		http.MethodPut: (*Backend).updateOrganization,
	},
}

// route finds the endpoint's path and the ID in it.
func route(r *http.Request) (path, id string) {
	path = r.URL.EscapedPath()
	if _, ok := endpoints[path]; ok && !strings.Contains(path, "*") {
		return path, ""
	}
	segments := strings.Split(path, "/")
	at := 2
	if len(segments) > 3 {
		at = 3
	}
	if len(segments) <= at {
		return path, ""
	}
	id, err := url.PathUnescape(segments[at]) // it may have slashes of its own, escaped
	if err != nil || id == "" {
		return path, ""
	}
	segments[at] = "*"
	return strings.Join(segments, "/"), id
}

// subject is the ID that a request is about, or "".
func subject(r *http.Request) string {
	_, id := route(r)
	return id
}

// handle answers a request without a fault, and tells whether it changed
// something. The mutex is held.
func (b *Backend) handle(r *http.Request, body []byte) (*response, bool) {
	path, id := route(r)
	methods, ok := endpoints[path]
	if !ok {
		return envelope(http.StatusNotFound, "Not found"), false
	}
	serve, ok := methods[r.Method]
	if !ok {
		return envelope(http.StatusMethodNotAllowed, "Method not allowed"), false
	}
	token, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	owner, known := b.tokens[token]
	caller := b.users[owner]
	if !bearer || !known || caller == nil || caller.Deleted() {
		return envelope(http.StatusUnauthorized, "Unauthorized"), false
	}
	return serve(b, caller, id, body)
}

// response is an answer before it meets its fault.
type response struct {
	status int
	header http.Header
	body   string
}

func reply(status int, body any) *response {
	text, err := json.Marshal(body)
	if err != nil {
		panic("flashbacktest: " + err.Error())
	}
	return &response{status: status, header: http.Header{"Content-Type": {"application/json"}}, body: string(text)}
}

// answer is the envelope of the types.
type answer struct {
	Success bool   `json:"success"`
	Data    any    `json:"data,omitempty"`
	Total   *int   `json:"total,omitempty"`
	Message string `json:"message,omitempty"`
}

func envelope(status int, message string) *response {
	return reply(status, answer{Success: status < 300, Message: message})
}

// wireUser is a user as an answer has it.
type wireUser struct {
	flashback.User

	DeletedAt *string `json:"deletedAt"` // as JavaScript writes it
}

func (u User) wire() wireUser {
	role := u.Role
	w := wireUser{User: flashback.User{
		ID: u.ID, Email: u.Email, Name: u.Name, LastName: u.LastName, OrgID: u.OrgID,
		OrgRole: &role, OrgRoleDescription: role.String(), OrgRoles: []flashback.Role{role},
		Validated: u.Validated,
	}}
	if u.Deleted() {
		w.DeletedAt = flashback.Ptr(u.DeletedAt.UTC().Format("2006-01-02T15:04:05.000Z"))
	}
	return w
}

// manages finds the user with the ID for a caller who wants to change something, or
// says why not.
func (b *Backend) manages(caller *User, id, forbidden string) (*User, *response) {
	user := b.users[id]
	switch {
	case caller.Role < flashback.RoleWorkspaces, user != nil && user.OrgID != caller.OrgID:
		return nil, envelope(http.StatusForbidden, forbidden)
	case user == nil:
		return nil, envelope(http.StatusNotFound, "User not found")
	}
	return user, nil
}

const mayNot = "Insufficient permissions"

func (b *Backend) activate(caller *User, id string, _ []byte) (*response, bool) {
	user, refusal := b.manages(caller, id, "Insufficient permissions to activate users")
	switch {
	case refusal != nil:
		return refusal, false
	case !user.Deleted():
		return envelope(http.StatusBadRequest, "User is not deleted"), false
	}
	user.DeletedAt = nil
	return envelope(http.StatusOK, "User activated successfully"), true
}

func (b *Backend) list(caller *User, _ string, _ []byte) (*response, bool) {
	users := []wireUser{}
	for _, id := range slices.Sorted(maps.Keys(b.users)) {
		if user := b.users[id]; user.OrgID == caller.OrgID {
			users = append(users, user.wire())
		}
	}
	total := len(users)
	return reply(http.StatusOK, answer{Success: true, Data: users, Total: &total}), false
}

func (b *Backend) get(caller *User, id string, _ []byte) (*response, bool) {
	user := b.users[id]
	if user == nil || user.OrgID != caller.OrgID {
		return envelope(http.StatusNotFound, "User not found"), false
	}
	return reply(http.StatusOK, user.wire()), false // bare, as the types say
}

func (b *Backend) create(caller *User, _ string, body []byte) (*response, bool) {
	var fields struct {
		flashback.NewUser

		Password string `json:"password"`
	}
	err := json.Unmarshal(body, &fields)
	switch {
	case caller.Role < flashback.RoleWorkspaces:
		return envelope(http.StatusForbidden, mayNot), false
	case err != nil, fields.Email == "":
		return envelope(http.StatusBadRequest, "Invalid user"), false
	}
	b.created++
	user := &User{
		ID: fmt.Sprintf("created-%d", b.created), Email: fields.Email, Name: fields.FirstName, LastName: fields.LastName,
		OrgID: caller.OrgID, Password: fields.Password,
	}
	if fields.OrgRole != nil {
		user.Role = *fields.OrgRole
	}
	if fields.SendInvite != nil && *fields.SendInvite {
		user.Invitations = 1
	}
	b.users[user.ID] = user
	return reply(http.StatusOK, answer{Success: true, Data: user.wire(), Message: "User created"}), true
}

func (b *Backend) update(caller *User, id string, body []byte) (*response, bool) {
	user, refusal := b.manages(caller, id, mayNot)
	if refusal != nil {
		return refusal, false
	}
	var change flashback.UserUpdate
	if json.Unmarshal(body, &change) != nil {
		return envelope(http.StatusBadRequest, "Invalid update"), false
	}
	set(&user.Name, change.Name)
	set(&user.LastName, change.LastName)
	set(&user.Role, change.OrgRole)
	return reply(http.StatusOK, answer{Success: true, Data: user.wire(), Message: "User updated"}), true
}

func set[T any](field, to *T) {
	if to != nil {
		*field = *to
	}
}

func (b *Backend) delete(caller *User, id string, _ []byte) (*response, bool) {
	user, refusal := b.manages(caller, id, mayNot)
	switch {
	case refusal != nil:
		return refusal, false
	case user.Deleted():
		return envelope(http.StatusBadRequest, "User can't be deleted again"), false
	}
	now := time.Now().UTC()
	user.DeletedAt = &now
	return envelope(http.StatusOK, "User deleted"), true
}

func (b *Backend) resendInvitation(caller *User, id string, _ []byte) (*response, bool) {
	user, refusal := b.manages(caller, id, mayNot)
	if refusal != nil {
		return refusal, false
	}
	user.Invitations++
	return envelope(http.StatusOK, "Invitation sent"), true
}

// organization finds the caller's organization, if that is what the ID says.
func (b *Backend) organization(caller *User, id string) (*flashback.Organization, *response) {
	org := b.orgs[id]
	switch {
	case org == nil:
		return nil, envelope(http.StatusNotFound, "Organization not found")
	case id != caller.OrgID:
		return nil, envelope(http.StatusForbidden, mayNot)
	}
	return org, nil
}

func (b *Backend) getOrganization(caller *User, id string, _ []byte) (*response, bool) {
	org, refusal := b.organization(caller, id)
	if refusal != nil {
		return refusal, false
	}
	return reply(http.StatusOK, answer{Success: true, Data: org}), false
}

func (b *Backend) updateOrganization(caller *User, id string, body []byte) (*response, bool) {
	org, refusal := b.organization(caller, id)
	if refusal != nil {
		return refusal, false
	}
	var change flashback.OrganizationUpdate
	switch {
	case caller.Role < flashback.RoleAdministrators:
		return envelope(http.StatusForbidden, mayNot), false
	case json.Unmarshal(body, &change) != nil:
		return envelope(http.StatusBadRequest, "Invalid update"), false
	}
	set(&org.Name, change.Name)
	set(&org.Address1, change.Address1)
	set(&org.Address2, change.Address2)
	set(&org.City, change.City)
	set(&org.Zipcode, change.Zipcode)
	set(&org.Phone, change.Phone)
	set(&org.State, change.State)
	set(&org.Country, change.Country)
	set(&org.Website, change.Website)
	set(&org.IsBusiness, change.IsBusiness)
	set(&org.MFAEnforced, change.MFAEnforced)
	return reply(http.StatusOK, answer{Success: true, Data: org, Message: "Organization updated"}), true
}
