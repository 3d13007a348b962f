#!/usr/bin/env bash
# scripts/run-fleet.sh with the real binaries: that it ends by itself with equal books, refuses what it does not
# understand, and leaves nothing behind. RUN_STORE is the caller's (default: everything).
set -euo pipefail
cd "$(dirname "$0")/../.."

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export TMPDIR=$scratch/tmp
# PostgreSQL runs as another user than root.
chmod 711 "$scratch"
mkdir --mode=1777 "$TMPDIR"

fail() {
    printf 'FAILED: %s\n--- output ---\n' "$*"
    cat "$scratch/out"
    exit 1
}
printed() { grep -qE -- "$1" "$scratch/out" || fail "the output lacks: $1"; }
# run WANTED_STATUS: with the environment as it is.
run() {
    local status=0
    scripts/run-fleet.sh >"$scratch/out" 2>&1 </dev/null || status=$?
    ((status == $1)) || fail "exit code $status instead of $1"
}

RUN_FOR=soon run 2
printed 'RUN_FOR=soon is not a duration'
RUN_HOSTS=0 run 2
printed 'RUN_HOSTS=0 is not a number'
RUN_STORE=tape run 2
printed "neither 'shared'"
RUN_CAPTURE=$scratch/none run 2
printed 'cannot be read'

PORT=$(python3 -c '
import socket
with socket.socket() as one:
    one.bind(("127.0.0.1", 0))
    print(min(one.getsockname()[1], 65000))')
export PORT
RUN_FOR=12s RUN_HOSTS=40 RUN_SERVICES=8 run 0
printed '^\[final, after'
printed '^Samples that agents delivered: [1-9]'
if compgen -G "$TMPDIR/*" >/dev/null; then fail "files were left in \$TMPDIR: $(ls "$TMPDIR")"; fi
# Whoever was started has this in its environment.
for environment in /proc/[0-9]*/environ; do
    pid=${environment//[!0-9]/}
    if ((pid != $$)) && grep -qzxF "TMPDIR=$TMPDIR" "$environment" 2>/dev/null; then
        fail "process $pid was left running: $(tr '\0' ' ' <"/proc/$pid/cmdline")"
    fi
done
