// Package flashbacktest is a fake Flashback backend for tests: a real HTTP server
// on a loopback connection that keeps users and tokens, answers as the API's
// documentation says, and fails as networks and proxies do.
//
//	func TestMine(t *testing.T) {
//		backend := flashbacktest.New(t)
//		backend.AddDeletedUser("user-1")
//		backend.Script(flashbacktest.LoseAnswer(flashbacktest.CutAnswer))
//		activation, err := backend.Client().Organization.Users.Activate(t.Context(), "user-1")
//		// err is nil, activation.Recovered is true, and the user is active.
//	}
//
// # Answers
//
// The answers to activate are the documented ones: 200, 400, 403 and 404. Those to a
// bad token (401), to another path (404) or method (405), and to a request over
// the rate limit (429) are not documented; their bodies are envelopes of this
// package's own making. Nothing should rest on the words in those.
//
// # Faults
//
// A [Fault] says what happens to one request in place of being handled: it may take
// effect or not, be answered with anything, and have its answer lost in several
// ways. [Backend.Script] lists the faults of the next requests, [Backend.ScriptFor]
// those of the next requests about one user, and [Backend.Decide] finds the fault of
// each request by a function.
package flashbacktest
