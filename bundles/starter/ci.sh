#!/bin/sh
# What a change of this policy must pass. Needs opa and regal; with signet in PATH, also what only Signet can check: errors of
# builtins, which `opa test` takes for undefined, and rules that an absent fact would silence.
set -eu
cd "$(dirname "$0")"
opa fmt --list --fail signing
opa check --strict --capabilities capabilities.json --schema schemas .
opa test --capabilities capabilities.json .
regal lint .
if command -v signet >/dev/null; then
	signet policy check .
	signet policy test --minimum-coverage 100 .
fi
