package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync/atomic"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
	"github.com/sony/gobreaker/v2"

	flashback "github.com/flashbacknetwork/flashback-go"
)

// How often a job is tried, with waits of River's that grow from a second to some four
// minutes; how long it may take, with its wait for the rate limit; and when River takes it
// from a process that has been killed. Should that one be alive after all, it is as
// with an unknown outcome.
var maxAttempts, jobTimeout, rescueAfter = 5, 30 * time.Second, time.Minute

// user is what is to be done for one user: the arguments of a job, one for each backend, task
// and ID, whatever its state. It has nothing secret.
type user struct {
	Backend string `json:"backend" river:"unique"`
	Task    string `json:"task" river:"unique"`
	ID      string `json:"id" river:"unique"` // the e-mail address of one who is to be created

	Operation string `json:"operation"`
	// What is the operation with its settings, which all users of a task have.
	What       string           `json:"what"`
	FirstName  string           `json:"firstName,omitempty"`
	LastName   string           `json:"lastName,omitempty"`
	AuthMethod string           `json:"authMethod,omitempty"`
	Role       *flashback.Role  `json:"role,omitempty"`
	Workspace  string           `json:"workspace,omitempty"`
	Access     flashback.Access `json:"access,omitempty"`
}

// String is what a dry run shows.
func (u user) String() string {
	text := u.ID
	if u.Operation == "create" {
		role := "USER, as the backend has it"
		if u.Role != nil {
			role = u.Role.String()
		}
		text += fmt.Sprintf("  first name %q, last name %q, role %s, %s, with an invitation", u.FirstName, u.LastName, role, cmp.Or(u.AuthMethod, "LOCAL"))
	}
	return printable(text)
}

const kind = "flashback_bulk"

func (user) Kind() string { return kind }

// InsertOpts has a queue for each task, so that no other's jobs are worked.
func (u user) InsertOpts() river.InsertOpts {
	return river.InsertOpts{Queue: u.Task, MaxAttempts: maxAttempts, UniqueOpts: river.UniqueOpts{ByArgs: true, ByState: rivertype.JobStates()}}
}

// output is what is recorded of a job.
type output struct {
	result

	Verdict verdict `json:"verdict"`
	Error   string  `json:"error,omitempty"`
}

type worker struct {
	river.WorkerDefaults[user]

	api      *flashback.Client
	probe    *flashback.Client // without retries
	breaker  *gobreaker.CircuitBreaker[output]
	bar      *progress
	stopping context.Context //nolint:containedctx // A job's own outlives it.
	stop     func(error)

	busy    atomic.Int64 // how many users this process has begun
	missing atomic.Int64 // how many users were not found, until one is; then it is far below 0
	most    int64        // so many are no accident
}

func (w *worker) Work(ctx context.Context, job *river.Job[user]) error {
	w.busy.Add(1)
	defer w.busy.Add(-1)
	op, earlier := operationOf(job.Args.Operation), before(job.JobRow)
	if op == nil {
		return river.JobCancel(fmt.Errorf("another version of this command has added this: %q", job.Args.Operation))
	}
	if earlier == unknown && op.ifUnknown == leave {
		return w.record(ctx, output{Verdict: unknown, Error: "it may have been done, when a response was lost or a process killed"}, nil, true)
	}
	var response flashback.Response
	out, err := w.attempt(ctx, op, job.Args, earlier, &response)
	var failure *flashback.Error
	limited := errors.As(err, &failure) && errors.Is(err, flashback.ErrRateLimited) && !errors.Is(err, flashback.ErrOutcomeUnknown)
	if limited || response.Throttled > 10*time.Millisecond {
		w.bar.throttled.Store(time.Now().Unix())
	}
	switch {
	case errors.Is(err, errHeld):
		return river.JobSnooze(time.Second)
	case limited: // for longer than the job has time
		w.bar.closedFor(failure.RetryAfter)
		w.wait(min(failure.RetryAfter, jobTimeout/2)) // so that not all jobs are begun
		return river.JobSnooze(time.Second)
	case out.Verdict == notFound && w.missing.Add(1) == w.most:
		w.stop(fmt.Errorf("the first %d users are all not found: is this list for this backend? To go on even so, resume with --not-found-ok", w.most))
	case out.Verdict != notFound && out.Verdict != unknown && out.Verdict != failed:
		w.missing.Store(math.MinInt32)
	}
	return w.record(ctx, out, err, op.ifUnknown == leave && out.Verdict == unknown)
}

// record records what is known of a user, and whether there is another attempt.
func (w *worker) record(ctx context.Context, out output, err error, final bool) error {
	if err := river.RecordOutput(ctx, out); err != nil {
		return err
	}
	switch {
	case final, out.Error != "" && out.Verdict != unknown && out.Verdict != failed:
		return river.JobCancel(errors.New(out.Error))
	case out.Verdict == unknown, out.Verdict == failed:
		return err
	}
	return nil
}

// before is what is known from earlier attempts. One that a killed process began may
// have been applied, too.
func before(job *rivertype.JobRow) verdict {
	for _, e := range job.Errors {
		if strings.HasPrefix(e.Error, "Stuck job rescued") {
			return unknown
		}
	}
	var known struct {
		Killed bool
		Output output
	}
	if _ = json.Unmarshal(job.Metadata, &known); known.Killed { // there may be none yet
		return unknown
	}
	return known.Output.Verdict
}

const outageAfter = 8 // failures in a row

// newBreaker returns what holds the calls of this process back while they can't succeed.
func newBreaker(say func(format string, args ...any)) *gobreaker.CircuitBreaker[output] {
	var last error // the breaker calls one of these at a time
	return gobreaker.NewCircuitBreaker[output](gobreaker.Settings{
		Timeout:     2 * time.Second, // until the next probe, which has two requests at most
		ReadyToTrip: func(counts gobreaker.Counts) bool { return counts.ConsecutiveFailures >= outageAfter },
		IsSuccessful: func(err error) bool {
			last = err
			return blame(err) == ""
		},
		IsExcluded: func(err error) bool { // these tell nothing
			return errors.Is(err, flashback.ErrRateLimited) || errors.Is(err, flashback.ErrInvalidArgument) || errors.Is(err, context.Canceled)
		},
		OnStateChange: func(_ string, from, to gobreaker.State) {
			if from == gobreaker.StateClosed {
				say("Paused: %s: %v\nThe run goes on by itself when a request gets through; one a second is sent at most.", blame(last), last)
			} else if to == gobreaker.StateClosed {
				say("The backend can be used again.")
			}
		},
	})
}

var errHeld = errors.New("held back for now")

// attempt makes an attempt as soon as it may succeed, or returns errHeld. During an outage
// it sends a read first: if the call fails even so, the outage is not to blame.
func (w *worker) attempt(ctx context.Context, op *operation, u user, before verdict, response *flashback.Response) (output, error) {
	for end := time.Now().Add(jobTimeout / 2); ; { // the rest is the call's
		out, err := w.breaker.Execute(func() (output, error) {
			if w.breaker.State() == gobreaker.StateClosed {
				return op.attempt(ctx, w.api, u, before, response)
			}
			if _, err := w.probe.Organization.Users.Get(ctx, u.ID); blame(err) != "" {
				return output{}, errors.Join(errHeld, err)
			}
			return op.attempt(ctx, w.probe, u, before, response)
		})
		switch {
		case isUnsent(err):
			return output{}, errHeld
		case !errors.Is(err, gobreaker.ErrOpenState) && !errors.Is(err, gobreaker.ErrTooManyRequests):
			return out, err
		case time.Now().After(end), w.stopping.Err() != nil:
			return output{}, errHeld
		}
		w.wait(100 * time.Millisecond)
	}
}

// isUnsent tells whether a call ended before its first attempt, for no reason of its user's.
func isUnsent(err error) bool {
	var failure *flashback.Error
	return errors.As(err, &failure) && failure.Attempts == 0 && !errors.Is(err, flashback.ErrInvalidArgument) && !errors.Is(err, flashback.ErrRateLimited)
}

// wait waits, unless the run is to stop.
func (w *worker) wait(d time.Duration) {
	select {
	case <-time.After(d):
	case <-w.stopping.Done():
	}
}

const down, noToken = "the backend does not respond as it should", "the access token can't be read or renewed"

// blame says what is to blame for a failed call, if it isn't its user.
func blame(err error) string {
	var failure *flashback.Error
	switch {
	case !errors.As(err, &failure), errors.Is(err, flashback.ErrRateLimited), errors.Is(err, flashback.ErrInvalidArgument), errors.Is(err, context.Canceled):
		return ""
	case failure.Attempts == 0 && errors.Is(err, flashback.ErrNotSent):
		return down
	case failure.Attempts == 0 && !errors.Is(err, context.DeadlineExceeded): // all else that can end a call before its first is above
		return noToken
	case errors.Is(err, flashback.ErrUnauthorized):
		return "the access token is not accepted"
	case failure.StatusCode == 0:
		return "the backend can't be reached; check the network and FLASHBACK_BASE_URL"
	case errors.Is(err, flashback.ErrNotFound) && !isNotFound(err), errors.Is(err, flashback.ErrUnexpectedResponse) && failure.StatusCode >= 300:
		return "this is not the API; check FLASHBACK_BASE_URL"
	case errors.Is(err, flashback.ErrServer), errors.Is(err, flashback.ErrUnexpectedResponse):
		return down
	}
	return ""
}
