#!/usr/bin/env bash
# Every check that reads instead of runs. All of them are tried; the exit code says whether one failed.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh lint
# shellcheck source=scripts/env.sh
source scripts/env.sh

failed=()
# check NAME COMMAND…
check() {
    local name=$1
    shift
    stage "$name" "$@" || failed+=("$name")
}
mapfile -t shell_files < <(git ls-files --cached --others --exclude-standard -- '*.sh' .ci/run)
mapfile -t dockerfiles < <(git ls-files --cached --others --exclude-standard -- '*Dockerfile')

check "file sizes" scripts/file-sizes.sh
check "rustfmt" "$CARGO" fmt --all --check
check "rustfmt of ebpf/" "$CARGO" fmt --manifest-path ebpf/Cargo.toml --check
check "shellcheck" shellcheck -x "${shell_files[@]}"
check "hadolint" hadolint "${dockerfiles[@]}"
check "yamllint" yamllint --strict .
# Without `advisories`: that one downloads a database. `cargo deny check advisories` asks it.
check "cargo deny" "$CARGO" deny --all-features check --hide-inclusion-graph bans licenses sources
check "clippy" "$CARGO" clippy --workspace --all-targets -- -D warnings

if ((${#failed[@]} > 0)); then
    printf 'lint failed: %s\n' "${failed[@]}" >&2
    exit 1
fi
say "lint: no complaints"
