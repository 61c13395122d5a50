package flashbacktest

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	flashback "github.com/flashbacknetwork/flashback-go"
)

// endpoint responds to the caller's request about the user or the organization with
// the ID. The backend's mutex is held.
type endpoint func(b *Backend, caller *User, id string, body []byte) (status int, response any)

// endpoints are what the API has of its own.
func (b *Backend) endpoints() *http.ServeMux {
	mux := http.NewServeMux()
	for pattern, serve := range map[string]endpoint{
		"GET /organization/users":                         (*Backend).list,
		"POST /organization/users":                        (*Backend).create,
		"GET /organization/users/{id}":                    (*Backend).get,
		"PUT /organization/users/{id}":                    (*Backend).update,
		"DELETE /organization/users/{id}":                 (*Backend).delete,
		"POST /organization/users/{id}/activate":          (*Backend).activate,
		"POST /organization/users/{id}/resend-invitation": (*Backend).resendInvitation,
		"GET /organization/{id}":                          (*Backend).getOrganization,
		"PUT /organization/{id}":                          (*Backend).updateOrganization,
		"GET /user/profile":                               (*Backend).profile,
		"GET /user/{id}":                                  (*Backend).role,
		"PUT /user/{id}/role":                             (*Backend).setRole,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body) // it is in memory
			b.mu.Lock()
			defer b.mu.Unlock()
			if caller := b.admit(w, r); caller != nil {
				status, response := serve(b, caller, r.PathValue("id"), body)
				respond(w, status, response)
			}
		})
	}
	b.workspaceEndpoints(mux)
	b.sessionEndpoints(mux)
	return mux
}

func respond(w http.ResponseWriter, status int, response any) {
	text, err := json.Marshal(response)
	if err != nil {
		panic("flashbacktest: " + err.Error())
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(text)
}

// envelope is what most responses are. Data of nil is left out.
type envelope struct {
	Success   bool   `json:"success"`
	Data      any    `json:"data,omitempty"`
	Total     *int   `json:"total,omitempty"`
	Message   string `json:"message,omitempty"`
	ErrorCode string `json:"error_code,omitempty"`
}

var (
	noAuthUser = envelope{ErrorCode: "NO_AUTH_USER"}
	noUser     = struct{}{}              // the data of an update that failed
	noOrg      = json.RawMessage("null") // the data of a failure about an organization
)

// wireDate is a date as JavaScript writes it.
func wireDate(at *time.Time) *string {
	if at == nil {
		return nil
	}
	return new(at.UTC().Format("2006-01-02T15:04:05.000Z"))
}

// wireUser is a user as a response has it.
type wireUser struct {
	ID       string `json:"id"`
	Email    string `json:"email"`
	Name     string `json:"name"`
	LastName string `json:"lastName"`
	OrgID    string `json:"orgId"`
	wireRole
	Validated bool    `json:"validated"`
	DeletedAt *string `json:"deletedAt"`
}

func (u User) wire() wireUser {
	return wireUser{
		ID: u.ID, Email: u.Email, Name: u.Name, LastName: u.LastName, OrgID: u.OrgID,
		wireRole: roleOf(u), Validated: u.Validated, DeletedAt: wireDate(u.DeletedAt),
	}
}

// find finds the user with the ID for the caller, or says why not.
func (b *Backend) find(caller *User, id, to string, data any) (*User, int, envelope) {
	user := b.users[id]
	switch {
	case caller.Role < flashback.RoleWorkspaces, user != nil && user.OrgID != caller.OrgID:
		return nil, http.StatusForbidden, envelope{Data: data, Message: "Insufficient permissions to " + to}
	case user == nil:
		return nil, http.StatusNotFound, envelope{Data: data, Message: "User not found"}
	}
	return user, 0, envelope{}
}

// mayHave tells whether the caller may give the user the role.
func (b *Backend) mayHave(caller, user *User, role flashback.Role) bool {
	if role == user.Role {
		return true
	}
	if reserved(role) || role >= caller.Role || user.Role >= caller.Role && user != caller {
		return false
	}
	return !b.isLastOwner(user)
}

// isLastOwner tells whether the user is the only active owner of an organization.
func (b *Backend) isLastOwner(user *User) bool {
	if user.Role != flashback.RoleOwner {
		return false
	}
	for _, other := range b.users {
		if other != user && other.OrgID == user.OrgID && other.Role == flashback.RoleOwner && !other.Deleted() {
			return false
		}
	}
	return true
}

func (b *Backend) list(caller *User, _ string, _ []byte) (int, any) {
	users, status := []wireUser{}, http.StatusForbidden
	if caller.Role >= flashback.RoleWorkspaces {
		status = http.StatusOK
		for _, id := range slices.Sorted(maps.Keys(b.users)) {
			if user := b.users[id]; user.OrgID == caller.OrgID {
				users = append(users, user.wire())
			}
		}
	}
	total := len(users)
	return status, envelope{Success: status == http.StatusOK, Data: users, Total: &total}
}

func (b *Backend) get(caller *User, id string, _ []byte) (int, any) {
	user, status, refusal := b.find(caller, id, "view users", nil)
	if user == nil {
		return status, refusal
	}
	return http.StatusOK, user.wire()
}

func (b *Backend) create(caller *User, _ string, body []byte) (int, any) {
	fields := struct {
		Email, Password, FirstName, LastName string
		OrgRole                              flashback.Role
		SendInvite                           bool
	}{SendInvite: true}
	err := json.Unmarshal(body, &fields)
	user := &User{
		Email: fields.Email, Name: fields.FirstName, LastName: fields.LastName, OrgID: caller.OrgID, Password: fields.Password,
	}
	switch {
	case caller.Role < flashback.RoleWorkspaces:
		return http.StatusForbidden, envelope{Message: "Insufficient permissions to create users"}
	case err != nil, fields.Email == "":
		return http.StatusBadRequest, envelope{Message: "Invalid user"}
	case !b.mayHave(caller, user, fields.OrgRole):
		return http.StatusBadRequest, envelope{Message: "Invalid role combination"}
	}
	for _, other := range b.users {
		if strings.EqualFold(other.Email, user.Email) {
			return http.StatusConflict, envelope{Message: "Email already in use"}
		}
	}
	b.created++
	user.ID, user.Role = fmt.Sprintf("created-%d", b.created), fields.OrgRole
	if fields.SendInvite {
		user.Invitations = 1
	}
	b.users[user.ID] = user
	return http.StatusCreated, envelope{Success: true, Data: user.wire(), Message: "User created successfully."}
}

func (b *Backend) update(caller *User, id string, body []byte) (int, any) {
	user, status, refusal := b.find(caller, id, "update users", noUser)
	if user == nil {
		return status, refusal
	}
	fields := struct {
		Name, LastName string
		OrgRole        flashback.Role
	}{user.Name, user.LastName, user.Role}
	switch {
	case json.Unmarshal(body, &fields) != nil:
		return http.StatusBadRequest, envelope{Data: noUser, Message: "Invalid update"}
	case !b.mayHave(caller, user, fields.OrgRole):
		return http.StatusBadRequest, envelope{Data: noUser, Message: "Invalid role combination"}
	}
	user.Name, user.LastName, user.Role = fields.Name, fields.LastName, fields.OrgRole
	return http.StatusOK, envelope{Success: true, Data: user.wire(), Message: "User updated successfully"}
}

func (b *Backend) delete(caller *User, id string, _ []byte) (int, any) {
	user, status, refusal := b.find(caller, id, "delete users", nil)
	switch {
	case user == nil:
		return status, refusal
	case user == caller:
		return http.StatusBadRequest, envelope{Message: "Cannot delete yourself"}
	case user.Deleted():
		return http.StatusBadRequest, envelope{Message: "User is already deleted"}
	}
	now := time.Now().UTC()
	user.DeletedAt = &now
	return http.StatusOK, envelope{Success: true, Message: "User deleted successfully"}
}

func (b *Backend) activate(caller *User, id string, _ []byte) (int, any) {
	user, status, refusal := b.find(caller, id, "activate users", nil)
	switch {
	case user == nil:
		return status, refusal
	case !user.Deleted():
		return http.StatusBadRequest, envelope{Message: "User is not deleted"}
	}
	user.DeletedAt = nil
	return http.StatusOK, envelope{Success: true, Message: "User activated successfully"}
}

func (b *Backend) resendInvitation(caller *User, id string, _ []byte) (int, any) {
	user, status, refusal := b.find(caller, id, "invite users", nil)
	if user == nil {
		return status, refusal
	}
	user.Invitations++
	return http.StatusOK, envelope{Success: true, Message: "Invitation sent successfully"}
}

// organizationFields are those that an update may have.
type organizationFields struct {
	Name        *string `json:"name"`
	Address1    *string `json:"address1"`
	Address2    *string `json:"address2"`
	City        *string `json:"city"`
	Zipcode     *string `json:"zipcode"`
	Phone       *string `json:"phone"`
	State       *string `json:"state"`
	Country     *string `json:"country"`
	Website     *string `json:"website"`
	IsBusiness  *bool   `json:"is_business"`
	MFAEnforced *bool   `json:"mfaEnforced"`
}

// wireOrganization is an organization as a response has it; its fields point into
// the organization.
type wireOrganization struct {
	ID            string  `json:"id"`
	Domain        string  `json:"domain"`
	ReposDisabled bool    `json:"reposDisabled"`
	DeletedAt     *string `json:"deletedAt"`
	organizationFields
}

func wireOrg(o *flashback.Organization) wireOrganization {
	return wireOrganization{o.ID, o.Domain, o.ReposDisabled, wireDate(o.DeletedAt), organizationFields{
		Name: &o.Name, Address1: &o.Address1, Address2: &o.Address2, City: &o.City, Zipcode: &o.Zipcode, Phone: &o.Phone,
		State: &o.State, Country: &o.Country, Website: &o.Website, IsBusiness: &o.IsBusiness, MFAEnforced: &o.MFAEnforced,
	}}
}

func (b *Backend) getOrganization(caller *User, id string, _ []byte) (int, any) {
	org := b.orgs[id]
	switch {
	case org == nil:
		return http.StatusNotFound, envelope{Data: noOrg, Message: "Organization not found"}
	case id != caller.OrgID:
		return http.StatusForbidden, envelope{Data: noOrg, Message: "Access denied: you can only view your own organization"}
	}
	return http.StatusOK, envelope{Success: true, Data: wireOrg(org)}
}

func (b *Backend) updateOrganization(caller *User, id string, body []byte) (int, any) {
	org := b.orgs[id]
	var fields organizationFields
	switch {
	case org == nil:
		return http.StatusNotFound, envelope{Data: noOrg, Message: "Organization not found"}
	case id != caller.OrgID, caller.Role < flashback.RoleAdministrators:
		return http.StatusForbidden, envelope{Data: noOrg, Message: "Insufficient permissions: only OWNER and ADMINISTRATOR roles can modify organization"}
	case json.Unmarshal(body, &fields) != nil:
		return http.StatusBadRequest, envelope{Data: noOrg, Message: "Invalid update"}
	case fields == organizationFields{}:
		return http.StatusBadRequest, envelope{Data: noOrg, Message: "No valid fields to update"}
	}
	into := wireOrg(org).organizationFields
	_ = json.Unmarshal(body, &into) // as before
	return http.StatusOK, envelope{Success: true, Data: wireOrg(org), Message: "Organization updated successfully"}
}
