# shellcheck shell=bash
# Debian packages that are not for this machine: kernels of several releases, busybox, arm64's Rust library.
# Sourced by scripts/test-kernels.sh after env.sh. apt downloads and verifies them in a state of its own, from the
# mirrors this machine's apt uses; nothing is installed, and the machine's own apt is not touched.
#
# Out: $FLEETPROF_CACHE/kernels/NAME/vmlinuz, …/busybox-ARCHITECTURE, and for arm64 ARM64_FLAGS, ARM64_RUSTC,
# ARM64_CARGO.

readonly KERNELS=$FLEETPROF_CACHE/kernels
readonly KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg

# candidates NAME: regular expressions of the packages a kernel may be in, best first; of those that fit one
# expression the newest is tried first. The cloud flavour is the same kernel with fewer drivers, a third as large.
# From 6.19 on the image itself is in linux-binary-*.
candidates() {
    local arch series flavour kind
    case $1 in
    x86_64-*) arch=amd64 ;;
    arm64-*) arch=arm64 ;;
    esac
    series=${1#*-}
    for flavour in "cloud-$arch" "$arch"; do
        for kind in binary image; do
            printf '%s\n' "linux-$kind-${series//./\\.}\.[0-9.]+(-[0-9]+)?(\+deb[0-9]+)?-$flavour"
        done
    done
}

# === apt with its own state ===

# apt_mirror RELEASE: where this machine's apt gets that release from.
apt_mirror() {
    # shellcheck disable=SC2016  # apt's own variables, not the shell's
    apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' |
        awk -v release="$1" '$1 == release { print $2; exit }'
}

# apt_prepare: makes the state and reads the package lists, once for a run of the script.
apt_prepare() {
    [[ -z ${APT_CONFIG:-} ]] || return 0
    [[ -s $KEYRING ]] || die "Debian's archive keys are not in $KEYRING: apt-get install debian-archive-keyring"
    local main security release state=$KERNELS/apt
    release=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    main=$(apt_mirror "$release")
    security=$(apt_mirror "$release-security")
    [[ -n $main && -n $security ]] ||
        die "this machine's apt has no $release and $release-security sources to take the mirrors from"
    mkdir -p "$state"/{lists,cache,packages}/partial
    touch "$state/status"
    local line suites=(
        "amd64 $security bullseye-security"
        "amd64,arm64 $main bookworm"
        "amd64,arm64 $security bookworm-security"
        "amd64 $main trixie-backports"
    )
    for line in "${suites[@]}"; do
        # shellcheck disable=SC2086  # three words
        printf 'deb [arch=%s signed-by=%s] %s %s main\n' "${line%% *}" "$KEYRING" ${line#* }
    done >"$state/sources.list"
    # Descriptions for shops are 5 MB a suite; translations are no use either.
    cat >"$state/apt.conf" <<END
Dir::State "$state";
Dir::State::status "$state/status";
Dir::Cache "$state/cache";
Dir::Etc::sourcelist "$state/sources.list";
Dir::Etc::sourceparts "-";
APT::Architectures { "amd64"; "arm64"; };
APT::Sandbox::User "";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::Retries "3";
END
    export APT_CONFIG=$state/apt.conf
    say "package lists of Debian's kernels"
    apt-get update -q >"$state/update.log" 2>&1 ||
        say "apt-get update failed (see $state/update.log); trying to download all the same"
}

# apt_package PACKAGE: downloads and verifies it; prints where it is. False when it cannot be had.
apt_package() {
    local folder
    folder=$(mktemp -d "$KERNELS/apt/packages/XXXXXX")
    (cd "$folder" && apt-get download -q "$1") >>"$KERNELS/apt/download.log" 2>&1 || return 1
    printf '%s\n' "$folder"/*.deb
}

# unpack PACKAGE GLOB TO: the one file of the package that fits the glob.
unpack() {
    local folder deb=$1 found
    folder=$(dirname "$deb")/root
    mkdir "$folder"
    dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$folder" --wildcards "$2" 2>/dev/null || return 1
    found=$(find "$folder" -type f | head -n 1)
    [[ -n $found ]] || return 1
    install -m 0644 "$found" "$3"
    rm -rf "$(dirname "$deb")"
}

# === kernels and busybox ===

fetch_kernels() {
    local name
    mkdir -p "$KERNELS"
    # Two at a time would both write the same files.
    exec 8>"$KERNELS/lock"
    flock 8
    for name in "$@"; do
        fetch_busybox "${name%%-*}"
        [[ -s $KERNELS/$name/vmlinuz ]] || fetch_kernel "$name"
    done
    # Gigabytes over the years, and all unpacked now.
    rm -rf "$KERNELS/apt/packages" "$KERNELS/apt/cache"
    exec 8>&-
}

fetch_busybox() {
    local deb arch=$1
    [[ ! -s $KERNELS/busybox-$1 ]] || return 0
    apt_prepare
    if [[ $1 == x86_64 ]]; then arch=amd64; fi
    deb=$(apt_package "busybox-static:$arch") ||
        die "apt cannot download busybox-static for $arch; its log is $KERNELS/apt/download.log"
    unpack "$deb" '*bin/busybox' "$KERNELS/busybox-$1.part" || die "busybox-static for $arch has no bin/busybox"
    mv "$KERNELS/busybox-$1.part" "$KERNELS/busybox-$1"
}

# A package can be listed and gone from the pool, hence the next candidate.
fetch_kernel() {
    local name=$1 arch=amd64 expression package deb tried=0
    apt_prepare
    if [[ $name == arm64-* ]]; then arch=arm64; fi
    mkdir -p "$KERNELS/$name"
    for expression in $(candidates "$name"); do
        for package in $(apt-cache pkgnames linux- | grep -Ex "$expression" | sort -Vr | head -n 4); do
            tried=$((tried + 1))
            deb=$(apt_package "$package:$arch") || continue
            unpack "$deb" '*/vmlinuz*' "$KERNELS/$name/vmlinuz.part" || continue
            say "kernel $name: $package"
            mv "$KERNELS/$name/vmlinuz.part" "$KERNELS/$name/vmlinuz"
            return 0
        done
    done
    die "no kernel for $name: $tried packages of Debian's were tried, none could be downloaded with an image in it
    (apt's logs: $KERNELS/apt/update.log and download.log)"
}

# === Rust for arm64 ===

# arm64_rust: how to compile for arm64. A toolchain that has that library (rustup target add
# aarch64-unknown-linux-gnu) is used as it is; else Debian's compiler with the library of Debian's arm64.
arm64_rust() {
    local library=lib/rustlib/aarch64-unknown-linux-gnu/lib version sysroot deb
    ARM64_FLAGS=() ARM64_RUSTC='' ARM64_CARGO=''
    sysroot=$("${RUSTC:-rustc}" --print sysroot)
    if compgen -G "$sysroot/$library/libstd-*.rlib" >/dev/null; then return 0; fi
    version=$(dpkg-query -W -f '${Version}' rustc-web 2>/dev/null) ||
        die "no Rust library for arm64: install rustc-web and cargo-web, or: rustup target add aarch64-unknown-linux-gnu"
    # shellcheck disable=SC2034  # initramfs.sh uses them
    ARM64_RUSTC=/usr/bin/rustc ARM64_CARGO=/usr/bin/cargo
    # The library and the compiler have to be of one build.
    sysroot=$KERNELS/rust-arm64-$version
    if ! [[ -d $sysroot ]]; then
        apt_prepare
        mkdir -p "$KERNELS"/apt/{cache,packages}/partial
        deb=$(apt_package "libstd-rust-web-dev:arm64=$version") ||
            die "apt cannot download libstd-rust-web-dev $version for arm64; its log is $KERNELS/apt/download.log"
        dpkg-deb -x "$deb" "$sysroot.part"
        rm -rf "$(dirname "$deb")"
        mv "$sysroot.part" "$sysroot"
    fi
    # shellcheck disable=SC2034  # initramfs.sh uses them
    ARM64_FLAGS=(--sysroot "$sysroot/usr")
}
