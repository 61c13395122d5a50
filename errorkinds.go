package flashback

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/flashbacknetwork/flashback-go/internal/attempt"
	"github.com/flashbacknetwork/flashback-go/internal/call"
)

// The kinds of failure, for [errors.Is]. One error can match several.
var (
	// ErrBadRequest means that the server responded with a 400 or 422 and an envelope.
	ErrBadRequest = newKind("bad request", nil)
	// ErrUserNotDeleted is the documented 400 of Activate: the user was active before the call.
	// It matches [ErrBadRequest].
	ErrUserNotDeleted = newKind("user not deleted", ErrBadRequest)
	// ErrSelfDeletion is the documented 400 of Delete. It matches [ErrBadRequest].
	ErrSelfDeletion = newKind("cannot delete yourself", ErrBadRequest)
	// ErrRoleCombination is the documented 400 of Update. It matches [ErrBadRequest].
	ErrRoleCombination = newKind("invalid role combination", ErrBadRequest)
	// ErrNoFields is the documented 400 of the organization's Update. It matches
	// [ErrBadRequest].
	ErrNoFields = newKind("no valid fields to update", ErrBadRequest)
	// ErrNotValidated is the documented 400 of the calls on workspaces: the caller is not found,
	// or has not validated the account. It matches [ErrBadRequest].
	ErrNotValidated = newKind("the caller's account is not validated", ErrBadRequest)
	// ErrWorkspaceNotEmpty is the documented 400 of the workspaces' Delete: there are buckets or
	// repositories in the workspace. It matches [ErrBadRequest].
	ErrWorkspaceNotEmpty = newKind("the workspace has buckets or repositories", ErrBadRequest)
	// ErrUnauthorized means that the server responded with a 401: the access token is wrong or
	// has expired.
	ErrUnauthorized = newKind("unauthorized", nil)
	// ErrSessionLost means that the API has refused the refresh token of a [Session], so that
	// the user has to log in again. It matches [ErrUnauthorized].
	ErrSessionLost = newKind("the session is lost: log in again", ErrUnauthorized)
	// ErrNoTokens means that there are no tokens to go on with, so that the user has to log in:
	// nothing was kept yet, or the session was logged out. It matches [ErrUnauthorized].
	ErrNoTokens = newKind("no tokens: log in", ErrUnauthorized)
	// ErrForbidden means that the server responded with a 403 and an envelope: the caller's
	// role is too low, or the user is of another organization.
	ErrForbidden = newKind("forbidden", nil)
	// ErrNotFound means that the server responded with a 404 and an envelope.
	ErrNotFound = newKind("not found", nil)
	// ErrTargetUserNotFound is the documented 404 of AddUser: the user who is to be added does
	// not exist. It matches [ErrNotFound].
	ErrTargetUserNotFound = newKind("the target user does not exist", ErrNotFound)
	// ErrNotInWorkspace is the documented 404 of SetAccess and RemoveUser: the user is not in the
	// workspace. It matches [ErrNotFound].
	ErrNotInWorkspace = newKind("the user is not in the workspace", ErrNotFound)
	// ErrConflict means that the server responded with a 409 and an envelope.
	ErrConflict = newKind("conflict", nil)
	// ErrRateLimited means that the server responded with a 429, or that the call was not sent
	// because of an earlier 429.
	ErrRateLimited = newKind("rate limited", nil)
	// ErrServer means that the server responded with a 5xx, or a status outside 100-599.
	ErrServer = newKind("server error", nil)
	// ErrUnexpectedResponse means that the response is a redirect, a 4xx without an envelope (a
	// proxy's page, or a wrong base URL), or a 2xx that is no success or lacks what the call
	// reads. The text says what was expected and what came.
	ErrUnexpectedResponse = newKind("unexpected response", nil)
	// ErrIncompleteList means that users are missing in a list. The list has those that came.
	ErrIncompleteList = newKind("incomplete list", nil)
	// ErrOutcomeUnknown means that the request may have been applied, and nothing has settled
	// whether it was: [Error].OutcomeUnknown is set. Such an error matches neither
	// [ErrBadRequest] nor [ErrForbidden], [ErrNotFound] or [ErrConflict].
	ErrOutcomeUnknown = newKind("outcome unknown", nil)
	// ErrInvalidArgument means that an argument can't be used. Nothing was sent.
	ErrInvalidArgument = newKind("invalid argument", nil)
	// ErrNotSent is for your own [http.RoundTripper] to return or wrap if it has sent nothing.
	ErrNotSent = attempt.ErrNotSent
)

// kindError is a kind of failure. No error from outside of this package can pass for one:
// see opaqueError.
type kindError struct {
	text string
	of   error // the kind that it is a kind of, or nil
}

func newKind(text string, of error) error { return &kindError{text, of} }

func (k *kindError) Error() string {
	if k.of == nil {
		return k.text
	}
	return k.text + " (" + k.of.Error() + ")"
}

func (k *kindError) Unwrap() error { return k.of }

// kindOf returns what a response that ended a call is to [errors.Is]. A documented message
// counts with the status whose kind its own is a kind of.
func kindOf(op *call.Op, expects string, r *call.Response) error {
	kind := kindOfStatus(op, expects, r)
	if r.Documented != nil && r.Status != http.StatusUnprocessableEntity && errors.Is(r.Documented.Kind, kind) {
		return r.Documented.Kind
	}
	return kind
}

// kindOfStatus is the table of kinds. It returns nil for a 4xx with an envelope that has no
// kind of its own.
func kindOfStatus(op *call.Op, expects string, r *call.Response) error {
	switch status := r.Status; {
	case status == http.StatusUnauthorized:
		return ErrUnauthorized
	case status == http.StatusTooManyRequests:
		return ErrRateLimited
	case status < 100, status >= 500:
		return ErrServer
	case status < 400, !r.Envelope && op.Method != http.MethodHead: // A response to HEAD has no body.
		return unexpected(expects, r)
	case status == http.StatusBadRequest, status == http.StatusUnprocessableEntity:
		return ErrBadRequest
	case status == http.StatusForbidden:
		return ErrForbidden
	case status == http.StatusNotFound:
		return ErrNotFound
	case status == http.StatusConflict:
		return ErrConflict
	}
	return nil
}

// unexpected says what was expected, and what came.
func unexpected(expects string, r *call.Response) error {
	return fmt.Errorf("%w: expected %s, got %s", ErrUnexpectedResponse, expects, oneLine(whatCame(r), 200))
}

func whatCame(r *call.Response) string {
	location := r.Header.Get("Location")
	switch {
	case r.Status >= 300 && r.Status < 400 && location != "":
		u, err := url.Parse(location)
		if err != nil {
			return "a redirect"
		}
		// The query and the user info may be secret.
		return "a redirect to " + oneLine((&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String(), 60)
	case r.Status == http.StatusAccepted:
		return "202, which means that it will be done later"
	case r.Status < 300 && r.Envelope && r.ReadErr != nil:
		return "JSON with " + r.ReadErr.Error()
	case r.Status < 300 && r.Envelope:
		return `"success": false`
	case len(bytes.TrimSpace(r.Body)) == 0:
		return "an empty body"
	}
	words := strings.Join(strings.Fields(string(r.Body[:min(len(r.Body), 300)])), " ")
	return cmp.Or(r.Header.Get("Content-Type"), "a body without a Content-Type") + ": " + strconv.Quote(oneLine(words, 40))
}
