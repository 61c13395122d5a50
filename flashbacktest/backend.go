package flashbacktest

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
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

	Password    string // as it was created with; the one to log in with
	MFACode     string // what a login needs as the second factor; "" if it needs none
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
	Body   []byte // the first MiB
	// Applied tells whether the request was carried out: one that is not a GET or a
	// HEAD, and that the backend itself, or a handler of [Backend.Handle], responded
	// to with a 2xx, whatever a fault made of that response.
	Applied bool
}

// Backend is a fake Flashback backend. It needs no closing, and is safe for
// concurrent use.
//
// [Backend.Client] makes clients of it that need no network. It is also an
// [http.RoundTripper], for those who wrap one, and an [http.Handler], for those who
// serve it in a way of their own; [New] serves one on a loopback connection.
type Backend struct {
	token         string
	builtIn, mine *http.ServeMux

	mu sync.Mutex
	records
	scripts  map[string][]Fault // by ID; "" is for any request
	decide   func(*http.Request) Fault
	received []*Request
	limit    limit

	grants
}

// records are what the backend keeps, by ID, and how many of it were created by requests.
type records struct {
	users      map[string]*User
	orgs       map[string]*flashback.Organization
	workspaces map[string]*Workspace

	created, createdWorkspaces int
}

// grants are the tokens that the backend has issued.
type grants struct {
	issued    int // revoked ones too
	tokens    map[string]token
	lifetime  time.Duration
	refreshes []refreshToken
	keepsOld  bool // refresh tokens
}

type token struct {
	userID  string
	issued  time.Time
	limited bool // until the second factor is verified
}

// NewBackend returns a backend with one organization, [DefaultOrg], and one user in
// it, "owner", whose account is validated and whom [Backend.Token] belongs to.
func NewBackend() *Backend {
	b := &Backend{
		mine: http.NewServeMux(),
		records: records{
			users: map[string]*User{}, orgs: map[string]*flashback.Organization{}, workspaces: map[string]*Workspace{},
		},
		grants:  grants{tokens: map[string]token{}},
		scripts: map[string][]Fault{},
	}
	b.builtIn = b.endpoints()
	b.AddOrganization(flashback.Organization{ID: DefaultOrg, Name: "Organization 1", Domain: "org-1.example"})
	b.AddUser(User{ID: "owner", Role: flashback.RoleOwner, Validated: true})
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

// AddDeletedUser adds a user to [DefaultOrg] who was soft-deleted a day ago.
func (b *Backend) AddDeletedUser(id string) {
	yesterday := time.Now().AddDate(0, 0, -1)
	b.AddUser(User{ID: id, DeletedAt: &yesterday})
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
	text := fmt.Sprintf("fake-token-%d-of-%x", b.issued, userID)
	b.tokens[text] = token{userID: userID, issued: time.Now()}
	return text
}

// RevokeToken makes an access token, or a refresh token, a bad one.
func (b *Backend) RevokeToken(token string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.tokens, token)
	b.refreshes = slices.DeleteFunc(b.refreshes, func(t refreshToken) bool { return t.text == token })
}

// SetTokenLifetime makes each access token a bad one when so much time has passed
// since it was issued, those that are out already too. 0, as at first, lets them live
// forever. The API's live an hour.
func (b *Backend) SetTokenLifetime(lifetime time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lifetime = lifetime
}

// caller is the user whose token the request has, or nil. The mutex is held.
func (b *Backend) caller(r *http.Request) *User {
	text, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	found := b.tokens[text]
	user := b.users[found.userID]
	if !bearer || user == nil || user.Deleted() || b.lifetime > 0 && time.Since(found.issued) >= b.lifetime {
		return nil
	}
	return user
}

// limited tells whether the request's token waits for a second factor. The mutex is held.
func (b *Backend) limited(r *http.Request) bool {
	return b.tokens[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")].limited
}

// admit returns the user who may make the request, or refuses it and returns nil. The
// mutex is held.
func (b *Backend) admit(w http.ResponseWriter, r *http.Request) *User {
	user := b.caller(r)
	switch {
	case user == nil:
		respond(w, http.StatusUnauthorized, noAuthUser)
	case b.limited(r) && !strings.HasPrefix(r.URL.Path, "/mfa/"):
		respond(w, http.StatusForbidden, envelope{Message: "MFA verification required"})
		return nil
	}
	return user
}

// Handle adds an endpoint of the test's own. The pattern is one of [http.ServeMux],
// such as "GET /bucket/{id}", and comes before the backend's own. Such an endpoint is
// like the backend's: it wants a good access token, it is recorded, and faults
// are played on it. A login that waits for its second factor gets a 403, except below
// /mfa/. A handler may call the backend.
//
// A handler runs as under net/http, with these differences: its response is sent when it
// has returned, whatever it flushes, and it can't send trailers or take over the
// connection. Another method on the path of a pattern gets a 405 with an Allow.
func (b *Backend) Handle(pattern string, handler http.HandlerFunc) {
	b.mine.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		b.mu.Lock()
		user := b.admit(w, r)
		b.mu.Unlock()
		if user != nil {
			handler(w, r)
		}
	})
}

// Requests returns what the backend received, oldest first.
func (b *Backend) Requests() []Request {
	b.mu.Lock()
	defer b.mu.Unlock()
	requests := make([]Request, 0, len(b.received))
	for _, received := range b.received {
		one := *received
		one.Header, one.Body = one.Header.Clone(), slices.Clone(one.Body)
		requests = append(requests, one)
	}
	return requests
}

// Reset forgets what was received, the faults that are left and the rate limit.
// Users, organizations, workspaces, tokens and endpoints stay.
func (b *Backend) Reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.received, b.decide, b.limit = nil, nil, limit{}
	clear(b.scripts)
}

// ServeHTTP responds to a request as the backend would, or as a fault says.
func (b *Backend) ServeHTTP(w http.ResponseWriter, r *http.Request) { b.serve(w, r, b.next) }

// serve plays the fault that next has for the request.
func (b *Backend) serve(w http.ResponseWriter, r *http.Request, next func(*http.Request) Fault) {
	received := &Request{Method: r.Method, Path: r.URL.EscapedPath(), Header: r.Header.Clone()}
	var body []byte
	if r.Body != nil {
		body, _ = io.ReadAll(r.Body) // a request that was cut is one as far as it came
		received.Body = slices.Clone(body[:min(len(body), 1<<20)])
	}
	b.mu.Lock()
	b.received = append(b.received, received)
	b.mu.Unlock()
	fault := next(r)
	if fault.applies() {
		own := r.WithContext(r.Context()) // a copy
		own.Body = io.NopCloser(bytes.NewReader(body))
		reply := &reply{header: http.Header{}}
		b.route(reply, own)
		reply.Flush()
		if fault.Status == 0 {
			fault.early = reply.early
			fault.Status, fault.Header, fault.Body = reply.written.status, reply.written.header, reply.written.body.String()
		}
		b.mu.Lock()
		received.Applied = reply.written.status < 300 && r.Method != http.MethodGet && r.Method != http.MethodHead
		b.mu.Unlock()
	}
	fault.deliver(w, r)
}

// route responds to a request that no fault keeps from being applied.
func (b *Backend) route(w http.ResponseWriter, r *http.Request) {
	for _, mux := range []*http.ServeMux{b.mine, b.builtIn} {
		if _, pattern := mux.Handler(r); pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
	}
	status := http.StatusNotFound
	for _, mux := range []*http.ServeMux{b.mine, b.builtIn} {
		refusal := httptest.NewRecorder()
		mux.ServeHTTP(refusal, r)
		if refusal.Code == http.StatusMethodNotAllowed {
			status = refusal.Code
			w.Header().Add("Allow", refusal.Header().Get("Allow"))
		}
	}
	respond(w, status, envelope{Message: http.StatusText(status)})
}

// next is what happens to the next request.
func (b *Backend) next(r *http.Request) Fault {
	b.mu.Lock()
	defer b.mu.Unlock() // a function of the test's runs below, and may panic
	if b.limit.exceeded(time.Now()) {
		return RateLimited(time.Second)
	}
	_, path, _ := strings.Cut(r.URL.EscapedPath(), "/")
	for _, segment := range append(strings.Split(path, "/"), "") {
		id, _ := url.PathUnescape(segment) // it may have slashes of its own, escaped
		if script := b.scripts[id]; len(script) > 0 {
			b.scripts[id] = script[1:]
			return script[0]
		}
	}
	if b.decide != nil {
		fault := b.decide(r)
		fault.check()
		return fault
	}
	return Fault{}
}

// limit is a rate limit: a bucket of tokens.
type limit struct {
	perSecond, burst, left float64
	last                   time.Time
}

// LimitRate lets perSecond requests a second through, and burst (at least one) at
// once. The rest gets a 429 with "Retry-After: 1" and does nothing, and no fault
// is played on it. A perSecond of 0 switches the limit off.
func (b *Backend) LimitRate(perSecond, burst int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	burst = max(burst, 1)
	b.limit = limit{perSecond: float64(perSecond), burst: float64(burst), left: float64(burst), last: time.Now()}
}

func (l *limit) exceeded(now time.Time) bool {
	if l.perSecond == 0 {
		return false
	}
	passed := max(0, now.Sub(l.last)) // in a synctest bubble, it is 2000 again
	l.left = min(l.burst, l.left+passed.Seconds()*l.perSecond)
	l.last = now
	if l.left < 1 {
		return true
	}
	l.left--
	return false
}
