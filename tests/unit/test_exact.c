/* stats:exact: the bytes asked for in live blocks, to the byte, against a model that adds them up. */
#include "tests/unit/allocator.h"

#include <pthread.h>

#include "libgomalloc/conf.h"

static uint64_t live(void) {
    struct gomalloc_stats s;
    gomalloc_read_stats(&s, sizeof s);
    return s.heap_requested_estimate;
}

static void start(void) {
    static char *environment[] = {"GOMALLOC=stats:exact", NULL};
    gm_constructor(environment);
    expect_eq(gm_conf.stats, GM_STATS_EXACT);
    expect(gm_always_slow);
}

enum { N = 1000 };
static struct { void *p; size_t n; } block[N];

static void random_run(size_t max, int steps) {
    struct check_rng rng = check_rng((unsigned)max);
    uint64_t sum = 0;
    start();
    for (int step = 0; step < steps; step++) {
        unsigned k = (unsigned)check_below(&rng, N);
        size_t n = check_below(&rng, 10) ? check_below(&rng, max) : check_below(&rng, 9);
        if (block[k].p && step % 3 == 0) {
            block[k].p = gm_realloc(block[k].p, n);
            sum += n - block[k].n;
            block[k].n = n;
        } else if (block[k].p) {
            gm_free(block[k].p);
            block[k].p = NULL;
            sum -= block[k].n;
        } else {
            block[k].p = step % 5 ? gm_alloc(n) : step % 7 ? gm_alloc_zeroed(n) : gm_alloc_aligned(64, n);
            sum += block[k].n = n;
        }
        if (step % 100 == 0 && !expect_eq(live(), sum)) return;
    }
    for (unsigned k = 0; k < N; k++)
        if (block[k].p) gm_free(block[k].p);
    expect_eq(live(), 0);
    expect_all_home();
}
TEST(blocks_of_more_than_8_bytes) {
    void *p[20];
    uint64_t sum = 0;
    start();
    for (size_t i = 0; i < 20; i++) sum += i * 50 + 9, p[i] = gm_alloc(i * 50 + 9);
    expect_eq(live(), sum);
    for (size_t i = 0; i < 20; i++) {
        sum += 3;
        p[i] = gm_realloc(p[i], i * 50 + 12);
        expect_eq(live(), sum);
    }
    for (size_t i = 0; i < 20; i++) gm_free(p[i]);
    expect_eq(live(), 0);
}
TEST(blocks_of_at_most_8_bytes) {
    void *p[9];
    start();
    for (size_t n = 1; n <= 8; n++) p[n] = gm_alloc(n);
    expect_eq(live(), 36);
    gm_free(p[3]);
    expect_eq(live(), 33);
    p[5] = gm_realloc(p[5], 1);
    expect_eq(live(), 29);
    for (size_t n = 1; n <= 8; n++)
        if (n != 3) gm_free(p[n]);
    expect_eq(live(), 0);
}
TEST(random_small_blocks) { random_run(400, 30000); }
TEST(random_blocks) { random_run(50000, 20000); }
TEST(random_large_blocks) { random_run(500000, 5000); }

TEST(blocks_from_before_count_as_fully_used) {
    void *a = gm_alloc(100), *b = gm_alloc(8), *c = gm_alloc(100000);
    start();
    expect_eq(live(), 112 + 8 + 100000);
    gm_free(a);
    expect_eq(live(), 8 + 100000);
    gm_free(b);
    gm_free(c);
    expect_eq(live(), 0);
}

static void *some(void *arg) {
    for (int i = 0; i < 3000; i++) {
        void *p[20];
        for (size_t k = 0; k < 20; k++) p[k] = gm_alloc(k * 30 + 1);
        for (size_t k = 0; k < 20; k++) gm_free(p[k]);
    }
    return gm_alloc(77);
}
TEST(threads) {
    pthread_t t[4];
    start();
    for (int i = 0; i < 4; i++) pthread_create(&t[i], NULL, some, NULL);
    for (int i = 0; i < 4; i++) pthread_join(t[i], NULL);
    expect_eq(live(), 4 * 77);
    verify_all();
}

TEST_MAIN()
