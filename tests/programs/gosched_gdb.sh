#!/bin/bash
# sched/gosched-gdb.py in a live process and on its core: goroutines in every state, their frames and variables. TAP.
cd "$(dirname "$0")/../.." || exit 2
. tests/tap.sh

program() {
    cat >"$SCRATCH/p.c" <<'C'
#include <gosched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
static gochan *c;
static int pipes[2];
static volatile int stop, spins;
static _Atomic int blocked_thread;
static __attribute__((noinline)) int deeper(int n) {
    volatile int local = 40 + n;
    if (n > 0) return deeper(n - 1) + local;
    gochan_recv(c, NULL);
    return local;
}
static void receiver(void *arg) { stop = deeper(2), (void)arg; }
static void sleeper(void *arg) { go_sleep(INT64_C(3600000000000)), stop = 1, (void)arg; }
static void spinner(void *arg) {
    for (spins = 1; !stop;) {}
    (void)arg;
}
static void blocked(void *arg) {
    char b;
    blocked_thread = gettid();
    go_entersyscall();
    stop = (int)read(pipes[0], &b, 1);
    go_exitsyscall();
    (void)arg;
}
/* Everybody where they stay: as a dump shows it, and the thread in its call as the kernel does. */
static int all_wait(void) {
    static char text[1 << 16], path[64];
    int fd = memfd_create("dump", 0), call = -1;
    go_dump(fd);
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    text[n > 0 ? n : 0] = 0;
    close(fd);
    snprintf(path, sizeof path, "/proc/self/task/%d/syscall", blocked_thread);
    FILE *f = fopen(path, "r");
    if (f && fscanf(f, "%d", &call) != 1) call = -1;
    if (f) fclose(f);
    return strstr(text, "[chan receive]") && strstr(text, "[sleep]") && strstr(text, "[syscall]") && strstr(text, "[running]") && (!f || call == SYS_read);
}
static __attribute__((noinline)) void all_there(void) { abort(); }
int main(void) {
    if (pipe(pipes)) return 1;
    c = gochan_make(0, 0);
    go_maxprocs(2);
    go(receiver, NULL), go(sleeper, NULL), go(blocked, NULL), go(spinner, NULL);
    while (!all_wait()) usleep(10000);
    all_there();
}
C
    gcc -g -D_GNU_SOURCE -Isched -o "$SCRATCH/p" "$SCRATCH/p.c" -L"$BUILD" -lgomalloc -Wl,-rpath,"$BUILD"
}

commands=(-ex "source $PWD/sched/gosched-gdb.py" -ex 'echo \n== info\n' -ex 'info goroutines'
    -ex 'echo \n== 1\n' -ex 'goroutine 1 bt' -ex 'goroutine 1 frame function receiver' -ex 'goroutine 1 frame apply all -q -s print local'
    -ex 'echo \n== 2\n' -ex 'goroutine 2 bt' -ex 'echo \n== 3\n' -ex 'goroutine 3 bt' -ex 'echo \n== 4\n' -ex 'goroutine 4 bt'
    -ex 'echo \n== 5\n' -ex 'goroutine 5 bt' -ex 'echo \n== all\n' -ex 'goroutine all bt 2' -ex 'echo \n== selected\n' -ex bt -ex 'echo \n== end\n')
debug() { without timeout "$(seconds 60)" gdb -q -nx -batch "$@" 2>&1 </dev/null; }
part() { sed -n "/^== $1\$/,/^== /p" "$SCRATCH/out"; }
has() { # PART PATTERN...: in this order
    local name=$1 pattern
    shift
    for pattern; do
        part "$name" | grep -qE -- "$pattern" || { echo "in part $name no line: $pattern"; part "$name"; return 1; }
    done
}

looks_right() {
    has info '^  1 chan receive  receiver$' '^  2 sleep  sleeper$' '^  3 syscall  blocked$' '^  4 running  spinner$' &&
        has 1 'gs_park' '^#[0-9]+ .* deeper \(n=0\)' '^#[0-9]+ .* deeper \(n=2\)' '^#[0-9]+ .* receiver \(' ' = 40$' ' = 42$' &&
        has 2 ' gosched_sleep ' ' sleeper \(' && has 3 'read ' ' blocked \(' && has 4 ' spinner \(' &&
        has 5 'no goroutine 5' && has all '^goroutine 1 \[chan receive\]:$' '^goroutine 4 \[running\]:$' &&
        has selected '^#0 ' ' all_there \(' ' main \('
}

live() {
    need gdb gcc
    program && debug -ex run "${commands[@]}" -ex kill "$SCRATCH/p" >"$SCRATCH/out"
    grep -q 'Python scripting is not supported' "$SCRATCH/out" && skip_because "this gdb has no Python"
    grep -qE 'ptrace: Operation not permitted|Could not trace' "$SCRATCH/out" && skip_because "no ptrace here"
    looks_right
}

core() {
    need gdb
    (cd "$SCRATCH" && ulimit -c unlimited && without timeout "$(seconds 20)" ./p >/dev/null 2>&1)
    set -- "$SCRATCH"/core*
    [[ -s $1 ]] || skip_because "no core was written (ulimit -Hc: $(ulimit -Hc), core_pattern: $(cat /proc/sys/kernel/core_pattern))"
    debug "${commands[@]}" "$SCRATCH/p" "$1" >"$SCRATCH/out"
    looks_right
}

installed() {
    make --no-print-directory -s install PREFIX=/usr DESTDIR="$SCRATCH/root" >/dev/null && [[ -r $SCRATCH/root/usr/share/gomalloc/gosched-gdb.py ]]
}

check live live
check core core
check installed installed
plan
