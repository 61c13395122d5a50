package flashback

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/flashbacknetwork/flashback-go/internal/call"
	"github.com/flashbacknetwork/flashback-go/internal/jsonvalue"
	"github.com/flashbacknetwork/flashback-go/internal/verdict"
)

// WorkspacesService has the calls on workspaces and on who may use them. All of them are
// documented. The caller's account has to be validated: else the error is [ErrNotValidated].
type WorkspacesService struct{ connection }

var notValidated = call.Message{Text: "User not found or account is not validated", Kind: ErrNotValidated}

var (
	listWorkspaces = endpoint[[]Workspace]{
		op: call.Op{
			Name: "workspaces.list", Method: http.MethodGet,
			Rule: verdict.Rule{Retry: verdict.Safe}, Required: true, MaxBody: maxListBody,
			Documented: []call.Message{notValidated},
		},
		path: "/workspace", expects: "a list of workspaces",
		read: readWorkspaces,
	}
	getWorkspace = endpoint[Workspace]{
		op: call.Op{
			Name: "workspaces.get", Method: http.MethodGet,
			Rule: verdict.Rule{Retry: verdict.Safe}, Required: true,
			Documented: []call.Message{
				notValidated,
				{Text: "Workspace not found or access denied", Kind: ErrNotFound},
				{Text: "Workspace not found", Kind: ErrNotFound},
			},
		},
		path: "/workspace/{id}", expects: "the workspace",
		read: readWorkspace,
	}
	createWorkspace = endpoint[Workspace]{
		op: call.Op{
			Name: "workspaces.create", Method: http.MethodPost,
			Rule:       verdict.Rule{Retry: verdict.NotIdempotent},
			Documented: []call.Message{notValidated},
		},
		path: "/workspace", expects: "an envelope",
		read: readWorkspace, result: asWanted[Workspace],
	}
	renameWorkspace = endpoint[Workspace]{
		op: call.Op{
			Name: "workspaces.rename", Method: http.MethodPut,
			Rule:       verdict.Rule{Retry: verdict.Idempotent},
			Documented: []call.Message{notValidated},
		},
		path: "/workspace/{id}", expects: "an envelope",
		read: readWorkspace, result: asWanted[Workspace],
	}
	deleteWorkspace = endpoint[WorkspaceDeletion]{
		op: call.Op{
			Name: "workspaces.delete", Method: http.MethodDelete,
			Rule:       verdict.Rule{Retry: verdict.Idempotent, ReadBack: verdict.WhenAmbiguousOrRefused},
			Documented: []call.Message{notValidated, {Text: "Cannot delete workspace with existing buckets or repos", Kind: ErrWorkspaceNotEmpty}},
		},
		path: "/workspace/{id}", expects: "an envelope",
		result: func(o *call.Outcome, in *args[WorkspaceDeletion]) *WorkspaceDeletion {
			return &WorkspaceDeletion{in.id, o.Attempts, o.Verdict == verdict.Recovered}
		},
		readBack: &readBack[WorkspaceDeletion]{op: &getWorkspace.op, path: getWorkspace.path, read: findDeletedWorkspace},
	}
	addWorkspaceUser = endpoint[Membership]{
		op: call.Op{
			Name: "workspaces.addUser", Method: http.MethodPost,
			Rule:       verdict.Rule{Retry: verdict.NotIdempotent, ReadBack: verdict.WhenAmbiguous},
			Documented: []call.Message{notValidated, {Text: "Target user not found", Kind: ErrTargetUserNotFound}},
		},
		path: "/workspace/{id}/users", expects: "an envelope",
		result:   membership,
		readBack: &readBack[Membership]{op: &getWorkspace.op, path: getWorkspace.path, read: findAccess(verdict.Other)},
	}
	setWorkspaceAccess = endpoint[Membership]{
		op: call.Op{
			Name: "workspaces.setAccess", Method: http.MethodPut,
			Rule:       verdict.Rule{Retry: verdict.Idempotent, ReadBack: verdict.WhenAmbiguous},
			Documented: []call.Message{notValidated, {Text: "User not found in workspace", Kind: ErrNotInWorkspace}},
		},
		path: "/workspace/{id}/users/{userId}", expects: "an envelope",
		result:   membership,
		readBack: &readBack[Membership]{op: &getWorkspace.op, path: getWorkspace.path, read: findAccess(verdict.NotDone)},
	}
	removeWorkspaceUser = endpoint[Membership]{
		op: call.Op{
			Name: "workspaces.removeUser", Method: http.MethodDelete,
			Rule:       verdict.Rule{Retry: verdict.Idempotent, ReadBack: verdict.WhenAmbiguous},
			Documented: []call.Message{notValidated, {Text: "User not found in workspace", Kind: ErrNotInWorkspace}},
		},
		path: "/workspace/{id}/users/{userId}", expects: "an envelope",
		result:   membership,
		readBack: &readBack[Membership]{op: &getWorkspace.op, path: getWorkspace.path, read: findAccess(verdict.NotDone)},
	}
)

// Workspace is a workspace of an organization: it groups users and resources. What a
// response lacks is the zero value. Create and Rename return its ID, Name and OrgID only.
type Workspace struct {
	ID      string          `json:"id"`
	Name    string          `json:"name"`
	OrgID   string          `json:"orgId"`
	Users   []WorkspaceUser `json:"users"`
	Default bool            `json:"default"`
	// DeletedAt is nil if the workspace is not deleted, and the zero time if it can't be read.
	DeletedAt *time.Time `json:"deletedAt"`
}

// Deleted tells whether the workspace is soft-deleted.
func (w *Workspace) Deleted() bool { return w != nil && w.DeletedAt != nil }

// WorkspaceUser is a user who may use a workspace.
type WorkspaceUser struct {
	UserID string `json:"userId"`
	// Access is the API's "role".
	Access Access `json:"role"`
	// User has the ID, names, e-mail address and role of the user.
	User User `json:"user"`
}

// Access is what a user may do with a workspace.
type Access string

// The documented kinds of access.
const (
	AccessRead  Access = "READ"
	AccessWrite Access = "WRITE"
	AccessAdmin Access = "ADMIN" // can change the workspace and who may use it
)

func (a Access) check() error {
	switch a {
	case AccessRead, AccessWrite, AccessAdmin:
		return nil
	}
	return fmt.Errorf("invalid access %q: use AccessRead, AccessWrite or AccessAdmin", string(a))
}

// List returns the workspaces that the caller can access, with their users: up to 64 MiB.
func (s *WorkspacesService) List(ctx context.Context) ([]Workspace, error) {
	list, err := do(ctx, s, &listWorkspaces, args[[]Workspace]{})
	if err != nil {
		return nil, err
	}
	for i := range *list {
		s.remember(&(*list)[i])
	}
	return *list, nil
}

// Get returns a workspace. One that the caller can't access is [ErrNotFound]. A response
// with another workspace is [ErrUnexpectedResponse].
func (s *WorkspacesService) Get(ctx context.Context, workspaceID string) (*Workspace, error) {
	workspace, err := do(ctx, s, &getWorkspace, args[Workspace]{id: workspaceID})
	if err == nil {
		s.remember(workspace)
	}
	return workspace, err
}

// Create creates a workspace, with ADMIN access for the caller, who needs the WORKSPACES role
// or higher. If the response has no workspace, the result has an empty ID.
//
// Create is retried only after attempts that were certainly not applied: whether names are
// unique is not documented. If the outcome is unknown, List shows whether it was created.
func (s *WorkspacesService) Create(ctx context.Context, name string) (*Workspace, error) {
	return s.withName(ctx, &createWorkspace, "", name)
}

// Rename gives a workspace another name. The caller needs ADMIN access to it. Rename is
// retried after an ambiguous attempt.
func (s *WorkspacesService) Rename(ctx context.Context, workspaceID, name string) (*Workspace, error) {
	return s.withName(ctx, &renameWorkspace, workspaceID, name)
}

func (s *WorkspacesService) withName(ctx context.Context, e *endpoint[Workspace], id, name string) (*Workspace, error) {
	if strings.TrimSpace(name) == "" {
		return nil, invalid(e.op.Name, id, errors.New("the name is empty"))
	}
	return do(ctx, s, e, args[Workspace]{
		id: id,
		body: struct {
			Name string `json:"name"`
		}{name},
		wanted: &Workspace{ID: id, Name: name},
	})
}

// WorkspaceDeletion is the success of [WorkspacesService.Delete].
type WorkspaceDeletion struct {
	WorkspaceID string `json:"workspaceId"`
	Attempts    int    `json:"attempts"` // as in [Error]
	// Recovered means that a read-back found the workspace deleted.
	Recovered bool `json:"recovered"`
}

// Delete soft-deletes a workspace. The caller needs ADMIN access to it. One that has buckets
// or repositories is [ErrWorkspaceNotEmpty].
//
// After an ambiguous attempt, and after a refusal (400, 404, 409, 410), Delete reads the
// workspace back. One that is still there was not deleted: the delete is retried, or the
// refusal stands. How the API shows a deleted workspace is not documented. One with a
// deletedAt from the time of the call is a success with Recovered set. So is one that is not
// found, if this client has read it before by List or Get; otherwise an ambiguous attempt
// stays unknown, because the workspace may never have been there.
func (s *WorkspacesService) Delete(ctx context.Context, workspaceID string) (*WorkspaceDeletion, error) {
	in := args[WorkspaceDeletion]{id: workspaceID}
	if s.hasRead(workspaceID) {
		in.notFound = verdict.Done
	}
	deletion, err := do(ctx, s, &deleteWorkspace, in)
	if err == nil {
		s.settings().workspacesRead.Delete(workspaceID)
	}
	return deletion, err
}

// remember keeps that the client has read a workspace that is there.
func (s *WorkspacesService) remember(w *Workspace) {
	if !w.Deleted() {
		s.settings().workspacesRead.Store(w.ID, nil)
	}
}

func (s *WorkspacesService) hasRead(workspaceID string) bool {
	if s == nil || s.settings == nil {
		return false
	}
	_, ok := s.settings().workspacesRead.Load(workspaceID)
	return ok
}

// Membership is the success of a call that changed who may use a workspace.
type Membership struct {
	WorkspaceID string `json:"workspaceId"`
	UserID      string `json:"userId"`
	// Access is what the user has now; "" for one who was removed.
	Access   Access `json:"role"`
	Attempts int    `json:"attempts"` // as in [Error]
	// Recovered means that a read-back found the workspace as asked for after an ambiguous
	// attempt.
	Recovered bool `json:"recovered"`
}

func membership(o *call.Outcome, in *args[Membership]) *Membership {
	return &Membership{in.id, in.userID, in.wanted.Access, o.Attempts, o.Verdict == verdict.Recovered}
}

// AddUser adds a user of the organization to a workspace. The caller needs ADMIN access to
// it. A user who does not exist is [ErrTargetUserNotFound].
//
// After an ambiguous attempt AddUser reads the workspace back. A user who has the access is
// a success with Recovered set. If the user is not in the workspace, the call is retried.
// With another access the outcome is unknown: see Get, or call SetAccess.
func (s *WorkspacesService) AddUser(ctx context.Context, workspaceID, userID string, access Access) (*Membership, error) {
	if err := checkSegment(userID); err != nil {
		return nil, invalid(addWorkspaceUser.op.Name, workspaceID, fmt.Errorf("the user ID %w", err))
	}
	return s.setUser(ctx, &addWorkspaceUser, workspaceID, userID, access, struct {
		UserID string `json:"userId"`
		Access Access `json:"role"`
	}{userID, access})
}

// SetAccess changes what a user may do with a workspace. The caller needs ADMIN access to
// it. A user who is not in the workspace is [ErrNotInWorkspace].
//
// After an ambiguous attempt SetAccess reads the workspace back. A user who has the access
// is a success with Recovered set. Otherwise the call is retried.
func (s *WorkspacesService) SetAccess(ctx context.Context, workspaceID, userID string, access Access) (*Membership, error) {
	return s.setUser(ctx, &setWorkspaceAccess, workspaceID, userID, access, struct {
		Access Access `json:"role"`
	}{access})
}

func (s *WorkspacesService) setUser(ctx context.Context, e *endpoint[Membership], id, userID string, access Access, body any) (*Membership, error) {
	if err := access.check(); err != nil {
		return nil, invalid(e.op.Name, id, err)
	}
	return do(ctx, s, e, args[Membership]{id: id, userID: userID, body: body, wanted: &Membership{Access: access}})
}

// RemoveUser takes a user out of a workspace. The caller needs ADMIN access to it. A user who
// is not in the workspace is [ErrNotInWorkspace]. Behind a proxy that repeats a DELETE by
// itself, that may be a user whom this very call has removed: the user is out either way.
//
// After an ambiguous attempt RemoveUser reads the workspace back. If the user is not in it,
// that is a success with Recovered set. Otherwise the call is retried.
func (s *WorkspacesService) RemoveUser(ctx context.Context, workspaceID, userID string) (*Membership, error) {
	return do(ctx, s, &removeWorkspaceUser, args[Membership]{id: workspaceID, userID: userID, wanted: &Membership{}})
}

// workspaceOf reads a workspace from a JSON object.
func workspaceOf(object []byte) Workspace {
	var w Workspace
	for key, value := range jsonvalue.Members(object) {
		switch string(key) {
		case "id":
			w.ID, _ = jsonvalue.String(value)
		case "name":
			w.Name, _ = jsonvalue.String(value)
		case "orgId":
			w.OrgID, _ = jsonvalue.String(value)
		case "users":
			w.Users = nil
			for element := range jsonvalue.Elements(value) {
				role, _ := jsonvalue.String(member(element, "role"))
				user := WorkspaceUser{Access: Access(role), User: userOf(member(element, "user"))}
				user.UserID, _ = jsonvalue.String(member(element, "userId"))
				w.Users = append(w.Users, user)
			}
		case "default":
			w.Default = string(value) == "true"
		case "deletedAt":
			w.DeletedAt = readDate(value)
		}
	}
	return w
}

// readWorkspaces reads a list of workspaces.
func readWorkspaces(r *call.Response, _ *args[[]Workspace]) (*[]Workspace, error) {
	all := member(r.Body, "workspaces")
	if jsonvalue.Kind(all) != '[' {
		return nil, errors.New("no list of workspaces")
	}
	list := []Workspace{}
	for element := range jsonvalue.Elements(all) {
		w := workspaceOf(element)
		if w.ID == "" {
			return nil, fmt.Errorf("an element %d that is no workspace with an ID", len(list))
		}
		list = append(list, w)
	}
	return &list, nil
}

// readWorkspace reads the workspace that was asked for, or created.
func readWorkspace(r *call.Response, in *args[Workspace]) (*Workspace, error) {
	return findWorkspace(r.Body, in.id)
}

// findWorkspace reads the workspace with an ID; "" is any.
func findWorkspace(body []byte, id string) (*Workspace, error) {
	w := workspaceOf(member(body, "workspace"))
	switch {
	case w.ID == "":
		return nil, errors.New("no workspace that has an ID")
	case id != "" && !sameID(w.ID, id):
		return nil, call.MismatchError{What: fmt.Sprintf("another workspace, %q", w.ID)}
	}
	return &w, nil
}

// findDeletedWorkspace reads back a delete.
func findDeletedWorkspace(r *call.Response, in *args[WorkspaceDeletion]) (call.Finding, *WorkspaceDeletion, error) {
	w, err := findWorkspace(r.Body, in.id)
	switch {
	case err != nil:
		return call.Finding{}, nil, err
	case !w.Deleted():
		return call.Finding{Reading: verdict.NotDone}, nil, nil
	case w.DeletedAt.IsZero():
		return call.Finding{}, nil, errors.New("a deletedAt that can't be read")
	}
	return call.Finding{Reading: verdict.Done, Since: *w.DeletedAt}, nil, nil
}

// findAccess returns the function that reads back what the user of a call may do with the
// workspace. another is what it shows if that is another access than was asked for.
func findAccess(another verdict.Reading) func(*call.Response, *args[Membership]) (call.Finding, *Membership, error) {
	return func(r *call.Response, in *args[Membership]) (call.Finding, *Membership, error) {
		access, err := accessIn(r.Body, in)
		reading := another
		if access == "" {
			reading = verdict.NotDone
		}
		if access == in.wanted.Access { // which is "" for a removal
			reading = verdict.Done
		}
		return call.Finding{Reading: reading}, nil, err
	}
}

// accessIn reads the access that the user of a call has to the workspace: "" for one who is
// not among its users. A list that is missing or odd must not pass for one without the user.
func accessIn(body []byte, in *args[Membership]) (Access, error) {
	w, err := findWorkspace(body, in.id)
	if err != nil {
		return "", err
	}
	if w.Deleted() || jsonvalue.Kind(member(member(body, "workspace"), "users")) != '[' {
		return "", errors.New("no list of the workspace's users")
	}
	for _, user := range w.Users {
		switch {
		case user.UserID == "" || user.Access == "":
			return "", errors.New("a user without userId and role")
		case sameID(user.UserID, in.userID):
			return user.Access, nil
		}
	}
	return "", nil
}
