#!/bin/bash
# gomalloc leaks and gomalloc why: planted leaks found with their sites, clean programs clean, chains to every kind of root,
# and a process that notices nothing. TAP.
cd "$(dirname "$0")/../.." || exit 2
. tests/tap.sh
COMMAND=$(dirname "$LIB")/gomalloc
run() { without timeout "$(seconds 60)" "$COMMAND" "$@"; }
[[ $(uname -m) == x86_64 ]] || { echo "1..0 # SKIP snapshots are built for x86-64 only"; exit 0; }

build() { without gcc -std=gnu17 -O1 -g -fno-builtin -pthread -o "$SCRATCH/$1" tests/command/hosts/"$1".c -ldl; }
build leaky && build blocked && build collected && without gcc -O1 -g -shared -fPIC -fno-builtin -o "$SCRATCH/losing.so" tests/command/hosts/losing_library.c || exit 2

# finds KIND FUNCTION BLOCKS BYTES [BLOCKS BYTES]: definitely and indirectly lost, nothing else, allocated in the function.
finds() {
    local arguments=$1
    [[ $1 == lib ]] && arguments="lib $SCRATCH/losing.so"
    run leaks -o "$SCRATCH/report" -- "$SCRATCH/leaky" $arguments || { echo "status $?"; cat "$SCRATCH/report"; return 1; }
    cat "$SCRATCH/report"
    grep -q "$4 bytes in $3 blocks\? definitely lost, ${6-0} bytes in ${5-0} blocks\? indirectly lost" "$SCRATCH/report" && grep -q "^ *$2+" "$SCRATCH/report"
}
all_at_once() {
    run leaks -o "$SCRATCH/report" --pprof "$SCRATCH/leaks.heap" --error-exitcode 9 -- "$SCRATCH/leaky" single chain cycle tiny one_short thread lib "$SCRATCH/losing.so"
    (($? == 9)) || return 1
    cat "$SCRATCH/report"
    grep -q '11234 bytes in 10 blocks definitely lost, 480 bytes in 10 blocks indirectly lost' "$SCRATCH/report" || return 1
    need google-pprof
    google-pprof --text "$SCRATCH/leaky" "$SCRATCH/leaks.heap" 2>/dev/null | tee "$SCRATCH/pprof"
    google-pprof --lines --traces "$SCRATCH/leaky" "$SCRATCH/leaks.heap" >/dev/null 2>&1
    local f
    for f in lose_single lose_chain lose_cycle lose_tiny lose_one_short lose_in_thread; do grep -q " $f$" "$SCRATCH/pprof" || { echo "no $f"; return 1; }; done
}
nothing_lost() { run leaks --error-exitcode 9 -- "$SCRATCH/leaky"; }
status_of_the_program() { run leaks --error-exitcode 9 -- sh -c 'exit 7'; (($? == 7)); }
no_exit_no_report() { run leaks -- sh -c 'kill -KILL $$' 2>"$SCRATCH/err"; grep -q 'no report' "$SCRATCH/err"; }

clean() {
    run leaks -o "$SCRATCH/report" -- "$@" >/dev/null 2>&1 </dev/null
    head -1 "$SCRATCH/report"
    grep -q ' 0 bytes in 0 blocks definitely lost' "$SCRATCH/report" || { cat "$SCRATCH/report"; return 1; }
}
clean_programs() {
    need sqlite3 git awk
    local python
    python=$(PATH=/usr/bin:$PATH type -P python3)
    clean ls / && clean cat /etc/passwd && clean grep root /etc/passwd && clean sed s/a/b/ /etc/passwd && clean awk 1 /etc/passwd && clean bash -c 'x=1' &&
        clean find /etc -maxdepth 1 && clean "$(gcc -print-prog-name=cc1)" -quiet -O2 -o /dev/null tests/command/hosts/planted.c -I. && clean sqlite3 :memory: 'select 1' && clean git log -2 && clean env PYTHONMALLOC=malloc "$python" -c 'x = [1]'
}

# Programs that do lose memory lose as much of it under valgrind. (What is lost through it may be blocks of 8 bytes,
# which share a mark with a neighbour that is alive.)
as_valgrind_says() {
    need valgrind sort tar
    same_as_valgrind sort /etc/passwd && same_as_valgrind tar cf /dev/null /etc/passwd
}
same_as_valgrind() {
    local theirs
    theirs=$(valgrind --leak-check=full "$@" 2>&1 >/dev/null </dev/null | tr -d , | sed -n 's/.*definitely lost: \([0-9]* bytes in [0-9]*\) block.*/\1/p')
    run leaks -o "$SCRATCH/report" -- "$@" >/dev/null 2>&1 </dev/null
    cat "$SCRATCH/report"
    echo "valgrind: $theirs"
    [[ -z $theirs ]] || [[ $(sed -n '1s/[^:]*: \([0-9]* bytes in [0-9]*\) blocks* definitely lost.*/\1/p' "$SCRATCH/report") == "$theirs" ]]
}

live() { # ARGUMENTS: a leaky process that waits; its id in $pid, the addresses it printed in $addresses
    : >"$SCRATCH/ready"
    env LD_PRELOAD="$LIB" GOMALLOC=${OPTIONS-profile:1} "$SCRATCH/leaky" "$@" wait >"$SCRATCH/ready" &
    pid=$!
    until_true test -s "$SCRATCH/ready"
    read -r _ addresses <"$SCRATCH/ready"
}
a_live_process() {
    live single chain thread
    run leaks $pid >"$SCRATCH/report"
    kill $pid
    cat "$SCRATCH/report"
    grep -q '4492 bytes in 3 blocks definitely lost, 432 bytes in 9' "$SCRATCH/report" && grep -q 'lose_in_thread+' "$SCRATCH/report"
}
without_sites() {
    OPTIONS=stats:off live single
    run leaks $pid >"$SCRATCH/report"
    kill $pid
    cat "$SCRATCH/report"
    grep -q 'in 1 block definitely lost' "$SCRATCH/report" && grep -q 'of size 11[0-9]*, allocated at an unknown place' "$SCRATCH/report"
}
a_stopped_process() {
    live single
    kill -STOP $pid
    run leaks $pid >"$SCRATCH/report"
    local status=$? state
    until_true grep -q '^State:[[:space:]]*T' /proc/$pid/status
    state=$(sed -n 's/^State:[[:space:]]*\(.\).*/\1/p' /proc/$pid/status)
    kill -KILL $pid
    cat "$SCRATCH/report"
    echo "state $state"
    ((status == 0)) && [[ $state == T ]] && grep -q '1111 bytes in 1 block definitely lost' "$SCRATCH/report"
}
undisturbed() {
    local fifo=$SCRATCH/in out=$SCRATCH/blocked.out pid i
    mkfifo "$fifo"
    : >"$out"
    env LD_PRELOAD="$LIB" "$SCRATCH/blocked" <"$fifo" >"$out" &
    pid=$!
    exec 3>"$fifo"
    until_true grep -q ready "$out"
    for i in 1 2 3; do run leaks $pid || return 1; done
    exec 3>&-
    wait $pid
    cat "$out"
    grep -q undisturbed "$out"
}

why_says() { # ADDRESS PATTERN...
    local address=$1 pattern
    shift
    run why $pid "$address" >"$SCRATCH/why" 2>&1
    local status=$?
    cat "$SCRATCH/why"
    for pattern; do grep -q -- "$pattern" "$SCRATCH/why" || { echo "does not say '$pattern'"; return 1; }; done
    return $status
}
chains() {
    live
    set -- $addresses
    why_says "$1" '^kept_global (' '48 bytes, allocated at allocate+' 'its word at +0' &&
        why_says "$2" '^kept_interior (' '500 bytes' && why_says "$3" 'thread-local storage of thread' '50 bytes' &&
        why_says "$4" "the stack of thread $pid .* in the frame of main" '70 bytes' && why_says "$5" 'register [a-z0-9]* of thread .* spin' '90 bytes' &&
        why_says "$6" "control block of thread $pid" '60 bytes'
    local status=$?
    kill $pid
    return $status
}
no_chain() {
    live single
    set -- $addresses
    local lost
    lost=$(run leaks $pid | sed -n 's/^1111 bytes in 1 block definitely lost (\(0x[0-9a-f]*\)).*/\1/p')
    why_says "$lost" 'nothing that can be reached points to it'
    (($? == 3))
    local status=$?
    why_says 1000 'no address of the heap'
    (($? == 3)) || status=1
    kill $pid
    return $status
}
# The collector marked it, and has its address in its own memory still.
no_chain_from_the_collector() {
    local pid status
    for barrier in stop fork; do
        env LD_PRELOAD="$LIB" GOMALLOC=gc:on,barrier:$barrier "$SCRATCH/collected" >"$SCRATCH/out" &
        pid=$!
        until_true grep -q ready "$SCRATCH/out"
        why_says "$(printf '0x%x' $((~$(sed 's/ready //' "$SCRATCH/out"))))" 'nothing that can be reached points to it'
        status=$?
        kill $pid
        ((status == 3)) || return 1
    done
}
in_gdb() {
    need gdb
    live
    set -- $addresses
    gdb -batch -nx -p $pid -ex "python gomalloc_command = '$COMMAND'" -ex 'source preload/command/gomalloc-why-gdb.py' -ex "heap-why $1" -ex "heap-why $5" -ex 'heap-why (void *)1' \
        >"$SCRATCH/gdb" 2>&1 </dev/null
    kill $pid
    grep -v warning "$SCRATCH/gdb"
    grep -q '^kept_global (' "$SCRATCH/gdb" && grep -q 'register [a-z0-9]* of thread .* spin' "$SCRATCH/gdb" && grep -q '0x1 is no address of the heap' "$SCRATCH/gdb"
}
refuses() {
    sleep 600 &
    local pid=$! status=0
    run leaks $pid 2>"$SCRATCH/err" && status=1
    grep -q 'not started with libgomalloc' "$SCRATCH/err" || status=1
    kill $pid
    run leaks 4194000 2>"$SCRATCH/err" && status=1
    grep -q 'no such process' "$SCRATCH/err" || status=1
    run why 1 2>/dev/null
    (($? == 2 && status == 0))
}

check single finds single lose_single 1 1111
check chain finds chain lose_chain 1 48 9 432
check cycle finds cycle lose_cycle 1 48 1 48
check tiny finds tiny lose_tiny 4 28
check large finds large lose_large 1 300000
check one_pointer_short finds one_short lose_one_short 1 2222
check dead_thread finds thread lose_in_thread 1 3333
check dead_thread_whose_stack_is_joined_with_others finds joined lose_in_thread 1 3333
check unloaded_library finds lib lose_in_library 1 4444
for name in all_at_once nothing_lost status_of_the_program no_exit_no_report clean_programs as_valgrind_says a_live_process without_sites a_stopped_process undisturbed chains no_chain no_chain_from_the_collector in_gdb \
    refuses; do
    check $name $name
done
plan
