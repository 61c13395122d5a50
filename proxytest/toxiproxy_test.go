package proxytest_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	flashback "github.com/flashbacknetwork/flashback-go"
)

//nolint:paralleltest // One case at a time: see try.
func TestToxiproxy(t *testing.T) {
	// The dice of a toxicity are thrown once a connection, so that those are kept
	// for one request, or only healthy ones would be left.
	for _, test := range []struct {
		name    string
		keep    bool          // connections
		timeout time.Duration // of an attempt
		toxics  []string
	}{
		{"latency and jitter", false, 300 * time.Millisecond, []string{
			`{"type": "latency", "stream": "upstream", "attributes": {"latency": 5, "jitter": 5}}`,
			`{"type": "latency", "stream": "downstream", "toxicity": 0.2, "attributes": {"latency": 300, "jitter": 200}}`,
		}},
		{"reset_peer", false, time.Second, []string{
			`{"type": "reset_peer", "stream": "downstream", "toxicity": 0.1, "attributes": {"timeout": 0}}`,
			`{"type": "reset_peer", "stream": "upstream", "toxicity": 0.1, "attributes": {"timeout": 0}}`,
		}},
		{"limit_data", true, time.Second, []string{
			`{"type": "limit_data", "stream": "downstream", "attributes": {"bytes": 1500}}`,
			`{"type": "limit_data", "stream": "upstream", "toxicity": 0.5, "attributes": {"bytes": 1000}}`,
		}},
		{"slicer", false, 300 * time.Millisecond, []string{
			`{"type": "slicer", "stream": "downstream", "toxicity": 0.1, "attributes": {"average_size": 1, "size_variation": 0, "delay": 2000}}`,
		}},
		{"bandwidth", false, 200 * time.Millisecond, []string{
			`{"type": "bandwidth", "stream": "downstream", "toxicity": 0.1, "attributes": {"rate": 1}}`,
		}},
		{"timeout", false, 300 * time.Millisecond, []string{
			`{"type": "timeout", "stream": "downstream", "toxicity": 0.1, "attributes": {"timeout": 0}}`,
			`{"type": "timeout", "stream": "upstream", "toxicity": 0.05, "attributes": {"timeout": 0}}`,
		}},
	} {
		try(t, "toxiproxy: "+test.name, func(s *scenario) {
			proxy := s.startToxiproxy(s.serve(false, func() *http.Server {
				server := plainServer()
				server.SetKeepAlivesEnabled(test.keep)
				return server
			}).addr)
			for _, toxic := range test.toxics {
				_, err := proxy.Toxics.AddToxicJson(strings.NewReader(toxic))
				require.NoError(s.t, err)
			}
			s.opts = append(s.opts, flashback.WithAttemptTimeout(test.timeout))
		}, recovers)
	}
	try(t, "toxiproxy: down at times", func(s *scenario) {
		proxy := s.startToxiproxy(s.serve(false, plainServer).addr)
		s.disturb = func(int) {
			proxy.Stop()
			<-time.After(20 * time.Millisecond)
			eventually(s.t, proxy.Start)
		}
	}, retries)
}

func (s *scenario) startToxiproxy(upstream string) *toxiproxy.Proxy {
	s.t.Helper()
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	proxy := toxiproxy.NewProxy(server, "fake", "127.0.0.1:0", upstream)
	require.NoError(s.t, proxy.Start())
	s.atEnd(proxy.Stop)
	s.url = "http://" + proxy.Listen
	return proxy
}
