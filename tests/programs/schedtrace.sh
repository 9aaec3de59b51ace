#!/bin/bash
# GODEBUG=schedtrace and scheddetail give the lines that Go's own runtime gives: a Go program and the same in C run, and each line,
# with numbers and reasons replaced, is one that the other has as well. TAP.
cd "$(dirname "$0")/../.." || exit 2
. tests/tap.sh

programs() {
    cat >"$SCRATCH/t.go" <<'GO'
package main

import (
    "runtime"
    "time"
)

func main() {
    runtime.GOMAXPROCS(2)
    c := make(chan int)
    go func() { <-c }()
    go func() { time.Sleep(time.Minute) }()
    go func() { runtime.LockOSThread(); <-c }()
    go func() {}()
    time.Sleep(3 * time.Second)
}
GO
    cat >"$SCRATCH/t.c" <<'C'
#include <gosched.h>
static gochan *c;
static void receives(void *arg) { gochan_recv(c, arg); }
static void sleeps(void *arg) { go_sleep(60 * INT64_C(1000000000)); (void)arg; }
static void locked(void *arg) { go_lock_thread(); receives(arg); }
static void nothing(void *arg) { (void)arg; }
int main(void) {
    go_maxprocs(2);
    c = gochan_make(0, 0);
    go(receives, NULL), go(sleeps, NULL), go(locked, NULL), go(nothing, NULL);
    go_sleep(3 * INT64_C(1000000000));
}
C
    gcc -Isched -o "$SCRATCH/c" "$SCRATCH/t.c" -L"$BUILD" -lgomalloc -Wl,-rpath,"$BUILD"
}

# Lines with their variable parts replaced; of states only whether there is a reason.
shapes() { sed -E 's/\((.+)\)/(R)/; s/-?[0-9]+/N/g; s/true|false/B/g; /^SCHED|^  [PMG]/!d' | sort -u; }

same_shapes() { # DEBUG
    GODEBUG=$1 "$SCRATCH/c" 2>&1 | shapes >"$SCRATCH/ours"
    [[ -s $SCRATCH/ours ]] && diff "$SCRATCH/go.$1" "$SCRATCH/ours"
}
go_gives() { GODEBUG=$1 "$SCRATCH/go" 2>&1 | shapes >"$SCRATCH/go.$1"; }

like_go() {
    need go gcc
    programs && (cd "$SCRATCH" && HOME=$SCRATCH GOFLAGS=-mod=mod GO111MODULE=off timeout "$(seconds 200)" go build -o go t.go) || return 1
    [[ $(go version) == *go1.19* ]] || skip_because "the format is that of go1.19, this is $(go version)"
    go_gives schedtrace=100 && same_shapes schedtrace=100 &&
        go_gives schedtrace=100,scheddetail=1 && same_shapes schedtrace=100,scheddetail=1
}

# What the figures mean.
figures() {
    programs || return 1
    # The last whole record of three seconds: by then everything is where it stays, on the busiest machine.
    GODEBUG=schedtrace=100,scheddetail=1 "$SCRATCH/c" 2>&1 | awk -v RS='SCHED ' '{ before = last; last = $0 } END { printf "%s", before }' >"$SCRATCH/last"
    cat "$SCRATCH/last"
    grep -q '^[0-9]*ms: gomaxprocs=2 idleprocs=2 threads=[3-5] .* nmidlelocked=1 ' "$SCRATCH/last" &&
        grep -q '^  G1: status=4(chan receive) m=-1 lockedm=-1$' "$SCRATCH/last" &&
        grep -q '^  G2: status=4(sleep) m=-1 lockedm=-1$' "$SCRATCH/last" &&
        grep -qE '^  G3: status=4\(chan receive\) m=-1 lockedm=[0-9]+$' "$SCRATCH/last" &&
        grep -q '^  G4: status=6() m=-1 lockedm=-1$' "$SCRATCH/last" &&
        grep -q ' timerslen=1$' "$SCRATCH/last" &&
        [[ $(grep -c '^  M' "$SCRATCH/last") == $(sed -nE 's/.* threads=([0-9]+).*/\1/p' "$SCRATCH/last") ]]
}

check figures figures
check like_go like_go
plan
