// Package flashbacktest is a fake Flashback backend for tests: a real HTTP server
// on a loopback connection that keeps users and tokens, answers as the API's
// documentation says, and fails as networks and proxies do.
//
//	func TestMine(t *testing.T) {
//		backend := flashbacktest.New(t)
//		backend.AddDeletedUser("user-1")
//		backend.Script(flashbacktest.LoseResponse(flashbacktest.CutResponse))
//		activation, err := backend.Client().Organization.Users.Activate(t.Context(), "user-1")
//		// err is nil, activation.Recovered is true, and the user is active.
//	}
//
// It plays all calls of package flashback.
//
// # Answers
//
// The answers to activate are the documented ones: 200, 400, 403 and 404. Those to
// the other calls have the form that the TypeScript types say (Get answers a bare
// user), and nobody has documented what refuses them. So their refusals are of this
// package's own making, and nothing should rest on their status or words: a caller
// below RoleWorkspaces may change no user and below RoleAdministrators no organization
// (403), a user who is deleted can't be deleted again (400), a new user needs an e-mail
// address (400), and two users may have the same. The same goes for the answers to a
// bad token (401), another path (404), another method (405), and a request over the
// rate limit (429).
//
// # Faults
//
// A [Fault] says what happens to one request in place of being handled: it may be
// applied or not, be responded to with anything, and have its response lost in several
// ways. [Backend.Script] lists the faults of the next requests, [Backend.ScriptFor]
// those of the next requests about one user or organization, and [Backend.Decide] finds the fault of
// each request by a function.
package flashbacktest
