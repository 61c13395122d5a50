// Package proof_test proves what package flashback promises, by playing it in a model
// of the world: a backend with a true state, and a network whose every move is known.
// The model knows nothing of the package but its public functions.
package proof_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	flashback "github.com/flashbacknetwork/flashback-go"
)

// told is what the caller of an operation is told.
type told struct {
	err       error
	unknown   bool // the outcome is
	recovered bool
	attempts  int    // 0 if it isn't told
	lacks     bool   // a success lacks what it could return
	wrong     string // what is wrong with the result
}

func (t told) String() string {
	switch {
	case t.err == nil && t.recovered:
		return "recovered"
	case t.err == nil:
		return "success"
	case t.unknown:
		return "unknown: " + t.err.Error()
	}
	return "failure: " + t.err.Error()
}

// of is what an error of the package tells.
func of(err error) told {
	t := told{err: err}
	var e *flashback.Error
	switch {
	case err == nil:
	case !errors.As(err, &e):
		t.wrong = "not an *Error"
	default:
		t.unknown, t.attempts = e.OutcomeUnknown, e.Attempts
		if errors.Is(err, flashback.ErrOutcomeUnknown) != e.OutcomeUnknown {
			t.wrong = "ErrOutcomeUnknown and OutcomeUnknown differ"
		}
		if errors.Is(err, flashback.ErrUserNotDeleted) && e.OutcomeUnknown {
			t.wrong = "the user is not deleted, and the outcome is unknown"
		}
	}
	return t
}

// result adds what is wrong with the result of a success.
func (t told) result(wrong string) told {
	if t.err == nil {
		t.wrong = wrong
	}
	return t
}

// operation is a call and what it asks for.
type operation struct {
	name   string
	starts []string
	call   func(context.Context, *flashback.Client) told
	asked  func(*backend) bool // things are as asked for
	reads  bool
	once   bool // to do it twice does harm, and nothing tells whether it was done
	// deletes says that a refusal is read back too, by a date.
	deletes bool
	before  func(context.Context, *flashback.Client) // what the client has done before the call
}

const (
	isActive  = "active"
	isDeleted = "deleted" // long ago
	isOldNews = "deleted 20 s ago"
	isAbsent  = "absent"
	isFree    = "free" // the e-mail address is
	isSame    = "taken by the same"
	isOther   = "taken by another"
	isGone    = "taken by the same, deleted"
	isFolded  = "taken by one whose address only folds to it"

	// longAgo is longer than two clocks differ.
	longAgo = 3 * time.Hour
)

// ages are how long ago a user was deleted. One who is not deleted has no date that could pass for a new one.
var ages = map[string]time.Duration{isDeleted: longAgo, isOldNews: 20 * time.Second, isActive: math.MaxInt64, isAbsent: math.MaxInt64}

// begin brings about a start.
func begin(b *backend, start string) {
	user := person{ID: subject, Email: "user@example.com", Name: "Oldname", LastName: "Last"}
	taken := person{ID: "theirs", Email: address, Name: newName, LastName: "Last"}
	switch start {
	case isActive:
		b.add(user, 0)
		b.open(0)
	case isDeleted:
		b.add(user, ages[isDeleted])
		b.open(ages[isDeleted])
	case isIn:
		b.open(0, member{subject, "WRITE"})
	case isInOther:
		b.open(0, member{subject, "READ"})
	case isOut:
		b.open(0)
	case isOldNews:
		b.add(user, ages[isOldNews])
	case isSame:
		b.add(taken, 0)
	case isGone:
		b.add(taken, longAgo)
	case isFolded:
		taken.Email = strings.Replace(address, "k", "\u212a", 1)
		b.add(taken, 0)
	case isOther:
		taken.Name = "Another"
		b.add(taken, 0)
	}
}

func active(want bool) func(*backend) bool {
	return func(b *backend) bool {
		p := b.find(subject)
		return p != nil && (p.DeletedAt == nil) == want
	}
}

func anything(*backend) bool { return true }

func differs(what string, got, want any) string {
	if got == want {
		return ""
	}
	return fmt.Sprintf("%s is %v, not %v", what, got, want)
}

var (
	activate = &operation{
		name: "activate", starts: []string{isDeleted, isActive, isAbsent}, asked: active(true),
		call: func(ctx context.Context, c *flashback.Client) told {
			got, err := c.Organization.Users.Activate(ctx, subject)
			t := of(err)
			if err == nil {
				t.recovered, t.attempts = got.Recovered, got.Attempts
				return t.result(differs("UserID", got.UserID, subject))
			}
			return t
		},
	}
	del = &operation{
		name: "delete", starts: []string{isActive, isDeleted, isAbsent}, deletes: true, asked: active(false),
		call: func(ctx context.Context, c *flashback.Client) told {
			got, err := c.Organization.Users.Delete(ctx, subject)
			t := of(err)
			if err == nil {
				t.recovered, t.attempts = got.Recovered, got.Attempts
				return t.result(differs("UserID", got.UserID, subject))
			}
			return t
		},
	}
	create = &operation{
		name: "create", starts: []string{isFree, isSame, isOther, isGone},
		asked: func(b *backend) bool {
			return slices.ContainsFunc(b.people, func(p *person) bool {
				return p.Email == b.writesAddress(address) && p.Name == newName && p.LastName == "Last" && p.DeletedAt == nil
			})
		},
		call: func(ctx context.Context, c *flashback.Client) told {
			got, err := c.Organization.Users.Create(ctx, flashback.NewUser{
				Email: address, FirstName: newName, LastName: "Last", Password: flashback.NewSecret("Passw0rd"),
			})
			switch t := of(err); {
			case err != nil:
				return t
			case got == nil, got.ID == "" && got.Email != address: // the ID may be in no response
				return t.result("a success without the user")
			default:
				return t.result(differs("the user", plainAddress(got.Email)+" "+got.Name, plainAddress(address)+" "+newName))
			}
		},
	}
	update = &operation{
		name: "update", starts: []string{isActive, isAbsent},
		asked: func(b *backend) bool {
			p := b.find(subject)
			return p != nil && p.Name == newName
		},
		call: func(ctx context.Context, c *flashback.Client) told {
			got, err := c.Organization.Users.Update(ctx, subject, flashback.UserUpdate{Name: new(newName)})
			switch t := of(err); {
			case err != nil:
				return t
			case got == nil, got.ID == "":
				return t.result("a success without the user")
			default:
				return t.result(differs("the user", plainID(got.ID)+" "+got.Name, plainID(subject)+" "+newName))
			}
		},
	}
	resend = &operation{
		name: "resend", starts: []string{isActive}, once: true,
		asked: func(b *backend) bool { return b.mails > 0 },
		call: func(ctx context.Context, c *flashback.Client) told {
			got, err := c.Organization.Users.ResendInvitation(ctx, subject)
			t := of(err)
			if err == nil {
				t.attempts = got.Attempts
				return t.result(differs("UserID", got.UserID, subject))
			}
			return t
		},
	}
	get = &operation{
		name: "get", starts: []string{isActive, isAbsent}, reads: true, asked: anything,
		call: func(ctx context.Context, c *flashback.Client) told {
			got, err := c.Organization.Users.Get(ctx, subject)
			if t := of(err); err != nil {
				return t
			}
			return told{}.result(differs("the user", plainID(got.ID)+" "+got.Email, plainID(subject)+" user@example.com"))
		},
	}
	list = &operation{
		name: "list", starts: []string{isActive}, reads: true, asked: anything,
		call: func(ctx context.Context, c *flashback.Client) told {
			got, err := c.Organization.Users.List(ctx)
			if t := of(err); err != nil {
				return t
			}
			return told{}.result(differs("that the user is there", slices.ContainsFunc(got.Users, func(u flashback.User) bool { return plainID(u.ID) == plainID(subject) }), true))
		},
	}
	getOrg = &operation{
		name: "get organization", starts: []string{isActive}, reads: true, asked: anything,
		call: func(ctx context.Context, c *flashback.Client) told {
			got, err := c.Organization.Get(ctx, anOrg)
			if t := of(err); err != nil {
				return t
			}
			return told{}.result(differs("the organization", got.ID+" "+got.Name, anOrg+" Org"))
		},
	}
	updateOrg = &operation{
		name: "update organization", starts: []string{isActive},
		asked: func(b *backend) bool { return b.orgName == newName },
		call: func(ctx context.Context, c *flashback.Client) told {
			got, err := c.Organization.Update(ctx, anOrg, flashback.OrganizationUpdate{Name: new(newName)})
			switch t := of(err); {
			case err != nil:
				return t
			case got == nil, got.ID == "":
				return t.result("a success without the organization")
			default:
				return t.result(differs("the organization", got.ID+" "+got.Name, anOrg+" "+newName))
			}
		},
	}
	doSafe = &operation{
		name: "do safe", starts: []string{isActive, isAbsent}, reads: true, asked: anything,
		call: do(flashback.Request{Method: http.MethodPost, Path: visits + "/query", Retry: flashback.RetrySafe}, 0, 1),
	}
	doIdempotent = &operation{
		name: "do idempotent", starts: []string{isActive, isAbsent}, asked: visited(7),
		call: do(flashback.Request{Method: http.MethodPut, Path: visits, Body: map[string]int{"visits": 7}, Retry: flashback.RetryIdempotent}, 7),
	}
	doNotIdempotent = &operation{
		name: "do not idempotent", starts: []string{isActive, isAbsent}, asked: visited(1), once: true,
		call: do(flashback.Request{Method: http.MethodPost, Path: visits, Retry: flashback.RetryNotIdempotent}, 1, 2),
	}
	operations = append([]*operation{
		activate, create, del, get, getOrg, list, resend, update, updateOrg, doSafe, doIdempotent, doNotIdempotent,
	}, spaceOperations...)
)

const visits = "/organization/users/{id}/visits"

func visited(times int) func(*backend) bool {
	return func(b *backend) bool {
		p := b.find(subject)
		return p != nil && p.Visits >= times
	}
}

// do calls an endpoint for which the package has no method. It returns one of the
// numbers, if the response has one.
func do(req flashback.Request, numbers ...int) func(context.Context, *flashback.Client) told {
	req.Segments = map[string]string{"id": subject}
	return func(ctx context.Context, c *flashback.Client) told {
		var got struct{ Data struct{ Visits *int } }
		var response flashback.Response
		t := of(c.Do(flashback.WithResponse(ctx, &response), req, &got))
		t.recovered, t.attempts = response.Recovered, response.Attempts
		if got.Data.Visits == nil {
			t.lacks = t.err == nil
			return t
		}
		return t.result(differs("that the number is a right one", slices.Contains(numbers, *got.Data.Visits), true))
	}
}

// run is one call in one world.
type run struct {
	world    string
	op       *operation
	start    string
	manners  manners
	view     view
	lagged   string // the start that an old view shows
	deed     deed
	retries  int
	silent   bool
	rotates  bool // the token does
	stage    stage
	stageAt  int
	timeout  time.Duration // of the caller's context; 0 for none
	schedule []move
	trouble  trouble
}

const (
	alone     = "one client"
	proxied   = "a proxy"
	lagging   = "an old view"
	crossed   = "a second actor"
	impatient = "a context"
)

// String is the run as a literal: with -replay, TestReplay plays it again.
func (r run) String() string {
	moves := make([]string, len(r.schedule))
	for i, m := range r.schedule {
		moves[i] = m.String()
	}
	return strings.Join([]string{
		r.world, r.op.name, r.start, r.manners.name, string(r.view) + "/" + r.lagged, r.deed.String(),
		fmt.Sprintf("%d %t %t %s@%d %v", r.retries, r.silent, r.rotates, r.stage, r.stageAt, r.timeout),
		strings.Join(moves, ", "), r.trouble.String(),
	}, " | ")
}

// parsed is the opposite of String.
func parsed(text string) (r run, err error) {
	f := strings.Split(text, " | ")
	if len(f) != 9 {
		return r, errors.New("not the literal of a run")
	}
	r.world, r.start = f[0], f[2]
	for _, op := range operations {
		if op.name == f[1] {
			r.op = op
		}
	}
	for _, m := range allManners {
		if m.name == f[3] {
			r.manners = m
		}
	}
	seen, lagged, _ := strings.Cut(f[4], "/")
	r.view, r.lagged = view(seen), lagged
	if what, at, ok := strings.Cut(f[5], "@"); ok {
		r.deed = deed{what: what, after: strings.HasSuffix(at, "+")}
		if r.deed.at, err = strconv.Atoi(strings.TrimSuffix(at, "+")); err != nil {
			return r, err
		}
	}
	var at, timeout string
	if _, err := fmt.Sscanf(f[6], "%d %t %t %s %s", &r.retries, &r.silent, &r.rotates, &at, &timeout); err != nil {
		return r, err
	}
	s, n, _ := strings.Cut(at, "@")
	r.stage = stage(s)
	r.stageAt, _ = strconv.Atoi(n)
	r.timeout, err = time.ParseDuration(timeout)
	for name := range strings.SplitSeq(f[7], ", ") {
		for _, m := range slices.Concat(allMoves, oddMoves) {
			if m.String() == name {
				r.schedule = append(r.schedule, m)
			}
		}
	}
	if err != nil {
		return r, err
	}
	r.trouble, err = parsedTrouble(f[8])
	return r, err
}

// caller makes the call of a run in the world of a network.
type caller func(context.Context, run, *network) told

// sdk calls with the package under test.
func sdk(ctx context.Context, r run, n *network) told {
	opts := []flashback.Option{
		flashback.WithHTTPClient(&http.Client{Transport: n}),
		flashback.WithMaxRetries(r.retries),
	}
	token := "token-of-the-model"
	if r.rotates {
		token = ""
		asked := 0
		opts = append(opts, flashback.WithTokenSource(func(context.Context) (string, error) {
			asked++
			return fmt.Sprintf("token-of-the-model-%d", asked), nil
		}))
	}
	client, err := flashback.NewClient(token, opts...)
	if err != nil {
		return told{err: err, wrong: "no client"}
	}
	if r.op.before != nil {
		n.before = true
		r.op.before(context.WithoutCancel(ctx), client)
		n.before = false
	}
	return r.op.call(ctx, client)
}

// play makes the call in a fresh world. It is called in a synctest bubble.
func (r run) play(call caller) *played {
	b := newBackend(r.manners, r.trouble)
	old := newBackend(r.manners, r.trouble)
	begin(b, r.start)
	begin(old, r.lagged)
	ctx, cancel := context.WithCancel(context.Background())
	if r.timeout != 0 {
		ctx, cancel = context.WithTimeout(context.Background(), r.timeout)
	}
	defer cancel()
	n := &network{run: r, backend: b, old: old, cancel: cancel, begun: time.Now()}
	n.look()
	if r.stageAt < 0 {
		cancel()
	}
	got := call(ctx, r, n)
	n.mu.Lock()
	defer n.mu.Unlock()
	p := &played{network: n, told: got, ended: ctx.Err()}
	p.was, p.pending = n.was, len(n.underWay) > 0
	for len(n.underWay) > 0 {
		n.carryOut()
	}
	n.schedule = n.schedule[:min(len(n.schedule), len(n.events))] // the rest was not reached
	return p
}

// played is a run and what came of it.
type played struct {
	*network

	told    told
	ended   error // of the caller's context, before the call returned
	was     bool  // things were as asked for, before the call returned
	pending bool  // something was carried out after the call returned
}

// tally counts the runs of one world and operation.
type tally struct{ runs, wrong, givenUp, unknown, excused int }

func (t *tally) add(o tally) {
	t.runs += o.runs
	t.wrong += o.wrong
	t.givenUp += o.givenUp
	t.unknown += o.unknown
	t.excused += o.excused
}

// referee judges runs and counts them. Of each kind of broken promise it keeps the
// shortest example.
type referee struct {
	mu       sync.Mutex
	counts   map[[2]string]*tally // of a world and an operation
	kinds    map[string]int
	examples map[string]example
}

type example struct{ run, told string }

// shorter orders examples: those with fewer moves first, and always in the same way.
func (e example) shorter(o example) bool {
	moves, others := strings.Count(e.run, ","), strings.Count(o.run, ",")
	return moves < others || moves == others && e.run < o.run
}

func newReferee() *referee {
	return &referee{counts: map[[2]string]*tally{}, kinds: map[string]int{}, examples: map[string]example{}}
}

// judge counts a run.
func (f *referee) judge(p *played) {
	kind, detail := p.verdict()
	one := tally{runs: 1}
	if p.told.unknown {
		one.unknown = 1
	}
	excuse := kind != "" && p.beyondPromise()
	switch {
	case kind == "":
	case excuse:
		one.excused = 1
	case kind == givenUp:
		one.givenUp = 1
	default:
		one.wrong = 1
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	key := [2]string{p.world, p.op.name}
	if f.counts[key] == nil {
		f.counts[key] = &tally{}
	}
	f.counts[key].add(one)
	if kind == "" || excuse {
		return
	}
	kind = p.world + ", " + p.op.name + ": " + kind
	f.kinds[kind]++
	found := example{p.String(), strings.TrimSuffix(p.told.String()+"; "+detail, "; ")}
	if shortest, ok := f.examples[kind]; !ok || found.shorter(shortest) {
		f.examples[kind] = found
	}
}

// table is what came of the runs in each world.
func (f *referee) table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-24s %-20s %8s %7s %9s %8s %8s\n", "world", "operation", "runs", "wrong", "given up", "unknown", "excused")
	keys := slices.SortedFunc(maps.Keys(f.counts), func(x, y [2]string) int {
		return strings.Compare(x[0]+x[1], y[0]+y[1])
	})
	for _, k := range keys {
		c := f.counts[k]
		fmt.Fprintf(&b, "%-24s %-20s %8d %7d %9d %8d %8d\n", k[0], k[1], c.runs, c.wrong, c.givenUp, c.unknown, c.excused)
	}
	return b.String()
}

// report prints the table, and fails the test for each kind of broken promise.
func (f *referee) report(t *testing.T) {
	t.Helper()
	t.Logf("\n%s", f.table())
	for _, k := range slices.Sorted(maps.Keys(f.kinds)) {
		t.Errorf("%d × %s\n\treplay: %s\n\ttold:   %s", f.kinds[k], k, f.examples[k].run, f.examples[k].told)
	}
}

// explore plays every schedule that makes a difference: a schedule is made longer only
// if the call has a request for the move that is added. allowed limits the schedules.
func explore(r run, call caller, allowed func([]move) bool, judge func(*played)) {
	p := r.play(call)
	judge(p)
	at := len(r.schedule)
	if len(p.events) <= at {
		return
	}
	for _, m := range allMoves {
		longer := append(slices.Clip(r.schedule), m)
		if m.fits(p.events[at]) && allowed(longer) {
			next := r
			next.schedule = longer
			explore(next, call, allowed, judge)
		}
	}
}

// upTo allows schedules of up to n moves, all of which are common but for some.
func upTo(n, uncommon int) func([]move) bool {
	return func(s []move) bool {
		rare := 0
		for _, m := range s {
			if m.heavy && len(s) > 1 {
				return false
			}
			if !m.common || m.timing == late {
				rare++
			}
		}
		return len(s) <= n && rare <= uncommon
	}
}

func either(a, b func([]move) bool) func([]move) bool {
	return func(s []move) bool { return a(s) || b(s) }
}

func quick() bool { return testing.Short() || raceEnabled }

var replay = flag.String("replay", "", "the literal of a run, as a failure prints it")

// TestReplay plays one run again: go test ./proof -run Replay -v -args -replay '…'.
func TestReplay(t *testing.T) {
	t.Parallel()
	if *replay == "" {
		t.Skip("there is no -replay")
	}
	r, err := parsed(*replay)
	require.NoError(t, err)
	require.Equal(t, *replay, r.String())
	synctest.Test(t, func(t *testing.T) {
		p := r.play(sdk)
		for i, e := range p.events {
			t.Logf("%d: %s: %s: %d", i, e.method, e.move, e.status)
		}
		t.Logf("applied %d, as asked for %t, told: %v", p.backend.applied, p.was, p.told)
		f := newReferee()
		f.judge(p)
		f.report(t)
	})
}

// TestWorlds plays every operation in every world. The schedules are those of up to two
// moves, those of three common ones, and longer ones by chance.
func TestWorlds(t *testing.T) {
	t.Parallel()
	f := newReferee()
	t.Run("worlds", func(t *testing.T) {
		for _, op := range operations {
			for _, world := range []string{alone, proxied, lagging, crossed, impatient} {
				t.Run(world+"/"+op.name, func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(*testing.T) {
						for _, start := range op.starts {
							for i, m := range allManners {
								r := run{world: world, op: op, start: start, manners: m, view: truth, retries: 8}
								r.explore(i, func(p *played) { f.judge(p) })
							}
						}
					})
				})
			}
		}
		t.Run("by chance", func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(*testing.T) {
				dice := rand.New(rand.NewPCG(1, 2))
				n := 30_000
				if quick() {
					n = 3_000
				}
				if raceEnabled {
					n = 500
				}
				for range n {
					f.judge(byChance(dice).play(sdk))
				}
			})
		})
	})
	f.report(t)
}

// explore plays the schedules of the run's world. Of the manners, of which i is the number,
// few matter to an operation other than these three, and not all in every world.
func (r run) explore(i int, judge func(*played)) {
	all := slices.Contains([]*operation{activate, create, del, addUser, delSpace, delReadSpace}, r.op)
	switch {
	case raceEnabled && r.world != alone: // its calls come one at a time
		return
	case i > 0 && (!all || raceEnabled), i > 1 && quick(), i > 1 && r.world == impatient, i > 2 && r.world == lagging:
		return
	case i != 0 && i != 3 && r.world == crossed: // the clock's and the words' do not matter here
		return
	}
	short := upTo(2, 0)
	switch r.world {
	case alone:
		allowed := either(upTo(2, 2), upTo(3, 0))
		if quick() {
			allowed = short
		}
		explore(r, sdk, allowed, judge)
	case proxied:
		allowed := upTo(3, 0)
		if quick() {
			allowed = short
		}
		explore(r, sdk, allowed, judge)
	case lagging:
		if !r.op.reads { // which show what they see
			r.eachView(func(next run) { explore(next, sdk, short, judge) })
		}
	case crossed:
		if !r.op.reads {
			r.eachDeed(func(next run) { explore(next, sdk, short, judge) })
		}
	case impatient:
		r.eachEnd(func(next run, allowed func([]move) bool) { explore(next, sdk, allowed, judge) })
	}
}

// eachView calls f with each old view of each old state.
func (r run) eachView(f func(run)) {
	for _, v := range views {
		for _, old := range r.op.starts {
			next := r
			next.view, next.lagged = v, old
			f(next)
		}
	}
}

var (
	views = []view{replica, cache, stubborn, ageless}
	deeds = append([]string{"activate", "delete", "rename", "create", "create another"}, spaceDeeds...)
	ends  = []stage{dialing, sending, carriedOut, responded, waiting}
)

// eachDeed calls f with each deed of a second actor, before and after each of the first
// requests.
func (r run) eachDeed(f func(run)) {
	for _, what := range deeds {
		for at := range 3 {
			for _, after := range []bool{false, true} {
				next := r
				next.deed = deed{what: what, at: at, after: after}
				if next.hasEffect() {
					f(next)
				}
			}
		}
	}
}

// hasEffect tells whether what the second actor does can matter to the operation.
func (r run) hasEffect() bool {
	if r.op.ofSpaces() || slices.Contains(spaceDeeds, r.deed.what) {
		return r.op.ofSpaces() && slices.Contains(spaceDeeds, r.deed.what)
	}
	if r.op == create {
		return strings.HasPrefix(r.deed.what, "create")
	}
	return !strings.HasPrefix(r.deed.what, "create") && r.op != updateOrg && r.op != resend
}

// eachEnd calls f with each end of the caller's context: canceled before the call and at
// each point of the first requests, and a deadline that passes in a wait or in a request.
func (r run) eachEnd(f func(r run, allowed func([]move) bool)) {
	next := r
	next.stage, next.stageAt = waiting, -1
	f(next, upTo(0, 0))
	for at := range 3 {
		for _, s := range ends {
			next := r
			next.stage, next.stageAt = s, at
			rare := 0
			if s == dialing { // it may fail at the same moment, in several ways
				rare = 1
			}
			f(next, upTo(min(at+1, 2), rare))
		}
	}
	for _, timeout := range []time.Duration{-1, 60 * time.Millisecond, 300 * time.Millisecond, time.Second, 20 * time.Second, 40 * time.Second} {
		next := r
		next.timeout = timeout
		f(next, upTo(2, 0))
	}
}

// byChance is a run of up to six moves.
func byChance(dice *rand.Rand) run {
	pick := func(n int) int { return dice.IntN(n) }
	r := run{
		world:   []string{alone, alone, proxied, crossed, lagging, impatient}[pick(6)],
		op:      operations[pick(len(operations))],
		manners: allManners[pick(len(allManners))],
		view:    truth,
		retries: []int{0, 1, 2, 4, 8, 8, 8}[pick(7)],
		silent:  pick(4) == 0,
		rotates: pick(4) == 0,
	}
	r.start = r.op.starts[pick(len(r.op.starts))]
	switch r.world {
	case lagging:
		r.view = views[pick(len(views))]
		r.lagged = r.op.starts[pick(len(r.op.starts))]
	case crossed:
		r.deed = deed{what: deeds[pick(len(deeds))], at: pick(5), after: pick(2) == 0}
		if r.op.reads && r.deed.what == "close" {
			r.deed.what = "join" // else nothing tells what must be read
		}
	case impatient:
		if pick(2) == 0 {
			r.timeout = time.Duration(pick(5000)+1) * time.Millisecond
		} else {
			r.stage, r.stageAt = ends[pick(len(ends))], pick(5)
		}
	}
	for range 1 + pick(6) {
		m := allMoves[pick(len(allMoves))]
		for m.heavy || m.final && pick(3) > 0 { // else most runs are short
			m = allMoves[pick(len(allMoves))]
		}
		r.schedule = append(r.schedule, m)
	}
	return r
}
