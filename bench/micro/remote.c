/* N threads allocate, M others free: each pair has a ring of its own, so that nothing but the allocator is shared. */
#include <sched.h>
#include <stdatomic.h>

#include "bench/micro/micro.h"

enum { ROOM = 1024, MOST = 4 };

struct ring {
    _Alignas(128) _Atomic uint32_t put;
    _Alignas(128) _Atomic uint32_t got;
    _Alignas(128) void *at[ROOM];
};

struct side {
    int self;
    int64_t share; /* objects that each of its rings sees */
    size_t size;
};

static struct ring rings[MOST][MOST];
static int producers, consumers;

static void put(struct ring *r, void *p) {
    uint32_t n = atomic_load_explicit(&r->put, memory_order_relaxed);
    while (n - atomic_load_explicit(&r->got, memory_order_acquire) == ROOM) sched_yield();
    r->at[n % ROOM] = p;
    atomic_store_explicit(&r->put, n + 1, memory_order_release);
}

static void *get(struct ring *r) {
    uint32_t n = atomic_load_explicit(&r->got, memory_order_relaxed);
    while (n == atomic_load_explicit(&r->put, memory_order_acquire)) sched_yield();
    void *p = r->at[n % ROOM];
    atomic_store_explicit(&r->got, n + 1, memory_order_release);
    return p;
}

static void *produce(void *arg) {
    const struct side *s = arg;
    for (int64_t i = 0; i < s->share; i++)
        for (int c = 0; c < consumers; c++) {
            char *p = must(malloc(s->size));
            *p = 1;
            put(&rings[s->self][c], p);
        }
    return NULL;
}

static void *consume(void *arg) {
    const struct side *s = arg;
    for (int64_t i = 0; i < s->share; i++)
        for (int p = 0; p < producers; p++) free(get(&rings[p][s->self]));
    return NULL;
}

static void remote(struct bench *b) {
    pthread_t thread[2 * MOST];
    struct side side[2 * MOST];
    producers = (int)bench_arg(b, 0);
    consumers = (int)bench_arg(b, 1);
    int both = producers + consumers;
    int64_t share = bench_begin(b) / (producers * consumers) + 1;
    for (int t = 0; t < both; t++) {
        side[t] = (struct side){ t < producers ? t : t - producers, share, (size_t)bench_arg(b, 2) };
        thread[t] = started(t < producers ? produce : consume, &side[t]);
    }
    for (int t = 0; t < both; t++) pthread_join(thread[t], NULL);
    bench_end(b);
    bench_items(b, share * producers * consumers);
}

BENCH(remote) {
    static const int64_t sizes[] = { 64, 1024 };
    for (size_t i = 0; i < COUNT(sizes); i++) {
        by_the_clock(bench_add("remote", remote, 1, 1, sizes[i]));
        by_the_clock(bench_add("remote", remote, 1, 3, sizes[i]));
        by_the_clock(bench_add("remote", remote, 4, 4, sizes[i]));
    }
}
