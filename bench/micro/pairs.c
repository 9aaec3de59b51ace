/* One object, taken and freed at once: the hit path by size. Above 32 KiB objects are runs of pages. */
#include "bench/micro/micro.h"

static void pair(struct bench *b) {
    size_t size = (size_t)bench_arg(b, 0);
    BENCH_LOOP(b) free(bench_kept(malloc(size)));
    bench_items(b, bench_iterations(b));
}

BENCH(pairs) {
    static const int64_t sizes[] = { 8, 16, 64, 256, 1024, 4096, 16384, 65536, 1 << 20 };
    static const int64_t shared[] = { 16, 64, 1024, 65536 }; /* by several threads at once */
    for (size_t i = 0; i < COUNT(sizes); i++) bench_add("pair", pair, sizes[i]);
    for (size_t i = 0; i < COUNT(shared); i++) {
        on_threads(bench_add("pair", pair, shared[i]), 2);
        on_threads(bench_add("pair", pair, shared[i]), 16);
    }
}
