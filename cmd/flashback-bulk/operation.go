package main

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"strings"

	flashback "github.com/flashbacknetwork/flashback-go"
)

// verdict is what is known of a user. All but these are settled.
type verdict string

const (
	due       verdict = "due"
	unknown   verdict = "unknown"   // the change may have been applied
	failed    verdict = "failed"    // it was not, and may be next time
	forbidden verdict = "forbidden" // so perhaps not with another token
	canceled  verdict = "canceled"  // on the page

	recovered verdict = "recovered" // done, which was found after a lost response or a kill

	notFound verdict = "not found"
	invalid  verdict = "invalid" // nobody can have this ID
	refused  verdict = "refused"
)

// When an attempt may have been applied, and its job is due again, this says what comes first.
type ifUnknown int

const (
	repeat ifUnknown = iota // the same call: it changes no more than the first
	look                    // a look: the call only if it was not applied
	leave                   // nothing: the verdict stays unknown
)

// operation is what one command does to each of its users.
type operation struct {
	name, short string
	long        string // what is special about it
	ifUnknown   ifUnknown
	// done is the verdict of a success, and already that of a user who needed none, which
	// isSo or the error alreadySo shows.
	done, already verdict
	alreadySo     error
	call          func(ctx context.Context, api *flashback.Client, u user) (result, error)
	// isSo looks whether things are as asked for. It is asked after a refusal, and first
	// where ifUnknown says look. A nil one says no.
	isSo func(ctx context.Context, api *flashback.Client, u user) (bool, error)
}

// result is what a success tells, for the export.
type result struct {
	Created string `json:"created,omitempty"` // the ID of a new user
	Former  string `json:"former,omitempty"`  // the role that the user had
}

// operations has a line for each command.
var operations = []*operation{
	{
		name: "activate", short: "Activate soft-deleted users", ifUnknown: repeat,
		long: "Who is active already is left alone. An activation whose outcome is unknown is repeated.",
		done: "activated", already: "already active", alreadySo: flashback.ErrUserNotDeleted,
		call: func(ctx context.Context, api *flashback.Client, u user) (result, error) {
			_, err := api.Organization.Users.Activate(ctx, u.ID)
			return result{}, err
		},
	},
	{
		name: "delete", short: "Soft-delete users", ifUnknown: look,
		long: "The way back is activate. After a deletion whose outcome is unknown, the user is read before it is repeated.",
		done: "deleted", already: "already deleted",
		call: func(ctx context.Context, api *flashback.Client, u user) (result, error) {
			_, err := api.Organization.Users.Delete(ctx, u.ID)
			return result{}, err
		},
		isSo: func(ctx context.Context, api *flashback.Client, u user) (bool, error) {
			found, err := api.Organization.Users.Get(ctx, u.ID)
			return err == nil && found.Deleted(), err
		},
	},
	{
		name: "invite", short: "Send users their invitation again", ifUnknown: leave, done: "invited",
		long: `An invitation whose outcome is unknown, since a response was lost or the process killed, may
have been sent. It is recorded as unknown, and not sent again unless --repeat-unknown is given.`,
		call: func(ctx context.Context, api *flashback.Client, u user) (result, error) {
			_, err := api.Organization.Users.ResendInvitation(ctx, u.ID)
			return result{}, err
		},
	},
	{
		name: "create", short: "Create users from a spreadsheet", ifUnknown: look, done: "created", already: "already there",
		long: `The first line of the CSV has the names of the columns, in any order: email, firstName and
lastName, and if wanted role (USER unless given) and authMethod (LOCAL unless given). A column of
passwords is refused, since no password may be in the store: a LOCAL user gets a random one that
nobody knows, and is sent an invitation. A create whose outcome is unknown is looked up in the list
of users before it is tried again.`,
		call: create, isSo: func(ctx context.Context, api *flashback.Client, u user) (bool, error) {
			list, err := api.Organization.Users.List(ctx)
			if err != nil {
				return false, err
			}
			for _, found := range list.Users {
				if strings.EqualFold(found.Email, u.ID) {
					return found.Name == u.FirstName && found.LastName == u.LastName && !found.Deleted(), nil
				}
			}
			return false, nil
		},
	},
	{
		name: "role", short: "Give users a role", ifUnknown: repeat, done: "role set",
		long: "The export has the role that each user had before, unless a response was lost. It is what undo gives back.",
		call: func(ctx context.Context, api *flashback.Client, u user) (result, error) {
			change, err := api.Organization.Users.SetRole(ctx, u.ID, *u.Role)
			if err != nil || change.PreviousRole == nil || *change.PreviousRole == *u.Role { // after a lost response it is the new one
				return result{}, err
			}
			return result{Former: change.PreviousRole.String()}, nil
		},
	},
	{
		name: "workspace-add", short: "Add users to a workspace", ifUnknown: look, done: "added", already: "already in it",
		long: "Who is in the workspace with another access is refused.",
		call: func(ctx context.Context, api *flashback.Client, u user) (result, error) {
			_, err := api.Workspaces.AddUser(ctx, u.Workspace, u.ID, u.Access)
			return result{}, err
		},
		isSo: func(ctx context.Context, api *flashback.Client, u user) (bool, error) {
			workspace, err := api.Workspaces.Get(ctx, u.Workspace)
			if err != nil {
				return false, err
			}
			return slices.ContainsFunc(workspace.Users, func(in flashback.WorkspaceUser) bool { return in.UserID == u.ID && in.Access == u.Access }), nil
		},
	},
	{
		name: "workspace-remove", short: "Take users out of a workspace", ifUnknown: repeat, done: "removed", already: "not in it",
		alreadySo: flashback.ErrNotInWorkspace,
		long:      "A removal whose outcome is unknown is repeated.",
		call: func(ctx context.Context, api *flashback.Client, u user) (result, error) {
			_, err := api.Workspaces.RemoveUser(ctx, u.Workspace, u.ID)
			return result{}, err
		},
	},
}

// create creates a user. The password of a local one is made up, since the API wants one, and
// forgotten: nothing that would have to be kept for a second attempt may be a secret.
func create(ctx context.Context, api *flashback.Client, u user) (result, error) {
	wanted := flashback.NewUser{
		Email: u.ID, FirstName: u.FirstName, LastName: u.LastName, OrgRole: u.Role,
		AuthMethod: flashback.AuthMethod(u.AuthMethod), SendInvite: new(true),
	}
	if u.AuthMethod == "" || u.AuthMethod == string(flashback.AuthLocal) {
		wanted.Password = flashback.NewSecret("Aa1-" + rand.Text())
	}
	created, err := api.Organization.Users.Create(ctx, wanted)
	if err != nil {
		return result{}, err
	}
	return result{Created: created.ID}, nil
}

func operationOf(name string) *operation {
	for _, op := range operations {
		if op.name == name {
			return op
		}
	}
	return nil
}

// attempt does what is to be done for a user of whom before is known, and says what is known
// then. response is that of the operation's own call.
func (op *operation) attempt(ctx context.Context, api *flashback.Client, u user, before verdict, response *flashback.Response) (output, error) {
	if before == unknown && op.ifUnknown == look {
		if so, err := op.isSo(ctx, api, u); so || err != nil {
			return op.judge(before, so, err), err
		}
		before = due // since it was not applied
	}
	done, err := op.call(flashback.WithResponse(ctx, response), api, u)
	so := op.alreadySo != nil && errors.Is(err, op.alreadySo)
	if op.isSo != nil && isRefusal(err) {
		found, failed := op.isSo(ctx, api, u)
		if failed != nil && !isRefusal(failed) {
			return op.judge(before, false, failed), failed
		}
		so = so || found
	}
	out := op.judge(before, so, err)
	if err == nil && response.Recovered {
		out.Verdict = recovered
	}
	out.result = done
	return out, err
}

func isRefusal(err error) bool {
	return errors.Is(err, flashback.ErrBadRequest) || errors.Is(err, flashback.ErrConflict) || errors.Is(err, flashback.ErrNotFound)
}

// judge is the table of verdicts. before is what was known, and so means that things were
// found as asked for.
func (op *operation) judge(before verdict, so bool, err error) (out output) {
	switch {
	case so && before == unknown:
		out.Verdict = recovered
	case so:
		out.Verdict = op.already
	case err == nil:
		out.Verdict = op.done
	case errors.Is(err, flashback.ErrInvalidArgument):
		out.Verdict = invalid
	case errors.Is(err, flashback.ErrOutcomeUnknown):
		out.Verdict = unknown
	case isNotFound(err):
		out.Verdict = notFound
	case errors.Is(err, flashback.ErrForbidden):
		out.Verdict = forbidden
	case errors.Is(err, flashback.ErrBadRequest), errors.Is(err, flashback.ErrConflict):
		out.Verdict = refused
	case before == unknown:
		out.Verdict = unknown // and not a failure, which it need not be
	case errors.Is(err, flashback.ErrRateLimited):
		out.Verdict = due
	default:
		out.Verdict = failed
	}
	if err != nil && !so {
		out.Error = printable(err.Error())
	}
	return out
}

// isNotFound tells the documented response from that of a server that knows no such
// path, which would settle every user for good.
func isNotFound(err error) bool {
	var failure *flashback.Error
	return errors.Is(err, flashback.ErrTargetUserNotFound) || errors.Is(err, flashback.ErrNotInWorkspace) ||
		errors.Is(err, flashback.ErrNotFound) && errors.As(err, &failure) && strings.EqualFold(failure.Message, "User not found")
}
