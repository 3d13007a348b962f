#!/usr/bin/env bash
# Everything that proves the repository works: build, deploy files, the agent in other kernels, fuzzing, then
# all tests on this one.
# The time of every stage is in the output. When tests fail, what they said is repeated at the end: a
# pipeline shows the last lines first.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh test
# shellcheck source=scripts/env.sh
source scripts/env.sh

# Loading eBPF needs root: as another user the test programs (not the compiler) run through sudo.
if ((EUID != 0)); then
    command -v sudo >/dev/null || die "the tests load eBPF programs: run as root, or install sudo"
    sudo -v || die "the tests load eBPF programs and sudo refused: run as root"
    triple=$("${RUSTC:-rustc}" -vV | sed -n 's/^host: //p')
    triple=${triple//-/_}
    export "CARGO_TARGET_${triple^^}_RUNNER=sudo -E"
fi

stage "binaries and test programs" scripts/build.sh --tests
stage "deploy files" tests/deploy/check.sh
stage "other kernels" scripts/test-kernels.sh
# Inputs that are new every time would fail a commit for what another brought in: `make fuzz` looks for those.
FUZZ_SEED=1 stage "fuzzing" scripts/fuzz.sh
options=(--release --workspace --no-fail-fast)
if [[ -n ${CI:-} ]]; then options+=(--locked); fi
log=$FLEETPROF_CACHE/logs/test.log
say "cargo test ${options[*]} (after $SECONDS s; log: $log)"
status=0
"$CARGO" test "${options[@]}" 2>&1 | tee "$log" || status=$?
if ((status != 0)); then
    say "what failed, in order"
    # libtest's own summary: the messages, then the names.
    awk '/^failures:$/ { shown = 1 } /^test result:/ { shown = 0 } shown' "$log"
    grep '^test result: FAILED' "$log" || true
fi
exit "$status"
