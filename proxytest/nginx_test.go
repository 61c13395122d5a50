package proxytest_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"os"
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
		s.startNginx(noRepeat(s.serve(false, plainServer).addr), "", nil)
	}, func(is *assert.Assertions, sum tally) {
		is.LessOrEqual(sum.connections, 2*workers)
		is.Equal(calls, sum.attempts)
	})
	try(t, "nginx: upstream stops (502)", func(s *scenario) {
		up := s.serve(false, plainServer)
		s.startNginx(noRepeat(up.addr), "", nil)
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
		s.startNginx(noRepeat(s.serve(false, plainServer).addr), "proxy_read_timeout 50ms;", nil)
	}, recovers)
	try(t, "nginx: keep-alive closed under a POST", func(s *scenario) {
		s.pause = 4 * time.Millisecond
		s.startNginx(noRepeat(s.serve(false, plainServer).addr), "keepalive_requests 50; keepalive_timeout 2ms;", nil)
	}, retries)
	try(t, "nginx: reloads", func(s *scenario) {
		s.pause = time.Millisecond
		nginx := s.startNginx(noRepeat(s.serve(false, plainServer).addr), "", nil)
		s.disturb = func(int) { assert.NoError(s.t, nginx.Signal(syscall.SIGHUP)) } // nginx -s reload
	}, func(is *assert.Assertions, sum tally) {
		is.Greater(sum.connections, 3*workers, "no reload closed connections")
	})
	try(t, "nginx: reloads, HTTP/2", func(s *scenario) {
		server := loopbackTLS()
		s.opts = append(s.opts, overHTTP2(s.t, server, usualPings))
		nginx := s.startNginx(noRepeat(s.serve(false, plainServer).addr), "keepalive_requests 100;", &server.TLS.Certificates[0])
		s.disturb = func(int) { assert.NoError(s.t, nginx.Signal(syscall.SIGHUP)) }
	}, func(is *assert.Assertions, sum tally) {
		is.Greater(sum.connections, calls/100, "no GOAWAY came")
	})
}

//nolint:paralleltest // One case at a time: see try.
func TestNginxByDefault(t *testing.T) {
	tryAll(t, "nginx: defaults", func(s *scenario) {
		s.repeats = s.op.method != http.MethodPost
		s.startNginx(byDefault(s.faulty()), "", nil)
	}, func(is *assert.Assertions, sum tally) {
		bites(is, sum)
		is.Equal(sum.op.method != http.MethodPost, sum.repeated > 0, "nginx repeated the requests of %d calls", sum.repeated)
	})
	tryAll(t, "nginx: repeats POSTs", func(s *scenario) {
		s.repeats = true
		s.startNginx(fmt.Sprintf(`
			upstream fake { server %[1]s max_fails=0; server %[1]s max_fails=0; keepalive 16; }
			proxy_next_upstream error timeout non_idempotent;`, s.faulty()), "", nil)
	}, func(is *assert.Assertions, sum tally) {
		retries(is, sum)
		is.Positive(sum.repeated, "nginx repeated nothing")
		if sum.op.method == http.MethodPost {
			is.Positive(sum.unavoidable, "no repeated POST had been applied")
		}
	})
}

//nolint:paralleltest // One case at a time: see try.
func TestNginxCache(t *testing.T) {
	const cache = "proxy_cache_path cache keys_zone=users:10m; proxy_cache users; proxy_cache_valid 200 1h;"
	tryAll(t, "nginx: cache that can be bypassed", func(s *scenario) {
		s.repeats = s.op.method != http.MethodPost
		s.startNginx(cache+byDefault(s.serve(false, plainServer).addr), "proxy_cache_bypass $http_cache_control;", nil)
		s.fillCache()
		s.goWrong()
	}, bites)
	// A read-back that is older than the call can only be known for what it is if it
	// says so. One that says that things are as they were before the call does not.
	tryAll(t, "nginx: cache that can't be bypassed", func(s *scenario) {
		s.repeats = s.op.method != http.MethodPost
		s.stale = true
		s.startNginx(cache+byDefault(s.serve(false, plainServer).addr), "", nil)
		s.fillCache()
		s.goWrong()
	}, retries)
}

// fillCache reads, through the proxy, the list of users and all users, half of them
// before they become what they are before the call.
func (s *scenario) fillCache() {
	s.t.Helper()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	read := func(i int, path string) {
		req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.url+path, nil)
		require.NoError(s.t, err)
		req.Header.Set("Authorization", "Bearer "+s.tokens[org(i)])
		resp, err := transport.RoundTrip(req)
		require.NoError(s.t, err)
		_, err = io.Copy(io.Discard, resp.Body)
		require.NoError(s.t, err)
		require.NoError(s.t, resp.Body.Close())
	}
	read(0, usersPath)
	for i := range calls {
		was := s.op.kindOf(i)
		if i/len(s.op.kinds)%2 == 0 {
			switch was {
			case deleted:
				was = active
			case active:
				was = deleted
			case foreign, nobody:
			}
		}
		was.add(s.backend, i)
		read(i, userPath(i))
	}
	received := len(s.backend.Requests())
	read(0, usersPath)
	require.Len(s.t, s.backend.Requests(), received, "nothing is cached")
	s.backend.Reset()
}

const nginxConfig = `
daemon off;
user root; # if it is root who runs this: other users can't enter the test's directory
pid nginx.pid;
error_log stderr;
events {}
http {
	access_log off;
	client_body_temp_path body;
	proxy_temp_path proxy;
	fastcgi_temp_path fastcgi;
	uwsgi_temp_path uwsgi;
	scgi_temp_path scgi;
	%s
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

// noRepeat is an upstream to which nginx never sends a request again.
func noRepeat(upstream string) string {
	return fmt.Sprintf("proxy_next_upstream off; upstream fake { server %s max_fails=0; keepalive 32; }", upstream)
}

// byDefault is an upstream as nginx's documentation has it. To that, nginx sends
// again what is no POST, if a connection that was kept fails.
func byDefault(upstream string) string {
	return fmt.Sprintf("upstream fake { server %s; keepalive 16; }", upstream)
}

// startNginx starts nginx as what the client connects to: with a certificate, by
// HTTP/2. It has directives for all, with the upstream "fake", and for its server.
func (s *scenario) startNginx(all, server string, certificate *tls.Certificate) *os.Process {
	s.t.Helper()
	dir, addr := s.t.TempDir(), freeAddr(s.t)
	listen := addr
	s.url = "http://" + addr
	if certificate != nil {
		listen += " ssl http2"
		s.url = "https://" + addr
		server += "ssl_certificate pair.pem; ssl_certificate_key pair.pem;"
		writePair(s.t, filepath.Join(dir, "pair.pem"), certificate)
	}
	config := filepath.Join(dir, "nginx.conf")
	require.NoError(s.t, os.WriteFile(config, fmt.Appendf(nil, nginxConfig, all, listen, server), 0o600))
	return s.start(addr, "nginx", "-p", dir, "-c", config, "-e", "stderr")
}

func writePair(t *testing.T, name string, pair *tls.Certificate) {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	require.NoError(t, err)
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]})
	text = append(text, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})...)
	require.NoError(t, os.WriteFile(name, text, 0o600))
}
