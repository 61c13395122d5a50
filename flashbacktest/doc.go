// Package flashbacktest is a fake Flashback backend for tests. It keeps users,
// organizations, workspaces and access tokens, responds as the API's documentation
// says, and fails as networks and proxies do.
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
// All calls of package flashback are served, and those on workspaces, the caller's
// profile and users' roles; [Backend.Handle] adds others. The
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
//   - Access to a workspace comes from its list of users alone: an OWNER who is not in it
//     has none. A user keeps their place in it when they are deleted, and the last ADMIN may
//     be removed.
//   - The names of workspaces need not be unique. A workspace that is deleted, or of another
//     organization, is to all calls like none, and for the calls about a workspace's users
//     that is the 403.
//   - A target user who is deleted or of another organization is a 404 "Target user not
//     found". Adding a user twice is a 409. An empty name and a body that can't be read are a
//     400 "Invalid workspace", and a role that is none is a 400 "Invalid role".
//   - The 403 "User not associated with any organization" is for a user of another
//     organization, since every user here has one.
//   - What refuses PUT /user/{userId}/role: 403 for a caller without the WORKSPACES role, a user of another
//     organization, and a role (to be given, or of the user) above the caller's own; 404 for
//     nobody; 400 for a reserved role and for the last active OWNER. Its success has the message
//     "User role updated successfully".
//   - The profile has the TypeScript client's isBusiness, which is the organization's;
//     mfaRequired is whether the user has an MFACode.
//   - The documented 500s, and the 404 "User not found" about the caller, are never said: the
//     token of a user who does not exist is a 401. Script them with [Respond].
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
//
// A scripted fault that is never played, such as one for a wrong ID, tests nothing: [New]
// fails its test for it, and [Backend.UnplayedFaults] lists those that are left.
package flashbacktest
