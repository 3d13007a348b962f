#!/usr/bin/env bash
# `make run`: builds, starts a collector and an agent on this host, and shows where its CPU goes.
#
#   RUN_FOR=30s     stop after 30 s (also 30, 2m, 1h) with exit 0; without it, until Ctrl-C
#   PORT=7171       the collector's port; the agent's metrics are on METRICS_PORT (PORT + 1)
#   RUN_DATA=DIR    keep the data there; without it, a temporary directory that is removed at the end
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/env.sh
source scripts/env.sh

PORT=${PORT:-7171}
if ! [[ $PORT =~ ^[1-9][0-9]{0,4}$ ]] || ((PORT >= 65535)); then
    echo "error: PORT=$PORT is not a port number below 65535" >&2
    exit 2
fi
METRICS_PORT=${METRICS_PORT:-$((PORT + 1))}
# The tables cover this run, and of a long one the last five minutes.
LONGEST_SPAN=300
# The agent sends a window of 10 s when it is over.
WINDOW=10
TERMINAL=
REFRESH=10
if [[ -t 1 ]]; then
    TERMINAL=1
    REFRESH=3
fi

RUN_SECONDS=
if [[ -n ${RUN_FOR:-} ]]; then RUN_SECONDS=$(seconds "$RUN_FOR"); fi

# FLEETPROF_BIN_DIR=DIR uses binaries that are already there (the test of this script does).
BIN=${FLEETPROF_BIN_DIR:-target/release}
if [[ -z ${FLEETPROF_BIN_DIR:-} ]]; then scripts/build.sh; fi
# shellcheck source=scripts/stack.sh
source scripts/stack.sh

need_root
require_free "$PORT" PORT
require_free "$METRICS_PORT" METRICS_PORT

TEMPORARY=
if [[ -n ${RUN_DATA:-} ]]; then
    mkdir -p "$RUN_DATA" || die "cannot make the directory RUN_DATA=$RUN_DATA"
    DATA=$(cd "$RUN_DATA" && pwd)
else
    TEMPORARY=$(mktemp -d "${TMPDIR:-/tmp}/fleetprof-run.XXXXXX")
    DATA=$TEMPORARY/data
    mkdir "$DATA"
fi
LOGS=${TEMPORARY:-$DATA}/logs
mkdir -p "$LOGS"

stopping=
request_stop() { stopping=1; }
trap request_stop INT TERM

# At every exit: nothing keeps running; the temporary directory goes, unless its logs explain a failure.
finish() {
    local status=$?
    trap '' INT TERM
    stop_stack
    if ((status == 0)) && [[ -n $TEMPORARY ]]; then "${SUDO[@]}" rm -rf "$TEMPORARY"; fi
}
trap finish EXIT

query() { "$BIN/fleetprof" --collector "$COLLECTOR_URL" "$@"; }

# rows: how many services and functions fit the terminal beside the rest of the frame (15 and 15 elsewhere).
rows() {
    local lines=100 services functions
    if [[ -n $TERMINAL ]]; then
        lines=$({ stty size </dev/tty || echo 24; } 2>/dev/null)
        lines=${lines%% *}
    fi
    services=$(((lines - 18) / 3))
    ((services >= 3)) || services=3
    ((services <= 15)) || services=15
    functions=$((lines - 18 - services))
    ((functions >= 5)) || functions=5
    ((functions <= 15)) || functions=15
    printf '%d %d\n' "$services" "$functions"
}

tables() {
    local from=$((EPOCHSECONDS - LONGEST_SPAN)) services functions
    if ((from < STARTED)); then from=$STARTED; fi
    read -r services functions < <(rows)
    printf 'Services, by the cores they use\n'
    query services --from "$from" --limit "$services" || return
    printf '\nFunctions of all services\n'
    query top --from "$from" --limit "$functions" || return
}

# The name of the busiest service, for commands that can be pasted as they are.
first_service() {
    query services --from "$STARTED" -o json 2>/dev/null |
        grep -o '"service": *"[^"]*"' | head -n 1 | cut -d '"' -f 4 || true
}

how_to() {
    local service
    service=$(first_service)
    service=${service:-SERVICE}
    cat <<TEXT

A pprof of one service:  go tool pprof $COLLECTOR_URL/pprof/$service
                         $BIN/fleetprof --collector $COLLECTOR_URL pprof $service -o $service.pb.gz
Everything else:         $BIN/fleetprof --collector $COLLECTOR_URL --help
Collector: $COLLECTOR_URL/metrics   agent: http://127.0.0.1:$METRICS_PORT/metrics   logs: $LOGS
TEXT
}

# refresh: one frame; in place on a terminal. A query that fails while both are alive is shown, not fatal.
refresh() {
    if [[ -n $TERMINAL ]]; then printf '\033[H\033[J'; else printf '\n[after %d s]\n' "$((SECONDS - started))"; fi
    tables 2>&1 || printf '(the query failed; trying again in %d s)\n' "$REFRESH"
    if [[ -n $TERMINAL ]]; then
        how_to
        printf '\nCtrl-C stops.\n'
    fi
}

over() { [[ -n $stopping ]] || { [[ -n $RUN_SECONDS ]] && ((SECONDS - started >= RUN_SECONDS)); }; }

# pause SECONDS: in short steps, so that a signal, the end of RUN_FOR and a dead child are seen at once.
pause() {
    local until=$((SECONDS + $1))
    while ((SECONDS < until)) && ! over; do
        check_alive
        sleep 0.2 || true
    done
}

say "starting the collector on $COLLECTOR_URL (data: $DATA)"
start_collector
wait_ready collector "$COLLECTOR_PID" "$PORT" /readyz 30
say "starting the agent"
STARTED=$EPOCHSECONDS
start_agent
wait_ready agent "$AGENT_PID" "$METRICS_PORT" /healthz 30

started=$SECONDS
say "sampling every process of this host; the first window of data arrives in about $WINDOW s"
pause "$((WINDOW + 2))"
[[ -n $TERMINAL ]] || how_to
until over; do
    refresh
    pause "$REFRESH"
done

# Ending the agent first sends what it still holds, so that the final table has every sample.
check_alive
stop_agent
printf '\n[final, after %d s]\n' "$((SECONDS - started))"
tables 2>&1 || die "the final query failed; the collector's log is $LOGS/collector.log"
# Whoever stops it at once has seen nothing and knows why.
if [[ -z $stopping && -z $(first_service) ]]; then
    fail_with_log agent "delivered no sample in $((SECONDS - started)) s"
fi
if [[ -z $TEMPORARY ]]; then
    printf '\nThe data stays in %s; look at it again with:\n  fleetprof-collector --listen 127.0.0.1:%s --data-dir %s\n' "$DATA" "$PORT" "$DATA"
fi
