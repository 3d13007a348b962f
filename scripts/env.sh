# shellcheck shell=bash
# Where the tools are. Sourced by every recipe and script; does not install anything.
#
# In:  FLEETPROF_CACHE (optional), CARGO_TARGET_DIR (optional), the user's PATH.
# Out: ROOT, FLEETPROF_CACHE, CARGO_TARGET_DIR, CARGO, RUSTC (only when it is not the one on PATH), PATH.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export ROOT
export FLEETPROF_CACHE=${FLEETPROF_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/fleetprof}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$FLEETPROF_CACHE/target}
export PATH="$FLEETPROF_CACHE/tools/bin:$FLEETPROF_CACHE/venv/bin:$PATH"

# Go's own installer puts it where no default PATH looks.
if ! command -v go >/dev/null && [[ -x /usr/local/go/bin/go ]]; then PATH=$PATH:/usr/local/go/bin; fi

# The oldest Rust the workspace accepts, from the one place that says it.
rust_minimum() { sed -n 's/^rust-version *= *"\(.*\)"/\1/p' "$ROOT/Cargo.toml"; }

# version_at_least HAVE WANT: true when HAVE >= WANT (dotted numbers).
version_at_least() { [[ $(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1) == "$2" ]]; }

# tool_version PROGRAM: the second word of `PROGRAM --version`; empty when it does not run (a rustup
# proxy without a toolchain exists but does not run, and prints its complaint on stderr).
tool_version() { "$1" --version 2>/dev/null | awk 'NR == 1 { print $2 }' || true; }

# pick_rust: sets CARGO (and RUSTC) to the first pair that is new enough; false when there is none.
# Order: the developer's own toolchain (rustup or PATH), then Debian's packages in /usr/bin.
pick_rust() {
    local minimum bin
    minimum=$(rust_minimum)
    for bin in "" "${CARGO_HOME:-$HOME/.cargo}/bin/" /usr/bin/; do
        if version_at_least "$(tool_version "${bin}rustc")" "$minimum" &&
            version_at_least "$(tool_version "${bin}cargo")" "$minimum"; then
            export CARGO=${bin}cargo
            if [[ -n $bin ]]; then export RUSTC=${bin}rustc RUSTDOC=${bin}rustdoc; fi
            return 0
        fi
    done
    export CARGO=cargo
    return 1
}
# A missing toolchain is setup.sh's to report: it knows how to install one.
pick_rust || true

# say TEXT…: one progress line on stderr, so that stdout stays usable in pipes.
say() {
    if [[ -t 2 ]]; then printf '\033[1m==>\033[0m %s\n' "$*" >&2; else printf '==> %s\n' "$*" >&2; fi
}
# die TEXT…: the cause and the remedy, then exit 1.
die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# seconds DURATION: RUN_FOR as seconds, of 30, 30s, 2m, 1h.
seconds() {
    [[ $1 =~ ^([1-9][0-9]{0,6})([smh]?)$ ]] || {
        echo "error: RUN_FOR=$1 is not a duration; use for example 30s, 2m or 1h" >&2
        exit 2
    }
    case ${BASH_REMATCH[2]} in
    m) echo $((BASH_REMATCH[1] * 60)) ;;
    h) echo $((BASH_REMATCH[1] * 3600)) ;;
    *) echo "${BASH_REMATCH[1]}" ;;
    esac
}

# stage NAME COMMAND…: runs COMMAND and says how long it took, so that a slow `make test` explains itself.
# COMMAND must be a program, not a shell function: `||` below would switch `set -e` off inside a function.
stage() {
    local name=$1 started=$SECONDS status=0
    shift
    say "$name"
    "$@" || status=$?
    if ((status != 0)); then
        printf 'error: stage "%s" failed with status %d after %d s\n' "$name" "$status" "$((SECONDS - started))" >&2
        return "$status"
    fi
    say "$name: $((SECONDS - started)) s"
}
