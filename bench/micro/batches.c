/* Many objects taken, then freed: backwards (LIFO), in their order (FIFO), or in a random one. A hundred fit into
 * every cache; ten thousand show how the rest of them travels. */
#include "bench/micro/micro.h"

enum { MOST = 10000 };
enum order { LIFO, FIFO, RANDOM };

/* In which order a batch of n is freed. */
static void draw(uint32_t *order, uint32_t n, enum order how) {
    struct rng r = { 11 };
    for (uint32_t i = 0; i < n; i++) order[i] = how == LIFO ? n - 1 - i : i;
    for (uint32_t i = n; how == RANDOM && i > 1; i--) {
        uint32_t j = (uint32_t)rng_below(&r, i), kept = order[i - 1];
        order[i - 1] = order[j];
        order[j] = kept;
    }
}

static void batch(struct bench *b, enum order how) {
    size_t size = (size_t)bench_arg(b, 0);
    uint32_t n = (uint32_t)bench_arg(b, 1), *order = must(malloc(MOST * sizeof *order));
    void **block = must(malloc(MOST * sizeof *block));
    draw(order, n, how);
    BENCH_LOOP(b) {
        for (uint32_t i = 0; i < n; i++) *(char *)(block[i] = bench_kept(malloc(size))) = 1;
        for (uint32_t i = 0; i < n; i++) free(block[order[i]]);
    }
    bench_items(b, bench_iterations(b) * n);
    free(block);
    free(order);
}

static void lifo(struct bench *b) { batch(b, LIFO); }
static void fifo(struct bench *b) { batch(b, FIFO); }
static void random_order(struct bench *b) { batch(b, RANDOM); }

BENCH(batches) {
    static const struct { const char *name; bench_fn *fn; } way[] = { { "lifo", lifo }, { "fifo", fifo }, { "random", random_order } };
    static const int64_t sizes[] = { 16, 64, 512, 8192 };
    for (size_t w = 0; w < COUNT(way); w++) {
        for (size_t i = 0; i < COUNT(sizes); i++) bench_add(way[w].name, way[w].fn, sizes[i], 100);
        bench_add(way[w].name, way[w].fn, 64, MOST);
        bench_add(way[w].name, way[w].fn, 512, MOST);
        on_threads(bench_add(way[w].name, way[w].fn, 64, MOST), 2);
        on_threads(bench_add(way[w].name, way[w].fn, 64, MOST), 16);
    }
}
