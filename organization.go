package flashback

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/flashbacknetwork/flashback-go/internal/call"
	"github.com/flashbacknetwork/flashback-go/internal/jsonvalue"
	"github.com/flashbacknetwork/flashback-go/internal/verdict"
)

// OrganizationService has the calls on the caller's organization.
type OrganizationService struct {
	Users *UsersService

	connection
}

var (
	getOrganization = endpoint[Organization]{
		op: call.Op{
			Name: "organization.get", Method: http.MethodGet,
			Rule: verdict.Rule{Retry: verdict.Safe}, Required: true,
		},
		path: "/organization/{id}", reserved: "users", expects: "the organization",
		read: readOrganization,
	}
	updateOrganization = endpoint[Organization]{
		op: call.Op{
			Name: "organization.update", Method: http.MethodPut,
			Rule:       verdict.Rule{Retry: verdict.Idempotent},
			Documented: []call.Message{{Text: "No valid fields to update", Kind: ErrNoFields}},
		},
		path: "/organization/{id}", reserved: "users", expects: "an envelope",
		read: readOrganizationData, result: asWanted[Organization],
	}
)

// readOrganizationData reads the organization in the envelope of an update, which is that of
// the call in whatever way the server writes its ID.
func readOrganizationData(r *call.Response, _ *args[Organization]) (*Organization, error) {
	org := organizationOf(member(r.Body, "data"))
	if org.ID == "" {
		return nil, errors.New("no organization that has an ID in its data")
	}
	return &org, nil
}

// readOrganization reads the organization that was asked for.
func readOrganization(r *call.Response, in *args[Organization]) (*Organization, error) {
	org, err := readOrganizationData(r, in)
	if err == nil && !sameID(org.ID, in.id) {
		return nil, call.MismatchError{What: fmt.Sprintf("another organization, %q", org.ID)}
	}
	return org, err
}

// Organization is the caller's organization, read like a [User].
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
	// DeletedAt is as in [User].
	DeletedAt *time.Time `json:"deletedAt"`
}

// UnmarshalJSON is like that of [User].
func (o *Organization) UnmarshalJSON(data []byte) error {
	if jsonvalue.Kind(data) != '{' && jsonvalue.Kind(data) != 'n' {
		return errors.New("flashback: an organization is a JSON object")
	}
	*o = organizationOf(data)
	return nil
}

// organizationOf reads an organization from a JSON object.
func organizationOf(object []byte) Organization {
	var o Organization
	texts := map[string]*string{
		"id": &o.ID, "name": &o.Name, "domain": &o.Domain, "address1": &o.Address1, "address2": &o.Address2, "city": &o.City,
		"zipcode": &o.Zipcode, "phone": &o.Phone, "state": &o.State, "country": &o.Country, "website": &o.Website,
	}
	flags := map[string]*bool{"reposDisabled": &o.ReposDisabled, "is_business": &o.IsBusiness, "mfaEnforced": &o.MFAEnforced}
	for key, value := range jsonvalue.Members(object) {
		if field := texts[string(key)]; field != nil {
			*field, _ = jsonvalue.String(value)
		} else if field := flags[string(key)]; field != nil {
			*field = string(value) == "true"
		} else if string(key) == "deletedAt" {
			o.DeletedAt = readDate(value)
		}
	}
	return o
}

// OrganizationUpdate is like [UserUpdate].
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

// Get returns an organization; its ID is the OrgID of its users. A response with another
// organization is [ErrUnexpectedResponse].
func (s *OrganizationService) Get(ctx context.Context, orgID string) (*Organization, error) {
	return do(ctx, s, &getOrganization, args[Organization]{id: orgID})
}

// Update changes an organization, as [UsersService.Update] does a user. The caller needs the
// ADMINISTRATORS role or higher.
func (s *OrganizationService) Update(ctx context.Context, orgID string, update OrganizationUpdate) (*Organization, error) {
	if update == (OrganizationUpdate{}) {
		return nil, invalid(updateOrganization.op.Name, orgID, errNothingToUpdate)
	}
	org := &Organization{ID: orgID}
	setIfGiven(&org.Name, update.Name)
	setIfGiven(&org.Address1, update.Address1)
	setIfGiven(&org.Address2, update.Address2)
	setIfGiven(&org.City, update.City)
	setIfGiven(&org.Zipcode, update.Zipcode)
	setIfGiven(&org.Phone, update.Phone)
	setIfGiven(&org.State, update.State)
	setIfGiven(&org.Country, update.Country)
	setIfGiven(&org.Website, update.Website)
	setIfGiven(&org.IsBusiness, update.IsBusiness)
	setIfGiven(&org.MFAEnforced, update.MFAEnforced)
	return do(ctx, s, &updateOrganization, args[Organization]{id: orgID, body: update, wanted: org})
}
