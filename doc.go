// Package flashback is the Go client of the Flashback platform's API, for the users
// of an organization. Its calls retry what is transient and make one verdict of all
// their attempts: a call that took effect is not reported as a failure because an
// answer was lost.
//
//	client, err := flashback.NewClient(os.Getenv("FLASHBACK_ACCESS_TOKEN"))
//	if err != nil {
//		log.Fatal(err)
//	}
//	activation, err := client.Organization.Users.Activate(ctx, userID)
//	switch {
//	case errors.Is(err, flashback.ErrOutcomeUnknown):
//		// The user may be active by now: call again, or look.
//	case err != nil:
//		// The user was not activated by this call.
//	default:
//		// The user is active; activation says how that came about.
//	}
//
// Make one [Client] and keep it; it is safe for concurrent use. Package
// [github.com/flashbacknetwork/flashback-go/flashbacktest] is a fake backend for
// your own tests.
//
// # Retries and verdicts
//
// If an attempt to activate a user takes effect and its answer is lost, the next one
// is answered 400 "User is not deleted". Read alone, that answer reports a failure. So
// each attempt is judged twice: may it have taken effect, and may another one help?
//
//   - Never sent (dialing, DNS, the TLS handshake or the proxy failed): no effect;
//     tried again, unless the server's certificate or its lack of TLS is the reason.
//   - Sent, but no whole answer came (the connection broke, the time was up, the
//     body was cut or is larger than 1 MiB; a list's, 64 MiB): may have taken effect;
//     tried again.
//   - 2xx with an envelope that does not say "success": false: success. An envelope
//     is a JSON object with a boolean "success", a string "message", or both.
//   - 2xx with anything else but "success": false (a web page, half an object,
//     nothing, a "success" that is a text or a number): may have taken effect;
//     tried again.
//   - 408, and every 5xx but 501 and 505: may have taken effect; tried again.
//   - 425 and 429: no effect; tried again.
//   - 401: no effect; tried again once if [WithTokenSource] gives another token.
//   - Activate's 400 "User is not deleted": no effect, and not tried again. It is a
//     success if an earlier attempt of the call may have taken effect, else
//     [ErrUserNotDeleted].
//   - Every other answer: no effect, and not tried again.
//
// What is tried again after an attempt that may have taken effect depends on the call:
//
//   - List and Get change nothing: they are repeated, and never unknown.
//   - Update and Activate do no more the second time: they are repeated.
//   - Delete looks at the user first, by a Get: one who is deleted is a success, and
//     for one who is not, the delete is repeated. If the look tells neither, the
//     outcome is unknown. Requests that look count as attempts.
//   - Create and ResendInvitation are not repeated; the outcome is unknown.
//
// A call then ends in one of four ways:
//
//   - Success.
//   - Success with [Activation].Recovered, or [Deletion].Recovered, set: after an
//     attempt that may have taken effect, the user was found to be as asked for. It
//     was most likely this call that did it, but someone else may have done it in
//     between.
//   - A failure that is definite: no attempt can have taken effect.
//   - A failure whose outcome is unknown: an attempt may have taken effect, and no
//     later one settled it. The error has [Error].OutcomeUnknown set and matches
//     [ErrOutcomeUnknown], whatever else it matches.
//
// # Waiting
//
// A call has up to 5 attempts ([WithMaxRetries]). The waits between them double from
// 250 ms up to 8 s, each shortened at random by up to a half ([WithBackoff]). A
// Retry-After, in seconds or as a date, takes the wait's place; if it is longer
// than 60 s ([WithMaxRetryAfter]), the call returns at once with
// [Error].RetryAfter set.
//
// The context bounds the whole call. A wait that would outlast its deadline is not
// begun: the call returns at once, and its error has the last answer and matches
// [context.DeadlineExceeded]. One attempt takes up to 30 s ([WithAttemptTimeout]);
// the error of one that took longer does not match [context.DeadlineExceeded],
// which is kept for the caller's deadline.
//
// All calls of a client share a budget of 100 retries ([WithRetryBudget]). A retry
// takes one, a retried call that succeeds gives back what it took, and one that
// succeeds at once gives back a tenth. Once it is empty, each call has its first
// attempt only: a server that is down gets about one request per call, not five.
//
// # Rate limits
//
// When the server answers 429, the call waits for its Retry-After and then for its turn,
// and the client as a whole finds the rate that the server takes, as TCP does: it begins
// with what the server has taken in the last second, grows fast until the next 429, and
// from then on grows slowly and falls back with each, but not far below what the server
// still takes. All calls of the client, first attempts included, are spaced to that rate
// in the order in which they came; a few at the beginning are not. A call whose turn
// would come after its deadline returns at once, with an error that matches
// [ErrRateLimited] and [context.DeadlineExceeded]. [Error].HeldBack says how long a
// failed call was held back, and the log does for each. After 30 s without a 429, no
// call is held back any more. [WithoutPacing] switches it off.
//
// # Errors
//
// Every failed call returns an [*Error], which has the last answer and the number
// of attempts. With [errors.Is] it matches its kinds:
//
//   - [ErrUserNotDeleted] and [ErrBadRequest]: Activate's 400 "User is not deleted".
//   - [ErrBadRequest]: 400 with any other envelope.
//   - [ErrUnauthorized]: 401.
//   - [ErrForbidden]: 403 with an envelope.
//   - [ErrNotFound]: 404 with an envelope.
//   - [ErrRateLimited]: 429, or the client held the call back too long.
//   - [ErrServer]: any 5xx.
//   - [ErrUnexpectedResponse]: a redirect, another 4xx without an envelope (a
//     proxy's page, a wrong base URL), or a 2xx that is no success or lacks what was
//     to be read.
//   - [ErrOutcomeUnknown]: an attempt may have taken effect.
//   - [ErrRetryBudget]: the client's own budget allowed no retry.
//   - [ErrInvalidArgument]: nothing was sent.
//   - [context.Canceled] or [context.DeadlineExceeded]: the caller's context.
//
// Any other 4xx with an envelope matches none of these, and has its status and
// message in the [*Error]. Where no answer came, StatusCode is 0 and the error tells
// what the network failed with.
//
// # Security
//
// The access token is in no error, no log line and no print of a [Client]; where the
// server echoes it, it is taken out (unless it is shorter than 8 bytes). The same goes
// for the password of a [NewUser], at any length. The token is sent
// over http:// to loopback hosts only, unless [WithPlaintextHTTP] allows more.
// Redirects are not followed. An ID is escaped as one segment of the path; an
// empty one, ".", ".." and one with control characters are refused. Text of the
// server is in [Error.Error] without control characters, and shortened. Nothing is
// logged without [WithLogger].
//
// # Sources
//
// The base URL, Activate's endpoint, its answers with 200, 400, 403, 404 and 500, the
// role it needs and what it does are documented by the API. All else about the other
// calls rests on the TypeScript client's types: they give paths and fields, but
// nothing about failures, so nothing here rests on one. The documentation marks
// "success" and "message" as not required, so an answer may lack either. In 4xx
// and 5xx answers a string "error" stands in for a missing "message"; that rests on
// the TypeScript client's types. 401, 408, 425, 429 and the other 5xx are not
// documented, and are read as HTTP defines them.
//
// # Versions
//
// The two newest Go releases are supported.
package flashback
