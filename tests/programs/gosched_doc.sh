#!/bin/bash
# What is said of gosched.h: the man page has every function, the commands of sched/README.md run. TAP.
cd "$(dirname "$0")/../.." || exit 2
. tests/tap.sh

man_page() {
    awk -v version=0 -f sched/mkman.awk sched/gosched.h >"$SCRATCH/gosched.3" || return 1
    local name missing=0
    while read -r name; do
        grep -q "^\.B \".*\b$name(" "$SCRATCH/gosched.3" || { echo "$name is not in the page"; missing=1; }
    done < <(sed -nE 's/.*[ *](go[a-z_]*)\(.*GOSCHED_API.*/\1/p; s/.*[ *]([a-z_]+)\(.*\) GOSCHED_API.*/\1/p' sched/gosched.h | grep -v '^gosched_' | sort -u)
    ((missing == 0)) || return 1
    have man || return 0
    [[ -z $(man -l --warnings "$SCRATCH/gosched.3" 2>&1 >/dev/null) ]]
}

# Each line "    $ COMMAND", in order, in a copy of the tree's outline.
readme() {
    need gcc gdb man
    mkdir "$SCRATCH/tree" && cp -rs "$PWD"/{Makefile,libgomalloc,sched,preload,tests} "$SCRATCH/tree/" && cd "$SCRATCH/tree" || return 1
    cp -r "$BUILD" build && find build -exec touch -d 'now + 1 hour' {} + || return 1
    local line n=0
    while read -r line; do
        echo "\$ $line"
        without timeout "$(seconds 60)" bash -o pipefail -c "$line" >"$SCRATCH/out" 2>&1 </dev/null || { cat "$SCRATCH/out"; return 1; }
        ((++n))
    done < <(sed -n 's/^    \$ //p' sched/README.md)
    ((n > 10)) && grep -q 'gomaxprocs\|^2 3 5' "$SCRATCH/out"
}

example_in_the_readme() {
    sed -n '/^    #include <gosched.h>/,/^## /p' sched/README.md | sed -n 's/^    //p; s/^$//p' >"$SCRATCH/r.c"
    gcc -Isched -Wall -Wextra -Werror -o "$SCRATCH/r" "$SCRATCH/r.c" -L"$BUILD" -lgomalloc -Wl,-rpath,"$BUILD" || return 1
    without timeout "$(seconds 20)" "$SCRATCH/r" >"$SCRATCH/out" 2>"$SCRATCH/err"
    (($? == 2)) && [[ $(head -1 "$SCRATCH/err") == "panic: close of closed channel" ]]
}

check man_page man_page
check readme readme
check example_in_the_readme example_in_the_readme
plan
