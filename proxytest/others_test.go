package proxytest_test

import (
	"flag"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var otherCalls = flag.Int("others", 300, "calls of each operation through each of Varnish, Apache, Caddy, Traffic Server and Squid")

// other is a proxy at its defaults. What has no default is as the documentation has it.
type other struct {
	name, program string
	// repeats tells whether the proxy sends a POST without a body again if a connection
	// that was kept breaks, so that no client can know what became of the first.
	repeats bool
	files   map[string]string // by name; startOther fills in {addr} and the like
	args    []string
}

var others = []other{
	{
		name: "varnish", program: "varnishd", repeats: true,
		args: []string{"-F", "-j", "none", "-n", "{dir}/varnish", "-a", "{addr}", "-b", "{upstream}"},
	},
	{
		name: "apache", program: "apache2",
		files: map[string]string{"apache.conf": apacheConfig + "ProxyPass / http://{upstream}/\n"},
		args:  []string{"-D", "FOREGROUND", "-d", "{dir}", "-f", "{dir}/apache.conf"},
	},
	{
		name: "apache, balancer of two", program: "apache2",
		files: map[string]string{"apache.conf": apacheConfig + `
			<Proxy balancer://fake>
				BalancerMember http://{upstream}
				BalancerMember http://{second}
			</Proxy>
			ProxyPass / balancer://fake/
		`},
		args: []string{"-D", "FOREGROUND", "-d", "{dir}", "-f", "{dir}/apache.conf"},
	},
	{
		name: "caddy", program: "caddy",
		files: map[string]string{"Caddyfile": `
			{
				admin off
				auto_https off
			}
			http://{addr} {
				reverse_proxy {upstream}
			}
		`},
		args: []string{"run", "--adapter", "caddyfile", "--config", "{dir}/Caddyfile"},
	},
	{
		name: "traffic server", program: "traffic_server",
		files: map[string]string{
			"runroot.yaml": trafficServerRoot,
			"etc/records.config": `
CONFIG proxy.config.http.server_ports STRING {port}:ip-in=127.0.0.1
CONFIG proxy.config.admin.user_id STRING #-1
`,
			"etc/ip_allow.yaml": `
ip_allow:
  - {apply: in, ip_addrs: 127.0.0.1, action: allow, methods: ALL}
`,
			"etc/remap.config":   "map / http://{upstream}/\n",
			"etc/storage.config": "{dir}/cache 16M\n",
			"cache/.keep":        "", "log/.keep": "", "run/.keep": "", // for the directories
		},
		args: []string{"--run-root={dir}"},
	},
	{
		name: "squid", program: "squid",
		files: map[string]string{"squid.conf": `
			http_port {addr} accel defaultsite=fake no-vhost
			cache_peer 127.0.0.1 parent {upstreamPort} 0 no-query originserver login=PASSTHRU
			http_access allow all
			access_log none
			cache_log /dev/null
			pid_filename none
			shutdown_lifetime 0 seconds
		`},
		args: []string{"-N", "-f", "{dir}/squid.conf"},
	},
}

const apacheConfig = `
ServerName fake
Listen {addr}
PidFile apache.pid
DefaultRuntimeDir {dir}
ErrorLog /dev/stderr
User www-data
Group www-data
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule proxy_module /usr/lib/apache2/modules/mod_proxy.so
LoadModule proxy_http_module /usr/lib/apache2/modules/mod_proxy_http.so
LoadModule slotmem_shm_module /usr/lib/apache2/modules/mod_slotmem_shm.so
LoadModule proxy_balancer_module /usr/lib/apache2/modules/mod_proxy_balancer.so
LoadModule lbmethod_byrequests_module /usr/lib/apache2/modules/mod_lbmethod_byrequests.so
`

const trafficServerRoot = `
prefix: {dir}
exec_prefix: /usr
bindir: /usr/bin
sbindir: /usr/sbin
sysconfdir: {dir}/etc
datadir: {dir}/cache
includedir: /usr/include
libdir: /usr/lib
libexecdir: /usr/lib/trafficserver/modules
localstatedir: {dir}/run
runtimedir: {dir}/run
logdir: {dir}/log
mandir: /usr/share/man
infodir: /usr/share/info
cachedir: {dir}/cache
`

//nolint:paralleltest // One case at a time: see try.
func TestOthersByDefault(t *testing.T) {
	for _, proxy := range others {
		t.Run(proxy.name, func(t *testing.T) {
			if _, err := lookPath(proxy.program); err != nil {
				t.Skipf("%s is not installed", proxy.program)
			}
			tryAll(t, proxy.name+": defaults", func(s *scenario) {
				s.calls = *otherCalls
				s.repeats = proxy.repeats && s.op == &activate || s.op.method != http.MethodPost
				s.startOther(proxy, s.faulty())
			}, func(is *assert.Assertions, sum tally) {
				bites(is, sum)
				is.Less(4*(sum.failed+sum.unknown), sum.calls, "the proxy passes on too little")
			})
		})
	}
}

// startOther starts a proxy in front of upstream as what the client connects to.
func (s *scenario) startOther(proxy other, upstream string) {
	s.t.Helper()
	dir, addr := s.t.TempDir(), freeAddr(s.t)
	s.url = "http://" + addr
	_, port, err := net.SplitHostPort(addr)
	require.NoError(s.t, err)
	_, upstreamPort, err := net.SplitHostPort(upstream)
	require.NoError(s.t, err)
	fill := strings.NewReplacer(
		"{dir}", dir, "{addr}", addr, "{port}", port, "{upstream}", upstream, "{upstreamPort}", upstreamPort,
		"{second}", s.serve(false, plainServer).addr,
	).Replace
	for _, home := range []string{"XDG_CONFIG_HOME", "XDG_DATA_HOME"} { // Caddy writes there
		s.t.Setenv(home, dir)
	}
	for name, text := range proxy.files {
		file := filepath.Join(dir, name)
		require.NoError(s.t, os.MkdirAll(filepath.Dir(file), 0o700))
		require.NoError(s.t, os.WriteFile(file, []byte(fill(text)), 0o600))
	}
	args := make([]string, len(proxy.args))
	for i, arg := range proxy.args {
		args[i] = fill(arg)
	}
	s.start(addr, proxy.program, args...)
}
