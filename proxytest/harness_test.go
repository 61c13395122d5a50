package proxytest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	flashback "github.com/flashbacknetwork/flashback-go"
	"github.com/flashbacknetwork/flashback-go/flashbacktest"
)

const (
	calls      = 2000
	workers    = 32
	stepCalls  = 50 // calls between two disturbances, so that a slow machine has as many
	maxRetries = 6
	foreignOrg = "org-2"
)

// scenario is a network between the client and the fake, and what goes wrong in it.
type scenario struct {
	t       *testing.T
	backend *flashbacktest.Backend
	url     string // where the client connects
	opts    []flashback.Option
	pause   time.Duration  // at most, of a worker before a call
	disturb func(step int) // called every stepCalls calls, from one goroutine
	call    func(context.Context, string) (*flashback.Activation, error)
	closers []func()
}

func newScenario(t *testing.T) *scenario {
	t.Helper()
	s := &scenario{t: t, backend: flashbacktest.NewBackend()}
	s.atEnd(s.backend.Close)
	return s
}

// atEnd closes a part of the network after the calls and before the check: what
// is still under way then either arrives or is lost for good. Last come, first closed.
func (s *scenario) atEnd(f func()) { s.closers = append(s.closers, f) }

// patient keeps a slow machine from looking like a fault.
func (s *scenario) patient() { s.opts = append(s.opts, flashback.WithAttemptTimeout(time.Minute)) }

// lose lets one request in n act and loses its answer in one of the ways, and
// drops one in n before it acts.
func (s *scenario) lose(n int, ways ...flashbacktest.Loss) {
	s.backend.Decide(func(*http.Request) flashbacktest.Fault {
		switch rand.IntN(n) {
		case 0:
			return flashbacktest.LoseResponse(ways[rand.IntN(len(ways))])
		case 1:
			return flashbacktest.Drop()
		}
		return flashbacktest.None()
	})
}

// kind is what a user is before the call.
type kind int

const (
	deleted kind = iota
	active
	foreign
	nobody
)

func kindOf(i int) kind {
	return [...]kind{deleted, deleted, deleted, deleted, deleted, deleted, active, foreign, nobody, nobody}[i%10]
}

func userID(i int) string { return fmt.Sprintf("user-%d", i) }

// result is one call: what the caller was told, and what the trace saw.
type result struct {
	activation *flashback.Activation
	err        error
	sent       atomic.Bool // an attempt was given a connection, so that it may have gone out
	took       time.Duration
}

// tally is one line of the table.
type tally struct {
	name                      string
	wrong                     int
	retried, recovered        int // calls
	failed, unknown           int // calls without the answer that the user deserves; all definite, all unknown
	gaveUp                    int // of these, with retries left and no answer of the backend
	attempts, connections     int
	elapsed, slowest          time.Duration
	firstWrong, firstGivingUp string
}

func (s *scenario) run() tally {
	s.t.Helper()
	for i := range calls {
		switch kindOf(i) {
		case deleted:
			s.backend.AddDeletedUser(userID(i))
		case active:
			s.backend.AddUser(flashbacktest.User{ID: userID(i)})
		case foreign:
			s.backend.AddUser(flashbacktest.User{ID: userID(i), OrgID: foreignOrg})
		case nobody:
		}
	}
	call := s.call
	if call == nil {
		client, err := flashback.NewClient(s.backend.Token(), append([]flashback.Option{
			flashback.WithBaseURL(s.url),
			flashback.WithMaxRetries(maxRetries),
			flashback.WithBackoff(5*time.Millisecond, 40*time.Millisecond),
			flashback.WithAttemptTimeout(time.Second),
			flashback.WithRetryBudget(-1),
		}, s.opts...)...)
		require.NoError(s.t, err)
		call = client.Organization.Users.Activate
	}

	var (
		results     = make([]result, calls)
		connections atomic.Int64
		next, ended atomic.Int64
		work, aside sync.WaitGroup
		steps       = make(chan struct{})
		started     = time.Now()
	)
	aside.Go(func() {
		step := 0
		for range steps {
			if s.disturb != nil {
				s.disturb(step)
			}
			step++
		}
	})
	// The first call goes alone: net/http dials once for each request that finds no
	// connection, before it knows that one HTTP/2 connection will do for all.
	results[0].make(s.t.Context(), userID(0), call, &connections)
	for range workers {
		work.Go(func() {
			for i := next.Add(1); i < calls; i = next.Add(1) {
				if s.pause > 0 {
					<-time.After(rand.N(s.pause))
				}
				results[i].make(s.t.Context(), userID(int(i)), call, &connections)
				if ended.Add(1)%stepCalls == 0 {
					select {
					case steps <- struct{}{}:
					default: // the last disturbance is still going on
					}
				}
			}
		})
	}
	work.Wait()
	close(steps)
	aside.Wait()
	elapsed := time.Since(started)
	for _, closePart := range slices.Backward(s.closers) {
		closePart()
	}

	sum := s.check(results)
	sum.connections, sum.elapsed = int(connections.Load()), elapsed
	return sum
}

func (r *result) make(ctx context.Context, id string, call func(context.Context, string) (*flashback.Activation, error), connections *atomic.Int64) {
	began := time.Now()
	r.activation, r.err = call(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		ConnectDone: func(_, _ string, err error) {
			if err == nil {
				connections.Add(1)
			}
		},
		GotConn: func(httptrace.GotConnInfo) { r.sent.Store(true) },
	}), id)
	r.took = time.Since(began)
}

// truth is what the fake knows of one user's calls.
type truth struct {
	received, acted int
	activeNow       bool
}

func (s *scenario) check(results []result) tally {
	truths := make(map[string]truth, calls)
	for _, request := range s.backend.Requests() {
		is := truths[request.Path]
		is.received++
		if request.Applied {
			is.acted++
		}
		truths[request.Path] = is
	}
	var sum tally
	for i := range results {
		r := &results[i]
		is := truths["/organization/users/"+userID(i)+"/activate"]
		user, exists := s.backend.User(userID(i))
		is.activeNow = exists && !user.Deleted()
		if complaint := r.judge(kindOf(i), is); complaint != "" {
			sum.wrong++
			sum.firstWrong = fmt.Sprintf("%s (kind %d): %s; truth %+v, told %+v %v", userID(i), kindOf(i), complaint, is, r.activation, r.err)
		}
		sum.add(r)
	}
	return sum
}

// judge tells what is wrong with what the caller was told, or "".
func (r *result) judge(before kind, is truth) string {
	if r.err == nil {
		switch {
		case !is.activeNow:
			return "a success, and the user is not active"
		case !r.activation.Recovered && is.acted == 0:
			return "a success of this call, and no attempt acted"
		case is.received > r.activation.Attempts:
			return "more requests than attempts"
		}
		return ""
	}
	var e *flashback.Error
	if !errors.As(r.err, &e) {
		return "not an *Error"
	}
	final := !e.OutcomeUnknown
	switch {
	case final && is.acted > 0:
		return "a definite failure, and an attempt acted"
	case !final && !r.sent.Load() && is.received == 0:
		return "an unknown outcome, and nothing was sent"
	case errors.Is(e, flashback.ErrOutcomeUnknown) == final:
		return "OutcomeUnknown and ErrOutcomeUnknown differ"
	case errors.Is(e, flashback.ErrUserNotDeleted) && (before != active || !final):
		return "said to have been active"
	case errors.Is(e, flashback.ErrNotFound) && before != nobody:
		return "said not to exist"
	case errors.Is(e, flashback.ErrForbidden) && before != foreign:
		return "said to be another organization's"
	case errors.Is(e, context.DeadlineExceeded), errors.Is(e, context.Canceled):
		return "the caller's context is blamed"
	case is.received > e.Attempts:
		return "more requests than attempts"
	}
	return ""
}

func (sum *tally) add(r *result) {
	sum.slowest = max(sum.slowest, r.took)
	var (
		e        *flashback.Error
		attempts int
	)
	if r.err == nil {
		attempts = r.activation.Attempts
		if r.activation.Recovered {
			sum.recovered++
		}
	} else if errors.As(r.err, &e) {
		attempts = e.Attempts
		answered := errors.Is(e, flashback.ErrUserNotDeleted) || errors.Is(e, flashback.ErrNotFound) || errors.Is(e, flashback.ErrForbidden)
		switch {
		case e.OutcomeUnknown:
			sum.unknown++
		case !answered:
			sum.failed++
		}
		if !answered && attempts <= maxRetries {
			sum.gaveUp++
			sum.firstGivingUp = r.err.Error()
		}
	}
	sum.attempts += attempts
	if attempts > 1 {
		sum.retried++
	}
}

// table is printed by TestMain.
var table []tally

// try runs one case. Cases run one at a time, so that a goroutine that is left is
// a case's own.
func try(t *testing.T, name string, lay func(s *scenario), want func(is *assert.Assertions, sum tally)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		s := newScenario(t)
		lay(s)
		sum := s.run()
		sum.name = name
		table = append(table, sum)
		if s.call == nil {
			assert.Zero(t, sum.wrong, "%s", sum.firstWrong)
			assert.Zero(t, sum.gaveUp, "%s", sum.firstGivingUp)
		}
		want(assert.New(t), sum)
		assert.NoError(t, goleak.Find(
			// Toxiproxy leaves some of its own behind.
			goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2/toxics.(*ToxicStub).Run"),
			goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2.(*ToxicLink).read"),
		))
	})
}

// retries wants faults that made calls retry.
func retries(is *assert.Assertions, sum tally) {
	is.Positive(sum.retried, "no fault bit")
}

// recovers wants faults that lost answers of requests that had acted.
func recovers(is *assert.Assertions, sum tally) {
	retries(is, sum)
	is.Positive(sum.recovered, "no answer was lost after acting")
}

func TestMain(m *testing.M) {
	code := m.Run()
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "case\tcalls\twrong\trecovered\tfailed\tunknown\tgave up\trequests/call\tconnections\tslowest\tseconds")
	for _, c := range table {
		_, _ = fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%.2f\t%d\t%.2f\t%.1f\n", c.name, calls, c.wrong, c.recovered, c.failed, c.unknown,
			c.gaveUp, float64(c.attempts)/calls, c.connections, c.slowest.Seconds(), c.elapsed.Seconds())
	}
	_ = w.Flush()
	os.Exit(code)
}

// origin serves the fake on one address, and can be stopped and started again.
type origin struct {
	s      *scenario
	addr   string
	config func() *http.Server
	server *http.Server
	tls    bool
	ended  sync.WaitGroup
}

// serve starts an origin; config makes its server, but for the handler.
func (s *scenario) serve(useTLS bool, config func() *http.Server) *origin {
	s.t.Helper()
	o := &origin{s: s, addr: "127.0.0.1:0", config: config, tls: useTLS}
	o.start()
	s.atEnd(func() {
		_ = o.server.Close()
		o.ended.Wait()
	})
	return o
}

func (o *origin) start() {
	var listener net.Listener
	eventually(o.s.t, func() (err error) {
		listener, err = net.Listen("tcp", o.addr)
		return err
	})
	o.addr = listener.Addr().String()
	server := o.config()
	server.Handler = o.s.backend
	o.server = server
	o.ended.Go(func() {
		if o.tls {
			_ = server.ServeTLS(listener, "", "")
		} else {
			_ = server.Serve(listener)
		}
	})
}

// cut stops the origin, and with it what is under way.
func (o *origin) cut() { _ = o.server.Close() }

// replace starts another server in place of the one that runs, which ends
// gracefully.
func (o *origin) replace() {
	old := o.server
	o.ended.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		if old.Shutdown(ctx) != nil {
			_ = old.Close()
		}
	})
	o.start()
}

func plainServer() *http.Server {
	return &http.Server{ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0)}
}

// eventually tries until try succeeds, for at most ten seconds.
func eventually(t *testing.T, attempt func() error) {
	t.Helper()
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	var err error
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); <-ticker.C {
		if err = attempt(); err == nil {
			return
		}
	}
	t.Errorf("gave up waiting: %v", err)
}

// loopbackTLS is the certificate that httptest has for 127.0.0.1.
func loopbackTLS() *httptest.Server {
	server := httptest.NewUnstartedServer(nil)
	server.EnableHTTP2 = true
	server.StartTLS()
	server.Close()
	return server
}
