package flashback

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/flashbacknetwork/flashback-go/internal/call"
	"github.com/flashbacknetwork/flashback-go/internal/verdict"
)

// UsersService has the calls on the users of an organization.
type UsersService struct{ connection }

var (
	listUsers = endpoint[UserList]{
		op: call.Op{
			Name: "organization.users.list", Method: http.MethodGet,
			Rule: verdict.Rule{Retry: verdict.Safe}, Required: true, MaxBody: maxListBody,
		},
		path: "/organization/users", expects: "a list of users",
		read: func(r *call.Response, _ *args[UserList]) (*UserList, error) { return readList(r) },
	}
	getUser = endpoint[User]{
		op: call.Op{
			Name: "organization.users.get", Method: http.MethodGet,
			Rule: verdict.Rule{Retry: verdict.Safe}, Required: true,
		},
		path: "/organization/users/{id}", expects: "the user",
		read: readUser,
	}
	createUser = endpoint[User]{
		op: call.Op{
			Name: "organization.users.create", Method: http.MethodPost,
			Rule: verdict.Rule{Retry: verdict.NotIdempotent, ReadBack: verdict.WhenAmbiguous},
		},
		path: "/organization/users", expects: "an envelope",
		read: readUserData, result: asWanted[User],
		readBack: &readBack[User]{op: &listUsers.op, path: listUsers.path, read: findCreated},
	}
	updateUser = endpoint[User]{
		op: call.Op{
			Name: "organization.users.update", Method: http.MethodPut,
			Rule:       verdict.Rule{Retry: verdict.Idempotent},
			Documented: []call.Message{{Text: "Invalid role combination", Kind: ErrRoleCombination}},
		},
		path: "/organization/users/{id}", expects: "an envelope",
		read: readUserData, result: asWanted[User],
	}
	deleteUser = endpoint[Deletion]{
		op: call.Op{
			Name: "organization.users.delete", Method: http.MethodDelete,
			Rule:       verdict.Rule{Retry: verdict.Idempotent, ReadBack: verdict.WhenAmbiguousOrRefused},
			Documented: []call.Message{{Text: "Cannot delete yourself", Kind: ErrSelfDeletion}},
		},
		path: "/organization/users/{id}", expects: "an envelope",
		result: func(o *call.Outcome, in *args[Deletion]) *Deletion {
			return &Deletion{in.id, o.Message(), o.Attempts, o.Verdict == verdict.Recovered}
		},
		readBack: &readBack[Deletion]{op: &getUser.op, path: getUser.path, read: findDeleted},
	}
	activateUser = endpoint[Activation]{
		op: call.Op{
			Name: "organization.users.activate", Method: http.MethodPost,
			Rule:       verdict.Rule{Retry: verdict.Idempotent, ReadBack: verdict.AfterOddResponse},
			Documented: []call.Message{{Text: "User is not deleted", Kind: ErrUserNotDeleted, AlreadySo: true}},
		},
		path: "/organization/users/{id}/activate", expects: "an envelope",
		result: func(o *call.Outcome, in *args[Activation]) *Activation {
			return &Activation{in.id, o.Message(), o.Attempts, o.Verdict == verdict.Recovered}
		},
		readBack: &readBack[Activation]{op: &getUser.op, path: getUser.path, read: findActive},
	}
	resendInvitation = endpoint[Invitation]{
		op: call.Op{
			Name: "organization.users.resendInvitation", Method: http.MethodPost,
			Rule: verdict.Rule{Retry: verdict.NotIdempotent},
		},
		path: "/organization/users/{id}/resend-invitation", expects: "an envelope",
		result: func(o *call.Outcome, in *args[Invitation]) *Invitation {
			return &Invitation{in.id, o.Message(), o.Attempts}
		},
	}
)

const maxListBody = 64 << 20 // bytes

// asWanted is the result of a success whose response does not show what it did.
func asWanted[T any](_ *call.Outcome, in *args[T]) *T { return in.wanted }

// List returns the users of the caller's organization. The response may have up to 64 MiB.
// Whether deleted users are among them is not documented. If the response shows that users
// are missing, such as by a larger total, the error matches [ErrIncompleteList], and the list
// has the users that came.
func (s *UsersService) List(ctx context.Context) (*UserList, error) {
	list, err := do(ctx, s, &listUsers, args[UserList]{})
	if err == nil && list.cut != "" {
		return list, &Error{Op: listUsers.op.Name, Method: listUsers.op.Method, StatusCode: http.StatusOK, Err: fmt.Errorf("%w: %s", ErrIncompleteList, list.cut)}
	}
	return list, err
}

// Get returns a user. Whether it returns a deleted one is not documented. A response with
// another user is [ErrUnexpectedResponse].
func (s *UsersService) Get(ctx context.Context, userID string) (*User, error) {
	return do(ctx, s, &getUser, args[User]{id: userID})
}

// Create creates a user in the caller's organization, and invites the user by e-mail unless
// SendInvite is false: [UsersService.ResendInvitation] sends a second mail. An e-mail address
// and, with [AuthLocal], which an empty AuthMethod stands for, a password are required.
//
// If the response has no user, Create reads the list of users, as another call. If that shows
// no user with this address, or fails, the result is what was asked for, with an empty ID.
//
// After an ambiguous attempt, Create reads the list of users. A user with this address, these
// names and this role is the result. If nobody has the address, Create is retried. Otherwise
// the outcome is unknown: list the users before you call Create again.
func (s *UsersService) Create(ctx context.Context, user NewUser) (*User, error) {
	password := user.Password.Reveal()
	switch {
	case strings.TrimSpace(user.Email) == "":
		return nil, invalid(createUser.op.Name, "", errors.New("the e-mail address is empty"))
	case password == "" && strings.EqualFold(string(cmp.Or(user.AuthMethod, AuthLocal)), string(AuthLocal)):
		return nil, invalid(createUser.op.Name, "", errors.New("the password is empty; use NewSecret, or an AuthMethod that needs none"))
	}
	created, err := do(ctx, s, &createUser, args[User]{
		body: struct {
			NewUser

			Password string `json:"password"`
		}{user, password},
		password: password,
		wanted:   &User{Email: user.Email, Name: user.FirstName, LastName: user.LastName, OrgRole: clone(user.OrgRole)},
	})
	if err != nil || created.ID != "" {
		return created, err
	}
	return s.fromList(ctx, created), nil
}

// fromList returns the user whom a create has made, from the list of users, or created if the
// list has no user with the address and the names.
func (s *UsersService) fromList(ctx context.Context, created *User) *User {
	list, _ := s.List(WithResponse(ctx, nil)) // The caller's Response is that of the create.
	if list == nil {
		return created
	}
	for i, user := range list.Users {
		sameNames := user.Name == created.Name && user.LastName == created.LastName
		if sameEmail(user.Email, created.Email) && sameNames && !user.Deleted() {
			return &list.Users[i]
		}
	}
	return created
}

// Update changes a user. At least one field is required. Update is retried after an ambiguous
// attempt. If the response has no user, the result has the ID and the fields that were set.
func (s *UsersService) Update(ctx context.Context, userID string, update UserUpdate) (*User, error) {
	if update == (UserUpdate{}) {
		return nil, invalid(updateUser.op.Name, userID, errNothingToUpdate)
	}
	wanted := &User{ID: userID, OrgRole: clone(update.OrgRole)}
	setIfGiven(&wanted.Name, update.Name)
	setIfGiven(&wanted.LastName, update.LastName)
	return do(ctx, s, &updateUser, args[User]{id: userID, body: update, wanted: wanted})
}

var errNothingToUpdate = errors.New("there is nothing to update; set a field")

func clone[T any](value *T) *T {
	if value == nil {
		return nil
	}
	return new(*value)
}

func setIfGiven[T any](field, value *T) {
	if value != nil {
		*field = *value
	}
}

// Deletion is the success of [UsersService.Delete].
type Deletion struct {
	UserID string `json:"userId"`
	// Message is the server's; "" if Recovered is set.
	Message  string `json:"message"`
	Attempts int    `json:"attempts"` // as in [Error]
	// Recovered means that a read-back found the user deleted since the call began.
	Recovered bool `json:"recovered"`
}

// Delete soft-deletes a user; [UsersService.Activate] is the way back.
//
// After an ambiguous attempt, and after a refusal (400, 404, 409 or 410), Delete reads the
// user back. If the user was deleted since the call began, by the server's clock, the call is
// a success with Recovered set. Otherwise Delete is retried, or the refusal stands. If the
// outcome is unknown, call Get.
func (s *UsersService) Delete(ctx context.Context, userID string) (*Deletion, error) {
	return do(ctx, s, &deleteUser, args[Deletion]{id: userID})
}

// Activation is the success of [UsersService.Activate].
type Activation struct {
	UserID string `json:"userId"`
	// Message is the server's; "" if Recovered is set.
	Message  string `json:"message"`
	Attempts int    `json:"attempts"` // as in [Error]
	// Recovered means that the user was found active after an ambiguous attempt.
	Recovered bool `json:"recovered"`
}

// Activate brings a soft-deleted user back: the user regains access at once. The caller needs
// the WORKSPACES role or higher, in the user's organization. A user who was active before the
// call is [ErrUserNotDeleted].
//
// After an ambiguous attempt, Activate is retried. If the server then says "User is not
// deleted", the call is a success with Recovered set. After a 202, or a 400 with another
// message, Activate reads the user back: a user who is active is a success with Recovered set
// too. If the outcome is unknown, call Activate again, or Get; do not report a failure.
func (s *UsersService) Activate(ctx context.Context, userID string) (*Activation, error) {
	return do(ctx, s, &activateUser, args[Activation]{id: userID})
}

// Invitation is the success of [UsersService.ResendInvitation].
type Invitation struct {
	UserID   string `json:"userId"`
	Message  string `json:"message"`
	Attempts int    `json:"attempts"`
}

// ResendInvitation sends a user the invitation again. It is retried only after attempts that
// were certainly not applied. If the outcome is unknown, the mail may have been sent.
func (s *UsersService) ResendInvitation(ctx context.Context, userID string) (*Invitation, error) {
	return do(ctx, s, &resendInvitation, args[Invitation]{id: userID})
}
