#!/usr/bin/env bash
# Tests this module as CI does: with nginx, HAProxy and the race detector, showing
# the table of counts. Other proxies are tested if they are installed or can be;
# with 2,000 calls of each operation through each: proxytest/ci.sh -others 2000
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

PATH=$PATH:/usr/sbin:/sbin # where these are, and an ordinary user's PATH is not
export CGO_ENABLED=1       # the race detector needs it

optional=() # packages, not programs; a test that lacks one is skipped and says so
for pair in varnishd:varnish apache2:apache2 caddy:caddy traffic_server:trafficserver squid:squid; do
	command -v "${pair%:*}" >/dev/null || optional+=("${pair#*:}")
done
missing=()
for proxy in nginx haproxy; do
	command -v $proxy >/dev/null || missing+=($proxy)
done
cc=$(go env CC)
command -v "${cc%% *}" >/dev/null || missing+=(gcc libc6-dev)
can_install=true
[[ $(id -u) == 0 ]] && command -v apt-get >/dev/null || can_install=false
if ((${#missing[@]})) || { $can_install && ((${#optional[@]})); }; then
	if ! $can_install; then
		printf 'proxytest needs %s: install it, on Debian with apt-get install\n' "${missing[*]}" >&2
		exit 1
	fi
	# The tests start proxies of their own; the system's would only take ports.
	policy=/usr/sbin/policy-rc.d
	if [[ ! -e $policy ]]; then
		trap 'rm -f "$policy"' EXIT
		printf '#!/bin/sh\nexit 101\n' >"$policy"
		chmod +x "$policy"
	fi
	apt-get update -qq
	export DEBIAN_FRONTEND=noninteractive
	if ((${#missing[@]})); then
		apt-get install -y -qq --no-install-recommends "${missing[@]}"
	fi
	for package in ${optional[@]+"${optional[@]}"}; do # one by one: a distribution may lack one
		apt-get install -y -qq --no-install-recommends "$package" || printf 'proxytest goes on without %s\n' "$package" >&2
	done
fi

go test -race -count=1 -v . "$@"
