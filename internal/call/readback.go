package call

import (
	"errors"
	"fmt"

	"github.com/flashbacknetwork/flashback-go/internal/serverclock"
	"github.com/flashbacknetwork/flashback-go/internal/verdict"
)

// errStale is the error of a read-back's response that may be older than the call. Reading
// again helps.
var errStale = errors.New("a response that may be older than the call, by its Age")

// readBack reads back what the attempts of c have done. It is a call inside the call, with
// the attempts that are left, and a turn at its own operation's gate. An error says that c
// makes no other attempt.
func (c *call) readBack() error {
	how, reading := c.in.ReadBacker.ReadBack(), verdict.Inconclusive
	read := newCall(c.ctx, c.client, how.Op, Input{ID: c.in.ID, Path: how.Path, Read: func(r *Response) error {
		finding, err := how.Read(r)
		if err == nil {
			reading, err = c.judge(finding, r)
		}
		return err
	}})
	read.parent = c
	read.run()
	found := &read.outcome
	if read.state.Verdict() != verdict.Success {
		reading = c.judgeNotFound(read, how.NotFound)
	}
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
				c.addReason(reason)
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

// judgeNotFound returns what a read-back without a success says about the attempts of c.
// documented is what a documented 404 says.
func (c *call) judgeNotFound(read *call, documented verdict.Reading) verdict.Reading {
	found := &read.outcome
	switch {
	case !found.notFound():
		return verdict.Inconclusive
	case documented != verdict.Unread && found.Response.Documented != nil && !found.Response.shown().MayPredate(c.outcome.Begun):
		return documented
	case c.outcome.notFound():
		return verdict.Absent
	}
	return verdict.Inconclusive
}

// judge returns what a response to a read-back says about the attempts of c.
func (c *call) judge(finding Finding, r *Response) (verdict.Reading, error) {
	response := r.shown()
	if finding.Reading == verdict.Done && !finding.Since.IsZero() {
		switch c.client.Clock.with(response).Judge(finding.Since, c.outcome.Begun, r.At) {
		case serverclock.Since:
			return verdict.Done, nil
		case serverclock.Before: // It was so before, or the response comes from a replica that is behind.
			finding.Reading = verdict.NotDone
		case serverclock.Inconclusive:
			finding.Reading = verdict.Inconclusive
		}
	}
	if !response.MayPredate(c.outcome.Begun) {
		return finding.Reading, nil
	}
	if c.decision.Retry && c.state.AfterReadBack(verdict.Inconclusive).Next() == verdict.AttemptAgain {
		return verdict.Inconclusive, nil // A retry of the request tells more.
	}
	return verdict.Inconclusive, errStale
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
