// Package flashback is the Go client of the Flashback API, for an organization and its
// users. It retries what is transient and tells correctly whether a call was applied, even
// if a response was lost.
//
//	activation, err := client.Organization.Users.Activate(ctx, userID)
//	switch {
//	case err == nil:
//		// The user is active.
//	case errors.Is(err, flashback.ErrOutcomeUnknown):
//		// The user may be active: call again, or Get the user.
//	default:
//		// This call did not activate the user.
//	}
//
// [Client.Do] calls the endpoints that have no method here. A [Session] logs in and renews
// access tokens, for programs that run for longer than the hour that a token lives. Package
// [github.com/flashbacknetwork/flashback-go/flashbacktest] is a fake backend for your tests.
//
// # Terms
//
//   - An attempt is one HTTP request of a call, and what came of it. The client retries: it
//     sends the request again, in another attempt of the same call.
//   - A request is applied if the server carried it out.
//   - An attempt is ambiguous if its request may have been applied and nothing tells: the
//     request was sent, and no complete response came, or a 408, a 5xx, or a 2xx that is not
//     the API's, such as a web page.
//   - A request is safe if it changes nothing, and idempotent if a retry changes no more than
//     the first request (RFC 9110, section 9.2).
//   - A read-back is a GET that looks whether an ambiguous attempt was applied. It settles
//     the attempt if it finds out.
//   - An envelope is the form of the API's responses: a JSON object with a boolean "success",
//     a "message" (a string or a list of strings), or both; in a 4xx or 5xx an "error" or
//     "error_code" will do.
//
// # Verdicts
//
// Every call ends in one of four ways:
//
//   - Success.
//   - Success with Recovered set ([Activation], [Deletion], [WithResponse]): an attempt was
//     ambiguous, and then things were found to be as asked for.
//   - A definite failure: no attempt was applied.
//   - A failure that matches [ErrOutcomeUnknown]: an attempt was ambiguous, and nothing
//     settled it.
//
// The verdict is right on a network that loses, cuts or delays anything, and behind a proxy
// that repeats GET, PUT and DELETE. The documentation of each method says what settles its
// ambiguous attempts. docs/verdicts.md has the tables, and the gaps that remain.
//
// # What is not promised
//
//   - That nobody else acts in between. A retry may undo another's change, and Recovered does
//     not say whose the change was.
//   - That a proxy does not repeat a POST. Varnish does, with one that has no body.
//   - That a request that timed out is not applied later.
//   - That a user whom Create finds by a read-back was not there before.
//   - That the API keeps its documented messages.
//
// # Security
//
// Access tokens, refresh tokens, passwords and cookies are redacted in errors, logs and
// prints, also where the server echoes them. A token of less than 8 bytes is redacted only
// after "Bearer". Redirects are not followed. An ID is escaped as one segment of the path.
// An ID that is empty, "." or "..", or has control or invisible characters, is refused, and so
// is any text that is not UTF-8.
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
//	Workspaces                             documented; Default and DeletedAt: types
//	Profile, Users.Role                    documented; IsBusiness: types
//	Users.SetRole                          types; its failures are not known
//	ResendInvitation, Logout, Verify,      types
//	MFAType
//	204, 401, 408, 409, 422, 425, 429,     HTTP
//	501 to 599, Retry-After
package flashback
