#!/usr/bin/env bash
# Checks of the deployment files and of the scripts around them, against the release binaries in target/release.
# Called by `make test`; alone: tests/deploy/check.sh (after `make build`, or with FLEETPROF_BIN_DIR=DIR of other binaries).
set -euo pipefail
cd "$(dirname "$0")/../.."
scripts/setup.sh test
# shellcheck source=scripts/env.sh
source scripts/env.sh

failed=()
# check NAME COMMAND…: quiet when it succeeds.
check() {
    local name=$1 output
    shift
    if output=$("$@" 2>&1); then
        printf 'ok - %s\n' "$name"
    else
        printf 'FAILED - %s\n%s\n' "$name" "$output"
        failed+=("$name")
    fi
}

for dockerfile in deploy/docker/*.Dockerfile; do check "hadolint $dockerfile" hadolint "$dockerfile"; done
# What `kubectl apply -k` would send. kubectl itself has no schemas: those are a cluster's, or the validator's.
# Two versions: the newest, and the oldest that knows every field used here (appArmorProfile: 1.30).
rendered=$(mktemp)
trap 'rm -f "$rendered"' EXIT
render() { kubectl kustomize "$1" >"$rendered"; }
for kustomization in deploy/kubernetes*/; do
    check "kubectl kustomize $kustomization" render "$kustomization"
    for version in 1.37 1.30; do
        check "kubernetes-validate -k $version" kubernetes-validate --strict -k "$version" "$rendered"
    done
done

# verify_unit UNIT: with a stand-in for the binary, which is installed only where the unit is.
verify_unit() {
    local scratch status=0
    scratch=$(mktemp -d)
    sed 's|^ExecStart=/usr/local/bin/[a-z-]*|ExecStart=/bin/true|' "$1" >"$scratch/$(basename "$1")"
    systemd-analyze verify "$scratch/$(basename "$1")" || status=$?
    # "exposure" of 10 is a unit without any hardening; the agent's capabilities alone make about 3.
    systemd-analyze security --no-pager --offline=yes --threshold=40 "$scratch/$(basename "$1")" || status=$?
    rm -rf "$scratch"
    return "$status"
}
for unit in deploy/systemd/*.service; do
    if command -v systemd-analyze >/dev/null; then
        check "systemd-analyze $unit" verify_unit "$unit"
    else
        printf 'not checked (no systemd-analyze here; check.py reads it): %s\n' "$unit"
    fi
done

check "the image's health check tells 200 from the rest" tests/deploy/healthcheck.sh
check "make run: ports, ends, failures" tests/deploy/run-script.sh
# With what was built already: fewer crates in one build mean other features of dependencies, and all anew.
FLEETPROF_BIN_DIR=${FLEETPROF_BIN_DIR:-$CARGO_TARGET_DIR/release} check "make run-fleet: ends, refusals, equal books" \
    tests/deploy/run-fleet-script.sh
check "the agent works with the manifest's capabilities alone" tests/deploy/capabilities.sh
# Not through `check`: its own lines are the report.
"$FLEETPROF_CACHE/venv/bin/python" tests/deploy/check.py "${FLEETPROF_BIN_DIR:-target/release}" || failed+=("check.py")

if ((${#failed[@]} > 0)); then
    printf 'deploy checks failed: %s\n' "${failed[@]}" >&2
    exit 1
fi
