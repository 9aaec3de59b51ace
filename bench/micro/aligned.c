/* Pairs of posix_memalign and free, by alignment and size. */
#include "bench/micro/micro.h"

static void aligned(struct bench *b) {
    size_t alignment = (size_t)bench_arg(b, 0), size = (size_t)bench_arg(b, 1);
    BENCH_LOOP(b) {
        void *p = NULL;
        if (posix_memalign(&p, alignment, size) != 0 || (uintptr_t)p % alignment != 0) wrong("posix_memalign", (uintptr_t)p, alignment);
        free(bench_kept(p));
    }
    bench_items(b, bench_iterations(b));
}

BENCH(aligned) {
    bench_add("aligned", aligned, 16, 64);
    bench_add("aligned", aligned, 64, 64);
    bench_add("aligned", aligned, 64, 1000);
    bench_add("aligned", aligned, 4096, 4096);
    bench_add("aligned", aligned, 65536, 100);
    bench_add("aligned", aligned, 2 << 20, 2 << 20);
}
