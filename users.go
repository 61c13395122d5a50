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

// UsersService holds the calls on the users of an organization. [NewClient]
// makes it.
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
func isDeleted(found any, begun time.Time) verdict.Reading {
	if at, _ := found.(*time.Time); at == nil || at.Before(begun.Add(-tolerance)) {
		return verdict.NotDone
	}
	return verdict.Done
}

// isActive judges an activation.
func isActive(found any, _ time.Time) verdict.Reading {
	if at, _ := found.(*time.Time); at != nil {
		return verdict.NotDone
	}
	return verdict.Done
}

// isCreated judges a create.
func isCreated(found any, _ time.Time) verdict.Reading {
	switch user, ok := found.(*User); {
	case !ok:
		return verdict.Other
	case user == nil:
		return verdict.NotDone
	}
	return verdict.Done
}

// List returns the users of the organization of the token's user. It reads up to
// 64 MiB. (Documented; whether deleted users are among them is not.)
//
// Every error is an [*Error]. It is repeated freely, and its outcome is never unknown.
// A response that is not a list, or has something in it that is no user with an ID,
// matches [ErrUnexpectedResponse].
func (s *UsersService) List(ctx context.Context) (*UserList, error) {
	outcome, err := s.call().do(ctx, &listUsers, call.Input{}, nil)
	list, _ := outcome.Found.(*UserList)
	return list, err
}

// Get returns the user with userID. (Documented; whether it returns a deleted user is
// not.)
//
// Every error is an [*Error]. It is repeated freely, and its outcome is never unknown.
// A response without a user, or with another one, matches [ErrUnexpectedResponse].
func (s *UsersService) Get(ctx context.Context, userID string) (*User, error) {
	outcome, err := s.call().do(ctx, &getUser, call.Input{ID: userID}, nil)
	user, _ := outcome.Found.(*User)
	return user, err
}

// Create creates a user in the organization of the token's user, and returns the user
// that the response has. Without one in it, that is what was asked for, with an empty
// ID. (Documented; what a second user with the same e-mail address is answered is not.)
//
// After an ambiguous attempt Create reads the list of users, since e-mail addresses are
// unique: a user with the address, the names and the role is the result; if there is
// none, the create is repeated. Anything else is an error with OutcomeUnknown set: the
// user may exist, so look at the list before you call Create again.
//
// Every error is an [*Error]. A user without an e-mail address or, unless AuthMethod
// names another way to sign in than [AuthLocal], a password matches
// [ErrInvalidArgument], as does text that is not UTF-8.
func (s *UsersService) Create(ctx context.Context, user NewUser) (*User, error) {
	password := user.Password.Reveal()
	switch {
	case strings.TrimSpace(user.Email) == "":
		return nil, invalid(createUser.Name, "", errors.New("the e-mail address is empty"))
	case password == "" && strings.EqualFold(string(cmp.Or(user.AuthMethod, AuthLocal)), string(AuthLocal)):
		return nil, invalid(createUser.Name, "", errors.New("the password is empty; use NewSecret, or an AuthMethod that needs none"))
	}
	wanted := &User{Email: user.Email, Name: user.FirstName, LastName: user.LastName, OrgRole: user.OrgRole}
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

// Update changes the user with userID, and returns the user that the response has.
// Without one in it, that is the ID and the fields that were set. (Documented.)
//
// Update is repeated, since setting the same fields again changes no more. Every error is
// an [*Error]. If its OutcomeUnknown is set, the user may be changed: call Update again.
// "Invalid role combination" matches [ErrRoleCombination]. An update without a field
// matches [ErrInvalidArgument].
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
	user := &User{ID: userID, OrgRole: update.OrgRole}
	set(&user.Name, update.Name)
	set(&user.LastName, update.LastName)
	return user, nil
}

var errNothingToUpdate = errors.New("there is nothing to update; set a field")

func set[T any](field, to *T) {
	if to != nil {
		*field = *to
	}
}

// Deletion is the success of [UsersService.Delete].
type Deletion struct {
	// UserID is the user who is deleted now.
	UserID string `json:"userId"`
	// Message is the server's own words, or "" if it had none.
	Message string `json:"message"`
	// Attempts counts the requests sent for this call, with those of read-backs.
	Attempts int `json:"attempts"`
	// Recovered says that a read-back found the user to be deleted since the call began,
	// after an ambiguous attempt or a refusal. It was most likely this call that did it,
	// but someone else may have: the two can't be told apart.
	Recovered bool `json:"recovered"`
}

// Delete soft-deletes the user with userID; [UsersService.Activate] is the way
// back. (Documented; what a second delete is answered is not.)
//
// After an ambiguous attempt Delete reads the user back, as [UsersService.Get] does, and
// also after a refusal (400, 404, 409, 410), since proxies such as nginx repeat a DELETE
// by themselves. A user who was deleted since the call began, by the server's own clock,
// is a success with Recovered set. Else the delete is repeated, or the refusal stands.
//
// Every error is an [*Error]. If its OutcomeUnknown is set, the user may be deleted: look
// with Get. "Cannot delete yourself" matches [ErrSelfDeletion].
func (s *UsersService) Delete(ctx context.Context, userID string) (*Deletion, error) {
	outcome, err := s.call().do(ctx, &deleteUser, call.Input{ID: userID}, nil)
	if err != nil {
		return nil, err
	}
	return &Deletion{userID, outcome.Response.Message, outcome.Attempts, outcome.Verdict == verdict.Recovered}, nil
}

// Activation is the success of [UsersService.Activate].
type Activation struct {
	// UserID is the user who is active now.
	UserID string `json:"userId"`
	// Message is the server's own words, or "" if it had none.
	Message string `json:"message"`
	// Attempts counts the requests sent for this call, with those of read-backs.
	Attempts int `json:"attempts"`
	// Recovered says that an attempt was ambiguous, and that the user was then found to be
	// active, which is what was asked for. It was most likely this call that did it, but
	// someone else may have: the two can't be told apart.
	Recovered bool `json:"recovered"`
}

// Activate brings a soft-deleted user back: it clears the user's deletedAt, and
// the user regains access at once. The token's user needs the WORKSPACES role or
// higher, in the organization of the user with userID. (Documented.)
//
// Activate is repeated. After an ambiguous attempt "User is not deleted" is a success
// with Recovered set, and so is a user whom a read-back finds active after another 400.
//
// Every error is an [*Error]. If its OutcomeUnknown is set, the user may be active: call
// Activate again, or look with Get; do not report a failure. A user who was active
// before matches [ErrUserNotDeleted]. An ID that can't be one matches
// [ErrInvalidArgument], as does a nil context.
func (s *UsersService) Activate(ctx context.Context, userID string) (*Activation, error) {
	outcome, err := s.call().do(ctx, &activateUser, call.Input{ID: userID}, nil)
	if err != nil {
		return nil, err
	}
	return &Activation{userID, outcome.Response.Message, outcome.Attempts, outcome.Verdict == verdict.Recovered}, nil
}

// Invitation is the success of [UsersService.ResendInvitation].
type Invitation struct {
	// UserID is the user who was invited again.
	UserID string `json:"userId"`
	// Message is the server's own words, or "" if it had none.
	Message string `json:"message"`
	// Attempts counts the requests sent for this call.
	Attempts int `json:"attempts"`
}

// ResendInvitation sends the user with userID the invitation again. (TypeScript types.)
//
// A second request could send a second mail, so it is repeated only after attempts that
// were certainly not applied. Every error is an [*Error]. If its OutcomeUnknown is set,
// the mail may be on its way.
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
