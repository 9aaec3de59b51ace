#!/bin/bash
# Allocation profiles: google-pprof reads them and finds the planted site with about the planted bytes; sampling is switched
# in a live process; who pins nearly empty spans is found. TAP.
cd "$(dirname "$0")/../.." || exit 2
. tests/tap.sh
COMMAND=$(dirname "$LIB")/gomalloc
run() { without timeout "$(seconds 60)" "$COMMAND" "$@"; }
without gcc -std=gnu17 -O1 -g -fno-builtin -o "$SCRATCH/planted" tests/command/hosts/planted.c || exit 2

# has PROFILE FUNCTION LOW HIGH [PPROF OPTIONS]: megabytes of the function itself.
has() {
    need google-pprof
    google-pprof --text "${@:5}" "$SCRATCH/planted" "$1" >"$SCRATCH/text" 2>/dev/null
    head -5 "$SCRATCH/text"
    awk -v f="$2" -v low="$3" -v high="$4" '$6 == f { found = 1; ok = $1 >= low && $1 <= high } END { exit !(found && ok) }' "$SCRATCH/text"
}
at_exit() { # RATE LOW HIGH
    run run --env profile:$1 --profile "$SCRATCH/p.heap" -- "$SCRATCH/planted" profile </dev/null || return
    has "$SCRATCH/p.heap" planted "$2" "$3" && has "$SCRATCH/p.heap" churn 300 700 --alloc_space
}
by_default() {
    run run --profile "$SCRATCH/p.heap" -- "$SCRATCH/planted" profile </dev/null || return
    head -1 "$SCRATCH/p.heap" | tee "$SCRATCH/head"
    grep -q '^heap profile: .* @ heap_v2/524288$' "$SCRATCH/head" && has "$SCRATCH/p.heap" planted 17 79 # some 95 samples: six deviations either way
}
# Where free does nothing it is the collector's sweep that has to forget what was sampled.
collected() {
    run run --env gc:on,free:ignore,profile:1 --profile "$SCRATCH/gc.heap" -- "$SCRATCH/planted" profile </dev/null || return
    has "$SCRATCH/gc.heap" planted 46 52 && has "$SCRATCH/gc.heap" churn 0 200 && has "$SCRATCH/gc.heap" churn 0 250000 --inuse_objects
}
counts() {
    run run --env profile:1 --profile "$SCRATCH/p.heap" -- "$SCRATCH/planted" profile </dev/null || return
    has "$SCRATCH/p.heap" planted 50000 50000 --inuse_objects && has "$SCRATCH/p.heap" churn 550000 550000 --alloc_objects
}

start() { # OPTIONS MODE: a planted process that waits; its id in $pid
    [[ -p $SCRATCH/in ]] || mkfifo "$SCRATCH/in"
    : >"$SCRATCH/ready"
    env LD_PRELOAD="$LIB" GOMALLOC="$1" "$SCRATCH/planted" "$2" <"$SCRATCH/in" >"$SCRATCH/ready" &
    pid=$!
    exec 3>"$SCRATCH/in"
    until_true test -s "$SCRATCH/ready"
}
stop() {
    exec 3>&-
    wait $pid
}
of_a_live_process() {
    start profile:16K profile
    run profile -o "$SCRATCH/live.heap" $pid && run profile --text $pid >"$SCRATCH/live.txt"
    local status=$?
    stop
    head -8 "$SCRATCH/live.txt"
    ((status == 0)) && has "$SCRATCH/live.heap" planted 42 54 && grep -q '^ *planted+' "$SCRATCH/live.txt"
}
fragmentation() {
    start profile:1 pins
    run profile --fragmentation -o "$SCRATCH/pins.heap" $pid && run profile --fragmentation --text $pid >"$SCRATCH/pins.txt"
    local status=$?
    stop
    head -8 "$SCRATCH/pins.txt"
    # 500 blocks hold on to a span of four slots each: 3 MB are idle.
    ((status == 0)) && has "$SCRATCH/pins.heap" pinning 2.7 3.1 && ! grep -q ' filled$' "$SCRATCH/text"
}
PYTHON=$(PATH=/usr/bin:$PATH type -P python3)
switched_live() {
    : >"$SCRATCH/ready"
    env LD_PRELOAD="$LIB" PYTHONMALLOC=malloc "$PYTHON" -c '
import sys, time
print(1, flush=True)
keep = []
while len(keep) < 100000:
    keep.append(bytearray(3000)); keep.append(bytearray(50000))
    time.sleep(0.0005)
    if len(keep) > 2000: del keep[:1000]' >"$SCRATCH/ready" &
    local pid=$! status=0
    until_true test -s "$SCRATCH/ready"
    run profile $pid 2>"$SCRATCH/err" && status=1
    grep -q 'not sampled' "$SCRATCH/err" || status=1
    run profile --on=64K $pid || status=1
    until_true sampled_more_than 100 || status=1
    run profile --text $pid >"$SCRATCH/on.txt" || status=1
    run profile --off $pid || status=1
    until_true no_more_samples || status=1
    kill $pid
    head -3 "$SCRATCH/on.txt"
    ((status == 0)) && grep -qi 'bytearray' "$SCRATCH/on.txt"
}
samples() { run profile $pid | sed -n 's/.*\[ *\([0-9]*\):.*/\1/p;q'; }
sampled_more_than() { (($(samples) > $1)); }
# While the program goes on to allocate: its loop turns some thousand times a second.
no_more_samples() {
    local before
    before=$(samples)
    sleep 0.5
    [[ $before -gt 100 && $(samples) == "$before" ]]
}
closed_to_others() {
    [[ $(id -u) == 0 ]] || skip_because "only root can be somebody else"
    need setpriv
    start profile:1 profile
    chmod 755 "$SCRATCH"
    setpriv --reuid 65534 --regid 65534 --clear-groups env -u LD_PRELOAD "$COMMAND" profile --off $pid 2>"$SCRATCH/err"
    local status=$?
    run profile $pid | head -1 >"$SCRATCH/head"
    stop
    cat "$SCRATCH/err"
    ((status == 1)) && grep -q 'no permission' "$SCRATCH/err"
}
# While it is on, a pair costs at most so many instructions more: what "at most 2 %" of a program comes from. When a sample is
# taken is random: over a million pairs the figure is 74 with a standard deviation of 0.1; over fewer the budget would be a matter of luck.
instructions() {
    need valgrind
    [[ $BUILD == */build && -x $BUILD/tests/golden/pairs ]] || skip_because "the budget is the release build's"
    local n a=()
    for n in 100000 1100000; do
        a+=("$(env LD_PRELOAD="$LIB" GOMALLOC=profile:512K valgrind --tool=callgrind --soname-synonyms=somalloc=nouserintercepts --callgrind-out-file=/dev/null \
            "$BUILD/tests/golden/pairs" $n random 2>&1 | sed -n 's/.*Collected : \([0-9]*\).*/\1/p')")
    done
    echo "note: $(((a[1] - a[0]) / 1000000)) instructions a pair and its loop, budget 75"
    ((a[1] > a[0] && (a[1] - a[0]) / 1000000 <= 75))
}

check every_allocation at_exit 1 46 52
check sampled at_exit 16K 42 54
for name in by_default counts collected of_a_live_process fragmentation switched_live closed_to_others instructions; do check $name $name; done
plan
