#!/bin/bash
# Dumps name the lines that addr2line names, whatever compiler and version of DWARF made them; without debug information, or with
# compressed one, the object stands there. TAP.
cd "$(dirname "$0")/../.." || exit 2
. tests/tap.sh

source_file() {
    cat >"$SCRATCH/l.c" <<'C'
#include <gosched.h>
static gochan *c;
static volatile int n;
#define NOT_INLINE __attribute__((noinline))
NOT_INLINE static void innermost(void) {
    n++;
    gochan_recv(c, NULL);
    n++;
}
NOT_INLINE static void middle(int k) {
    if (k > 0)
        middle(k - 1);
    else
        innermost();
    n++;
}
static void outermost(void *arg) {
    for (int i = 0; i < 1; i++) {
        n++;


        middle(3), (void)arg;
    }
    n++;
}
int main(void) {
    c = gochan_make(0, 0);
    go(outermost, NULL);
    gochan_recv(c, NULL);
}
C
}

# Of each frame "FILE:LINE +0xOFFSET" the file and line must be addr2line's for the function's address plus the offset (a return address:
# one before it is the call).
like_addr2line() { # COMPILER FLAGS...
    need "$1" addr2line
    source_file
    "$@" -O1 -no-pie -Isched -o "$SCRATCH/l" "$SCRATCH/l.c" -L"$BUILD" -lgomalloc -Wl,-rpath,"$BUILD" || return 1
    without timeout "$(seconds 20)" "$SCRATCH/l" >"$SCRATCH/out" 2>&1
    local function place file_line offset address frames=0
    while read -r function && read -r file_line place; do
        function=${function#created by } offset=${place#+}
        address=$(nm "$SCRATCH/l" | awk -v f="${function%(...)}" '$3 ~ "^" f "([.]|$)" { print $1; exit }')
        [[ $address ]] || continue
        address=$(printf '%x' $((0x$address + offset - 1)))
        if [[ $(addr2line -e "$SCRATCH/l" "$address" | sed 's/ (discriminator.*//') != "$file_line" ]]; then
            echo "$function: $file_line, addr2line says $(addr2line -e "$SCRATCH/l" "$address")"
            return 1
        fi
        [[ $file_line == *l.c:* ]] && ((++frames))
    done < <(grep -v '^$\|^fatal\|^goroutine\|^main thread' "$SCRATCH/out")
    ((frames >= 8)) || { echo "$frames frames with lines"; cat "$SCRATCH/out"; return 1; }
}

object_only() { # FLAGS...
    source_file
    gcc -O1 "$@" -Isched -o "$SCRATCH/l" "$SCRATCH/l.c" -L"$BUILD" -lgomalloc -Wl,-rpath,"$BUILD" || return 1
    without timeout "$(seconds 20)" "$SCRATCH/l" >"$SCRATCH/out" 2>&1
    grep -q "^	$SCRATCH/l +0x" "$SCRATCH/out" && ! grep -q 'l\.c:' "$SCRATCH/out" || { cat "$SCRATCH/out"; return 1; }
}
stripped() {
    object_only -g -s && grep -q '^0x[0-9a-f]*(\.\.\.)$' "$SCRATCH/out"
}

# SIGQUIT at a program on the shared library, whose signal handlers are entered through a thunk.
on_quit() {
    cat >"$SCRATCH/q.c" <<'C'
#include <gosched.h>
#include <stdio.h>
static volatile int stop, spinning, next;
static void receives(void *arg) { gochan_recv(arg, NULL); }
static void comes_next(void *arg) { next = 1, (void)arg; }
static void spins(void *arg) {
    for (spinning = 1; !stop;) {}
    (void)arg;
}
int main(void) {
    go_maxprocs(1); /* one after the other: the first waits when the second runs */
    go(receives, gochan_make(0, 0));
    go(comes_next, NULL);
    while (!next) go_sleep(1000000);
    go_maxprocs(2);
    go(spins, NULL);
    while (!spinning) go_sleep(1000000);
    puts("ready");
    fflush(stdout);
    go_sleep(INT64_C(600000000000));
}
C
    gcc -g -Isched -o "$SCRATCH/q" "$SCRATCH/q.c" -L"$BUILD" -lgomalloc -Wl,-rpath,"$BUILD" || return 1
    : >"$SCRATCH/ready"
    # What a script starts in the background ignores SIGQUIT, and the library leaves that as it is.
    env -u LD_PRELOAD --default-signal=QUIT "$SCRATCH/q" >"$SCRATCH/ready" 2>"$SCRATCH/out" &
    local pid=$! status
    until_true test -s "$SCRATCH/ready"
    kill -QUIT $pid
    wait $pid
    status=$?
    cat "$SCRATCH/out"
    ((status == 2)) && [[ $(head -1 "$SCRATCH/out") == "SIGQUIT: quit" ]] && grep -A1 '^goroutine 1 \[chan receive\]:' "$SCRATCH/out" | grep -q '^receives\|^gosched_chan_recv' &&
        grep -A1 '^goroutine 3 \[running\]:' "$SCRATCH/out" | grep -q '^spins' && grep -q '^main thread \[running\]:' "$SCRATCH/out"
}

for version in 2 3 4 5; do
    check "gcc, DWARF $version" like_addr2line gcc -gdwarf-$version
    check "clang, DWARF $version" like_addr2line clang -gdwarf-$version
done
check without_debug_information object_only -g0
check compressed object_only -g -gz
check stripped stripped
check on_quit on_quit
plan
