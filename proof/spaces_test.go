package proof_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	flashback "github.com/flashbacknetwork/flashback-go"
)

// The workspaces of the model, who may use them, and the calls on that.

// space is a workspace of the backend.
type space struct {
	ID        string     `json:"id"`
	Name      string     `json:"name"`
	OrgID     string     `json:"orgId"`
	Users     []member   `json:"users"`
	DeletedAt *time.Time `json:"deletedAt"`
}

type member struct {
	UserID string `json:"userId"`
	Role   string `json:"role"`
}

const (
	aSpace    = "space-1"
	isIn      = "in the workspace"
	isInOther = "in the workspace, with another access"
	isOut     = "not in the workspace"
)

// open puts the workspace there; ago is how long ago it was deleted, 0 for one that is not.
func (b *backend) open(ago time.Duration, users ...member) {
	b.space = &space{ID: aSpace, Name: "Oldname", OrgID: anOrg, Users: append([]member{{bystander, "ADMIN"}}, users...)}
	if ago > 0 {
		b.space.DeletedAt = new(b.now().Add(b.Ahead - ago))
	}
}

// access is the subject's to the workspace; "" is none.
func (b *backend) access() string {
	if b.space != nil {
		for _, m := range b.space.Users {
			if m.UserID == subject {
				return m.Role
			}
		}
	}
	return ""
}

// setAccess gives the subject an access; "" takes the subject out.
func (b *backend) setAccess(role string) {
	if b.space == nil {
		return
	}
	b.space.Users = slices.DeleteFunc(b.space.Users, func(m member) bool { return m.UserID == subject })
	if role != "" {
		b.space.Users = append(b.space.Users, member{subject, role})
	}
}

// inSpace is what a second actor does with the workspace.
func (d deed) inSpace(b *backend) {
	switch d.what {
	case "join":
		b.setAccess("WRITE")
	case "demote":
		if b.access() != "" {
			b.setAccess("READ")
		}
	case "leave":
		b.setAccess("")
	case "retitle":
		if b.space != nil {
			b.space.Name = "Other"
		}
	case "close":
		if b.space != nil && b.space.DeletedAt == nil {
			b.space.DeletedAt = new(b.now().Add(b.Ahead))
		}
	}
}

var spaceDeeds = []string{"join", "demote", "leave", "retitle", "close"}

const justSuccess = `{"success":true}`

// workspace serves the paths below /workspace.
func (b *backend) workspace(method string, path []string, in map[string]any) reply {
	name, _ := in["name"].(string)
	there := b.space != nil && (b.space.DeletedAt == nil || !b.hidesDeleted)
	switch {
	case len(path) == 0 && method == http.MethodPost:
		b.spacesMade++
		return reply{status: 201, body: asJSON(map[string]any{"success": true, "workspace": map[string]string{"id": "made", "name": name, "orgId": anOrg}})}
	case len(path) == 0 && there:
		return reply{status: 200, body: asJSON(map[string]any{"success": true, "workspaces": []*space{b.space}})}
	case len(path) == 0:
		return reply{status: 200, body: `{"success":true,"workspaces":[]}`}
	case len(path) > 1 && (b.space == nil || b.space.DeletedAt != nil):
		return refusal(403, "Insufficient permissions to manage workspace users")
	case len(path) > 1:
		role, _ := in["role"].(string)
		return b.members(method, role)
	case method == http.MethodGet && there:
		return reply{status: 200, body: asJSON(map[string]any{"success": true, "workspace": b.space})}
	case method == http.MethodGet:
		return refusal(404, "Workspace not found or access denied")
	case b.space == nil, method == http.MethodPut && b.space.DeletedAt != nil:
		return refusal(404, "Workspace not found")
	case method == http.MethodPut:
		b.space.Name = name
		return reply{status: 200, body: asJSON(map[string]any{"success": true, "workspace": map[string]string{"id": aSpace, "name": name, "orgId": anOrg}})}
	case b.space.DeletedAt != nil:
		return b.deleteAgain
	}
	b.space.DeletedAt = new(b.now().Add(b.Ahead))
	return reply{status: 200, body: justSuccess}
}

// members serves the calls on the users of the workspace. The one they are about is the
// subject.
func (b *backend) members(method, role string) reply {
	switch in := b.access() != ""; {
	case method == http.MethodPost && in && !b.twins: // not documented
		return b.taken
	case method != http.MethodPost && !in:
		return refusal(404, "User not found in workspace")
	}
	b.setAccess(role) // "" for a removal
	return reply{status: 200, body: justSuccess}
}

// who serves the paths below /user.
func (b *backend) who(path []string, in map[string]any) reply {
	p := b.find(subject)
	if p == nil {
		return refusal(404, "User not found")
	}
	data := map[string]any{"id": p.ID, "userId": p.ID, "orgRole": p.Role}
	if len(path) > 1 {
		role, _ := in["orgRole"].(float64)
		data = map[string]any{"userId": p.ID, "previousRole": p.Role, "newRole": role}
		p.Role = int(role)
	}
	return reply{status: 200, body: asJSON(map[string]any{"success": true, "data": data})}
}

// ofMember is what the caller of a call on a user of the workspace is told.
func ofMember(got *flashback.Membership, err error) told {
	t := of(err)
	if err == nil {
		t.recovered, t.attempts = got.Recovered, got.Attempts
		return t.result(differs("the member", got.WorkspaceID+" "+got.UserID, aSpace+" "+subject))
	}
	return t
}

func hasAccess(want string) func(*backend) bool {
	return func(b *backend) bool { return b.access() == want }
}

func deleteTheSpace(ctx context.Context, c *flashback.Client) told {
	got, err := c.Workspaces.Delete(ctx, aSpace)
	t := of(err)
	if err == nil {
		t.recovered, t.attempts = got.Recovered, got.Attempts
		return t.result(differs("WorkspaceID", got.WorkspaceID, aSpace))
	}
	return t
}

func isClosed(b *backend) bool { return b.space != nil && b.space.DeletedAt != nil }

var (
	addUser = &operation{
		name: "add user", starts: []string{isOut, isIn, isInOther}, asked: hasAccess("WRITE"),
		call: func(ctx context.Context, c *flashback.Client) told {
			return ofMember(c.Workspaces.AddUser(ctx, aSpace, subject, flashback.AccessWrite))
		},
	}
	setAccess = &operation{
		name: "set access", starts: []string{isInOther, isIn, isOut}, asked: hasAccess("WRITE"),
		call: func(ctx context.Context, c *flashback.Client) told {
			return ofMember(c.Workspaces.SetAccess(ctx, aSpace, subject, flashback.AccessWrite))
		},
	}
	removeUser = &operation{
		name: "remove user", starts: []string{isIn, isOut}, asked: hasAccess(""),
		call: func(ctx context.Context, c *flashback.Client) told {
			return ofMember(c.Workspaces.RemoveUser(ctx, aSpace, subject))
		},
	}
	delSpace = &operation{
		name: "delete workspace", starts: []string{isActive, isDeleted, isAbsent}, deletes: true, asked: isClosed, call: deleteTheSpace,
	}
	// delReadSpace is a delete by a client that has read the workspace before.
	delReadSpace = &operation{
		name: "delete read workspace", starts: []string{isActive, isDeleted, isAbsent}, deletes: true, asked: isClosed, call: deleteTheSpace,
		before: func(ctx context.Context, c *flashback.Client) { _, _ = c.Workspaces.Get(ctx, aSpace) },
	}
	createSpace = &operation{
		name: "create workspace", starts: []string{isAbsent}, once: true, asked: func(b *backend) bool { return b.spacesMade > 0 },
		call: func(ctx context.Context, c *flashback.Client) told {
			got, err := c.Workspaces.Create(ctx, newName)
			if t := of(err); err != nil {
				return t
			}
			return told{}.result(differs("the workspace", got.Name, newName))
		},
	}
	renameSpace = &operation{
		name: "rename workspace", starts: []string{isActive, isAbsent}, asked: func(b *backend) bool { return b.space != nil && b.space.Name == newName },
		call: func(ctx context.Context, c *flashback.Client) told {
			got, err := c.Workspaces.Rename(ctx, aSpace, newName)
			if t := of(err); err != nil {
				return t
			}
			return told{}.result(differs("the workspace", got.ID+" "+got.Name, aSpace+" "+newName))
		},
	}
	setRole = &operation{
		name: "set role", starts: []string{isActive, isAbsent},
		asked: func(b *backend) bool {
			p := b.find(subject)
			return p != nil && p.Role == int(flashback.RoleBilling)
		},
		call: func(ctx context.Context, c *flashback.Client) told {
			got, err := c.Organization.Users.SetRole(ctx, subject, flashback.RoleBilling)
			if t := of(err); err != nil {
				return t
			}
			return told{}.result(differs("the role", plainID(got.UserID)+" "+got.NewRole.String(), plainID(subject)+" BILLING"))
		},
	}
	getSpace = &operation{
		name: "get workspace", starts: []string{isActive, isAbsent}, reads: true, asked: anything,
		call: func(ctx context.Context, c *flashback.Client) told {
			got, err := c.Workspaces.Get(ctx, aSpace)
			if t := of(err); err != nil {
				return t
			}
			return told{}.result(differs("the workspace", got.ID+" "+got.Users[0].UserID, aSpace+" "+bystander))
		},
	}
	listSpaces = &operation{
		name: "list workspaces", starts: []string{isActive}, reads: true, asked: anything,
		call: func(ctx context.Context, c *flashback.Client) told {
			got, err := c.Workspaces.List(ctx)
			if t := of(err); err != nil {
				return t
			}
			return told{}.result(differs("the number of workspaces", len(got), 1))
		},
	}
	profile = &operation{
		name: "profile", starts: []string{isActive, isAbsent}, reads: true, asked: anything,
		call: func(ctx context.Context, c *flashback.Client) told {
			got, err := c.Profile(ctx)
			if t := of(err); err != nil {
				return t
			}
			return told{}.result(differs("the user", plainID(got.ID), plainID(subject)))
		},
	}
	role = &operation{
		name: "role", starts: []string{isActive, isAbsent}, reads: true, asked: anything,
		call: func(ctx context.Context, c *flashback.Client) told {
			got, err := c.Organization.Users.Role(ctx, subject)
			if t := of(err); err != nil {
				return t
			}
			return told{}.result(differs("the role", *got.OrgRole, flashback.RoleUser))
		},
	}
	spaceOperations = []*operation{
		addUser, setAccess, removeUser, delSpace, delReadSpace, createSpace, renameSpace, setRole, getSpace, listSpaces, profile, role,
	}
)

// ofSpaces tells whether the operation is about workspaces.
func (op *operation) ofSpaces() bool {
	return strings.Contains(op.name, "workspace") || op == addUser || op == setAccess || op == removeUser
}

// removedByProxy tells whether a proxy has repeated a removal that was applied, so that the
// client saw the 404 of the second one only. Then nothing tells it from a user who was never in the
// workspace.
func (p *played) removedByProxy() bool {
	if p.op != removeUser || p.told.unknown || len(p.events) == 0 {
		return false
	}
	last := p.events[len(p.events)-1]
	return last.method == http.MethodDelete && last.status == http.StatusNotFound && (last.move.act == repeats || p.world == proxied || p.trouble.Proxy)
}
