/* realloc that grows one object: in steps of a page to 4 MiB, by doubling to 8 GiB, and a text by pieces of 100 bytes to
 * 64 KiB. What is new is written thinly, so that what counts is how the old gets to its new place. An item is one call. */
#include "bench/micro/micro.h"

static void grow_steps(struct bench *b) {
    enum { STEP = 4096, END = 4 << 20 };
    BENCH_LOOP(b) {
        char *p = NULL;
        for (size_t size = STEP; size <= END; size += STEP) {
            p = must(realloc(p, size));
            p[size - 1] = 1;
        }
        free(p);
    }
    bench_items(b, bench_iterations(b) * (END / STEP));
}

static void grow_doubling(struct bench *b) {
    enum { START = 4096, THIN = 1 << 20 };
    size_t end = (size_t)bench_arg(b, 0), calls = 0;
    BENCH_LOOP(b) {
        char *p = NULL;
        for (size_t size = START, was = 0; size <= end; was = size, size *= 2, calls++) {
            char *grown = realloc(p, size);
            if (grown == NULL) { /* a machine that has no such memory */
                free(p);
                bench_skip(b, "no memory");
                return;
            }
            p = grown;
            for (size_t at = was; at < size; at += THIN) p[at] = 1;
        }
        free(p);
    }
    bench_items(b, (int64_t)calls);
}

static void grow_text(struct bench *b) {
    enum { PIECE = 100, END = 65536 };
    BENCH_LOOP(b) {
        char *p = NULL;
        for (size_t size = PIECE; size <= END; size += PIECE) {
            p = must(realloc(p, size));
            memset(p + size - PIECE, 'x', PIECE);
        }
        free(p);
    }
    bench_items(b, bench_iterations(b) * (END / PIECE));
}

BENCH(grow) {
    bench_add("grow-steps", grow_steps);
    bench_add("grow-doubling", grow_doubling, 64 << 20);
    bench_add("grow-doubling", grow_doubling, INT64_C(8) << 30);
    bench_add("grow-text", grow_text);
}
