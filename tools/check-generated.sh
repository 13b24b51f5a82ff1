#!/usr/bin/env bash
# Fails when `go generate ./...` changes, adds or removes a file, and shows the difference. Files that git does not know yet
# count, ignored ones do not; changes made before the check do not matter, so it can be run in the middle of work.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# Every file with the hash of its bytes, one a line.
snapshot() {
	git ls-files -z --cached --others --exclude-standard | sort -zu |
		while IFS= read -rd '' file; do
			if [ -f "$file" ]; then printf '%s %s\n' "$(git hash-object --no-filters -- "$file")" "$file"; fi
		done
}

snapshot >"$scratch/before"
go generate ./... </dev/null
snapshot >"$scratch/after"
if ! diff "$scratch/before" "$scratch/after" >"$scratch/changed"; then
	echo "These generated files were not current, and are now; commit them:" >&2
	sed -n 's/^[<>] [0-9a-f]* /  /p' "$scratch/changed" | sort -u >&2
	git --no-pager diff --stat >&2
	exit 1
fi
