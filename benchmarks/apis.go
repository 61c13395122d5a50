package main

import (
	"encoding/json"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/flashbacknetwork/flashback-go/flashbacktest"
)

// api is the API of another platform that manages users, as far as one call of it
// goes: the one that makes a user active.
type api struct {
	call    string // its name in the SDK
	again   string // what the platform responds to the call for a user who is active
	source  string // who says so
	auth    string // how the Authorization header begins
	pattern string // of http.ServeMux
	id      func(*http.Request) string

	success response
	refusal *response // to the call for a user who is active; nil if that is a success
	failure response  // of the API itself, with status 500
	limited func(after time.Duration) response
}

type response struct {
	status int
	header http.Header
	body   string
}

func jsonResponse(status int, body string) response {
	return response{status, http.Header{"Content-Type": {"application/json"}}, body}
}

var cognito = &api{
	call:    "`AdminEnableUser`",
	again:   "200, as to the first: harmless",
	source:  "the SDK: none of the call's errors says that the user is enabled",
	auth:    "AWS4-HMAC-SHA256 Credential=",
	pattern: "POST /{$}",
	id: func(r *http.Request) string {
		if r.Header.Get("X-Amz-Target") != "AWSCognitoIdentityProviderService.AdminEnableUser" {
			return ""
		}
		var input struct {
			Username string
			PoolID   string `json:"UserPoolId"`
		}
		if err := json.NewDecoder(r.Body).Decode(&input); err != nil || input.PoolID != poolID {
			return ""
		}
		return input.Username
	},
	success: response{http.StatusOK, http.Header{"Content-Type": {amzJSON}}, ""},
	failure: response{http.StatusInternalServerError, http.Header{"Content-Type": {amzJSON}}, `{"__type":"InternalErrorException","message":"Internal error"}`},
	limited: func(time.Duration) response { // it does not say for how long
		return response{http.StatusBadRequest, http.Header{"Content-Type": {amzJSON}}, `{"__type":"TooManyRequestsException","message":"Rate exceeded"}`}
	},
}

const (
	poolID  = "eu-central-1_benchmark"
	amzJSON = "application/x-amz-json-1.1"
)

var oktaUnsuspend = &api{
	call:    "`UserLifecycleAPI.UnsuspendUser`",
	again:   "400 `E0000001`",
	source:  "Okta's reference of the Users API, \"Unsuspend User\"",
	auth:    "SSWS " + token,
	pattern: "POST /api/v1/users/{id}/lifecycle/unsuspend",
	id:      func(r *http.Request) string { return r.PathValue("id") },
	success: jsonResponse(http.StatusOK, "{}"),
	refusal: new(jsonResponse(http.StatusBadRequest, `{"errorCode":"E0000001","errorSummary":"Api validation failed"}`)),
	failure: jsonResponse(http.StatusInternalServerError, `{"errorCode":"E0000009","errorSummary":"Internal Server Error"}`),
	limited: func(after time.Duration) response {
		now := time.Now().UTC()
		limited := jsonResponse(http.StatusTooManyRequests, `{"errorCode":"E0000047","errorSummary":"API call exceeded rate limit due to too many requests."}`)
		limited.header.Set("Date", now.Format(http.TimeFormat)) // the SDK subtracts it
		limited.header.Set("X-Rate-Limit-Limit", "600")
		limited.header.Set("X-Rate-Limit-Remaining", "0")
		limited.header.Set("X-Rate-Limit-Reset", strconv.FormatInt(now.Add(after).Unix(), 10))
		return limited
	},
}

var auth0Unblock = &api{
	call:    "`User.Unblock`",
	again:   "204, as to the first: harmless",
	source:  "Auth0's reference of the Management API, which has no error for it",
	auth:    "Bearer " + token,
	pattern: "DELETE /api/v2/user-blocks/{id}",
	id:      func(r *http.Request) string { return r.PathValue("id") },
	success: response{status: http.StatusNoContent},
	failure: jsonResponse(http.StatusInternalServerError, `{"statusCode":500,"error":"Internal Server Error","message":"Internal error"}`),
	limited: func(after time.Duration) response {
		limited := jsonResponse(http.StatusTooManyRequests, `{"statusCode":429,"error":"Too Many Requests","message":"Global limit has been reached"}`)
		limited.header.Set("Retry-After", seconds(after))
		limited.header.Set("X-Ratelimit-Reset", strconv.FormatInt(time.Now().Add(after).Unix(), 10))
		return limited
	},
}

var workosReactivate = &api{
	call:    "`ReactivateOrganizationMembership`",
	again:   "200, as to the first: harmless",
	source:  "WorkOS's reference: \"a no-op\"",
	auth:    "Bearer " + token,
	pattern: "PUT /user_management/organization_memberships/{id}/reactivate",
	id:      func(r *http.Request) string { return r.PathValue("id") },
	success: jsonResponse(http.StatusOK, `{"object":"organization_membership","id":"om_1","user_id":"user_1","organization_id":"org_1","status":"active"}`),
	failure: jsonResponse(http.StatusInternalServerError, `{"message":"Internal server error"}`),
	limited: func(after time.Duration) response {
		limited := jsonResponse(http.StatusTooManyRequests, `{"message":"Too many requests"}`)
		limited.header.Set("Retry-After", seconds(after))
		return limited
	},
}

// to is the response to a request, from memory.
func (r response) to(req *http.Request) *http.Response {
	resp := respond(req, r.status, r.body)
	resp.Header = r.header.Clone()
	return resp
}

// fault is the fault that the API would show in the place of the one of this
// platform's API.
func (a *api) fault(fault flashbacktest.Fault) flashbacktest.Fault {
	var own response
	switch fault.Status {
	case http.StatusTooManyRequests:
		own = a.limited(time.Second)
	case http.StatusInternalServerError:
		own = a.failure
	default:
		return fault
	}
	fault.Status, fault.Header, fault.Body = own.status, own.header, own.body
	return fault
}

// directory is the users of another platform. A backend serves it, so that faults can
// be played on its calls.
type directory struct {
	api *api

	mu     sync.Mutex
	active map[string]bool
}

// serve returns a server of the directory, with the faults of the backend.
func (d *directory) serve(backend *flashbacktest.Backend) http.Handler {
	backend.Handle(d.api.pattern, d.activate)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.Header.Get("Authorization"), d.api.auth) {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		r.Header.Set("Authorization", "Bearer "+backend.Token()) // which is what the backend asks for
		backend.ServeHTTP(w, r)
	})
}

func (d *directory) activate(w http.ResponseWriter, r *http.Request) {
	id := d.api.id(r)
	if id == "" {
		http.Error(w, "this is not the call "+d.api.call, http.StatusNotImplemented)
		return
	}
	d.mu.Lock()
	again := d.active[id]
	d.active[id] = true
	d.mu.Unlock()
	resp := d.api.success
	if again && d.api.refusal != nil {
		resp = *d.api.refusal
	}
	maps.Copy(w.Header(), resp.header)
	w.WriteHeader(resp.status)
	_, _ = w.Write([]byte(resp.body)) // a client that has gone away is no concern
}

func (d *directory) isActive(id string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.active[id]
}
