package flashback

import (
	"context"
	"encoding/json"
	"net/http"
	"time"
)

// OrganizationService holds the calls on the organization of the token's user.
// [NewClient] makes it.
type OrganizationService struct {
	// Users holds the calls on the organization's users.
	Users *UsersService

	client *Client
}

// The path of a user's endpoints begins with that of an organization whose ID
// would be "users".
var (
	getOrganization = operation{
		name: "organization.get", method: http.MethodGet, path: "/organization/{id}", taken: "users",
		repeat: reads, data: readOrganization,
	}
	updateOrganization = operation{
		name: "organization.update", method: http.MethodPut, path: "/organization/{id}", taken: "users",
		repeat: sets, data: dataOf[Organization],
	}
)

func readOrganization(a *answer) any {
	if org, ok := dataOf[Organization](a).(*Organization); ok && org.ID != "" {
		return org
	}
	return nil
}

// Organization is an organization. Its fields rest on the TypeScript types. What an
// answer lacks, or has as null or in another form than the types say, is the zero
// value here.
type Organization struct {
	ID            string `json:"id"`
	Name          string `json:"name"`
	Domain        string `json:"domain"`
	Address1      string `json:"address1"`
	Address2      string `json:"address2"`
	City          string `json:"city"`
	Zipcode       string `json:"zipcode"`
	Phone         string `json:"phone"`
	State         string `json:"state"`
	Country       string `json:"country"`
	Website       string `json:"website"`
	ReposDisabled bool   `json:"reposDisabled"`
	IsBusiness    bool   `json:"is_business"`
	MFAEnforced   bool   `json:"mfaEnforced"`
	// DeletedAt is nil for an organization that is not deleted. It is the zero time if
	// the answer has something there that can't be read as a date.
	DeletedAt *time.Time `json:"deletedAt"`
}

// UnmarshalJSON reads an organization. A field in another form than the TypeScript
// types say is no error.
func (o *Organization) UnmarshalJSON(data []byte) error {
	type fields Organization // without this method
	*o = Organization{}
	wire := struct {
		*fields

		DeletedAt any `json:"deletedAt"`
	}{fields: (*fields)(o)}
	err := lenient(json.Unmarshal(data, &wire))
	o.DeletedAt = readDate(wire.DeletedAt)
	return err
}

// OrganizationUpdate is what [OrganizationService.Update] changes. A field that is
// nil is left as it is, and one that points to "" is made empty; [Ptr] makes the
// pointers. The fields rest on the TypeScript types.
type OrganizationUpdate struct {
	Name        *string `json:"name,omitempty"`
	Address1    *string `json:"address1,omitempty"`
	Address2    *string `json:"address2,omitempty"`
	City        *string `json:"city,omitempty"`
	Zipcode     *string `json:"zipcode,omitempty"`
	Phone       *string `json:"phone,omitempty"`
	State       *string `json:"state,omitempty"`
	Country     *string `json:"country,omitempty"`
	Website     *string `json:"website,omitempty"`
	IsBusiness  *bool   `json:"is_business,omitempty"`
	MFAEnforced *bool   `json:"mfaEnforced,omitempty"`
}

// Get returns the organization with orgID. The call rests on the TypeScript types.
//
// Reading changes nothing, so it is repeated freely and its outcome is never
// unknown. Every error is an [*Error]; an answer without an organization, which the
// types allow, matches [ErrUnexpectedResponse].
func (s *OrganizationService) Get(ctx context.Context, orgID string) (*Organization, error) {
	done, err := s.client.do(ctx, &getOrganization, input{id: orgID})
	return dataIn[Organization](done), err
}

// Update changes the organization with orgID and returns the organization that the
// answer has; without one in the answer, which the types allow, that is an empty
// Organization. The call rests on the TypeScript types.
//
// Setting the same fields again is harmless, so it is repeated. Every error is an
// [*Error]. If its OutcomeUnknown is set, it matches [ErrOutcomeUnknown]: the
// organization may be changed by now; call Update again. An update without a field
// matches [ErrInvalidArgument], and nothing is sent.
func (s *OrganizationService) Update(ctx context.Context, orgID string, update OrganizationUpdate) (*Organization, error) {
	if update == (OrganizationUpdate{}) {
		return nil, invalid(updateOrganization.name, orgID, errNothingToUpdate)
	}
	done, err := s.client.do(ctx, &updateOrganization, input{id: orgID, body: update})
	return dataIn[Organization](done), err
}
