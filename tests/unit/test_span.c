/* fake os */
/* Span records: slots are taken by one, lowest first, and given back; and the way from any address to
 * the span that holds it. */
#include "tests/unit/allocator.h"

#include <pthread.h>

#include "libgomalloc/base/bits.h"
#include "libgomalloc/meta.h"
#include "tests/fake/os_fake.h"

TEST(a_new_span_has_all_slots_home) {
    for (unsigned cls = 1; cls < GM_CLASSES; cls++) {
        struct gm_span *s = gm_span_new(cls);
        if (!expect(s && ((uintptr_t)s & 63) == 0)) return;
        expect(s->cls == cls && s->nslots == gm_class_slots[cls] && s->nfree == s->nslots);
        expect((s->side != NULL) == (cls == GM_CLASS_8));
        unsigned bits = 0;
        for (unsigned w = 0; w < s->nwords; w++) bits += gm_popcount(s->home[w]);
        expect_eq(bits, s->nslots);
        memset(s->home, 0xff, s->nwords * 8); /* the record holds its bits */
        gm_span_delete(s);
    }
    expect_eq(gm_span_record_bytes(), 0);
}

TEST(records_are_counted) {
    struct gm_span *large = gm_span_new(0);
    expect_eq(gm_span_record_bytes(), 64);
    struct gm_span *small8 = gm_span_new(GM_CLASS_8);
    expect_eq(gm_span_record_bytes(), 64 + 192 + GM_SIDE_SMALL8);
    gm_span_delete(large);
    gm_span_delete(small8);
    expect_eq(gm_span_record_bytes(), 0);
}

TEST(a_record_without_its_side_table_is_not_lost) {
    gm_span_delete(gm_span_new(2)); /* maps the first chunk of records */
    while (gm_meta_mapped() <= 256 * 1024 && gm_meta_alloc_own(512, 8)) {}
    fake_fail_from(FAKE_MAP, 1);
    struct gm_span *s;
    unsigned made = 0;
    while ((s = gm_span_new(GM_CLASS_8)) != NULL) made++;
    expect(made > 0);
    expect_eq(gm_span_record_bytes(), made * (192 + GM_SIDE_SMALL8));
}

/* As if the heap had given it its pages. */
static void place(struct gm_span *s) {
    s->start = (uintptr_t)1 << 30;
    s->npages = gm_class_pages[s->cls];
}

TEST(slots_are_taken_lowest_first) {
    for (unsigned cls = 1; cls < GM_CLASSES; cls++) {
        struct gm_span *s = gm_span_new(cls);
        void *out[64];
        place(s);
        unsigned seen = 0;
        for (unsigned n; (n = gm_span_take(s, out, 1 + cls % 64)) != 0;)
            for (unsigned i = n; i-- > 0;) expect_eq((uintptr_t)out[i], gm_span_slot(s, seen++));
        expect_eq(seen, s->nslots);
        expect_eq(s->nfree, 0);
        for (unsigned i = s->nslots; i-- > 0;) expect_eq(gm_span_give_one(s, gm_span_slot(s, i)), s->nslots - i);
        gm_span_delete(s);
    }
}

TEST(a_slot_that_comes_home_twice_is_a_bug_of_ours) {
    struct gm_span *s = gm_span_new(5);
    void *slot;
    place(s);
    gm_span_take(s, &slot, 1);
    gm_span_give_one(s, (uintptr_t)slot);
    expect_dies(SIGABRT, NULL, gm_span_give_one(s, (uintptr_t)slot));
}

TEST(the_index_of_any_address_in_a_span) {
    for (unsigned cls = 1; cls < GM_CLASSES; cls++) {
        struct gm_span *s = gm_span_new(cls);
        s->start = (uintptr_t)1 << 40;
        size_t bytes = gm_class_pages[cls] * GM_PAGE_SIZE, wrong = 0;
        for (size_t o = 0; o < bytes; o++) wrong += gm_span_index(s, s->start + o) != o / gm_class_size[cls];
        if (!expect_eq(wrong, 0)) diag("class %u", cls);
        gm_span_delete(s);
    }
}

TEST(slots_come_home_in_batches) {
    struct check_rng rng = check_rng(2);
    for (unsigned cls = 1; cls < GM_CLASSES; cls++) {
        struct gm_span *s = gm_span_new(cls);
        void *out[1025];
        place(s);
        unsigned n = gm_span_take(s, out, 1024), given, home = 0;
        expect_eq(n, s->nslots);
        for (unsigned i = n; i-- > 1;) { /* in any order */
            unsigned j = (unsigned)check_below(&rng, i + 1);
            void *swap = out[i];
            out[i] = out[j];
            out[j] = swap;
        }
        for (unsigned i = 0; i < n; i += given) {
            unsigned want = 1 + (unsigned)check_below(&rng, gm_min(64, n - i));
            home = gm_span_give(s, out + i, want, &given);
            expect_eq(given, want);
            expect_eq(home, i + want);
        }
        expect_eq(home, s->nslots);
        /* What lies elsewhere ends the run. */
        bool several = gm_span_take(s, out, 2) == 2;
        out[2] = out[1];
        out[1] = (void *)(s->start + gm_span_bytes(s));
        expect_eq(gm_span_give(s, out, 3, &given), s->nslots - several);
        expect_eq(given, 1);
        out[1] = out[2];
        if (several) expect_dies(SIGABRT, NULL, gm_span_give(s, out + 1, 2, &given)); /* twice in one batch */
        gm_span_delete(s);
    }
}

/* Two owners in turn: one takes, others give. Every slot is in one hand only. */
enum { THREADS = 4, ROUNDS = 20000 };
static struct gm_span *shared;
static void *box[THREADS];
static bool over;

static void *giver(void *arg) {
    void **mine = arg;
    for (;;) {
        bool last = gm_load_acquire(&over); /* before the look: nothing comes after it */
        void *slot = gm_exchange_acquire(mine, NULL);
        if (!slot) {
            if (last) return NULL;
            sched_yield();
            continue;
        }
        *(uint64_t *)slot = (uint64_t)(uintptr_t)mine;
        gm_span_give_one(shared, (uintptr_t)slot);
    }
}

TEST_LIMIT(others_give_while_the_owner_takes, 60) {
    bool zero_memory;
    pthread_t t[THREADS];
    gm_init_once();
    struct gm_span *home = gm_heap_alloc_large(1, 1, 8192, 0, &zero_memory);
    shared = gm_span_new(5);
    shared->start = home->start;
    shared->npages = 1;
    for (int i = 0; i < THREADS; i++) pthread_create(&t[i], NULL, giver, &box[i]);
    int sent = 0;
    /* Each hand-over waits for its turn on a busy machine: it does fewer. */
    for (int64_t end = check_now_ns() + INT64_C(3000000000); sent < THREADS * ROUNDS && (sent < 1000 || check_now_ns() < end); sched_yield()) {
        for (int i = 0; i < THREADS; i++) {
            void *slot;
            if (gm_load_relaxed(&box[i]) || gm_span_take(shared, &slot, 1) == 0) continue;
            *(uint64_t *)slot = ~(uint64_t)0; /* ours alone */
            gm_store_release(&box[i], slot);
            sent++;
        }
    }
    gm_store_release(&over, true);
    for (int i = 0; i < THREADS; i++) pthread_join(t[i], NULL);
    expect_eq(shared->nfree, shared->nslots);
}

/* ---- lookup */

TEST(every_address_of_a_small_span_leads_to_it) {
    gm_init_once();
    struct gm_span *s[GM_CLASSES];
    for (unsigned cls = 1; cls < GM_CLASSES; cls++) s[cls] = gm_heap_alloc_small(cls, false, 0);
    for (unsigned cls = 1; cls < GM_CLASSES; cls++) {
        if (!expect(s[cls] != NULL)) return;
        for (size_t o = 0; o < gm_span_bytes(s[cls]); o += 1 + o % 97) {
            if (!expect(span_at((void *)(s[cls]->start + o)) == s[cls])) return;
            uint64_t e = s[cls]->arena->pages[gm_arena_page_of(s[cls]->arena, s[cls]->start + o)];
            expect(gm_entry_class(e) == cls && gm_entry_page(e) == o >> GM_PAGE_SHIFT);
        }
        expect(span_at((void *)(s[cls]->start + gm_span_bytes(s[cls]) - 1)) == s[cls]);
    }
    gm_heap_verify();
    for (unsigned cls = 1; cls < GM_CLASSES; cls++) {
        void *start = (void *)s[cls]->start;
        gm_heap_free(s[cls]);
        expect(span_at(start) == NULL);
    }
    gm_heap_verify();
}

static void look_up_large(size_t npages, size_t align) {
    bool zero_memory;
    struct gm_span *s = gm_heap_alloc_large(npages, align, npages << GM_PAGE_SHIFT, 0, &zero_memory);
    if (!expect(s && s->npages == npages && s->start % (align << GM_PAGE_SHIFT) == 0)) return;
    struct gm_arena *a = s->arena;
    size_t first = gm_arena_page_of(a, s->start), entries = 0;
    for (size_t i = 0; i < npages; i++) {
        if (!expect(span_at((void *)(s->start + (i << GM_PAGE_SHIFT) + i % GM_PAGE_SIZE)) == s)) return;
        bool wanted = i < GM_CHUNK_PAGES - first % GM_CHUNK_PAGES || (first + i) % GM_CHUNK_PAGES == 0;
        bool has = a->pages[first + i] > GM_ENTRY_FREED;
        expect_eq(has, wanted);
        entries += has;
    }
    expect_at_most(entries, GM_CHUNK_PAGES + npages / GM_CHUNK_PAGES + 1);
    uintptr_t end = s->start + gm_span_bytes(s);
    expect(end >= a->base + a->committed || span_at((void *)end) != s);
    void *start = (void *)s->start;
    gm_heap_free(s);
    for (size_t i = 0; i < npages; i++) expect(span_at((char *)start + (i << GM_PAGE_SHIFT)) == NULL);
    expect_eq(a->pages[first], GM_ENTRY_FREED);
    expect(what_is(start) == GM_FREED);
    expect(npages == 1 || what_is((char *)start + GM_PAGE_SIZE) == GM_UNKNOWN);
}

TEST(every_page_of_a_large_span_leads_to_it) {
    gm_init_once();
    look_up_large(1, 1);
    gm_heap_alloc_small(2, false, 0); /* so that the rest does not begin at a chunk */
    look_up_large(255, 1);
    gm_heap_alloc_small(2, false, 0);
    look_up_large(256, 1);
    look_up_large(3000, 1);
    look_up_large(257, 256);
    look_up_large(700, 64);
    gm_heap_verify();
}

TEST_MAIN()
