/* The allocator from the front: alloc and free against a model, and what each address is. */
#include "tests/unit/allocator.h"

#include "libgomalloc/conf.h"

#include "libgomalloc/base/bits.h"

TEST(sizes_alignment_and_content) {
    static void *p[3 * GM_CLASSES + 20];
    size_t sizes[sizeof p / sizeof *p], k = 0;
    for (unsigned cls = 1; cls < GM_CLASSES; cls++)
        for (int d = -1; d <= 1; d++) sizes[k++] = (size_t)(gm_class_size[cls] + d);
    for (size_t n = 32769; n < 20 * MIB; n = n * 7 / 4) sizes[k++] = n;
    for (size_t i = 0; i < k; i++) {
        p[i] = gm_alloc(sizes[i]);
        if (!expect(p[i] && gm_is_aligned((uintptr_t)p[i], sizes[i] > 8 || sizes[i] == 0 ? 16 : 8))) diag("size %zu", sizes[i]);
        size_t usable = gm_usable_size(p[i]);
        expect(usable >= sizes[i] && gm_owns(p[i]));
        check_fill(p[i], usable, i);
    }
    for (size_t i = 0; i < k; i++) expect(check_filled(p[i], gm_usable_size(p[i]), i));
    for (size_t i = 0; i < k; i++) gm_free(p[i]);
    expect_all_home();
}

TEST(no_bytes_are_a_block_too) {
    void *a = gm_alloc(0), *b = gm_alloc_zeroed(0);
    expect(a && b && a != b && gm_usable_size(a) > 0);
    gm_free(a);
    gm_free(b);
    expect_dies(SIGABRT, check_format("gomalloc: double free: %p", b), gm_free(b));
    expect_all_home();
}

TEST(zeroed_is_zero) {
    for (int round = 0; round < 3; round++) {
        for (size_t n = 1; n < 3 * MIB; n = n * 3 / 2 + 1) {
            unsigned char *p = gm_alloc_zeroed(n);
            size_t sum = 0;
            for (size_t i = 0; i < n; i++) sum += p[i];
            if (!expect_eq(sum, 0)) diag("size %zu", n);
            memset(p, 0xff, gm_usable_size(p));
            gm_free(p);
        }
        if (round == 1) gm_trim();
    }
    expect_all_home();
}

TEST(errno_is_left_alone) {
    errno = EXDEV;
    for (size_t n = 0; n < 3 * MIB; n = n * 3 / 2 + 1) {
        gm_free(gm_alloc(n));
        gm_free(gm_realloc(gm_alloc(n), n * 2));
        gm_free(gm_alloc_zeroed(n));
        gm_free(gm_alloc_aligned(64, n));
    }
    gm_free(NULL);
    gm_trim();
    expect_eq(errno, EXDEV);
    expect(gm_alloc(SIZE_MAX - 5) == NULL);
    expect_eq(errno, ENOMEM);
}

/* ---- random operations against a model */

enum { SLOTS = 3000 };
static struct { void *p; size_t n; } model[SLOTS];

static size_t overlap(const void *p, size_t n) {
    size_t hits = 0;
    for (int i = 0; i < SLOTS; i++)
        hits += model[i].p && (char *)model[i].p < (char *)p + n && (char *)p < (char *)model[i].p + model[i].n;
    return hits;
}

TEST(random_operations_against_a_model) {
    struct check_rng rng = check_rng(1);
    for (int step = 0; step < 120000; step++) {
        unsigned k = (unsigned)check_below(&rng, SLOTS);
        if (model[k].p) {
            expect(check_filled(model[k].p, model[k].n, k));
            gm_free(model[k].p);
            model[k].p = NULL;
        } else {
            size_t n = check_random_size(&rng, step % 100 ? 40000 : 400000);
            void *p = step % 10 ? gm_alloc(n) : gm_alloc_zeroed(n);
            if (!expect(p)) return;
            model[k].n = gm_usable_size(p);
            expect(model[k].n >= n);
            if (step % 20 == 0) expect_eq(overlap(p, model[k].n), 0);
            check_fill(p, model[k].n, k);
            model[k].p = p;
        }
        if (step % 5000 == 0) verify_all();
        if (step % 20000 == 0) gm_trim();
    }
    for (unsigned k = 0; k < SLOTS; k++) {
        if (model[k].p) expect(check_filled(model[k].p, model[k].n, k));
        gm_free(model[k].p);
    }
    expect_all_home();
}

/* ---- what an address is */

static int global;

TEST(what_each_address_is) {
    int local = 0;
    char *small = gm_alloc(100), *eight = gm_alloc(8), *tiny = gm_alloc_tiny(5), *large = gm_alloc(5 * MIB);
    struct gm_span *s;
    size_t usable = 0;
    expect(gm_what_is(small, &s, &usable) == GM_SLOT && usable == 112 && s == NULL);
    expect(gm_what_is(eight, &s, &usable) == GM_SMALL8 && usable == 8);
    expect(gm_what_is(tiny, &s, &usable) == GM_TINY && usable == 5);
    expect(gm_what_is(large, &s, &usable) == GM_LARGE && usable == 5 * MIB);
    expect(what_is(small + 1) == GM_MISALIGNED && what_is(small + 16) == GM_INTERIOR && what_is(small + 111) == GM_MISALIGNED);
    expect(what_is(eight + 1) == GM_MISALIGNED && what_is(eight + 4) == GM_MISALIGNED);
    expect(what_is(large + 16) == GM_INTERIOR && what_is(large + 8) == GM_MISALIGNED);
    expect(what_is(large + 3 * MIB) == GM_INTERIOR && what_is(large + 5 * MIB - 1) == GM_MISALIGNED);
    /* A slot that nobody has had yet, and the waste at the end of a span of 112-byte slots. */
    expect(what_is((void *)gm_span_slot(span_at(small), 72)) == GM_FREED);
    expect(what_is((void *)(span_at(small)->start + 73 * 112)) == GM_INTERIOR);
    /* Freed. */
    gm_free(small), gm_free(eight), gm_free(tiny), gm_free(large);
    expect(what_is(small) == GM_FREED && what_is(eight) == GM_FREED && what_is(tiny) == GM_FREED && what_is(large) == GM_FREED);
    expect(what_is(large + 2 * MIB) == GM_UNKNOWN && what_is(large + 100) == GM_UNKNOWN);
    /* Not ours. */
    expect(what_is(&local) == GM_FOREIGN && what_is(&global) == GM_FOREIGN && what_is("text") == GM_FOREIGN);
    expect(what_is(NULL) == GM_FOREIGN && what_is((void *)-1) == GM_FOREIGN && what_is((void *)((uintptr_t)1 << 47)) == GM_FOREIGN);
    void *system = malloc(100);
    expect(what_is(system) == GM_FOREIGN && !gm_owns(system) && gm_usable_size(system) == 0);
    free(system);
    expect(!gm_owns(small) && gm_owns(gm_alloc(100)));
}

static void *freed;
static void take_free(void *p) { freed = p; }
static void *take_realloc(void *p, size_t n) { return (char *)p + n; }
static size_t take_usable(void *p) { return 77; }

TEST(foreign_pointers_go_to_their_owner) {
    static char theirs[100];
    expect_dies(SIGABRT, check_format("gomalloc: free of memory never allocated: %p", theirs), gm_free(theirs));
    expect_dies(SIGABRT, check_format("gomalloc: realloc of memory never allocated: %p", theirs), gm_realloc(theirs, 5));
    gm_set_foreign(&(struct gm_foreign){take_free, take_realloc, take_usable});
    gm_free(theirs);
    expect(freed == theirs);
    expect(gm_realloc(theirs, 5) == theirs + 5);
    expect_eq(gm_usable_size(theirs), 77);
    expect(!gm_owns(theirs));
}

#define CRIME(crime, p, ...) expect_dies(SIGABRT, check_format("gomalloc: " crime ": %p", (void *)(p)), __VA_ARGS__)

TEST(crimes_are_named) {
    char *a = gm_alloc(200), *l = gm_alloc(MIB), *e = gm_alloc(7);
    CRIME("free of an interior pointer", a + 16, gm_free(a + 16));
    CRIME("free of a misaligned pointer", a + 3, gm_free(a + 3));
    CRIME("free of an interior pointer", l + 8192, gm_free(l + 8192));
    CRIME("free of a misaligned pointer", e + 4, gm_free(e + 4));
    CRIME("realloc of an interior pointer", a + 32, gm_realloc(a + 32, 10));
    CRIME("realloc of a misaligned pointer", a + 8, gm_realloc(a + 8, 10));
    gm_free(a), gm_free(l), gm_free(e);
    CRIME("double free", a, gm_free(a));
    CRIME("double free", l, gm_free(l));
    CRIME("double free", e, gm_free(e));
    CRIME("realloc of freed memory", a, gm_realloc(a, 1));
    CRIME("realloc of freed memory", l, gm_realloc(l, 1));
    CRIME("malloc_usable_size of freed memory", a, gm_usable_size(a));
    CRIME("free of memory never allocated", l + 16, gm_free(l + 16));
}

TEST(trim_gives_everything_back) {
    static void *p[2000];
    gm_conf.scavenge = GM_SCAVENGE_OFF; /* or some of it would have gone before */
    for (int i = 0; i < 2000; i++) memset(p[i] = gm_alloc(3000), 1, 3000);
    memset(p[0], 1, 3000);
    for (int i = 0; i < 2000; i++) gm_free(p[i]);
    expect(gm_trim() >= 2000 * 3000);
    expect_eq(gm_trim(), 0);
    struct gm_heap_stats h;
    gm_heap_read_stats(&h);
    expect_eq(h.released, h.committed);
    expect_all_home();
}

TEST_MAIN()
