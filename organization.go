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

	caller caller
}

// The path of a user's endpoints begins with that of an organization whose ID
// would be "users".
var (
	getOrganization = operation{
		Op: call.Op{
			Name: "organization.get", Method: http.MethodGet, Path: "/organization/{id}",
			Rule: verdict.Rule{Repeat: verdict.Safe}, Read: readOrganization, Required: true,
		},
		expects: "the organization", taken: "users",
	}
	updateOrganization = operation{
		Op: call.Op{
			Name: "organization.update", Method: http.MethodPut, Path: "/organization/{id}",
			Rule: verdict.Rule{Repeat: verdict.Idempotent}, Read: readOrganization,
			Documented: map[string]error{"No valid fields to update": ErrNoFields},
		},
		expects: "an envelope", taken: "users",
	}
)

func readOrganization(body []byte, in *call.Input) (any, error) {
	org := organizationOf(member(body, "data"))
	switch {
	case org.ID == "":
		return nil, errors.New("no organization that has an ID in its data")
	case !sameID(org.ID, in.ID):
		return nil, call.MisfitError{What: fmt.Sprintf("another organization, %q", org.ID)}
	}
	return &org, nil
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
	outcome, err := s.call().do(ctx, &getOrganization, call.Input{ID: orgID}, nil)
	org, _ := outcome.Found.(*Organization)
	return org, err
}

// Update changes an organization, as [UsersService.Update] does a user. The caller needs the
// ADMINISTRATORS role or higher.
func (s *OrganizationService) Update(ctx context.Context, orgID string, update OrganizationUpdate) (*Organization, error) {
	if update == (OrganizationUpdate{}) {
		return nil, invalid(updateOrganization.Name, orgID, errNothingToUpdate)
	}
	outcome, err := s.call().do(ctx, &updateOrganization, call.Input{ID: orgID}, update)
	if err != nil {
		return nil, err
	}
	if org, ok := outcome.Found.(*Organization); ok {
		return org, nil
	}
	org := &Organization{ID: orgID}
	set(&org.Name, update.Name)
	set(&org.Address1, update.Address1)
	set(&org.Address2, update.Address2)
	set(&org.City, update.City)
	set(&org.Zipcode, update.Zipcode)
	set(&org.Phone, update.Phone)
	set(&org.State, update.State)
	set(&org.Country, update.Country)
	set(&org.Website, update.Website)
	set(&org.IsBusiness, update.IsBusiness)
	set(&org.MFAEnforced, update.MFAEnforced)
	return org, nil
}

// call is nil for a service that NewClient has not made.
func (s *OrganizationService) call() caller {
	if s == nil {
		return nil
	}
	return s.caller
}
