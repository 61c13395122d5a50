package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	flashback "github.com/flashbacknetwork/flashback-go"
)

// work activates users.
type work struct {
	users interface {
		Activate(ctx context.Context, userID string) (*flashback.Activation, error)
	}
	journal *journal
	workers int
	bar     *progress
}

// all activates the users, and then once more those of whom it is not known whether
// they were. When ctx ends, it begins no further one and finishes what it has begun.
func (w *work) all(ctx context.Context, ids []string) error {
	if err := w.pass(ctx, ids); err != nil {
		return err
	}
	again := slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return w.journal.of(id) != unknown })
	w.bar.more(len(again))
	return w.pass(ctx, again)
}

func (w *work) pass(ctx context.Context, ids []string) error {
	group, failed := errgroup.WithContext(context.WithoutCancel(ctx))
	group.SetLimit(w.workers)
	for _, id := range ids {
		if ctx.Err() != nil || failed.Err() != nil {
			break
		}
		group.Go(func() error {
			if ctx.Err() == nil && failed.Err() == nil {
				return w.one(context.WithoutCancel(ctx), id)
			}
			return nil
		})
	}
	return group.Wait()
}

func (w *work) one(ctx context.Context, id string) error {
	activation, err := w.users.Activate(ctx, id)
	e := entry{Time: time.Now().UTC(), ID: id, Verdict: judge(w.journal.of(id), activation, err)}
	var failure *flashback.Error
	switch {
	case err == nil:
		e.Attempts = activation.Attempts
	case errors.As(err, &failure):
		e.Attempts, e.Error = failure.Attempts, err.Error()
	}
	if err := w.journal.append(e); err != nil {
		return err
	}
	w.bar.done()
	if errors.Is(err, flashback.ErrUnauthorized) {
		return fmt.Errorf("the access token is not accepted: %w", err) // by nobody's call
	}
	return nil
}

// judge is the table of verdicts.
func judge(before verdict, activation *flashback.Activation, err error) verdict {
	switch {
	case err == nil && activation.Recovered:
		return recovered
	case err == nil:
		return activated
	case errors.Is(err, flashback.ErrUserNotDeleted) && before == unknown:
		return recovered
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
	}
	return failed
}

// isNotFound tells the documented answer from that of a server that knows no such
// path, which would settle every user for good.
func isNotFound(err error) bool {
	var failure *flashback.Error
	return errors.Is(err, flashback.ErrNotFound) && errors.As(err, &failure) && strings.EqualFold(failure.Message, "User not found")
}

// summary counts the users by verdict.
func summary(out io.Writer, j *journal) {
	counts := map[verdict]int{}
	for _, v := range j.latest {
		counts[v]++
	}
	for _, v := range slices.Sorted(maps.Keys(counts)) {
		fmt.Fprintf(out, "%7d  %s\n", counts[v], v)
		if why := j.why[v]; why != "" && !v.active() {
			fmt.Fprintf(out, "         such as: %s\n", why)
		}
	}
	fmt.Fprintf(out, "%7d  users\n", len(j.ids))
}
