#!/usr/bin/env bash
# What CI does with this module: a brief run, whose report goes to a directory of
# its own.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

go test ./...
go test -run '^$' -bench . -benchtime 1x ./...
go run . -quick -out "$dir"
for file in REPORT.md verdicts.svg dead.svg limits.svg time.svg; do
	[[ -s $dir/$file ]] || { echo "the report has no $file" >&2; exit 1; }
done
