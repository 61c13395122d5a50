package proxytest_test

import (
	"bytes"
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
	"os/exec"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
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
	foreignOrg = "foreign"
)

// scenario is a network between the client and the fake, and what goes wrong in it.
type scenario struct {
	t       *testing.T
	backend *flashbacktest.Backend
	tokens  map[string]string // of the owners, by organization
	url     string            // where the client connects
	opts    []flashback.Option
	calls   int
	pause   time.Duration  // at most, of a worker before a call
	disturb func(step int) // called every stepCalls calls, from one goroutine
	op      *operation
	ask     func(context.Context, int) told // of a client that is not the SDK
	repeats bool                            // the proxy may send a request of this operation again
	stale   bool                            // the proxy may respond to a read with what was before the call
	closers []func()
}

func newScenario(t *testing.T, op *operation) *scenario {
	t.Helper()
	s := &scenario{t: t, op: op, calls: calls, backend: flashbacktest.NewBackend(), tokens: map[string]string{}}
	for i := range calls {
		if id := "owner-of-" + org(i); s.tokens[org(i)] == "" {
			s.backend.AddUser(flashbacktest.User{ID: id, Email: id, OrgID: org(i), Role: flashback.RoleOwner})
			s.tokens[org(i)] = s.backend.AddToken(id)
		}
	}
	return s
}

// atEnd closes a part of the network after the calls and before the check: what
// is still under way then either arrives or is lost for good. Last come, first closed.
func (s *scenario) atEnd(f func()) { s.closers = append(s.closers, f) }

// patient keeps a slow machine from looking like a fault.
func (s *scenario) patient() { s.opts = append(s.opts, flashback.WithAttemptTimeout(time.Minute)) }

// lose lets one request in n be applied and loses its response in one of the ways,
// and drops one in n before it is applied.
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

// faulty starts a backend to stand behind a proxy, and returns its address.
func (s *scenario) faulty() string {
	s.goWrong()
	return s.serve(false, plainServer).addr
}

// goWrong lets about every tenth request be applied and its connection cut, and a
// few fail in other ways.
func (s *scenario) goWrong() {
	ways := []flashbacktest.Loss{flashbacktest.CutResponse, flashbacktest.CutResponse, flashbacktest.ResetConnection, flashbacktest.CutBody}
	const unavailable = `{"success": false, "message": "Service unavailable"}`
	s.backend.Decide(func(*http.Request) flashbacktest.Fault {
		switch rand.IntN(40) {
		case 0, 1, 2, 3:
			return flashbacktest.LoseResponse(ways[rand.IntN(len(ways))])
		case 4:
			return flashbacktest.Drop()
		case 5:
			return flashbacktest.ApplyThenRespond(http.StatusServiceUnavailable, unavailable)
		case 6:
			return flashbacktest.Respond(http.StatusServiceUnavailable, unavailable)
		}
		return flashbacktest.None()
	})
	s.patient()
}

// result is one call: what the caller was told, and what the trace saw.
type result struct {
	told
	sent        atomic.Int32 // requests that were given a connection, so that they may have gone out
	took        time.Duration
	unavoidable bool
}

// tally is one line of the table.
type tally struct {
	name                      string
	op                        *operation
	calls                     int
	wrong                     int
	unavoidable               int // calls that are wrong as no client can avoid
	repeated                  int // calls of which the backend received more requests than the client sent
	retried, recovered        int // calls
	failed, unknown           int // calls without the response that the user deserves; all definite, all unknown
	gaveUp                    int // of these, with retries left and no response of the backend
	attempts, connections     int
	elapsed, slowest          time.Duration
	complaints                map[complaint]int
	firstWrong, firstGivingUp string
}

func (s *scenario) run() tally {
	s.t.Helper()
	for i := range s.calls {
		s.op.kindOf(i).add(s.backend, i)
	}
	ask := s.ask
	if ask == nil {
		client, err := flashback.NewClient("", append([]flashback.Option{
			flashback.WithBaseURL(s.url),
			flashback.WithTokenSource(func(ctx context.Context) (string, error) {
				call, _ := ctx.Value(callKey{}).(int)
				return s.tokens[org(call)], nil
			}),
			flashback.WithMaxRetries(maxRetries),
			flashback.WithBackoff(5*time.Millisecond, 40*time.Millisecond),
			flashback.WithAttemptTimeout(time.Second),
		}, s.opts...)...)
		require.NoError(s.t, err)
		s.atEnd(client.CloseIdleConnections)
		ask = func(ctx context.Context, i int) told { return s.op.ask(ctx, client.Organization.Users, i) }
	}

	var (
		results     = make([]result, s.calls)
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
	results[0].make(s.t.Context(), 0, ask, &connections)
	for range workers {
		work.Go(func() {
			for i := next.Add(1); i < int64(s.calls); i = next.Add(1) {
				if s.pause > 0 {
					<-time.After(rand.N(s.pause))
				}
				results[i].make(s.t.Context(), int(i), ask, &connections)
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

// callKey is a context's key of the number of the call.
type callKey struct{}

func (r *result) make(ctx context.Context, i int, ask func(context.Context, int) told, connections *atomic.Int64) {
	began := time.Now()
	r.told = ask(httptrace.WithClientTrace(context.WithValue(ctx, callKey{}, i), &httptrace.ClientTrace{
		ConnectDone: func(_, _ string, err error) {
			if err == nil {
				connections.Add(1)
			}
		},
		GotConn: func(httptrace.GotConnInfo) { r.sent.Add(1) },
	}), i)
	r.took = time.Since(began)
}

func (s *scenario) check(results []result) tally {
	w := s.op.look(s.backend)
	sum := tally{op: s.op, calls: len(results), complaints: map[complaint]int{}}
	for i := range results {
		r := &results[i]
		is := s.op.truth(w, i)
		sent := int(r.sent.Load())
		complaint := s.op.judge(r.told, is, sent, s.repeats)
		switch {
		case complaint == "":
		case s.unavoidable(complaint, is, sent):
			sum.unavoidable++
			r.unavoidable = true
		default:
			sum.wrong++
			sum.complaints[complaint]++
			sum.firstWrong = fmt.Sprintf("%s: %s; truth %+v, told %+v", userID(i), complaint, is, r.told)
		}
		sum.add(r, is)
	}
	return sum
}

func (sum *tally) add(r *result, is truth) {
	sum.slowest = max(sum.slowest, r.took)
	var (
		e        *flashback.Error
		attempts int
	)
	if r.err == nil {
		attempts = r.attempts
		if attempts == 0 {
			attempts = int(r.sent.Load())
		}
		if r.recovered {
			sum.recovered++
		}
	} else if errors.As(r.err, &e) {
		attempts = e.Attempts
		settled := r.unavoidable || sum.op.settled(e, is.before)
		switch {
		case e.OutcomeUnknown:
			sum.unknown++
		case !settled:
			sum.failed++
		}
		if !settled && attempts <= maxRetries {
			sum.gaveUp++
			sum.firstGivingUp = r.err.Error()
		}
	}
	sum.attempts += attempts
	if attempts > 1 {
		sum.retried++
	}
	if is.received+is.read > max(attempts, int(r.sent.Load())) { // net/http may have read back again
		sum.repeated++
	}
}

// table is printed by TestMain.
var table []tally

// try plays one case with activate. Cases run one at a time, so that a goroutine
// that is left is a case's own.
func try(t *testing.T, name string, lay func(s *scenario), want func(is *assert.Assertions, sum tally)) {
	t.Helper()
	t.Run(name, func(t *testing.T) { play(t, name, &activate, lay, want) })
}

// tryAll plays one case with every operation.
func tryAll(t *testing.T, name string, lay func(s *scenario), want func(is *assert.Assertions, sum tally)) {
	t.Helper()
	for _, op := range operations {
		t.Run(name+"/"+op.name, func(t *testing.T) { play(t, name, op, lay, want) })
	}
}

func play(t *testing.T, name string, op *operation, lay func(s *scenario), want func(is *assert.Assertions, sum tally)) {
	t.Helper()
	s := newScenario(t, op)
	lay(s)
	sum := s.run()
	sum.name = name
	table = append(table, sum)
	if s.ask == nil {
		assert.Zero(t, sum.wrong, "%v, such as %s", sum.complaints, sum.firstWrong)
		if !s.stale || op == &update { // the others read back
			assert.Zero(t, sum.gaveUp, "%s", sum.firstGivingUp)
		}
	}
	want(assert.New(t), sum)
	assert.NoError(t, goleak.Find(
		// Toxiproxy leaves some of its own behind.
		goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2/toxics.(*ToxicStub).Run"),
		goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2.(*ToxicLink).read"),
	))
}

// bites wants the faults that a proxy leaves over: of those that return a user, no
// success tells that it is recovered.
func bites(is *assert.Assertions, sum tally) {
	retries(is, sum)
	if sum.op == &activate || sum.op == &remove {
		is.Positive(sum.recovered, "no response was lost after it was applied")
	}
}

// retries wants faults that made calls retry.
func retries(is *assert.Assertions, sum tally) {
	is.Positive(sum.retried, "no fault bit")
}

// recovers wants faults that lost responses of requests that had been applied.
func recovers(is *assert.Assertions, sum tally) {
	retries(is, sum)
	is.Positive(sum.recovered, "no response was lost after it was applied")
}

func TestMain(m *testing.M) {
	code := m.Run()
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "case\toperation\tcalls\twrong\tunavoidable\trepeated\trecovered\tfailed\tunknown\tgave up\trequests/call\tconnections\tslowest\tseconds")
	for _, c := range table {
		_, _ = fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%.2f\t%d\t%.2f\t%.1f\n", c.name, c.op.name, c.calls, c.wrong, c.unavoidable, c.repeated, c.recovered, c.failed, c.unknown,
			c.gaveUp, float64(c.attempts)/float64(c.calls), c.connections, c.slowest.Seconds(), c.elapsed.Seconds())
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

// start runs a proxy that listens on addr until the end.
func (s *scenario) start(addr, name string, args ...string) *os.Process {
	s.t.Helper()
	binary, err := lookPath(name)
	require.NoError(s.t, err, "these tests need %[1]s: install it, on Debian with apt-get install %[1]s", name)
	ctx, stop := context.WithCancel(context.Background())
	proxy := exec.CommandContext(ctx, binary, args...) //nolint:gosec // Nobody else chooses these.
	var output bytes.Buffer
	proxy.Stdout, proxy.Stderr = &output, &output
	proxy.Cancel = func() error { return proxy.Process.Signal(syscall.SIGTERM) }
	proxy.WaitDelay = 5 * time.Second
	require.NoError(s.t, proxy.Start())
	s.atEnd(func() {
		stop()
		_ = proxy.Wait() // it was told to end
	})
	eventually(s.t, func() error {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			err = conn.Close()
		}
		return err
	})
	s.t.Cleanup(func() {
		if s.t.Failed() {
			s.t.Logf("the end of the output of %s:\n%s", name, output.Bytes()[max(0, output.Len()-2000):])
		}
	})
	return proxy.Process
}

// lookPath finds a program, in /usr/sbin too, where an ordinary user's PATH is not.
func lookPath(name string) (string, error) {
	binary, err := exec.LookPath(name)
	if err != nil {
		binary, err = exec.LookPath("/usr/sbin/" + name)
	}
	return binary, err
}

// freeAddr is an address that nobody listens on.
func freeAddr(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	return listener.Addr().String()
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
