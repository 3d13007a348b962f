#!/usr/bin/env bash
# Everything that proves the repository works: build, deploy files, the agent in other kernels, fuzzing, then
# all tests on this one.
# The last lines are cargo's own; the time of every stage before it is in the output.
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
say "cargo test ${options[*]} (after $SECONDS s)"
exec "$CARGO" test "${options[@]}"
