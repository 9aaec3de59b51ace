#!/bin/bash
# The gdb script on a live process and on a core file; core files stay small although the reservation is not;
# mappings have names where the kernel can. TAP.
cd "$(dirname "$0")/../.." || exit 2
. tests/tap.sh

SCRIPT=libgomalloc/gomalloc-gdb.py

make_host() {
    [[ -x $SCRATCH/host ]] && return
    cat >"$SCRATCH/host.c" <<'C'
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
void *live, *freed, *large, *small, *all[5000];
int main(void) {
    for (int i = 0; i < 5000; i++) all[i] = memset(malloc(200), 1, 200);
    live = all[2500];
    freed = all[3333];
    free(freed);
    large = malloc(1000000);
    small = malloc(8);
    puts("ready");
    fflush(stdout);
    char c;
    if (read(0, &c, 1) == 1) abort();
    return 0;
}
C
    gcc -g -O0 -fno-builtin -o "$SCRATCH/host" "$SCRATCH/host.c"
}

# What gdb is asked, and what it must answer, in either case.
ASK=(-batch -ex 'set pagination off' -ex "source $SCRIPT" -ex heap -ex 'heap classes' -ex 'heap span live' -ex 'heap span (char *)live + 7'
    -ex 'heap span freed' -ex 'heap span (char *)large + 500000' -ex 'heap span small' -ex 'heap span &live')
answers() {
    local out=$1 line
    while read -r line; do
        grep -qE -- "$line" "$out" || { echo "no line like: $line"; cat "$out"; return 1; }
    done <<'L'
^arena 0x[0-9a-f]+-0x[0-9a-f]+ primary: [0-9.]+ MiB grown of
^small spans: [0-9]+, [0-9.]+ [KM]iB; their slots in use or in caches: [0-9.]+ [KM]iB
^large objects: 1, 984.0 KiB
^ +208 +[0-9]+ +[0-9]+ +[0-9]+ +(499|50)[0-9]+ +9[0-9.]+%|^ +208 +[0-9]+ +[0-9]+ +[0-9]+ +(499|50)[0-9]+ +100.0%
^slot [0-9]+ at 0x[0-9a-f]+, 0 bytes into it: live
^slot [0-9]+ at 0x[0-9a-f]+, 7 bytes into it: live
^slot [0-9]+ at 0x[0-9a-f]+, 0 bytes into it: free, in a cache or a batch
^0x[0-9a-f]+ is 500000 bytes into the object, which the program asked 1000000 bytes for
slots of 8 bytes
is not in the heap
L
}

start_host() {
    mkfifo "$SCRATCH/in" "$SCRATCH/out" || return
    env LD_PRELOAD="$LIB" "$SCRATCH/host" <"$SCRATCH/in" >"$SCRATCH/out" &
    pid=$!
    exec 7>"$SCRATCH/in" 8<"$SCRATCH/out"
    grep -qm1 ready <&8
}
end_host() {
    exec 7>&- 8<&-
    wait "$pid" 2>/dev/null
    rm -f "$SCRATCH/in" "$SCRATCH/out"
}

live_process() {
    need gdb gcc
    local pid status
    make_host && start_host || return
    gdb -q -p "$pid" "${ASK[@]}" >"$SCRATCH/live" 2>&1
    end_host
    grep -q 'ptrace: Operation not permitted' "$SCRATCH/live" && skip_because 'no ptrace'
    answers "$SCRATCH/live"
}

# gdb writes it; file size limited, for it used to have the size of the reservation.
core_by_gdb() {
    need gdb gcc
    local pid
    make_host && start_host || return
    (ulimit -f 200000; timeout "$(seconds 60)" gdb -q -p "$pid" -batch -ex "gcore $SCRATCH/core" >"$SCRATCH/gcore" 2>&1)
    end_host
    grep -q 'ptrace: Operation not permitted' "$SCRATCH/gcore" && skip_because 'no ptrace'
    [[ -s $SCRATCH/core ]] || { cat "$SCRATCH/gcore"; return 1; }
    echo "note: $(($(stat -c %s "$SCRATCH/core") >> 10)) KiB"
    (($(stat -c %s "$SCRATCH/core") < 64 << 20)) || return
    gdb -q "$SCRATCH/host" "$SCRATCH/core" "${ASK[@]}" >"$SCRATCH/answer" 2>&1
    answers "$SCRATCH/answer"
}

core_by_kernel() {
    need gdb gcc
    local pid pattern blocks
    pattern=$(cat /proc/sys/kernel/core_pattern)
    [[ $pattern != */* && $pattern != '|'* ]] || skip_because "cores go to $pattern"
    make_host || return
    mkdir -p "$SCRATCH/dump"
    (cd "$SCRATCH/dump" && ulimit -c unlimited && echo x | env LD_PRELOAD="$LIB" "$SCRATCH/host" >/dev/null)
    set -- "$SCRATCH"/dump/*
    [[ -s $1 ]] || skip_because 'no core was written'
    blocks=$(stat -c %b "$1")
    echo "note: $((blocks / 2)) KiB on disk"
    ((blocks / 2 < 32 << 10)) || return
    gdb -q "$SCRATCH/host" "$1" "${ASK[@]}" >"$SCRATCH/answer" 2>&1
    answers "$SCRATCH/answer"
}

without_the_library() {
    need gdb
    gdb -q -batch -ex "source $SCRIPT" -ex heap /bin/true 2>&1 | grep -q 'gomalloc is not in this program'
}

mappings_have_names() {
    with cat /proc/self/maps >"$SCRATCH/maps"
    grep -q '\[anon:gomalloc heap\]' "$SCRATCH/maps" && grep -q '\[anon:gomalloc records\]' "$SCRATCH/maps" && return
    # Refused: then by the kernel, and silently.
    zgrep -qs '^CONFIG_ANON_VMA_NAME=y' /proc/config.gz "/boot/config-$(uname -r)" && return 1
    [[ -z $(with cat /dev/null 2>&1) ]] && skip_because 'this kernel gives no names to anonymous memory'
}

reservations_are_left_out() {
    need awk
    with cat /proc/self/smaps | awk '
        /^[0-9a-f]+-[0-9a-f]+ / { inaccessible = $2 ~ /^---/ }
        /^Size:/ { kib = $2 }
        /^VmFlags:/ && inaccessible && kib > 2 ^ 17 { n++; if (!/ dd /) bad++ }
        END { exit !(n >= 3 && !bad) }'
}

check gdb_script_on_a_live_process live_process
check gdb_script_on_a_core_that_gdb_wrote core_by_gdb
check gdb_script_on_a_core_of_the_kernel core_by_kernel
check gdb_script_where_there_is_no_library without_the_library
check mappings_are_named mappings_have_names
check reservations_are_left_out_of_cores reservations_are_left_out
plan
