package main

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"

	"github.com/flashbacknetwork/flashback-go/flashbacktest"
)

// demo is a fake backend with many deleted users, faults and a rate limit. It keeps
// who is active in a file, so that it outlives this process as a real one does.
type demo struct {
	*flashbacktest.Backend

	URL    string
	server *httptest.Server

	mu     sync.Mutex
	file   *os.File
	active map[string]bool
}

func newDemo(path string, users int) (*demo, error) {
	d := &demo{Backend: flashbacktest.NewBackend(), active: map[string]bool{}}
	var err error
	if d.file, err = os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(text)) {
		d.active[strings.TrimSpace(line)] = true
	}
	for i := range users {
		id := fmt.Sprintf("user-%04d", i+1)
		if d.AddDeletedUser(id); d.active[id] {
			d.AddUser(flashbacktest.User{ID: id})
		}
	}
	d.LimitRate(400, 40)
	d.Decide(trouble)
	d.server = httptest.NewServer(d)
	d.URL = d.server.URL
	return d, nil
}

// trouble is what can go wrong with a request.
func trouble(r *http.Request) flashbacktest.Fault {
	if r.Method != http.MethodPost {
		return flashbacktest.None()
	}
	switch n := rand.N(100); { //nolint:gosec // No secret.
	case n < 3:
		return flashbacktest.LoseResponse(flashbacktest.CutResponse)
	case n < 5:
		return flashbacktest.LoseResponse(flashbacktest.CutBody)
	case n < 6:
		return flashbacktest.Drop()
	case n < 8:
		return flashbacktest.ApplyThenRespond(http.StatusBadGateway, "<html>502 Bad Gateway</html>")
	case n < 10:
		return flashbacktest.Respond(http.StatusServiceUnavailable, "")
	}
	return flashbacktest.None()
}

// ServeHTTP has who is active in the file before the answer goes out.
func (d *demo) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := strings.TrimSuffix(strings.TrimPrefix(r.URL.Path, "/organization/users/"), "/activate")
	save := func() { d.save(id) }
	defer save() // also of an answer that is lost
	d.Backend.ServeHTTP(saving{w, save}, r)
}

func (d *demo) save(id string) {
	user, ok := d.User(id)
	d.mu.Lock()
	defer d.mu.Unlock()
	if !ok || user.Deleted() || d.active[id] {
		return
	}
	d.active[id] = true
	if _, err := d.file.WriteString(id + "\n"); err != nil {
		panic(err)
	}
}

func (d *demo) Close() {
	d.server.Close()
	_ = d.file.Close() // the system has all that was written
}

// saving calls save before the first byte of an answer.
type saving struct {
	http.ResponseWriter

	save func()
}

func (s saving) WriteHeader(status int) {
	s.save()
	s.ResponseWriter.WriteHeader(status)
}

func (s saving) Unwrap() http.ResponseWriter { return s.ResponseWriter }
