// Package flashback is the Go client of the Flashback API, for an organization and
// its users. It retries what is transient and tells you correctly whether a call was
// applied, even if a response was lost.
//
//	activation, err := client.Organization.Users.Activate(ctx, userID)
//	switch {
//	case errors.Is(err, flashback.ErrOutcomeUnknown):
//		// The user may be active: call again, or Get.
//	case err != nil:
//		// This call did not activate the user.
//	default:
//		// The user is active.
//	}
//
// [Client.Do] calls endpoints that have no method here. A [Session] is for programs that
// run for longer than a token's hour. Package
// [github.com/flashbacknetwork/flashback-go/flashbacktest] is a fake backend for your
// tests.
//
// # Verdicts
//
// An attempt is one HTTP request. What was never sent was not applied, and neither was what
// got a 4xx (but 408). After a lost response, a 5xx, or a 2xx that is not the API's (a web
// page), an attempt is ambiguous: it may have been applied. Each method
// says what settles it, such as a read-back: a GET that looks whether the change is there.
// A call ends in one of four ways:
//
//   - Success.
//   - Success with Recovered set ([Activation], [Deletion], [WithResponse]): an attempt
//     was ambiguous, and things were then found to be as asked for.
//   - A definite failure: no attempt was applied.
//   - A failure that matches [ErrOutcomeUnknown]: nothing settled an ambiguous attempt.
//
// With one client, every verdict is right on a network that loses, cuts or delays anything,
// also through a proxy that repeats GET, PUT and DELETE. With a replica that lags or a
// cache, every success is true. With others who change the same user, a definite failure
// was not applied, and a success was so at some moment of the call. docs/verdicts.md has
// the tables, and the gaps.
//
// # What is not promised
//
// That nobody else acts in between: a retry may undo another's change, and Recovered does
// not say whose a change was. That a proxy does not repeat a POST. That a request that
// timed out is not applied later. That a user whom Create finds by a read-back is new. That
// the API keeps its documented messages.
//
// # Security
//
// Access and refresh tokens and passwords are redacted in errors, logs and prints, also
// where the server echoes them (a token shorter than 8 bytes only after "Bearer").
// Redirects are not followed. An ID is one escaped segment of the path; "", ".", ".." and
// control or invisible characters in it are refused, as is any text that is not UTF-8.
//
// # Sources
//
// What each call rests on: the API's documentation, the types of its TypeScript client, or
// HTTP (RFC 9110 and others).
//
//	List, Get, Update, Delete, Activate    documented
//	Organization.Get, Organization.Update  documented; the fields of the update: types
//	Create                                 documented; its failures are not known
//	Provider, AuthMethod of NewUser        types
//	Login, and refreshing                  documented; the failures of a refresh: not known
//	ResendInvitation, Logout, Verify,      types
//	MFAType
//	204, 401, 408, 409, 422, 425, 429,     HTTP
//	501 to 599, Retry-After
package flashback
