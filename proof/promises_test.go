package proof_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// What must hold of every run. What a caller is told is compared with what the model
// knows: the true state, and what the network did. Where two verdicts are right (after an
// ambiguous attempt, say, a failure with an unknown outcome is never a lie), both pass, unless one of
// them gives up what could be known.

// The kinds of broken promises.
const (
	badResult    = "the result or the error is malformed"
	falseFailure = "a definite failure, and it was applied"
	falseSuccess = "a success, and it was not applied"
	falseRecover = "recovered, and it never was so"
	noAmbiguity  = "recovered, and no attempt was ambiguous"
	falseUnknown = "an unknown outcome, and no attempt was ambiguous"
	unknownRead  = "a read with an unknown outcome"
	twice        = "done twice by the client"
	badContext   = "matches a context's error that it has not met"
	noContext    = "the context ended, and the error does not match it"
	badAttempts  = "the wrong number of attempts"
	givenUp      = "given up where it could succeed"
)

// verdict is the kind of promise that the run breaks, or "".
func (p *played) verdict() (kind, detail string) {
	err := p.told.err
	switch {
	case p.told.wrong != "":
		return badResult, p.told.wrong
	case p.told.lacks && p.events[len(p.events)-1].real:
		return badResult, "a success without the data that came"
	case errors.Is(err, errRunaway):
		return badAttempts, "it does not end"
	case errors.Is(err, context.Canceled) && !errors.Is(p.ended, context.Canceled),
		errors.Is(err, context.DeadlineExceeded) && p.timeout == 0:
		return badContext, fmt.Sprintf("the context's error is %v", p.ended)
	case p.clientRepeats():
		return twice, ""
	case p.told.attempts != 0 && p.told.attempts != len(p.events) && p.world != impatient:
		return badAttempts, fmt.Sprintf("%d requests came", len(p.events))
	case err == nil && !p.op.reads:
		return p.judgeSuccess(), ""
	case err == nil, p.view != truth: // a replica does not read its own writes, so little is sure of a failure
		return "", ""
	}
	switch unsure := p.sawAmbiguous(); {
	case p.told.unknown && p.trouble.ofClocks() && p.op == del && (unsure || p.deleteRefused()):
		return "", "" // by such clocks nothing is sure
	case p.told.unknown && p.op.reads:
		return unknownRead, ""
	case p.told.unknown && !unsure && !p.refusedDelete() && (p.trouble.Age == "" || len(p.events) <= p.retries):
		return falseUnknown, ""
	case !p.told.unknown && p.backend.applied > 0 && !p.excused:
		return falseFailure, ""
	}
	switch p.world {
	case crossed:
		return "", ""
	case impatient:
		matches := errors.Is(err, p.ended) || p.timeout != 0 && errors.Is(err, context.DeadlineExceeded)
		switch {
		case p.justified(), p.ended != nil && matches, p.timeout != 0 && matches:
			return "", ""
		case p.ended != nil:
			return noContext, p.ended.Error()
		}
	}
	if !p.justified() {
		return givenUp, ""
	}
	return "", ""
}

func (p *played) judgeSuccess() string {
	switch {
	case p.told.recovered && !p.was:
		return falseRecover
	case p.told.recovered && !p.sawAmbiguous() && !p.refusedDelete():
		return noAmbiguity
	case p.told.recovered, p.backend.applied > 0:
		return ""
	case p.op == create && p.sawAmbiguous() && p.was: // recovered; the result has no room to say so
		return ""
	}
	return falseSuccess
}

// beyondPromise tells whether no client can know better.
//
//   - That a user is active, or in the list, has no date. So an old view that passes for
//     a new one can't be told from it: only a cache that honors no-cache is sure.
//   - A deletion has a date; it is told from an old one, unless a cache hides the age of
//     its response and nothing else tells the server's time.
//   - If the clock of deletedAt is ahead of that of Date by as much as an old deletion is old, it
//     has the date of a new one. That does harm only where an old view passes for a new one.
//   - That a proxy has repeated a delete, the read-back does not show if someone else has
//     activated the user in between. Nor does a refusal show that a proxy has repeated a
//     change, if someone else has deleted the workspace or removed its user in between.
//   - That a user is not in a workspace has no date either. A workspace that is not found may be one
//     that a replica has not got yet.
//   - A 404 to a removal says that the user is not in the workspace, unless a proxy has repeated it.
//   - A 404 to a delete and to its read-back says that there is no such user, unless a proxy
//     has repeated the delete and the backend hides those who are deleted.
func (p *played) beyondPromise() bool {
	switch {
	case p.op.deletes && p.notFoundTwice(), p.removedByProxy():
		return true
	case p.world == crossed:
		return (p.op.deletes || p.op.ofSpaces()) && slices.ContainsFunc(p.events, func(e event) bool { return e.move.act == repeats })
	case p.view == truth:
		return false
	}
	if p.op.deletes {
		return p.view == ageless || p.op == delReadSpace && p.view == replica || p.trouble.mostAhead() > ages[p.lagged]-2*time.Second
	}
	return slices.Contains([]*operation{activate, create, addUser, setAccess, removeUser}, p.op) && p.view != cache
}

// notFoundTwice tells whether the last delete and its read-back got a 404.
func (p *played) notFoundTwice() bool {
	if len(p.events) == 0 || p.events[len(p.events)-1].status != http.StatusNotFound {
		return false
	}
	for _, e := range slices.Backward(p.events) {
		if e.method == http.MethodDelete {
			return e.status == http.StatusNotFound
		}
	}
	return false
}

// clientRepeats tells whether the client itself has made two users, or sent two
// invitations, or may have.
func (p *played) clientRepeats() bool {
	unsure := 0
	for i, e := range p.events {
		if e.method == http.MethodPost && p.ambiguous(i) && p.op.once && i+1 < len(p.events) {
			return true
		}
		if e.move.act == resends || e.move.timing == soon || e.move.timing == late || e.late {
			unsure++ // by the transport, or too late
		}
	}
	return p.backend.created > 1+unsure && p.op == create
}

// ambiguous tells whether the client can't know what came of a request.
func (p *played) ambiguous(i int) bool {
	e := p.events[i]
	return e.real && e.status >= 500 || e.move.ambiguous || e.ended || e.late || p.lacksResult(e)
}

// lacksResult tells whether a response is a success without what the call returns.
func (p *played) lacksResult(e event) bool {
	return (p.op == create || p.op == update || p.op == updateOrg) && (e.move.name == "204" || e.move.name == "bare success")
}

// sawAmbiguous tells whether a request that changes something was ambiguous.
func (p *played) sawAmbiguous() bool {
	for i, e := range p.events {
		if !e.reads && p.ambiguous(i) {
			return true
		}
	}
	return false
}

// refusedDelete tells whether a delete was refused, and nothing settled whether a proxy
// had sent it before: no read-back saw an active user, or one deleted long before.
func (p *played) refusedDelete() bool {
	return p.op.deletes && p.deleteRefused() && (!p.readBack() || p.was && p.start != isDeleted)
}

func (p *played) deleteRefused() bool {
	return slices.ContainsFunc(p.events, func(e event) bool {
		return e.method == http.MethodDelete && slices.Contains([]int{400, 404, 409, 410}, e.status)
	})
}

// readBack tells whether the last request read the backend's state.
func (p *played) readBack() bool {
	if len(p.events) == 0 {
		return false
	}
	last := p.events[len(p.events)-1]
	return last.method == http.MethodGet && last.real && last.status == 200
}

// justified tells whether a failure had to be: it is the backend's own, or what the
// network did rules a success out. Whether it is called definite is judged elsewhere.
func (p *played) justified() bool {
	if len(p.events) > p.retries {
		return true
	}
	unsure := p.sawAmbiguous()
	accepted := false
	for i, e := range p.events {
		switch {
		case !e.reads && p.ambiguous(i) && p.op.once,
			p.lacksResult(e):
			return true
		case !e.reads && e.move.name == "202" && e.move.timing == before &&
			slices.Contains([]*operation{activate, create, addUser, setAccess, removeUser, del, delSpace, delReadSpace}, p.op):
			accepted = true
		case e.move.final:
			return true
		}
	}
	applied := p.backend.applied > 0
	switch {
	case p.excused, p.pending:
		return true
	case p.op.deletes && unsure && (p.start == isAbsent || p.manners.hidesDeleted && (applied && p.op != delReadSpace || p.start == isDeleted)):
		return true // what the read-back shows tells nothing
	case accepted && (!applied || p.op.deletes && p.start != isActive):
		return true // that a delete of such a user did something, nothing tells
	case p.op == create && unsure && p.start != isFree && p.start != isSame:
		return true // another user has the address
	case p.op == create && unsure && (p.trouble.Pages != "" || p.trouble.Normalizes):
		return true // that the list lacks the address tells nothing
	case p.op == addUser && unsure && p.start == isInOther:
		return true // that may have been before
	case applied:
		return false
	}
	for _, e := range slices.Backward(p.events) {
		if !e.reads || p.op.reads {
			return e.real && e.status >= 400
		}
	}
	return false
}
