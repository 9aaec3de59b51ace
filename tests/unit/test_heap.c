/* fake os */
/* The page heap: placement, growth, resizing in place, what is known to be zero, giving back; and random
 * operations against a model that knows every page. */
#include "tests/unit/allocator.h"

#include "libgomalloc/base/bits.h"
#include "tests/fake/os_fake.h"

#define PRIMARY gm_space.primary
enum { KIB64 = 65536 };

static struct gm_span *large_aligned(size_t npages, size_t align, bool *zero) {
    gm_init_once();
    return gm_heap_alloc_large(npages, align, npages << GM_PAGE_SHIFT, 0, zero);
}
static struct gm_span *large(size_t npages) {
    bool zero;
    return large_aligned(npages, 1, &zero);
}

TEST(the_lowest_address_is_taken_and_neighbours_coalesce) {
    struct gm_span *s[10];
    for (int i = 0; i < 10; i++) s[i] = large(8);
    for (int i = 0; i < 10; i++) expect_eq(s[i]->start, PRIMARY.base + (uintptr_t)i * 8 * GM_PAGE_SIZE);
    gm_heap_free(s[7]);
    gm_heap_free(s[2]);
    gm_heap_free(s[4]);
    struct gm_span *t = large(8);
    expect_eq(t->start, PRIMARY.base + 2 * 8 * GM_PAGE_SIZE);
    gm_heap_free(t);
    gm_heap_free(s[3]); /* 2, 3 and 4 are one now */
    t = large(24);
    expect_eq(t->start, PRIMARY.base + 2 * 8 * GM_PAGE_SIZE);
    gm_heap_verify();
}

TEST(it_grows_by_a_mebibyte_in_steps_of_64_kib) {
    large(1);
    expect_eq(PRIMARY.committed, MIB);
    large(127);
    expect_eq(PRIMARY.committed, MIB);
    large(129); /* 1 MiB + 8 KiB */
    expect_eq(PRIMARY.committed, 2 * MIB + KIB64);
    /* What is free at the end counts. */
    size_t tail = PRIMARY.committed >> GM_PAGE_SHIFT;
    tail -= 257;
    large(tail + 128 + 8);
    expect_eq(PRIMARY.committed, 3 * MIB + 2 * KIB64);
    for (size_t n = 1; n < 3000; n = n * 3 / 2 + 1) {
        large(n);
        expect_eq(PRIMARY.committed % KIB64, 0);
    }
    /* A large heap grows by a sixteenth. */
    size_t before = PRIMARY.committed;
    while (PRIMARY.committed == before) large(1);
    expect_eq(PRIMARY.committed - before, gm_align_up(before / 16, KIB64));
    gm_heap_verify();
}

TEST(growth_costs_nothing_until_it_is_touched) {
    struct gm_span *s = large(10000);
    /* Its memory, its tables but for what was written, its states. */
    expect_eq(fake_resident((void *)s->start, gm_span_bytes(s)), 0);
    expect_eq(fake_resident(PRIMARY.state, PRIMARY.committed >> GM_STATE_SHIFT), 0);
    expect_at_most(fake_resident(PRIMARY.pages, (PRIMARY.committed >> GM_PAGE_SHIFT) * 8), 80 * 1024);
}

TEST(the_step_shrinks_to_what_is_needed) {
    fake.commit_limit = 20 * MIB;
    size_t pages = 0;
    while (large(16)) pages += 16;
    expect(pages << GM_PAGE_SHIFT > 16 * MIB);
    expect_at_most(fake.committed, fake.commit_limit);
    gm_heap_verify();
}

TEST(alignment) {
    for (unsigned shift = 0; shift < 17; shift++) {
        size_t align = (size_t)1 << shift;
        bool zero;
        large(1);
        struct gm_span *s = large_aligned(3, align, &zero);
        if (!expect(s && s->start % (align << GM_PAGE_SHIFT) == 0)) diag("%zu pages", align);
    }
    gm_heap_verify();
}

TEST(resizing_in_place) {
    struct gm_span *a = large(100), *b;
    uintptr_t start = a->start;
    /* Shrinking always works and frees the rest. */
    expect(gm_heap_resize(a, 40, 40 * 8192 - 5));
    expect(a->npages == 40 && a->start == start && a->requested == 40 * 8192 - 5);
    b = large(20);
    expect_eq(b->start, start + 40 * GM_PAGE_SIZE);
    expect(!gm_heap_resize(a, 41, 41 * 8192)); /* something is behind */
    expect_eq(a->npages, 40);
    gm_heap_free(b);
    expect(gm_heap_resize(a, 60, 60 * 8192));
    /* At the heap's end it takes what there is and grows the heap. */
    size_t committed = PRIMARY.committed;
    expect(gm_heap_resize(a, 2000, 2000 * 8192));
    expect(PRIMARY.committed > committed);
    for (size_t i = 0; i < 2000; i++) expect(span_at((void *)(a->start + i * GM_PAGE_SIZE + 77)) == a);
    expect(gm_heap_resize(a, 2000, 1));
    gm_heap_verify();
    /* Down across chunks: what is gone leads nowhere. */
    expect(gm_heap_resize(a, 300, 300 * 8192));
    for (size_t i = 0; i < 2000; i++) expect((span_at((void *)(a->start + i * GM_PAGE_SIZE)) == a) == (i < 300));
    struct gm_heap_stats h;
    gm_heap_read_stats(&h);
    expect_eq(h.large_live, 300 * 8192);
    expect_eq(h.large_live_requested, 300 * 8192);
    gm_heap_free(a);
    gm_heap_read_stats(&h);
    expect_eq(h.large_live + h.large_live_requested, 0);
    expect_eq(h.idle, h.committed);
    gm_heap_verify();
}

TEST(what_is_known_to_be_zero) {
    bool zero;
    struct gm_span *s = large_aligned(50, 1, &zero);
    expect(zero);
    memset((void *)s->start, 1, gm_span_bytes(s));
    gm_heap_free(s);
    s = large_aligned(50, 1, &zero);
    expect(!zero);
    gm_heap_free(s);
    expect_eq(gm_heap_scavenge(SIZE_MAX), 50 * GM_PAGE_SIZE);
    expect(fake.bytes[FAKE_RELEASED] >= 50 * GM_PAGE_SIZE);
    expect_at_most(fake.bytes[FAKE_RELEASED], 50 * GM_PAGE_SIZE / 16 * 17); /* with the slot states over them */
    s = large_aligned(50, 1, &zero);
    expect(zero && fake_resident((void *)s->start, gm_span_bytes(s)) == 0);
    *(char *)s->start = 1;
    gm_heap_free(s);
    s = large_aligned(51, 1, &zero); /* one page more than is dirty */
    expect(!zero);
}

TEST(giving_back) {
    struct gm_span *s[64];
    for (int i = 0; i < 64; i++) memset((void *)(s[i] = large(16))->start, i + 1, 16 * GM_PAGE_SIZE);
    for (int i = 0; i < 64; i += 2) gm_heap_free(s[i]);
    /* The highest first, and not much more than asked for. */
    size_t got = gm_heap_scavenge(3 * 16 * GM_PAGE_SIZE);
    expect_eq(got, 3 * 16 * GM_PAGE_SIZE);
    expect(fake_all((void *)(PRIMARY.base + 62 * 16 * GM_PAGE_SIZE), 16 * GM_PAGE_SIZE, FAKE_RELEASED));
    expect(fake_all((void *)PRIMARY.base, 16 * GM_PAGE_SIZE, FAKE_READY));
    struct gm_heap_stats h;
    gm_heap_read_stats(&h);
    size_t untouched = PRIMARY.committed - 64 * 16 * GM_PAGE_SIZE;
    expect_eq(h.released, got + untouched);
    expect_eq(h.idle, 32 * 16 * GM_PAGE_SIZE + untouched);
    /* A refusal is no harm, and the next try gets them. */
    fake_fail_from(FAKE_RELEASE, 1);
    expect_eq(gm_heap_scavenge(SIZE_MAX), 0);
    fake_fail(FAKE_FALLIBLE, 0);
    expect_eq(gm_heap_scavenge(SIZE_MAX), 29 * 16 * GM_PAGE_SIZE);
    expect_eq(gm_heap_scavenge(SIZE_MAX), 0);
    for (int i = 1; i < 64; i += 2)
        for (size_t o = 0; o < 16 * GM_PAGE_SIZE; o += 999) expect_eq(((char *)s[i]->start)[o], i + 1);
    gm_heap_verify();
}

/* With what is wholly idle go its page entries and states; what lies between keeps its own. */
TEST(tables_over_what_has_gone_go_as_well) {
    enum { N = 400, KEPT = 150 }; /* 128 KiB each: 50 MiB */
    struct gm_span *s[N];
    size_t table = N * 16 * sizeof(uint64_t);
    gm_init_once();
    void *pages = (void *)gm_align_up((uintptr_t)PRIMARY.pages, 4096);
    for (int i = 0; i < N; i++) memset((void *)(s[i] = large(16))->start, 1, 16 * GM_PAGE_SIZE);
    size_t before = fake_resident(pages, table);
    expect(before >= table - 4096);
    for (int i = 0; i < N; i++)
        if (i != KEPT) gm_heap_free(s[i]);
    gm_heap_release_tables(); /* nothing has gone yet */
    expect_eq(fake_resident(pages, table), before);
    gm_heap_scavenge(SIZE_MAX);
    gm_heap_release_tables();
    expect_at_most(fake_resident(pages, table), 2 * 4096);
    expect_at_most(fake_resident(PRIMARY.state, (size_t)N * 16 * GM_PAGE_SIZE / 16), 2 * GM_CHUNK_SIZE / 16);
    expect(gm_span_of(&PRIMARY, s[KEPT]->start + 5 * GM_PAGE_SIZE) == s[KEPT]);
    expect_eq(((char *)s[KEPT]->start)[16 * GM_PAGE_SIZE - 1], 1);
    gm_heap_verify();
    gm_heap_free(s[KEPT]);
    for (int i = 0; i < N; i++) {
        s[i] = large(16);
        expect(gm_span_of(&PRIMARY, s[i]->start) == s[i]);
    }
    gm_heap_verify();
}

/* ---- against a model: a byte a page */

enum { MODEL_PAGES = 65536, SPANS = 300 };
struct model_span {
    struct gm_span *s;
    size_t page, n;
};
static uint8_t owner[MODEL_PAGES]; /* 0: free, else 1 + number of the span, low byte */
static struct model_span spans[SPANS];

static void model_take(size_t k, struct gm_span *s, size_t n, bool zero) {
    size_t page = gm_arena_page_of(&PRIMARY, s->start);
    if (!expect(s->npages == n && page + n <= MODEL_PAGES)) return;
    size_t taken = 0;
    for (size_t i = page; i < page + n; i++) {
        taken += owner[i] != 0;
        owner[i] = (uint8_t)(k % 255 + 1);
    }
    expect_eq(taken, 0);
    /* All that is used is written to, so what is not resident is what is known to be zero. */
    if (s->cls == 0) expect_eq(zero, fake_resident((void *)s->start, n << GM_PAGE_SHIFT) == 0);
    spans[k] = (struct model_span){s, page, n};
}

/* No lower place would have done. */
static void expect_lowest(size_t page, size_t n, size_t align) {
    size_t base = PRIMARY.base >> GM_PAGE_SHIFT, run = 0;
    for (size_t i = 0; i < page + n - 1; i++) {
        run = owner[i] ? 0 : run + 1;
        size_t first = gm_align_up(base + i + 1 - run, align) - base;
        if (run && first < page && first + n <= i + 1) {
            expect_eq(page, first);
            return;
        }
    }
}

static void touch(size_t k) {
    for (size_t i = 0; i < spans[k].n; i++) ((char *)spans[k].s->start)[i << GM_PAGE_SHIFT] = 1;
}

static void release_model(size_t from, size_t to) {
    memset(owner + from, 0, to - from);
}

/* huge.c: what asks for huge pages, what takes the wish back, and what that does to the accounts. */
TEST(fresh_chunks_of_slots_ask_for_huge_pages) {
    enum { CHUNK = GM_CHUNK_PAGES };
    struct gm_heap_stats h;
    struct gm_span *first = NULL, *large_one;
    fake.huge = GM_OS_HUGE_ASKED;
    unsigned small = gm_class_of(1024), pages = gm_class_pages[gm_class_of(1024)];
    large_one = large(40 * CHUNK); /* large enough a heap, but this object asks for nothing */
    expect_eq(fake.huge_asked, 0);
    for (unsigned i = 0; i < 3 * CHUNK / pages; i++) {
        struct gm_span *s = gm_heap_alloc_small(small, true, 0);
        if (!first && fake.huge_asked) first = s;
    }
    expect(fake.huge_asked >= 2 && fake.huge_asked <= 4);
    expect(first && first->start % GM_CHUNK_SIZE == 0);
    gm_heap_read_stats(&h);
    struct gm_span *more = gm_heap_alloc_small(small, true, 0);
    gm_heap_verify();
    /* A hole in it: the wish is taken back first. */
    unsigned before = fake.small_asked;
    gm_heap_free(first);
    expect_eq(gm_heap_scavenge((size_t)pages << GM_PAGE_SHIFT) >= (size_t)pages << GM_PAGE_SHIFT, 1);
    gm_heap_scavenge(SIZE_MAX);
    expect(fake.small_asked > before);
    before = fake.small_asked;
    gm_heap_free(large_one); /* had not asked */
    gm_heap_scavenge(SIZE_MAX);
    expect_eq(fake.small_asked, before);
    gm_heap_free(more);
    gm_heap_verify();
}

TEST(without_huge_pages_nothing_is_asked) {
    struct gm_span *s = large(40 * GM_CHUNK_PAGES);
    unsigned before = fake.small_asked; /* the tables */
    for (int i = 0; i < 1000; i++) gm_heap_alloc_small(gm_class_of(1024), true, 0);
    gm_heap_free(s);
    gm_heap_scavenge(SIZE_MAX);
    expect_eq(fake.huge_asked, 0);
    expect_eq(fake.small_asked, before);
}

TEST(the_group_is_asked_once_and_by_no_small_process) {
    struct gm_span *s[8];
    fake.group_limit = 16 * MIB;
    gm_init_once();
    gm_heap_set_memory_limit(GM_LIMIT_OF_GROUP);
    for (int i = 0; i < 3; i++) s[i] = large(MIB / GM_PAGE_SIZE);
    expect_eq(fake.group_asked, 0);
    for (int i = 3; i < 8; i++) s[i] = large(MIB / GM_PAGE_SIZE);
    expect_eq(fake.group_asked, 1);
    expect_eq(gm_heap_memory_limit(), 16 * MIB);
    for (int i = 0; i < 8; i++) gm_heap_free(s[i]);
    gm_heap_set_memory_limit(GM_LIMIT_OF_GROUP);
    fake.group_limit = 0;
    expect_eq(gm_heap_memory_limit(), SIZE_MAX);
    expect_eq(fake.group_asked, 2);
}

TEST(random_operations_against_a_model) {
    struct check_rng rng = check_rng(1);
    gm_init_once();
    for (int step = 0; step < 20000; step++) {
        size_t k = check_below(&rng, SPANS);
        struct model_span *m = &spans[k];
        uint64_t what = check_below(&rng, 100);
        if (!m->s && what < 70) {
            size_t n = 1 + check_below(&rng, what < 5 ? 900 : 60), align = what % 4 ? 1 : (size_t)1 << check_below(&rng, 9);
            bool zero = false;
            unsigned cls = 1 + (unsigned)check_below(&rng, GM_CLASSES - 1);
            struct gm_span *s = what < 50 ? large_aligned(n, align, &zero) : gm_heap_alloc_small(cls, true, 0);
            if (!expect(s)) return;
            if (s->cls) n = gm_class_pages[cls], align = 1;
            expect_lowest(gm_arena_page_of(&PRIMARY, s->start), n, align);
            model_take(k, s, n, zero);
            touch(k);
        } else if (m->s && what < 60) {
            release_model(m->page, m->page + m->n);
            gm_heap_free(m->s);
            m->s = NULL;
        } else if (m->s && m->s->cls == 0) {
            size_t n = 1 + check_below(&rng, m->n * 2);
            bool room = m->page + n <= MODEL_PAGES;
            for (size_t i = m->n; room && i < n; i++) room &= owner[m->page + i] == 0;
            if (!expect_eq(gm_heap_resize(m->s, n, n << GM_PAGE_SHIFT), room)) return;
            if (!room) continue;
            if (n < m->n) release_model(m->page + n, m->page + m->n);
            for (size_t i = m->n; i < n; i++) owner[m->page + i] = (uint8_t)(k % 255 + 1);
            m->n = n;
            touch(k);
        }
        if (step % 500 == 0) {
            gm_heap_scavenge(SIZE_MAX);
            gm_heap_release_tables();
            gm_heap_verify();
        }
        if (step % 50 == 0) {
            size_t used = 0, end = PRIMARY.committed >> GM_PAGE_SHIFT;
            for (size_t i = 0; i < end; i++) {
                used += owner[i] != 0;
                struct gm_span *s = span_at((void *)(PRIMARY.base + (i << GM_PAGE_SHIFT)));
                if (!expect_eq(s != NULL, owner[i] != 0)) return;
            }
            struct gm_heap_stats h;
            gm_heap_read_stats(&h);
            expect_eq(h.committed - h.idle, used << GM_PAGE_SHIFT);
        }
    }
    for (size_t k = 0; k < SPANS; k++)
        if (spans[k].s) gm_heap_free(spans[k].s);
    gm_heap_verify();
    expect_eq(PRIMARY.index.free_pages << GM_PAGE_SHIFT, PRIMARY.committed);
    expect_eq(gm_span_record_bytes(), 0);
}

TEST_MAIN()
