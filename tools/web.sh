#!/usr/bin/env bash
# Builds the page's scripts and style sheets out of web/src into web/static, with the pinned esbuild. What it writes is
# committed; `make check-generated` fails when it is not current. What the Rego editor is made of (CodeMirror) is pinned by
# web/editor/package-lock.json and comes by npm, once for a given lock file.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
esbuild=$(tools/build.sh esbuild)
"$esbuild" web/src/app.js --bundle --minify --target=es2022 --format=iife --legal-comments=none --log-level=warning --outfile=web/static/app.js
"$esbuild" web/src/signet.css web/src/page.css --bundle --minify --target=es2022 --log-level=warning --outdir=web/static
cp web/src/vendor/htmx-2.0.11.min.js web/static/htmx.js
cp web/src/icon.svg web/static/icon.svg

command -v npm >/dev/null || { echo "tools/web.sh: npm is missing; the editor's packages come by it (Node.js 20 or newer)" >&2; exit 1; }
if ! cmp -s web/editor/package-lock.json web/editor/node_modules/.signet-lock; then
	(cd web/editor && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null)
	cp web/editor/package-lock.json web/editor/node_modules/.signet-lock
fi
# What the library offers to rules, for completion: the names of its rules and functions that do not begin with _.
find rego/signing/lib -name '*.rego' ! -name '*_test.rego' -print0 | LC_ALL=C sort -z | xargs -0 awk '
	/^package / { package = $2 }
	package ~ /^signing\.lib/ && match($0, /^[a-z][a-z0-9_]*(\([^)]*\))?( |$)/) {
		head = substr($0, 1, RLENGTH); sub(/ $/, "", head)
		if (head !~ /^(package|import|default|else)$/ && !seen[package "." head]++) print package "." head
	}' | LC_ALL=C sort | awk 'BEGIN { print "[" } { gsub(/"/, "\\\""); printf "%s\t\"%s\"", (NR > 1 ? ",\n" : ""), $0 } END { print "\n]" }' >web/editor/library.json
"$esbuild" web/editor/editor.js --bundle --minify --target=es2022 --format=iife --legal-comments=none --log-level=warning --outfile=web/static/editor.js \
	--banner:js='/* With CodeMirror 6 and Lezer, Copyright (C) by Marijn Haverbeke and others, under the MIT License (web/editor/LICENSE.codemirror). */'
