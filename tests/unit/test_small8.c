/* Objects of at most 8 bytes, two to a state byte: their states are exact all the same. */
#include "tests/unit/allocator.h"

enum { N = 5000 };
static uint64_t *p[N];

TEST(neighbours_do_not_disturb_each_other) {
    struct check_rng rng = check_rng(1);
    for (int step = 0; step < 100000; step++) {
        unsigned k = (unsigned)check_below(&rng, N);
        if (p[k]) {
            expect_eq(*p[k], k * 77 + 1);
            expect(gm_usable_size(p[k]) == 8 && what_is(p[k]) == GM_SMALL8);
            gm_free(p[k]);
            if (step % 64 == 0) expect(what_is(p[k]) == GM_FREED);
            p[k] = NULL;
        } else {
            p[k] = gm_alloc(1 + k % 8);
            if (!expect(p[k] && (uintptr_t)p[k] % 8 == 0)) return;
            *p[k] = k * 77 + 1;
        }
        if (step % 5000 == 0) verify_all();
    }
    for (unsigned k = 0; k < N; k++) gm_free(p[k]);
    expect_all_home();
}

TEST(the_flat_table_knows_nothing_of_them) {
    for (int i = 0; i < 300; i++) {
        p[i] = gm_alloc(8);
        expect_eq(*gm_arena_state_of(&gm_space.primary, (uintptr_t)p[i]), 0);
    }
    expect(*gm_tc->top[GM_CLASS_8] == NULL); /* so the fast path never finds one */
}

TEST(double_frees_are_told) {
    char *a = gm_alloc(8), *b = gm_alloc(8);
    gm_free(a);
    expect_dies(SIGABRT, check_format("gomalloc: double free: %p", a), gm_free(a));
    expect_dies(SIGABRT, check_format("gomalloc: double free: %p", a + 512), gm_free(a + 512)); /* never had */
    expect_dies(SIGABRT, check_format("gomalloc: free of a misaligned pointer: %p", b + 4), gm_free(b + 4));
    gm_free(b);
    expect_dies(SIGABRT, check_format("gomalloc: double free: %p", b), gm_free(b));
    expect_all_home();
}

TEST(a_thread_without_a_cache) {
    gm_init_once();
    gm_cache_disable();
    for (int i = 0; i < 3000; i++) {
        p[i] = gm_alloc(8);
        expect(what_is(p[i]) == GM_SMALL8);
        *p[i] = (uint64_t)i;
    }
    for (int i = 0; i < 3000; i++) {
        expect_eq(*p[i], i);
        gm_free(p[i]);
    }
    expect_dies(SIGABRT, NULL, gm_free(p[2999]));
    expect_all_home();
}

TEST(spans_come_and_go) {
    for (int round = 0; round < 5; round++) {
        static void *q[20000];
        for (int i = 0; i < 20000; i++) q[i] = gm_alloc(8);
        for (int i = 0; i < 20000; i++) gm_free(q[round & 1 ? 19999 - i : i]);
        expect_all_home();
    }
}

TEST_MAIN()
