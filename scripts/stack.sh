# shellcheck shell=bash
# A collector and an agent on this host, for run.sh and run-fleet.sh. Sourced after env.sh; starts and ends processes, prints
# nothing on its own except on failure.
#
# In:  PORT, METRICS_PORT, DATA (directory), LOGS (directory), BIN (directory of the three binaries), RECIPE (of the
#      Makefile, optional).
# Out: COLLECTOR_PID, AGENT_PID (empty when not running), COLLECTOR_URL.

COLLECTOR_PID=
AGENT_PID=
COLLECTOR_URL=http://127.0.0.1:$PORT
SUDO=()

# need_root: only the agent needs it (eBPF); the collector runs as who calls.
need_root() {
    ((EUID != 0)) || return 0
    command -v sudo >/dev/null || die "the agent loads eBPF programs: run as root, or install sudo"
    sudo -v || die "the agent loads eBPF programs and sudo refused: run as root"
    SUDO=(sudo)
}

# listening PORT: is anybody there? Bash's own /dev/tcp, because a fresh Debian has no curl.
listening() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# require_free PORT VARIABLE: dies naming the port, its owner where `ss` knows it, and the way out.
require_free() {
    listening "$1" || return 0
    local owner=
    if command -v ss >/dev/null; then
        owner=$(ss -Hltnp "sport = :$1" | sed -n 's/.*users:(("\([^"]*\)",pid=\([0-9]*\).*/ by \1 (pid \2)/p' | head -n 1)
    fi
    die "port $1 is in use$owner; choose another one, for example: $2=$(($1 + 100)) make ${RECIPE:-run}"
}

# http_status PORT PATH: the status code, or nothing when there is no answer within 2 s.
http_status() {
    local line
    {
        printf 'GET %s HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n' "$2" >&3 &&
            read -r -t 2 line <&3 && line=${line#* } && printf '%s' "${line%% *}"
    } 3<>"/dev/tcp/127.0.0.1/$1" || true
} 2>/dev/null

# spawn LOG COMMAND…: in a process group of its own, so that Ctrl-C reaches this script alone and the
# script can end the two in the right order. Sets SPAWNED.
spawn() {
    local log=$1
    shift
    set -m
    "$@" >"$log" 2>&1 </dev/null &
    SPAWNED=$!
    set +m
}

start_collector() {
    spawn "$LOGS/collector.log" "$BIN/fleetprof-collector" --listen "127.0.0.1:$PORT" --data-dir "$DATA"
    COLLECTOR_PID=$SPAWNED
}

# Uploads need no restraint here: they cross loopback only, and names are there sooner.
start_agent() {
    spawn "$LOGS/agent.log" "${SUDO[@]}" "$BIN/fleetprof-agent" run --collector "$COLLECTOR_URL" \
        --upload-rate 256MiB --spool-dir "$DATA/spool" --unwind-cache-dir "$DATA/unwind" \
        --metrics-listen "127.0.0.1:$METRICS_PORT"
    AGENT_PID=$SPAWNED
}

# Not `kill -0`: a process that sudo started belongs to root, and the shell reaps its own children.
alive() { [[ -n $1 && -e /proc/$1 ]]; }

# fail_with_log NAME WHAT: what a person needs when one of the two is gone.
fail_with_log() {
    printf -- '--- the last lines of %s ---\n' "$LOGS/$1.log" >&2
    tail -n 25 "$LOGS/$1.log" >&2
    die "fleetprof-$1 $2; its log is $LOGS/$1.log"
}

# check_alive: dies with the log's tail when one of the two ended by itself.
check_alive() {
    alive "$COLLECTOR_PID" || fail_with_log collector "ended by itself"
    alive "$AGENT_PID" || fail_with_log agent "ended by itself"
}

# wait_ready NAME PID PORT PATH SECONDS: until PATH answers 200.
wait_ready() {
    local deadline=$((SECONDS + $5))
    until [[ $(http_status "$3" "$4") == 200 ]]; do
        alive "$2" || fail_with_log "$1" "ended by itself while starting"
        ((SECONDS < deadline)) || fail_with_log "$1" "was not ready ($4 on port $3) after $5 s"
        sleep 0.2
    done
}

# signal NAME PID: through the shell's own `kill`, because a minimal Debian has no other that sudo could run.
# shellcheck disable=SC2016  # for the inner shell
signal() { "${SUDO[@]}" bash -c 'kill -s "$1" -- "$2"' kill "$1" "$2" 2>/dev/null || true; }

# ended PID SECONDS: waits until it is gone; false when it is still there after that time.
ended() {
    local deadline=$((SECONDS + $2))
    while alive "$1"; do
        ((SECONDS < deadline)) || return 1
        sleep 0.1
    done
}

# stop PID SECONDS: asks, waits, then insists. Never fails: it runs while things are going wrong, too.
stop() {
    alive "$1" || return 0
    signal TERM "$1"
    ended "$1" "$2" && return 0
    say "process $1 did not end within $2 s of SIGTERM; killing it"
    # Its group, because sudo cannot pass this signal on to what it started.
    signal KILL "-$1"
    ended "$1" 5 || say "process $1 cannot be ended; end it by hand"
}

# The agent first: what it still holds goes to a collector that is still there.
stop_agent() {
    stop "$AGENT_PID" 20
    AGENT_PID=
}
stop_stack() {
    stop_agent
    stop "$COLLECTOR_PID" 20
    COLLECTOR_PID=
}
