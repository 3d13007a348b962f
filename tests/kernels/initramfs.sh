# shellcheck shell=bash
# What runs inside the machines: the guest and the test programs, in an initramfs.
# Sourced by scripts/test-kernels.sh after env.sh and packages.sh.

# The test programs: file name, source, compiler flags.
readonly PROGRAMS=(
    "nested-fp   nested.c   -O2 -fno-omit-frame-pointer -mno-omit-leaf-frame-pointer"
    "syscalls-fp syscalls.c -O2 -fno-omit-frame-pointer -mno-omit-leaf-frame-pointer"
    "nested-nofp   nested.c   -O2 -fomit-frame-pointer"
    "syscalls-nofp syscalls.c -O2 -fomit-frame-pointer"
)
# Their stacks, as fleetprof-guest reads them: FILE=MODE:FRAMES, innermost first; `...` is any number of frames.
readonly STACKS=(
    "nested-fp=user:leaf,inner,middle,outer,main,...,_start"
    "syscalls-fp=kernel:reader,caller,main,...,_start"
    "nested-nofp=user:leaf,inner,middle,outer,main,...,_start"
    "syscalls-nofp=kernel:reader,caller,main,...,_start"
)

# The executable for each architecture.
declare -A GUESTS=()

# build_guest ARCHITECTURE: sets its member of GUESTS.
build_guest() {
    local options=(--bins)
    if [[ -n ${CI:-} ]]; then options+=(--locked); fi
    case $1 in
    x86_64)
        # As scripts/build.sh --tests does, whose work need not be done again.
        stage "fleetprof-guest for $1" "$CARGO" build --release --workspace --tests "${options[@]}"
        GUESTS[x86_64]=$CARGO_TARGET_DIR/release/fleetprof-guest
        ;;
    arm64) build_arm64_guest "${options[@]}" ;;
    esac
}

# build_arm64_guest OPTION…: static, so that the machine needs no libraries for arm64.
build_arm64_guest() {
    local triple=aarch64-unknown-linux-gnu
    arm64_rust
    # A folder of its own: other flags than everything else's. Line tables would treble what the machine loads;
    # without any optimization the emulated kernel's type information takes ten times as long to read.
    # In a subshell: the compiler may be another one.
    (
        if [[ -n $ARM64_RUSTC ]]; then export RUSTC=$ARM64_RUSTC CARGO=$ARM64_CARGO; fi
        export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS="-C target-feature=+crt-static -C linker=aarch64-linux-gnu-gcc ${ARM64_FLAGS[*]}"
        export CARGO_TARGET_DIR=$FLEETPROF_CACHE/target-guest CARGO_PROFILE_DEV_DEBUG=false CARGO_PROFILE_DEV_OPT_LEVEL=1
        stage "fleetprof-guest for arm64" "$CARGO" build -p fleetprof-guest --target "$triple" "$@"
    )
    GUESTS[arm64]=$FLEETPROF_CACHE/target-guest/$triple/debug/fleetprof-guest
}

# install_guest EXECUTABLE ROOT: with its libraries, unless it is static.
install_guest() {
    local library
    install -m 0755 "$1" "$2/bin/fleetprof-guest"
    { ldd "$1" 2>/dev/null | grep -o '/[^ ]*' || true; } | while read -r library; do
        install -D -m 0755 "$library" "$2$library"
    done
}

# make_initramfs ARCHITECTURE WORK: writes WORK/initramfs-ARCHITECTURE.cpio.
make_initramfs() {
    local architecture=$1 work=$2 root=$2/root-$1 compiler=cc line name source flags stack stacks=()
    if [[ $architecture == arm64 ]]; then compiler=aarch64-linux-gnu-gcc; fi
    mkdir -p "$root"/{bin,dev,proc,sys,tmp,programs}
    install -m 0755 "$FLEETPROF_CACHE/kernels/busybox-$architecture" "$root/bin/busybox"
    install_guest "${GUESTS[$architecture]}" "$root"
    # Line tables would treble what the machine loads.
    if [[ $architecture == x86_64 ]]; then strip --strip-debug "$root/bin/fleetprof-guest"; fi
    for line in "${PROGRAMS[@]}"; do
        read -r name source flags <<<"$line"
        # shellcheck disable=SC2086  # flags are several words
        $compiler $flags -static -Wall -Wextra -Werror -Wl,--build-id "tests/kernels/programs/$source" -o "$root/programs/$name"
    done
    for stack in "${STACKS[@]}"; do stacks+=("'/programs/$stack'"); done
    cat >"$root/init" <<END
#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t tracefs tracefs /sys/kernel/tracing
/bin/busybox mount -t bpf bpf /sys/fs/bpf
/bin/busybox mkdir /tmp/cgroup
/bin/busybox mount -t cgroup2 cgroup2 /tmp/cgroup
echo RELEASE \$(/bin/busybox uname -r)
/bin/fleetprof-guest /programs/nested-fp ${stacks[*]}
echo STATUS \$?
/bin/busybox poweroff -f
END
    chmod 0755 "$root/init"
    # Root owns everything in the machine, whoever made it.
    (cd "$root" && find . -print0 | cpio --null --create --format=newc --owner=0:0 --quiet) >"$work/initramfs-$architecture.cpio"
}
