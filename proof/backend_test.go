package proof_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// The backend of the model has a true state and says what the API's documentation
// says. Where the documentation is silent, it has manners, which the tests vary. It
// shares nothing with the package under test, nor with its fake backend.

// manners are what the documentation leaves open.
type manners struct {
	name         string
	deleteAgain  reply         // to a delete of a user who is deleted
	taken        reply         // to a create with an e-mail address that exists
	twins        bool          // or it makes a second user with it
	hidesDeleted bool          // Get of a deleted user is a 404
	notDeleted   string        // the message of Activate's 400
	skew         time.Duration // of the server's clock
}

var allManners = []manners{
	{
		name:        "plain",
		deleteAgain: refusal(400, "User is already deleted"),
		taken:       refusal(400, "Email already exists"),
		notDeleted:  "User is not deleted",
	},
	{
		name:        "an hour ahead, other words",
		deleteAgain: refusal(404, "User not found"),
		taken:       refusal(409, "Email already in use"),
		notDeleted:  "This user is active",
		skew:        time.Hour,
	},
	{
		name:        "an hour behind",
		deleteAgain: refusal(409, "User is already deleted"),
		taken:       refusal(422, "email must be unique"),
		notDeleted:  "User is not deleted.",
		skew:        -time.Hour,
	},
	{
		name:         "hides deleted users",
		deleteAgain:  refusal(410, "User is gone"),
		taken:        refusal(500, "Internal server error"), // an ORM's unique constraint, not caught
		hidesDeleted: true,
		notDeleted:   "User is not deleted",
	},
	{
		name:        "deletes again, allows twins",
		deleteAgain: reply{status: 200, body: `{"success":true,"message":"User deleted successfully"}`},
		twins:       true,
		notDeleted:  "User is not deleted",
	},
}

// reply is what a server sends.
type reply struct {
	status int
	header http.Header // beside Date and Content-Type
	body   string
	cut    bool // the connection breaks in the middle of the body
}

func refusal(status int, message string) reply {
	return reply{status: status, body: fmt.Sprintf(`{"success":false,"message":%q}`, message)}
}

// person is a user of the backend.
type person struct {
	ID        string     `json:"id"`
	Email     string     `json:"email"`
	Name      string     `json:"name"`
	LastName  string     `json:"lastName"`
	OrgID     string     `json:"orgId"`
	Role      int        `json:"orgRole"`
	DeletedAt *time.Time `json:"deletedAt"`
	Visits    int        `json:"-"` // those of the endpoints for which the package has no method
}

const (
	subject   = "0b7c2d1e-94a5-4b56-8f0d-3d1c2b7a9e4f" // the user whom the calls are about
	bystander = "user-2"
	anOrg     = "org-1"
	address   = "mi.ke+new@googlemail.com"
	newName   = "Newname"
)

type backend struct {
	manners
	trouble

	people  []*person
	space   *space // nil for none
	orgName string
	mails   int // invitations that were sent again
	created int // users whom requests created
	applied int // requests of the client that it carried out, but for those that read

	spacesMade int // workspaces that requests created
}

func newBackend(m manners, t trouble) *backend {
	return &backend{manners: m, trouble: t, orgName: "Org", people: []*person{
		{ID: bystander, Email: "by@example.com", Name: "By", LastName: "Stander", OrgID: anOrg},
	}}
}

func (b *backend) now() time.Time { return time.Now().Add(b.skew).UTC() }

func (b *backend) find(id string) *person {
	for _, p := range b.people {
		if p.ID == b.writesID(id) {
			return p
		}
	}
	return nil
}

func (b *backend) withAddress(email string) *person {
	for _, p := range b.people {
		if p.Email == b.writesAddress(email) {
			return p
		}
	}
	return nil
}

// add puts a user there; ago is how long ago that user was deleted, 0 for an active one.
func (b *backend) add(p person, ago time.Duration) *person {
	if ago > 0 {
		at := b.now().Add(b.Ahead - ago)
		p.DeletedAt = &at
	}
	p.OrgID = anOrg
	p.ID, p.Email = b.writesID(p.ID), b.writesAddress(p.Email)
	b.people = append(b.people, &p)
	return &p
}

func (b *backend) delete(p *person) {
	at := b.now().Add(b.Ahead)
	p.DeletedAt = &at
}

// serve carries a request of the client out.
func (b *backend) serve(method, path string, body []byte) reply {
	r := b.route(method, path, body)
	if r.status < 300 && method != http.MethodGet && !strings.HasSuffix(path, "/query") {
		b.applied++
	}
	return r
}

func (b *backend) route(method, path string, body []byte) reply {
	var in map[string]any
	if len(body) > 0 {
		if err := json.Unmarshal(body, &in); err != nil {
			return refusal(400, "not JSON")
		}
	}
	segments := strings.Split(strings.Trim(path, "/"), "/")
	switch segments[0] {
	case "workspace":
		return b.workspace(method, segments[1:], in)
	case "user":
		return b.who(segments[1:], in)
	}
	if len(segments) < 2 || segments[0] != "organization" {
		return reply{status: 404, body: page}
	}
	if len(segments) == 2 && segments[1] != "users" {
		return b.organization(method, segments[1], in)
	}
	if len(segments) == 2 {
		if method == http.MethodPost {
			return b.create(in)
		}
		return b.list()
	}
	p := b.find(segments[2])
	if p == nil {
		return refusal(404, "User not found")
	}
	deleted := p.DeletedAt != nil
	switch method + " " + strings.Join(segments[3:], "") {
	case "GET ":
		if deleted && b.hidesDeleted {
			return refusal(404, "User not found")
		}
		return reply{status: 200, body: asJSON(p)}
	case "PUT ":
		if name, ok := in["name"].(string); ok {
			p.Name = name
		}
		return reply{status: 200, body: asJSON(map[string]any{"success": true, "data": p, "message": "User updated successfully"})}
	case "DELETE ":
		if deleted {
			return b.deleteAgain
		}
		b.delete(p)
		return reply{status: 200, body: `{"success":true,"message":"User deleted successfully"}`}
	case "POST activate":
		if !deleted {
			return refusal(400, b.notDeleted)
		}
		p.DeletedAt = nil
		return reply{status: 200, body: `{"success":true,"message":"User activated successfully"}`}
	case "PUT visits":
		visits, _ := in["visits"].(float64)
		p.Visits = int(visits)
		return p.visits()
	case "POST visits":
		p.Visits++
		return p.visits()
	case "POST visitsquery":
		return p.visits()
	case "POST resend-invitation":
		b.mails++
		return reply{status: 200, body: `{"success":true}`}
	}
	return refusal(404, "no such endpoint")
}

func (p *person) visits() reply {
	return reply{status: 200, body: asJSON(map[string]any{"success": true, "data": map[string]int{"visits": p.Visits}})}
}

func (b *backend) create(in map[string]any) reply {
	email, _ := in["email"].(string)
	if b.withAddress(email) != nil && !b.twins {
		return b.taken
	}
	first, _ := in["firstName"].(string)
	last, _ := in["lastName"].(string)
	role, _ := in["orgRole"].(float64)
	b.created++
	p := b.add(person{ID: fmt.Sprintf("made-%d", b.created), Email: email, Name: first, LastName: last, Role: int(role)}, 0)
	return reply{status: 201, body: asJSON(map[string]any{"success": true, "data": p, "message": "User created successfully."})}
}

func (b *backend) organization(method, id string, in map[string]any) reply {
	if id != anOrg {
		return refusal(404, "Organization not found")
	}
	if name, ok := in["name"].(string); ok && method == http.MethodPut {
		b.orgName = name
	}
	return reply{status: 200, body: asJSON(map[string]any{"success": true, "data": map[string]any{"id": anOrg, "name": b.orgName}})}
}

func asJSON(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err) // of plain strings and numbers
	}
	return string(text)
}
