/* The page heap alone: objects that are runs of pages, and that nobody writes to. How long does it take to find a place and
 * to join what is free, in a heap with few holes and in one with many? */
#include "bench/micro/micro.h"

enum { SLOTS = 256, HOLES = 20000 };
enum { SMALLEST = 40 << 10, LARGEST = 1 << 20 };

static void exchange(void **slot, struct rng *r) {
    void **s = &slot[rng_below(r, SLOTS)];
    free(*s);
    *s = bench_kept(malloc(SMALLEST + rng_below(r, LARGEST - SMALLEST)));
}

static void pages(struct bench *b) {
    static void *slot[SLOTS];
    struct rng r = { 30 };
    for (int i = 0; i < 4 * SLOTS; i++) exchange(slot, &r);
    BENCH_LOOP(b) exchange(slot, &r);
    bench_items(b, bench_iterations(b));
    for (int i = 0; i < SLOTS; i++) {
        free(slot[i]);
        slot[i] = NULL;
    }
}

/* Every other one of 20000 runs is a hole that is too small. */
static void pages_with_holes(struct bench *b) {
    static void *pin[HOLES];
    for (int i = 0; i < HOLES; i++) pin[i] = bench_kept(malloc(SMALLEST));
    for (int i = 0; i < HOLES; i += 2) free(pin[i]);
    pages(b);
    for (int i = 1; i < HOLES; i += 2) free(pin[i]);
}

BENCH(pages) {
    bench_add("pages", pages);
    bench_add("pages-with-holes", pages_with_holes);
}
