package flashbacktest

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	flashback "github.com/flashbacknetwork/flashback-go"
)

// DefaultOrg is the organization of users that name none.
const DefaultOrg = "org-1"

// User is a user of the fake backend.
type User struct {
	ID        string
	Email     string
	Name      string
	LastName  string
	OrgID     string // DefaultOrg if empty
	Role      flashback.Role
	Validated bool
	DeletedAt *time.Time // nil for an active user

	Password    string // as it was created with
	Invitations int    // sent to this user
}

// Deleted tells whether the user is soft-deleted.
func (u User) Deleted() bool { return u.DeletedAt != nil }

// copied shares nothing with u.
func (u User) copied() User {
	if u.DeletedAt != nil {
		at := *u.DeletedAt
		u.DeletedAt = &at
	}
	return u
}

// Request is a request that the backend received.
type Request struct {
	Method string
	// Path is the path as it came, still escaped.
	Path   string
	Header http.Header
	Body   []byte
	// Applied tells whether the request changed something.
	Applied bool
}

// Backend is a fake Flashback backend, as an [http.Handler]. [NewServer] and
// [New] serve one on a loopback connection; make a Backend of your own to serve
// it in another way. It is safe for concurrent use.
type Backend struct {
	token  string
	closed chan struct{}

	mu       sync.Mutex
	users    map[string]*User
	orgs     map[string]*flashback.Organization
	created  int
	tokens   map[string]string  // to user IDs
	issued   int                // tokens, revoked ones too
	scripts  map[string][]Fault // by user ID; "" is for any request
	decide   func(*http.Request) Fault
	received []Request
	limit    limit
}

// NewBackend returns a backend with one organization, [DefaultOrg], and one user
// in it, its owner, whom [Backend.Token] belongs to.
func NewBackend() *Backend {
	b := &Backend{
		closed:  make(chan struct{}),
		users:   map[string]*User{},
		orgs:    map[string]*flashback.Organization{},
		tokens:  map[string]string{},
		scripts: map[string][]Fault{},
	}
	b.AddOrganization(flashback.Organization{ID: DefaultOrg, Name: "Organization 1", Domain: "org-1.example"})
	b.AddUser(User{ID: "owner", Role: flashback.RoleOwner})
	b.token = b.AddToken("owner")
	return b
}

// Token is the access token of the owner of [DefaultOrg].
func (b *Backend) Token() string { return b.token }

// AddUser adds a user, or replaces the one with the same ID.
func (b *Backend) AddUser(u User) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if u.OrgID == "" {
		u.OrgID = DefaultOrg
	}
	copied := u.copied()
	b.users[u.ID] = &copied
}

// AddDeletedUser adds a soft-deleted user to [DefaultOrg].
func (b *Backend) AddDeletedUser(id string) {
	now := time.Now()
	b.AddUser(User{ID: id, DeletedAt: &now})
}

// User returns the user with the ID as it is now, and whether there is one.
func (b *Backend) User(id string) (User, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	u, ok := b.users[id]
	if !ok {
		return User{}, false
	}
	return u.copied(), true
}

// AddOrganization adds an organization, or replaces the one with the same ID.
func (b *Backend) AddOrganization(o flashback.Organization) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.orgs[o.ID] = &o
}

// Organization returns the organization with the ID as it is now, and whether there
// is one.
func (b *Backend) Organization(id string) (flashback.Organization, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	o, ok := b.orgs[id]
	if !ok {
		return flashback.Organization{}, false
	}
	return *o, true
}

// Users returns all users as they are now, by their IDs.
func (b *Backend) Users() []User {
	b.mu.Lock()
	defer b.mu.Unlock()
	users := make([]User, 0, len(b.users))
	for _, id := range slices.Sorted(maps.Keys(b.users)) {
		users = append(users, b.users[id].copied())
	}
	return users
}

// AddToken returns a new access token that belongs to the user with the ID.
func (b *Backend) AddToken(userID string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.issued++
	token := fmt.Sprintf("fake-token-%d-of-%x", b.issued, userID)
	b.tokens[token] = userID
	return token
}

// RevokeToken makes a token a bad one.
func (b *Backend) RevokeToken(token string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.tokens, token)
}

// Requests returns what the backend received, oldest first.
func (b *Backend) Requests() []Request {
	b.mu.Lock()
	defer b.mu.Unlock()
	requests := slices.Clone(b.received)
	for i := range requests {
		requests[i].Header = requests[i].Header.Clone()
		requests[i].Body = slices.Clone(requests[i].Body)
	}
	return requests
}

// Reset forgets what was received, the faults that are left and the rate limit.
// Users, organizations and tokens stay.
func (b *Backend) Reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.received, b.decide, b.limit = nil, nil, limit{}
	clear(b.scripts)
}

// Close ends requests that stall.
func (b *Backend) Close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-b.closed:
	default:
		close(b.closed)
	}
}

// ServeHTTP answers a request as the backend would, or as a fault says.
func (b *Backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	received := Request{Method: r.Method, Path: r.URL.EscapedPath(), Header: r.Header.Clone()}
	received.Body, _ = io.ReadAll(io.LimitReader(r.Body, 1<<20)) // a request that was cut is one as far as it came

	reply, fault := b.receive(r, received)
	b.deliver(w, r, reply, fault)
}

func (b *Backend) receive(r *http.Request, received Request) (*response, Fault) {
	b.mu.Lock()
	defer b.mu.Unlock() // a function of the test's runs below, and may panic
	var fault Fault
	reply := b.limit.check(time.Now())
	if reply == nil {
		fault = b.nextFault(r)
		if fault.applies() {
			reply, received.Applied = b.handle(r, received.Body)
		}
		if fault.Status != 0 {
			reply = &response{status: fault.Status, header: fault.Header, body: fault.Body}
		}
	}
	b.received = append(b.received, received)
	return reply, fault
}

// limit is a rate limit: a bucket of tokens.
type limit struct {
	perSecond, burst, left float64
	last                   time.Time
}

// LimitRate lets perSecond requests a second through, and burst (at least one) at
// once. The rest is answered 429 with "Retry-After: 1" and does nothing, and no fault
// is played on it. A perSecond of 0 switches the limit off.
func (b *Backend) LimitRate(perSecond, burst int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	burst = max(burst, 1)
	b.limit = limit{perSecond: float64(perSecond), burst: float64(burst), left: float64(burst), last: time.Now()}
}

func (l *limit) check(now time.Time) *response {
	if l.perSecond == 0 {
		return nil
	}
	l.left = min(l.burst, l.left+now.Sub(l.last).Seconds()*l.perSecond)
	l.last = now
	if l.left >= 1 {
		l.left--
		return nil
	}
	return tooMany(time.Second)
}

func tooMany(after time.Duration) *response {
	reply := envelope(http.StatusTooManyRequests, "Too many requests")
	reply.header.Set("Retry-After", strconv.Itoa(int(after.Seconds())))
	return reply
}
