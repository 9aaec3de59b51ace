/* The lookup alone: from an address to its object, as malloc_usable_size asks. Over few objects, which stay in the CPU's
 * caches with whatever says what they are, and over a million in random order. An item is one question. */
#include <malloc.h>

#include "bench/micro/micro.h"

static void lookup(struct bench *b) {
    size_t n = (size_t)bench_arg(b, 0), sum = 0, i = 0;
    void **object = must(malloc(n * sizeof *object));
    struct rng r = { 40 };
    for (size_t k = 0; k < n; k++) *(char *)(object[k] = must(malloc((size_t)bench_arg(b, 1)))) = 1;
    for (size_t k = n; k > 1; k--) {
        size_t j = rng_below(&r, k);
        void *kept = object[k - 1];
        object[k - 1] = object[j];
        object[j] = kept;
    }
    BENCH_LOOP(b) {
        sum += malloc_usable_size(object[i]);
        if (++i == n) i = 0;
    }
    bench_kept(&sum);
    bench_items(b, bench_iterations(b));
    for (size_t k = 0; k < n; k++) free(object[k]);
    free(object);
}

BENCH(lookup) {
    bench_add("lookup", lookup, 1000, 64);
    bench_add("lookup", lookup, 1000000, 64);
    bench_add("lookup", lookup, 1000, 65536);
}
