package main

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
	"github.com/sony/gobreaker/v2"

	flashback "github.com/flashbacknetwork/flashback-go"
)

// How often a job is tried, with waits of River's that grow from a second to some four
// minutes; how long it may take, with its wait for the rate limit; and when River takes it
// from a process that has been killed. Should that one be alive after all, the user is
// activated twice, which does no harm.
var maxAttempts, jobTimeout, rescueAfter = 5, 30 * time.Second, time.Minute

// activate is a user's job: one for each backend, task and ID, whatever its state.
type activate struct {
	Backend string `json:"backend"`
	Task    string `json:"task"`
	ID      string `json:"id"`
}

const kind = "flashback_activate"

func (activate) Kind() string { return kind }

// InsertOpts has a queue for each task, so that no other's jobs are worked.
func (a activate) InsertOpts() river.InsertOpts {
	return river.InsertOpts{Queue: a.Task, MaxAttempts: maxAttempts, UniqueOpts: river.UniqueOpts{ByArgs: true, ByState: rivertype.JobStates()}}
}

// verdict is what is known of a user.
type verdict string

const (
	due     verdict = "due"
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

type worker struct {
	river.WorkerDefaults[activate]

	users    *flashback.UsersService
	probe    *flashback.UsersService // without retries
	breaker  *gobreaker.CircuitBreaker[*flashback.Activation]
	bar      *progress
	stopping context.Context //nolint:containedctx // A job's own outlives it.
}

func (w *worker) Work(ctx context.Context, job *river.Job[activate]) error {
	var response flashback.Response
	activation, err := w.activate(flashback.WithResponse(ctx, &response), job.Args.ID)
	var failure *flashback.Error
	limited := errors.As(err, &failure) && errors.Is(err, flashback.ErrRateLimited)
	if limited || response.Throttled > 10*time.Millisecond {
		w.bar.throttled.Store(time.Now().Unix())
	}
	if errors.Is(err, errHeld) {
		return river.JobSnooze(time.Second)
	}
	out := output{Verdict: judge(before(job.JobRow), activation, err)}
	if err != nil && !errors.Is(err, flashback.ErrUserNotDeleted) {
		out.Error = err.Error()
	}
	if err := river.RecordOutput(ctx, out); err != nil {
		return err
	}
	switch {
	case limited: // for longer than the job has time
		w.wait(min(failure.RetryAfter, jobTimeout/2)) // so that not all jobs are begun
		return river.JobSnooze(time.Second)
	case out.Verdict == unknown, out.Verdict == failed:
		return err
	case out.Error != "":
		return river.JobCancel(err)
	}
	return nil
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
	case errors.Is(err, flashback.ErrRateLimited):
		return due
	}
	return failed
}

// isNotFound tells the documented response from that of a server that knows no such
// path, which would settle every user for good.
func isNotFound(err error) bool {
	var failure *flashback.Error
	return errors.Is(err, flashback.ErrNotFound) && errors.As(err, &failure) && strings.EqualFold(failure.Message, "User not found")
}

// before is what is known from earlier attempts. One that a killed process began may
// have been applied, too.
func before(job *rivertype.JobRow) verdict {
	for _, e := range job.Errors {
		if strings.HasPrefix(e.Error, "Stuck job rescued") {
			return unknown
		}
	}
	var out output
	_ = json.Unmarshal(job.Output(), &out) // there may be none yet
	return out.Verdict
}

const outageAfter = 8 // failures in a row

// newBreaker returns what holds the calls of this process back while they can't succeed.
func newBreaker(say func(format string, args ...any)) *gobreaker.CircuitBreaker[*flashback.Activation] {
	var last error // the breaker calls one of these at a time
	return gobreaker.NewCircuitBreaker[*flashback.Activation](gobreaker.Settings{
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

// activate activates a user as soon as that may succeed, or returns errHeld. During an
// outage it sends a read first: if the call fails even so, the outage is not to blame.
func (w *worker) activate(ctx context.Context, userID string) (*flashback.Activation, error) {
	for end := time.Now().Add(jobTimeout / 2); ; { // the rest is the call's
		activation, err := w.breaker.Execute(func() (*flashback.Activation, error) {
			if w.breaker.State() == gobreaker.StateClosed {
				return w.users.Activate(ctx, userID)
			}
			if _, err := w.probe.Get(ctx, userID); blame(err) != "" {
				return nil, errors.Join(errHeld, err)
			}
			return w.probe.Activate(ctx, userID)
		})
		switch {
		case blame(err) == noToken: // so nothing was sent
			return nil, errHeld
		case !errors.Is(err, gobreaker.ErrOpenState) && !errors.Is(err, gobreaker.ErrTooManyRequests):
			return activation, err
		case time.Now().After(end), w.stopping.Err() != nil:
			return nil, errHeld
		}
		w.wait(100 * time.Millisecond)
	}
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
	case failure.Attempts == 0: // all else that can end a call before its first is above
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
