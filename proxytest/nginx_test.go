package proxytest_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/flashbacknetwork/flashback-go/flashbacktest"
)

//nolint:paralleltest // One case at a time: see try.
func TestNginx(t *testing.T) {
	try(t, "nginx: no fault", func(s *scenario) {
		s.patient()
		s.startNginx(s.serve(false, plainServer).addr, nil, "")
	}, func(is *assert.Assertions, sum tally) {
		is.LessOrEqual(sum.connections, 2*workers)
		is.Equal(calls, sum.attempts)
	})
	try(t, "nginx: upstream stops (502)", func(s *scenario) {
		up := s.serve(false, plainServer)
		s.startNginx(up.addr, nil, "")
		s.disturb = func(step int) {
			up.cut()
			outage := 30 * time.Millisecond
			if step%8 == 7 {
				outage = 400 * time.Millisecond // calls run out of retries
			}
			<-time.After(outage)
			up.start()
		}
	}, func(is *assert.Assertions, sum tally) {
		recovers(is, sum)
		is.Positive(sum.unknown, "no call ran out of retries")
	})
	try(t, "nginx: upstream too slow (504)", func(s *scenario) {
		s.lose(15, flashbacktest.Stall)
		s.startNginx(s.serve(false, plainServer).addr, nil, "proxy_read_timeout 50ms;")
	}, recovers)
	try(t, "nginx: keep-alive closed under a POST", func(s *scenario) {
		s.pause = 4 * time.Millisecond
		s.startNginx(s.serve(false, plainServer).addr, nil, "keepalive_requests 50; keepalive_timeout 2ms;")
	}, retries)
	try(t, "nginx: reloads", func(s *scenario) {
		s.pause = time.Millisecond
		nginx := s.startNginx(s.serve(false, plainServer).addr, nil, "")
		s.disturb = func(int) { assert.NoError(s.t, nginx.Signal(syscall.SIGHUP)) } // nginx -s reload
	}, func(is *assert.Assertions, sum tally) {
		is.Greater(sum.connections, 3*workers, "no reload closed connections")
	})
	try(t, "nginx: reloads, HTTP/2", func(s *scenario) {
		server := loopbackTLS()
		s.opts = append(s.opts, overHTTP2(s.t, server, usualPings))
		nginx := s.startNginx(s.serve(false, plainServer).addr, &server.TLS.Certificates[0], "keepalive_requests 100;")
		s.disturb = func(int) { assert.NoError(s.t, nginx.Signal(syscall.SIGHUP)) }
	}, func(is *assert.Assertions, sum tally) {
		is.Greater(sum.connections, calls/100, "no GOAWAY came")
	})
}

// proxy_next_upstream is off because nginx would else be free to send a POST
// twice itself, which no client can notice.
const nginxConfig = `
daemon off;
worker_processes 1;
pid nginx.pid;
error_log error.log;
events { worker_connections 1024; }
http {
	access_log off;
	client_body_temp_path body;
	proxy_temp_path proxy;
	fastcgi_temp_path fastcgi;
	uwsgi_temp_path uwsgi;
	scgi_temp_path scgi;
	proxy_next_upstream off;
	upstream fake {
		server %s max_fails=0;
		keepalive 32;
	}
	server {
		listen %s;
		%s
		location / {
			proxy_pass http://fake;
			proxy_http_version 1.1;
			proxy_set_header Connection "";
		}
	}
}
`

// startNginx starts nginx in front of upstream as what the client connects to:
// with a certificate, by HTTP/2.
func (s *scenario) startNginx(upstream string, certificate *tls.Certificate, directives string) *os.Process {
	s.t.Helper()
	binary, err := exec.LookPath("nginx")
	if err != nil {
		binary, err = exec.LookPath("/usr/sbin/nginx")
	}
	require.NoError(s.t, err, "these tests need nginx: install it, on Debian with apt-get install nginx")

	dir, addr := s.t.TempDir(), freeAddr(s.t)
	listen := addr
	s.url = "http://" + addr
	if certificate != nil {
		listen += " ssl http2"
		s.url = "https://" + addr
		directives += "ssl_certificate pair.pem; ssl_certificate_key pair.pem;"
		writePair(s.t, filepath.Join(dir, "pair.pem"), certificate)
	}
	config, errorLog := filepath.Join(dir, "nginx.conf"), filepath.Join(dir, "error.log")
	require.NoError(s.t, os.WriteFile(config, fmt.Appendf(nil, nginxConfig, upstream, listen, directives), 0o600))
	ctx, stop := context.WithCancel(context.Background())
	nginx := exec.CommandContext(ctx, binary, "-p", dir, "-c", config, "-e", errorLog) //nolint:gosec // Nobody else chooses these.
	nginx.Cancel = func() error { return nginx.Process.Signal(syscall.SIGTERM) }
	nginx.WaitDelay = 5 * time.Second
	require.NoError(s.t, nginx.Start())
	s.atEnd(func() {
		stop()
		_ = nginx.Wait() // it was told to end
	})
	eventually(s.t, func() error {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			err = conn.Close()
		}
		return err
	})
	s.t.Cleanup(func() {
		if s.t.Failed() {
			log, _ := os.ReadFile(errorLog) //nolint:gosec // It is in the test's own directory.
			s.t.Logf("the end of nginx's log:\n%s", log[max(0, len(log)-2000):])
		}
	})
	return nginx.Process
}

// freeAddr is an address that nobody listens on.
func freeAddr(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	return listener.Addr().String()
}

func writePair(t *testing.T, name string, pair *tls.Certificate) {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	require.NoError(t, err)
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]})
	text = append(text, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})...)
	require.NoError(t, os.WriteFile(name, text, 0o600))
}
