package flashbacktest

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"time"

	flashback "github.com/flashbacknetwork/flashback-go"
)

// Workspace is a workspace of the fake backend.
type Workspace struct {
	ID        string
	Name      string
	OrgID     string            // DefaultOrg if empty
	Users     map[string]string // the access of each user, by the user's ID: "READ", "WRITE" or "ADMIN"
	Default   bool
	NotEmpty  bool       // it has buckets or repos, so that it can't be deleted
	DeletedAt *time.Time // nil for one that is not deleted
}

// Deleted tells whether the workspace is soft-deleted.
func (ws Workspace) Deleted() bool { return ws.DeletedAt != nil }

// copied shares nothing with ws.
func (ws Workspace) copied() Workspace {
	ws.Users = maps.Clone(ws.Users)
	if ws.DeletedAt != nil {
		ws.DeletedAt = new(*ws.DeletedAt)
	}
	return ws
}

// AddWorkspace adds a workspace, or replaces the one with the same ID.
func (b *Backend) AddWorkspace(ws Workspace) {
	b.mu.Lock()
	defer b.mu.Unlock()
	ws = ws.copied()
	if ws.OrgID == "" {
		ws.OrgID = DefaultOrg
	}
	if ws.Users == nil {
		ws.Users = map[string]string{}
	}
	b.workspaces[ws.ID] = &ws
}

// Workspace returns the workspace with the ID as it is now, and whether there is one. A
// deleted one is returned too.
func (b *Backend) Workspace(id string) (Workspace, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	ws, ok := b.workspaces[id]
	if !ok {
		return Workspace{}, false
	}
	return ws.copied(), true
}

// Workspaces returns all workspaces as they are now, by their IDs.
func (b *Backend) Workspaces() []Workspace {
	b.mu.Lock()
	defer b.mu.Unlock()
	workspaces := make([]Workspace, 0, len(b.workspaces))
	for _, id := range slices.Sorted(maps.Keys(b.workspaces)) {
		workspaces = append(workspaces, b.workspaces[id].copied())
	}
	return workspaces
}

// workspaceEndpoint responds to the request of a caller whose account is validated. The
// backend's mutex is held.
type workspaceEndpoint func(b *Backend, caller *User, r *http.Request, body []byte) (status int, response any)

func (b *Backend) workspaceEndpoints(mux *http.ServeMux) {
	for pattern, serve := range map[string]workspaceEndpoint{
		"GET /workspace":                        (*Backend).listWorkspaces,
		"POST /workspace":                       (*Backend).createWorkspace,
		"GET /workspace/{id}":                   (*Backend).getWorkspace,
		"PUT /workspace/{id}":                   (*Backend).updateWorkspace,
		"DELETE /workspace/{id}":                (*Backend).deleteWorkspace,
		"POST /workspace/{id}/users":            (*Backend).addWorkspaceUser,
		"PUT /workspace/{id}/users/{userID}":    (*Backend).setWorkspaceAccess,
		"DELETE /workspace/{id}/users/{userID}": (*Backend).removeWorkspaceUser,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body) // it is in memory
			b.mu.Lock()
			defer b.mu.Unlock()
			switch caller := b.admit(w, r); {
			case caller == nil:
			case !caller.Validated:
				respond(w, http.StatusBadRequest, envelope{Message: "User not found or account is not validated"})
			default:
				status, response := serve(b, caller, r, body)
				respond(w, status, response)
			}
		})
	}
}

// workspaceResponse is a success that has workspaces.
type workspaceResponse struct {
	Success    bool `json:"success"`
	Workspace  any  `json:"workspace,omitempty"`
	Workspaces any  `json:"workspaces,omitempty"`
}

// wireWorkspace is a workspace as the responses to changes of it have it.
type wireWorkspace struct {
	ID    string `json:"id"`
	Name  string `json:"name"`
	OrgID string `json:"orgId"`
}

// wireWorkspaceUsers is a workspace as the reading calls have it.
type wireWorkspaceUsers struct {
	wireWorkspace
	Default bool                `json:"default,omitempty"`
	Users   []wireWorkspaceUser `json:"users"`
}

type wireWorkspaceUser struct {
	UserID string        `json:"userId"`
	Role   string        `json:"role"`
	User   wireUserShort `json:"user"`
}

// wireUserShort is a user as a workspace lists it.
type wireUserShort struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	LastName string `json:"lastName"`
	Email    string `json:"email"`
	OrgRole  int    `json:"orgRole"`
}

func (ws Workspace) wire() wireWorkspace { return wireWorkspace{ws.ID, ws.Name, ws.OrgID} }

// wireUsers is the workspace with its users, also with those that no longer exist.
func (b *Backend) wireUsers(ws *Workspace) wireWorkspaceUsers {
	wire := wireWorkspaceUsers{wireWorkspace: ws.wire(), Default: ws.Default, Users: []wireWorkspaceUser{}}
	for _, id := range slices.Sorted(maps.Keys(ws.Users)) {
		short := wireUserShort{ID: id}
		if user := b.users[id]; user != nil {
			short = wireUserShort{id, user.Name, user.LastName, user.Email, int(user.Role)}
		}
		wire.Users = append(wire.Users, wireWorkspaceUser{id, ws.Users[id], short})
	}
	return wire
}

// visible returns the workspace with the ID if it is one of the caller's organization and
// not deleted, and nil otherwise.
func (b *Backend) visible(caller *User, id string) *Workspace {
	ws := b.workspaces[id]
	if ws == nil || ws.Deleted() || ws.OrgID != caller.OrgID {
		return nil
	}
	return ws
}

func (b *Backend) listWorkspaces(caller *User, _ *http.Request, _ []byte) (int, any) {
	list := []wireWorkspaceUsers{}
	for _, id := range slices.Sorted(maps.Keys(b.workspaces)) {
		if ws := b.visible(caller, id); ws != nil && ws.Users[caller.ID] != "" {
			list = append(list, b.wireUsers(ws))
		}
	}
	return http.StatusOK, workspaceResponse{Success: true, Workspaces: list}
}

func (b *Backend) createWorkspace(caller *User, _ *http.Request, body []byte) (int, any) {
	var fields struct{ Name string }
	err := json.Unmarshal(body, &fields)
	switch {
	case caller.Role < flashback.RoleWorkspaces:
		return http.StatusForbidden, envelope{Message: "Insufficient permissions to create workspaces"}
	case err != nil, fields.Name == "":
		return http.StatusBadRequest, envelope{Message: "Invalid workspace"}
	}
	b.createdWorkspaces++
	ws := &Workspace{
		ID: fmt.Sprintf("created-workspace-%d", b.createdWorkspaces), Name: fields.Name, OrgID: caller.OrgID,
		Users: map[string]string{caller.ID: "ADMIN"},
	}
	b.workspaces[ws.ID] = ws
	return http.StatusCreated, workspaceResponse{Success: true, Workspace: ws.wire()}
}

func (b *Backend) getWorkspace(caller *User, r *http.Request, _ []byte) (int, any) {
	ws := b.visible(caller, r.PathValue("id"))
	if ws == nil || ws.Users[caller.ID] == "" {
		return http.StatusNotFound, envelope{Message: "Workspace not found or access denied"}
	}
	return http.StatusOK, workspaceResponse{Success: true, Workspace: b.wireUsers(ws)}
}

// changeable returns the workspace that the caller may change, or says why there is none.
func (b *Backend) changeable(caller *User, id, to string) (*Workspace, int, envelope) {
	ws := b.visible(caller, id)
	switch {
	case ws == nil:
		return nil, http.StatusNotFound, envelope{Message: "Workspace not found"}
	case ws.Users[caller.ID] != "ADMIN":
		return nil, http.StatusForbidden, envelope{Message: "Insufficient permissions to " + to}
	}
	return ws, 0, envelope{}
}

func (b *Backend) updateWorkspace(caller *User, r *http.Request, body []byte) (int, any) {
	ws, status, refusal := b.changeable(caller, r.PathValue("id"), "update workspace")
	if ws == nil {
		return status, refusal
	}
	fields := struct{ Name string }{ws.Name}
	if json.Unmarshal(body, &fields) != nil || fields.Name == "" {
		return http.StatusBadRequest, envelope{Message: "Invalid workspace"}
	}
	ws.Name = fields.Name
	return http.StatusOK, workspaceResponse{Success: true, Workspace: ws.wire()}
}

func (b *Backend) deleteWorkspace(caller *User, r *http.Request, _ []byte) (int, any) {
	ws, status, refusal := b.changeable(caller, r.PathValue("id"), "delete workspace")
	switch {
	case ws == nil:
		return status, refusal
	case ws.NotEmpty:
		return http.StatusBadRequest, envelope{Message: "Cannot delete workspace with existing buckets or repos"}
	}
	ws.DeletedAt = new(time.Now().UTC())
	return http.StatusOK, envelope{Success: true}
}

// managed is changeable for the calls about a workspace's users, of which no response is
// documented that says that there is no such workspace.
func (b *Backend) managed(caller *User, id string) (*Workspace, int, envelope) {
	ws, _, _ := b.changeable(caller, id, "")
	if ws == nil {
		return nil, http.StatusForbidden, envelope{Message: "Insufficient permissions to manage workspace users"}
	}
	return ws, 0, envelope{}
}

// membership is the body of the calls that give access.
type membership struct{ UserID, Role string }

// readMembership returns what the body asks for, and whether its role is one.
func readMembership(body []byte) (asked membership, ok bool) {
	err := json.Unmarshal(body, &asked)
	return asked, err == nil && slices.Contains([]string{"READ", "WRITE", "ADMIN"}, asked.Role)
}

func (b *Backend) addWorkspaceUser(caller *User, r *http.Request, body []byte) (int, any) {
	ws, status, refusal := b.managed(caller, r.PathValue("id"))
	if ws == nil {
		return status, refusal
	}
	asked, ok := readMembership(body)
	user := b.users[asked.UserID]
	switch {
	case !ok:
		return http.StatusBadRequest, envelope{Message: "Invalid role"}
	case user == nil, user.Deleted(), user.OrgID != ws.OrgID:
		return http.StatusNotFound, envelope{Message: "Target user not found"}
	case ws.Users[user.ID] != "":
		return http.StatusConflict, envelope{Message: "User is already in the workspace"}
	}
	ws.Users[user.ID] = asked.Role
	return http.StatusOK, envelope{Success: true}
}

func (b *Backend) setWorkspaceAccess(caller *User, r *http.Request, body []byte) (int, any) {
	ws, status, refusal := b.managed(caller, r.PathValue("id"))
	if ws == nil {
		return status, refusal
	}
	userID := r.PathValue("userID")
	asked, ok := readMembership(body)
	switch {
	case !ok:
		return http.StatusBadRequest, envelope{Message: "Invalid role"}
	case ws.Users[userID] == "":
		return http.StatusNotFound, envelope{Message: "User not found in workspace"}
	}
	ws.Users[userID] = asked.Role
	return http.StatusOK, envelope{Success: true}
}

func (b *Backend) removeWorkspaceUser(caller *User, r *http.Request, _ []byte) (int, any) {
	ws, status, refusal := b.managed(caller, r.PathValue("id"))
	userID := r.PathValue("userID")
	switch {
	case ws == nil:
		return status, refusal
	case ws.Users[userID] == "":
		return http.StatusNotFound, envelope{Message: "User not found in workspace"}
	}
	delete(ws.Users, userID)
	return http.StatusOK, envelope{Success: true}
}
