#!/bin/bash
# The scheduler on the other machine: the library and the core's tests built by Debian's cross compiler, run under qemu-user.
# What qemu-user cannot do (fork beside threads, reserving a huge address space in time) is left out. TAP.
cd "$(dirname "$0")/../.." || exit 2
. tests/tap.sh
OUT=$SCRATCH/aarch64
unset MAKEFLAGS MAKELEVEL VARIANT

tools() {
    need qemu-aarch64
    need aarch64-linux-gnu-gcc
    [[ $BUILD == */debug ]] && skip_because "the release build does it"
    return 0
}
build() {
    tools
    make -s -j2 B="$OUT" CC=aarch64-linux-gnu-gcc VARIANT=release "$OUT"/tests/unit/test_{proc,errno,interleave,dump}
}
run() { # run PROGRAM TEST...
    tools
    timeout "$(seconds 120)" qemu-aarch64 -L /usr/aarch64-linux-gnu "$OUT/tests/unit/test_$1" "${@:2}"
}
check cross_build build
check switches_parks_stacks run proc goroutines_run full_ring the_newest nobody_is_forgotten refused errno locked all_stacks
check no_register_is_lost run interleave
check stacks_are_walked run dump one_that_never a_panic
check errno_stays run errno
plan
