package proof_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flashbacknetwork/flashback-go"
)

// BenchmarkCanceled tells what calls cost that are in flight, or that wait for their turn, and how long it takes to
// cancel them all.
func BenchmarkCanceled(b *testing.B) {
	for _, calls := range []int{10_000, 20_000} {
		name := "in flight"
		if calls == 20_000 {
			name = "waiting"
		}
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				cancelAll(b, calls, name == "waiting")
			}
		})
	}
}

func cancelAll(b *testing.B, calls int, wait bool) {
	b.Helper()
	c := newSDK(blocking{refuses: wait})
	ctx, cancel := context.WithCancel(b.Context())
	var all sync.WaitGroup
	before := inUse()
	if wait {
		all.Go(func() { _ = c.call(ctx) })
		<-time.After(100 * time.Millisecond)
	}
	for range calls {
		all.Go(func() { _ = c.call(ctx) })
	}
	<-time.After(time.Second)
	b.ReportMetric(float64(inUse()-before)/float64(calls), "B/call")
	began := time.Now()
	cancel()
	all.Wait()
	b.ReportMetric(float64(time.Since(began).Microseconds())/1000, "ms/cancel")
}

func inUse() uint64 {
	runtime.GC() //nolint:revive // What is left over would count.
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}

// blocking never responds, or refuses at once.
type blocking struct{ refuses bool }

func (s blocking) RoundTrip(req *http.Request) (*http.Response, error) {
	if !s.refuses {
		<-req.Context().Done()
		return nil, req.Context().Err()
	}
	return &http.Response{StatusCode: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"30"}}, Body: http.NoBody, Request: req}, nil
}

// listen serves a limit on loopback, and counts what it accepts.
func listen(b *testing.B, l limit) (url string, requests *atomic.Int64) {
	b.Helper()
	requests = new(atomic.Int64)
	var mu sync.Mutex
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		requests.Add(1)
		mu.Lock()
		accepted, retryAfter := l.arrive(time.Now())
		mu.Unlock()
		if !accepted {
			w.Header().Set("Retry-After", strconv.Itoa(int(retryAfter.Seconds())))
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		_, _ = w.Write([]byte(`{"success":true}`))
	}))
	b.Cleanup(server.Close)
	return server.URL, requests
}

func atLoopback(url string) sdkClient {
	return newSDK(flashback.NewTransport(), flashback.WithBaseURL(url))
}

// BenchmarkLoopback lets workers make 3,000 calls to a server that accepts 200 a second.
func BenchmarkLoopback(b *testing.B) {
	for _, workers := range []int{32, 256, 500} {
		b.Run(strconv.Itoa(workers), func(b *testing.B) {
			for b.Loop() {
				const calls = 3000
				l := &bucket{rate: 200, burst: 20, after: time.Second}
				url, requests := listen(b, l)
				began := time.Now()
				lost := work(b.Context(), workers, calls, atLoopback(url).call)
				b.ReportMetric(float64(lost), "lost")
				b.ReportMetric(float64(requests.Load())/calls, "requests/call")
				b.ReportMetric(float64(time.Since(began))/float64(l.ideal(calls, began)), "times-ideal")
			}
		})
	}
}

const shared = "FLASHBACK_SHARED_SERVER"

// BenchmarkEightProcesses lets eight processes, with eight workers each, share a server that accepts 200 calls a second.
func BenchmarkEightProcesses(b *testing.B) {
	const processes, calls = 8, 600
	if url := os.Getenv(shared); url != "" {
		began := time.Now()
		fmt.Println("\nended", work(b.Context(), 8, calls, atLoopback(url).call), time.Since(began).Seconds())
		return
	}
	for b.Loop() {
		l := &bucket{rate: 200, burst: 20, after: time.Second}
		url, requests := listen(b, l)
		var mu sync.Mutex
		var all sync.WaitGroup
		var lost int
		first, last := 1e9, 0.0
		for range processes {
			all.Go(func() {
				cmd := exec.CommandContext(b.Context(), os.Args[0], "-test.run=^$", "-test.bench=EightProcesses", "-test.benchtime=1x") //nolint:gosec // It is this program.
				cmd.Env = append(os.Environ(), shared+"="+url)
				out, err := cmd.StdoutPipe()
				if err != nil || cmd.Start() != nil {
					b.Error("not started", err)
					return
				}
				for lines := bufio.NewScanner(out); lines.Scan(); {
					var failed int
					var took float64
					if n, _ := fmt.Sscanf(lines.Text(), "ended %d %f", &failed, &took); n == 2 {
						mu.Lock()
						lost, first, last = lost+failed, min(first, took), max(last, took)
						mu.Unlock()
					}
				}
				_ = cmd.Wait()
			})
		}
		all.Wait()
		b.ReportMetric(float64(lost), "lost")
		b.ReportMetric(float64(requests.Load())/(processes*calls), "requests/call")
		b.ReportMetric(last/l.ideal(processes*calls, time.Now()).Seconds(), "times-ideal")
		b.ReportMetric(first/last, "fairness")
	}
}
