package proxytest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	flashback "github.com/flashbacknetwork/flashback-go"
	"github.com/flashbacknetwork/flashback-go/flashbacktest"
)

// kind is what a user is before the call.
type kind int

const (
	deleted kind = iota
	active
	foreign // of another organization
	nobody
)

// longAgo is when users were deleted who are so before the call: no clock is so
// wrong that it could have been the call.
var longAgo = time.Now().Add(-24 * time.Hour)

func userID(i int) string  { return fmt.Sprintf("user-%d", i) }
func address(i int) string { return fmt.Sprintf("user-%d@org-1.example", i) }
func newName(i int) string { return fmt.Sprintf("name-%d", i) }

const (
	usersPath = "/organization/users"
	password  = "Correct-horse-1"
)

func userPath(i int) string { return usersPath + "/" + userID(i) }

// org is the organization that a call is made in. There are many, so that the lists
// that Create reads back are short.
func org(i int) string { return fmt.Sprintf("org-%d", i%40) }

// add makes the user of a call what its kind says.
func (k kind) add(b *flashbacktest.Backend, i int) {
	user := flashbacktest.User{ID: userID(i), Email: address(i), OrgID: org(i)}
	switch k {
	case deleted:
		user.DeletedAt = &longAgo
	case active:
	case foreign:
		user.OrgID = foreignOrg
	case nobody:
		return
	}
	b.AddUser(user)
}

// operation is a call of the SDK, and what is true of it. The i that its functions
// take is the number of the call, of its user and of its e-mail address.
type operation struct {
	name, method string
	path         func(i int) string
	body         func(i int) any // nil for none
	ask          func(ctx context.Context, users *flashback.UsersService, i int) told

	kinds     []kind // of the users, in turn; it is the first that the call is for
	missing   []kind // who may be said not to exist
	unsettled []kind // whose ambiguous attempts nothing has to settle, and whose refusal need not be documented

	// done tells whether things are as asked for, and the ID of the user in question.
	done func(w *world, i int) (id string, done bool)
}

var operations = []*operation{&activate, &create, &update, &remove}

var activate = operation{
	name: "activate", method: http.MethodPost,
	path: func(i int) string { return userPath(i) + "/activate" },
	ask: func(ctx context.Context, users *flashback.UsersService, i int) told {
		activation, err := users.Activate(ctx, userID(i))
		if err != nil {
			return told{err: err}
		}
		return told{attempts: activation.Attempts, recovered: activation.Recovered}
	},
	kinds:   []kind{deleted, deleted, deleted, deleted, deleted, deleted, active, foreign, nobody, nobody},
	missing: []kind{nobody},
	done: func(w *world, i int) (string, bool) {
		user, exists := w.users[userID(i)]
		return user.ID, exists && !user.Deleted()
	},
}

// An active user has the address that another is to be created with.
var create = operation{
	name: "create", method: http.MethodPost,
	path: func(int) string { return usersPath },
	body: func(i int) any {
		return map[string]string{"email": address(i), "password": password, "firstName": newName(i), "lastName": newName(i)}
	},
	ask: func(ctx context.Context, users *flashback.UsersService, i int) told {
		user, err := users.Create(ctx, flashback.NewUser{
			Email: address(i), Password: flashback.NewSecret(password), FirstName: newName(i), LastName: newName(i),
		})
		return told{err: err, user: user}
	},
	kinds:     []kind{nobody, nobody, nobody, nobody, nobody, nobody, nobody, nobody, nobody, active},
	unsettled: []kind{active},
	done: func(w *world, i int) (string, bool) {
		created := w.created[address(i)]
		if len(created) != 1 {
			return "", false
		}
		return created[0].ID, created[0].Name == newName(i)
	},
}

var update = operation{
	name: "update", method: http.MethodPut,
	path: userPath,
	body: func(i int) any { return map[string]string{"name": newName(i)} },
	ask: func(ctx context.Context, users *flashback.UsersService, i int) told {
		user, err := users.Update(ctx, userID(i), flashback.UserUpdate{Name: new(newName(i))})
		return told{err: err, user: user}
	},
	kinds:   []kind{active, active, active, active, active, active, active, foreign, nobody, nobody},
	missing: []kind{nobody},
	done: func(w *world, i int) (string, bool) {
		user := w.users[userID(i)]
		return user.ID, user.Name == newName(i)
	},
}

// How a second delete is refused is not documented.
var remove = operation{
	name: "delete", method: http.MethodDelete,
	path: userPath,
	ask: func(ctx context.Context, users *flashback.UsersService, i int) told {
		deletion, err := users.Delete(ctx, userID(i))
		if err != nil {
			return told{err: err}
		}
		return told{attempts: deletion.Attempts, recovered: deletion.Recovered}
	},
	kinds:     []kind{active, active, active, active, active, active, deleted, foreign, nobody, nobody},
	missing:   []kind{nobody, deleted, active},
	unsettled: []kind{deleted, foreign, nobody},
	done: func(w *world, i int) (string, bool) {
		user := w.users[userID(i)]
		return user.ID, user.Deleted()
	},
}

// call is the one that a request belongs to.
func (op *operation) call(request flashbacktest.Request) string {
	if op != &create {
		return request.Path
	}
	var body struct{ Email string }
	_ = json.Unmarshal(request.Body, &body) // one that was cut was not applied, and a read-back has none
	return body.Email
}

// told is what a caller is told.
type told struct {
	err       error
	attempts  int // 0 for a success that returns a user, and does not tell
	recovered bool
	user      *flashback.User
}

// world is what the fake knows after the calls.
type world struct {
	users    map[string]flashbacktest.User      // by ID
	created  map[string][]flashbacktest.User    // by e-mail address, without those who were there before
	requests map[string][]flashbacktest.Request // by call
}

func (op *operation) look(b *flashbacktest.Backend) *world {
	w := &world{
		users: map[string]flashbacktest.User{}, created: map[string][]flashbacktest.User{},
		requests: map[string][]flashbacktest.Request{},
	}
	for _, user := range b.Users() {
		w.users[user.ID] = user
	}
	added := map[string]bool{}
	for i := range calls {
		added[userID(i)] = true
	}
	for id, user := range w.users {
		if !added[id] {
			w.created[user.Email] = append(w.created[user.Email], user)
		}
	}
	for _, request := range b.Requests() {
		call := op.call(request)
		w.requests[call] = append(w.requests[call], request)
	}
	return w
}

// truth is what the fake knows of one call.
type truth struct {
	before            kind
	received, applied int // requests of the operation
	read              int // read-backs; the list that Create reads belongs to no call
	done              bool
	id                string
}

func (op *operation) truth(w *world, i int) truth {
	call := op.path(i)
	if op == &create {
		call = address(i)
	}
	is := truth{before: op.kindOf(i)}
	for _, request := range w.requests[call] {
		if request.Method != op.method {
			is.read++
			continue
		}
		is.received++
		if request.Applied {
			is.applied++
		}
	}
	is.id, is.done = op.done(w, i)
	return is
}

func (op *operation) kindOf(i int) kind { return op.kinds[i%len(op.kinds)] }

// complaint is what is wrong with what a caller was told, or "".
type complaint string

const (
	failedThoughApplied complaint = "a definite failure, and a request of the call was applied"
	appliedTwice        complaint = "a request that is not idempotent was applied twice"
)

// unavoidable tells whether no client can avoid a complaint: the proxy sent a POST
// again, or the read-back may have seen things as they were before the call. Nothing
// excuses a success that isn't one.
func (s *scenario) unavoidable(c complaint, is truth, sent int) bool {
	if c != failedThoughApplied && c != appliedTwice {
		return false
	}
	return s.repeats && s.op.method == http.MethodPost && is.received > sent || s.stale && s.op.readsBack()
}

// readsBack tells whether ambiguous attempts are settled by a read.
func (op *operation) readsBack() bool { return op == &create || op == &remove }

// judge compares what a caller was told with the truth. sent is the number of
// requests that were given a connection; repeats says that the proxy may send more.
func (op *operation) judge(told told, is truth, sent int, repeats bool) complaint {
	// Activating twice, or deleting, the fake refuses; to update twice does no harm.
	if op.method == http.MethodPost && is.applied > 1 {
		return appliedTwice
	}
	if told.err == nil {
		attempts := told.attempts
		if attempts == 0 {
			attempts = sent
		}
		switch {
		case !is.done:
			return "a success, and things are not as asked for"
		case is.applied == 0 && (!told.recovered || op != &activate):
			// "User is not deleted" settles Activate, whoever did it. A user who was
			// deleted long ago settles no Delete.
			return "a success, and no request of the call was applied"
		case told.attempts == 0 && (told.user == nil || told.user.ID != is.id):
			return "a success, and the user is not returned"
		case is.received > attempts && !repeats:
			return "more requests than attempts"
		}
		return ""
	}
	var e *flashback.Error
	if !errors.As(told.err, &e) {
		return "not an *Error"
	}
	final := !e.OutcomeUnknown
	switch {
	case final && is.applied > 0:
		return failedThoughApplied
	case !final && sent == 0 && is.received == 0:
		return "an unknown outcome, and nothing was sent"
	case errors.Is(e, flashback.ErrOutcomeUnknown) == final:
		return "OutcomeUnknown and ErrOutcomeUnknown differ"
	case refused(e) && is.before == op.kinds[0] && is.applied == 0:
		return "said to have been refused"
	case errors.Is(e, flashback.ErrUserNotDeleted) && (op != &activate || is.before != active || !final):
		return "said to have been active"
	case errors.Is(e, flashback.ErrNotFound) && !slices.Contains(op.missing, is.before):
		return "said not to exist"
	case errors.Is(e, flashback.ErrForbidden) && is.before != foreign:
		return "said to be another organization's"
	case errors.Is(e, context.DeadlineExceeded), errors.Is(e, context.Canceled):
		return "the caller's context is blamed"
	case is.received > e.Attempts && !repeats:
		return "more requests than attempts"
	}
	return ""
}

// settled tells whether a failure is the response that the user deserves, or there
// is none for such a user. The status tells, since an unknown outcome matches no kind.
func (op *operation) settled(e *flashback.Error, before kind) bool {
	return refused(e) && before != op.kinds[0] ||
		slices.Contains(op.unsettled, before) && (refused(e) || e.OutcomeUnknown)
}

// refused tells whether the backend said no to what was asked for.
func refused(e *flashback.Error) bool {
	switch e.StatusCode {
	case http.StatusBadRequest, http.StatusForbidden, http.StatusNotFound, http.StatusConflict, http.StatusGone, http.StatusUnprocessableEntity:
		return true
	}
	return false
}
