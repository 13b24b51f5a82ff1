#!/usr/bin/env bash
# What the action runs: INPUT_… are its inputs, SIGNET the program. Reports go to RUNNER_TEMP, their names to GITHUB_OUTPUT, the
# verdicts to the log and to GITHUB_STEP_SUMMARY. The exit code is that of `signet verify`.
set -euo pipefail

junit=$RUNNER_TEMP/signet-junit.xml sarif=$RUNNER_TEMP/signet.sarif
args=(--junit "$junit" --sarif "$sarif")
while IFS= read -r line; do
	[ -z "$line" ] || args+=(--file "$line")
done <<<"$INPUT_FILES"
[ -z "$INPUT_POLICY" ] || args+=(--policy "$INPUT_POLICY")
[ -z "$INPUT_CONFIG" ] || args+=(--config "$INPUT_CONFIG")
case $INPUT_STRICT in
true) args+=(--strict) ;;
false) ;;
*)
	echo "::error::strict is \"$INPUT_STRICT\", and must be true or false"
	exit 64
	;;
esac
args+=(--) # what follows are images, whatever it looks like
while IFS= read -r line; do
	[ -z "$line" ] || args+=("$line")
done <<<"$INPUT_IMAGES"

code=0
"$SIGNET" verify "${args[@]}" | tee "$RUNNER_TEMP/signet.txt" || code=$?
{
	echo "junit=$junit"
	echo "sarif=$sarif"
	echo "exit-code=$code"
} >>"$GITHUB_OUTPUT"
{
	echo "### Images"
	sed 's/^/    /' "$RUNNER_TEMP/signet.txt"
} >>"$GITHUB_STEP_SUMMARY"
exit "$code"
