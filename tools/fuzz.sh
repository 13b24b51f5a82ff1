#!/usr/bin/env bash
# Runs every fuzz target of the module for the given time each, and fails at the first that finds something. What it found is
# then in the package's testdata/fuzz, to be committed with the fix.
#
#   tools/fuzz.sh DURATION    such as 10s or 10m
set -euo pipefail

if [ $# -ne 1 ]; then
	echo "usage: tools/fuzz.sh DURATION" >&2
	exit 64
fi
time=$1
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Only the packages that can have a target are compiled to be asked for their targets.
packages=$(git grep -l --untracked '^func Fuzz' -- '*_test.go' | while IFS= read -r file; do dirname "$file"; done | sort -u)
count=0
for package in $packages; do
	list=$(go test -list '^Fuzz' "./$package")
	for target in $(grep '^Fuzz' <<<"$list" || true); do
		echo "--- $package $target"
		# By default each input of interest is made smaller for a minute: large ones would leave no time for others.
		go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 1s "./$package" </dev/null
		count=$((count + 1))
	done
done
if [ "$count" -eq 0 ]; then
	echo "tools/fuzz.sh: there is no fuzz target" >&2
	exit 1
fi
echo "$count fuzz targets, $time each"
