#!/usr/bin/env bash
# `make run-fleet`: an S3 server (SeaweedFS), a catalog (PostgreSQL), three collectors that share them, and some
# hundred simulated agents that replay what was recorded on this host, all on loopback; shows what they hold.
#
#   RUN_FOR=30s            stop after 30 s (also 30, 2m, 1h) with exit 0; without it, until Ctrl-C
#   PORT=7171              the first collector's port; the others have those after it
#   RUN_HOSTS=200          simulated hosts
#   RUN_SERVICES=40        simulated services
#   RUN_CAPTURE=FILE       what they replay (`fleetprof-agent record` wrote it); without it, this host's C++ compiler
#   RUN_COLLECTORS=3       collectors
#   RUN_STORE=folder       one collector and a folder, without S3 server and catalog
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/env.sh
source scripts/env.sh

export RECIPE=run-fleet
PORT=${PORT:-7171}
RUN_STORE=${RUN_STORE:-shared}
RUN_COLLECTORS=${RUN_COLLECTORS:-3}
RUN_HOSTS=${RUN_HOSTS:-200}
RUN_SERVICES=${RUN_SERVICES:-40}
REFRESH=10
# Shorter than an agent's usual one: something is to be seen soon.
WINDOW=5s

# whole VARIABLE MOST: dies unless it is a number from 1 to MOST.
whole() {
    [[ ${!1} =~ ^[1-9][0-9]{0,5}$ ]] && ((${!1} <= $2)) && return
    echo "error: $1=${!1} is not a number from 1 to $2" >&2
    exit 2
}
whole RUN_HOSTS 100000
whole RUN_SERVICES 100000
whole RUN_COLLECTORS 50
whole PORT "$((65535 - RUN_COLLECTORS))"
case $RUN_STORE in
shared) ;;
folder) RUN_COLLECTORS=1 ;;
*)
    echo "error: RUN_STORE=$RUN_STORE is neither 'shared' (S3 server and catalog) nor 'folder'" >&2
    exit 2
    ;;
esac
RUN_SECONDS=
if [[ -n ${RUN_FOR:-} ]]; then RUN_SECONDS=$(seconds "$RUN_FOR"); fi
if [[ -n ${RUN_CAPTURE:-} && ! -r $RUN_CAPTURE ]]; then
    echo "error: RUN_CAPTURE=$RUN_CAPTURE cannot be read; make one with \`fleetprof-agent record\`" >&2
    exit 2
fi

# The servers and the compiler that is recorded are those of the tests.
if [[ $RUN_STORE == shared || -z ${RUN_CAPTURE:-} ]]; then scripts/setup.sh test; fi
# FLEETPROF_BIN_DIR=DIR uses binaries that are already there.
if [[ -z ${FLEETPROF_BIN_DIR:-} ]]; then scripts/build.sh; fi
# Also those that build.sh does not copy into the tree.
BIN=${FLEETPROF_BIN_DIR:-$CARGO_TARGET_DIR/release}
TEMPORARY=$(mktemp -d "${TMPDIR:-/tmp}/fleetprof-run-fleet.XXXXXX")
LOGS=$TEMPORARY/logs
mkdir "$LOGS"
# Programs that are killed leave temporary files, and SeaweedFS its logs. PostgreSQL runs as another user.
chmod 711 "$TEMPORARY"
mkdir --mode=1777 "$TEMPORARY/tmp"
export TMPDIR=$TEMPORARY/tmp
# shellcheck source=scripts/stack.sh
source scripts/stack.sh

# By name, in the order in which they are started: servers, collector-N, sim.
NAMES=()
declare -A PIDS=()

stopping=
request_stop() { stopping=1; }
trap request_stop INT TERM

# At every exit: the agents first, whose last batches still find a collector, then what they stand on.
finish() {
    local status=$? index
    trap '' INT TERM
    for ((index = ${#NAMES[@]} - 1; index >= 0; index--)); do stop "${PIDS[${NAMES[index]}]}" 30; done
    if ((status == 0)); then "${SUDO[@]}" rm -rf "$TEMPORARY"; fi
}
trap finish EXIT

# start NAME COMMAND…: as a child whose log has its name.
start() {
    local name=$1
    shift
    spawn "$LOGS/$name.log" "$@"
    NAMES+=("$name")
    PIDS[$name]=$SPAWNED
}

check_all() {
    local name
    for name in "${NAMES[@]}"; do alive "${PIDS[$name]}" || fail_with_log "$name" "ended by itself"; done
}

# start_servers: sets what a collector's environment has to have.
start_servers() {
    local environment=$TEMPORARY/environment deadline=$((SECONDS + 120))
    start servers "$BIN/fleetprof-servers" --dir "$TEMPORARY/store" --environment "$environment"
    until [[ -e $environment ]]; do
        [[ -z $stopping ]] || exit 0
        check_all
        ((SECONDS < deadline)) || fail_with_log servers "was not ready after 120 s"
        sleep 0.2
    done
    # shellcheck source=/dev/null
    source "$environment"
}

# collector_flags: how a collector is told where its data is.
collector_flags() {
    FLAGS=(--data-dir "$TEMPORARY/collector-$1")
    if [[ $RUN_STORE == shared ]]; then
        FLAGS+=(--store "$FLEETPROF_COLLECTOR_STORE" --catalog "$FLEETPROF_COLLECTOR_CATALOG")
    fi
}

start_collectors() {
    local number port
    for ((number = 1; number <= RUN_COLLECTORS; number++)); do
        port=$((PORT + number - 1))
        collector_flags "$number"
        start "collector-$number" "$BIN/fleetprof-collector" --listen "127.0.0.1:$port" "${FLAGS[@]}"
        URLS+=("http://127.0.0.1:$port")
    done
    for ((number = 1; number <= RUN_COLLECTORS; number++)); do
        wait_ready "collector-$number" "${PIDS[collector-$number]}" "$((PORT + number - 1))" /readyz 60
    done
}

query() { "$BIN/fleetprof" --collector "$COLLECTOR_URL" "$@"; }

show() {
    printf '\n[%s]\nServices, by the cores they use\n' "$1"
    query services --from "$STARTED" --limit 15
    printf '\nAgents and store\n'
    # Some agents stand for all.
    query status 2>&1 | sed -n '1,12p'
}

over() { [[ -n $stopping ]] || { [[ -n $RUN_SECONDS ]] && ((SECONDS - began >= RUN_SECONDS)); }; }

pause() {
    local until=$((SECONDS + $1))
    while ((SECONDS < until)) && ! over; do
        check_all
        sleep 0.2 || true
    done
}

for ((number = 0; number < RUN_COLLECTORS; number++)); do require_free "$((PORT + number))" PORT; done
source_options=(--record 8s)
if [[ -n ${RUN_CAPTURE:-} ]]; then source_options=(--capture "$RUN_CAPTURE"); else need_root; fi

if [[ $RUN_STORE == shared ]]; then
    say "starting SeaweedFS and PostgreSQL"
    start_servers
fi
say "starting collectors, from $COLLECTOR_URL on: $RUN_COLLECTORS"
URLS=()
start_collectors
# The first windows begin a little before their agents.
STARTED=$((EPOCHSECONDS - 10))
say "starting simulated agents: $RUN_HOSTS, once they have something to replay"
as_root=()
if [[ -z ${RUN_CAPTURE:-} ]]; then as_root=("${SUDO[@]}"); fi
collectors=$(IFS=, && echo "${URLS[*]}")
start sim "${as_root[@]}" "$BIN/fleetprof-sim" "${source_options[@]}" --names --window "$WINDOW" \
    --hosts "$RUN_HOSTS" --services "$RUN_SERVICES" --collectors "$collectors"

until grep -q '^agents started' "$LOGS/sim.log" || [[ -n $stopping ]]; do
    check_all
    sleep 0.2 || true
done
began=$SECONDS
say "the first windows arrive in about ${WINDOW%s} s"
pause "$REFRESH"
until over; do
    show "after $((SECONDS - began)) s" || printf '(the query failed; trying again in %d s)\n' "$REFRESH"
    pause "$REFRESH"
done

# Ending the agents sends what they still hold, so that the final table has every sample.
check_all
stop "${PIDS[sim]}" 90
acknowledged=$(sed -n 's/^\([0-9]*\) samples acknowledged.*/\1/p' "$LOGS/sim.log")
[[ -n $acknowledged ]] || fail_with_log sim "ended without a report"
show "final, after $((SECONDS - began)) s" || die "the final query failed; the collectors' logs are in $LOGS"
held=$(query services --from "$STARTED" -o json | awk -F '[:,]' '/"samples"/ { sum += $2 } END { print sum + 0 }')
printf '\nSamples that agents delivered: %s; that the collectors hold: %s\n' "$acknowledged" "$held"
# Whoever stops it at once has seen nothing and knows why.
if [[ -z $stopping ]] && { ((acknowledged == 0)) || ((acknowledged != held)); }; then
    die "the two numbers should be equal and not 0; the logs are in $LOGS"
fi
