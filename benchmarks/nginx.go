package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	flashback "github.com/flashbacknetwork/flashback-go"
	"github.com/flashbacknetwork/flashback-go/flashbacktest"
)

// errNoNginx tells that nginx is not installed.
var errNoNginx = errors.New("nginx is not installed; on Debian: apt-get install nginx-light")

// What the proxy does not say is at its default.
const nginxConfig = `
daemon off; master_process off; pid nginx.pid;
events {}
http {
	access_log off;
	upstream backend { server %s; keepalive 16; }
	server {
		listen %s;
		location / { proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection ""; }
	}
}
`

// measureNginx makes calls by 32 workers, through nginx at its defaults, to a backend that
// carries out one in ten and cuts its response.
func measureNginx(c caller, calls int) (v verdicts, failed error) {
	program, err := exec.LookPath("nginx")
	if err != nil {
		return v, errNoNginx
	}
	backend := flashbacktest.NewBackend()
	var requests atomic.Int64
	backend.Decide(func(*http.Request) flashbacktest.Fault {
		if requests.Add(1)%10 == 0 {
			return flashbacktest.LoseResponse(flashbacktest.CutResponse)
		}
		return flashbacktest.None()
	})
	last := lastStatus{handler: withoutPrefix(backend)}
	server := httptest.NewServer(&last)
	defer server.Close()
	url, stop, err := startNginx(program, server.Listener.Addr().String())
	if err != nil {
		return v, err
	}
	defer stop()
	s, err := c.open(url, backend.Token(), nil)
	if err != nil {
		return v, err
	}
	v.calls = calls
	var mu sync.Mutex
	_ = each(32, calls, func(i int) error { // what each was told is the question
		id := fmt.Sprintf("user-%d", i)
		backend.AddDeletedUser(id)
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		err := s.activate(ctx, id)
		user, _ := backend.User(id)
		acted := !user.Deleted()
		mu.Lock()
		defer mu.Unlock()
		switch {
		case err == nil && !acted, err != nil && acted && last.refused(id) && !errors.Is(err, flashback.ErrOutcomeUnknown):
			v.wrong++
		case err != nil:
			v.givenUp++
		}
		return nil
	})
	v.requests = int(requests.Load())
	return v, nil
}

// lastStatus is a server that keeps the last status for each path.
type lastStatus struct {
	handler http.Handler
	byPath  sync.Map
}

func (l *lastStatus) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	l.byPath.Delete(path)
	l.handler.ServeHTTP(&statusWriter{w, func(status int) { l.byPath.Store(path, status) }}, r)
}

// refused tells whether the last response about a user was a 400.
func (l *lastStatus) refused(id string) bool {
	for _, prefix := range []string{"", "/api/v4"} {
		if status, ok := l.byPath.Load(prefix + "/organization/users/" + id + "/activate"); ok && status == http.StatusBadRequest {
			return true
		}
	}
	return false
}

type statusWriter struct {
	http.ResponseWriter

	wrote func(status int)
}

func (w *statusWriter) WriteHeader(status int) {
	w.wrote(status)
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// startNginx starts nginx before a backend.
func startNginx(program, backend string) (url string, stop func(), failed error) {
	dir, err := os.MkdirTemp("", "nginx")
	if err != nil {
		return "", nil, err
	}
	addr, err := freeAddr()
	if err != nil {
		return "", nil, err
	}
	config := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(config, fmt.Appendf(nil, nginxConfig, backend, addr), 0o600); err != nil {
		return "", nil, err
	}
	cmd := exec.Command(program, "-p", dir, "-c", config, "-e", "stderr") //nolint:gosec,noctx // stop ends it.
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	stop = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = os.RemoveAll(dir)
	}
	for range 200 {
		if conn, err := net.DialTimeout("tcp", addr, time.Second); err == nil { //nolint:noctx // It has a limit.
			_ = conn.Close()
			return "http://" + addr, stop, nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	stop()
	return "", nil, errors.New("nginx does not start")
}

func freeAddr() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // It does not wait.
	if err != nil {
		return "", err
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String(), nil
}
