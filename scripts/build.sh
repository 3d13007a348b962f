#!/usr/bin/env bash
# Release binaries: cargo builds them in the cache, this puts copies into target/release of the tree.
#
#   scripts/build.sh            the three binaries
#   scripts/build.sh --tests    also fleetprof-iceberg and every test program, in the same pass: dependencies
#                               compile once
#   scripts/build.sh --iceberg  only fleetprof-iceberg, whose dependencies nothing else needs
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh build
# shellcheck source=scripts/env.sh
source scripts/env.sh

binaries=(fleetprof fleetprof-agent fleetprof-collector)
case "$*" in
"") options=(--release --workspace --exclude fleetprof-iceberg --bins) ;;
--tests)
    options=(--release --workspace --bins --tests)
    binaries+=(fleetprof-iceberg)
    ;;
--iceberg)
    options=(--release -p fleetprof-iceberg --bins)
    binaries=(fleetprof-iceberg)
    ;;
*) die "scripts/build.sh takes --tests, --iceberg or nothing, not: $*" ;;
esac
# A clone that is being judged must build what Cargo.lock says; a developer may be changing it.
if [[ -n ${CI:-} ]]; then options+=(--locked); fi
stage "cargo build ${options[*]}" "$CARGO" build "${options[@]}"

mkdir -p target/release
for binary in "${binaries[@]}"; do
    built=$CARGO_TARGET_DIR/release/$binary
    [[ -x $built ]] || die "cargo did not make $built; is [[bin]] name = \"$binary\" still there?"
    # `install` replaces the file instead of writing into it: a running binary stays whole.
    if ! [[ $built -ef target/release/$binary ]] && ! cmp -s "$built" "target/release/$binary"; then
        # Twice: another cargo may be putting a newer one there at this moment.
        install -m 0755 "$built" "target/release/$binary" || install -m 0755 "$built" "target/release/$binary"
    fi
done
