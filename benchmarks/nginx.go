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

// What the proxy does not say is at its default, but for where it keeps files.
const nginxConfig = `
daemon off; master_process off; pid nginx.pid;
events {}
http {
	access_log off;
	client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
	upstream backend { server %s; keepalive 16; }
	server {
		listen %s;
		location / { proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection ""; }
	}
}
`

// measureNginx makes calls by 32 workers, through nginx at its defaults, to a backend that
// applies one request in ten and cuts its response.
func measureNginx(c caller, method string, calls int) (v verdicts, failed error) {
	backend := flashbacktest.NewBackend()
	var requests atomic.Int64
	var lost sync.Map // the response to the last request, by method and path
	backend.Decide(func(r *http.Request) flashbacktest.Fault {
		cut := requests.Add(1)%10 == 0
		lost.Store(r.Method+r.URL.Path, cut)
		if cut {
			return flashbacktest.LoseResponse(flashbacktest.CutResponse)
		}
		return flashbacktest.None()
	})
	server := httptest.NewServer(withoutPrefix(backend))
	defer server.Close()
	url, stop, err := startNginx(server.Listener.Addr().String())
	if err != nil {
		return v, err
	}
	defer stop()
	s, err := c.open(url, backend.Token(), nil)
	if err != nil {
		return v, err
	}
	v.calls = calls
	change, suffix, deletes := s.activate, "/activate", method == http.MethodDelete
	if deletes {
		change, suffix = s.remove, ""
	}
	var mu sync.Mutex
	_ = each(32, calls, func(i int) error { // what each was told is the question
		id := fmt.Sprintf("user-%d", i)
		if deletes {
			backend.AddUser(flashbacktest.User{ID: id})
		} else {
			backend.AddDeletedUser(id)
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		err := change(ctx, id)
		user, _ := backend.User(id)
		applied := user.Deleted() == deletes
		// A response that did come refuses what was applied before.
		last, _ := lost.Load(method + "/organization/users/" + id + suffix)
		cut, _ := last.(bool)
		refused := applied && !cut
		mu.Lock()
		defer mu.Unlock()
		switch {
		case err == nil && !applied, err != nil && refused && !errors.Is(err, flashback.ErrOutcomeUnknown):
			v.wrong++
		case err != nil:
			v.givenUp++
		}
		return nil
	})
	v.requests = int(requests.Load())
	return v, nil
}

// startNginx starts nginx before a backend.
func startNginx(backend string) (url string, stop func(), failed error) {
	program, err := exec.LookPath("nginx")
	if err != nil {
		program, err = exec.LookPath("/usr/sbin/nginx") // where an ordinary user's PATH does not look
	}
	if err != nil {
		return "", nil, errNoNginx
	}
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
		<-time.After(20 * time.Millisecond)
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
