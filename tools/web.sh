#!/usr/bin/env bash
# Builds the page's script and style sheet out of web/src into web/static, with the pinned esbuild. What it writes is
# committed; `make check-generated` fails when it is not current.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
esbuild=$(tools/build.sh esbuild)
"$esbuild" web/src/app.js --bundle --minify --target=es2022 --format=iife --legal-comments=none --log-level=warning --outfile=web/static/app.js
"$esbuild" web/src/signet.css web/src/page.css --bundle --minify --target=es2022 --log-level=warning --outdir=web/static
cp web/src/vendor/htmx-2.0.11.min.js web/static/htmx.js
cp web/src/icon.svg web/static/icon.svg
