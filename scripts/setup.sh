#!/usr/bin/env bash
# Installs what a group of recipes needs, and nothing when it is already there.
#
#   scripts/setup.sh build    a Rust toolchain, the eBPF toolchain, bpf-linker
#   scripts/setup.sh test     build + what tests use: compilers, debuggers, emulators, checkers from PyPI
#   scripts/setup.sh bench    the same as test
#   scripts/setup.sh fuzz     the same as build: libFuzzer is compiled from a crate
#   scripts/setup.sh kernels  build + emulated machines and a C compiler for arm64 (test has them, too)
#   scripts/setup.sh lint     build + rustfmt, clippy, cargo-deny, checkers from PyPI
#
# On Debian 12 it uses apt (as root, or through sudo); cargo and pip tools go to $FLEETPROF_CACHE
# (default ~/.cache/fleetprof), never into the tree. Elsewhere it checks the same things and says what
# is missing. There is no stamp file: every need is a question asked of the machine ("does it run?"),
# which takes a fraction of a second and cannot go stale.
set -euo pipefail
# shellcheck source=scripts/env.sh
source "$(dirname "$0")/env.sh"

readonly BPF_LINKER_VERSION=0.13.0 LLVM=22 CARGO_DENY_VERSION=0.20.2
readonly LOGS=$FLEETPROF_CACHE/logs
readonly VENV=$FLEETPROF_CACHE/venv
readonly LOCK_SECONDS=600
child=

# === questions: is it there, and does it run? ===

has_cc() { command -v cc >/dev/null && command -v c++ >/dev/null && command -v pkg-config >/dev/null; }
# Debian's slim images have none, and without them neither cargo nor pip can download.
has_certificates() { [[ -s /etc/ssl/certs/ca-certificates.crt || -s /etc/pki/tls/certs/ca-bundle.crt || -s /etc/ssl/ca-bundle.pem ]]; }
has_rust() { pick_rust; }
uses_debian_rust() { [[ $(command -v "$CARGO" || echo /usr/bin/cargo) == /usr/bin/cargo ]]; }
has_llvm() { [[ -x /usr/lib/llvm-$LLVM/bin/llvm-config && -e /usr/lib/llvm-$LLVM/lib/libPolly.a ]]; }
has_bpf_linker() { version_at_least "$(tool_version bpf-linker)" "$BPF_LINKER_VERSION"; }
has_go() { command -v go >/dev/null; }
has_perf() { [[ -n $(tool_version perf) ]]; }
# What the unwinder is compared with, and other compilers for the programs it is tried on.
has_gdb() { command -v gdb && command -v gdb-multiarch; } >/dev/null
has_compilers() { command -v clang && command -v clang++ && command -v musl-gcc; } >/dev/null
# What is unwound beside one's own programs. PostgreSQL is the catalog of a fleet in tests of the store, too.
has_host_programs() { command -v node && command -v javac && { command -v postgres || compgen -G "/usr/lib/postgresql/*/bin/postgres"; }; } >/dev/null
has_user_emulator() { command -v qemu-aarch64 >/dev/null; }
# Compilers and tools whose programs the symbolizer is compared with LLVM on.
has_debug_tools() { compgen -G "/usr/lib/llvm-*/bin/llvm-symbolizer" && compgen -G "/usr/lib/llvm-*/bin/llvm-dwp" && command -v clang && command -v clang++ && command -v ld.lld && command -v dwz && command -v debuginfod; } >/dev/null
has_balancer() { command -v haproxy || [[ -x /usr/sbin/haproxy ]]; } >/dev/null
has_python() { python3 -c 'import ensurepip, venv' 2>/dev/null; }
has_venv() { cmp -s "$ROOT/scripts/requirements.txt" "$VENV/requirements.txt" && [[ -x $VENV/bin/hadolint && -x $VENV/bin/kubectl && -x $VENV/bin/weed ]]; }
has_machines() { command -v qemu-system-x86_64 && command -v qemu-system-aarch64 && command -v cpio; } >/dev/null
has_arm64_cc() { command -v aarch64-linux-gnu-gcc >/dev/null && [[ $(aarch64-linux-gnu-gcc -print-file-name=libc.a) == */* ]]; }
has_rustfmt() { "$CARGO" fmt --version >/dev/null 2>&1; }
has_clippy() { "$CARGO" clippy --version >/dev/null 2>&1; }
has_cargo_deny() { [[ $(tool_version cargo-deny) == "$CARGO_DENY_VERSION" ]]; }

# The library sources of a compiler that may build `core` for the bpf target: Debian's, or a nightly's.
has_ebpf_rust() {
    local library=lib/rustlib/src/rust/library/core/src/lib.rs
    [[ -x /usr/bin/cargo && -e /usr/$library ]] &&
        version_at_least "$(tool_version /usr/bin/rustc)" "$(rust_minimum)" && return 0
    local nightly
    nightly=$(rustc +nightly --print sysroot 2>/dev/null) && [[ -e $nightly/$library ]]
}

# === installing ===

stop_child() { if [[ -n $child ]]; then kill "$child" 2>/dev/null || true; fi; }
trap stop_child EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# run_logged WHAT LOG COMMAND…: quiet while it goes well, a sign of life every 20 s, the tail on failure.
run_logged() {
    local what=$1 log=$LOGS/$2 started=$SECONDS beat=20 status=0
    shift 2
    say "$what"
    "$@" >>"$log" 2>&1 </dev/null &
    child=$!
    while kill -0 "$child" 2>/dev/null; do
        sleep 0.2
        if ((SECONDS - started >= beat)); then
            printf '    … %d s\n' "$beat" >&2
            beat=$((beat + 20))
        fi
    done
    wait "$child" || status=$?
    child=
    if ((status != 0)); then
        tail -n 20 "$log" >&2
        die "\"$what\" failed with status $status; the whole log is $log"
    fi
}

is_debian() { command -v apt-get >/dev/null && grep -qs '^ID=debian$' /etc/os-release; }

# How to become root: nothing for root, sudo where it is, else the exact commands to run.
become_root() {
    if ((EUID == 0)); then
        root=()
    elif command -v sudo >/dev/null && { sudo -n true 2>/dev/null || { [[ -t 0 ]] && sudo -v; }; }; then
        root=(sudo)
    else
        die "not root and no sudo. Run as root, then try again:
    apt-get update && apt-get install -y --no-install-recommends $*"
    fi
}

# DPkg::Lock::Timeout does not cover the lock of the package lists, so that one is waited for here.
apt_update() {
    local deadline=$((SECONDS + LOCK_SECONDS)) output
    until output=$("${root[@]}" apt-get update -q -o Acquire::Retries=3 2>&1); do
        printf '%s\n' "$output"
        [[ $output == *"Could not get lock"* ]] && ((SECONDS < deadline)) || return 1
        sleep 3
    done
    printf '%s\n' "$output"
}

apt_install() {
    is_debian || return 0
    become_root "$@"
    # One dead third-party source makes `update` fail though all that is needed can be had: the install decides.
    say "apt-get update"
    apt_update >>"$LOGS/apt.log" 2>&1 || say "apt-get update failed (see $LOGS/apt.log); trying to install all the same"
    run_logged "apt-get install $*" apt.log "${root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -q -y --no-install-recommends -o Acquire::Retries=3 \
        -o "DPkg::Lock::Timeout=$LOCK_SECONDS" "$@"
    hash -r
}

# cargo_install CRATE VERSION OPTION…: into the cache, with a target directory of its own that goes away.
cargo_install() {
    local crate=$1 version=$2 target=$FLEETPROF_CACHE/build-$1
    shift 2
    run_logged "cargo install $crate $version" "$crate.log" \
        env "PATH=/usr/lib/llvm-$LLVM/bin:$PATH" "CARGO_TARGET_DIR=$target" \
        "$CARGO" install "$crate" --version "$version" --locked --root "$FLEETPROF_CACHE/tools" "$@"
    rm -rf "$target"
}

install_venv() {
    rm -rf "$VENV"
    # An older one was first on PATH, and the shell remembers where it found its python3.
    hash -r
    run_logged "python3 -m venv $VENV" venv.log python3 -m venv "$VENV"
    run_logged "pip install -r scripts/requirements.txt" venv.log \
        "$VENV/bin/pip" install --disable-pip-version-check -r "$ROOT/scripts/requirements.txt"
    # Last, so that an interrupted install is seen as missing.
    cp "$ROOT/scripts/requirements.txt" "$VENV/requirements.txt"
}

# === groups ===

# system_packages GROUP: Debian packages that the group needs and that are not there.
system_packages() {
    local packages=()
    has_certificates || packages+=(ca-certificates)
    has_cc || packages+=(build-essential pkg-config)
    has_rust || packages+=(rustc-web cargo-web)
    has_ebpf_rust || packages+=(rustc-web cargo-web rust-web-src)
    has_bpf_linker || has_llvm || packages+=("llvm-$LLVM" "llvm-$LLVM-dev" "libpolly-$LLVM-dev" zlib1g-dev libzstd-dev)
    if [[ $1 == test || $1 == lint ]]; then
        has_venv || has_python || packages+=(python3 python3-venv)
    fi
    if [[ $1 == test ]]; then
        has_go || packages+=(golang-go)
        has_perf || packages+=(linux-perf)
        has_gdb || packages+=(gdb gdb-multiarch)
        has_compilers || packages+=(clang musl-tools)
        has_user_emulator || packages+=(qemu-user)
        has_host_programs || packages+=(nodejs openjdk-17-jdk-headless postgresql)
        has_debug_tools || packages+=("llvm-$LLVM" clang lld dwz debuginfod)
        has_balancer || packages+=(haproxy)
    fi
    if [[ $1 == test || $1 == kernels ]]; then
        has_machines || packages+=(qemu-system-x86 qemu-system-arm cpio)
        has_arm64_cc || packages+=(gcc-aarch64-linux-gnu libc6-dev-arm64-cross)
    fi
    if [[ $1 == lint ]]; then
        # Another toolchain brings its own (rustup component add): Debian's would not serve it.
        { has_rustfmt && has_clippy; } || ! uses_debian_rust || packages+=(rustfmt-web rust-web-clippy)
    fi
    printf '%s\n' "${packages[@]}" | sort -u
}

missing=()
# require QUESTION TEXT: notes TEXT when QUESTION still says no after installing.
require() { "$1" || missing+=("$2"); }

check_build() {
    require has_certificates "CA certificates for downloads (Debian: ca-certificates)"
    require has_cc "a C and C++ compiler and pkg-config (Debian: build-essential pkg-config)"
    require has_rust "Rust $(rust_minimum) or newer (https://rustup.rs, or Debian 12's rustc-web and cargo-web from bookworm-security)"
    require has_ebpf_rust "a compiler with library sources for the eBPF programs: Debian's rustc-web cargo-web rust-web-src, or
    rustup toolchain install nightly --component rust-src"
    require has_bpf_linker "bpf-linker $BPF_LINKER_VERSION (needs LLVM $LLVM with its headers):
    cargo install bpf-linker --version $BPF_LINKER_VERSION --locked --no-default-features --features llvm-$LLVM"
}
check_test() {
    require has_go "Go, for \`go tool pprof\` and Go test programs (Debian: golang-go)"
    require has_debug_tools "clang, lld, dwz, llvm-symbolizer, llvm-dwp and debuginfod, for tests of symbols (Debian: llvm-$LLVM clang lld dwz debuginfod)"
    require has_perf "perf, which tests and benchmarks compare with (Debian: linux-perf)"
    require has_venv "the checkers of scripts/requirements.txt in $VENV"
    require has_gdb "gdb for this and other processors, which unwinding is compared with (Debian: gdb gdb-multiarch)"
    require has_compilers "clang and musl's gcc, for the programs that are unwound (Debian: clang musl-tools)"
    require has_host_programs "Node, a JDK and PostgreSQL, whose stacks are unwound, and in which the store has its catalog (Debian: nodejs openjdk-17-jdk-headless postgresql)"
    require has_balancer "HAProxy, the load balancer of fleets in tests (Debian: haproxy)"
    require has_user_emulator "QEMU's user mode for arm64 (Debian: qemu-user)"
    check_kernels
}
check_kernels() {
    require has_machines "QEMU for x86-64 and arm64, and cpio (Debian: qemu-system-x86 qemu-system-arm cpio)"
    require has_arm64_cc "a C compiler and static libc for arm64 (Debian: gcc-aarch64-linux-gnu libc6-dev-arm64-cross)"
}
check_lint() {
    require has_rustfmt "rustfmt (rustup component add rustfmt; Debian: rustfmt-web)"
    require has_clippy "clippy (rustup component add clippy; Debian: rust-web-clippy)"
    require has_venv "the checkers of scripts/requirements.txt in $VENV"
    require has_cargo_deny "cargo-deny $CARGO_DENY_VERSION (cargo install cargo-deny --locked)"
}

# satisfied GROUP: fills `missing`, true when nothing is.
satisfied() {
    missing=()
    check_build
    case $1 in
    test) check_test ;;
    kernels) check_kernels ;;
    lint) check_lint ;;
    esac
    ((${#missing[@]} == 0))
}

install_group() {
    local packages
    mapfile -t packages < <(system_packages "$1")
    if [[ -n ${packages[*]} ]]; then apt_install "${packages[@]}"; fi
    # Without these, the steps below would only fail with a worse message than the list at the end.
    has_rust && has_cc || return 0
    if ! has_bpf_linker && has_llvm; then
        cargo_install bpf-linker "$BPF_LINKER_VERSION" --no-default-features --features "llvm-$LLVM"
    fi
    case $1 in
    test | lint)
        if ! has_venv && has_python; then install_venv; fi
        ;;
    esac
    if [[ $1 == lint ]] && ! has_cargo_deny; then cargo_install cargo-deny "$CARGO_DENY_VERSION" --no-default-features; fi
}

main() {
    local group=${1:-build}
    case $group in
    build | test | kernels | lint) ;;
    bench) group="test" ;;
    fuzz) group="build" ;;
    *) die "unknown group '$group'; use build, test, bench, fuzz, kernels or lint" ;;
    esac
    if satisfied "$group"; then return 0; fi
    mkdir -p "$LOGS"
    # Two at a time would fight over the same cache: the second waits, and then finds everything done.
    exec 9>"$FLEETPROF_CACHE/setup.lock"
    flock 9
    if satisfied "$group"; then return 0; fi
    say "installing what 'make $group' needs (cache: $FLEETPROF_CACHE, logs: $LOGS)"
    install_group "$group"
    if ! satisfied "$group"; then
        printf 'missing: %s\n' "${missing[@]}" >&2
        die "install what is listed above, then try again"
    fi
    say "setup of '$group': $SECONDS s"
}
main "$@"
