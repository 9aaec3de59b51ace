#!/bin/bash
# The budget of the hit path: instructions of one malloc+free pair, counted by callgrind and therefore the
# same on every run. The difference of two run lengths takes out what happens once, the difference to
# empty functions the loop. A pair that costs more than its budget is a failure; who makes it cheaper lowers
# the budget. The budgets are what the release build measured, plus one. TAP.
cd "$(dirname "$0")/../.." || exit 2
BUILD=${GM_BUILD_DIR:-build} GM_LIB=${GM_LIB:-${GM_BUILD_DIR:-build}/libgomalloc.so}
. tests/tap.sh

PAIRS=$BUILD/tests/golden/pairs
SHORT=100000 LONG=300000

# Instructions of one run.
count() {
    with valgrind --tool=callgrind --soname-synonyms=somalloc=nouserintercepts \
        --callgrind-out-file="$SCRATCH/callgrind.out" "$PAIRS" "$@" 2>&1 | sed -n 's/.*Collected : \([0-9]*\).*/\1/p'
}
per_pair() { # MODE [nothing]
    local a b
    a=$(count $SHORT "$@") b=$(count $LONG "$@")
    [[ -n $a && -n $b ]] && awk -v a="$a" -v b="$b" -v n=$((LONG - SHORT)) 'BEGIN { printf "%.2f", (b - a) / n }'
}

within() { # MODE BUDGET
    need valgrind
    local with_calls empty
    [[ $BUILD == */build ]] || skip_because "the budgets are those of the release build"
    with_calls=$(per_pair "$1") empty=$(per_pair "$1" nothing)
    [[ -n $with_calls && -n $empty ]] || { echo "callgrind gave no count"; return 1; }
    awk -v w="$with_calls" -v e="$empty" -v budget="$2" -v mode="$1" 'BEGIN {
        printf "note: %s: %.2f instructions a pair, budget %d (the loop alone: %.2f)\n", mode, w - e, budget, e
        exit !(w - e > 10 && w - e <= budget)
    }'
}

check lifo_pairs within lifo 31
check batches_of_100 within batch 31
check random_sizes within random 34
check up_to_8_bytes within short 114
check above_1_KiB within medium 77
check realloc_in_place within regrow 75
plan
