#!/usr/bin/env bash
# Builds one of the pinned tools beside this script and prints the path of its binary, alone on stdout.
#
#   tools/build.sh NAME          build it when it is not in the cache
#   tools/build.sh --find NAME   only look: exit 1, printing nothing, when it is not in the cache
#   tools/build.sh --list        the names
#
# Each tool is a nested module whose `tool` line says what to build and whose go.mod and go.sum pin every byte of it; the
# build reads them and may not change them. A binary is built once for a given go.mod, go.sum, Go release and platform, into
# ${XDG_CACHE_HOME:-$HOME/.cache}/signet-tools.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

usage() {
	echo "usage: tools/build.sh [--find] NAME | --list" >&2
	exit 64
}

list() {
	for mod in "$here"/*/go.mod; do basename "$(dirname "$mod")"; done
}

hash() {
	if command -v sha256sum >/dev/null; then sha256sum; else shasum -a 256; fi | cut -c1-16
}

find_only=false
case "${1-}" in
--list) list && exit 0 ;;
--find) find_only=true && shift ;;
esac
[ $# -eq 1 ] || usage
name=$1
if [[ ! $name =~ ^[a-z][a-z0-9-]*$ || ! -f $here/$name/go.mod ]]; then
	echo "tools/build.sh: no tool named '$name'; there are: $(list | tr '\n' ' ')" >&2
	exit 64
fi

cd "$here/$name"
export GOWORK=off
base=${XDG_CACHE_HOME:-${HOME:?set HOME or XDG_CACHE_HOME: the built tools are kept there}/.cache}/signet-tools
key=$({ cat go.mod go.sum && go env GOVERSION GOOS GOARCH; } | hash)
binary=$base/$name-$key/$name

if [ ! -x "$binary" ]; then
	! $find_only || exit 1
	mkdir -p "$(dirname "$binary")"
	# Built beside its place and then moved there, so that a build that is cut short or runs twice leaves no half a binary.
	partial=$(mktemp -d "$(dirname "$binary")/building.XXXXXX")
	trap 'rm -rf "$partial"' EXIT
	echo "building $name, once; it is kept in $base" >&2
	# -s -w: no symbols; linking is a good part of the time and these are not debugged here.
	if ! go build -mod=readonly -race=false -ldflags='-s -w' -o "$partial/" tool >"$partial/log" 2>&1; then
		grep -v '^go: downloading ' "$partial/log" >&2 || true
		echo "tools/build.sh: $name did not build" >&2
		exit 1
	fi
	mv -f "$partial/$name" "$binary"
fi
echo "$binary"
