/* fake os */
/* Objects over 32 KiB: growing in place, moving page tables instead of bytes, and what is known to be zero. */
#include "tests/unit/allocator.h"

#include "libgomalloc/base/bits.h"
#include "tests/fake/os_fake.h"

/* A block of n bytes, filled, with something behind it so that it cannot grow in place. */
static char *hemmed_in(size_t n, void **behind) {
    char *p = gm_alloc(n);
    *behind = gm_alloc(40000);
    check_fill(p, n, 1);
    return p;
}

TEST(a_request_is_rounded_to_pages) {
    for (size_t n = 32769; n < 40 * MIB; n = n * 5 / 4) {
        char *p = gm_alloc(n);
        expect_eq(gm_usable_size(p), gm_align_up(n, GM_PAGE_SIZE));
        expect_eq(fake_resident(p, gm_usable_size(p)), 0);
        gm_free(p);
    }
    expect_all_home();
}

TEST(growing_in_place) {
    char *p = gm_alloc(100000);
    check_fill(p, 100000, 1);
    for (size_t n = 100001; n < 50 * MIB; n = n * 5 / 4) expect(gm_realloc(p, n) == p);
    expect(check_filled(p, 100000, 1));
    expect_eq(fake.calls[FAKE_MOVE], 0);
    expect_at_most(fake_resident(p, 50 * MIB), 100 * 1024);
    for (size_t n = 50 * MIB; n > 40000; n = n * 4 / 5) expect(gm_realloc(p, n) == p);
    expect(check_filled(p, 40000, 1));
    gm_free(p);
    expect_all_home();
}

/* Holes of every size up to a hundred pages: what grows by a page at a time does not stop at each of them. */
TEST(growing_past_holes) {
    enum { HOLES = 100, STEPS = 90 };
    void *hole[HOLES], *pin[HOLES];
    for (size_t i = 0; i < HOLES; i++) {
        hole[i] = gm_alloc((i + 5) * GM_PAGE_SIZE);
        pin[i] = gm_alloc(5 * GM_PAGE_SIZE);
    }
    for (size_t i = 0; i < HOLES; i++) gm_free(hole[i]);
    char *p = gm_alloc(10 * GM_PAGE_SIZE);
    size_t moves = 0;
    for (size_t i = 1; i < STEPS; i++) {
        char *q = gm_realloc(p, (10 + i) * GM_PAGE_SIZE);
        moves += q != p;
        p = q;
    }
    expect_at_most(moves, 10);
    gm_free(p);
    for (size_t i = 0; i < HOLES; i++) gm_free(pin[i]);
    expect_all_home();
}

TEST(pages_move_instead_of_bytes) {
    void *behind;
    char *p = hemmed_in(2 * MIB, &behind), *q = gm_realloc(p, 5 * MIB);
    expect(q && q != p && check_filled(q, 2 * MIB, 1));
    expect_eq(fake.calls[FAKE_MOVE], 1);
    expect(span_at(q)->flags & GM_SPAN_MOVED);
    expect(what_is(p) == GM_FREED);
    /* Where it came from nothing is left: zero, and known to be. */
    char *r = gm_alloc_zeroed(2 * MIB);
    expect(r == p && fake_resident(r, 2 * MIB) == 0);
    gm_free(r);
    gm_free(q); /* its pages are made ordinary again, and are zero then */
    expect_eq(fake.calls[FAKE_RENEW], 1);
    r = gm_alloc_zeroed(5 * MIB);
    expect(r == q && fake_resident(r, 5 * MIB) == 0);
    gm_free(r);
    gm_free(behind);
    expect_all_home();
}

TEST(small_moves_are_copies) {
    void *behind;
    char *p = hemmed_in(100000, &behind), *q = gm_realloc(p, 300000);
    expect(check_filled(q, 100000, 1));
    expect_eq(fake.calls[FAKE_MOVE], 0);
    gm_free(q);
    gm_free(behind);
    expect_all_home();
}

TEST(a_kernel_that_cannot_move) {
    void *behind;
    fake_fail_from(FAKE_MOVE, 1);
    char *p = hemmed_in(2 * MIB, &behind), *q = gm_realloc(p, 5 * MIB);
    expect(check_filled(q, 2 * MIB, 1) && !(span_at(q)->flags & GM_SPAN_MOVED));
    gm_free(q);
    expect_eq(fake.calls[FAKE_RENEW], 0);
    char *r = gm_alloc_zeroed(2 * MIB); /* dirty memory is cleared */
    for (size_t o = 0; o < 2 * MIB; o += 100) expect_eq(r[o], 0);
    gm_free(r);
    gm_free(behind);
    expect_all_home();
}

TEST(a_move_that_loses_its_target) {
    void *behind;
    char *p = hemmed_in(2 * MIB, &behind);
    fake.lose_target = true;
    fake_fail_from(FAKE_MOVE, 1);
    errno = 0;
    expect(gm_realloc(p, 5 * MIB) == NULL && errno == ENOMEM);
    expect(check_filled(p, 2 * MIB, 1) && what_is(p) == GM_LARGE);
    fake_fail(FAKE_FALLIBLE, 0);
    char *q = gm_realloc(p, 5 * MIB); /* elsewhere */
    expect(q && check_filled(q, 2 * MIB, 1));
    gm_free(q);
    gm_free(behind);
    for (int i = 0; i < 10; i++) memset(gm_alloc(MIB), 1, MIB);
    gm_heap_verify();
}

TEST(a_kernel_that_cannot_renew) {
    void *behind;
    fake_fail_from(FAKE_RENEW, 1);
    char *p = hemmed_in(2 * MIB, &behind), *q = gm_realloc(p, 5 * MIB);
    expect(check_filled(q, 2 * MIB, 1));
    gm_free(q);
    expect_eq(fake.calls[FAKE_RENEW], 1);
    /* There may be no memory behind these addresses any more: they are never handed out again. */
    gm_free(behind);
    for (int i = 0; i < 20; i++) {
        char *x = gm_alloc(MIB);
        expect(x + MIB <= q || x >= q + 5 * MIB);
    }
    char *r = gm_alloc_zeroed(7 * MIB);
    size_t sum = 0;
    for (size_t o = 0; o < 7 * MIB; o++) sum += (unsigned char)r[o];
    expect_eq(sum, 0);
    gm_free(r);
    gm_heap_verify();
}

TEST(moving_again_and_shrinking_after_a_move) {
    enum { MOST = 4000 };
    static void *behind[MOST];
    unsigned n = 1;
    char *p = hemmed_in(MIB, &behind[0]);
    for (int i = 1; i < 8; i++) {
        p = gm_realloc(p, (size_t)(i + 1) * MIB + MIB / 2);
        do behind[n] = gm_alloc(40000); /* fills the holes, then stands behind */
        while ((char *)behind[n++] < p && n < MOST);
        expect(p && check_filled(p, MIB, 1));
        memset(p + MIB, 7, (size_t)i * MIB);
    }
    expect(fake.calls[FAKE_MOVE] >= 3);
    expect(gm_realloc(p, 2 * MIB) == p && check_filled(p, MIB, 1));
    char *z = gm_alloc_zeroed(4 * MIB); /* may lie on what was cut off */
    for (size_t o = 0; o < 4 * MIB; o += 64) expect_eq(z[o], 0);
    gm_free(z);
    gm_free(p);
    for (unsigned i = 0; i < n; i++) gm_free(behind[i]);
    expect_all_home();
}

TEST(from_large_to_small) {
    char *p = gm_alloc(5 * MIB);
    check_fill(p, 20000, 3);
    char *q = gm_realloc(p, 20000);
    expect(q != p && check_filled(q, 20000, 3) && gm_usable_size(q) < 32768);
    gm_free(q);
    /* Without memory for the small one a shrink keeps the large one. */
    fake_fail_from(FAKE_FALLIBLE, 1);
    p = gm_alloc(MIB / 2);
    size_t got = 0;
    void *chain = NULL, *x;
    while ((x = gm_alloc(20000)) != NULL) *(void **)x = chain, chain = x, got++;
    expect(p && got > 0);
    check_fill(p, 20000, 4);
    expect(gm_realloc(p, 20000) == p && check_filled(p, 20000, 4));
    fake_fail(FAKE_FALLIBLE, 0);
    for (; chain; chain = x) x = *(void **)chain, gm_free(chain);
    gm_free(p);
    expect_all_home();
}

TEST(pages_of_64_kib) {
    void *behind;
    fake.page = 65536;
    for (int i = 0; i < 4; i++) {
        gm_alloc(40960); /* so that blocks begin anywhere between the system's pages */
        char *before = hemmed_in(2 * MIB - 8192 * (size_t)i, &behind), *p = gm_realloc(before, 4 * MIB);
        expect(check_filled(p, 2 * MIB - 8192 * (size_t)i, 1));
        memset(behind, 5, 40000);
        gm_free(p);
        for (int k = 0; k < 40000; k++) expect_eq(((char *)behind)[k], 5);
        char *z = gm_alloc_zeroed(3 * MIB);
        for (size_t o = 0; o < 3 * MIB; o += 64) expect_eq(z[o], 0);
        gm_free(z);
    }
    expect_eq(fake.misaligned, 0);
    gm_heap_verify();
}

TEST_MAIN()
