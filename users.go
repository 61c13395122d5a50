package flashback

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"
)

// UsersService holds the calls on the users of an organization. [NewClient]
// makes it.
type UsersService struct {
	client *Client
}

var (
	listUsers = operation{
		name: "organization.users.list", method: http.MethodGet, path: "/organization/users",
		repeat: reads, data: readList, maxBody: maxListBody,
	}
	getUser = operation{
		name: "organization.users.get", method: http.MethodGet, path: "/organization/users/{id}",
		repeat: reads, data: readUser,
	}
	seeUser = operation{
		name: "organization.users.get", method: http.MethodGet, path: "/organization/users/{id}",
		repeat: reads, data: readSight,
	}
	createUser = operation{
		name: "organization.users.create", method: http.MethodPost, path: "/organization/users",
		repeat: once, data: dataOf[User],
	}
	updateUser = operation{
		name: "organization.users.update", method: http.MethodPut, path: "/organization/users/{id}",
		repeat: sets, data: dataOf[User],
	}
	deleteUser = operation{
		name: "organization.users.delete", method: http.MethodDelete, path: "/organization/users/{id}",
		repeat: once, look: &seeUser, did: wasDeleted,
	}
	activateUser = operation{
		name: "organization.users.activate", method: http.MethodPost, path: "/organization/users/{id}/activate",
		repeat: sets, notNeeded: "User is not deleted",
	}
	resendInvitation = operation{
		name: "organization.users.resendInvitation", method: http.MethodPost, path: "/organization/users/{id}/resend-invitation",
		repeat: once,
	}
)

// readList reads the answer of a list.
func readList(a *answer) any {
	var fields struct {
		Data  []User `json:"data"`
		Total any    `json:"total"`
	}
	noID := func(u User) bool { return u.ID == "" }
	if lenient(json.Unmarshal(a.body, &fields)) != nil || fields.Data == nil || slices.ContainsFunc(fields.Data, noID) {
		return nil
	}
	total, _ := readInt(fields.Total)
	return &UserList{Users: fields.Data, Total: total}
}

// readUser reads a user in an envelope, or a bare one.
func readUser(a *answer) any {
	if user, ok := dataOf[User](a).(*User); ok && user.ID != "" {
		return user
	}
	var bare User
	if json.Unmarshal(a.body, &bare) != nil || bare.ID == "" {
		return nil
	}
	return &bare
}

// sight is what settles a delete. It is stricter than a User: a field that is
// missing or odd must not pass for one that is null.
type sight struct {
	ID        string          `json:"id"`
	DeletedAt json.RawMessage `json:"deletedAt"`
}

func readSight(a *answer) any {
	if seen, ok := dataOf[sight](a).(*sight); ok && seen.ID != "" {
		return seen
	}
	var bare sight
	if lenient(json.Unmarshal(a.body, &bare)) != nil || bare.ID == "" {
		return nil
	}
	return &bare
}

func wasDeleted(data any, id string) (did, told bool) {
	seen, ok := data.(*sight)
	if !ok || seen.ID != id {
		return false, false
	}
	var at *time.Time
	err := json.Unmarshal(seen.DeletedAt, &at) // not even null is an error, where it is missing
	return at != nil, err == nil
}

// List returns the users of the organization of the token's user. That deleted
// users are among them is what their field deletedAt suggests; it is not
// documented. The call rests on the TypeScript types. It reads answers of up to
// 64 MiB.
//
// Reading changes nothing, so it is repeated freely and its outcome is never
// unknown. Every error is an [*Error]; an answer that is not a list matches
// [ErrUnexpectedResponse].
func (s *UsersService) List(ctx context.Context) (*UserList, error) {
	done, err := s.client.do(ctx, &listUsers, input{})
	return dataIn[UserList](done), err
}

// Get returns the user with userID. The call rests on the TypeScript types.
//
// Reading changes nothing, so it is repeated freely and its outcome is never
// unknown. Every error is an [*Error]; an answer without a user matches
// [ErrUnexpectedResponse].
func (s *UsersService) Get(ctx context.Context, userID string) (*User, error) {
	done, err := s.client.do(ctx, &getUser, input{id: userID})
	return dataIn[User](done), err
}

// Create creates a user in the organization of the token's user and returns the
// user that the answer has; without one in the answer, that is an empty User. The
// call rests on the TypeScript types.
//
// A second request could create a second user. So it is repeated only where the
// first can't have taken effect: it was not sent, or it was answered 425 or 429.
// Where it may have, the error has OutcomeUnknown set and matches
// [ErrOutcomeUnknown]: the user may exist by now. Look for the e-mail address with List before you call Create
// again. Every error is an [*Error]; a user without an e-mail address or, unless
// AuthMethod names another way to sign in than [AuthLocal], a password matches
// [ErrInvalidArgument], as does a text that is not UTF-8, and nothing is sent. The password is in no error and no log.
func (s *UsersService) Create(ctx context.Context, user NewUser) (*User, error) {
	password := user.Password.text()
	switch {
	case strings.TrimSpace(user.Email) == "":
		return nil, invalid(createUser.name, "", errors.New("the e-mail address is empty"))
	case password == "" && (user.AuthMethod == "" || strings.EqualFold(string(user.AuthMethod), string(AuthLocal))):
		return nil, invalid(createUser.name, "", errors.New("the password is empty; use NewSecret, or an AuthMethod that needs none"))
	}
	done, err := s.client.do(ctx, &createUser, input{secret: password, body: struct {
		NewUser

		Password string `json:"password"`
	}{user, password}})
	return dataIn[User](done), err
}

// Update changes the user with userID and returns the user that the answer has;
// without one in the answer, that is an empty User. The call rests on the
// TypeScript types.
//
// Setting the same fields again is harmless, so it is repeated. Every error is an
// [*Error]. If its OutcomeUnknown is set, it matches [ErrOutcomeUnknown]: the user
// may be changed by now; call Update again. An update without a field matches
// [ErrInvalidArgument], and nothing is sent.
func (s *UsersService) Update(ctx context.Context, userID string, update UserUpdate) (*User, error) {
	if update == (UserUpdate{}) {
		return nil, invalid(updateUser.name, userID, errNothingToUpdate)
	}
	done, err := s.client.do(ctx, &updateUser, input{id: userID, body: update})
	return dataIn[User](done), err
}

var errNothingToUpdate = errors.New("there is nothing to update; set a field")

// Deletion is the success of [UsersService.Delete].
type Deletion struct {
	// UserID is the user who is deleted now.
	UserID string
	// Message is the server's own words, or "" if it had none.
	Message string
	// Attempts counts the requests sent for this call, with those that looked.
	Attempts int
	// Recovered says that an attempt may have taken effect (its answer was lost, or
	// did not tell), and that the user was then found to be deleted. It was most
	// likely this call that did it, but someone else may have done it in between: the
	// two can't be told apart.
	Recovered bool
}

// Delete soft-deletes the user with userID; [UsersService.Activate] is the way
// back. The call rests on the TypeScript types.
//
// What a second delete does is not known. So after an attempt that may have taken
// effect, and the wait that follows it, Delete looks at the user, as
// [UsersService.Get] does. One who is deleted is a success with Recovered set; for one
// who is not, the delete is repeated, if the call has a retry left. Requests that look
// count as attempts, and their retries as retries; where the call has none left, there
// is one last look, but none on an empty retry budget. If a look tells neither, the
// call ends.
//
// Every error is an [*Error], with the last answer to a delete. If its OutcomeUnknown
// is set, it matches [ErrOutcomeUnknown]: the user may be deleted by now; look with Get.
func (s *UsersService) Delete(ctx context.Context, userID string) (*Deletion, error) {
	done, err := s.client.do(ctx, &deleteUser, input{id: userID})
	if err != nil {
		return nil, err
	}
	return &Deletion{
		UserID:    userID,
		Message:   done.answer.message,
		Attempts:  done.attempts,
		Recovered: done.recovered,
	}, nil
}

// Activation is the success of [UsersService.Activate].
type Activation struct {
	// UserID is the user who is active now.
	UserID string
	// Message is the server's own words, or "" if it had none.
	Message string
	// Attempts counts the requests sent for this call.
	Attempts int
	// Recovered says that an attempt may have taken effect (its answer was lost, or
	// did not tell), and that a later one was told that the user is not deleted. The
	// user is active, which is what was asked for. It was most likely this call that
	// did it, but someone else may have done it in between: the two can't be told apart.
	Recovered bool
}

// Activate brings a soft-deleted user back: it clears the user's deletedAt, and
// the user regains access at once. The token's user needs the WORKSPACES role or
// higher, in the organization of the user with userID. All of this is documented.
//
// Activate retries what is transient and returns once the outcome is known, or
// can't become known (see the package documentation). A user who is
// active already is [ErrUserNotDeleted]; one whom an earlier attempt of this call
// may have activated is a success with Recovered set.
//
// Every error is an [*Error]. If its OutcomeUnknown is set, it matches
// [ErrOutcomeUnknown]: the user may be active by now. Call Activate again, or
// look at the user; do not report a failure. The documented answers match
// [ErrUserNotDeleted] (with [ErrBadRequest]), [ErrForbidden], [ErrNotFound] and
// [ErrServer]. An empty userID, ".", ".." and one with control characters match
// [ErrInvalidArgument], as does a nil context, and nothing is sent. When ctx ends
// first, the error matches ctx.Err().
func (s *UsersService) Activate(ctx context.Context, userID string) (*Activation, error) {
	done, err := s.client.do(ctx, &activateUser, input{id: userID})
	if err != nil {
		return nil, err
	}
	return &Activation{
		UserID:    userID,
		Message:   done.answer.message,
		Attempts:  done.attempts,
		Recovered: done.recovered,
	}, nil
}

// Invitation is the success of [UsersService.ResendInvitation].
type Invitation struct {
	// UserID is the user who was invited again.
	UserID string
	// Message is the server's own words, or "" if it had none.
	Message string
	// Attempts counts the requests sent for this call.
	Attempts int
}

// ResendInvitation sends the user with userID the invitation again. The call rests
// on the TypeScript types.
//
// A second request could send a second mail. So it is repeated only where the first
// can't have taken effect: it was not sent, or it was answered 425 or 429. Where it may
// have, the error has OutcomeUnknown set and matches [ErrOutcomeUnknown]: the mail may
// be on its way. Every error is an [*Error].
func (s *UsersService) ResendInvitation(ctx context.Context, userID string) (*Invitation, error) {
	done, err := s.client.do(ctx, &resendInvitation, input{id: userID})
	if err != nil {
		return nil, err
	}
	return &Invitation{UserID: userID, Message: done.answer.message, Attempts: done.attempts}, nil
}
