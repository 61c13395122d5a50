package flashbacktest

import (
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"strconv"
	"time"
)

// Loss is a way to lose a response.
//
// RefuseConnection is for clients in memory ([Backend.Client]) alone: the request is
// not received, and no Delay is waited for. Over a socket it has come too
// far already, and is treated like CutResponse, with a panic in the server's log.
//
// Stall and StallBody last until the client gives up: a client of package flashback ends
// the attempt after its attempt timeout, which is 30 seconds unless
// [flashback.WithAttemptTimeout] says otherwise, or when the call's context ends. A test does
// not wait for that in a bubble of [testing/synctest]; outside of one, it is best to set a
// short attempt timeout: backend.Client(flashback.WithAttemptTimeout(50 * time.Millisecond)).
type Loss int

// The ways to lose a response.
const (
	Nothing          Loss = iota // the response arrives
	CutResponse                  // the connection is closed before the first byte
	CutBody                      // the connection is closed in the middle of the body
	ResetConnection              // the connection is reset before the first byte
	Stall                        // nothing comes, and the connection stays open until the client gives up
	StallBody                    // nothing comes after the first half of the body, until the client gives up
	RefuseConnection             // there is no connection, and nothing is sent
)

// Fault is what the backend does with one request in place of handling it. The
// zero Fault is none: the request is handled.
type Fault struct {
	// Apply applies the request before anything else is done with it. A request with a
	// fault that has a Status or a Lose is not applied unless Apply is set.
	Apply bool
	// Status, Header and Body are the response; with a Status of 0 it is the
	// backend's own. A status that no response has (all but 101 and 200 to 999) panics
	// when it is scripted, or when the function of [Backend.Decide] returns it.
	Status int
	Header http.Header
	Body   string
	// Lose is how the response is lost.
	Lose Loss
	// Delay is waited for before the response.
	Delay time.Duration

	early []response // the informational ones of a handler
}

// mustBeStatus panics for what net/http does not send as the status of a response.
func mustBeStatus(status int) {
	if status != http.StatusSwitchingProtocols && (status < 200 || status > 999) {
		panic(fmt.Sprintf("flashbacktest: %d is no status of a response", status))
	}
}

// check panics for a fault that can't be played.
func (f Fault) check() {
	if f.Status != 0 {
		mustBeStatus(f.Status)
	}
}

func (f Fault) applies() bool {
	return f.Lose != RefuseConnection && (f.Apply || f.Status == 0 && f.Lose == Nothing)
}

// None is no fault: a place in a script where the request is handled.
func None() Fault { return Fault{} }

// Drop closes the connection before the request is applied.
func Drop() Fault { return Fault{Lose: CutResponse} }

// Refuse refuses the connection, so that the request is never sent. It is for
// clients in memory; see [Loss].
func Refuse() Fault { return Fault{Lose: RefuseConnection} }

// LoseResponse applies the request and then loses the response.
func LoseResponse(how Loss) Fault { return Fault{Apply: true, Lose: how} }

// Respond responds in place of the backend; the request is not applied. A refusal of the
// API has a body such as {"success":false,"message":"Forbidden"}. It panics for a status that
// no response has, such as 0.
func Respond(status int, body string) Fault {
	mustBeStatus(status)
	return Fault{Status: status, Body: body}
}

// ApplyThenRespond applies the request and then gives another response than
// the backend's own, such as a 500. It panics like [Respond].
func ApplyThenRespond(status int, body string) Fault {
	mustBeStatus(status)
	return Fault{Apply: true, Status: status, Body: body}
}

// RateLimited responds with a 429 and a Retry-After, in seconds, rounded up.
func RateLimited(after time.Duration) Fault {
	return Fault{
		Status: http.StatusTooManyRequests,
		Header: http.Header{"Content-Type": {"application/json"}, "Retry-After": {strconv.Itoa(int(math.Ceil(after.Seconds())))}},
		Body:   `{"success":false,"message":"Too many requests"}`,
	}
}

// Script plays faults, one a request, on the next requests.
func (b *Backend) Script(faults ...Fault) { b.ScriptFor("", faults...) }

// ScriptFor plays faults, one a request, on the next requests with the ID in their
// path: those about that user, organization or what else a test serves. They come
// before those of [Backend.Script].
func (b *Backend) ScriptFor(id string, faults ...Fault) {
	for _, fault := range faults {
		fault.check()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, fault := range faults {
		fault.Header = fault.Header.Clone()
		b.scripts[id] = append(b.scripts[id], fault)
	}
}

// UnplayedFaults returns the scripted faults that no request has met yet, by the ID that
// they were scripted for, which is "" for those of [Backend.Script]. None is no fault and is
// left out. A test that scripts a fault for a wrong ID, or more faults than its code makes
// requests, finds them here. [Backend.Reset] forgets them.
func (b *Backend) UnplayedFaults() map[string][]Fault {
	b.mu.Lock()
	defer b.mu.Unlock()
	unplayed := map[string][]Fault{}
	for id, script := range b.scripts {
		for _, fault := range script {
			if fault.Status != 0 || fault.Lose != Nothing || fault.Delay != 0 {
				fault.Header = fault.Header.Clone()
				unplayed[id] = append(unplayed[id], fault)
			}
		}
	}
	return unplayed
}

// Decide asks decide for the fault of each request for which no script has one.
// The calls come one at a time, and must not call the backend.
func (b *Backend) Decide(decide func(r *http.Request) Fault) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.decide = decide
}

// deliver sends the response, or loses it.
func (f Fault) deliver(w http.ResponseWriter, r *http.Request) {
	if f.Delay > 0 {
		select {
		case <-time.After(f.Delay):
		case <-r.Context().Done():
		}
	}
	if f.Status != 0 && (f.Lose == Nothing || f.Lose == CutBody || f.Lose == StallBody) {
		for _, informational := range f.early {
			maps.Copy(w.Header(), informational.header)
			w.WriteHeader(informational.status)
			for key := range informational.header {
				delete(w.Header(), key) // the handler may have taken it back
			}
		}
		header := w.Header()
		maps.Copy(header, f.Header.Clone())
		length := len(f.Body)
		if f.Lose != Nothing {
			header.Set("Content-Length", strconv.Itoa(max(length, 1))) // an empty body can be cut too
			length /= 2
		}
		w.WriteHeader(f.Status)
		_, _ = io.WriteString(w, f.Body[:length]) // a client that has gone away is no concern
		_ = http.NewResponseController(w).Flush()
	}
	switch f.Lose {
	case Nothing:
		return
	case Stall, StallBody:
		<-r.Context().Done()
	case ResetConnection:
		if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
			if resets, ok := conn.(interface{ SetLinger(sec int) error }); ok {
				_ = resets.SetLinger(0) // so that Close resets
			}
			_ = conn.Close()
			return
		}
	case RefuseConnection:
		panic("flashbacktest: RefuseConnection is for clients in memory; see Backend.Client")
	case CutResponse, CutBody:
	}
	panic(http.ErrAbortHandler) // net/http closes the connection, or resets the HTTP/2 stream
}
