#!/usr/bin/env bash
# Fuzzes every parser of bytes from outside, from the committed inputs in tests/fuzz.
#
#   scripts/fuzz.sh                          # every target for a minute
#   scripts/fuzz.sh 600 unwind-table batch   # two of them, for ten minutes each
#   scripts/fuzz.sh --grow 600 batch         # the same, and what it found joins tests/fuzz/corpus, without
#                                            # the inputs that no longer add anything
#
# FUZZ_SEED=N makes a run repeatable: the same inputs in the same order, as many as the time allows. `make test`
# has a fixed one, so that it gives the same verdict of the same sources; without it every run goes elsewhere.
#
# A panic, an input that takes too long or too much memory, and a hang are failures: the input is kept in
# $FLEETPROF_CACHE/fuzz, and the output says how to run it again.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh fuzz
# shellcheck source=scripts/env.sh
source scripts/env.sh

readonly CORPUS=tests/fuzz/corpus REGRESSIONS=tests/fuzz/regressions
readonly KEPT=$FLEETPROF_CACHE/fuzz
# Two at a time: each is one thread.
readonly AT_A_TIME=2
# The heap has limits of its own (tests/fuzz/src/heap.rs); this one is for C libraries.
readonly RSS_MIB=1024
# 0: libFuzzer takes the time.
readonly SEED=${FUZZ_SEED:-0}

grow=
if [[ ${1:-} == --grow ]]; then
    grow=yes
    shift
fi
seconds=60
if [[ ${1:-} =~ ^[0-9]+$ ]]; then
    seconds=$1
    shift
fi
((seconds > 0)) || die "0 seconds would be for ever; say how long each target shall run"

# build: sets FUZZER, the executable with all targets.
build() {
    local triple flags options=(--profile fuzz --package fleetprof-fuzz --features libfuzzer --bin fleetprof-fuzz)
    triple=$("${RUSTC:-rustc}" -vV | sed -n 's/^host: //p')
    # The edges and comparisons that tell libFuzzer where an input led. All of it is in stable compilers.
    flags=(-Cpasses=sancov-module)
    flags+=(-Cllvm-args=-sanitizer-coverage-{level=3,inline-8bit-counters,pc-table,trace-compares})
    if [[ -n ${CI:-} ]]; then options+=(--locked); fi
    # With a target named, the flags are not those of build scripts, which have no libFuzzer to call.
    local IFS=$'\x1f'
    CARGO_ENCODED_RUSTFLAGS="${flags[*]}" stage "cargo build of the fuzz targets" \
        "$CARGO" build "${options[@]}" --target "$triple"
    FUZZER=$CARGO_TARGET_DIR/$triple/fuzz/fleetprof-fuzz
}

# run_target NAME: fuzzes until the time is over or it fails; NAME.log says which.
run_target() {
    local name=$1 folders=("$work/$1" "$CORPUS/$1")
    if [[ -d $REGRESSIONS/$name ]]; then folders+=("$REGRESSIONS/$name"); fi
    mkdir -p "$work/$name"
    # shellcheck disable=SC2086  # limits are several words
    FLEETPROF_FUZZ=$name "$FUZZER" ${limits[$name]} "-rss_limit_mb=$RSS_MIB" "-seed=$SEED" "-max_total_time=$seconds" \
        "-artifact_prefix=$work/$name." -print_final_stats=1 "${folders[@]}" >"$work/$name.log" 2>&1
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

# report NAME: a line of the table; false when the target failed.
report() {
    awk -v name="$1" '
        # #1234 INITED cov: 567 ft: 890 corp: 12/34Kb …
        /^#[0-9]+/ { for (i = 2; i < NF; i++) { if ($i == "cov:") cov = $(i + 1); if ($i == "corp:") corpus = $(i + 1) } }
        $2 == "INITED" { first = cov }
        / inline 8-bit counters\)/ { counted = 1 }
        $1 == "stat::number_of_executed_units:" { runs = $2 }
        $1 == "stat::average_exec_per_sec:" { speed = $2 }
        /^==[0-9]+== ?ERROR: libFuzzer/ { sub(/.*libFuzzer: /, ""); sub(/ after.*/, ""); sub(/ \(.*/, ""); failure = $0 }
        /^Done [0-9]+ runs/ { done = 1 }
        END {
            split(corpus, size, "/")
            if (!failure && !done) failure = "did not finish"
            if (!failure && (!counted || !cov)) failure = "blind: no coverage is counted"
            printf "%-18s %10d %9d %9s %9s %8d  %s\n", name, runs, speed, cov, "+" (cov - first), size[1], failure ? failure : "ok"
            exit failure != ""
        }' "$work/$1.log"
}

# explain NAME: what happened to a target that failed, and how to see it again.
explain() {
    local name=$1 input kept
    printf '\n%s failed; the end of its log:\n' "$name"
    grep -vE '^(#[0-9]+|NEW_FUNC|INFO:|stat::|0x|MS:|Base64:)' "$work/$name.log" | tail -n 25 || true
    for input in "$work/$name".*-*; do
        if [[ ! -f $input ]]; then continue; fi
        kept=$KEPT/$(basename "$input")
        mkdir -p "$KEPT"
        cp "$input" "$kept"
        printf 'input:     %s\nreproduce: FLEETPROF_FUZZ=%s %s %s %s\n' "$kept" "$name" "$FUZZER" "${limits[$name]#* }" "$kept"
    done
    printf 'when it is mended, put the input into %s/%s/\n' "$REGRESSIONS" "$name"
}

# grow_corpus NAME: the fewest inputs that reach what all the known ones reach.
grow_corpus() {
    local name=$1 folders=("$work/$1" "$CORPUS/$1")
    if [[ -d $work/seeds/$name ]]; then folders+=("$work/seeds/$name"); fi
    mkdir -p "$work/merged/$name" "$CORPUS/$name"
    # Which edges, and not how often: a tenth of the inputs. shellcheck disable=SC2086
    # shellcheck disable=SC2086  # limits are several words
    FLEETPROF_FUZZ=$name "$FUZZER" ${limits[$name]} -set_cover_merge=1 -use_counters=0 \
        "$work/merged/$name" "${folders[@]}" >"$work/$name.merge" 2>&1 || die "merging failed; see $work/$name.merge"
    rm -rf "${CORPUS:?}/$name"
    mv "$work/merged/$name" "$CORPUS/$name"
    say "$CORPUS/$name: $(find "$CORPUS/$name" -type f | wc -l) inputs, $(du -sb "$CORPUS/$name" | cut -f 1) bytes"
}

build
declare -A limits=()
targets=()
while read -r name options; do
    targets+=("$name")
    limits[$name]=$options
done < <("$FUZZER" --list)
chosen=("$@")
if ((${#chosen[@]} == 0)); then chosen=("${targets[@]}"); fi
for name in "${chosen[@]}"; do
    [[ -n ${limits[$name]:-} ]] || die "no target '$name'; choose from: ${targets[*]}"
    [[ -n $grow || -d $CORPUS/$name ]] || die "$CORPUS/$name is missing; scripts/fuzz.sh --grow $name makes it"
done

work=$(mktemp -d "${TMPDIR:-/tmp}/fleetprof-fuzz.XXXXXX")
running=()
cleanup() {
    local status=$? pid
    for pid in "${running[@]}"; do kill "$pid" 2>/dev/null || true; done
    # What is worth keeping is in $KEPT; the logs stay when something failed.
    if ((status == 0)); then rm -rf "$work"; fi
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

if [[ -n $grow ]]; then
    stage "inputs to begin with" "$CARGO" run --release --quiet --package fleetprof-fuzz --example seeds -- "$work/seeds"
    for name in "${chosen[@]}"; do mkdir -p "$CORPUS/$name" && cp -rT "$work/seeds/$name" "$work/$name"; done
fi
say "${#chosen[@]} targets, $seconds s each, $AT_A_TIME at a time"
for name in "${chosen[@]}"; do
    while ((${#running[@]} >= AT_A_TIME)); do wait_for_one; done
    run_target "$name" &
    running+=($!)
done
while ((${#running[@]} > 0)); do wait_for_one; done

failed=()
printf '%-18s %10s %9s %9s %9s %8s  %s\n' TARGET RUNS RUNS/S COVERAGE GROWTH CORPUS RESULT
for name in "${chosen[@]}"; do report "$name" || failed+=("$name"); done
if ((${#failed[@]} > 0)); then
    for name in "${failed[@]}"; do explain "$name"; done
    die "fuzzing failed: ${failed[*]}; whole logs: $work/*.log"
fi
if [[ -n $grow ]]; then
    for name in "${chosen[@]}"; do grow_corpus "$name"; done
fi
say "fuzzing: all ${#chosen[@]} targets passed, $SECONDS s"
