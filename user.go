package flashback

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/flashbacknetwork/flashback-go/internal/call"
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

// UnmarshalJSON takes a field in an undocumented form for missing.
func (u *User) UnmarshalJSON(data []byte) error {
	if jsonvalue.Kind(data) != '{' && jsonvalue.Kind(data) != 'n' {
		return errors.New("flashback: a user is a JSON object")
	}
	*u = userOf(data)
	return nil
}

// userOf reads a user from a JSON object.
func userOf(object []byte) User {
	var u User
	for key, value := range jsonvalue.Members(object) {
		switch string(key) {
		case "id":
			u.ID, _ = jsonvalue.String(value)
		case "email":
			u.Email, _ = jsonvalue.String(value)
		case "name":
			u.Name, _ = jsonvalue.String(value)
		case "lastName":
			u.LastName, _ = jsonvalue.String(value)
		case "orgId":
			u.OrgID, _ = jsonvalue.String(value)
		case "orgRole":
			u.OrgRole = nil
			if role, ok := readRole(value); ok {
				u.OrgRole = &role
			}
		case "orgRoleDescription":
			u.OrgRoleDescription, _ = jsonvalue.String(value)
		case "orgRoles":
			u.OrgRoles = nil
			for element := range jsonvalue.Elements(value) {
				if role, ok := readRole(element); ok {
					if u.OrgRoles == nil {
						u.OrgRoles = make([]Role, 0, 4) // there are five
					}
					u.OrgRoles = append(u.OrgRoles, role)
				}
			}
		case "validated":
			u.Validated = string(value) == "true"
		case "deletedAt":
			u.DeletedAt = readDate(value)
		}
	}
	return u
}

// readUser reads the user that was asked for, bare or in an envelope.
func readUser(body []byte, in *call.Input) (any, error) {
	object, err := findUser(body, in)
	if err != nil {
		return nil, err
	}
	user := userOf(object)
	return &user, nil
}

// findUser finds the JSON object of the user that was asked for.
func findUser(body []byte, in *call.Input) ([]byte, error) {
	object := body
	if data := member(body, "data"); jsonvalue.Kind(data) == '{' {
		object = data
	}
	id, _ := jsonvalue.String(member(object, "id"))
	switch {
	case id == "":
		return nil, errors.New("no user that has an ID")
	case !sameID(id, in.ID):
		return nil, call.MisfitError{What: fmt.Sprintf("another user, %q", id)}
	}
	return object, nil
}

// member is the last one with a key.
func member(object []byte, key string) []byte {
	var found []byte
	for k, value := range jsonvalue.Members(object) {
		if string(k) == key {
			found = value
		}
	}
	return found
}

// readUserData reads the user in the envelope of a create or an update: not another one.
func readUserData(body []byte, in *call.Input) (any, error) {
	user := userOf(member(body, "data"))
	wanted, created := in.Wanted.(*User)
	switch {
	case user.ID == "":
		return nil, errors.New("no user that has an ID in its data")
	case in.ID != "" && !sameID(user.ID, in.ID),
		created && user.Email != "" && !sameEmail(user.Email, wanted.Email):
		return nil, call.MisfitError{What: fmt.Sprintf("another user, %q", user.ID)}
	}
	return &user, nil
}

// readDeletedAt reads when a user was deleted: a *time.Time, which is nil for one who is
// not. What is missing or odd must not pass for null.
func readDeletedAt(body []byte, in *call.Input) (any, error) {
	object, err := findUser(body, in)
	if err != nil {
		return nil, err
	}
	value := member(object, "deletedAt")
	if value == nil {
		return nil, call.MisfitError{What: "a user without deletedAt"}
	}
	var at *time.Time
	err = json.Unmarshal(value, &at)
	return at, err
}

// readList reads a list of users.
func readList(body []byte, _ *call.Input) (any, error) {
	var data []byte
	list := &UserList{}
	for key, value := range jsonvalue.Members(body) {
		switch string(key) {
		case "data":
			data = value
		case "total":
			list.Total, _ = jsonvalue.Int(value)
		}
	}
	if jsonvalue.Kind(data) != '[' {
		return nil, errors.New("no list in its data")
	}
	list.Users = make([]User, 0, min(max(0, list.Total), len(data)/200)) // a user of fewer bytes than that is rare
	for element := range jsonvalue.Elements(data) {
		user := userOf(element)
		if user.ID == "" {
			return nil, fmt.Errorf("an element %d that is no user with an ID", len(list.Users))
		}
		list.Users = append(list.Users, user)
	}
	return list, nil
}

// readCreated finds the user who was to be created in the list of users, by the e-mail
// address: a *User, which is nil if there is none, or otherUser.
func readCreated(body []byte, in *call.Input) (any, error) {
	found, err := readList(body, in)
	if err != nil {
		return nil, err
	}
	list, _ := found.(*UserList)
	wanted, _ := in.Wanted.(*User)
	i := -1
	for element := range jsonvalue.Elements(member(body, "data")) {
		i++
		if u := &list.Users[i]; sameEmail(u.Email, wanted.Email) {
			role := string(member(element, "orgRole"))
			if odd := u.OrgRole == nil && role != "" && role != "null"; odd || u.Deleted() || u.Name != wanted.Name || u.LastName != wanted.LastName || u.role() != wanted.role() {
				return otherUser{}, nil
			}
			return u, nil
		}
	}
	if list.Total > len(list.Users) {
		return nil, errors.New("not all users")
	}
	return (*User)(nil), nil
}

// otherUser has the e-mail address of the user who was to be created.
type otherUser struct{}

func readDate(value []byte) *time.Time {
	switch string(value) {
	case "null", `""`, "false", "0":
		return nil
	}
	text, _ := jsonvalue.String(value)
	at, _ := time.Parse(time.RFC3339, text) // else the zero time: something is there
	return &at
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

// Includes tells whether r has the rights of other.
func (r Role) Includes(other Role) bool { return r >= other }

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

func readRole(value []byte) (Role, bool) {
	number, ok := jsonvalue.Int(value)
	return Role(number), ok && number >= 0 && number <= math.MaxUint8
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
	// Total is the server's number of users; 0 if it gives none. If it is larger than that of
	// Users, some are missing.
	Total int `json:"total"`
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

// NewUser is what [UsersService.Create] creates.
type NewUser struct {
	Email     string `json:"email"`
	Password  Secret `json:"-"`
	FirstName string `json:"firstName"`
	LastName  string `json:"lastName"`

	// These are optional: nil or empty is not sent. SendInvite's documented default is true.
	OrgRole    *Role      `json:"orgRole,omitempty"`
	SendInvite *bool      `json:"sendInvite,omitempty"`
	Provider   string     `json:"provider,omitempty"`
	AuthMethod AuthMethod `json:"authMethod,omitempty"`
}

// AuthMethod is how a user signs in.
type AuthMethod string

// The known values.
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

// Ptr returns a pointer to value.
func Ptr[T any](value T) *T { return &value }
