/* realloc against a model: the content survives, blocks stay where moving is not worth it, nothing is lost. */
#include "tests/unit/allocator.h"

#include "libgomalloc/base/bits.h"

enum { BLOCKS = 400 };
static struct { unsigned char *p; size_t n; } block[BLOCKS];

/* The content does not depend on the length, so that what is kept can be checked after any change. */
static void fill(unsigned k, size_t from) {
    for (size_t i = from; i < block[k].n; i++) block[k].p[i] = (unsigned char)(k * 31 + i * 7 + (i >> 9));
}
static bool intact(unsigned k, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (block[k].p[i] != (unsigned char)(k * 31 + i * 7 + (i >> 9))) return false;
    return true;
}

static void random_run(size_t max, int steps) {
    struct check_rng rng = check_rng((unsigned)max);
    for (int step = 0; step < steps; step++) {
        unsigned k = (unsigned)check_below(&rng, BLOCKS);
        size_t old = block[k].n, n = check_random_size(&rng, max);
        if (check_below(&rng, 4) == 0) n = old + check_below(&rng, old / 2 + 20); /* growing bit by bit */
        if (n > max) n = max;
        void *p = gm_realloc(block[k].p, n);
        if (!expect(p)) return;
        block[k].p = p;
        block[k].n = n;
        expect(gm_usable_size(p) >= n && gm_owns(p));
        if (!expect(intact(k, gm_min(old, n)))) diag("%zu to %zu", old, n);
        fill(k, gm_min(old, n));
        if (check_below(&rng, 10) == 0) {
            gm_free(block[k].p);
            block[k].p = NULL;
            block[k].n = 0;
        }
        if (step % 2000 == 0) verify_all();
    }
    for (unsigned k = 0; k < BLOCKS; k++) {
        if (block[k].p) expect(intact(k, block[k].n));
        gm_free(block[k].p);
    }
    expect_all_home();
}
TEST(small_blocks) { random_run(2000, 60000); }
TEST(blocks_around_the_limit_of_the_classes) { random_run(70000, 10000); }
TEST(large_blocks) { random_run(4 * MIB, 3000); }

TEST(null_and_nothing) {
    void *p = gm_realloc(NULL, 100);
    expect(p && gm_usable_size(p) == 112);
    p = gm_realloc(p, 0); /* what realloc(p, 0) means is the caller's business: here, a smallest block */
    expect(p && gm_owns(p) && gm_usable_size(p) > 0);
    gm_free(p);
    expect_all_home();
}

TEST(blocks_stay_where_moving_is_not_worth_it) {
    for (unsigned cls = 1; cls < GM_CLASSES; cls++) {
        size_t size = gm_class_size[cls];
        void *p = gm_alloc(size);
        expect(gm_realloc(p, size) == p && gm_realloc(p, size / 2) == p && gm_realloc(p, size - 1) == p);
        void *q = gm_realloc(p, size > 64 ? size / 2 - 1 : size / 4);
        expect(size > 64 ? q != p && gm_usable_size(q) < size : q == p);
        gm_free(q);
    }
    expect_all_home();
}

TEST(a_failed_realloc_leaves_the_block) {
    char *p = gm_alloc(100), *l = gm_alloc(MIB);
    check_fill(p, 100, 1);
    check_fill(l, MIB, 2);
    errno = 0;
    expect(gm_realloc(p, SIZE_MAX) == NULL && errno == ENOMEM);
    expect(gm_realloc(p, (size_t)1 << 46) == NULL && gm_realloc(l, (size_t)1 << 46) == NULL && gm_realloc(l, SIZE_MAX) == NULL);
    expect(check_filled(p, 100, 1) && check_filled(l, MIB, 2) && gm_owns(p) && gm_owns(l));
    gm_free(p);
    gm_free(l);
    expect_all_home();
}

TEST(tiny_objects_grow_into_ordinary_ones) {
    char *p = gm_alloc_tiny(5), *q = gm_alloc_tiny(5);
    memcpy(p, "four", 5);
    expect(gm_realloc(p, 3) == p);
    memcpy(p, "four", 5);
    p = gm_realloc(p, 50);
    expect_str(p, "four");
    expect(gm_owns(q));
    gm_free(p);
    gm_free(q);
    gm_reclaim(1);
    verify_all();
}

TEST_MAIN()
