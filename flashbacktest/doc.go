// Package flashbacktest is a fake Flashback backend for tests. It keeps users,
// organizations and access tokens, responds as the API's documentation says, and
// fails as networks and proxies do.
//
//	func TestMine(t *testing.T) {
//		backend := flashbacktest.NewBackend()
//		backend.AddDeletedUser("user-1")
//		backend.Script(flashbacktest.LoseResponse(flashbacktest.CutResponse))
//		activation, err := backend.Client().Organization.Users.Activate(t.Context(), "user-1")
//		// err is nil, activation.Recovered is true, and the user is active.
//	}
//
// [Backend.Client] needs no network, so it works in a bubble of [testing/synctest],
// where an hour of waiting takes no time. [New] serves a backend on a loopback
// connection, for tests that want real sockets.
//
// # Responses
//
// All calls of package flashback are served, and [Backend.Handle] adds others. The
// responses are the documented ones, with their roles and messages. This much is not
// documented and made up here, so nothing should rest on it:
//
//   - The message of a create ends after "User created successfully.", and a refused
//     one has a message alone: 403, 409 for an e-mail address that is taken (in
//     whatever case, by a deleted user too), 400 for one without an e-mail address or
//     with a role that the caller may not give. Names and passwords are not checked.
//   - "Invalid role combination" is said of a role that is reserved, or not below the
//     caller's own, and of a user whose role is not, other than the caller; and where
//     the last active OWNER would be demoted.
//   - The 403 is also for a user of another organization. The organization's update has
//     the same 403 for another organization, and both its calls a 404 for none.
//   - A deleted user is listed and got like any other. A second delete is a 400.
//   - A body that can't be read is a 400 "Invalid user" or "Invalid update".
//   - ResendInvitation's messages, and whatever it refuses.
//   - The 401, which is the one of other calls of the platform; 404 for another path and
//     405 for another method, before the token is looked at; 429.
//   - What refuses a refresh (401 "INVALID_REFRESH_TOKEN"), a code of the second factor
//     (400 "Invalid code"), the calls of a login that waits for one (403) and a refresh
//     token to be revoked (404); the fields of a list of tokens; and that the access
//     tokens of a refresh token live on without it.
//   - The description of a reserved role is "", and that of 0xfe "ADMINISTRATOR".
//
// # Faults
//
// A [Fault] says what happens to one request in place of being handled: it may be
// applied or not, be responded to with anything, and have its response lost in several
// ways. [Backend.Script] lists the faults of the next requests, [Backend.ScriptFor]
// those of the next requests about one ID, and [Backend.Decide] finds the fault of
// each request by a function.
package flashbacktest
