# shellcheck shell=bash
# One emulated machine: boots a kernel, keeps what its serial console says, and judges that.
# Sourced by scripts/test-kernels.sh after env.sh. In: $FLEETPROF_CACHE/kernels, WORK/initramfs-ARCHITECTURE.cpio.
# Out: WORK/NAME.log (the console) and WORK/NAME.seconds.

# Nothing takes that long but a machine that hangs.
readonly MACHINE_SECONDS=240

# boot NAME WORK: runs a machine until it powers off. QEMU's exit code says nothing: the console is judged.
boot() {
    local name=$1 work=$2 architecture=${1%%-*} begun=$SECONDS
    local options=(-smp 2 -m 640 -nodefaults -no-user-config -display none -serial "file:$work/$name.log" -no-reboot
        -kernel "$FLEETPROF_CACHE/kernels/$name/vmlinuz" -initrd "$work/initramfs-$architecture.cpio")
    # The clocks of an emulated machine on a busy host jump; the kernel shall not give up on them.
    local line="quiet panic=-1 mitigations=off"
    case $architecture in
    x86_64)
        options=(qemu-system-x86_64 -M q35 -accel "tcg,thread=multi" -cpu max "${options[@]}"
            -append "console=ttyS0 tsc=reliable $line")
        ;;
    arm64)
        options=(qemu-system-aarch64 -M virt -accel "tcg,thread=multi" -cpu cortex-a72 "${options[@]}"
            -append "console=ttyAMA0 $line")
        ;;
    esac
    # A machine that is killed leaves a console without a RESULT line, which is a failure.
    timeout "$MACHINE_SECONDS" "${options[@]}" </dev/null >"$work/$name.qemu" 2>&1 &
    local machine=$!
    # shellcheck disable=SC2064  # this machine, not a later one
    trap "kill $machine 2>/dev/null; exit 143" TERM
    wait "$machine" || true
    echo $((SECONDS - begun)) >"$work/$name.seconds"
}

# wait_for_one: until one of `running` ended; takes it out of the list.
wait_for_one() {
    local pid left=()
    wait -n "${running[@]}" || true
    for pid in "${running[@]}"; do
        if kill -0 "$pid" 2>/dev/null; then left+=("$pid"); fi
    done
    running=("${left[@]}")
}

# print_table WORK NAME…: a line for each machine, then what failed. False when anything did.
print_table() {
    local work=$1 name verdict=0
    shift
    printf '%-12s %-28s %6s %6s %6s %7s  %s\n' KERNEL RELEASE PASSED FAILED SKIPPED SECONDS "WHAT DOCTOR SAYS IS NOT COMPLETE"
    for name in "$@"; do
        # The serial line ends in CR LF.
        tr -d '\r' <"$work/$name.log" 2>/dev/null >"$work/$name.txt" || true
        awk -v name="$name" -v seconds="$(<"$work/$name.seconds")" '
            $1 == "RELEASE" { release = $2 }
            $1 == "FEATURE" && $3 != "ok" { missing = missing (missing ? ", " : "") $2 " " $3 }
            $1 == "CHECK" && $3 == "ok" { passed++ }
            $1 == "CHECK" && $3 == "FAIL" { failed++ }
            $1 == "CHECK" && $3 == "skip" { skipped++ }
            $1 == "RESULT" && $2 == passed && $3 == failed + 0 { complete = 1 }
            END {
                printf "%-12s %-28s %6d %6d %6d %7d  %s\n", name, release ? release : "did not boot", passed, failed, \
                    skipped, seconds, complete ? missing : "did not finish"
                exit !(complete && passed > 0 && failed == 0)
            }' "$work/$name.txt" || verdict=1
    done
    for name in "$@"; do
        awk -v name="$name" '$1 == "CHECK" && $3 == "FAIL" { print name ": " $0 }' "$work/$name.txt"
        grep -q '^RESULT ' "$work/$name.txt" || {
            printf '%s: no RESULT line; the end of its console:\n' "$name"
            tail -n 15 "$work/$name.txt"
            cat "$work/$name.qemu"
        }
    done
    return "$verdict"
}
