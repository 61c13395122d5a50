package proxytest_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

//nolint:paralleltest // One case at a time: see try.
func TestHAProxy(t *testing.T) {
	tryAll(t, "haproxy: defaults", func(s *scenario) {
		s.startHAProxy(s.faulty(), "")
	}, bites)
	tryAll(t, "haproxy: repeats all, POSTs too", func(s *scenario) {
		s.repeats = true
		s.startHAProxy(s.faulty(), "retry-on all-retryable-errors\n\toption redispatch")
	}, func(is *assert.Assertions, sum tally) {
		is.Positive(sum.repeated, "HAProxy repeated nothing")
		if sum.op.method == http.MethodPost {
			is.Positive(sum.unavoidable, "no repeated POST had been applied")
		}
	})
}

// The timeouts, which have no default, are those of Debian's configuration.
const haproxyConfig = `
defaults
	mode http
	timeout connect 5s
	timeout client 50s
	timeout server 50s
frontend clients
	bind %s
	default_backend fake
backend fake
	%s
	server fake %s
`

// startHAProxy starts HAProxy in front of upstream as what the client connects to.
func (s *scenario) startHAProxy(upstream, directives string) {
	s.t.Helper()
	addr, config := freeAddr(s.t), filepath.Join(s.t.TempDir(), "haproxy.cfg")
	s.url = "http://" + addr
	require.NoError(s.t, os.WriteFile(config, fmt.Appendf(nil, haproxyConfig, addr, directives, upstream), 0o600))
	s.start(addr, "haproxy", "-db", "-f", config)
}
