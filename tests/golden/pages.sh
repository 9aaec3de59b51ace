#!/bin/bash
# The budget of fresh pages: minor faults of small fixed workloads (pages.c), the median of five runs. The
# budgets are what the release build measured, and about one in fifty more. TAP.
cd "$(dirname "$0")/../.." || exit 2
BUILD=${GM_BUILD_DIR:-build} GM_LIB=${GM_LIB:-${GM_BUILD_DIR:-build}/libgomalloc.so}
. tests/tap.sh

within() { # WORKLOAD BUDGET LEAST
    local i n
    [[ $BUILD == */build ]] || skip_because "the budgets are those of the release build"
    n=$(for i in 1 2 3 4 5; do with "$BUILD/tests/golden/pages" "$1"; done | sort -n | sed -n 3p)
    echo "note: $1: ${n:-no} faults, budget $2"
    [[ -n $n ]] && ((n >= $3 && n <= $2)) # fewer than there is memory: then nothing was measured
}

check ten_mib_of_64_bytes within small 2820 2560
check the_same_four_times within again 2830 2560
check a_thousand_large_blocks within large 3 1
check an_object_of_every_size within every_size 69 1
check a_block_that_grows_by_pages within grow 1100 1024
check a_block_that_doubles within doubling 16760 16384
check a_hundred_threads within threads 100 1 # a page kept of each would be twice that
plan
