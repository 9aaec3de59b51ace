/* calloc by size, and written page by page: is memory cleared that is known to be zero, and is it faulted in twice? */
#include "bench/micro/micro.h"

static void zeroed(struct bench *b) {
    size_t size = (size_t)bench_arg(b, 0);
    BENCH_LOOP(b) free(bench_kept(calloc(1, size)));
    bench_items(b, bench_iterations(b));
}

static void zeroed_and_written(struct bench *b) {
    size_t size = (size_t)bench_arg(b, 0);
    BENCH_LOOP(b) {
        char *p = bench_kept(calloc(1, size));
        if (p[0] | p[size / 2] | p[size - 1]) wrong("byte of a calloc block", 1, 0);
        write_pages(p, size);
        p[size / 2] = p[size - 1] = 1;
        free(p);
    }
    bench_items(b, bench_iterations(b));
}

BENCH(zeroed) {
    static const int64_t sizes[] = { 16, 256, 4096, 32768, 1 << 18, 1 << 24 };
    for (size_t i = 0; i < COUNT(sizes); i++) bench_add("calloc", zeroed, sizes[i]);
    bench_add("calloc-written", zeroed_and_written, 1 << 18);
    bench_add("calloc-written", zeroed_and_written, 1 << 24);
}
