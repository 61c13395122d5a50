package flashbacktest

import (
	"encoding/json"
	"net/http"

	flashback "github.com/flashbacknetwork/flashback-go"
)

// wireRole is a user's role as a response has it.
type wireRole struct {
	OrgRole     int    `json:"orgRole"`
	Description string `json:"orgRoleDescription"`
	OrgRoles    []int  `json:"orgRoles"`
}

// roleNames are those of the roles that are not reserved, the lowest first.
var roleNames = []struct {
	role flashback.Role
	name string
}{
	{flashback.RoleUser, "USER"},
	{flashback.RoleBilling, "BILLING"},
	{flashback.RoleWorkspaces, "WORKSPACES"},
	{flashback.RoleAdministrators, "ADMINISTRATOR"},
	{flashback.RoleOwner, "OWNER"},
}

func roleOf(u User) wireRole {
	wire := wireRole{OrgRole: int(u.Role)}
	for _, known := range roleNames {
		if known.role <= u.Role {
			wire.OrgRoles = append(wire.OrgRoles, int(known.role))
		}
		if known.role == u.Role {
			wire.Description = known.name
		}
	}
	return wire
}

// reserved tells whether the role is one that the API keeps for later.
func reserved(role flashback.Role) bool { return roleOf(User{Role: role}).Description == "" }

// wireProfile is the caller's own user as a response has it.
type wireProfile struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	LastName string `json:"lastName"`
	Email    string `json:"email"`
	OrgID    string `json:"orgId"`
	wireRole
	Validated   bool `json:"validated"`
	MFARequired bool `json:"mfaRequired"`
	IsBusiness  bool `json:"isBusiness"`
}

func (b *Backend) profile(caller *User, _ string, _ []byte) (int, any) {
	org := b.orgs[caller.OrgID]
	return http.StatusOK, envelope{Success: true, Data: wireProfile{
		ID: caller.ID, Name: caller.Name, LastName: caller.LastName, Email: caller.Email, OrgID: caller.OrgID,
		wireRole: roleOf(*caller), Validated: caller.Validated, MFARequired: caller.MFACode != "",
		IsBusiness: org != nil && org.IsBusiness,
	}}
}

func (b *Backend) role(caller *User, id string, _ []byte) (int, any) {
	user := b.users[id]
	switch {
	case user == nil:
		return http.StatusNotFound, envelope{Message: "User not found"}
	case user.OrgID != caller.OrgID:
		return http.StatusForbidden, envelope{Message: "User not associated with any organization"}
	}
	return http.StatusOK, envelope{Success: true, Data: struct {
		UserID string `json:"userId"`
		wireRole
	}{id, roleOf(*user)}}
}

// setRole gives a role. Unlike an update of the user, it may give the caller's own role.
func (b *Backend) setRole(caller *User, id string, body []byte) (int, any) {
	user, status, refusal := b.find(caller, id, "update user roles", nil)
	if user == nil {
		return status, refusal
	}
	var fields struct{ OrgRole *flashback.Role }
	switch err := json.Unmarshal(body, &fields); {
	case err != nil, fields.OrgRole == nil, reserved(*fields.OrgRole):
		return http.StatusBadRequest, envelope{Message: "Invalid role"}
	case *fields.OrgRole > caller.Role, user.Role > caller.Role:
		return http.StatusForbidden, envelope{Message: "Insufficient permissions to update user roles"}
	case *fields.OrgRole != flashback.RoleOwner && b.isLastOwner(user):
		return http.StatusBadRequest, envelope{Message: "Cannot change the role of the last owner"}
	}
	previous := user.Role
	user.Role = *fields.OrgRole
	return http.StatusOK, envelope{Success: true, Data: struct {
		UserID   string `json:"userId"`
		Previous int    `json:"previousRole"`
		New      int    `json:"newRole"`
		Message  string `json:"message"`
	}{id, int(previous), int(user.Role), "User role updated successfully"}}
}
