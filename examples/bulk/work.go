package main

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	flashback "github.com/flashbacknetwork/flashback-go"
)

const (
	jobTimeout = 30 * time.Second // for a call, with its wait for the rate limit
	// A job that has run for so long is a killed process's, and another takes it. If it
	// isn't, the user is activated twice, which does no harm.
	rescueAfter = time.Minute
	maxAttempts = 12 // with the waits in between they take some six minutes
	longestWait = time.Minute
)

// verdict is what is known of a user.
type verdict string

const (
	unknown verdict = "unknown" // it may have been activated
	failed  verdict = "failed"  // it was not, and may be next time

	activated     verdict = "activated"
	recovered     verdict = "recovered"
	alreadyActive verdict = "already active"

	notFound  verdict = "not found"
	invalid   verdict = "invalid" // no user can have this ID
	refused   verdict = "refused"
	forbidden verdict = "forbidden" // so with another token
)

// output is what is recorded of a job.
type output struct {
	Verdict verdict `json:"verdict"`
	Error   string  `json:"error,omitempty"`
}

// worker works the jobs.
type worker struct {
	river.WorkerDefaults[activate]

	users    *flashback.UsersService
	probe    *flashback.UsersService // without retries
	gate     *gate
	stopping context.Context //nolint:containedctx // A job's own outlives it.
}

func (w *worker) Work(ctx context.Context, job *river.Job[activate]) error {
	waiting, cancel := context.WithTimeout(ctx, jobTimeout*2/3) // the rest is the call's
	defer cancel()
	defer context.AfterFunc(w.stopping, cancel)()
	probe, err := w.gate.wait(waiting, job.Args.ID)
	if err != nil {
		return river.JobSnooze(time.Second)
	}
	users := w.users
	if probe {
		users = w.probe
	}
	activation, err := users.Activate(ctx, job.Args.ID)
	w.gate.done(err)
	out := output{Verdict: judge(before(job.JobRow), activation, err)}
	if err != nil && !errors.Is(err, flashback.ErrUserNotDeleted) {
		out.Error = err.Error()
	}
	if err := river.RecordOutput(ctx, out); err != nil {
		return err
	}
	switch out.Verdict {
	case activated, recovered, alreadyActive:
		return nil
	case notFound, invalid, refused, forbidden:
		return river.JobCancel(err)
	case unknown, failed:
	}
	outage, _ := w.gate.state()
	if failure := (*flashback.Error)(nil); errors.As(err, &failure) && errors.Is(err, flashback.ErrRateLimited) {
		return river.JobSnooze(max(failure.RetryAfter, time.Second))
	} else if outage && !probe && blame(err) != "" {
		return river.JobSnooze(probeEvery) // that was no attempt of its own
	}
	return err
}

// judge is the table of verdicts.
func judge(before verdict, activation *flashback.Activation, err error) verdict {
	switch {
	case err == nil && activation.Recovered, errors.Is(err, flashback.ErrUserNotDeleted) && before == unknown:
		return recovered
	case err == nil:
		return activated
	case errors.Is(err, flashback.ErrUserNotDeleted):
		return alreadyActive
	case errors.Is(err, flashback.ErrInvalidArgument):
		return invalid
	case errors.Is(err, flashback.ErrOutcomeUnknown), before == unknown:
		return unknown // and not a failure, which it need not be
	case isNotFound(err):
		return notFound
	case errors.Is(err, flashback.ErrForbidden):
		return forbidden
	case errors.Is(err, flashback.ErrBadRequest), errors.Is(err, flashback.ErrConflict):
		return refused
	}
	return failed
}

// before is what is known from earlier attempts. One that a killed process began may
// have been applied, too.
func before(job *rivertype.JobRow) verdict {
	for _, e := range job.Errors {
		if strings.HasPrefix(e.Error, "Stuck job rescued") {
			return unknown
		}
	}
	var metadata struct {
		Output output `json:"output"`
	}
	_ = json.Unmarshal(job.Metadata, &metadata) // River wrote it
	return metadata.Output.Verdict
}

// retryPolicy doubles the wait with each attempt that has failed.
type retryPolicy struct{}

func (retryPolicy) NextRetry(job *rivertype.JobRow) time.Time {
	wait := min(time.Second<<min(len(job.Errors), 10), longestWait)
	return time.Now().Add(wait + rand.N(wait/4)) //nolint:gosec // No secret.
}
