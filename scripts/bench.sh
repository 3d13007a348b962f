#!/usr/bin/env bash
# What fleetprof costs on this host (tests/src/bin/bench: agent, eBPF programs, perf beside them, collector),
# then the crates' own benchmarks. Takes some minutes; keep the machine quiet.
#
#   BENCH_OPTIONS="--rates 19 --only agent"   options of the first part; --help lists them
#   BENCH_OBJECT=FILE   the object whose symbol table is measured, instead of an agent built for that with
#                       all its debug information (211 MB, ten minutes)
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh bench
scripts/build.sh
# shellcheck source=scripts/env.sh
source scripts/env.sh

as_root=()
if ((EUID != 0)); then
    command -v sudo >/dev/null || die "the agent loads eBPF programs: run as root, or install sudo"
    as_root=(sudo -E)
fi
read -ra options <<<"${BENCH_OPTIONS:-}"
stage "agent and collector on this host" "${as_root[@]}" "$CARGO_TARGET_DIR/release/bench" "${options[@]}"
if grep -qs '^\[\[bench\]\]' ./*/Cargo.toml; then
    stage "the crates' own benchmarks" "$CARGO" bench --workspace --exclude fleetprof-iceberg --bench '*'
fi
if [[ -z ${BENCH_OBJECT:-} ]]; then
    stage "an agent with all debug information" "$CARGO" build --profile debuginfo -p fleetprof-agent --bin fleetprof-agent
    BENCH_OBJECT=$CARGO_TARGET_DIR/debuginfo/fleetprof-agent
fi
stage "a large symbol table" "$CARGO" bench -p fleetprof-symtab --bench table -- "$BENCH_OBJECT"
