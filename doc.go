// Package flashback is the Go client of the Flashback API, for an organization and
// its users. It retries what is transient and tells you correctly whether a call was
// applied, even if a response was lost.
//
//	activation, err := client.Organization.Users.Activate(ctx, userID)
//	switch {
//	case errors.Is(err, flashback.ErrOutcomeUnknown):
//		// The user may be active: call again, or look with Get.
//	case err != nil:
//		// This call did not activate the user.
//	default:
//		// The user is active.
//	}
//
// [Client.Do] calls endpoints that have no method here.
// Package [github.com/flashbacknetwork/flashback-go/flashbacktest] is a fake backend
// for your tests.
//
// # Attempts
//
// An attempt is one HTTP request. Each is judged twice: may the server have applied
// it, and can another attempt help? What was never sent was not applied, and a 4xx (but
// 408) says the same. A lost response, a 5xx, or a 2xx that is not the API's (a web
// page, cut JSON) leaves it open. The whole table is in docs/verdicts.md.
//
// One that may have been applied is ambiguous until something settles it.
// What happens then depends on the operation:
//
//	List, Get          repeated (safe); the outcome is never unknown
//	Update             repeated (idempotent)
//	Activate           repeated; "User is not deleted" then means success
//	Delete             a read-back with Get, also after a 400, 404, 409 or 410;
//	                   repeated if the user is not deleted
//	Create             a read-back with List; repeated if the user is not there
//	ResendInvitation   not repeated; the outcome is unknown
//	Do                 as Request.Repeat says
//
// # Verdicts
//
// A call ends in one of four ways:
//
//   - Success.
//   - Success with Recovered set ([Activation], [Deletion], [WithResponse]): an attempt
//     was ambiguous, and the user was then found to be as asked for. Most likely this call
//     did it.
//   - A definite failure: no attempt was applied.
//   - A failure with [Error].OutcomeUnknown set: an attempt may have been applied, and
//     nothing settled it. It matches [ErrOutcomeUnknown].
//
// # Waiting
//
// A call has up to 5 attempts of up to 30 s each, with jittered exponential backoff or
// the server's Retry-After in between. A wait that would outlast the context's deadline is
// not begun. A 429 makes all calls of the operation wait. See the options.
//
// # Sessions
//
// An access token lives for an hour. For programs that run longer, [Login] and [Resume]
// make a [Session], which renews it: see [WithSession]. Keep its tokens with [OnRenew] or
// [WithTokenStore]. If the server refuses the refresh token, calls match [ErrSessionLost]:
// log in again.
//
// # Where this holds
//
// Each row adds one thing to the first:
//
//	one client, and a network that loses,       every verdict is right
//	cuts or delays anything
//	a proxy that repeats GET, PUT and DELETE    the same, but for the gaps below
//	(nginx by default)
//	a replica that lags, a cache                every success is true, but for the gaps
//	                                            below
//	others who change the same user             a definite failure was not applied; a
//	                                            success was so at some moment of the call
//	hundreds of workers and a rate limit        a call fails only if it is out of time or
//	                                            attempts, or told to wait too long
//
// The gaps:
//
//   - If the backend hides deleted users (Get answers 404) and a proxy repeats a DELETE,
//     a second response 404 is reported as a definite [ErrNotFound].
//   - If an Update takes the caller's own rights away and a proxy repeats it, a second
//     response 403 is reported as a definite [ErrForbidden].
//   - Read-backs ask for Cache-Control: no-cache. From a replica or a cache that responds
//     with an old state even so, Activate and Create may report success for it; Delete
//     only if a cache also hides the age of its response.
//
// # What is not promised
//
//   - That nobody else acts in between: a retry may undo another's change. Recovered does
//     not say who made a change; Delete takes one up to 2 s older than the call for its
//     own.
//   - That a proxy does not repeat a POST, or that a request that timed out is not
//     applied later.
//   - That a user whom Create finds by a read-back is new: one with the same address,
//     names and role may have been there before, with another password.
//   - What is not known of the API: how it answers a second delete and a duplicate
//     e-mail address, and whether List has pages.
//   - That the API keeps its documented messages. They are compared without case, outer
//     space and final full stop.
//
// # Security
//
// Tokens and passwords are redacted in errors, logs and prints, also where the server
// echoes them (a token shorter than 8 bytes only after "Bearer"), and so are refresh
// tokens. Redirects are not followed. An ID is sent as one escaped segment of the path; "",
// ".", ".." and control or invisible characters in it are refused, as is any text that is
// not UTF-8.
//
// # Sources
//
// What each call rests on: the API's documentation, the types of its public TypeScript
// client, or HTTP (RFC 9110 and its relatives).
//
//	List, Get, Update, Delete, Activate    documented
//	Organization.Get, Organization.Update  documented; the fields of the update: types
//	Create                                 documented; its failures are not known
//	Provider, AuthMethod of NewUser        types
//	ResendInvitation                       types
//	Login, and refreshing                  documented; the failures of a refresh: not known
//	Logout, ListTokens, RevokeToken,       types
//	VerifyMFA, MFARequiredError
//	204, 401, 408, 409, 422, 425, 429,     HTTP
//	501 to 599, Retry-After
//
// The two newest Go releases are supported.
package flashback
