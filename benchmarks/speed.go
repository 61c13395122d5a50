package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"
)

// speed is what one call costs.
type speed struct {
	time   time.Duration // the median of all rounds
	ratio  float64       // to the call by hand in the same round, the median
	allocs int64         // the median
	bytes  int64
}

// measureSpeed measures all callers in turn, many times over: what else happens on
// the machine then happens to all of them.
func measureSpeed(base string, rt http.RoundTripper, rounds, calls int) ([]speed, error) {
	activate := make([]func(context.Context, string) error, len(callers))
	if err := flag.Set("test.benchtime", fmt.Sprintf("%dx", calls)); err != nil {
		return nil, err
	}
	results := make([][]testing.BenchmarkResult, len(callers))
	for round := range rounds {
		// One connection is a few per cent faster than another, for as long as it lasts.
		for i, c := range callers {
			if round%5 != 0 {
				break
			}
			s, err := c.open(base, token, rt)
			if err == nil {
				err = s.activate(context.Background(), "user-1")
			}
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.name, err)
			}
			activate[i] = s.activate
		}
		for _, i := range rand.Perm(len(callers)) { //nolint:gosec // So that nobody always comes after the same one; no secret.
			var failed error
			results[i] = append(results[i], testing.Benchmark(func(b *testing.B) {
				b.Helper()
				failed = loop(b, activate[i])
			}))
			if failed != nil {
				return nil, fmt.Errorf("%s: %w", callers[i].name, failed)
			}
		}
	}
	speeds := make([]speed, len(callers))
	for i := range callers {
		of := func(f func(testing.BenchmarkResult) float64) float64 {
			values := make([]float64, rounds)
			for round := range rounds {
				values[round] = f(results[i][round])
			}
			return median(values)
		}
		ratios := make([]float64, rounds)
		for round := range rounds {
			ratios[round] = perCall(results[i][round]) / perCall(results[hand][round])
		}
		speeds[i] = speed{
			time:   time.Duration(of(perCall)),
			ratio:  median(ratios),
			allocs: int64(of(func(r testing.BenchmarkResult) float64 { return float64(r.AllocsPerOp()) })),
			bytes:  int64(of(func(r testing.BenchmarkResult) float64 { return float64(r.AllocedBytesPerOp()) })),
		}
	}
	return speeds, nil
}

func loop(b *testing.B, activate func(context.Context, string) error) error {
	b.Helper()
	b.ReportAllocs()
	ctx := context.Background()
	for b.Loop() {
		if err := activate(ctx, "user-1"); err != nil {
			return err
		}
	}
	return nil
}

func perCall(r testing.BenchmarkResult) float64 { return float64(r.T) / float64(r.N) }

func median(values []float64) float64 {
	slices.Sort(values)
	return (values[(len(values)-1)/2] + values[len(values)/2]) / 2
}

// crowd is what many workers on one client cost.
type crowd struct {
	connections int64
	time        time.Duration
}

// measureCrowd makes calls by 64 workers on the caller's own transport.
func measureCrowd(c caller, calls int) (crowd, error) {
	server, opened := loopback(writeSuccess)
	defer server.Close()
	s, err := c.open(server.URL, token, nil)
	if err != nil {
		return crowd{}, err
	}
	start := time.Now()
	err = each(64, calls, func(int) error { return s.activate(context.Background(), "user-1") })
	return crowd{opened.Load(), time.Since(start)}, err
}

// each calls f with 0 to n-1 from several workers and returns an error of one.
func each(workers, n int, f func(i int) error) error {
	var (
		group  sync.WaitGroup
		mu     sync.Mutex
		failed error
	)
	todo := make(chan int)
	for range workers {
		group.Go(func() {
			for i := range todo {
				if err := f(i); err != nil {
					mu.Lock()
					failed = err
					mu.Unlock()
				}
			}
		})
	}
	for i := range n {
		todo <- i
	}
	close(todo)
	group.Wait()
	return failed
}
