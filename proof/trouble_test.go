package proof_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// trouble is what clocks, servers and networks do beside the moves of a schedule. The zero value
// is none.
type trouble struct {
	Delays     []delay         `json:",omitempty"` // of the messages of each request, in turn
	Ahead      time.Duration   `json:",omitempty"` // of the clock of deletedAt, before that of Date
	Nodes      []time.Duration `json:",omitempty"` // the clocks of the nodes that serve the requests in turn
	Normalizes bool            `json:",omitempty"` // the server writes addresses and IDs in its own way
	Age        string          `json:",omitempty"` // of a response to a read that is fresh
	Pages      string          `json:",omitempty"` // the sign of further pages; a page has one user
	Proxy      bool            `json:",omitempty"` // it repeats requests, as in the world of proxies
}

// delay is how long the messages of a request take.
type delay struct{ There, Back time.Duration }

func (t trouble) String() string { return asJSON(t) }

// parsedTrouble is the opposite of String.
func parsedTrouble(text string) (t trouble, err error) {
	err = json.Unmarshal([]byte(text), &t)
	return t, err
}

// ofClocks tells whether the dates of this world leave open when something happened.
func (t trouble) ofClocks() bool { return t.Delays != nil || t.Ahead != 0 || t.Nodes != nil }

// mostAhead is how far the clock that an old deletedAt is by may be ahead of that of a Date.
func (t trouble) mostAhead() time.Duration {
	return t.Ahead - slices.Min(append(slices.Clip(t.Nodes), 0))
}

func (t trouble) delay(request int) delay {
	if len(t.Delays) == 0 {
		return delay{}
	}
	return t.Delays[request%len(t.Delays)]
}

// turn has the next node serve.
func (t trouble) turn(b *backend, request int) {
	if len(t.Nodes) > 0 {
		b.skew = t.Nodes[request%len(t.Nodes)]
	}
}

// writesID is how the server writes an ID.
func (t trouble) writesID(id string) string {
	if !t.Normalizes || !strings.Contains(id, "-4") {
		return id
	}
	return "{" + strings.ToUpper(strings.ReplaceAll(id, "-", "")) + "}"
}

// writesAddress is how the server writes an e-mail address.
func (t trouble) writesAddress(email string) string {
	if !t.Normalizes {
		return email
	}
	return plainAddress(email)
}

// plainID is what the ways to write an ID have in common.
func plainID(id string) string {
	return strings.ToLower(strings.NewReplacer("-", "", "{", "", "}", "").Replace(id))
}

// plainAddress is what the ways to write an address have in common.
func plainAddress(email string) string {
	local, domain, _ := strings.Cut(email, "@")
	local, _, _ = strings.Cut(local, "+")
	domain = strings.Replace(domain, "googlemail.com", "gmail.com", 1)
	return strings.ReplaceAll(local, ".", "") + "@" + domain
}

// The signs of further pages.
const (
	byHasMore = `"hasMore":true`
	byCursor  = `"nextCursor":"2"`
	byLink    = "Link"
	byCount   = "X-Total-Count"
	byTotal   = `"total":"many"`
)

// list is the backend's list, or its first page.
func (b *backend) list() reply {
	if b.Pages == "" {
		return reply{status: 200, body: asJSON(map[string]any{"success": true, "data": b.people, "total": len(b.people)})}
	}
	r := reply{status: 200, body: fmt.Sprintf(`{"success":true,"data":%s}`, asJSON(b.people[:1]))}
	if len(b.people) == 1 {
		return r
	}
	switch b.Pages {
	case byLink:
		r.header = map[string][]string{"Link": {`<https://backend.flashback.tech/organization/users?page=2>; rel="next"`}}
	case byCount:
		r.header = map[string][]string{"X-Total-Count": {fmt.Sprint(len(b.people))}}
	default:
		r.body = strings.TrimSuffix(r.body, "}") + "," + b.Pages + "}"
	}
	return r
}

// Moves of the world of odd responses. What they say is no decision about the request.
var (
	oddSights = []sight{
		{name: "207 results", when: maybe, ambiguous: true, final: true, show: always(207, `{"success":false,"results":[{"success":true},{"success":false}]}`)},
		{name: "200 results", when: maybe, ambiguous: true, final: true, show: always(200, `{"success":false,"message":"1 of 2 failed","results":[{"success":true},{"success":false}]}`)},
		{name: "false and true", when: maybe, ambiguous: true, final: true, show: always(200, `{"success":false,"success":true}`)},
		{name: "499", when: maybe, ambiguous: true, show: always(499, "")},
		{name: "499 page", when: maybe, ambiguous: true, show: always(499, page, "Content-Type", "text/html")},
	}
	oddMoves = movesOf(oddSights)

	// gatewayMoves are those of a gateway one of whose fetches failed.
	gatewayMoves = movesNamed("503 for 2 s", "503", "502 page", "504 page")
)

func movesNamed(names ...string) (found []move) {
	for _, name := range names {
		for _, m := range allMoves {
			if m.name == name && (m.timing == never || m.timing == before) {
				found = append(found, m)
			}
		}
	}
	return found
}
