#!/bin/bash
# The examples of sched/examples give the output that sched/examples/expected has for them: linked with the shared library, with
# the archive, and with the shared library where only LD_PRELOAD finds it. TAP.
#
# An example whose first comment says "any order" is compared sorted, one that says "lines repeat" without repetitions. Of
# a report about goroutines the names of functions are compared, the library's own and where the code lies left out.
cd "$(dirname "$0")/../.." || exit 2
. tests/tap.sh
include="-Isched -D_GNU_SOURCE -Wall -Wextra -Werror -O1 -g"

# build WAY NAME
build() {
    local source=sched/examples/$2.c out=$SCRATCH/$2.$1
    case $1 in
    shared) gcc $include -o "$out" "$source" -L"$BUILD" -lgomalloc -Wl,-rpath,"$BUILD" ;;
    static) gcc $include -o "$out" "$source" "$BUILD/libgomalloc.a" ;;
    preloaded) gcc $include -o "$out" "$source" -L"$BUILD" -lgomalloc ;; # where it lies only the preload says
    esac
}

names_of_frames() {
    awk '/^\t/ { next }
        /^gosched_|^gs_|^wait_in|^__|^0x/ { next }
        { sub(/\(\.\.\.\)$/, ""); print }'
}

arranged() {
    case $(head -1 "sched/examples/$1.c") in
    *"lines repeat"*) sort -u ;;
    *"any order"*) sort ;;
    *) names_of_frames ;;
    esac
}

# run WAY NAME: with one P and with two
run() {
    local p status
    build "$1" "$2" || return 1
    for p in 1 2; do
        if [[ $1 == preloaded ]]; then
            GOMAXPROCS=$p with timeout "$(seconds 20)" "$SCRATCH/$2.$1" >"$SCRATCH/out" 2>&1
        else
            GOMAXPROCS=$p without timeout "$(seconds 20)" "$SCRATCH/$2.$1" >"$SCRATCH/out" 2>&1
        fi
        status=$?
        ((status == 0)) || echo "exit status $status" >>"$SCRATCH/out"
        arranged "$2" <"$SCRATCH/out" >"$SCRATCH/arranged"
        if ! arranged "$2" <"sched/examples/expected/$2" | diff - "$SCRATCH/arranged"; then
            echo "with GOMAXPROCS=$p"
            cat "$SCRATCH/out"
            return 1
        fi
    done
}

# C++ includes the header and runs the same.
in_cxx() {
    cat >"$SCRATCH/x.cpp" <<'CXX'
#include <gosched.h>
#include <cstdio>
static void square(void *c) {
    int n;
    while (gochan_recv(static_cast<gochan *>(c), &n)) std::printf("%d\n", n * n);
    gochan_close(static_cast<gochan *>(c)); // closes twice: panics, and is recovered
}
static gowaitgroup done;
static void recovers(void *) {
    if (const void *text = go_recover()) std::printf("%s\n", static_cast<const char *>(text));
    gowaitgroup_done(&done);
}
static void guarded(void *c) {
    GO_DEFER(recovers, nullptr);
    square(c);
}
int main() {
    gochan *c = gochan_make(sizeof(int), 0), *quit = gochan_make(0, 0);
    gowaitgroup_add(&done, 1);
    go(guarded, c);
    for (int i = 1; i <= 3; i++) {
        gocase cases[] = {GO_SEND(c, &i), GO_RECV(quit, nullptr)};
        if (goselect(cases, 2) != 0) return 1;
    }
    gochan_close(c);
    gowaitgroup_wait(&done);
    errno = 0;
    return errno;
}
CXX
    g++ $include -std=c++17 -pedantic -Wno-variadic-macros -o "$SCRATCH/x" "$SCRATCH/x.cpp" -L"$BUILD" -lgomalloc -Wl,-rpath,"$BUILD" &&
        [[ $(without timeout "$(seconds 20)" "$SCRATCH/x") == $'1\n4\n9\nclose of closed channel' ]]
}

for source in sched/examples/*.c; do
    name=$(basename "$source" .c)
    for way in shared static preloaded; do check "$name, $way" run $way "$name"; done
done
every_example_is_compared() { diff <(cd sched/examples && ls ./*.c | sed 's/\.c$//') <(cd sched/examples/expected && ls -d ./*); }
check every_example_has_its_output every_example_is_compared
check in_c++ in_cxx
plan
