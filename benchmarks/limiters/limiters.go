package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"
)

// limiter is a server with a limiter before it or in it.
type limiter struct {
	name        string
	calls       int
	ideal       time.Duration
	crowds      []crowd
	descriptors int // of files, that the callers' process may have; 0 for all
	start       func(context.Context) (*truth, error)
}

// limiters have the settings of their own documentation, and what that leaves out is
// at its default. HAProxy's is the recipe of its blog and tells a client its 429;
// without deny_status it would be a 403, which no client can tell from a refusal for good.
var limiters = []limiter{
	{"nginx503-nodelay", 3_000, 15 * time.Second, crowds, 0, nginx("burst=20 nodelay", "")},
	{"nginx503", 3_000, 15 * time.Second, crowds, 0, nginx("burst=20", "")},
	{"nginx429", 3_000, 15 * time.Second, crowds, 0, nginx("burst=20", "limit_req_status 429;")},
	{"nginx429-nodelay", 3_000, 15 * time.Second, crowds, 0, nginx("burst=20 nodelay", "limit_req_status 429;")},
	{"haproxy429", 3_000, 15 * time.Second, crowds, 0, haproxy},
	{"express-1s", 3_000, 15 * time.Second, crowds, 0, node("express", 1_000, 200)},
	{"express-10s", 3_000, 20 * time.Second, crowds, 0, node("express", 10_000, 1_000)},
	{"toobusy", 3_000, 12 * time.Second, crowds, 0, node("toobusy", 4)},
	{"under-pressure", 3_000, 9 * time.Second, crowds, 0, node("under-pressure", 3)},
	{"descriptors", 10_000, 500 * time.Millisecond, []crowd{{1, 10_000}}, 1_024, slow(50 * time.Millisecond)},
}

// errMissing tells that a program is not installed.
var errMissing = errors.New("not installed")

// truth is a server that runs, and who is active on it.
type truth struct {
	url      string // with the limiter
	activeAt string // lists the IDs of those who are active, without the limiter
	stops    []func()
}

func (t *truth) stop() {
	for len(t.stops) > 0 {
		last := len(t.stops) - 1
		t.stops[last]()
		t.stops = t.stops[:last]
	}
}

func (t *truth) active(ctx context.Context) (map[string]bool, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, t.activeAt, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	var ids []string
	if err := json.NewDecoder(resp.Body).Decode(&ids); err != nil {
		return nil, err
	}
	active := map[string]bool{}
	for _, id := range ids {
		active[id] = true
	}
	return active, nil
}

// backend is a server without a limit, which takes its time for each call.
func backend(takes time.Duration) (*truth, string) {
	var (
		mu     sync.Mutex
		active = map[string]bool{}
		mux    = http.NewServeMux()
	)
	mux.HandleFunc("POST /organization/users/{id}/activate", func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(takes)
		mu.Lock()
		defer mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		if id := r.PathValue("id"); active[id] {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write([]byte(`{"success":false,"message":"User is not deleted"}`))
		} else {
			active[id] = true
			_, _ = w.Write([]byte(`{"success":true,"message":"User activated successfully"}`))
		}
	})
	mux.HandleFunc("GET /active", func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		ids := make([]string, 0, len(active))
		for id := range active {
			ids = append(ids, id)
		}
		_ = json.NewEncoder(w).Encode(ids)
	})
	server := httptest.NewServer(mux)
	return &truth{url: server.URL, activeAt: server.URL + "/active", stops: []func(){server.Close}}, server.Listener.Addr().String()
}

func slow(takes time.Duration) func(context.Context) (*truth, error) {
	return func(context.Context) (*truth, error) {
		t, _ := backend(takes)
		return t, nil
	}
}

const nginxConfig = `
daemon off; pid nginx.pid; error_log stderr crit;
user root; # if it is root who runs this: other users can't enter the directory
events {}
http {
	access_log off;
	client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
	limit_req_zone $binary_remote_addr zone=users:10m rate=200r/s; %s
	upstream backend { server %s; keepalive 16; }
	server {
		listen %s;
		location / { limit_req zone=users %s; proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection ""; }
	}
}
`

// nginx has limit_req, 200 a second, before the backend.
func nginx(burst, status string) func(context.Context) (*truth, error) {
	return func(ctx context.Context) (*truth, error) {
		return before(ctx, "nginx.conf", func(upstream, addr string) string {
			return fmt.Sprintf(nginxConfig, status, upstream, addr, burst)
		}, func(dir string) []string {
			return []string{"nginx", "-p", dir, "-c", filepath.Join(dir, "nginx.conf"), "-e", "stderr"}
		})
	}
}

// http_req_rate counts what is refused as well: who knocks on keeps the door shut.
const haproxyConfig = `
defaults
	mode http
	timeout connect 5s
	timeout client 50s
	timeout server 50s
frontend clients
	bind %s
	stick-table type ip size 100k expire 30s store http_req_rate(1s)
	http-request track-sc0 src
	http-request deny deny_status 429 if { sc_http_req_rate(0) gt 200 }
	default_backend api
backend api
	server api %s
`

func haproxy(ctx context.Context) (*truth, error) {
	return before(ctx, "haproxy.cfg", func(upstream, addr string) string {
		return fmt.Sprintf(haproxyConfig, addr, upstream)
	}, func(dir string) []string { return []string{"haproxy", "-db", "-f", filepath.Join(dir, "haproxy.cfg")} })
}

// before starts a proxy, which a file configures, before the backend.
func before(ctx context.Context, file string, config func(upstream, addr string) string, command func(dir string) []string) (t *truth, err error) {
	dir, err := os.MkdirTemp("", "limiters")
	if err != nil {
		return nil, err
	}
	t, upstream := backend(0)
	t.stops = append(t.stops, func() { _ = os.RemoveAll(dir) })
	addr, err := freeAddr()
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, file), []byte(config(upstream, addr)), 0o600)
	}
	if err == nil {
		err = t.run(ctx, addr, command(dir)...)
	}
	if err != nil {
		t.stop()
		return nil, err
	}
	t.url = "http://" + addr
	return t, nil
}

// run starts a program and waits until it listens on addr.
func (t *truth) run(ctx context.Context, addr string, command ...string) error {
	program, err := exec.LookPath(command[0])
	if err != nil {
		program, err = exec.LookPath("/usr/sbin/" + command[0]) // where an ordinary user's PATH does not look
	}
	if err != nil {
		return fmt.Errorf("%s: %w", command[0], errMissing)
	}
	cmd := exec.CommandContext(ctx, program, command[1:]...) //nolint:gosec // Nobody else chooses these.
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	t.stops = append(t.stops, func() {
		_ = cmd.Process.Signal(os.Interrupt) // so that nginx ends its workers too
		_ = cmd.Wait()
	})
	for range 500 {
		if conn, err := net.DialTimeout("tcp", addr, time.Second); err == nil { //nolint:noctx // It has a limit.
			return conn.Close()
		}
		time.Sleep(20 * time.Millisecond)
	}
	return fmt.Errorf("%s does not start", command[0])
}

func freeAddr() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // It does not wait.
	if err != nil {
		return "", err
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String(), nil
}
