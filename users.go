package flashback

import (
	"context"
	"net/http"
)

// UsersService holds the calls on the users of an organization. [NewClient]
// makes it.
type UsersService struct {
	client *Client
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
	// user is active, which is what was asked for. It was most likely this call that did it, but someone else
	// may have done it in between: the two can't be told apart.
	Recovered bool
}

var activateUser = operation{
	name:   "organization.users.activate",
	method: http.MethodPost,
	before: "/organization/users/",
	after:  "/activate",
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
	done, err := s.client.do(ctx, &activateUser, userID)
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
