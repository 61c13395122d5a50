package flashback_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	flashback "github.com/flashbacknetwork/flashback-go"
)

// What the calls send, and what they make of documented responses, is in users_test.go,
// with those of the users.

func TestAnOrganizationIsReadAsDocumented(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		name   string
		object string
		want   flashback.Organization
	}{
		{
			"all fields", `{"id":"o","name":"n","domain":"d","address1":"1","address2":"2","city":"c","zipcode":"z","phone":"p","state":"s","country":"y","website":"w",
			"deletedAt":"2026-11-24T00:00:00.000Z","reposDisabled":true,"is_business":true,"mfaEnforced":true,"more":[]}`,
			flashback.Organization{
				ID: "o", Name: "n", Domain: "d", Address1: "1", Address2: "2", City: "c", Zipcode: "z", Phone: "p", State: "s", Country: "y", Website: "w",
				ReposDisabled: true, IsBusiness: true, MFAEnforced: true, DeletedAt: &at,
			},
		},
		{"nulls", `{"id":"o","name":"n","address1":null,"deletedAt":null,"mfaEnforced":null}`, flashback.Organization{ID: "o", Name: "n"}},
		{"other types", `{"id":"o","name":["n"],"city":5,"is_business":"true","mfaEnforced":1,"deletedAt":"soon"}`, flashback.Organization{ID: "o", DeletedAt: &time.Time{}}},
		{"keys in other letters", `{"id":"o","Name":"n","isBusiness":true,"mfaenforced":true}`, flashback.Organization{ID: "o"}},
		{"a field twice: the last counts", `{"id":"a","name":"m","id":"o","name":"n"}`, flashback.Organization{ID: "o", Name: "n"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := newWire(t, says(200, `{"success":true,"data":`+tt.object+`}`)).client().Organization.Get(t.Context(), "o")
			require.NoError(t, err)
			assert.Equal(t, &tt.want, got)

			var decoded flashback.Organization
			require.NoError(t, json.Unmarshal([]byte(tt.object), &decoded))
			assert.Equal(t, tt.want, decoded)

			text, err := json.Marshal(tt.want)
			require.NoError(t, err)
			var again flashback.Organization
			require.NoError(t, json.Unmarshal(text, &again))
			if tt.want.DeletedAt == nil || !tt.want.DeletedAt.IsZero() {
				assert.Equal(t, tt.want, again, "what is encoded is decoded as it was")
			}
		})
	}
	require.Error(t, json.Unmarshal([]byte(`[]`), new(flashback.Organization)))
}

func TestBadInputAboutAnOrganizationIsRefused(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	org := w.client().Organization
	ctx := t.Context()
	change := flashback.OrganizationUpdate{City: new("")}
	for name, tt := range map[string]struct {
		call func() error
		says string
	}{
		"no ID":                    {func() error { _, err := org.Get(ctx, ""); return err }, "ID is empty"},
		"the ID of the users":      {func() error { _, err := org.Get(ctx, "users"); return err }, "another endpoint"},
		"an update of the users":   {func() error { _, err := org.Update(ctx, "users", change); return err }, "another endpoint"},
		"an ID that is a path":     {func() error { _, err := org.Get(ctx, ".."); return err }, "path segment"},
		"an ID with a soft hyphen": {func() error { _, err := org.Get(ctx, "org\u00ad-1"); return err }, "invisible"},
		"an update of nothing":     {func() error { _, err := org.Update(ctx, "o", flashback.OrganizationUpdate{}); return err }, "set a field"},
		"a name that is not UTF-8": {func() error {
			_, err := org.Update(ctx, "o", flashback.OrganizationUpdate{Name: new("\xff")})
			return err
		}, "UTF-8"},
		"a nil context":               {func() error { _, err := org.Get(nil, "o"); return err }, "context.Background()"}, //nolint:staticcheck // It is the subject.
		"the zero value of a service": {func() error { _, err := new(flashback.OrganizationService).Get(ctx, "o"); return err }, "NewClient"},
		"a nil service":               {func() error { _, err := (*flashback.OrganizationService)(nil).Update(ctx, "o", change); return err }, "NewClient"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := tt.call()
			require.ErrorContains(t, err, tt.says)
			assert.Equal(t, []string{"ErrInvalidArgument"}, kinds(err))
			assert.Zero(t, asError(t, err).Attempts)
		})
	}
	assert.Empty(t, w.sent())
}
