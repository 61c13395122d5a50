#!/usr/bin/env bash
# Tests this module as CI does: with nginx, HAProxy and the race detector, showing
# the table of counts.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

PATH=$PATH:/usr/sbin:/sbin # where these are, and an ordinary user's PATH is not
export CGO_ENABLED=1       # the race detector needs it

missing=()
for proxy in nginx haproxy; do
	command -v $proxy >/dev/null || missing+=($proxy)
done
cc=$(go env CC)
command -v "${cc%% *}" >/dev/null || missing+=(gcc libc6-dev)
if ((${#missing[@]})); then
	if [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
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
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
fi

go test -race -count=1 -v ./...
