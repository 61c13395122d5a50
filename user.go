package flashback

import (
	"errors"
	"fmt"
	"time"

	"github.com/flashbacknetwork/flashback-go/internal/jsonvalue"
)

// User is a user of an organization. What a response lacks is the zero value.
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
	// DeletedAt is nil if the user is not deleted, and the zero time if it can't be read.
	DeletedAt *time.Time `json:"deletedAt"`
}

// Deleted tells whether the user is soft-deleted.
func (u *User) Deleted() bool { return u != nil && u.DeletedAt != nil }

// UnmarshalJSON decodes a user. A field whose JSON type is not the documented one keeps its
// zero value. A struct that embeds User has this method too, so that its own fields are not
// decoded: give it a UnmarshalJSON of its own, or a named field of type User.
func (u *User) UnmarshalJSON(data []byte) error {
	if jsonvalue.Kind(data) != '{' && jsonvalue.Kind(data) != 'n' {
		return errors.New("flashback: a user is a JSON object")
	}
	*u = userOf(data)
	return nil
}

// Role is a user's role. A higher one includes the lower ones.
type Role int

// The documented roles. The numbers between are reserved.
const (
	RoleUser           Role = 0x00
	RoleBilling        Role = 0x01
	RoleWorkspaces     Role = 0x02 // can manage workspaces and users
	RoleAdministrators Role = 0xfe
	RoleOwner          Role = 0xff
)

// String is the documented name, such as "WORKSPACES", or "0x03".
func (r Role) String() string {
	switch r {
	case RoleUser:
		return "USER"
	case RoleBilling:
		return "BILLING"
	case RoleWorkspaces:
		return "WORKSPACES"
	case RoleAdministrators:
		return "ADMINISTRATORS"
	case RoleOwner:
		return "OWNER"
	}
	return fmt.Sprintf("0x%02x", int(r))
}

// role is the user's, or RoleUser, the documented default of a new one.
func (u *User) role() Role {
	if u.OrgRole == nil {
		return RoleUser
	}
	return *u.OrgRole
}

// UserList is the result of [UsersService.List].
type UserList struct {
	Users []User `json:"users"`
	// Total is the number of users that the server gives; 0 if it gives none.
	Total int `json:"total"`

	cut string // why users are missing; "" if none are, as far as the response shows
}

// Deleted returns the soft-deleted users of the list.
func (l *UserList) Deleted() []User {
	if l == nil {
		return nil
	}
	var deleted []User
	for _, u := range l.Users {
		if u.Deleted() {
			deleted = append(deleted, u)
		}
	}
	return deleted
}

// NewUser is what [UsersService.Create] creates. Email is required, and with [AuthLocal] the
// password; the documentation requires both names too. What is optional is not sent if it is
// nil or empty; new(RoleBilling) and new(false) are pointers to such values.
type NewUser struct {
	Email string `json:"email"` // unique in the API
	// Password has at least 8 characters, with an upper-case letter, a lower-case letter and a
	// digit, as the API's registration wants it.
	Password  Secret `json:"-"`
	FirstName string `json:"firstName"` // Name in a [User]
	LastName  string `json:"lastName"`

	// OrgRole is optional. The documented default is RoleUser.
	OrgRole *Role `json:"orgRole,omitempty"`
	// SendInvite is optional. The documented default is true: Create sends the user the
	// invitation.
	SendInvite *bool  `json:"sendInvite,omitempty"`
	Provider   string `json:"provider,omitempty"`
	// AuthMethod is optional. Empty stands for AuthLocal.
	AuthMethod AuthMethod `json:"authMethod,omitempty"`
}

// AuthMethod is how a user signs in. The API's documentation does not have it; the types of
// its TypeScript client do.
type AuthMethod string

// The known values. Create asks for a password with AuthLocal, and sends what it is given with
// the others, which sign in elsewhere. What the API requires of them is not documented.
const (
	AuthLocal     AuthMethod = "LOCAL"
	AuthGoogle    AuthMethod = "GOOGLE"
	AuthGitHub    AuthMethod = "GITHUB"
	AuthMicrosoft AuthMethod = "MICROSOFT"
)

// UserUpdate is what [UsersService.Update] changes. A nil field stays as it is, and a pointer
// to "" empties it.
type UserUpdate struct {
	Name     *string `json:"name,omitempty"`
	LastName *string `json:"lastName,omitempty"`
	OrgRole  *Role   `json:"orgRole,omitempty"`
}
