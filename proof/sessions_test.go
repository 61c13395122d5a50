package proof_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	flashback "github.com/flashbacknetwork/flashback-go"
	"github.com/flashbacknetwork/flashback-go/tokenfile"
)

const modelURL = "https://backend.flashback.test"

// user is a program that uses the session, in one process.
type user interface {
	call(ctx context.Context) error
	tokens() flashback.Tokens // those that it uses; the zero Tokens if it does not say
	close(ctx context.Context) error
}

// opener begins to use the session that the store of a process has.
type opener func(ctx context.Context, p *process) (user, error)

type sdkUser struct {
	session *flashback.Session
	client  *flashback.Client
}

func sessionOptions(p *process) []flashback.Option {
	return []flashback.Option{
		flashback.WithBaseURL(modelURL), flashback.WithHTTPClient(&http.Client{Transport: p}), flashback.WithTokenStore(p),
	}
}

func openSDK(ctx context.Context, p *process) (user, error) {
	session, err := flashback.Resume(ctx, flashback.Tokens{}, sessionOptions(p)...)
	if err != nil {
		return nil, err
	}
	client, err := session.Client()
	return &sdkUser{session, client}, err
}

func (u *sdkUser) call(ctx context.Context) error {
	return u.client.Do(ctx, flashback.Request{Method: http.MethodGet, Path: "/model"}, nil)
}

func (u *sdkUser) tokens() flashback.Tokens        { return u.session.Tokens() }
func (u *sdkUser) close(ctx context.Context) error { return u.session.Close(ctx) }

// reuser is a control: what golang.org/x/oauth2 documents of ReuseTokenSource, over a file. The token is read
// once; it is handed out until ten seconds before its end; then it is refreshed, and the new one is written
// into the file, behind the back of the source. There is no lock, and nothing is sent again.
type reuser struct {
	p    *process
	mu   sync.Mutex
	kept flashback.Tokens
}

func openReuser(ctx context.Context, p *process) (user, error) {
	u := &reuser{p: p}
	err := u.withFile(ctx, func(lock flashback.TokenLock) (err error) {
		u.kept, err = lock.Load()
		return err
	})
	return u, err
}

func (u *reuser) withFile(ctx context.Context, f func(flashback.TokenLock) error) error {
	lock, err := u.p.Lock(ctx)
	if err != nil {
		return err
	}
	return errors.Join(f(lock), lock.Unlock())
}

func (*reuser) tokens() flashback.Tokens    { return flashback.Tokens{} }
func (*reuser) close(context.Context) error { return nil }
func (u *reuser) call(ctx context.Context) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if time.Until(u.kept.ExpiresAt) < 10*time.Second {
		var granted struct {
			AccessToken, RefreshToken string
			ExpiresAt                 int64
		}
		if err := u.exchange(ctx, http.MethodPost, "/user/refresh", asJSON(map[string]string{"refresh_token": u.kept.Refresh.Reveal()}), &granted); err != nil {
			return err
		}
		u.kept.Access, u.kept.ExpiresAt = flashback.NewSecret(granted.AccessToken), time.UnixMilli(granted.ExpiresAt)
		if granted.RefreshToken != "" {
			u.kept.Refresh = flashback.NewSecret(granted.RefreshToken)
		}
		_ = u.withFile(ctx, func(lock flashback.TokenLock) error { return lock.Save(u.kept) }) // as most programs do
	}
	return u.exchange(ctx, http.MethodGet, "/model", "", &struct{}{})
}

func (u *reuser) exchange(ctx context.Context, method, path, body string, into any) error {
	req, err := http.NewRequestWithContext(ctx, method, modelURL+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+u.kept.Access.Reveal())
	resp, err := u.p.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode > 299 {
		return fmt.Errorf("HTTP %d: %w", resp.StatusCode, err)
	}
	return json.Unmarshal(text, into)
}

// course is one run of the model.
type course struct {
	issuer issuer
	skew   time.Duration
	start  string // what is true of the access token when the faults begin
	faults []fault
	shared bool // a second process makes the same calls, a little later
	file   bool // the store is a file
	logout bool // the first process logs out, after its first call
	open   opener
	store  func() flashback.TokenStore
}

// found is what came of a course.
type found struct {
	lost    bool
	allowed bool
	why     error
	wrong   []string
}

const (
	inLastTenth = "in its last tenth"
	hasEnded    = "ended"
	isRefused   = "refused"
)

// play plays a course in a bubble.
func (c course) play(t *testing.T) (f found) {
	t.Helper()
	w := &sessionWorld{server: newSessionServer(c.issuer, c.skew), over: make(chan struct{}), clean: true, shared: c.shared}
	defer func() {
		close(w.over)
		synctest.Wait()
	}()
	switch {
	case c.store != nil:
		w.store = c.store()
	case c.file:
		w.store = tokenfile.New(filepath.Join(t.TempDir(), "session.json"))
	default:
		w.store = newShelf()
	}
	ctx := t.Context()
	begun, err := flashback.Login(ctx, "user@example.com", flashback.NewSecret("a-password"), sessionOptions(w.process())...)
	require.NoError(t, err)
	require.NoError(t, begun.Close(ctx))
	<-time.After(30 * time.Minute)

	first, second := w.process(), w.process()
	user, err := c.open(ctx, first)
	require.NoError(t, err)
	other, err := c.open(ctx, second)
	require.NoError(t, err)
	c.begin(w)
	w.mu.Lock()
	first.steps, first.faults, w.clean = 0, slices.Clone(c.faults), false
	w.mu.Unlock()
	told := &account{world: w, faultless: len(c.faults) == 0 && !c.logout && (c.start != isRefused || !c.issuer.prolongs)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if !c.shared {
			return
		}
		<-time.After(50 * time.Millisecond)
		told.calls(ctx, second, other)
	}()
	go func() {
		if told.calls(ctx, first, user); c.logout {
			told.logOut(ctx, first, user)
		}
		told.close(ctx, first, user)
		first.kill() // The program ends here, whatever still runs in it.
	}()
	select {
	case <-first.died:
	case <-time.After(10 * time.Minute): // It hangs, and its user ends it.
		first.kill()
	}
	<-done
	second.kill()
	w.mu.Lock()
	w.clean = true
	ended, renewals := w.server.loggedOn > 0, w.server.issued-1
	w.mu.Unlock()
	if told.faultless && renewals != 1 {
		told.wrong = append(told.wrong, fmt.Sprintf("%d renewals where one was due", renewals))
	}

	// The next program runs in a clean world, soon and two hours later.
	<-time.After(time.Second)
	next := w.process()
	third, last := c.open(ctx, next)
	if last == nil {
		told.calls(ctx, next, third)
		<-time.After(2 * time.Hour)
		last = told.one(ctx, next, third)
	}
	f.lost = last != nil && !ended
	f.allowed = (w.unheard || w.forgotten || w.storeLost) && !c.graceSaves()
	if f.wrong = append(told.wrong, w.wrong...); f.lost { //nolint:gocritic // The account is closed.
		f.why = last
	}
	if last == nil && told.saidLost && !w.storeLost { // else one process could not know what the other one had
		f.wrong = append(f.wrong, "a session that goes on was said to be lost")
	}
	return f
}

// graceSaves tells whether the server's grace is long enough for what went wrong.
func (c course) graceSaves() bool {
	return c.issuer.grace >= time.Minute && len(c.faults) == 1 && !c.shared && (c.faults[0].name == "lost" || c.faults[0].name == "kill")
}

func (c course) begin(w *sessionWorld) {
	switch c.start {
	case inLastTenth:
		<-time.After(25 * time.Minute)
	case hasEnded:
		<-time.After(31 * time.Minute)
	case isRefused:
		w.mu.Lock()
		defer w.mu.Unlock()
		for access := range w.server.access {
			w.server.access[access] = time.Now()
		}
	}
}

// account is what the users of the session were told, as far as it was wrong.
type account struct {
	world     *sessionWorld
	faultless bool // nothing went wrong, so that no call may fail

	mu       sync.Mutex
	wrong    []string
	saidLost bool
}

func (a *account) blame(p *process, format string, args ...any) {
	a.world.mu.Lock()
	dead := p.dead
	a.world.mu.Unlock()
	if dead { // which nobody hears
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.wrong = append(a.wrong, fmt.Sprintf(format, args...))
}

// calls makes some calls during the next two minutes.
func (a *account) calls(ctx context.Context, p *process, u user) {
	for _, wait := range []time.Duration{0, time.Second, 40 * time.Second, 40 * time.Second} {
		<-time.After(wait)
		_ = a.one(ctx, p, u) // it is in the account
	}
}

// one makes a call, and compares what is told with the truth.
func (a *account) one(ctx context.Context, p *process, u user) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tokens, margin := u.tokens(), 30*time.Second
	a.world.mu.Lock()
	access := tokens.Access.Reveal()
	lives := a.world.server.lives(access, margin) && !a.world.server.refused[access] && time.Until(tokens.ExpiresAt) > margin
	a.world.mu.Unlock()
	begun := time.Now()
	err := u.call(ctx)
	took := time.Since(begun)
	a.world.mu.Lock()
	refused := a.world.server.refusals > 0
	a.world.mu.Unlock()
	if lives && err != nil {
		a.blame(p, "a call with a living token failed: %v", err)
	}
	if a.faultless && err != nil {
		a.blame(p, "a call failed although nothing went wrong: %v", err)
	}
	if lives && took > 5*time.Second {
		a.blame(p, "a call with a living token took %v", took)
	}
	if errors.Is(err, flashback.ErrSessionLost) {
		if !refused {
			a.blame(p, "lost, although the API has refused nothing: %v", err)
		}
		a.mu.Lock()
		a.saidLost = true
		a.mu.Unlock()
	}
	if errors.Is(err, flashback.ErrNoTokens) && a.world.server.loggedOn == 0 {
		a.blame(p, "no tokens, although there are some: %v", err)
	}
	return err
}

func (a *account) close(ctx context.Context, p *process, u user) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	err := u.close(ctx)
	a.world.mu.Lock()
	unkept := p.granted != "" && !a.world.shared // else the other process may have kept newer ones
	a.world.mu.Unlock()
	if err == nil && unkept {
		a.blame(p, "Close says nothing of tokens that are not kept")
	}
}

func (a *account) logOut(ctx context.Context, p *process, u user) {
	sdk, ok := u.(*sdkUser)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	err := sdk.session.Logout(ctx)
	a.world.mu.Lock()
	done, refused := a.world.server.loggedOn > 0, a.world.server.refusals > 0
	a.world.mu.Unlock()
	var e *flashback.Error
	switch {
	case err == nil && !done && !refused:
		a.blame(p, "a logout that was none")
	case err == nil && sdk.session.Tokens() != (flashback.Tokens{}):
		a.blame(p, "tokens stay after a logout")
	case err != nil && done && (!errors.As(err, &e) || !e.OutcomeUnknown):
		a.blame(p, "a logout that is told as none: %v", err)
	}
}

// schedules returns each fault alone, and pairs of them: all, or some by chance.
func schedules(dice *rand.Rand, pairs int) (all [][]fault) {
	all = append(all, nil)
	for _, a := range allFaults {
		all = append(all, []fault{a})
	}
	if *long {
		for _, a := range allFaults {
			for _, b := range allFaults {
				all = append(all, []fault{a, b})
			}
		}
		return all
	}
	if quick() {
		return all
	}
	for range pairs {
		all = append(all, []fault{allFaults[dice.IntN(len(allFaults))], allFaults[dice.IntN(len(allFaults))]})
	}
	return all
}

// sessionTally is what came of many courses.
type sessionTally struct{ runs, allowed, otherwise, wrong int }

func (s *sessionTally) add(c course, f found, first func(string)) {
	s.runs++
	switch {
	case f.lost && f.allowed:
		s.allowed++
	case f.lost:
		if s.otherwise++; s.otherwise == 1 {
			first(fmt.Sprintf("lost: %+v", c.faults) + fmt.Sprintf(" %s, shared %v, logout %v, skew %v: %v; %v", c.start, c.shared, c.logout, c.skew, f.why, f.wrong))
		}
	}
	if len(f.wrong) > 0 {
		if s.wrong++; s.wrong == 1 {
			first(fmt.Sprintf("told wrong: %+v", c.faults) + fmt.Sprintf(" %s, shared %v, logout %v, skew %v, lost %v: %v", c.start, c.shared, c.logout, c.skew, f.lost, f.wrong))
		}
	}
}

// TestSessions plays sessions in the model of the world. It prints how many were lost, where the contract allows it and
// where it does not, and to how many something wrong was told.
func TestSessions(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"memory", "tokenfile"} {
		for _, i := range issuers {
			t.Run(kind+"/"+i.name, func(t *testing.T) {
				t.Parallel()
				dice := rand.New(rand.NewPCG(3, uint64(len(i.name)+len(kind))))
				total := playAll(t, dice, course{issuer: i, file: kind == "tokenfile", open: openSDK}, 60, func(text string) { t.Error(text) })
				t.Logf("%-28s %-10s %6d runs, lost where it is allowed %5d, lost otherwise %d, told wrong %d",
					i.name, kind, total.runs, total.allowed, total.otherwise, total.wrong)
			})
		}
	}
}

// playAll plays a course with each start and each schedule.
func playAll(t *testing.T, dice *rand.Rand, c course, pairs int, first func(string)) (total sessionTally) {
	t.Helper()
	skews := []time.Duration{0, time.Hour, -time.Hour}
	synctest.Test(t, func(t *testing.T) {
		for s, start := range []string{inLastTenth, hasEnded, isRefused} {
			c.start = start
			for n, faults := range schedules(dice, pairs) {
				c.faults = faults
				c.skew = skews[n%len(skews)]
				for m, mode := range []string{"alone", "shared", "logout"} {
					if c.file && (n+m+s)%9 != 0 { // A file takes longer.
						continue
					}
					c.shared, c.logout = mode == "shared", mode == "logout"
					total.add(c, c.play(t), first)
				}
			}
		}
	})
	return total
}

// TestSessionControls plays programs that must be found wrong.
func TestSessionControls(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]course{
		"oauth2.ReuseTokenSource with a file, as it is documented": {open: openReuser, store: func() flashback.TokenStore { return unlocked{newShelf()} }},
		"a refresh without the lock":                               {open: openSDK, store: func() flashback.TokenStore { return unlocked{newShelf()} }},
	} {
		for _, i := range issuers[1:3] {
			c := c
			c.issuer = i
			t.Run(name+"/"+c.issuer.name, func(t *testing.T) {
				t.Parallel()
				total := playAll(t, rand.New(rand.NewPCG(4, 4)), c, 0, func(string) {})
				t.Logf("%-60s %-18s %5d runs, lost where it is allowed %5d, lost otherwise %d, told wrong %d",
					name, c.issuer.name, total.runs, total.allowed, total.otherwise, total.wrong)
				assert.Positive(t, total.otherwise+total.wrong, "a judge who finds no fault with the control finds none at all")
			})
		}
	}
}
