/* Slots of which a random one is exchanged, after a warm-up that leaves the heap as it is after a while: sizes from 16
 * bytes to 16 KiB, small ones most frequent, or all up to 1 KiB equally. */
#include "bench/micro/micro.h"

enum { SLOTS = 4096, WARM_UP = 8 * SLOTS };

static size_t programs_size(struct rng *r) { return rng_size(r, 10); }
static size_t any_size(struct rng *r) { return 8 + rng_below(r, 1017); }

static void exchange(void **slot, struct rng *r, size_t (*size)(struct rng *)) {
    void **s = &slot[rng_below(r, SLOTS)];
    free(*s);
    *(char *)(*s = bench_kept(malloc(size(r)))) = 1;
}

static void mixed(struct bench *b, size_t (*size)(struct rng *)) {
    struct rng r = { 20 + (uint64_t)bench_thread_index(b) };
    void **slot = must(calloc(SLOTS, sizeof *slot));
    for (int i = 0; i < WARM_UP; i++) exchange(slot, &r, size);
    BENCH_LOOP(b) exchange(slot, &r, size);
    bench_items(b, bench_iterations(b));
    for (int i = 0; i < SLOTS; i++) free(slot[i]);
    free(slot);
}

static void mixed_small(struct bench *b) { mixed(b, any_size); }
static void mixed_program(struct bench *b) { mixed(b, programs_size); }

BENCH(mixed) {
    bench_add("mixed-to-1k", mixed_small);
    bench_add("mixed", mixed_program);
    on_threads(bench_add("mixed", mixed_program), 2);
    on_threads(bench_add("mixed", mixed_program), 16);
}
