package flashback_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	flashback "github.com/flashbacknetwork/flashback-go"
)

// A Get compares the ID that it was given with the one in the response.
func TestIDsAreTheSameInAnyFormOfAUUID(t *testing.T) {
	t.Parallel()
	const id = "0b7c2d1e-94a5-4b56-8f0d-3d1c2b7a9e4f"
	for _, tt := range []struct {
		name, asked, came string
		same              bool
	}{
		{"the same", "user-1", "user-1", true},
		{"another", "user-1", "user-2", false},
		{"a prefix", "user-1", "user-12", false},
		{"in another case", "user-1", "USER-1", false},
		{"with braces, and no UUID", "user-1", "{user-1}", false},

		{"a UUID", id, id, true},
		{"a UUID in upper case", id, "0B7C2D1E-94A5-4B56-8F0D-3D1C2B7A9E4F", true},
		{"a UUID, asked for in upper case", "0B7C2D1E-94A5-4B56-8F0D-3D1C2B7A9E4F", id, true},
		{"a UUID without dashes", id, "0b7c2d1e94a54b568f0d3d1c2b7a9e4f", true},
		{"a UUID, asked for without dashes", "0b7c2d1e94a54b568f0d3d1c2b7a9e4f", id, true},
		{"a UUID in braces", id, "{0b7c2d1e-94a5-4b56-8f0d-3d1c2b7a9e4f}", true},
		{"a UUID in braces, without dashes, in upper case", id, "{0B7C2D1E94A54B568F0D3D1C2B7A9E4F}", true},

		{"another UUID", id, "0b7c2d1e-94a5-4b56-8f0d-3d1c2b7a9e40", false},
		{"a UUID with a brace that is not closed", id, "{0b7c2d1e-94a5-4b56-8f0d-3d1c2b7a9e4f", false},
		{"a UUID with a brace that is not opened", id, "0b7c2d1e-94a5-4b56-8f0d-3d1c2b7a9e4f}", false},
		{"a UUID with another letter in the place of a brace", id, "{0b7c2d1e-94a5-4b56-8f0d-3d1c2b7a9e4f)", false},
		{"a UUID with dashes in other places", id, "0b7c2d1e9-4a54-b568-f0d3-d1c2b7a9e4f", false},
		{"a UUID with one dash in its place", id, "0b7c2d1e-94a5x4b56x8f0dx3d1c2b7a9e4f", false},
		{"a UUID that lacks a digit", id, "0b7c2d1e-94a5-4b56-8f0d-3d1c2b7a9e4", false},
		{"digits that are none", "0b7c2d1e94a54b568f0d3d1c2b7a9e4z", "0B7C2D1E94A54B568F0D3D1C2B7A9E4Z", false},
		{"fewer digits than a UUID has", "0b7c2d1e", "0B7C2D1E", false},
		{"a letter that only folds to a digit of a UUID", id, "0b7c2d1e-94a5-4b56-8f0d-3d1c2b7a9e4\u0192", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWire(t, says(http.StatusOK, fmt.Sprintf(`{"success":true,"data":{"id":%q}}`, tt.came)))
			got, err := w.client().Organization.Users.Get(t.Context(), tt.asked)
			if tt.same {
				require.NoError(t, err)
				assert.Equal(t, tt.came, got.ID)
				return
			}
			require.ErrorIs(t, err, flashback.ErrUnexpectedResponse)
			assert.ErrorContains(t, err, "another user")
		})
	}
}

// The read-back of a Create compares the address that was asked for with those in the list.
func TestAddressesAreTheSameButForTheCaseOfASCIILetters(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, asked, listed string
		same                bool
	}{
		{"the same", "mike@example.com", "mike@example.com", true},
		{"in upper case", "mike@example.com", "MIKE@EXAMPLE.COM", true},
		{"asked for in upper case", "Mike@Example.COM", "mike@example.com", true},
		{"another", "mike@example.com", "mika@example.com", false},
		{"a Kelvin sign", "mike@example.com", "mi\u212ae@example.com", false},
		{"a Kelvin sign, asked for", "mi\u212ae@example.com", "mike@example.com", false},
		{"a long s", "susan@example.com", "\u017fusan@example.com", false},
		{"a dotted i", "ivan@example.com", "\u0130van@example.com", false},
		{"an umlaut", "j\u00f6rg@example.com", "j\u00f6rg@example.com", true},
		{"an umlaut in upper case", "j\u00f6rg@example.com", "J\u00d6RG@example.com", false},
		{"an umlaut of two characters", "j\u00f6rg@example.com", "jo\u0308rg@example.com", false},
		{"with space around it", "mike@example.com", " mike@example.com ", false},
		{"without a dot", "some.one@example.com", "someone@example.com", false},
		{"brackets are no letters", "mike[@example.com", "mike{@example.com", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			const user = `{"id":"%s","email":%q,"name":"Mike","lastName":"Doe","orgRole":0,"deletedAt":null}`
			w := newWire(t, lost,
				says(http.StatusOK, fmt.Sprintf(`{"success":true,"data":[`+user+`]}`, "listed", tt.listed)),
				says(http.StatusCreated, fmt.Sprintf(`{"success":true,"data":`+user+`}`, "created", tt.asked)))
			got, err := w.client().Organization.Users.Create(t.Context(), flashback.NewUser{
				Email: tt.asked, FirstName: "Mike", LastName: "Doe", Password: flashback.NewSecret("Passw0rd"),
			})
			require.NoError(t, err)
			assert.Equal(t, map[bool]string{true: "listed", false: "created"}[tt.same], got.ID)
		})
	}
}
