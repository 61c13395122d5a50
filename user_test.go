package flashback_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	flashback "github.com/flashbacknetwork/flashback-go"
)

func TestAUserIsReadAsDocumented(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 24, 10, 20, 30, 456e6, time.UTC)
	east := time.FixedZone("", 2*60*60)
	role := func(r flashback.Role) *flashback.Role { return new(r) }
	for _, tt := range []struct {
		name   string
		fields string // beside the ID
		want   flashback.User
	}{
		{"all fields", `"email":"jane@example.com","name":"Jane","lastName":"Doe","orgId":"org-1","orgRole":2,"validated":true,
			"deletedAt":"2026-11-24T10:20:30.456Z","orgRoleDescription":"WORKSPACES","orgRoles":[0,1,2],"new":{"id":"another"}`, flashback.User{
			Email: "jane@example.com", Name: "Jane", LastName: "Doe", OrgID: "org-1", OrgRole: role(flashback.RoleWorkspaces),
			OrgRoleDescription: "WORKSPACES", OrgRoles: []flashback.Role{0, 1, 2}, Validated: true, DeletedAt: &at,
		}},
		{"the ID alone", `"new":1`, flashback.User{}},
		{"nulls", `"email":null,"name":null,"orgId":null,"orgRole":null,"deletedAt":null,"orgRoles":null,"validated":null`, flashback.User{}},
		{"other types", `"email":1,"name":{},"lastName":[],"orgId":true,"orgRole":"2","orgRoles":[1,"x",2.5,null,7],"validated":"yes","orgRoleDescription":false`,
			flashback.User{OrgRoles: []flashback.Role{1, 7}}},
		{"roles that are no list", `"orgRoles":{"0":1}`, flashback.User{}},
		{"keys in other letters", `"Email":"e","NAME":"n","lastname":"l","orgrole":2,"Validated":true,"deletedat":"2026-11-24T10:20:30.456Z","DeletedAt":1`, flashback.User{}},
		{"an escaped key", `"n\u0061me":"Jane"`, flashback.User{Name: "Jane"}},
		{"escaped text", `"name":"J\u00e4ne \ud83d\ude00 \"x\""`, flashback.User{Name: `Jäne 😀 "x"`}},
		{"a field twice: the last counts", `"name":"a","orgRole":1,"orgRole":2,"name":"b"`, flashback.User{Name: "b", OrgRole: role(flashback.RoleWorkspaces)}},
		{"a field of one's own that is called data", `"name":"Jane","data":"dark"`, flashback.User{Name: "Jane"}},
		{"the lowest role", `"orgRole":0`, flashback.User{OrgRole: role(flashback.RoleUser)}},
		{"a reserved role", `"orgRole":119`, flashback.User{OrgRole: role(119)}},
		{"the highest role", `"orgRole":255`, flashback.User{OrgRole: role(flashback.RoleOwner)}},
		{"a role that is written as a fraction", `"orgRole":2.0`, flashback.User{OrgRole: role(2)}},
		{"a role that is too high", `"orgRole":256`, flashback.User{}},
		{"a role that is too low", `"orgRole":-1`, flashback.User{}},
		{"a role and a half", `"orgRole":1.5`, flashback.User{}},
		{"a huge role", `"orgRole":1e300`, flashback.User{}},
		{"a role that overflows", `"message":1e400,"orgRole":1e400`, flashback.User{}},
		{"a date in another zone", `"deletedAt":"2026-11-24T12:20:30.456+02:00"`, flashback.User{DeletedAt: new(at.In(east))}},
		{"a date without milliseconds", `"deletedAt":"2026-11-24T10:20:30Z"`, flashback.User{DeletedAt: new(at.Truncate(time.Second))}},
		{"an empty date", `"deletedAt":""`, flashback.User{}},
		{"a false date", `"deletedAt":false`, flashback.User{}},
		{"a date that is 0", `"deletedAt":0`, flashback.User{}},
		{"a date that can't be read", `"deletedAt":"yesterday"`, flashback.User{DeletedAt: &time.Time{}}},
		{"a number for a date", `"deletedAt":1764000000000`, flashback.User{DeletedAt: &time.Time{}}},
		{"an object for a date", `"deletedAt":{}`, flashback.User{DeletedAt: &time.Time{}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.want.ID = "user-1"
			object := `{"id":"user-1",` + tt.fields + `}`
			for _, body := range []string{
				object, " \n" + object + "\t", "\xef\xbb\xbf" + object,
				`{"success":true,"data":` + object + `}`, `{"data":` + object + `}`, `{"data":{"id":"a","name":"x"},"success":true,"data":` + object + `}`,
			} {
				got, err := newWire(t, says(200, body)).client().Organization.Users.Get(t.Context(), "user-1")
				require.NoError(t, err, body)
				sameUser(t, tt.want, *got)
				assert.Equal(t, tt.want.DeletedAt != nil, got.Deleted())
			}
			list, err := newWire(t, says(200, `{"success":true,"data":[`+object+`]}`)).client().Organization.Users.List(t.Context())
			require.NoError(t, err)
			require.Len(t, list.Users, 1)
			sameUser(t, tt.want, list.Users[0])

			var decoded flashback.User
			require.NoError(t, json.Unmarshal([]byte(object), &decoded))
			sameUser(t, tt.want, decoded)
		})
	}
}

// sameUser compares dates as dates.
func sameUser(t *testing.T, want, got flashback.User) {
	t.Helper()
	if want.DeletedAt != nil && assert.NotNil(t, got.DeletedAt) {
		assert.True(t, want.DeletedAt.Equal(*got.DeletedAt), "%v", got.DeletedAt)
		want.DeletedAt, got.DeletedAt = nil, nil
	}
	assert.Equal(t, want, got)
}

func TestAUserIsDecodedFromAnObject(t *testing.T) {
	t.Parallel()
	user := flashback.User{ID: "before"}
	for _, text := range []string{`[]`, `"user-1"`, `1`, `true`} {
		require.Error(t, json.Unmarshal([]byte(text), &user), text)
	}
	require.NoError(t, json.Unmarshal([]byte(`{"name":"x"}`), &user))
	assert.Equal(t, flashback.User{Name: "x"}, user, "nothing is left of what was there")

	text, err := json.Marshal(jane)
	require.NoError(t, err)
	var again flashback.User
	require.NoError(t, json.Unmarshal(text, &again))
	assert.Equal(t, jane, again, "what is encoded is decoded as it was")
}

func TestAListIsReadWithItsTotal(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		total string
		want  int
		cut   bool
	}{
		{`,"total":3`, 3, false},
		{``, 0, false},
		{`,"total":null`, 0, false},
		{`,"Total":7`, 0, false},
		{`,"total":2.0`, 2, false},
		{`,"total":7`, 7, true},
		{`,"total":"7"`, 0, true}, // what can't be read may be larger
		{`,"total":1e19`, 0, true},
		{`,"total":1.5`, 0, true},
		{`,"total":-1`, 0, true},
		{`,"hasMore":true`, 0, true},
		{`,"hasMore":false`, 0, false},
		{`,"nextCursor":"x"`, 0, true},
		{`,"nextCursor":null`, 0, false},
	} {
		total, want := tt.total, tt.want
		body := `{"success":true,"data":[{"id":"a"},{"id":"b","deletedAt":"2026-01-02T03:04:05.006Z"},{"id":"c","deletedAt":"x"}]` + total + `}`
		list, err := newWire(t, says(200, body)).client().Organization.Users.List(t.Context())
		require.Equal(t, tt.cut, errors.Is(err, flashback.ErrIncompleteList), "%s: %v", total, err)
		require.Equal(t, tt.cut, err != nil)
		assert.Equal(t, want, list.Total, total)
		assert.Len(t, list.Users, 3)
		deleted := list.Deleted()
		require.Len(t, deleted, 2)
		assert.Equal(t, "b", deleted[0].ID)
		assert.Equal(t, time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC), *deleted[0].DeletedAt)
		assert.Equal(t, "c", deleted[1].ID, "what can't be read is not left out")
		assert.True(t, deleted[1].DeletedAt.IsZero())
	}
	list, err := newWire(t, says(200, `{"success":true,"data":[]}`)).client().Organization.Users.List(t.Context())
	require.NoError(t, err)
	assert.Equal(t, &flashback.UserList{Users: []flashback.User{}}, list)
	assert.Empty(t, list.Deleted())
}

func TestAHeaderCanSayThatAListIsCut(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		header, value string
		cut           bool
	}{
		"a next page":                  {"Link", `<https://h.example/users?page=2>; rel="next"`, true},
		"a next page among others":     {"Link", `</users?page=1>; rel="prev", </users?page=3>; rel=next`, true},
		"several relations":            {"Link", `</users?page=3>; rel="last next"`, true},
		"no next page":                 {"Link", `</next>; rel="prev"`, false},
		"a larger count":               {"X-Total-Count", "2", true},
		"a count that can't be read":   {"X-Total-Count", "many", true},
		"the count of those that came": {"X-Total-Count", "1", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWire(t, says(200, `{"success":true,"data":[{"id":"a"}]}`, tt.header, tt.value))
			list, err := w.client().Organization.Users.List(t.Context())
			assert.Equal(t, tt.cut, errors.Is(err, flashback.ErrIncompleteList), "%v", err)
			assert.Len(t, list.Users, 1)
		})
	}
}

func TestAListMayBeLargerThanOtherResponses(t *testing.T) {
	t.Parallel()
	users := strings.Repeat(`{"id":"user-1","name":"`+strings.Repeat("n", 1000)+`"},`, 3000) + `{"id":"last"}`
	list, err := newWire(t, says(200, `{"success":true,"data":[`+users+`],"total":3001}`)).client().Organization.Users.List(t.Context())
	require.NoError(t, err)
	require.Len(t, list.Users, 3001)
	assert.Equal(t, "last", list.Users[3000].ID)

	w := newWire(t, says(200, strings.Repeat(" ", 64<<20)+`{}`))
	_, err = w.client(flashback.WithAttemptTimeout(0)).Organization.Users.List(t.Context()) // it is slow on a slow machine
	require.ErrorContains(t, err, "larger than the client reads")
	assert.Len(t, w.sent(), 1)
}

func TestARoleIsNamedAsDocumented(t *testing.T) {
	t.Parallel()
	names := map[flashback.Role]string{
		flashback.RoleUser: "USER", flashback.RoleBilling: "BILLING", flashback.RoleWorkspaces: "WORKSPACES",
		flashback.RoleAdministrators: "ADMINISTRATORS", flashback.RoleOwner: "OWNER",
	}
	assert.Equal(t, []flashback.Role{0, 1, 2, 0xfe, 0xff}, []flashback.Role{
		flashback.RoleUser, flashback.RoleBilling, flashback.RoleWorkspaces, flashback.RoleAdministrators, flashback.RoleOwner,
	})
	for role := range flashback.Role(256) {
		want, ok := names[role]
		if !ok {
			want = fmt.Sprintf("0x%02x", int(role))
		}
		assert.Equal(t, want, role.String())

		text, err := json.Marshal(role)
		require.NoError(t, err)
		body := fmt.Sprintf(`{"id":"user-1","orgRole":%s,"orgRoles":[%s]}`, text, text)
		user, err := newWire(t, says(200, body)).client().Organization.Users.Get(t.Context(), "user-1")
		require.NoError(t, err)
		assert.Equal(t, &role, user.OrgRole)
		assert.Equal(t, []flashback.Role{role}, user.OrgRoles)
	}
	assert.Equal(t, "0x03", flashback.Role(3).String())
}

func TestANewUserIsEqualToOneWithTheSameFields(t *testing.T) {
	t.Parallel()
	again := newUser
	again.Password = flashback.NewSecret(newUser.Password.Reveal())
	assert.Equal(t, newUser, again)
	again.Password = flashback.NewSecret("another")
	assert.NotEqual(t, newUser, again)
	text, err := json.Marshal(newUser)
	require.NoError(t, err)
	assert.JSONEq(t, `{"email":"jane@example.com","firstName":"Jane","lastName":"Doe"}`, string(text))
}
