#!/usr/bin/env bash
# scripts/run.sh with fakes for the binaries: what it prints, how it ends, and that nothing stays behind.
set -euo pipefail
cd "$(dirname "$0")/../.."

scratch=$(mktemp -d)
fakes=$(mktemp -d)
trap 'rm -rf "$scratch" "$fakes"' EXIT
ln -s "$PWD/tests/deploy/fakes/fleetprof" "$fakes/fleetprof"
for name in fleetprof-agent fleetprof-collector; do ln -s "$PWD/tests/deploy/fakes/server.py" "$fakes/$name"; done
export TMPDIR=$scratch FAKE_PIDS=$scratch/pids FLEETPROF_BIN_DIR=$fakes

fail() {
    printf 'FAILED: %s\n--- output ---\n' "$*"
    cat "$scratch/out"
    exit 1
}
printed() { grep -qF -- "$1" "$scratch/out" || fail "the output lacks: $1"; }
nothing_runs() {
    local pid
    while read -r pid; do
        if [[ -e /proc/$pid ]]; then fail "process $pid was left running"; fi
    done <"$FAKE_PIDS"
}
# fresh: two free ports in a row, and no memory of the case before.
fresh() {
    : >"$FAKE_PIDS"
    rm -rf "$scratch"/fleetprof-run.* "$scratch/out"
    PORT=$(python3 -c '
import socket
while True:
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        try:
            second.bind(("127.0.0.1", first.getsockname()[1] + 1))
        except (OSError, OverflowError):
            continue
        print(first.getsockname()[1])
        break')
    export PORT
}
# run WANTED_STATUS: with the environment as it is.
run() {
    local status=0
    scripts/run.sh >"$scratch/out" 2>&1 </dev/null || status=$?
    ((status == $1)) || fail "exit code $status instead of $1"
}

# RUN_FOR ends with the final table, exit code 0 and an empty $TMPDIR.
fresh
RUN_FOR=1s run 0
printed "[final, after"
printed "TABLE --collector http://127.0.0.1:$PORT services --from"
printed "TABLE --collector http://127.0.0.1:$PORT top --from"
printed "go tool pprof http://127.0.0.1:$PORT/pprof/checkout"
nothing_runs
if compgen -G "$scratch/fleetprof-run.*" >/dev/null; then fail "the temporary directory was left"; fi

# RUN_DATA is kept.
fresh
RUN_DATA=$scratch/kept RUN_FOR=1 run 0
[[ -d $scratch/kept ]] || fail "RUN_DATA was removed"
nothing_runs

# Bad settings are refused before anything starts.
fresh
RUN_FOR=soon run 2
printed "RUN_FOR=soon is not a duration"
PORT=99999 RUN_FOR=1s run 2
printed "PORT=99999 is not a port number"

# A port in use is named, with the way out.
fresh
python3 -c 'import http.server, sys; http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), http.server.BaseHTTPRequestHandler).serve_forever()' "$PORT" 2>/dev/null &
other=$!
until (exec 3<>"/dev/tcp/127.0.0.1/$PORT") 2>/dev/null; do
    kill -0 "$other"
    sleep 0.05
done
RUN_FOR=1s run 1
kill "$other"
wait "$other" 2>/dev/null || true
printed "port $PORT is in use"
printed "PORT=$((PORT + 100)) make run"

# When one of the two breaks, its log is shown and the other one is ended.
for broken in collector agent; do
    fresh
    FAKE_BROKEN=$broken RUN_FOR=20s run 1
    printed "error: the fake $broken broke as it was told"
    printed "fleetprof-$broken ended by itself"
    nothing_runs
done

# Empty tables are no success.
fresh
FAKE_EMPTY=1 RUN_FOR=1s run 1
printed "[final, after"
printed "fleetprof-agent delivered no sample in"
nothing_runs

# A signal ends it like RUN_FOR does. (SIGTERM: SIGINT is ignored in a background job of a script.)
fresh
scripts/run.sh >"$scratch/out" 2>&1 </dev/null &
script=$!
until grep -qs "sampling every process" "$scratch/out"; do
    kill -0 "$script" || fail "the script ended by itself"
    sleep 0.05
done
kill -TERM "$script"
wait "$script" || fail "exit code $? after SIGTERM"
printed "[final, after"
nothing_runs
