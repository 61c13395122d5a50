package flashbacktest

import (
	"maps"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Loss is a way to lose a response.
type Loss int

// The ways to lose a response.
const (
	Nothing         Loss = iota // the response arrives
	CutResponse                 // the connection is closed before the first byte
	CutBody                     // the connection is closed in the middle of the body
	ResetConnection             // the connection is reset before the first byte
	Stall                       // nothing comes, and the connection stays open
	StallBody                   // nothing comes after the first half of the body
)

// Fault is what the backend does with one request in place of handling it. The
// zero Fault is none: the request is handled.
type Fault struct {
	// Apply applies the request before anything else is done with it. A request with a
	// fault that has a Status or a Lose is not applied unless Apply is set.
	Apply bool
	// Status, Header and Body are the response; with a Status of 0 it is the
	// backend's own.
	Status int
	Header http.Header
	Body   string
	// Lose is how the response is lost.
	Lose Loss
	// Delay is waited for before the response.
	Delay time.Duration
}

func (f Fault) applies() bool { return f.Apply || f.Status == 0 && f.Lose == Nothing }

// None is no fault: a place in a script where the request is handled.
func None() Fault { return Fault{} }

// Drop closes the connection before the request is applied.
func Drop() Fault { return Fault{Lose: CutResponse} }

// LoseResponse applies the request and then loses the response.
func LoseResponse(how Loss) Fault { return Fault{Apply: true, Lose: how} }

// Respond responds in place of the backend; the request is not applied.
func Respond(status int, body string) Fault { return Fault{Status: status, Body: body} }

// ApplyThenRespond applies the request and then gives another response than
// the backend's own, such as a 500.
func ApplyThenRespond(status int, body string) Fault {
	return Fault{Apply: true, Status: status, Body: body}
}

// RateLimited answers 429 with a Retry-After, in whole seconds.
func RateLimited(after time.Duration) Fault {
	reply := tooMany(after)
	return Fault{Status: reply.status, Header: reply.header, Body: reply.body}
}

// Script plays faults, one a request, on the next requests.
func (b *Backend) Script(faults ...Fault) { b.ScriptFor("", faults...) }

// ScriptFor plays faults, one a request, on the next requests about the user, or the
// organization, with the ID. They come before those of [Backend.Script].
func (b *Backend) ScriptFor(id string, faults ...Fault) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.scripts[id] = append(b.scripts[id], faults...)
}

// Decide asks decide for the fault of each request for which no script has one.
// The calls come one at a time, and must not call the backend.
func (b *Backend) Decide(decide func(r *http.Request) Fault) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.decide = decide
}

func (b *Backend) nextFault(r *http.Request) Fault {
	for _, key := range []string{subject(r), ""} {
		if script := b.scripts[key]; len(script) > 0 {
			b.scripts[key] = script[1:]
			return script[0]
		}
	}
	if b.decide != nil {
		return b.decide(r)
	}
	return Fault{}
}

// deliver writes the reply, or loses it.
func (b *Backend) deliver(w http.ResponseWriter, r *http.Request, reply *response, fault Fault) {
	if fault.Delay > 0 {
		select {
		case <-time.After(fault.Delay):
		case <-r.Context().Done():
		case <-b.closed:
		}
	}
	if reply != nil && (fault.Lose == Nothing || fault.Lose == CutBody || fault.Lose == StallBody) {
		header := w.Header()
		maps.Copy(header, reply.header)
		length := len(reply.body)
		if fault.Lose != Nothing {
			header.Set("Content-Length", strconv.Itoa(max(length, 1))) // an empty body can be cut too
			length /= 2
		}
		w.WriteHeader(reply.status)
		_, _ = strings.NewReader(reply.body[:length]).WriteTo(w) // a client that has gone away is no concern
		_ = http.NewResponseController(w).Flush()
	}
	switch fault.Lose {
	case Nothing:
		return
	case Stall, StallBody:
		select {
		case <-r.Context().Done():
		case <-b.closed:
		}
	case ResetConnection:
		if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
			if tcp, ok := conn.(*net.TCPConn); ok {
				_ = tcp.SetLinger(0) // so that Close resets
			}
			_ = conn.Close()
			return
		}
	case CutResponse, CutBody:
	}
	panic(http.ErrAbortHandler) // net/http closes the connection, or resets the HTTP/2 stream
}
