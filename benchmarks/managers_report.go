package main

import (
	"fmt"
	"strings"
)

// sayManagers writes what came of the SDKs of other platforms.
func (r *results) sayManagers(b *strings.Builder) {
	say := func(format string, args ...any) { fmt.Fprintf(b, format+"\n\n", args...) }

	say("## Beside SDKs that manage users")
	say("These SDKs can't call this platform, and this one not theirs: each makes the call of its own platform that makes a user active, " +
		"against a server that speaks as much of that platform's protocol as the call needs. What the server knows, and the faults, are the same.")
	b.WriteString(table(managers, []string{"version", "call", "response for a user who is active", "source"}, func(i int) []string {
		c := managers[i]
		if c.api == nil {
			return []string{c.version(), "`Users.Activate`", "400 \"User is not deleted\"", "this API's documentation"}
		}
		return []string{c.version(), c.api.call, c.api.again, c.api.source}
	}))
	say("Where a repeat is harmless, a retry makes nobody wrong, and no read-back is needed: that is the merit of the API. "+
		"The real platforms were not called; what they don't document is not played. "+
		"The opt-in `AWS_NEW_RETRIES_2026` is no row: v1.48.0 of aws-sdk-go-v2 made what it switched on the default, and took it away. This is %s.", moduleVersion("github.com/aws/aws-sdk-go-v2"))
	b.WriteString(failuresTable(managers, r.managers))
	say("As in the first table, with %d calls: without the two endings with an empty 200, which is what Cognito responds to a success. "+
		"Each call of these has a client of its own, since 35 failures in a row use up the tokens that AWS's SDK has for retries; "+
		"the dead server and the one 503 in five have one client for all calls. A 500 and a 429 are the platform's own; Cognito's 429 is a 400 with the code `TooManyRequestsException`. "+
		"AWS's adaptive mode waits for no time at all now and then, which never ends in fake time: so its last two columns, and its limits below, are in real time, and what takes minutes is left out.", r.managers[0].verdicts.calls)
	b.WriteString(limitsTable(managers, r.managers))
	say("The limits are those above. Each server says in its platform's own way how long to wait: Okta's in `X-Rate-Limit-Reset`, Auth0's in that (`X-RateLimit-Reset`) and in `Retry-After`, WorkOS's in `Retry-After`, Cognito's not at all.")
	b.WriteString(questions(managers, r.managersHabits))
	say("AWS's SDK signs each request: there, the token is the secret key, which it never sends. What a call costs is not compared: the calls are not the same.")
	say("Where they do better than this SDK:")
	b.WriteString(better(managers, 0, failureMeasures(r.managers, 0)))
	say("And AWS's signatures are better than a bearer token, which whoever reads a request can use: Flashback's API takes no others.")
}

// summarizeManagers is the short form, for the page of the comparison.
func (r *results) summarizeManagers(b *strings.Builder) {
	head := []string{"a repeat of the call", "wrong", "given up", "dead server: requests per call", "one 503 in five: lost", limiteds[0].label() + ": lost"}
	b.WriteString(table(managers, head, func(i int) []string {
		f, repeat, wrong, givenUp := r.managers[i], "harmless", none, none
		if api := managers[i].api; api == nil || api.refusal != nil {
			repeat = "refused"
		}
		if v := f.verdicts; v.calls > 0 {
			wrong, givenUp = percent(v.wrong, v.calls), percent(v.givenUp, v.calls)
		}
		return []string{repeat, wrong, givenUp, ratio(f.dead), percent(f.lost, f.lostCalls), percent(f.limited[0].lost, limiteds[0].calls)}
	}))
	b.WriteString("Each makes the call of its own platform that makes a user active. Where the API makes a repeat harmless, a retry makes nobody wrong.\n\n")
}
