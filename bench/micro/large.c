/* Large objects one after another, every page written: is the memory used again, or given to the kernel and faulted in
 * anew each time? */
#include "bench/micro/micro.h"

static void large(struct bench *b) {
    size_t size = (size_t)bench_arg(b, 0);
    BENCH_LOOP(b) {
        void *p = bench_kept(malloc(size));
        write_pages(p, size);
        free(p);
    }
    bench_items(b, bench_iterations(b));
}

BENCH(large) {
    static const int64_t sizes[] = { 40 << 10, 200 << 10, 1 << 20, 8 << 20, 64 << 20 };
    for (size_t i = 0; i < COUNT(sizes); i++) bench_add("large", large, sizes[i]);
    on_threads(bench_add("large", large, 1 << 20), 2);
    on_threads(bench_add("large", large, 1 << 20), 16);
}
