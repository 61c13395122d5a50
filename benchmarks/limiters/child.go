package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptrace"
	"os"
	"os/exec"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	flashback "github.com/flashbacknetwork/flashback-go"
)

// task is what a child process is asked for.
type task struct {
	URL              string
	Caller           string
	Clients, Workers int
	Calls            int
	Descriptors      int // of files, at most; 0 for as many as this process may have
	Within           time.Duration
}

// told is what the callers in a child process were told.
type told struct {
	Took     time.Duration
	Requests int // that were given a connection
	Outcomes []outcome
}

type outcome int

const (
	failed outcome = iota // for certain, as far as the caller tells
	activated
	outcomeUnknown
)

// ask starts this program again, to do a task.
func ask(ctx context.Context, t task) (result told, err error) {
	program, err := os.Executable()
	if err != nil {
		return told{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, t.Within+time.Minute)
	defer cancel()
	input, err := json.Marshal(t)
	if err != nil {
		return told{}, err
	}
	command := []string{program, "-child"}
	if t.Descriptors > 0 {
		command = append([]string{"sh", "-c", fmt.Sprintf(`ulimit -n %d && exec "$0" "$@"`, t.Descriptors)}, command...)
	}
	cmd := exec.CommandContext(ctx, command[0], command[1:]...) //nolint:gosec // It is this program.
	cmd.Stdin, cmd.Stderr = bytes.NewReader(input), os.Stderr
	output, err := cmd.Output()
	if err != nil {
		return told{}, err
	}
	err = json.Unmarshal(output, &result)
	return result, err
}

// answer does the task of standard input and writes what the callers were told.
func answer(ctx context.Context) error {
	var t task
	if err := json.NewDecoder(os.Stdin).Decode(&t); err != nil {
		return err
	}
	result, err := t.do(ctx)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(result)
}

// do has all workers take the next user until none is left.
func (t task) do(ctx context.Context) (result told, err error) {
	i := slices.IndexFunc(callers, func(c caller) bool { return c.name == t.Caller })
	if i < 0 {
		return told{}, fmt.Errorf("there is no caller %q", t.Caller)
	}
	var requests atomic.Int64
	ctx, cancel := context.WithTimeout(ctx, t.Within)
	defer cancel()
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { requests.Add(1) }})
	result.Outcomes = make([]outcome, t.Calls)
	errs := make([]error, t.Calls)
	var (
		next  atomic.Int64
		work  sync.WaitGroup
		began = time.Now()
	)
	for range t.Clients {
		activate, err := callers[i].open(t.URL)
		if err != nil {
			return told{}, err
		}
		for range t.Workers {
			work.Go(func() {
				for n := next.Add(1) - 1; n < int64(t.Calls); n = next.Add(1) - 1 {
					errs[n] = activate(ctx, userID(int(n)))
				}
			})
		}
	}
	work.Wait()
	result.Took, result.Requests = time.Since(began), int(requests.Load())
	for n, err := range errs {
		switch {
		case err == nil:
			result.Outcomes[n] = activated
		case errors.Is(err, flashback.ErrOutcomeUnknown):
			result.Outcomes[n] = outcomeUnknown
		}
	}
	return result, nil
}

// count compares what the callers were told with who is active.
func (t told) count(active map[string]bool) (lost, unknown, wrong int) {
	for i, outcome := range t.Outcomes {
		if outcome != activated {
			lost++
		}
		if outcome == outcomeUnknown {
			unknown++
		} else if (outcome == activated) != active[userID(i)] {
			wrong++
		}
	}
	return lost, unknown, wrong
}
