/* calloc answers zeros, wherever its memory has been before: dirty freed blocks of every size, other
 * threads' frees, shrunk and moved reallocs, memory that went to the kernel and back. */
#include "tests/check.h"

#include <malloc.h>
#include <pthread.h>

#define BATCH 40

static void *volatile sink;

static bool is_zero(const unsigned char *p, size_t n) {
    if (n == 0) return true;
    return p[0] == 0 && memcmp(p, p + 1, n - 1) == 0;
}

static void *dirty(size_t n) {
    unsigned char *p = malloc(n);
    sink = p;
    if (p) memset(p, 0xee, malloc_usable_size(p));
    return p;
}

/* Frees `count` dirty blocks of n bytes, then takes as many from calloc. */
static bool zero_after_dirty(size_t n, int count) {
    void *p[BATCH];
    for (int i = 0; i < count; i++) p[i] = dirty(n);
    for (int i = 0; i < count; i++) free(p[i]);
    bool ok = true;
    for (int i = 0; i < count; i++) {
        size_t members = n % 3 == 0 ? 3 : 1;
        p[i] = calloc(members, n / members);
        ok = ok && expect(p[i] != NULL) && expect(is_zero(p[i], n));
    }
    if (!ok) diag("size %zu", n);
    for (int i = 0; i < count; i++) {
        if (p[i]) memset(p[i], 0xdd, n);
        free(p[i]);
    }
    return ok;
}

TEST_LIMIT(zero_after_dirty_small, 30) {
    for (size_t n = 1; n <= 34000; n += n < 1100 ? 1 : 37)
        if (!zero_after_dirty(n, n < 4000 ? BATCH : 8)) return;
}

TEST_LIMIT(zero_after_dirty_large, 30) {
    for (size_t n = 32768; n <= (64 << 20); n += n / 5)
        if (!zero_after_dirty(n, n < 2000000 ? 8 : 2)) return;
    zero_after_dirty((size_t)300 << 20, 1);
}

TEST_LIMIT(zero_in_random_order, 30) {
    enum { SLOTS = 400 };
    static struct { unsigned char *p; size_t n; } slot[SLOTS];
    struct check_rng rng = check_rng(0);
    for (int i = 0; i < 60000; i++) {
        size_t k = check_below(&rng, SLOTS), n = check_random_size(&rng, 400000);
        free(slot[k].p);
        slot[k].n = n;
        if (check_below(&rng, 2)) {
            slot[k].p = calloc(1, n);
            if (!expect(slot[k].p && is_zero(slot[k].p, n))) return;
            memset(slot[k].p, 0xcc, malloc_usable_size(slot[k].p));
        } else {
            slot[k].p = dirty(n);
        }
        if (check_below(&rng, 8) == 0) {
            n = check_random_size(&rng, 400000) + 1;
            slot[k].p = realloc(slot[k].p, n);
            memset(slot[k].p, 0xbb, n);
        }
        if (check_below(&rng, 5000) == 0) malloc_trim(0);
    }
    for (int k = 0; k < SLOTS; k++) free(slot[k].p);
}

TEST(zero_after_trim) {
    for (size_t n = 100; n < 10000000; n *= 3) {
        void *p[BATCH];
        for (int i = 0; i < BATCH; i++) p[i] = dirty(n);
        for (int i = 0; i < BATCH; i++) free(p[i]);
        malloc_trim(0);
        for (int i = 0; i < BATCH; i++) {
            p[i] = calloc(n, 1);
            if (!expect(p[i] && is_zero(p[i], n))) return;
        }
        for (int i = 0; i < BATCH; i++) free(p[i]);
    }
}

static void *crossing[4][500];
static pthread_barrier_t barrier;

static void *cross(void *arg) {
    size_t me = (size_t)arg;
    for (int round = 0; round < 60; round++) {
        size_t n = (size_t)(round * round * 7 + 1);
        for (int i = 0; i < 500; i++) {
            crossing[me][i] = calloc(1, n);
            if (!expect(crossing[me][i] && is_zero(crossing[me][i], n))) return NULL;
            memset(crossing[me][i], 0xaa, n);
        }
        pthread_barrier_wait(&barrier);
        for (int i = 0; i < 500; i++) free(crossing[(me + 1) % 4][i]);
        pthread_barrier_wait(&barrier);
    }
    return NULL;
}

TEST_LIMIT(zero_after_other_threads_free, 30) {
    pthread_t t[4];
    pthread_barrier_init(&barrier, NULL, 4);
    for (size_t i = 0; i < 4; i++) pthread_create(&t[i], NULL, cross, (void *)i);
    for (int i = 0; i < 4; i++) pthread_join(t[i], NULL);
}

/* Fresh memory from the kernel is zero already: a large calloc must not touch all of it. */
TEST(large_calloc_touches_little) {
    long before = check_rss_kib();
    char *p = calloc(256, 1 << 20);
    if (!expect(p)) return;
    expect_at_most(check_rss_kib(), before + 16384);
    expect_eq(p[100 << 20], 0);
    free(p);
}

TEST_MAIN()
