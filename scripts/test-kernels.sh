#!/usr/bin/env bash
# Runs the agent's library inside Debian's kernels, in emulated machines, and judges what they print.
#
#   scripts/test-kernels.sh                        # the whole matrix
#   scripts/test-kernels.sh x86_64-5.10 arm64-6.1  # some of it
#
# Each machine boots a kernel with an initramfs of busybox, fleetprof-guest (tests/kernels/guest) and the test
# programs (tests/kernels/programs). The kernels are Debian's own, downloaded and verified by apt into
# $FLEETPROF_CACHE/kernels and used from there; deleting that folder fetches the newest ones again.
# Emulation is for right and wrong, not for costs: nothing here measures time that the product takes.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh kernels
# shellcheck source=scripts/env.sh
source scripts/env.sh
# shellcheck source=tests/kernels/packages.sh
source tests/kernels/packages.sh
# shellcheck source=tests/kernels/initramfs.sh
source tests/kernels/initramfs.sh
# shellcheck source=tests/kernels/machine.sh
source tests/kernels/machine.sh

# The matrix: architecture and series, 7 being the newest that starts with it.
readonly MATRIX=(x86_64-5.10 x86_64-6.1 x86_64-6.12 x86_64-6.18 x86_64-7 arm64-6.1)

chosen=("$@")
if ((${#chosen[@]} == 0)); then chosen=("${MATRIX[@]}"); fi
for name in "${chosen[@]}"; do
    [[ " ${MATRIX[*]} " == *" $name "* ]] || die "no kernel '$name'; choose from: ${MATRIX[*]}"
done

work=$(mktemp -d "${TMPDIR:-/tmp}/fleetprof-kernels.XXXXXX")
running=()
cleanup() {
    local status=$? pid
    for pid in "${running[@]}"; do kill "$pid" 2>/dev/null || true; done
    # The logs stay when something failed: the message below named them.
    if ((status == 0)); then rm -rf "$work"; else rm -rf "$work"/root-* "$work"/*.cpio; fi
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

mapfile -t architectures < <(printf '%s\n' "${chosen[@]%%-*}" | sort -u)
say "kernels: ${chosen[*]}"
fetch_kernels "${chosen[@]}"
for architecture in "${architectures[@]}"; do
    build_guest "$architecture"
    make_initramfs "$architecture" "$work"
done

# Two at a time: each has two busy CPUs.
started=$SECONDS
for name in "${chosen[@]}"; do
    while ((${#running[@]} >= 2)); do wait_for_one; done
    boot "$name" "$work" &
    running+=($!)
done
while ((${#running[@]} > 0)); do wait_for_one; done
say "machines: $((SECONDS - started)) s"

failed=0
print_table "$work" "${chosen[@]}" || failed=1
if ((failed)); then die "some kernels failed; their consoles are $work/*.log"; fi
say "kernel matrix: all ${#chosen[@]} passed, $SECONDS s"
