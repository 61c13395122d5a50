#!/usr/bin/env bash
# Tests this module as CI does: with SQLite, and with a PostgreSQL of its own on a free
# loopback port, from Debian's packages.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

bin() { compgen -G '/usr/lib/postgresql/*/bin' | sort -V | tail -n 1; }
as=() # who runs it, which root may not
policy=/usr/sbin/policy-rc.d
dir=$(mktemp -d)
clean() {
	[[ ! -e $dir/data/postmaster.pid ]] || ${as[@]+"${as[@]}"} "$(bin)/pg_ctl" stop -D "$dir/data" -m immediate -s
	rm -rf "$dir"
	[[ ! -e $policy.bulk ]] || rm -f "$policy" "$policy.bulk"
}
trap clean EXIT

if [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null && [[ -z $(bin) ]]; then
	if [[ ! -e $policy ]]; then # the system's own server would only take a port
		touch "$policy.bulk"
		printf '#!/bin/sh\nexit 101\n' >"$policy"
		chmod +x "$policy"
	fi
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql
fi
if [[ -z $(bin) ]]; then
	echo "There is no PostgreSQL in /usr/lib/postgresql, so it is not tested with: on Debian, apt-get install postgresql." >&2
else
	if [[ $(id -u) == 0 ]]; then
		as=(runuser -u postgres --)
		chown postgres "$dir"
	fi
	${as[@]+"${as[@]}"} "$(bin)/initdb" -D "$dir/data" -U bulk -A trust --no-sync >/dev/null
	for _ in {1..10}; do
		port=$((20000 + RANDOM % 10000))
		options="-c listen_addresses=127.0.0.1 -c port=$port -c unix_socket_directories=$dir -c fsync=off"
		if ${as[@]+"${as[@]}"} "$(bin)/pg_ctl" start -D "$dir/data" -l "$dir/log" -o "$options" -w -s; then
			export BULK_TEST_POSTGRES="postgres://bulk@127.0.0.1:$port/postgres?sslmode=disable"
			break
		fi
	done
	[[ -n ${BULK_TEST_POSTGRES-} ]] || { cat "$dir/log" >&2; exit 1; }
fi

go test -count=1 -parallel 8 "$@" ./... # which wait more than they work
