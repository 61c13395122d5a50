package flashback

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/flashbacknetwork/flashback-go/internal/call"
	"github.com/flashbacknetwork/flashback-go/internal/verdict"
)

// UsersService has the calls on the users of an organization.
type UsersService struct{ caller caller }

var (
	listUsers = operation{
		Op: call.Op{
			Name: "organization.users.list", Method: http.MethodGet, Path: "/organization/users",
			Rule: verdict.Rule{Repeat: verdict.Safe}, Read: readList, Required: true, MaxBody: maxListBody,
		},
		expects: "a list of users",
	}
	getUser = operation{
		Op: call.Op{
			Name: "organization.users.get", Method: http.MethodGet, Path: "/organization/users/{id}",
			Rule: verdict.Rule{Repeat: verdict.Safe}, Read: readUser, Required: true,
		},
		expects: "the user",
	}
	createUser = operation{
		Op: call.Op{
			Name: "organization.users.create", Method: http.MethodPost, Path: "/organization/users",
			Rule: verdict.Rule{Repeat: verdict.NotIdempotent, ReadBack: verdict.Ambiguous}, Read: readUserData,
			ReadBack: &call.ReadBack{Op: &findCreated, Judge: isCreated},
		},
		expects: "an envelope",
	}
	updateUser = operation{
		Op: call.Op{
			Name: "organization.users.update", Method: http.MethodPut, Path: "/organization/users/{id}",
			Rule: verdict.Rule{Repeat: verdict.Idempotent}, Read: readUserData,
			Documented: map[string]error{"Invalid role combination": ErrRoleCombination},
		},
		expects: "an envelope",
	}
	deleteUser = operation{
		Op: call.Op{
			Name: "organization.users.delete", Method: http.MethodDelete, Path: "/organization/users/{id}",
			Rule:       verdict.Rule{Repeat: verdict.Idempotent, ReadBack: verdict.AfterRefusal},
			ReadBack:   &call.ReadBack{Op: &seeUser, Judge: isDeleted},
			Documented: map[string]error{"Cannot delete yourself": ErrSelfDeletion},
		},
		expects: "an envelope",
	}
	activateUser = operation{
		Op: call.Op{
			Name: "organization.users.activate", Method: http.MethodPost, Path: "/organization/users/{id}/activate",
			Rule:       verdict.Rule{Repeat: verdict.Idempotent, ReadBack: verdict.InDoubt},
			AlreadySo:  "User is not deleted",
			ReadBack:   &call.ReadBack{Op: &seeUser, Judge: isActive},
			Documented: map[string]error{"User is not deleted": ErrUserNotDeleted},
		},
		expects: "an envelope",
	}
	resendInvitation = operation{
		Op: call.Op{
			Name: "organization.users.resendInvitation", Method: http.MethodPost, Path: "/organization/users/{id}/resend-invitation",
			Rule: verdict.Rule{Repeat: verdict.NotIdempotent},
		},
		expects: "an envelope",
	}
)

// The read-backs are the calls above, and read less leniently.
var (
	seeUser = call.Op{
		Name: getUser.Name, Method: getUser.Method, Path: getUser.Path, Rule: getUser.Rule, Read: readDeletedAt, Required: true,
	}
	findCreated = call.Op{
		Name: listUsers.Name, Method: listUsers.Method, Path: listUsers.Path, Rule: listUsers.Rule, Read: readCreated, Required: true, MaxBody: maxListBody,
	}
)

const (
	maxListBody = 64 << 20 // bytes
	// tolerance is for dates of whole seconds, and for clocks that differ.
	tolerance = 2 * time.Second
)

// isDeleted judges a delete. Who was deleted before the call was so already, or comes
// from a replica or a cache that has an old state.
func isDeleted(found any, begun, now time.Time) verdict.Reading {
	switch at, _ := found.(*time.Time); {
	case at == nil, at.Before(begun.Add(-tolerance)):
		return verdict.NotDone
	case at.After(now.Add(tolerance)):
		return verdict.Unreadable // by another clock
	}
	return verdict.Done
}

// isActive judges an activation.
func isActive(found any, _, _ time.Time) verdict.Reading {
	if at, _ := found.(*time.Time); at != nil {
		return verdict.NotDone
	}
	return verdict.Done
}

// isCreated judges a create.
func isCreated(found any, _, _ time.Time) verdict.Reading {
	switch user, ok := found.(*User); {
	case !ok:
		return verdict.Other
	case user == nil:
		return verdict.NotDone
	}
	return verdict.Done
}

// List returns the users of the caller's organization, up to 64 MiB. Whether deleted ones
// are among them is not documented.
func (s *UsersService) List(ctx context.Context) (*UserList, error) {
	outcome, err := s.call().do(ctx, &listUsers, call.Input{}, nil)
	list, _ := outcome.Found.(*UserList)
	return list, err
}

// Get returns a user. Whether it returns a deleted one is not documented. A response with
// another user is [ErrUnexpectedResponse].
func (s *UsersService) Get(ctx context.Context, userID string) (*User, error) {
	outcome, err := s.call().do(ctx, &getUser, call.Input{ID: userID}, nil)
	user, _ := outcome.Found.(*User)
	return user, err
}

// Create creates a user in the caller's organization. An e-mail address and, with
// [AuthLocal], a password are required. If the response has no user, the result is what was
// asked for, with an empty ID.
//
// After an ambiguous attempt Create reads the list of users. A user with this address, these
// names and this role is the result. If nobody has the address, the create is repeated.
// Otherwise the outcome is unknown: list the users before you call Create again.
func (s *UsersService) Create(ctx context.Context, user NewUser) (*User, error) {
	password := user.Password.Reveal()
	switch {
	case strings.TrimSpace(user.Email) == "":
		return nil, invalid(createUser.Name, "", errors.New("the e-mail address is empty"))
	case password == "" && strings.EqualFold(string(cmp.Or(user.AuthMethod, AuthLocal)), string(AuthLocal)):
		return nil, invalid(createUser.Name, "", errors.New("the password is empty; use NewSecret, or an AuthMethod that needs none"))
	}
	wanted := &User{Email: user.Email, Name: user.FirstName, LastName: user.LastName, OrgRole: copyOf(user.OrgRole)}
	outcome, err := s.call().do(ctx, &createUser, call.Input{Password: password, Wanted: wanted}, struct {
		NewUser

		Password string `json:"password"`
	}{user, password})
	if err != nil {
		return nil, err
	}
	if created, ok := outcome.Found.(*User); ok {
		return created, nil
	}
	return wanted, nil
}

// Update changes a user. At least one field is required. It is repeated after an ambiguous
// attempt. If the response has no user, the result is the ID and the fields that were set.
func (s *UsersService) Update(ctx context.Context, userID string, update UserUpdate) (*User, error) {
	if update == (UserUpdate{}) {
		return nil, invalid(updateUser.Name, userID, errNothingToUpdate)
	}
	outcome, err := s.call().do(ctx, &updateUser, call.Input{ID: userID}, update)
	if err != nil {
		return nil, err
	}
	if user, ok := outcome.Found.(*User); ok {
		return user, nil
	}
	user := &User{ID: userID, OrgRole: copyOf(update.OrgRole)}
	set(&user.Name, update.Name)
	set(&user.LastName, update.LastName)
	return user, nil
}

var errNothingToUpdate = errors.New("there is nothing to update; set a field")

func copyOf[T any](value *T) *T {
	if value == nil {
		return nil
	}
	return new(*value)
}

func set[T any](field, to *T) {
	if to != nil {
		*field = *to
	}
}

// Deletion is the success of [UsersService.Delete].
type Deletion struct {
	UserID   string `json:"userId"`
	Message  string `json:"message"`
	Attempts int    `json:"attempts"`
	// Recovered means that a read-back found the user deleted since the call began.
	Recovered bool `json:"recovered"`
}

// Delete soft-deletes a user; [UsersService.Activate] is the way back.
//
// After an ambiguous attempt, and after a refusal (400, 404, 409, 410), Delete reads the
// user back. One who was deleted since the call began, by the server's clock, is a success
// with Recovered set. Otherwise the delete is repeated, or the refusal stands. If the outcome
// is unknown, call Get.
func (s *UsersService) Delete(ctx context.Context, userID string) (*Deletion, error) {
	outcome, err := s.call().do(ctx, &deleteUser, call.Input{ID: userID}, nil)
	if err != nil {
		return nil, err
	}
	return &Deletion{userID, outcome.Response.Message, outcome.Attempts, outcome.Verdict == verdict.Recovered}, nil
}

// Activation is the success of [UsersService.Activate].
type Activation struct {
	UserID   string `json:"userId"`
	Message  string `json:"message"`
	Attempts int    `json:"attempts"` // as in [Error]
	// Recovered means that the user was found active after an ambiguous attempt.
	Recovered bool `json:"recovered"`
}

// Activate clears a soft-deleted user's deletedAt: the user regains access at once. The
// caller needs the WORKSPACES role or higher, in the user's organization.
//
// After an ambiguous attempt Activate is repeated, and "User is not deleted" is then a
// success with Recovered set. So is a user whom a read-back finds active, after a 202 or
// another 400. If the outcome is unknown, call Activate again, or Get; do not report a
// failure.
func (s *UsersService) Activate(ctx context.Context, userID string) (*Activation, error) {
	outcome, err := s.call().do(ctx, &activateUser, call.Input{ID: userID}, nil)
	if err != nil {
		return nil, err
	}
	return &Activation{userID, outcome.Response.Message, outcome.Attempts, outcome.Verdict == verdict.Recovered}, nil
}

// Invitation is the success of [UsersService.ResendInvitation].
type Invitation struct {
	UserID   string `json:"userId"`
	Message  string `json:"message"`
	Attempts int    `json:"attempts"`
}

// ResendInvitation sends a user the invitation again. It is repeated only after attempts
// that were not applied. If the outcome is unknown, the mail may have been sent.
func (s *UsersService) ResendInvitation(ctx context.Context, userID string) (*Invitation, error) {
	outcome, err := s.call().do(ctx, &resendInvitation, call.Input{ID: userID}, nil)
	if err != nil {
		return nil, err
	}
	return &Invitation{userID, outcome.Response.Message, outcome.Attempts}, nil
}

// call is nil for a service that NewClient has not made.
func (s *UsersService) call() caller {
	if s == nil {
		return nil
	}
	return s.caller
}
