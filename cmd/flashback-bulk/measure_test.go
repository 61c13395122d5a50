//go:build linux

package main

import (
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flashbacknetwork/flashback-go/flashbacktest"
)

// These take minutes: go test -run Measure -measure -v -timeout 30m. ./ci.sh takes the
// same arguments.
var measure = flag.Bool("measure", false, "measure what docs/proof.md and docs/operating.md say of this command")

// measured is a fixture with many users. The test is skipped without -measure.
func measured(t *testing.T, users int) (f *fixture, ids string) {
	t.Helper()
	if !*measure {
		t.Skip("give -measure")
	}
	f = newFixture(t)
	ids = filepath.Join(t.TempDir(), "ids")
	file, err := os.Create(ids)
	require.NoError(t, err)
	for i := range users {
		id := fmt.Sprintf("user-%07d", i)
		fmt.Fprintln(file, id)
		if users < 1e6 {
			f.backend.AddDeletedUser(id)
		}
	}
	require.NoError(t, file.Close())
	return f, ids
}

// TestMeasureTwentyKills has 5,000 users and a fault in one of ten requests, once without a
// kill and once with twenty in a row: with rate limits, and with a backend that takes 200 ms.
func TestMeasureTwentyKills(t *testing.T) { //nolint:paralleltest // It is measured.
	for _, world := range []struct {
		limit int // a second; 0 for none
		apart time.Duration
	}{{400, 500 * time.Millisecond}, {100, 2 * time.Second}, {0, 2 * time.Second}} {
		var without time.Duration
		for _, kills := range []int{0, 20} {
			f, ids := measured(t, 5000)
			f.backend.Decide(func(r *http.Request) flashbacktest.Fault {
				fault := trouble(r)
				if world.limit == 0 {
					fault.Delay = 200 * time.Millisecond
				}
				return fault
			})
			f.backend.LimitRate(world.limit, world.limit/10)
			began := time.Now()
			for range kills {
				process, _, _ := f.process("real", "--ids", ids)
				<-time.After(world.apart + rand.N(world.apart))
				_ = process.Process.Kill() // it may have ended
				_ = process.Wait()
			}
			before := f.activations()
			process, stdout, stderr := f.process("real", "--ids", ids)
			require.NoError(t, process.Wait(), "%s", stderr)
			took := time.Since(began)
			if kills == 0 {
				without = took
			}
			t.Logf("limit %d, %d kills: %.1f s, %.2f of the time without; %d calls before the last kill\n%s%s",
				world.limit, kills, took.Seconds(), float64(took)/float64(without), before, stdout, stderr)
			f.settledOnce(5000)
		}
	}
}

// TestMeasureEachOperation has 5,000 users, a fault in one of ten requests, a limit and five kills.
func TestMeasureEachOperation(t *testing.T) { //nolint:paralleltest // It is measured.
	for _, op := range operations {
		t.Run(op.name, func(t *testing.T) {
			f, _ := measured(t, 0)
			c := f.crowd(op.name, 5000)
			served := 0
			f.backend.Decide(func(r *http.Request) flashbacktest.Fault {
				served++
				return trouble(r)
			})
			f.backend.LimitRate(400, 40)
			began := time.Now()
			f.killed("real", c.args, 5, 700, 200*time.Millisecond) // to look costs the backend time
			took := time.Since(began)
			applied, times, most, verdicts := 0, map[string]int{}, 0, map[verdict]int{}
			for _, r := range f.backend.Requests() {
				if r.Applied {
					applied++
					times[r.Path+string(r.Body)]++ // a new user's password is another one each time
					most = max(most, times[r.Path+string(r.Body)])
				}
			}
			for _, v := range f.verdicts() {
				verdicts[v]++
			}
			ideal := time.Duration(served) * time.Second / 400
			t.Logf("%.1f s, %.2f of the ideal for %d requests; %d were applied, at most %d of one path and body; %v",
				took.Seconds(), float64(took)/float64(ideal), served, applied, most, verdicts)
		})
	}
}

// TestMeasureAFleet has four processes, each of which is killed and started again, on a
// PostgreSQL that is restarted twice, with the command in BULK_TEST_RESTART.
func TestMeasureAFleet(t *testing.T) { //nolint:paralleltest // It is measured.
	const users, limit = 40_000, 250
	f, ids := measured(t, users)
	f.store = postgres(t)
	restart := os.Getenv("BULK_TEST_RESTART")
	served := 0 // with those that a fault has hit
	f.backend.Decide(func(r *http.Request) flashbacktest.Fault {
		served++
		return trouble(r)
	})
	f.backend.LimitRate(limit, limit/10)
	began := time.Now()
	var fleet sync.WaitGroup
	for range 4 {
		fleet.Go(func() {
			for range 2 {
				process, _, _ := f.process("real", "--ids", ids, "--most", fmt.Sprint(users))
				<-time.After(5*time.Second + rand.N(20*time.Second))
				_ = process.Process.Kill() // it may have ended without PostgreSQL
				_ = process.Wait()
			}
			for status := couldNot; status == couldNot; { // it began without PostgreSQL
				process, stdout, stderr := f.process("real", "--ids", ids, "--most", fmt.Sprint(users))
				_ = process.Wait()
				status = process.ProcessState.ExitCode()
				t.Logf("status %d\n%s%s", status, stdout, stderr)
			}
		})
	}
	for range 2 {
		<-time.After(15*time.Second + rand.N(15*time.Second))
		out, err := exec.CommandContext(t.Context(), "sh", "-c", restart).CombinedOutput() //nolint:gosec // It is whoever runs the test.
		require.NoError(t, err, "%s", out)
		t.Logf("restarted PostgreSQL after %v", time.Since(began).Round(time.Second))
	}
	fleet.Wait()
	took := time.Since(began)
	ideal := time.Duration(served) * time.Second / limit
	t.Logf("%v, %.2f of the %v that the limit lets %d requests through in", took.Round(time.Second), float64(took)/float64(ideal), ideal, served)
	f.settledOnce(users)
}

func TestMeasureAnOutage(t *testing.T) { //nolint:paralleltest // It is measured.
	f, ids := measured(t, 5000)
	f.backend.LimitRate(400, 40)
	var down, during atomic.Int64
	began := time.Now()
	f.backend.Decide(func(*http.Request) flashbacktest.Fault {
		if since := time.Since(began); since > 5*time.Second && since < 65*time.Second {
			if during.Add(1); since > 6*time.Second {
				down.Add(1)
			}
			return flashbacktest.Drop()
		}
		return flashbacktest.None()
	})
	process, stdout, stderr := f.process("real", "--ids", ids)
	require.NoError(t, process.Wait(), "%s", stderr)
	t.Logf("%d requests in the minute, %d of them after its first second; all done %v after it\n%s%s",
		during.Load(), down.Load(), (time.Since(began) - 65*time.Second).Round(100*time.Millisecond), stdout, stderr)
	f.settledOnce(5000)
}

func TestMeasureAMillion(t *testing.T) { //nolint:paralleltest // It is measured.
	f, ids := measured(t, 1e6)
	var calls atomic.Int64
	var first atomic.Pointer[time.Time]
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost && calls.Add(1) == 1 {
			now := time.Now()
			first.Store(&now)
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"success":true,"message":"User activated successfully","id":"user-0000000"}`)
	}))
	defer backend.Close()
	f.env["FLASHBACK_BASE_URL"] = backend.URL
	began := time.Now()
	process, stdout, stderr := f.process("real", "--ids", ids, "--most", "1000000")
	require.Eventually(t, func() bool { return first.Load() != nil }, 10*time.Minute, 10*time.Millisecond)
	<-time.After(time.Minute) // the rest is alike
	perSecond := float64(calls.Load()) / time.Since(*first.Load()).Seconds()
	require.NoError(t, process.Process.Signal(os.Interrupt))
	require.Error(t, process.Wait())
	usage, _ := process.ProcessState.SysUsage().(*syscall.Rusage)
	t.Logf("%v until the first call, then %.0f users a second; %d MiB at most\n%s%s",
		first.Load().Sub(began).Round(100*time.Millisecond), perSecond, usage.Maxrss/1024, stdout, stderr)
}
