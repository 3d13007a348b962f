#!/usr/bin/env bash
# Proves that a newcomer's first command works: a minimal Debian 12 in a temporary directory with nothing
# but make, git and CA certificates, a fresh clone of this tree's HEAD, an empty cache, and one command.
#
#   scripts/rehearse-fresh-debian.sh                  # make build
#   scripts/rehearse-fresh-debian.sh make test        # anything else
#   KEEP=1 scripts/rehearse-fresh-debian.sh …         # leave the directory for a look
#
# Needs root, debootstrap (apt-get install debootstrap) and some GB in $TMPDIR. The mirrors, the proxy and
# the local CA certificates are this machine's own: what apt uses here, the rehearsal uses.
set -euo pipefail
# shellcheck source=scripts/env.sh
source "$(dirname "$0")/env.sh"
readonly SUITE=bookworm

# In a mount namespace of its own (see below) everything mounted here goes when the process ends, so that
# no `rm -rf` can ever meet a bind mount.
if [[ ${1:-} == --inside ]]; then
    root=$2
    shift 2
    mount --rbind /dev "$root/dev"
    mount --rbind /sys "$root/sys"
    mount -t proc proc "$root/proc"
    # A proxy is the one thing of this environment that a fresh machine behind it would have, too.
    passed=()
    for name in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY; do
        if [[ -n ${!name:-} ]]; then passed+=("$name=${!name}"); fi
    done
    exec chroot "$root" env -i HOME=/root LANG=C.UTF-8 TERM="${TERM:-dumb}" CI="${CI:-}" "${passed[@]}" \
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        bash -euo pipefail -c 'cd /root/fleetprof; "$@"' rehearsal "$@"
fi

((EUID == 0)) || die "debootstrap and chroot need root"
command -v debootstrap >/dev/null || die "debootstrap is missing: apt-get install debootstrap"
if (($# == 0)); then set -- make build; fi

# mirror RELEASE: where this machine's apt gets that release from.
mirror() {
    # shellcheck disable=SC2016  # apt's own variables, not the shell's
    apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' |
        awk -v release="$1" '$1 == release { print $2; exit }'
}
main_mirror=$(mirror "$SUITE")
security_mirror=$(mirror "$SUITE-security")
[[ -n $main_mirror && -n $security_mirror ]] ||
    die "this machine's apt has no $SUITE and $SUITE-security sources to take the mirror from"

root=$(mktemp -d "${TMPDIR:-/tmp}/fleetprof-rehearsal.XXXXXX")
# mktemp makes it 0700: no other user of the new system could even load libc.
chmod 0755 "$root"
remove() { if [[ -z ${KEEP:-} ]]; then rm -rf "$root"; else say "kept: $root"; fi; }
trap remove EXIT

say "debootstrap $SUITE into $root"
debootstrap --variant=minbase --include=ca-certificates "$SUITE" "$root" "$main_mirror" >"$root.log" 2>&1 || {
    tail -n 20 "$root.log" >&2
    die "debootstrap failed; its log is $root.log"
}
rm -f "$root.log"
printf 'deb %s %s main\n' "$main_mirror" "$SUITE" "$main_mirror" "$SUITE-updates" "$security_mirror" "$SUITE-security" \
    >"$root/etc/apt/sources.list"
apt-config dump | grep -E '^Acquire::(https?|Check|Retries)' >"$root/etc/apt/apt.conf.d/90host" || true
cp /etc/resolv.conf /etc/hosts "$root/etc/"
find /usr/local/share/ca-certificates -name '*.crt' -exec cp {} "$root/usr/local/share/ca-certificates/" \;
chroot "$root" update-ca-certificates >/dev/null 2>&1

say "apt-get install make git: all that the README asks for"
chroot "$root" bash -euo pipefail -c 'apt-get update -q && apt-get install -q -y --no-install-recommends make git' \
    >"$root/prepare.log" 2>&1 || {
    tail -n 20 "$root/prepare.log" >&2
    die "installing make and git failed"
}
git clone --quiet "$ROOT" "$root/root/fleetprof"
[[ -z $(git -C "$ROOT" status --porcelain) ]] || say "note: the tree has uncommitted changes; the rehearsal uses HEAD"

say "in the fresh system: $*"
unshare --mount --propagation slave "$0" --inside "$root" "$@"
say "the rehearsal of '$*' succeeded in $SECONDS s"
