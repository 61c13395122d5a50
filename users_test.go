package flashback_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/jarcoal/httpmock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	flashback "github.com/flashbacknetwork/flashback-go"
	"github.com/flashbacknetwork/flashback-go/flashbacktest"
)

// method is one of the calls, with all that its request must be.
type method struct {
	name string
	call func(ctx context.Context, c *flashback.Client) (any, error)
	verb string
	path string
	body string // "" for none
	op   string
	id   string
}

var newUser = flashback.NewUser{
	Email: "jane@example.com", Password: flashback.NewSecret("pa<55>word"), FirstName: "Jane", LastName: "Doe",
}

var methods = []method{
	{"list", func(ctx context.Context, c *flashback.Client) (any, error) {
		return c.Organization.Users.List(ctx)
	}, "GET", "/organization/users", "", "organization.users.list", ""},
	{"get", func(ctx context.Context, c *flashback.Client) (any, error) {
		return c.Organization.Users.Get(ctx, "a/b")
	}, "GET", "/organization/users/a%2Fb", "", "organization.users.get", "a/b"},
	{"create", func(ctx context.Context, c *flashback.Client) (any, error) {
		return c.Organization.Users.Create(ctx, newUser)
	}, "POST", "/organization/users", `{"email":"jane@example.com","password":"pa<55>word","firstName":"Jane","lastName":"Doe"}`, "organization.users.create", ""},
	{"create with all", func(ctx context.Context, c *flashback.Client) (any, error) {
		return c.Organization.Users.Create(ctx, flashback.NewUser{
			Email: "e", FirstName: "f", LastName: "l", OrgRole: flashback.Ptr(flashback.RoleUser),
			SendInvite: flashback.Ptr(false), Provider: "p", AuthMethod: flashback.AuthGitHub,
		})
	}, "POST", "/organization/users", `{"email":"e","password":"","firstName":"f","lastName":"l","orgRole":0,"sendInvite":false,"provider":"p","authMethod":"GITHUB"}`, "organization.users.create", ""},
	{"update", func(ctx context.Context, c *flashback.Client) (any, error) {
		return c.Organization.Users.Update(ctx, "a/b", flashback.UserUpdate{LastName: flashback.Ptr(""), OrgRole: flashback.Ptr(flashback.RoleOwner)})
	}, "PUT", "/organization/users/a%2Fb", `{"lastName":"","orgRole":255}`, "organization.users.update", "a/b"},
	{"delete", func(ctx context.Context, c *flashback.Client) (any, error) {
		return c.Organization.Users.Delete(ctx, "a/b")
	}, "DELETE", "/organization/users/a%2Fb", "", "organization.users.delete", "a/b"},
	{"resend the invitation", func(ctx context.Context, c *flashback.Client) (any, error) {
		return c.Organization.Users.ResendInvitation(ctx, "a/b")
	}, "POST", "/organization/users/a%2Fb/resend-invitation", "", "organization.users.resendInvitation", "a/b"},
	{"get the organization", func(ctx context.Context, c *flashback.Client) (any, error) {
		return c.Organization.Get(ctx, "o/1")
	}, "GET", "/organization/o%2F1", "", "organization.get", "o/1"},
	{"update the organization", func(ctx context.Context, c *flashback.Client) (any, error) {
		return c.Organization.Update(ctx, "o/1", flashback.OrganizationUpdate{
			Name: flashback.Ptr("n"), Address1: flashback.Ptr("1"), Address2: flashback.Ptr("2"), City: flashback.Ptr("c"),
			Zipcode: flashback.Ptr("z"), Phone: flashback.Ptr("p"), State: flashback.Ptr("s"), Country: flashback.Ptr("y"),
			Website: flashback.Ptr(""), IsBusiness: flashback.Ptr(false), MFAEnforced: flashback.Ptr(true),
		})
	}, "PUT", "/organization/o%2F1", `{"name":"n","address1":"1","address2":"2","city":"c","zipcode":"z","phone":"p","state":"s","country":"y","website":"","is_business":false,"mfaEnforced":true}`, "organization.update", "o/1"},
}

// good is an answer with which each method succeeds.
const good = `{"success":true,"data":{"id":"a/b","users":[]},"total":0}`

func (m *method) good() string {
	if m.name == "list" {
		return `{"success":true,"data":[],"total":0}`
	}
	return good
}

func TestEachMethodSendsWhatTheTypesSay(t *testing.T) {
	t.Parallel()
	for _, m := range methods {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			for _, base := range []string{"", "/api", "/a%2Fb"} {
				var got []*http.Request
				var body string
				transport := httpmock.NewMockTransport()
				transport.RegisterNoResponder(func(req *http.Request) (*http.Response, error) {
					got = append(got, req)
					if req.Body != nil {
						text, err := io.ReadAll(req.Body)
						if err != nil {
							return nil, err
						}
						body = string(text)
					}
					return httpmock.NewStringResponse(200, m.good()), nil
				})
				client, err := flashback.NewClient("access-token", flashback.WithBaseURL("https://h.example"+base),
					flashback.WithHTTPClient(&http.Client{Transport: transport}))
				require.NoError(t, err)
				_, err = m.call(t.Context(), client)
				require.NoError(t, err)
				require.Len(t, got, 1)
				assert.Equal(t, m.verb, got[0].Method)
				assert.Equal(t, "https://h.example"+base+m.path, got[0].URL.String())
				assert.Equal(t, "application/json", got[0].Header.Get("Accept"))
				assert.Equal(t, "Bearer access-token", got[0].Header.Get("Authorization"))
				if m.body == "" {
					assert.Nil(t, got[0].Body)
					assert.NotContains(t, got[0].Header, "Content-Type")
					continue
				}
				assert.JSONEq(t, m.body, body)
				assert.Equal(t, int64(len(body)), got[0].ContentLength)
				assert.Equal(t, "application/json", got[0].Header.Get("Content-Type"))
			}
		})
	}
}

func TestEachMethodTellsItsFailures(t *testing.T) {
	t.Parallel()
	for _, m := range methods {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			for _, tt := range []struct {
				status int
				body   string
				kinds  []string
			}{
				{400, `{"success":false,"message":"No"}`, []string{"ErrBadRequest"}},
				{400, `{"success":false,"message":"User is not deleted"}`, []string{"ErrBadRequest"}}, // another operation's
				{400, `{"success":false}`, []string{"ErrBadRequest"}},
				{401, ``, []string{"ErrUnauthorized"}},
				{403, `{"error":"No"}`, []string{"ErrForbidden"}},
				{404, `{"message":"No"}`, []string{"ErrNotFound"}},
				{404, `<html>`, []string{"ErrUnexpectedResponse"}},
				{409, `{"success":false,"message":"No"}`, nil},
				{302, ``, []string{"ErrUnexpectedResponse"}},
				{501, ``, []string{"ErrServer"}},
				{200, `{"success":false,"message":"No"}`, []string{"ErrUnexpectedResponse"}},
				{200, `{"success":false,"message":"No","id":"a/b","data":{"id":"a/b"}}`, []string{"ErrUnexpectedResponse"}},
			} {
				w := newWire(t, says(tt.status, tt.body))
				got, err := m.call(t.Context(), w.client())
				assert.Nil(t, got)
				e := asError(t, err)
				assert.ElementsMatch(t, tt.kinds, kinds(err), "%d %s", tt.status, tt.body)
				assert.Equal(t, tt.status, e.StatusCode)
				assert.Equal(t, 1, e.Attempts)
				assert.Equal(t, m.op, e.Op)
				assert.Equal(t, m.id, e.ID)
				assert.False(t, e.OutcomeUnknown)
			}
		})
	}
}

// What may be repeated, by what came of the attempt before.
func TestWhatMayBeRepeated(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		before httpmock.Responder
		lost   bool // it may have taken effect
	}{
		{"429", says(429, ""), false},
		{"425", says(425, ""), false},
		{"refused", fails(&netOpError), false},
		{"cut", fails(io.ErrUnexpectedEOF), true},
		{"408", says(408, ""), true},
		{"500", says(500, errorJSON), true},
		{"503 page", says(503, page), true},
		{"200 page", says(200, page), true},
		{"200 empty", says(200, ""), true},
	} {
		for _, m := range methods {
			t.Run(tt.name+", "+m.name, func(t *testing.T) {
				t.Parallel()
				if m.name == "delete" && tt.lost {
					t.Skip("a delete looks first: see below")
				}
				w := newWire(t, tt.before, says(200, m.good()))
				got, err := m.call(t.Context(), w.client())
				once := strings.HasPrefix(m.name, "create") || strings.HasPrefix(m.name, "resend")
				if once && tt.lost {
					assert.Nil(t, got)
					require.ErrorIs(t, err, flashback.ErrOutcomeUnknown)
					assert.Len(t, w.sent(), 1)
					return
				}
				require.NoError(t, err)
				assert.Len(t, w.sent(), 2)
			})
		}
	}
}

func TestUsersAreReadAsTheTypesSayThem(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 24, 10, 20, 30, 456e6, time.UTC)
	full := flashback.User{
		ID: "user-1", Email: "jane@example.com", Name: "Jane", LastName: "Doe", OrgID: "org-1", OrgRole: flashback.Ptr(flashback.RoleWorkspaces),
		OrgRoleDescription: "Workspaces", OrgRoles: []flashback.Role{1, 2}, Validated: true, DeletedAt: &at,
	}
	const fullJSON = `{"id":"user-1","email":"jane@example.com","name":"Jane","lastName":"Doe","orgId":"org-1","orgRole":2,"validated":true,
		"deletedAt":"2026-11-24T10:20:30.456Z","orgRoleDescription":"Workspaces","orgRoles":[1,2],"new":{"x":1}}`
	for _, tt := range []struct {
		name string
		body string
		want flashback.User
	}{
		{"bare", fullJSON, full},
		{"in an envelope", `{"success":true,"data":` + fullJSON + `}`, full},
		{"in an envelope without success", `{"data":` + fullJSON + `}`, full},
		{"with nulls", `{"id":"u","email":null,"name":null,"orgId":null,"orgRole":null,"deletedAt":null,"orgRoles":null,"validated":null}`, flashback.User{ID: "u"}},
		{"with the ID alone", `{"id":"u"}`, flashback.User{ID: "u"}},
		{"with other types", `{"id":"u","email":1,"name":{},"lastName":[],"orgRole":"2","orgRoles":[1,"x",2.5,7],"validated":"yes","orgRoleDescription":false}`, flashback.User{ID: "u", OrgRoles: []flashback.Role{1, 7}}},
		{"with an unknown role", `{"id":"u","orgRole":119}`, flashback.User{ID: "u", OrgRole: flashback.Ptr(flashback.Role(119))}},
		{"with the lowest role", `{"id":"u","orgRole":0}`, flashback.User{ID: "u", OrgRole: flashback.Ptr(flashback.RoleUser)}},
		{"with an odd role", `{"id":"u","orgRole":1e300}`, flashback.User{ID: "u"}},
		{"with a number that is too large", `{"id":"u","message":1e400,"orgRole":1e400}`, flashback.User{ID: "u"}},
		{"with no date", `{"id":"u","deletedAt":""}`, flashback.User{ID: "u"}},
		{"with a false date", `{"id":"u","deletedAt":false}`, flashback.User{ID: "u"}},
		{"with an unknown field that is called data", `{"id":"u","name":"Jane","data":{"theme":"dark"}}`, flashback.User{ID: "u", Name: "Jane"}},
		{"twice", `{"success":true,"data":{"id":"a","orgRole":1,"orgRoles":[1]},"data":{"id":"u","orgRole":null,"orgRoles":[2]}}`, flashback.User{ID: "u", OrgRoles: []flashback.Role{2}}},
		{"with an odd date", `{"id":"u","deletedAt":"yesterday"}`, flashback.User{ID: "u", DeletedAt: &time.Time{}}},
		{"with a number for a date", `{"id":"u","deletedAt":1764000000000}`, flashback.User{ID: "u", DeletedAt: &time.Time{}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := newWire(t, says(200, tt.body)).client().Organization.Users.Get(t.Context(), "user-1")
			require.NoError(t, err)
			assert.Equal(t, &tt.want, got)
			assert.Equal(t, tt.want.DeletedAt != nil, got.Deleted())
		})
	}
}

func TestAnAnswerWithoutWhatWasAskedForIsNoSuccessOfARead(t *testing.T) {
	t.Parallel()
	users := func(ctx context.Context, c *flashback.Client) (any, error) { return c.Organization.Users.List(ctx) }
	user := func(ctx context.Context, c *flashback.Client) (any, error) {
		return c.Organization.Users.Get(ctx, "user-1")
	}
	org := func(ctx context.Context, c *flashback.Client) (any, error) { return c.Organization.Get(ctx, "org-1") }
	for _, tt := range []struct {
		name  string
		call  func(context.Context, *flashback.Client) (any, error)
		body  string
		again bool // it is no answer of the API's at all
	}{
		{"a list that is null", users, `{"success":true,"data":null,"total":0}`, false},
		{"a list that is missing", users, `{"success":true,"total":0}`, false},
		{"a list that is an object", users, `{"success":true,"data":{}}`, false},
		{"a list without an envelope", users, `[]`, true},
		{"a list of words", users, `{"success":true,"data":["a"]}`, false},
		{"a user that is null", user, `{"success":true,"data":null}`, false},
		{"a user that is a word", user, `{"success":true,"data":"user-1"}`, false},
		{"a user without an ID", user, `{"success":true,"data":{}}`, false},
		{"a user within another object", user, `{"success":true,"data":{"user":{"id":"u"}}}`, false},
		{"a list of users without an ID", users, `{"success":true,"data":[{"email":"e"}]}`, false},
		{"an organization without an ID", org, `{"success":true,"data":{}}`, false},
		{"a message", user, `{"message":"hello"}`, false},
		{"an object that is no user", user, `{"status":"ok"}`, true},
		{"a page", user, page, true},
		{"an organization that is null", org, `{"success":true,"data":null}`, false},
		{"a bare organization", org, `{"id":"org-1"}`, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWire(t, says(200, tt.body), says(200, tt.body))
			got, err := tt.call(t.Context(), w.client(flashback.WithMaxRetries(1)))
			assert.Nil(t, got)
			require.ErrorIs(t, err, flashback.ErrUnexpectedResponse)
			require.NotErrorIs(t, err, flashback.ErrOutcomeUnknown)
			if tt.again {
				assert.Len(t, w.sent(), 2)
			} else {
				assert.Len(t, w.sent(), 1)
			}
		})
	}
}

// An envelope without its data still says that it took effect.
func TestAChangeWithoutItsDataIsASuccess(t *testing.T) {
	t.Parallel()
	for _, body := range []string{`{"success":true,"message":"Done"}`, `{"success":true,"data":null}`, `{"success":true,"data":7}`, `{"message":"Done"}`} {
		for _, m := range methods {
			if m.verb == http.MethodGet {
				continue
			}
			got, err := m.call(t.Context(), newWire(t, says(200, body)).client())
			require.NoError(t, err, m.name)
			assert.NotNil(t, got)
		}
	}
	user, err := newWire(t, says(200, `{"success":true}`)).client().Organization.Users.Create(t.Context(), newUser)
	require.NoError(t, err)
	assert.Equal(t, &flashback.User{}, user)
}

func TestAListIsReadWithItsTotal(t *testing.T) {
	t.Parallel()
	client := newWire(t, says(200, `{"success":true,"data":[{"id":"a"},{"id":"b","deletedAt":"2026-01-02T03:04:05.006Z"},{"id":"c","deletedAt":"x"}],"total":7}`)).client()
	list, err := client.Organization.Users.List(t.Context())
	require.NoError(t, err)
	assert.Equal(t, 7, list.Total)
	assert.Len(t, list.Users, 3)
	deleted := list.Deleted()
	require.Len(t, deleted, 2)
	assert.Equal(t, "b", deleted[0].ID)
	assert.Equal(t, time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC), *deleted[0].DeletedAt)
	assert.Equal(t, "c", deleted[1].ID)

	list, err = newWire(t, says(200, `{"success":true,"data":[],"total":1e19}`)).client().Organization.Users.List(t.Context())
	require.NoError(t, err)
	assert.Equal(t, &flashback.UserList{Users: []flashback.User{}}, list)
	assert.Empty(t, list.Deleted())
}

func TestAListMayBeLargerThanOtherAnswers(t *testing.T) {
	t.Parallel()
	backend := flashbacktest.New(t)
	for i := range 10_000 {
		backend.AddDeletedUser(fmt.Sprintf("user-%d", i))
	}
	list, err := backend.Client().Organization.Users.List(t.Context())
	require.NoError(t, err)
	assert.Len(t, list.Deleted(), 10_000)

	endlessly := serve(t, func(w http.ResponseWriter, r *http.Request) { endless(w, r, 200, 65<<20) })
	_, err = clientOf(t, endlessly, flashback.WithMaxRetries(0)).Organization.Users.List(t.Context())
	require.ErrorContains(t, err, "larger than the client reads")
}

func TestAnOrganizationIsReadAsTheTypesSayIt(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)
	for body, want := range map[string]flashback.Organization{
		`{"id":"o","name":"n","domain":"d","address1":"1","address2":"2","city":"c","zipcode":"z","phone":"p","state":"s","country":"y","website":"w",
			"deletedAt":"2026-11-24T00:00:00.000Z","reposDisabled":true,"is_business":true,"mfaEnforced":true,"more":[]}`: {
			ID: "o", Name: "n", Domain: "d", Address1: "1", Address2: "2", City: "c", Zipcode: "z", Phone: "p", State: "s", Country: "y", Website: "w",
			ReposDisabled: true, IsBusiness: true, MFAEnforced: true, DeletedAt: &at,
		},
		`{"id":"o","name":"n","address1":null,"deletedAt":null,"city":5}`: {ID: "o", Name: "n"},
	} {
		got, err := newWire(t, says(200, `{"success":true,"data":`+body+`}`)).client().Organization.Get(t.Context(), "o")
		require.NoError(t, err)
		assert.Equal(t, &want, got)
	}
}

func TestRolesHaveNames(t *testing.T) {
	t.Parallel()
	for role, want := range map[flashback.Role]string{
		0x00: "user", 0x01: "billing", 0x02: "workspaces", 0xfe: "administrators", 0xff: "owner", 0x03: "role 0x03", 0x1ff: "role 0x1ff",
	} {
		assert.Equal(t, want, role.String())
	}
	assert.Equal(t, []flashback.Role{0, 1, 2, 0xfe, 0xff}, []flashback.Role{
		flashback.RoleUser, flashback.RoleBilling, flashback.RoleWorkspaces, flashback.RoleAdministrators, flashback.RoleOwner,
	})
}

// A delete whose answer was lost.
func TestADeleteIsSettledByLooking(t *testing.T) {
	t.Parallel()
	const deleted, active = `{"id":"user-1","deletedAt":"2026-11-24T00:00:00.000Z"}`, `{"id":"user-1","deletedAt":null}`
	lost, ok := fails(io.ErrUnexpectedEOF), says(200, `{"success":true,"message":"User deleted"}`)
	for _, tt := range []struct {
		name      string
		answers   []httpmock.Responder
		sent      string
		recovered bool
		kinds     []string // of the failure
	}{
		{"the first attempt tells", []httpmock.Responder{ok}, "D", false, nil},
		{"it was deleted", []httpmock.Responder{lost, says(200, deleted)}, "DG", true, nil},
		{"it was deleted, in an envelope", []httpmock.Responder{lost, says(200, `{"success":true,"data":`+deleted+`}`)}, "DG", true, nil},
		{"it was not, and is repeated", []httpmock.Responder{lost, says(200, active), ok}, "DGD", false, nil},
		{"it was not, twice", []httpmock.Responder{lost, says(200, active), says(502, page), says(200, active), ok}, "DGDGD", false, nil},
		{"it was not, and then it was", []httpmock.Responder{lost, says(200, active), says(400, `{"message":"No"}`), says(200, deleted)}, "DGDG", true, nil},
		{"the look sees something else than a date", []httpmock.Responder{says(500, ""), says(200, `{"id":"user-1","deletedAt":""}`)}, "DG", false, []string{"ErrServer", "ErrOutcomeUnknown"}},
		{"the look sees no deletedAt", []httpmock.Responder{lost, says(200, `{"id":"user-1"}`)}, "DG", false, []string{"ErrOutcomeUnknown"}},
		{"the look sees somebody else", []httpmock.Responder{lost, says(200, `{"id":"user-2","deletedAt":"2026-11-24T00:00:00.000Z"}`)}, "DG", false, []string{"ErrOutcomeUnknown"}},
		{"the look sees a user within another object", []httpmock.Responder{lost, says(200, `{"success":true,"data":{"user":`+deleted+`}}`)}, "DG", false, []string{"ErrOutcomeUnknown"}},
		{"all attempts are used up", []httpmock.Responder{lost, says(200, active), lost, says(200, active), lost, says(200, deleted)}, "DGDGDG", true, nil},
		{"all attempts are used up, and it was not", []httpmock.Responder{lost, lost, lost, lost, says(200, active), lost, says(200, active)}, "DGGGGDG", false, []string{"ErrOutcomeUnknown"}},
		{"a look has the call's retries, and no more", []httpmock.Responder{lost, says(503, ""), says(503, ""), says(503, ""), says(503, "")}, "DGGGG", false, []string{"ErrOutcomeUnknown"}},
		{"a look is repeated", []httpmock.Responder{lost, says(503, ""), lost, says(200, deleted)}, "DGGG", true, nil},
		{"what was not sent needs no look", []httpmock.Responder{fails(&netOpError), says(429, ""), ok}, "DDD", false, nil},
		{"another answer stands, where no attempt was lost", []httpmock.Responder{says(404, `{"message":"No"}`)}, "D", false, []string{"ErrNotFound"}},
		{"the look finds nobody", []httpmock.Responder{lost, says(404, `{"message":"User not found"}`)}, "DG", false, []string{"ErrOutcomeUnknown"}},
		{"the look is not allowed", []httpmock.Responder{says(500, ""), says(403, `{"message":"No"}`)}, "DG", false, []string{"ErrServer", "ErrOutcomeUnknown"}},
		{"the look has no user", []httpmock.Responder{lost, says(200, `{"success":true,"data":null}`)}, "DG", false, []string{"ErrOutcomeUnknown"}},
		{"refused after an attempt that was lost", []httpmock.Responder{lost, says(200, active), says(403, `{"message":"No"}`), says(200, active)}, "DGDG", false, []string{"ErrForbidden", "ErrOutcomeUnknown"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWire(t, tt.answers...)
				deletion, err := w.client().Organization.Users.Delete(t.Context(), "user-1")
				var sent strings.Builder
				for _, req := range w.sent() {
					sent.WriteString(req.Method[:1])
				}
				assert.Equal(t, tt.sent, sent.String())
				if tt.kinds != nil {
					assert.Nil(t, deletion)
					assert.ElementsMatch(t, tt.kinds, kinds(err))
					assert.Equal(t, len(w.sent()), asError(t, err).Attempts)
					return
				}
				require.NoError(t, err)
				assert.Equal(t, "user-1", deletion.UserID)
				assert.Equal(t, tt.recovered, deletion.Recovered)
				assert.Equal(t, len(w.sent()), deletion.Attempts)
			})
		})
	}
}

func TestALookSaysWhyItTellsNothing(t *testing.T) {
	t.Parallel()
	lost := fails(io.ErrUnexpectedEOF)
	_, err := newWire(t, lost, says(404, `{"message":"User not found"}`)).client().Organization.Users.Delete(t.Context(), "user-1")
	require.ErrorContains(t, err, `looking whether it did failed`)
	require.NotErrorIs(t, err, flashback.ErrNotFound)

	_, err = newWire(t, lost).client(flashback.WithRetryBudget(0)).Organization.Users.Delete(t.Context(), "user-1")
	require.ErrorIs(t, err, flashback.ErrRetryBudget)
	require.ErrorIs(t, err, flashback.ErrOutcomeUnknown)

	ctx, cancel := context.WithCancel(t.Context())
	w := newWire(t, func(*http.Request) (*http.Response, error) { cancel(); return nil, io.ErrUnexpectedEOF })
	_, err = w.client().Organization.Users.Delete(ctx, "user-1")
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, err, flashback.ErrOutcomeUnknown)
	assert.Len(t, w.sent(), 1)
	assert.Equal(t, 1, asError(t, err).Attempts)

	mine := errors.New("mine")
	asked := 0
	_, err = newWire(t, lost).clientWithToken("", flashback.WithTokenSource(func(context.Context) (string, error) {
		if asked++; asked > 1 {
			return "", mine
		}
		return "access-token", nil
	})).Organization.Users.Delete(t.Context(), "user-1")
	require.ErrorIs(t, err, mine)
	require.ErrorIs(t, err, flashback.ErrOutcomeUnknown)

	_, err = newWire(t, lost, says(429, "", "Retry-After", "120")).client().Organization.Users.Delete(t.Context(), "user-1")
	assert.Equal(t, 2*time.Minute, asError(t, err).RetryAfter)
	require.NotErrorIs(t, err, flashback.ErrRateLimited)

	// A look is no retry.
	w = newWire(t, lost, says(200, `{"id":"user-1","deletedAt":"2026-11-24T00:00:00.000Z"}`))
	deletion, err := w.client(flashback.WithMaxRetries(0)).Organization.Users.Delete(t.Context(), "user-1")
	require.NoError(t, err)
	assert.True(t, deletion.Recovered)
}

func TestALookComesAfterTheWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var at []time.Duration
		began := time.Now()
		note := func(answer httpmock.Responder) httpmock.Responder {
			return func(req *http.Request) (*http.Response, error) {
				at = append(at, time.Since(began))
				return answer(req)
			}
		}
		w := newWire(t, note(says(503, "", "Retry-After", "7")), note(says(200, `{"id":"user-1","deletedAt":null}`)), note(says(200, `{"success":true}`)))
		_, err := w.client().Organization.Users.Delete(t.Context(), "user-1")
		require.NoError(t, err)
		assert.Equal(t, []time.Duration{0, 7 * time.Second, 7 * time.Second}, at)
	})
}

// Looks are part of the budget: a dead server gets about one request per call, and
// what is found by looking gives nothing back.
func TestADeleteKeepsToTheBudget(t *testing.T) {
	t.Parallel()
	backend := flashbacktest.New(t)
	backend.Decide(func(*http.Request) flashbacktest.Fault { return flashbacktest.Respond(503, "") })
	client := backend.Client(flashback.WithRetryBudget(10), flashback.WithBackoff(0, 0))
	for range 200 {
		_, err := client.Organization.Users.Delete(t.Context(), "user-1")
		require.ErrorIs(t, err, flashback.ErrServer)
	}
	assert.LessOrEqual(t, len(backend.Requests()), 220)
}

func TestWhatALookFindsGivesNothingBackToTheBudget(t *testing.T) {
	t.Parallel()
	backend := flashbacktest.New(t)
	backend.AddUser(flashbacktest.User{ID: "user-1"})
	deletes := 0
	backend.Decide(func(r *http.Request) flashbacktest.Fault {
		if r.Method == http.MethodGet {
			return flashbacktest.None()
		}
		deletes++
		return flashbacktest.Respond(503, "")
	})
	client := backend.Client(flashback.WithRetryBudget(10), flashback.WithMaxRetries(1), flashback.WithBackoff(0, 0))
	for range 100 {
		_, err := client.Organization.Users.Delete(t.Context(), "user-1")
		require.ErrorIs(t, err, flashback.ErrServer)
	}
	assert.Equal(t, 100+10, deletes)
}

// net/http sends a request over HTTP/2 again if the server resets its stream with
// PROTOCOL_ERROR, which it may do after it has acted.
func TestWhatMustNotBeRepeatedIsNotSentAgainByTheTransport(t *testing.T) {
	t.Parallel()
	for _, m := range methods {
		if m.name != "create" && m.name != "delete" && m.name != "resend the invitation" {
			continue
		}
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			requests, client := resettingClient(t)
			_, err := m.call(t.Context(), client)
			require.ErrorIs(t, err, flashback.ErrOutcomeUnknown)
			want := int64(1)
			if m.name == "delete" {
				want = 2 // it looked
			} else {
				require.ErrorContains(t, err, "kept from sending it again")
			}
			assert.Equal(t, want, requests.Load())
		})
	}
}

func TestAContextThatEndsIsInTheErrorOfACreate(t *testing.T) {
	t.Parallel()
	cause := errors.New("shutting down")
	for name, end := range map[string]func(context.Context) (context.Context, context.CancelFunc){
		"canceled": func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancelCause(ctx)
			time.AfterFunc(time.Second, func() { cancel(cause) })
			return ctx, func() { cancel(nil) }
		},
		"deadline": func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeoutCause(ctx, time.Second, cause)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				backend, client := inBubble(t)
				backend.Script(flashbacktest.LoseResponse(flashbacktest.Stall))
				ctx, cancel := end(t.Context())
				defer cancel()
				_, err := client.Organization.Users.Create(ctx, newUser)
				require.ErrorIs(t, err, ctx.Err())
				require.ErrorIs(t, err, cause)
				require.ErrorIs(t, err, flashback.ErrOutcomeUnknown)
			})
		})
	}
}

func TestBadInputIsRefusedAndNothingIsSent(t *testing.T) {
	t.Parallel()
	w := newWire(t, says(200, good))
	users, org := w.client().Organization.Users, w.client().Organization
	ctx := t.Context()
	for name, tt := range map[string]struct {
		call func() error
		says string
	}{
		"get without an ID": {func() error { _, err := users.Get(ctx, ""); return err }, "ID is empty"},
		"update with an ID that is a path": {func() error {
			_, err := users.Update(ctx, "..", flashback.UserUpdate{Name: flashback.Ptr("")})
			return err
		}, "path segment"},
		"update of nothing":                {func() error { _, err := users.Update(ctx, "user-1", flashback.UserUpdate{}); return err }, "set a field"},
		"delete with a newline":            {func() error { _, err := users.Delete(ctx, "user-1\n"); return err }, "strings.TrimSpace"},
		"an invitation of nobody":          {func() error { _, err := users.ResendInvitation(ctx, ""); return err }, "ID is empty"},
		"create without an e-mail address": {func() error { _, err := users.Create(ctx, flashback.NewUser{Password: newUser.Password}); return err }, "e-mail address is empty"},
		"create without a password":        {func() error { _, err := users.Create(ctx, flashback.NewUser{Email: "e"}); return err }, "password is empty"},
		"create of a local without one": {func() error {
			_, err := users.Create(ctx, flashback.NewUser{Email: "e", AuthMethod: flashback.AuthLocal})
			return err
		}, "NewSecret"},
		"an organization without an ID":     {func() error { _, err := org.Get(ctx, ""); return err }, "ID is empty"},
		"an organization that is the users": {func() error { _, err := org.Get(ctx, "users"); return err }, "another endpoint"},
		"an update of those": {func() error {
			_, err := org.Update(ctx, "users", flashback.OrganizationUpdate{City: flashback.Ptr("")})
			return err
		}, "another endpoint"},
		"an update of nothing at all": {func() error { _, err := org.Update(ctx, "org-1", flashback.OrganizationUpdate{}); return err }, "set a field"},
		"an e-mail address of white space": {func() error {
			_, err := users.Create(ctx, flashback.NewUser{Email: " ", Password: newUser.Password})
			return err
		}, "e-mail address is empty"},
		"another spelling of local": {func() error {
			_, err := users.Create(ctx, flashback.NewUser{Email: "e", AuthMethod: "local"})
			return err
		}, "password is empty"},
		"a password that is not UTF-8": {func() error {
			_, err := users.Create(ctx, flashback.NewUser{Email: "e", Password: flashback.NewSecret("p\xe4ss")})
			return err
		}, "UTF-8"},
		"a name that is not UTF-8": {func() error {
			_, err := users.Update(ctx, "user-1", flashback.UserUpdate{Name: flashback.Ptr("\xff")})
			return err
		}, "UTF-8"},
		"a nil context": {func() error { _, err := users.List(nil); return err }, "context.Background()"}, //nolint:staticcheck // It is the subject.
	} {
		t.Run(name, func(t *testing.T) {
			err := tt.call()
			require.ErrorIs(t, err, flashback.ErrInvalidArgument)
			require.ErrorContains(t, err, tt.says)
			_ = asError(t, err)
		})
	}
	assert.Empty(t, w.sent())
}

func TestAPasswordIsNowhere(t *testing.T) {
	t.Parallel()
	user := flashback.NewUser{Email: "jane@example.com", Password: flashback.NewSecret(marked)}
	hidden := struct{ user flashback.NewUser }{user}
	for name, v := range map[string]any{
		"a secret": user.Password, "a pointer to one": &user.Password, "a new user": user, "a pointer to a new user": &user,
		"where no method is called": hidden, "a list": []flashback.NewUser{user}, "a map": map[string]any{"u": user},
	} {
		assert.Empty(t, leaks(v), name)
	}
	assert.Equal(t, "[redacted]", user.Password.String())
	assert.Contains(t, fmt.Sprintf("%+v", user), "Password:[redacted]")
	assert.Contains(t, fmt.Sprintf("%#v", user), "[redacted]")

	for _, password := range []string{marked, "short", "<&>\"\t", "with a [bracket]", "pa<55>word", `it's-"mine"-\ok`, "pass word!9", "pässword😀", `ab%41cd\efgh`, `pa%2fss"word`, `x&lt"yzzz99`, "a&ampb<cdefgh"} {
		user.Password = flashback.NewSecret(password)
		quoted, err := json.Marshal(password)
		require.NoError(t, err)
		said := fmt.Sprintf(`{"success":false,"message":%s}`, quoted)
		inMessage, err := json.Marshal(map[string]any{"message": "cannot handle {\"password\":" + string(quoted) + "}"})
		require.NoError(t, err)
		escaped := strings.NewReplacer("+", "%20", "%21", "!", "%27", "'", "%3C", "%3c").Replace(url.QueryEscape(password))
		for _, answer := range []httpmock.Responder{
			says(400, said, "X-Echo", password), says(409, said), says(500, said), says(302, "", "Location", "/?p="+password), says(502, password),
			says(200, said), fails(fmt.Errorf("can't send %s", password)), fails(fmt.Errorf("malformed HTTP response %q", quoted)),
			says(400, string(inMessage), "X-Echo", string(quoted), "X-Url", "100% sure: "+escaped), says(502, "<p>"+html.EscapeString(password)+"</p>"),
			says(502, strings.NewReplacer("&", "&amp;", "'", "&#x27;", `"`, "&quot;", "<", "&lt;").Replace(password)), says(400, `{"message":"`+escaped+`"}`),
			func(*http.Request) (*http.Response, error) {
				return &http.Response{StatusCode: 400, Header: http.Header{}, Body: io.NopCloser(io.MultiReader(strings.NewReader("no: "+password[:len(password)-1]), iotest.ErrReader(io.ErrUnexpectedEOF)))}, nil
			},
		} {
			var log bytes.Buffer
			w := newWire(t, answer)
			_, err = w.client(flashback.WithLogger(slog.New(slog.NewJSONHandler(&log, nil)))).Organization.Users.Create(t.Context(), user)
			e := asError(t, err)
			for _, text := range []string{err.Error(), e.Message, string(e.Body), fmt.Sprint(e.Header), log.String(), fmt.Sprintf("%+v", *e)} {
				assert.NotContains(t, text, password)
				assert.NotContains(t, text, strings.Trim(string(quoted), `"`))
				assert.NotContains(t, text, escaped)
				if len(password) > 8 {
					assert.NotContains(t, text, password[:len(password)-1])
				}
			}
		}
	}
}

// A POST with a body is given a new connection where nothing can be written on the
// old one, as one without is.
func TestACreateSurvivesAStaleConnection(t *testing.T) {
	t.Parallel()
	var dials atomic.Int64
	transport := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err == nil && dials.Add(1) == 1 {
			conn = &unwritable{Conn: conn}
		}
		return conn, err
	}}
	t.Cleanup(transport.CloseIdleConnections)
	backend := flashbacktest.New(t)
	users := backend.Client(flashback.WithMaxRetries(0), flashback.WithHTTPClient(&http.Client{Transport: transport})).Organization.Users
	_, err := users.List(t.Context())
	require.NoError(t, err)
	created, err := users.Create(t.Context(), newUser)
	require.NoError(t, err)
	assert.Equal(t, int64(2), dials.Load())
	user, _ := backend.User(created.ID)
	assert.Equal(t, "pa<55>word", user.Password)
}
