package proof_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	flashback "github.com/flashbacknetwork/flashback-go"
)

// The world of a session is a server with a true state, a network and a store whose faults are known, and
// processes that can be killed. It shares nothing with the package but the public functions.

// issuer is what a server does with refresh tokens, which the API's documentation leaves open.
type issuer struct {
	name     string
	rotates  bool          // a refresh replaces the refresh token
	family   bool          // a replaced one that comes again ends all tokens of the session
	grace    time.Duration // how long a replaced one is still taken
	prolongs bool          // a refresh gives the same access token with a later end
}

var issuers = []issuer{
	{name: "keeps refresh tokens"},
	{name: "rotates", rotates: true},
	{name: "ends the family", rotates: true, family: true},
	{name: "ends the family after 5 s", rotates: true, family: true, grace: 5 * time.Second},
	{name: "ends the family after 60 s", rotates: true, family: true, grace: time.Minute},
	{name: "prolongs", prolongs: true},
}

// sessionServer is the truth about one user's session.
type sessionServer struct {
	issuer
	skew time.Duration // of its clock

	access   map[string]time.Time // the ends
	refused  map[string]bool      // access tokens that got a 401: nobody can know that they were prolonged later
	replaced map[string]time.Time // refresh tokens, and when they were replaced; zero: they were not
	issued   int
	ended    bool // by a logout, or because a replaced token came again
	loggedOn int  // logouts that were carried out
	refusals int  // 401s of its own to a refresh
}

func newSessionServer(i issuer, skew time.Duration) *sessionServer {
	return &sessionServer{issuer: i, skew: skew, access: map[string]time.Time{}, refused: map[string]bool{}, replaced: map[string]time.Time{}}
}

func (s *sessionServer) lives(access string, margin time.Duration) bool {
	ends, known := s.access[access]
	return known && time.Now().Add(margin).Before(ends)
}

func (s *sessionServer) grant(access, refresh string) reply {
	s.issued++
	if access == "" {
		access = fmt.Sprintf("access-token-of-the-model-%d", s.issued)
	}
	if refresh == "" {
		refresh = fmt.Sprintf("refresh-token-of-the-model-%d", s.issued)
	}
	ends := time.Now().Add(time.Hour)
	s.access[access] = ends
	s.replaced[refresh] = time.Time{}
	return reply{status: 200, body: asJSON(map[string]any{
		"success": true, "accessToken": access, "refreshToken": refresh, "expiresAt": ends.Add(s.skew).UnixMilli(),
	})}
}

var unauthorizedByAPI = reply{status: 401, body: `{"success":false,"error_code":"NO_AUTH_USER"}`}

func (s *sessionServer) serve(req *http.Request, body []byte) reply {
	var in struct {
		Refresh string `json:"refresh_token"`
	}
	_ = json.Unmarshal(body, &in) // what can't be read is not there
	access := strings.TrimPrefix(req.Header.Get("Authorization"), "Bearer ")
	switch req.URL.Path {
	case "/user/login":
		s.ended = false
		return s.grant("", "")
	case "/mfa/status":
		return reply{status: 200, body: `{"success":true,"data":{"isEnabled":false,"isRequired":false,"sessionVerified":true}}`}
	case "/user/refresh":
		return s.refresh(in.Refresh)
	case "/user/logout":
		if !s.lives(access, 0) {
			return unauthorizedByAPI
		}
		s.ended = true
		s.loggedOn++
		return reply{status: 200, body: `{"success":true}`}
	}
	if !s.lives(access, 0) {
		s.refused[access] = true
		return unauthorizedByAPI
	}
	return reply{status: 200, body: `{"success":true}`}
}

func (s *sessionServer) refresh(token string) reply {
	at, known := s.replaced[token]
	late := !at.IsZero() && time.Since(at) > s.grace
	if known && late && s.family {
		s.ended = true
	}
	if !known || late || s.ended {
		s.refusals++
		return reply{status: 401, body: `{"success":false,"error_code":"INVALID_REFRESH_TOKEN"}`}
	}
	switch {
	case s.prolongs:
		for access := range s.access {
			return s.grant(access, token)
		}
	case !s.rotates:
		return s.grant("", token)
	}
	if at.IsZero() {
		s.replaced[token] = time.Now()
	}
	return s.grant("", "")
}

// fault is one thing that goes wrong.
type fault struct {
	name string
	step string // of the store at which it happens, or "request" for a refresh or a logout; for a kill, ""
	kind string // "before", "after", "hang before", "hang after", "kill"; for a request also a key of gatewayReplies
	at   int    // of a kill: at which step of the process
}

var gatewayReplies = map[string]reply{
	"403":           {status: 403, body: `{"message":"Forbidden"}`},
	"404":           {status: 404, body: `{"message":"no Route matched with those values"}`},
	"400":           {status: 400, body: `{"message":"Bad Request"}`},
	"401 page":      {status: 401, body: page},
	"success false": {status: 200, body: `{"success":false,"message":"No"}`},
	"503":           {status: 503, body: page},
	"429":           {status: 429, body: page},
}

const (
	killPoints = 16
	latency    = 100 * time.Millisecond // of each way of a request
)

// allFaults are those of the first process: of its requests, its store, and its end.
var allFaults = func() (all []fault) {
	for kind := range gatewayReplies {
		all = append(all, fault{name: "gateway", step: "request", kind: kind})
	}
	for _, kind := range []string{"before", "after"} {
		all = append(all, fault{name: "lost", step: "request", kind: kind}, fault{name: "late", step: "request", kind: "hang " + kind})
	}
	for _, step := range []string{"lock", "load", "begin", "save", "unlock"} {
		for _, kind := range []string{"before", "after", "hang before", "hang after"} {
			all = append(all, fault{name: "store", step: step, kind: kind})
		}
	}
	for at := range killPoints {
		all = append(all, fault{name: "kill", kind: "kill", at: at})
	}
	slices.SortFunc(all, func(a, b fault) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	return all
}()

var (
	errFault = errors.New("the store has failed")
	errDead  = errors.New("the process was killed")
)

// process is one that uses the session.
type process struct {
	world  *sessionWorld
	faults []fault // each happens once
	steps  int
	dead   bool
	died   chan struct{}
	held   func() // gives back the lock that it has, as the system does when it ends

	paused  time.Time // when something that is not the API refused a refresh; zero: nothing has
	refused string    // the refresh token that the API has refused
	granted string    // the newest refresh token that it got, and that is not kept yet
}

// sessionWorld is all of it. Its mutex guards what has changed since the beginning of the bubble.
type sessionWorld struct {
	mu        sync.Mutex
	server    *sessionServer
	store     flashback.TokenStore
	over      chan struct{} // closed at the end: lets go what hangs, and what is dead
	clean     bool          // no more faults
	unheard   bool          // a grant was not delivered
	forgotten bool          // a process ended with a grant that was not kept
	shared    bool          // there are two processes at a time
	wrong     []string      // requests that should not have been sent
	storeLost bool          // what one process was granted could not be kept, and the other one could not know it
}

func (w *sessionWorld) process(faults ...fault) *process {
	return &process{world: w, faults: slices.Clone(faults), died: make(chan struct{}), held: func() {}}
}

// kill ends a process: its memory vanishes, and its lock is free.
func (p *process) kill() {
	w := p.world
	w.mu.Lock()
	if p.dead {
		w.mu.Unlock()
		return
	}
	p.dead = true
	w.forgotten = w.forgotten || p.granted != ""
	held := p.held
	w.mu.Unlock()
	held()
	close(p.died)
}

// reach is a moment at which the process can be killed. Whoever is dead waits for the end of the world.
func (p *process) reach() error {
	w := p.world
	w.mu.Lock()
	at := p.steps
	p.steps++
	doomed := !w.clean && slices.ContainsFunc(p.faults, func(f fault) bool { return f.kind == "kill" && f.at == at })
	w.mu.Unlock()
	if doomed {
		p.kill()
	}
	select {
	case <-p.died:
		<-w.over
		return errDead
	default:
		return nil
	}
}

// take returns the kind of the fault that happens now at a step; "" if none does.
func (p *process) take(step string) string {
	p.world.mu.Lock()
	defer p.world.mu.Unlock()
	i := slices.IndexFunc(p.faults, func(f fault) bool { return f.step == step })
	if i < 0 || p.world.clean {
		return ""
	}
	kind := p.faults[i].kind
	p.faults = slices.Delete(p.faults, i, i+1)
	return kind
}

// step does one step of the store, with its faults, and moments to be killed before and after.
func (p *process) step(name string, do func() error) error {
	if err := p.reach(); err != nil {
		return err
	}
	kind := p.take(name)
	if name == "save" && strings.HasSuffix(kind, "before") {
		p.world.mu.Lock()
		p.world.storeLost = p.world.storeLost || p.world.shared
		p.world.mu.Unlock()
	}
	if kind == "hang before" {
		<-p.world.over
	}
	if kind == "before" || kind == "hang before" {
		return errFault
	}
	if err := do(); err != nil {
		return err
	}
	if err := p.reach(); err != nil {
		return err
	}
	if kind == "hang after" {
		<-p.world.over
	}
	if kind != "" {
		return errFault
	}
	return nil
}

// Lock is that of the world's store, for this process.
func (p *process) Lock(ctx context.Context) (flashback.TokenLock, error) {
	var inner flashback.TokenLock
	err := p.step("lock", func() (err error) {
		if inner, err = p.world.store.Lock(ctx); err != nil {
			return err
		}
		p.world.mu.Lock()
		dead := p.dead
		once := sync.OnceFunc(func() { _ = inner.Unlock() }) // a failure is the process's own
		p.held = once
		p.world.mu.Unlock()
		if dead {
			once()
		}
		return nil
	})
	if err != nil {
		if inner != nil {
			p.held()
		}
		return nil, err
	}
	return &processLock{p, inner}, nil
}

type processLock struct {
	p     *process
	inner flashback.TokenLock
}

func (l *processLock) Load() (kept flashback.Tokens, err error) {
	err = l.p.step("load", func() (err error) {
		kept, err = l.inner.Load()
		return err
	})
	return kept, err
}

func (l *processLock) Begin() error { return l.p.step("begin", l.inner.Begin) }

func (l *processLock) Save(next flashback.Tokens) error {
	return l.p.step("save", func() error {
		err := l.inner.Save(next)
		l.p.world.mu.Lock()
		defer l.p.world.mu.Unlock()
		if err == nil && next.Refresh.Reveal() == l.p.granted {
			l.p.granted = ""
		}
		return err
	})
}

func (l *processLock) Unlock() error {
	return l.p.step("unlock", func() error {
		l.p.held()
		return nil
	})
}

// RoundTrip is the network of a process.
func (p *process) RoundTrip(req *http.Request) (*http.Response, error) {
	var body []byte
	if req.Body != nil {
		var err error
		if body, err = io.ReadAll(req.Body); err != nil {
			return nil, err
		}
	}
	kind := ""
	changes := req.URL.Path == "/user/refresh" || req.URL.Path == "/user/logout"
	if changes {
		if err := p.reach(); err != nil {
			return nil, err
		}
		kind = p.take("request")
		<-time.After(latency)
	}
	answer, fromGateway := gatewayReplies[kind]
	p.present(req, body, fromGateway && kind != "503" && kind != "429") // which are sent again in the same call
	switch {
	case kind == "before":
		return nil, reset
	case kind == "hang before":
		return nil, p.wait(req.Context(), time.Hour)
	case !fromGateway:
		p.world.mu.Lock()
		if answer = p.world.server.serve(req, body); changes && answer.status == 200 {
			p.note(req.URL.Path, answer, kind)
		}
		if req.URL.Path == "/user/refresh" && answer.status == 401 && kind == "" {
			p.refused = string(body)
		}
		p.world.mu.Unlock()
	}
	switch kind {
	case "after":
		return nil, reset
	case "hang after":
		return nil, p.wait(req.Context(), time.Hour)
	}
	if changes {
		if err := p.reach(); err != nil {
			return nil, err
		}
		<-time.After(latency)
	}
	header := http.Header{"Date": {time.Now().Add(p.world.server.skew).UTC().Format(http.TimeFormat)}, "Content-Type": {"application/json"}}
	return &http.Response{
		StatusCode: answer.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: header, Request: req,
		Body: io.NopCloser(bytes.NewReader([]byte(answer.body))), ContentLength: int64(len(answer.body)),
	}, nil
}

// present checks that a refresh is not one too many, and records whether it is refused by something that is not the
// API.
func (p *process) present(req *http.Request, body []byte, refused bool) {
	if req.URL.Path != "/user/refresh" {
		return
	}
	w := p.world
	w.mu.Lock()
	defer w.mu.Unlock()
	if since := time.Since(p.paused); since < 30*time.Second-2*latency {
		w.wrong = append(w.wrong, fmt.Sprintf("a refresh %v after one that was refused", since))
	}
	if p.refused == string(body) {
		w.wrong = append(w.wrong, "a refresh token that the API has refused is presented again")
	}
	if p.paused = (time.Time{}); refused {
		p.paused = time.Now()
	}
}

// note records a grant that replaces the refresh token. The mutex is held.
func (p *process) note(path string, answer reply, kind string) {
	w := p.world
	if path != "/user/refresh" || !w.server.rotates {
		return
	}
	var granted struct {
		Refresh string `json:"refreshToken"`
	}
	_ = json.Unmarshal([]byte(answer.body), &granted) // it is the model's own
	if kind != "" {
		w.unheard = true
		return
	}
	p.granted = granted.Refresh
	w.forgotten = w.forgotten || p.dead // A request outlives its process.
}

func (p *process) wait(ctx context.Context, most time.Duration) error {
	select {
	case <-time.After(most):
	case <-ctx.Done():
	case <-p.world.over:
	}
	return reset
}

// shelf is a store in memory, which serves all processes of the model and survives them.
type shelf struct {
	turn chan struct{}

	mu   sync.Mutex // for the control without a lock
	kept flashback.Tokens
}

func newShelf() *shelf { return &shelf{turn: make(chan struct{}, 1)} }

func (s *shelf) Lock(ctx context.Context) (flashback.TokenLock, error) {
	select {
	case s.turn <- struct{}{}:
		return s, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (s *shelf) Load() (flashback.Tokens, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kept, nil
}

func (*shelf) Begin() error { return nil }

func (s *shelf) Save(next flashback.Tokens) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept = next
	return nil
}

func (s *shelf) Unlock() error {
	<-s.turn
	return nil
}

// unlocked is a store that locks nothing: a control.
type unlocked struct{ *shelf }

func (u unlocked) Lock(context.Context) (flashback.TokenLock, error) { return u, nil }
func (unlocked) Unlock() error                                       { return nil }
