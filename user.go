package flashback

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"
)

// User is a user of an organization. Its fields rest on the TypeScript types. What
// an answer lacks, or has as null or in another form than the types say, is the
// zero value here.
type User struct {
	ID       string `json:"id"`
	Email    string `json:"email"`
	Name     string `json:"name"`
	LastName string `json:"lastName"`
	OrgID    string `json:"orgId"`
	// OrgRole is nil for a user without a role.
	OrgRole            *Role  `json:"orgRole"`
	OrgRoleDescription string `json:"orgRoleDescription"`
	OrgRoles           []Role `json:"orgRoles"`
	Validated          bool   `json:"validated"`
	// DeletedAt is when the user was soft-deleted, and nil for one who is not. It is
	// the zero time if the answer has something there that can't be read as a date.
	DeletedAt *time.Time `json:"deletedAt"`
}

// Deleted tells whether the user is soft-deleted. [UsersService.Activate] brings
// such a user back.
func (u *User) Deleted() bool { return u.DeletedAt != nil }

// UnmarshalJSON reads a user. A field in another form than the TypeScript types
// say is no error.
func (u *User) UnmarshalJSON(data []byte) error {
	type fields User // without this method
	*u = User{}
	wire := struct {
		*fields

		OrgRole   any `json:"orgRole"`
		OrgRoles  any `json:"orgRoles"`
		DeletedAt any `json:"deletedAt"`
	}{fields: (*fields)(u)}
	if err := lenient(json.Unmarshal(data, &wire)); err != nil {
		return err
	}
	if r, ok := readRole(wire.OrgRole); ok {
		u.OrgRole = &r
	}
	all, _ := wire.OrgRoles.([]any)
	for _, one := range all {
		if r, ok := readRole(one); ok {
			u.OrgRoles = append(u.OrgRoles, r)
		}
	}
	u.DeletedAt = readDate(wire.DeletedAt)
	return nil
}

// lenient drops the error of a value of another type than its field's, which
// json.Unmarshal has skipped.
func lenient(err error) error {
	var mismatch *json.UnmarshalTypeError
	if errors.As(err, &mismatch) && mismatch.Field != "" {
		return nil
	}
	return err
}

func readDate(value any) *time.Time {
	switch value {
	case nil, "", false, 0.0:
		return nil
	}
	text, _ := value.(string)
	at, _ := time.Parse(time.RFC3339, text) // else the zero time: something is there
	return &at
}

// Role is a role of a user in an organization. The values rest on the TypeScript
// types; an answer may have others.
type Role int

// The known roles, the lowest first.
const (
	RoleUser           Role = 0x00
	RoleBilling        Role = 0x01
	RoleWorkspaces     Role = 0x02 // can manage workspaces and team members
	RoleAdministrators Role = 0xfe
	RoleOwner          Role = 0xff
)

// String is the name of the role, such as "workspaces", or its number if it has
// none here.
func (r Role) String() string {
	switch r {
	case RoleUser:
		return "user"
	case RoleBilling:
		return "billing"
	case RoleWorkspaces:
		return "workspaces"
	case RoleAdministrators:
		return "administrators"
	case RoleOwner:
		return "owner"
	}
	return fmt.Sprintf("role %#02x", int(r))
}

func readRole(value any) (Role, bool) {
	number, ok := readInt(value)
	return Role(number), ok
}

func readInt(value any) (int, bool) {
	number, ok := value.(float64)
	if !ok || number != math.Trunc(number) || math.Abs(number) > math.MaxInt32 {
		return 0, false
	}
	return int(number), true
}

// UserList is the answer of [UsersService.List].
type UserList struct {
	Users []User
	// Total is the number that the server gives; 0 if it gives none. If it is larger
	// than the number of Users, the server has not sent them all, and the API has no
	// known way to ask for the rest.
	Total int
}

// Deleted returns the users of the list who are soft-deleted.
func (l *UserList) Deleted() []User {
	var deleted []User
	for _, u := range l.Users {
		if u.Deleted() {
			deleted = append(deleted, u)
		}
	}
	return deleted
}

// NewUser is what [UsersService.Create] creates. The fields, and which of them are
// optional, rest on the TypeScript types.
type NewUser struct {
	Email     string `json:"email"`
	Password  Secret `json:"-"`
	FirstName string `json:"firstName"`
	LastName  string `json:"lastName"`

	// All below are optional: what is nil or empty is not sent.
	OrgRole    *Role      `json:"orgRole,omitempty"`
	SendInvite *bool      `json:"sendInvite,omitempty"`
	Provider   string     `json:"provider,omitempty"`
	AuthMethod AuthMethod `json:"authMethod,omitempty"`
}

// AuthMethod is how a user signs in. The values rest on the TypeScript types.
type AuthMethod string

// The known ways to sign in.
const (
	AuthLocal     AuthMethod = "LOCAL"
	AuthGoogle    AuthMethod = "GOOGLE"
	AuthGitHub    AuthMethod = "GITHUB"
	AuthMicrosoft AuthMethod = "MICROSOFT"
)

// UserUpdate is what [UsersService.Update] changes. A field that is nil is left as
// it is, and one that points to "" is made empty; [Ptr] makes the pointers. The
// fields rest on the TypeScript types.
type UserUpdate struct {
	Name     *string `json:"name,omitempty"`
	LastName *string `json:"lastName,omitempty"`
	OrgRole  *Role   `json:"orgRole,omitempty"`
}

// Ptr returns a pointer to value, for the fields of [UserUpdate] and the like.
func Ptr[T any](value T) *T { return &value }
