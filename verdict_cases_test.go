package flashback_test

import (
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/jarcoal/httpmock"
	"github.com/stretchr/testify/assert"

	flashback "github.com/flashbacknetwork/flashback-go"
)

// verdictsMended tells whether the package is right in all of these cases. As long as it is not,
// it must be wrong in each but those that it has right already.
const verdictsMended = true

// verdictCase is a call, what comes of its requests, the last for ever, and what it must tell.
type verdictCase struct {
	name      string
	call      func(context.Context, *flashback.Client) (recovered bool, err error)
	responses func() []httpmock.Responder // made in the bubble, whose clock they show
	sent      string                      // a letter for each request; "" for any
	want      string                      // success, recovered, unknown or failure
	kind      string                      // what the failure is
	right     bool                        // already
}

// The calls of the cases.
var (
	activates = func(ctx context.Context, c *flashback.Client) (bool, error) {
		got, err := c.Organization.Users.Activate(ctx, userID)
		return err == nil && got.Recovered, err
	}
	deletes = func(ctx context.Context, c *flashback.Client) (bool, error) {
		got, err := c.Organization.Users.Delete(ctx, userID)
		return err == nil && got.Recovered, err
	}
	creates = func(ctx context.Context, c *flashback.Client) (bool, error) {
		got, err := c.Organization.Users.Create(ctx, flashback.NewUser{
			Email: "jane@example.com", FirstName: "Jane", LastName: "Doe", Password: flashback.NewSecret("Passw0rd"),
		})
		if err == nil && got.ID != "u-9" {
			return false, errors.New("the user is another one")
		}
		return false, err
	}
	updates = func(ctx context.Context, c *flashback.Client) (bool, error) {
		name := "Jane"
		_, err := c.Organization.Users.Update(ctx, uuid, flashback.UserUpdate{Name: &name})
		return false, err
	}
	resends = func(ctx context.Context, c *flashback.Client) (bool, error) {
		_, err := c.Organization.Users.ResendInvitation(ctx, userID)
		return false, err
	}
	gets = func(ctx context.Context, c *flashback.Client) (bool, error) {
		_, err := c.Organization.Users.Get(ctx, userID)
		return false, err
	}
	lists = func(ctx context.Context, c *flashback.Client) (bool, error) {
		got, err := c.Organization.Users.List(ctx)
		if got == nil || len(got.Users) != 1 {
			return false, errors.New("the users that came are missing")
		}
		return false, err
	}
	puts = func(ctx context.Context, c *flashback.Client) (bool, error) {
		return false, c.Do(ctx, flashback.Request{Method: http.MethodPut, Path: "/thing"}, nil)
	}
)

const (
	uuid     = "0b7c2d1e-94a5-4b56-8f0d-3d1c2b7a9e4f"
	janeDoe  = `{"id":"u-9","email":"jane@example.com","name":"Jane","lastName":"Doe","orgRole":0,"deletedAt":null}`
	billDoe  = `{"id":"u-2","email":"bill@example.com","name":"Bill","lastName":"Doe","orgRole":0,"deletedAt":null}`
	yes      = `{"success":true,"message":"Done"}`
	part     = `{"success":false,"results":[{"success":true},{"success":false}]}`
	both     = `{"success":false,"success":true}`
	isSo     = `{"success":false,"message":"User is already deleted"}`
	onlyJane = `{"success":true,"data":[` + janeDoe + `]}`
	onlyBill = `{"success":true,"data":[` + billDoe + `]}`
)

// in are the responses of a case, with the bubble's time as their Date.
func in(responses ...httpmock.Responder) func() []httpmock.Responder {
	return func() []httpmock.Responder { return responses }
}

// now is a response of a server whose clock is right.
func now(status int, body string, header ...string) httpmock.Responder {
	return func(req *http.Request) (*http.Response, error) {
		return says(status, body, append(header, "Date", httpDate(0))...)(req)
	}
}

func httpDate(after time.Duration) string {
	return time.Now().UTC().Add(after).Format(http.TimeFormat)
}

// brokenBody is a response whose body fails after a while.
func brokenBody(status int, body string, failure error) httpmock.Responder {
	return func(req *http.Request) (*http.Response, error) {
		resp, err := now(status, "")(req)
		resp.Body, resp.ContentLength = io.NopCloser(io.MultiReader(strings.NewReader(body), iotest.ErrReader(failure))), -1
		return resp, err
	}
}

// slowly is a response that takes a while on its way, as its Date shows.
func slowly(took time.Duration, response httpmock.Responder) httpmock.Responder {
	return func(req *http.Request) (*http.Response, error) {
		resp, err := response(req)
		<-time.After(took)
		return resp, err
	}
}

func listOf(body string, header ...string) func() []httpmock.Responder {
	return in(lost, now(200, body, header...), now(201, `{"success":true,"data":`+janeDoe+`}`))
}

// pageSigns say that a list has further pages, or that it has not.
var pageSigns = []struct {
	name, member string
	header       []string
	cut          bool
}{
	{"hasMore", `"hasMore":true`, nil, true},
	{"nextCursor", `"nextCursor":"b2Zmc2V0PTE"`, nil, true},
	{"Link next", "", []string{"Link", `<https://h.example/users?page=2>; rel="next"`}, true},
	{"Link next without quotation marks", "", []string{"Link", `<https://h.example/users?page=2>; rel=next`}, true},
	{"Link last and next", "", []string{"Link", `<https://h.example/users?page=9>; rel="last", <https://h.example/users?page=2>; rel="next"`}, true},
	{"a second Link", "", []string{"Link", `<https://h.example/users?page=9>; rel="last"`, "Link", `<https://h.example/users?page=2>; rel="next"`}, true},
	{"Link next among other relations", "", []string{"Link", `<https://h.example/users?page=2>; title="a, b"; rel="next last"`}, true},
	{"X-Total-Count", "", []string{"X-Total-Count", "2"}, true},
	{"a total that is a word", `"total":"many"`, nil, true},
	{"a total that is an object", `"total":{"all":2}`, nil, true},
	{"a larger total", `"total":2`, nil, true},

	{"no hasMore", `"hasMore":false`, nil, false},
	{"no nextCursor", `"nextCursor":null`, nil, false},
	{"an empty nextCursor", `"nextCursor":""`, nil, false},
	{"Link prev", "", []string{"Link", `<https://h.example/users?page=1>; rel="prev"`}, false},
	{"Link to a page that is called next", "", []string{"Link", `<https://h.example/next?rel=next>; rel="self"`}, false},
	{"X-Total-Count of the list", "", []string{"X-Total-Count", "1"}, false},
	{"the total of the list", `"total":1`, nil, false},
}

// pages are the cases of lists that are cut.
func pages() (all []verdictCase) {
	for _, sign := range pageSigns {
		with := func(body string) string {
			if sign.member == "" {
				return body
			}
			return body[:len(body)-1] + "," + sign.member + "}"
		}
		right := !sign.cut || sign.name == "a larger total"
		sent, want := "PGP", "success"
		listed, kind := "success", ""
		if sign.cut {
			sent, want, listed, kind = "PG", "unknown", "failure", "ErrIncompleteList"
		}
		all = append(all,
			verdictCase{"a create that the list lacks, with " + sign.name, creates, listOf(with(onlyBill), sign.header...), sent, want, "", right},
			verdictCase{"a create that the list has, with " + sign.name, creates, listOf(with(onlyJane), sign.header...), "PG", "success", "", true},
			verdictCase{"a list with " + sign.name, lists, in(now(200, with(onlyJane), sign.header...)), "G", listed, kind, !sign.cut})
	}
	return all
}

var verdictCases = []verdictCase{
	// What was done in part is no refusal.
	{"activate: 207 with results", activates, in(now(207, part)), "", "unknown", "", false},
	{"activate: 200 with results", activates, in(now(200, part)), "", "unknown", "", false},
	{"create: 207 with results", creates, in(now(207, part)), "", "unknown", "", false},
	{"update: 207 with results", updates, in(now(207, part)), "", "unknown", "", false},
	{"resend: 200 with results", resends, in(now(200, part)), "P", "unknown", "", false},
	{"put: 207 with results", puts, in(now(207, part)), "", "unknown", "", false},
	{"put: 207 that says no more than false", puts, in(now(207, `{"success":false}`)), "", "unknown", "", false},
	{"delete: 207 with results, and deleted since", deletes, func() []httpmock.Responder {
		return []httpmock.Responder{now(207, part), now(200, deletedAfter(0))}
	}, "DG", "recovered", "", false},
	{"delete: 200 with results, and deleted since", deletes, func() []httpmock.Responder {
		return []httpmock.Responder{now(200, part), now(200, deletedAfter(0))}
	}, "DG", "recovered", "", false},
	{"activate: 200 that says no", activates, in(now(200, `{"success":false,"message":"No"}`)), "P", "failure", "ErrUnexpectedResponse", true},
	{"put: 200 that says no", puts, in(now(200, `{"success":false}`)), "U", "failure", "ErrUnexpectedResponse", true},

	// What says both says nothing.
	{"activate: false and true", activates, in(now(200, both)), "", "unknown", "", false},
	{"activate: true and false", activates, in(now(200, `{"success":true,"success":false}`)), "", "unknown", "", false},
	{"update: false and true", updates, in(now(200, both)), "", "unknown", "", false},
	{"resend: false and true", resends, in(now(200, both)), "P", "unknown", "", false},
	{"put: false and true", puts, in(now(200, both)), "", "unknown", "", false},
	{"activate: false twice", activates, in(now(200, `{"success":false,"success":false}`)), "P", "failure", "", true},
	{"a 400 says what its status says", activates, in(now(400, both)), "P", "failure", "ErrBadRequest", true},

	// 499 is that of a proxy whose client was gone.
	{"activate: 499, and then a success", activates, in(now(499, ""), now(200, yes)), "PP", "success", "", false},
	{"activate: 499 with an envelope, and then a success", activates, in(now(499, noWay), now(200, yes)), "PP", "success", "", false},
	{"activate: 499, and it is so already", activates, in(now(499, htmlPage), now(400, notDeleted)), "PP", "recovered", "", false},
	{"delete: 499, and deleted since", deletes, func() []httpmock.Responder {
		return []httpmock.Responder{now(499, ""), now(200, deletedAfter(0))}
	}, "DG", "recovered", "", false},
	{"create: 499, and the list has the user", creates, in(now(499, ""), now(200, onlyJane)), "PG", "success", "", false},
	{"resend: 499", resends, in(now(499, "")), "P", "unknown", "", false},
	{"get: 499, and then a success", gets, in(now(499, ""), now(200, `{"id":"a/b"}`)), "GG", "success", "", false},

	// Any other 4xx is what its status says, whatever comes of its body.
	{"activate: a 403 that is cut", activates, in(brokenBody(403, noWay[:9], io.ErrUnexpectedEOF)), "P", "failure", "", false},
	{"resend: a 403 that is cut", resends, in(brokenBody(403, noWay[:9], io.ErrUnexpectedEOF)), "P", "failure", "", false},
	{"update: a 422 that is not what its encoding says", updates, in(brokenBody(422, "", gzip.ErrHeader)), "U", "failure", "", false},
	{"create: a 409 that is cut", creates, in(brokenBody(409, "", io.ErrUnexpectedEOF)), "P", "failure", "", false},
	{"put: a 404 that is cut", puts, in(brokenBody(404, "", io.ErrUnexpectedEOF)), "U", "failure", "", false},
	{"a 401 that is cut", activates, in(brokenBody(401, "", io.ErrUnexpectedEOF)), "P", "failure", "ErrUnauthorized", false},
	{"resend: a 429 that is cut, and then a success", resends, in(brokenBody(429, "", io.ErrUnexpectedEOF), now(200, yes)), "PP", "success", "", false},
	{"resend: a 408 that is cut", resends, in(brokenBody(408, "", io.ErrUnexpectedEOF)), "P", "unknown", "", true},
	{"resend: a 499 that is cut", resends, in(brokenBody(499, "", io.ErrUnexpectedEOF)), "P", "unknown", "", true},
	{"resend: a 500 that is cut", resends, in(brokenBody(500, "", io.ErrUnexpectedEOF)), "P", "unknown", "", true},
	{"resend: a 200 that is cut", resends, in(brokenBody(200, yes[:9], io.ErrUnexpectedEOF)), "P", "unknown", "", true},

	// The user in the response to the request itself is that call's.
	{"create: another way to write the address", creates, in(now(201, `{"success":true,"data":{"id":"u-9","email":"j.ane@example.com"}}`)), "P", "success", "", false},
	{"update: another way to write the ID", updates, in(now(200, `{"success":true,"data":{"id":"0B7C2D1E94A54B568F0D3D1C2B7A9E4F"}}`)), "U", "success", "", true},
	{"update: another name for the ID", updates, in(now(200, `{"success":true,"data":{"id":"4711"}}`)), "U", "success", "", false},

	// A fresh response whose Age is 1 is no reason to give up.
	{"create: an Age of 1, and then none", creates, in(lost, now(200, onlyJane, "Age", "1"), now(200, onlyJane)), "PGG", "success", "", false},
	{"delete: refused, and active with an Age of 1, and then none", deletes, in(now(400, isSo),
		now(200, deletedAt("null"), "Age", "1"), now(200, deletedAt("null"))), "DGG", "failure", "ErrBadRequest", false},

	// The read-back's date is judged by the bounds of the server's clock.
	{"delete: lost, and deleted since", deletes, func() []httpmock.Responder {
		return []httpmock.Responder{lost, now(200, deletedAfter(0))}
	}, "DG", "recovered", "", true},
	{"delete: lost, and deleted 20 s ago by a replica that takes 19 s", deletes, func() []httpmock.Responder {
		return []httpmock.Responder{lost, slowly(19*time.Second, now(200, deletedAfter(-20*time.Second))), now(200, yes)}
	}, "DGD", "success", "", false},
	{"delete: refused, and deleted 5 s ago", deletes, refusedAnd(func() (string, string) { return deletedAfter(-5 * time.Second), httpDate(0) }), "", "unknown", "", false},
	{"delete: refused, and deleted 20 s ago", deletes, refusedAnd(func() (string, string) { return deletedAfter(-20 * time.Second), httpDate(0) }), "", "unknown", "", false},
	{"delete: refused, and deleted long ago", deletes, refusedAnd(func() (string, string) { return deletedAfter(-30*time.Hour - 7*time.Second), httpDate(0) }), "DG", "failure", "ErrBadRequest", true},
	{"delete: refused, with a Date of 2099", deletes, refusedAnd(func() (string, string) { return deletedAfter(0), "Thu, 01 Jan 2099 00:00:00 GMT" }), "", "unknown", "", false},
	{"delete: refused, with a Date of hours ahead", deletes, refusedAnd(func() (string, string) { return deletedAfter(0), httpDate(8 * time.Hour) }), "", "unknown", "", false},
	{"delete: refused, and a deletedAt of 2099", deletes, refusedAnd(func() (string, string) { return deletedAt(`"2099-01-01T00:00:00.000Z"`), httpDate(0) }), "", "unknown", "", true},
	{"delete: refused, and cut to minutes", deletes, refusedAnd(func() (string, string) { return deletedAt(`"2000-01-01T00:00:00Z"`), httpDate(0) }), "", "unknown", "", false},
	{"delete: refused, and without seconds", deletes, refusedAnd(func() (string, string) { return deletedAt(`"2000-01-01T00:00Z"`), httpDate(0) }), "", "unknown", "", true},
	{"delete: refused, and without a zone", deletes, refusedAnd(func() (string, string) { return deletedAt(`"2000-01-01T00:00:40.000"`), httpDate(0) }), "", "unknown", "", true},
	{"delete: refused, and in milliseconds", deletes, refusedAnd(func() (string, string) { return deletedAt(`946684840000`), httpDate(0) }), "", "unknown", "", true},
}

// refusedAnd refuses a delete, and shows a user with a date in a response with a Date.
func refusedAnd(show func() (body, date string)) func() []httpmock.Responder {
	return func() []httpmock.Responder {
		<-time.After(40 * time.Second) // from the full minute
		body, date := show()
		return []httpmock.Responder{says(400, isSo, "Date", date), says(200, body, "Date", date)}
	}
}

// told is the verdict, and what is wrong with it.
func (c verdictCase) told(t *testing.T) (what, wrong string) {
	t.Helper()
	responses := c.responses()
	for len(responses) < 10 {
		responses = append(responses, responses[len(responses)-1])
	}
	w := newWire(t, responses...)
	recovered, err := c.call(t.Context(), w.client())
	var e *flashback.Error
	got := "failure"
	switch {
	case err == nil && recovered:
		got = "recovered"
	case err == nil:
		got = "success"
	case errors.As(err, &e) && e.OutcomeUnknown:
		got = "unknown"
	}
	switch {
	case got != c.want:
		wrong = got + " in the place of " + c.want
	case c.sent != "" && w.sequence() != c.sent:
		wrong = w.sequence() + " was sent in the place of " + c.sent
	case c.kind != "" && !slices.Contains(kinds(err), c.kind):
		wrong = "it is no " + c.kind
	}
	if err != nil {
		got += ": " + err.Error()
	}
	return got, wrong
}

func TestVerdictCases(t *testing.T) {
	t.Parallel()
	for _, c := range slices.Concat(verdictCases, pages()) {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				switch what, wrong := c.told(t); {
				case verdictsMended || c.right:
					assert.Empty(t, wrong, what)
				default:
					assert.NotEmpty(t, wrong, "it is right: %s", what)
				}
			})
		})
	}
}

// Of two Retry-After, those of two proxies, the longer counts.
func TestTheLongerRetryAfterCounts(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		values []string
		wait   time.Duration // 0: longer than the client waits
		right  bool          // already
	}{
		{"one", []string{"3"}, 3 * time.Second, true},
		{"the longer last", []string{"1", "3"}, 3 * time.Second, false},
		{"the longer first", []string{"3", "1"}, 3 * time.Second, true},
		{"the same twice", []string{"3", "3"}, 3 * time.Second, true},
		{"an odd one first", []string{"soon", "3"}, 3 * time.Second, false},
		{"an odd one last", []string{"3", "soon"}, 3 * time.Second, true},
		{"seconds and a later date", []string{"1", "Sat, 01 Jan 2000 00:00:05 GMT"}, 5 * time.Second, false},
		{"a date and more seconds", []string{"Sat, 01 Jan 2000 00:00:02 GMT", "3"}, 3 * time.Second, false},
		{"one of them is longer than the client waits", []string{"1", "120"}, 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var header []string
				for _, value := range tt.values {
					header = append(header, "Retry-After", value)
				}
				w := newWire(t, now(429, noWay, header...), now(200, yes))
				begun := time.Now()
				_, err := w.client().Organization.Users.ResendInvitation(t.Context(), userID)
				waited := time.Since(begun)
				right := err == nil && waited >= tt.wait && waited < tt.wait+tt.wait/2+time.Second
				if tt.wait == 0 {
					var e *flashback.Error
					right = errors.As(err, &e) && e.RetryAfter == 120*time.Second && waited == 0
				}
				assert.Equal(t, verdictsMended || tt.right, right, "waited %v: %v", waited, err)
			})
		})
	}
}
