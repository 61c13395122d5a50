package flashback

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"

	"github.com/flashbacknetwork/flashback-go/internal/call"
	"github.com/flashbacknetwork/flashback-go/internal/jsonvalue"
	"github.com/flashbacknetwork/flashback-go/internal/verdict"
)

var (
	getProfile = endpoint[Profile]{
		op: call.Op{
			Name: "profile", Method: http.MethodGet,
			Rule: verdict.Rule{Retry: verdict.Safe}, Required: true,
		},
		path: "/user/profile", expects: "the profile",
		read: readProfile,
	}
	getRole = endpoint[UserRole]{
		op: call.Op{
			Name: "organization.users.role", Method: http.MethodGet,
			Rule: verdict.Rule{Retry: verdict.Safe}, Required: true,
		},
		path: "/user/{id}", reserved: "profile", expects: "the user's role",
		read: readUserRole,
	}
	setRole = endpoint[RoleChange]{
		op: call.Op{
			Name: "organization.users.setRole", Method: http.MethodPut,
			Rule: verdict.Rule{Retry: verdict.Idempotent},
		},
		path: "/user/{id}/role", expects: "an envelope",
		read: readRoleChange, result: asWanted[RoleChange],
	}
)

// Profile is the user whose access token a client has. What a response lacks is the zero
// value.
type Profile struct {
	ID                 string `json:"id"`
	Email              string `json:"email"`
	Name               string `json:"name"`
	LastName           string `json:"lastName"`
	OrgID              string `json:"orgId"`
	OrgRole            *Role  `json:"orgRole"` // as in [User]
	OrgRoleDescription string `json:"orgRoleDescription"`
	OrgRoles           []Role `json:"orgRoles"`
	Validated          bool   `json:"validated"`
	MFARequired        bool   `json:"mfaRequired"`
	IsBusiness         bool   `json:"isBusiness"`
}

// Profile returns the user whose access token the client has: who am I.
func (c *Client) Profile(ctx context.Context) (*Profile, error) {
	return do(ctx, c, &getProfile, args[Profile]{})
}

func readProfile(r *call.Response, _ *args[Profile]) (*Profile, error) {
	data := member(r.Body, "data")
	u := userOf(data) // whose fields have the same names
	if u.ID == "" {
		return nil, errors.New("no user that has an ID in its data")
	}
	return &Profile{
		u.ID, u.Email, u.Name, u.LastName, u.OrgID, u.OrgRole, u.OrgRoleDescription, u.OrgRoles, u.Validated,
		string(member(data, "mfaRequired")) == "true", string(member(data, "isBusiness")) == "true",
	}, nil
}

// UserRole is a user's role, with all that it includes.
type UserRole struct {
	UserID string `json:"userId"`
	// OrgRole is nil for a user without a role.
	OrgRole            *Role  `json:"orgRole"`
	OrgRoleDescription string `json:"orgRoleDescription"`
	OrgRoles           []Role `json:"orgRoles"`
}

// Role returns a user's role. Any member of the organization may ask.
func (s *UsersService) Role(ctx context.Context, userID string) (*UserRole, error) {
	return do(ctx, s, &getRole, args[UserRole]{id: userID})
}

func readUserRole(r *call.Response, in *args[UserRole]) (*UserRole, error) {
	data := member(r.Body, "data")
	u := userOf(data) // whose fields have the same names
	id, err := checkUserID(data, in.id)
	return &UserRole{id, u.OrgRole, u.OrgRoleDescription, u.OrgRoles}, err
}

// checkUserID reads the "userId" of a response, which must be the one that was asked for.
func checkUserID(data []byte, wantedID string) (string, error) {
	id, _ := jsonvalue.String(member(data, "userId"))
	switch {
	case id == "":
		return "", errors.New("no userId in its data")
	case !sameID(id, wantedID):
		return "", call.MismatchError{What: fmt.Sprintf("another user, %q", id)}
	}
	return id, nil
}

// RoleChange is the success of [UsersService.SetRole].
type RoleChange struct {
	UserID string `json:"userId"`
	// PreviousRole is nil if the response has none. After a retry it may be the new role.
	PreviousRole *Role  `json:"previousRole"`
	NewRole      Role   `json:"newRole"`
	Message      string `json:"message"`
}

// SetRole gives a user another role. A caller can't give a role above their own, nor take
// the last OWNER's: the server's refusals are not documented. SetRole is retried after an
// ambiguous attempt. If the outcome is unknown, Role shows the role.
func (s *UsersService) SetRole(ctx context.Context, userID string, role Role) (*RoleChange, error) {
	if role < 0 || role > math.MaxUint8 {
		return nil, invalid(setRole.op.Name, userID, fmt.Errorf("invalid role %d: a role is a number from 0 to 255", role))
	}
	return do(ctx, s, &setRole, args[RoleChange]{
		id: userID,
		body: struct {
			OrgRole Role `json:"orgRole"`
		}{role},
		wanted: &RoleChange{UserID: userID, NewRole: role},
	})
}

func readRoleChange(r *call.Response, in *args[RoleChange]) (*RoleChange, error) {
	data := member(r.Body, "data")
	id, err := checkUserID(data, in.id)
	if err != nil {
		return nil, err
	}
	change := &RoleChange{UserID: id, NewRole: in.wanted.NewRole}
	if previous, ok := readRole(member(data, "previousRole")); ok {
		change.PreviousRole = &previous
	}
	if role, ok := readRole(member(data, "newRole")); ok {
		change.NewRole = role
	}
	change.Message, _ = jsonvalue.String(member(data, "message"))
	return change, nil
}
