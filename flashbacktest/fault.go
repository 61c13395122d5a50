package flashbacktest

import (
	"maps"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Loss is a way to lose an answer.
type Loss int

// The ways to lose an answer.
const (
	Nothing         Loss = iota // the answer arrives
	CutAnswer                   // the connection is closed before the first byte
	CutBody                     // the connection is closed in the middle of the body
	ResetConnection             // the connection is reset before the first byte
	Stall                       // nothing comes, and the connection stays open
	StallBody                   // nothing comes after the first half of the body
)

// Fault is what the backend does with one request in place of handling it. The
// zero Fault is none: the request is handled.
type Fault struct {
	// Act lets the request take effect before anything else is done with it. A
	// fault with a Status or a Lose does not act unless Act is set.
	Act bool
	// Status, Header and Body are the answer; with a Status of 0 it is the
	// backend's own.
	Status int
	Header http.Header
	Body   string
	// Lose is how the answer is lost.
	Lose Loss
	// Delay is waited for before the answer.
	Delay time.Duration
}

func (f Fault) acts() bool { return f.Act || f.Status == 0 && f.Lose == Nothing }

// None is no fault: a place in a script where the request is handled.
func None() Fault { return Fault{} }

// Drop closes the connection before the request takes effect.
func Drop() Fault { return Fault{Lose: CutAnswer} }

// LoseAnswer lets the request take effect and then loses the answer.
func LoseAnswer(how Loss) Fault { return Fault{Act: true, Lose: how} }

// Answer answers in place of the backend; the request does not take effect.
func Answer(status int, body string) Fault { return Fault{Status: status, Body: body} }

// ActThenAnswer lets the request take effect and then gives another answer than
// the backend's own, such as a 500.
func ActThenAnswer(status int, body string) Fault {
	return Fault{Act: true, Status: status, Body: body}
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
	case CutAnswer, CutBody:
	}
	panic(http.ErrAbortHandler) // net/http closes the connection, or resets the HTTP/2 stream
}
