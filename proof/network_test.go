package proof_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// The network of the model is a transport. Each request that comes makes one move of
// a schedule: it is carried out or not, and the client sees something. What a server
// says of its own action is true where HTTP or the documentation defines it: a 403 was
// not carried out, a success was. Once the schedule is over, the network is clean.

// timing is when a request is carried out.
type timing string

const (
	never  timing = "never"
	before timing = "before" // the client sees anything
	soon   timing = "soon"   // after the client saw something: 100 ms, less than any backoff
	late   timing = "late"   // 10 s
)

// sight is what a client sees of a request.
type sight struct {
	name      string
	when      []timing
	ambiguous bool // by HTTP and the documentation, it does not tell whether it was carried out
	final     bool // by HTTP and the documentation, repeating does not help
	common    bool // it stands for its kind in long schedules
	heavy     bool // it takes long to play
	reads     bool // only for requests that read
	changes   bool // only for requests that change something

	show func(truth reply) reply // what comes of the backend's reply, which is empty if there is none
	fail error                   // no response: this error of the transport
	act  action                  // beside that
}

// action is what the network does beside showing a response.
type action int

const (
	nothing action = iota
	refuses        // no connection is made
	stalls         // there is no response at all
	resends        // the transport sends the request a second time, and tells the trace
	repeats        // a proxy sends it a second time, and nobody can see it
)

const page = "<html><body>Sorry</body></html>"

// large is too much for most calls, and no JSON for those that read more.
var large = `{"success":true,"message":"` + strings.Repeat("x", 1<<20)

var (
	refused = &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	reset   = &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
)

// timeoutError is the error of a timeout of package net, which matches a context's.
type timeoutError struct{}

func (timeoutError) Error() string        { return "i/o timeout" }
func (timeoutError) Timeout() bool        { return true }
func (timeoutError) Temporary() bool      { return true }
func (timeoutError) Is(target error) bool { return target == context.DeadlineExceeded }

// always shows one response, whatever the backend's is.
func always(status int, body string, header ...string) func(reply) reply {
	h := http.Header{}
	for i := 0; i+1 < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	return func(reply) reply { return reply{status: status, body: body, header: h} }
}

func envelope(status int, message string) func(reply) reply {
	r := refusal(status, message)
	return func(reply) reply { return r }
}

// instead shows another response in place of a success.
func instead(change func(*reply)) func(reply) reply {
	return func(truth reply) reply {
		if truth.status < 300 {
			change(&truth)
		}
		return truth
	}
}

func cutBody(truth reply) reply {
	if truth.status == 0 || truth.status >= 400 && truth.status < 500 { // a refusal is one without its body, too
		truth = reply{status: 200, body: `{"success":true,"data":{}}`}
	}
	truth.cut = true
	return truth
}

var (
	maybe  = []timing{never, before}
	slowly = []timing{never, before, soon, late}
	not    = []timing{never}
	done   = []timing{before}
)

var sights = []sight{
	// Nothing went wrong, or so it seems.
	{name: "clean", when: done, common: true},
	{name: "201", when: done, changes: true, show: instead(func(r *reply) { r.status = 201 })},
	{name: "204", when: done, changes: true, show: instead(func(r *reply) { r.status, r.body = 204, "" })},
	{name: "204 to a read", when: done, reads: true, final: true, show: always(204, "")},
	{name: "bare success", when: done, changes: true, show: instead(func(r *reply) { r.body = `{"success":true}` })},
	{name: "bare success to a read", when: done, reads: true, final: true, show: always(200, `{"success":true}`)},
	{name: "another user", when: done, reads: true, final: true, show: always(200,
		`{"id":"user-2","email":"by@example.com","name":"By","lastName":"Stander","orgId":"org-1","orgRole":0,"deletedAt":"2999-01-01T00:00:00.000Z"}`)},

	// Nothing was sent.
	{name: "refused", when: not, common: true, act: refuses, fail: refused},
	{name: "dial timeout", when: not, act: refuses, fail: &net.OpError{Op: "dial", Net: "tcp", Err: timeoutError{}}},

	// Sent, and no complete response.
	{name: "reset", when: slowly, ambiguous: true, common: true, fail: reset},
	{name: "read timeout", when: maybe, ambiguous: true, fail: &net.OpError{Op: "read", Net: "tcp", Err: timeoutError{}}},
	{name: "EOF", when: maybe, ambiguous: true, fail: io.EOF},
	{name: "stall", when: slowly, ambiguous: true, act: stalls},
	{name: "cut", when: maybe, ambiguous: true, show: cutBody},
	{name: "cut 403", when: not, final: true, show: func(reply) reply {
		r := refusal(403, "Insufficient permissions")
		r.cut = true
		return r
	}},
	{name: "too large", when: maybe, ambiguous: true, final: true, heavy: true, show: always(200, large)},
	{name: "sent twice", when: done, ambiguous: true, common: true, changes: true, act: resends},

	// A success that is none, or does not tell.
	{name: "200 page", when: maybe, ambiguous: true, common: true, show: always(200, page, "Content-Type", "text/html")},
	{name: "200 empty", when: maybe, ambiguous: true, show: always(200, "")},
	{name: "200 half", when: maybe, ambiguous: true, show: always(200, `{"success":true,"mess`)},
	{name: "201 page", when: maybe, ambiguous: true, show: always(201, page, "Content-Type", "text/html")},
	{name: "202", when: slowly, ambiguous: true, final: true, common: true, show: always(202, `{"success":true,"message":"Accepted"}`)},
	{name: "202 empty", when: maybe, ambiguous: true, final: true, show: always(202, "")},
	{name: "success false", when: not, final: true, common: true, show: always(200, `{"success":false,"message":"No"}`)},

	{name: "301", when: maybe, ambiguous: true, final: true, show: always(301, "", "Location", "/elsewhere")},
	{name: "302", when: maybe, ambiguous: true, final: true, show: always(302, page, "Location", "https://login.example.com/", "Content-Type", "text/html")},
	{name: "303", when: maybe, ambiguous: true, final: true, common: true, show: always(303, "", "Location", "/done")},
	{name: "304", when: not, final: true, show: always(304, "")},
	{name: "307", when: not, final: true, show: always(307, "", "Location", "/elsewhere")},
	{name: "308", when: not, final: true, show: always(308, "", "Location", "/elsewhere")},

	// Refusals.
	{name: "400", when: not, final: true, common: true, show: envelope(400, "Validation failed")},
	{name: "400 documented", when: not, final: true, show: envelope(400, "Cannot delete yourself")},
	{name: "400 page", when: not, final: true, show: always(400, page, "Content-Type", "text/html")},
	{name: "401", when: not, final: true, show: always(401, `{"success":false,"error_code":"NO_AUTH_USER"}`)},
	{name: "403", when: not, final: true, common: true, show: envelope(403, "Insufficient permissions")},
	{name: "404", when: not, final: true, common: true, show: envelope(404, "User not found")},
	{name: "407", when: not, final: true, show: always(407, page, "Content-Type", "text/html")},
	{name: "404 page", when: not, final: true, show: always(404, page, "Content-Type", "text/html")},
	{name: "409", when: not, final: true, show: envelope(409, "Conflict")},
	{name: "410", when: not, final: true, show: envelope(410, "Gone")},
	{name: "413", when: not, final: true, show: always(413, page, "Content-Type", "text/html")},
	{name: "422", when: not, final: true, show: envelope(422, "Unprocessable")},
	{name: "501", when: not, final: true, show: always(501, page, "Content-Type", "text/html")},
	{name: "505", when: not, final: true, show: always(505, "")},

	// Not now.
	{name: "425", when: not, show: always(425, "")},
	{name: "429", when: not, show: always(429, page, "Content-Type", "text/html")},
	{name: "429 for 1 s", when: not, common: true, show: always(429, `{"success":false,"message":"Too many"}`, "Retry-After", "1")},

	// The server's trouble.
	{name: "408", when: maybe, ambiguous: true, show: always(408, "")},
	{name: "500", when: maybe, ambiguous: true, common: true, show: envelope(500, "Internal server error")},
	{name: "502 page", when: maybe, ambiguous: true, show: always(502, page, "Content-Type", "text/html")},
	{name: "503", when: maybe, ambiguous: true, show: always(503, "")},
	{name: "503 for 2 s", when: maybe, ambiguous: true, show: always(503, page, "Content-Type", "text/html", "Retry-After", "2")},
	{name: "504 page", when: slowly, ambiguous: true, show: always(504, page, "Content-Type", "text/html")},
	{name: "599", when: maybe, ambiguous: true, show: always(599, "")},
	{name: "600", when: maybe, ambiguous: true, show: always(600, "")},
	{name: "999", when: maybe, ambiguous: true, show: envelope(999, "Request denied")},
}

// repeated is the move of a proxy that others than the world of proxies have too.
var repeated = sight{name: "repeated", when: maybe, ambiguous: true, common: true, changes: true, act: repeats}

// move is what the network does with one request.
type move struct {
	timing timing
	*sight
}

var (
	clean    = move{before, &sights[0]}
	allMoves = movesOf(append(slices.Clip(sights), repeated))
)

func movesOf(all []sight) []move {
	var moves []move
	for i := range all {
		for _, t := range all[i].when {
			moves = append(moves, move{t, &all[i]})
		}
	}
	return moves
}

func (m move) String() string { return string(m.timing) + " " + m.name }

// fits tells whether the move can be made with this request. To carry a read out or not
// is the same, and only the proxy's kinds of requests are repeated.
func (m move) fits(e event) bool {
	switch {
	case e.reads:
		return !m.changes && (m.timing == before || !slices.Contains(m.when, before)) && m.timing != soon && m.timing != late
	case m.reads:
		return false
	}
	return m.act != repeats || e.method == http.MethodPut || e.method == http.MethodDelete
}

// view is what reads see of the backend: its state, or an old one.
type view string

const (
	truth    view = "truth"
	replica  view = "replica"  // lags by hours; its clock is right
	cache    view = "cache"    // hours old, unless the request asks for no cached response
	stubborn view = "stubborn" // a cache that does not care what the request asks for
	ageless  view = "ageless"  // and it does not even say how old the response is
)

// stage is where the caller's context is canceled.
type stage string

const (
	atNoTime   stage = ""
	dialing    stage = "dialing"
	sending    stage = "sending"    // sent, not carried out
	carriedOut stage = "carriedOut" // and there is no response
	responded  stage = "responded"  // the response comes all the same
	waiting    stage = "waiting"    // 1 ms after the response
)

// deed is what a second actor does.
type deed struct {
	what  string
	at    int // the request
	after bool
}

func (d deed) String() string {
	if d.what == "" {
		return "-"
	}
	return fmt.Sprintf("%s@%d%s", d.what, d.at, map[bool]string{true: "+"}[d.after])
}

func (d deed) do(b *backend) {
	p := b.find(subject)
	switch d.what {
	case "activate":
		if p != nil {
			p.DeletedAt = nil
		}
	case "delete":
		if p != nil && p.DeletedAt == nil {
			b.delete(p)
		}
	case "rename":
		if p != nil {
			p.Name, p.Visits = "Other", 1
		}
	case "create":
		if b.withAddress(address) == nil {
			b.add(person{ID: "theirs", Email: address, Name: newName, LastName: "Last"}, 0)
		}
	case "create another":
		if b.withAddress(address) == nil {
			b.add(person{ID: "theirs", Email: address, Name: "Another", LastName: "Last"}, 0)
		}
	default:
		d.inSpace(b)
	}
}

// event is a request as the model knows it.
type event struct {
	method string
	reads  bool
	move   move
	status int  // of what the client saw; 0 for none
	real   bool // it is the backend's own response
	ended  bool // the caller's context ended while nobody could tell where the request was
	late   bool // the attempt was over before its response came
}

// network is the http.RoundTripper of one call.
type network struct {
	run

	mu      sync.Mutex
	backend *backend
	old     *backend // what a cache or a replica still has
	cancel  context.CancelFunc
	begun   time.Time

	before   bool // the call has not begun: what it rests on is read without moves
	events   []event
	underWay []func() // carry out what was not yet
	excused  bool     // a read saw that something was not carried out, and then it was
	was      bool     // things were as asked for, at some moment of the call
}

var errRunaway = errors.New("the model stops a call that does not end")

func (n *network) look() { n.was = n.was || n.op.asked(n.backend) }

func (n *network) RoundTrip(req *http.Request) (*http.Response, error) {
	var body []byte
	if req.Body != nil {
		var err error
		body, err = io.ReadAll(req.Body)
		_ = req.Body.Close() // it is in memory
		if err != nil {
			return nil, err
		}
	}
	ctx := req.Context()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.before {
		return n.response(req, n.backend.serve(req.Method, req.URL.Path, body), n.backend.now()), nil
	}
	at := len(n.events)
	if at > 60 {
		return nil, errRunaway
	}
	e := event{method: req.Method, reads: req.Method == http.MethodGet || n.op.reads, move: clean}
	if at < len(n.schedule) && n.schedule[at].fits(e) {
		e.move = n.schedule[at]
	}
	n.events = append(n.events, e)
	m := e.move
	ends := func(s stage) bool {
		reached := n.stage == s && n.stageAt == at
		if reached && s != waiting && (s != dialing || n.silent) {
			n.events[at].ended = true
		}
		return reached
	}

	trace := httptrace.ContextClientTrace(ctx)
	if n.silent {
		trace = nil
	}
	getConn(trace)
	if ends(dialing) {
		n.cancel()
		if m.act != refuses { // else that comes at the same moment
			return nil, ctx.Err()
		}
	}
	if m.act == refuses {
		n.wait(ends)
		return nil, m.fail
	}
	gotConn(trace)
	if n.deed.at == at && !n.deed.after {
		n.deed.do(n.backend)
		n.look()
	}
	if ends(sending) {
		n.cancel()
		return nil, ctx.Err()
	}
	serve := func() reply {
		defer n.look()
		return n.serve(req, body)
	}
	n.trouble.turn(n.backend, at)
	if !n.pass(ctx, n.trouble.delay(at).There) {
		if m.timing != never {
			n.later(n.trouble.delay(at).There, func() { serve() })
		}
		n.events[at].late = true
		return nil, ctx.Err()
	}
	var response reply
	switch m.timing {
	case before:
		response = serve()
	case soon:
		n.later(100*time.Millisecond, func() { serve() }) // less than any backoff
	case late:
		n.later(10*time.Second, func() { serve() })
	case never:
	}
	made := n.backend.now()
	if ends(carriedOut) {
		n.cancel()
		return nil, ctx.Err()
	}
	if n.deed.at == at && n.deed.after {
		n.deed.do(n.backend)
		n.look()
	}
	broke := (n.world == proxied || n.trouble.Proxy) && m.fail != nil
	switch {
	case m.act == stalls:
		n.mu.Unlock() // what was sent may be carried out meanwhile
		<-ctx.Done()
		n.mu.Lock()
		return nil, ctx.Err()
	case m.act == resends && !n.silent:
		getConn(trace)
		gotConn(trace)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		response = serve()
	case m.act == repeats, broke && req.Method != http.MethodPost:
		response = serve()
	case broke:
		response = always(502, page, "Content-Type", "text/html")(reply{})
	case m.fail != nil:
		n.wait(ends)
		return nil, m.fail
	}
	shown := response
	if m.show != nil {
		shown = m.show(response)
	}
	e.status, e.real = shown.status, response.status != 0 && shown.status == response.status && shown.body == response.body && !shown.cut
	n.excused = n.excused || e.real && e.reads && len(n.underWay) > 0
	e.ended = n.events[at].ended
	n.events[at] = e
	if ends(responded) {
		n.cancel()
	}
	n.wait(ends)
	if !n.pass(ctx, n.trouble.delay(at).Back) {
		n.events[at].late, n.events[at].real, n.events[at].status = true, false, 0
		return nil, ctx.Err()
	}
	return n.response(req, shown, made), nil
}

// pass lets a message take its time. It is false if nobody waits for it any more.
func (n *network) pass(ctx context.Context, d time.Duration) bool {
	if d == 0 {
		return true
	}
	n.mu.Unlock() // what is under way may be carried out meanwhile
	defer n.mu.Lock()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// wait cancels the context in the wait after this request.
func (n *network) wait(ends func(stage) bool) {
	if ends(waiting) {
		time.AfterFunc(time.Millisecond, n.cancel)
	}
}

// serve is the backend, or what stands before it for those that read.
func (n *network) serve(req *http.Request, body []byte) reply {
	if req.Method != http.MethodGet {
		return n.backend.serve(req.Method, req.URL.Path, body)
	}
	obeys := n.view == cache && strings.Contains(req.Header.Get("Cache-Control"), "no-cache")
	if n.view == truth || obeys {
		return n.backend.serve(req.Method, req.URL.Path, body)
	}
	r := n.old.serve(req.Method, req.URL.Path, body)
	r.header = http.Header{}
	const age = longAgo - 2*time.Second
	if n.view != replica {
		r.header.Set("Date", n.begun.Add(n.backend.skew-age).UTC().Format(http.TimeFormat))
	}
	if n.view == cache || n.view == stubborn {
		r.header.Set("Age", strconv.Itoa(int((age + time.Since(n.begun)).Seconds())))
	}
	return r
}

// later carries a request out after the client has seen something of it.
func (n *network) later(delay time.Duration, serve func()) {
	n.underWay = append(n.underWay, serve)
	time.AfterFunc(delay, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.carryOut()
	})
}

// carryOut does what was put off the longest, if it is not done.
func (n *network) carryOut() {
	if len(n.underWay) > 0 {
		first := n.underWay[0]
		n.underWay = n.underWay[1:]
		first()
	}
}

func (n *network) response(req *http.Request, r reply, made time.Time) *http.Response {
	h := r.header.Clone()
	if h == nil {
		h = http.Header{}
	}
	if h.Get("Date") == "" {
		h.Set("Date", made.Format(http.TimeFormat))
	}
	if n.trouble.Age != "" && n.view == truth && req.Method == http.MethodGet {
		h.Set("Age", n.trouble.Age)
	}
	if h.Get("Content-Type") == "" && r.body != "" {
		h.Set("Content-Type", "application/json; charset=utf-8")
	}
	resp := &http.Response{
		Status:        fmt.Sprintf("%d %s", r.status, http.StatusText(r.status)),
		StatusCode:    r.status,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        h,
		ContentLength: int64(len(r.body)),
		Body:          io.NopCloser(strings.NewReader(r.body)),
		Request:       req,
	}
	if r.cut {
		resp.Body = io.NopCloser(io.MultiReader(strings.NewReader(r.body[:len(r.body)/2]), broken{}))
	}
	return resp
}

// broken is the rest of a body that does not come.
type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// conn is a connection of which only the name is known.
type conn struct{ net.Conn }

func getConn(t *httptrace.ClientTrace) {
	if t != nil && t.GetConn != nil {
		t.GetConn("backend.flashback.tech:443")
	}
}

func gotConn(t *httptrace.ClientTrace) {
	if t == nil {
		return
	}
	if t.GotConn != nil {
		t.GotConn(httptrace.GotConnInfo{Conn: conn{}})
	}
	if t.WroteHeaders != nil {
		t.WroteHeaders()
	}
	if t.WroteRequest != nil {
		t.WroteRequest(httptrace.WroteRequestInfo{})
	}
}
