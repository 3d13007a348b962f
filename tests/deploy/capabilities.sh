#!/usr/bin/env bash
# Runs the real agent as root with exactly the capabilities of deploy/kubernetes/agent.yaml, and expects the
# stacks of a process of another user, which is what most of these capabilities are for.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=scripts/env.sh
source scripts/env.sh

if ((EUID != 0)); then
    command -v sudo >/dev/null || die "this test gives up capabilities: run as root"
    exec sudo -E "$0"
fi

scratch=$(mktemp -d)
busy=()
finish() {
    local pid
    for pid in "${busy[@]}"; do kill "$pid" 2>/dev/null || true; done
    rm -rf "$scratch"
}
trap finish EXIT

# The list items of `add:` without their comments, in setpriv's spelling.
capabilities=$("$FLEETPROF_CACHE/venv/bin/python" - <<'PYTHON'
import yaml
documents = yaml.safe_load_all(open("deploy/kubernetes/agent.yaml", encoding="utf-8"))
pod = next(d for d in documents if d["kind"] == "DaemonSet")["spec"]["template"]["spec"]
print(",".join("+" + name.lower() for name in pod["containers"][0]["securityContext"]["capabilities"]["add"]))
PYTHON
)

# Files that only their owner may read (DAC_READ_SEARCH), of another user (SYS_PTRACE), deleted while they run
# (CHECKPOINT_RESTORE, for the library: /proc/PID/map_files).
private=$scratch/private
install -d -m 0700 -o 65534 -g 65534 "$private"
chmod 0711 "$scratch"
library=$(ldd "$(command -v xz)" | awk '$1 ~ /^liblzma/ { print $3 }')
install -m 0500 -o 65534 -g 65534 "$library" "$(command -v xz)" "$private/"
setpriv --reuid=65534 --regid=65534 --clear-groups env "LD_LIBRARY_PATH=$private" "$private/xz" -c </dev/zero >/dev/null &
busy+=($!)
until grep -qs "$private/liblzma" "/proc/${busy[0]}/maps"; do
    kill -0 "${busy[0]}"
    sleep 0.05
done
rm -r "$private"
# Lives in system calls, so that kernel functions are certainly sampled.
dd if=/dev/zero of=/dev/null bs=1024 2>/dev/null &
busy+=($!)

setpriv --no-new-privs --inh-caps=-all --bounding-set="-all,$capabilities" \
    "${FLEETPROF_BIN_DIR:-target/release}/fleetprof-agent" record --duration 3s --output "$scratch/out.pb.gz"
go tool pprof -raw "$scratch/out.pb.gz" >"$scratch/raw" 2>/dev/null
sed -n '/^Mappings/,$p' "$scratch/raw" >"$scratch/mappings"

# expect WHAT FILE PATTERN
expect() {
    grep -qE "$3" "$scratch/$2" && return
    cat "$scratch/mappings"
    die "$1 is missing from the profile (capabilities: $capabilities)"
}
expect "the build ID of the other user's deleted library" mappings "$private/liblzma[^ ]* [0-9a-f]{16,}"
# SYSLOG: without it kernel addresses have no names.
expect "a named kernel function" raw ' (do_syscall_64|el0_svc)( |$)'
