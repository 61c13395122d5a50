package flashback

// OrganizationService holds the calls on the organization of the token's user.
// [NewClient] makes it.
type OrganizationService struct {
	// Users holds the calls on the organization's users.
	Users *UsersService
}
