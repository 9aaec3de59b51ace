#!/bin/bash
# The sync types, contexts and the rest of gosched.h from C++, with everything declared there taken by its address: each
# name is one that the shared library has. TAP.
cd "$(dirname "$0")/../.." || exit 2
. tests/tap.sh

in_cxx() {
    cat >"$SCRATCH/x.cpp" <<'CXX'
#include <gosched.h>
#include <cstdio>
#include <memory>

struct lock {
    gomutex &m;
    explicit lock(gomutex &mutex) : m(mutex) { gomutex_lock(&m); }
    ~lock() { gomutex_unlock(&m); }
};
static gomutex m;
static gorwmutex rw;
static goonce once;
static gocond changed;
static gomap map;
static golocal_key key;
static long sum, firsts, threads_seen;

static int member(void *arg) {
    goonce_do(&once, [](void *) { firsts++; }, nullptr);
    golocal_set(key, arg);
    for (int i = 0; i < 1000; i++) {
        lock l(m);
        sum++;
    }
    go_yield();
    gorwmutex_rlock(&rw);
    bool same = golocal_get(key) == arg;
    gorwmutex_runlock(&rw);
    gomap_store(&map, arg, arg);
    lock l(m);
    threads_seen += same;
    gocond_broadcast(&changed);
    return 0;
}

int main() {
    gogroup group = {};
    gopool pool = {[](void *) -> void * { return new int(7); }, [](void *p, void *) { delete static_cast<int *>(p); }, nullptr, nullptr};
    gosem sem;
    gosem_init(&sem, 2);
    gocond_init(&changed, &m);
    golocal_create(&key, nullptr);
    std::unique_ptr<gocontext, void (*)(gocontext *)> ctx(gogroup_context(&group, goctx_background()), goctx_release);
    int values[8];
    for (int &v : values) gogroup_go(&group, member, &v);
    {
        lock l(m);
        while (threads_seen < 8) gocond_wait(&changed);
    }
    int err = gogroup_wait(&group), present = 0;
    gomap_range(&map, [](const void *k, void *v, void *n) { return ++*static_cast<int *>(n), k == v; }, &present);
    gomap_clear(&map);
    int *seven = static_cast<int *>(gopool_get(&pool));
    gopool_put(&pool, seven);
    gopool_clear(&pool);
    std::printf("%ld %ld %d %d %d %d\n", sum, firsts, err, present, gosem_acquire_context(&sem, ctx.get(), 2), goctx_err(ctx.get()));
    gosem_release(&sem, 2);
}
CXX
    g++ -std=c++17 -Wall -Wextra -Werror -pedantic -O1 -Isched -o "$SCRATCH/x" "$SCRATCH/x.cpp" -L"$BUILD" -lgomalloc -Wl,-rpath,"$BUILD" &&
        without timeout "$(seconds 20)" "$SCRATCH/x" >"$SCRATCH/out" && diff - "$SCRATCH/out" <<<"8000 1 0 8 0 -125"
}

# Each function that the header declares, and none that it does not.
every_name() {
    printf '#include <gosched.h>\n' | gcc -D_GNU_SOURCE -Isched -E - | grep -o '__asm__("gosched_" "[a-z_]*")' | sed 's/.* "\(.*\)")/gosched_\1/' | sort >"$SCRATCH/declared"
    nm -D --defined-only "$LIB" | awk '$3 ~ /^gosched_/ { print $3 }' | sort >"$SCRATCH/exported"
    [[ -s $SCRATCH/declared ]] || { echo "no names found"; return 1; }
    diff "$SCRATCH/declared" "$SCRATCH/exported"
}

check in_cxx in_cxx
check every_name every_name
plan
