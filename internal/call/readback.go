package call

import (
	"fmt"
	"time"

	"github.com/flashbacknetwork/flashback-go/internal/verdict"
)

// readBack reads back what the attempts of c have done. It is a call inside the call, with
// the attempts that are left, and a turn at its own operation's gate. An error says that c
// makes no other attempt.
func (c *call) readBack() error {
	var finding Finding
	how := c.in.ReadBacker.ReadBack()
	read := newCall(c.client, c.ctx, how.Op, Input{ID: c.in.ID, Path: how.Path, Read: func(r *Response) (err error) {
		finding, err = how.Read(r)
		return err
	}})
	read.parent = c
	read.run()
	found := &read.outcome
	reading := c.judge(read, finding, how.NotFound)
	c.state = c.state.AfterReadBack(reading)
	c.outcome.Attempts += found.Attempts
	c.turn.counted += read.turn.counted
	c.outcome.Throttled += found.Throttled
	c.outcome.ReadBacks = append(c.outcome.ReadBacks, read.describe(reading))
	switch {
	case reading == verdict.Done:
		c.outcome.Response, c.outcome.Failure = found.Response, nil
	case reading == verdict.Inconclusive && !c.mayRetryAfter(found):
		for _, reason := range found.Reasons {
			if reason.Why != RateLimited && reason.Why != OutageLasts { // These are about reads, and not about the call.
				c.end(reason)
			}
		}
		c.outcome.RetryAfter = max(c.outcome.RetryAfter, found.RetryAfter)
		return errEnded
	}
	if c.state.Next() == verdict.Stop {
		return errEnded
	}
	return nil
}

// mayRetryAfter tells whether the request may be retried after a read-back that proves
// nothing.
func (c *call) mayRetryAfter(readBack *Outcome) bool {
	return c.decision.Retry && c.state.Next() == verdict.AttemptAgain && !readBack.skipsReadBack()
}

// judge returns what a read-back says about the attempts of c. notFound is what a documented
// 404 says.
func (c *call) judge(read *call, finding Finding, notFound verdict.Reading) verdict.Reading {
	switch {
	case notFound != verdict.Unread && read.outcome.notFound() && read.outcome.Response.Documented != nil &&
		!olderThan(c.outcome.Begun, read.outcome.Response.Header):
		return notFound
	case read.state.Verdict() == verdict.Success && olderThan(c.outcome.Begun, read.outcome.Response.Header):
		return verdict.Inconclusive // It may be a cached copy from before the call.
	case read.state.Verdict() == verdict.Success && finding.Reading == verdict.Done && !finding.Since.IsZero():
		return c.judgeTime(finding.Since, read.outcome.Response)
	case read.state.Verdict() == verdict.Success:
		return finding.Reading
	case c.outcome.notFound() && read.outcome.notFound():
		return verdict.Absent
	}
	return verdict.Inconclusive
}

// tolerance is for dates of whole seconds, and for clocks that differ.
const tolerance = 2 * time.Second

// judgeTime returns what a state that has been so since a time says about the attempts of
// c. One from before the call was so already, or comes from a replica that is behind.
func (c *call) judgeTime(since time.Time, found *Response) verdict.Reading {
	begun := c.client.Clock.at(c.outcome.Begun, found.Header, found.At)
	now := begun.Add(time.Since(c.outcome.Begun))
	switch {
	case since.Before(begun.Add(-tolerance)):
		return verdict.NotDone
	case since.After(now.Add(tolerance)):
		return verdict.Inconclusive // It was made by another clock.
	}
	return verdict.Done
}

// describe says what came of a read-back, as the rest of a sentence.
func (c *call) describe(reading verdict.Reading) string {
	o := &c.outcome
	switch {
	case reading == verdict.Done, reading == verdict.NotDone:
		return "found that nothing was applied"
	case reading == verdict.Other:
		return "found something else in its place"
	case o.Failure != nil:
		return "was inconclusive: " + redactTruncate(c.hidden(), o.Failure.Error(), maxKept)
	case o.Response == nil:
		return "was not sent"
	}
	text := fmt.Sprintf("got HTTP %d", o.Response.Status)
	if o.Response.Message != "" {
		text += ": " + redactTruncate(c.hidden(), o.Response.Message, maxKept)
	}
	return text
}
