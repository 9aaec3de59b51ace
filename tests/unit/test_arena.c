/* fake os */
/* Address space: the primary reservation under all kinds of limits, further arenas when it is exhausted
 * or cannot be had, and pages of 64 KiB. */
#include "tests/unit/allocator.h"

#include "libgomalloc/base/bits.h"
#include "libgomalloc/meta.h"
#include "libgomalloc/os/os.h"
#include "tests/fake/os_fake.h"

#define PRIMARY gm_space.primary

/* Allocates objects of n bytes until there is no memory; how many. They are chained by their contents. */
static size_t exhaust(size_t n, void **chain) {
    size_t made = 0;
    void *p;
    for (errno = 0; (p = gm_alloc(n)) != NULL; made++) {
        *(void **)p = *chain;
        *chain = p;
    }
    expect_eq(errno, ENOMEM);
    return made;
}
static void free_chain(void *chain) {
    while (chain) {
        void *next = *(void **)chain;
        gm_free(chain);
        chain = next;
    }
}

TEST(the_primary_is_as_large_as_memory_suggests) {
    fake.space = (size_t)400 << 30; /* of the fake; costs nothing */
    fake.memory = (size_t)8 << 30;
    gm_init_once();
    expect_eq(PRIMARY.size, (size_t)256 << 30);
    expect(gm_is_aligned(PRIMARY.base, GM_ARENA_SIZE));
    expect_eq(fake.calls[FAKE_RESERVE], 1);
    /* Nothing but the page index is ready, and nothing at all has been touched. */
    expect_at_most(fake.committed, 32 * MIB);
    expect_eq(fake_resident(PRIMARY.index.all_bits, 4 * MIB), 0);
}

TEST(it_is_halved_until_it_can_be_had) {
    gm_init_once(); /* the fake has 4 GiB */
    expect_eq(PRIMARY.size, (size_t)2 << 30);
    expect(gm_is_aligned(PRIMARY.base, GM_ARENA_SIZE));
    expect_eq(gm_space.base16, PRIMARY.base >> 4);
    expect(gm_space.state_bias + gm_space.base16 == PRIMARY.state);
    void *p = gm_alloc(100);
    expect_eq(gm_space.limit16, PRIMARY.committed >> 4);
    expect_eq(gm_space.state_bias[(uintptr_t)p >> 4], gm_class_of(100));
    expect(gm_arena_of(p) == &PRIMARY && gm_arena_of((char *)PRIMARY.base + PRIMARY.committed) == NULL);
}

/* Every slot above 1 KiB has a word of its own in the table by KiB; the table by 16 bytes is never written over them. */
TEST(states_of_medium_slots) {
    enum { EACH = 9 };
    for (unsigned cls = GM_FIRST_MEDIUM; cls < GM_CLASSES; cls++) {
        uintptr_t p[EACH];
        size_t size = gm_class_size[cls];
        for (unsigned i = 0; i < EACH; i++) {
            p[i] = (uintptr_t)gm_alloc(size);
            expect_eq(gm_state_get(&PRIMARY, p[i], cls), cls | gm_colour);
            for (size_t o = 16; o < size; o += 16) /* whatever class one may take it for */
                if (!expect(gm_state_get(&PRIMARY, p[i] + o, cls) == 0)) diag("class %u, offset %zu", cls, o);
            for (size_t o = 0; o < size; o += 16) expect_eq(*gm_arena_state_of(&PRIMARY, p[i] + o), 0);
        }
        for (unsigned i = 0; i < EACH; i += 2) gm_free((void *)p[i]);
        for (unsigned i = 0; i < EACH; i++) expect_eq(gm_state_get(&PRIMARY, p[i], cls) != 0, i % 2);
        for (unsigned i = 1; i < EACH; i += 2) gm_free((void *)p[i]);
    }
}

TEST(a_medium_state_is_changed_only_from_what_it_is) {
    gm_init_once();
    unsigned cls = gm_class_of(5000);
    uintptr_t p = (uintptr_t)gm_alloc(5000);
    uint8_t was = gm_state_get(&PRIMARY, p, cls), is = was ^ GM_STATE_COLOUR;
    expect(!gm_state_cas(&PRIMARY, p, cls, &is, GM_CLASS_8) && is == was && gm_state_get(&PRIMARY, p, cls) == was);
    expect(gm_state_cas(&PRIMARY, p, cls, &is, GM_CLASS_8) && gm_state_get(&PRIMARY, p, cls) == GM_CLASS_8);
    gm_free((void *)p); /* by the long way */
    expect_eq(gm_state_get(&PRIMARY, p, cls), 0);
}

TEST(under_a_limit_it_takes_five_eighths) {
    fake.limit = 200 * MIB;
    gm_init_once();
    expect_at_most(PRIMARY.size, 125 * MIB);
    expect(PRIMARY.size >= 32 * MIB);
    expect_at_most(fake.limit - gm_os_address_space_left(), 140 * MIB);
    void *p = gm_alloc(100);
    expect(p && gm_is_aligned(PRIMARY.base, GM_CHUNK_SIZE));
    gm_free(p);
    expect_all_home();
}

TEST(further_arenas_serve_when_it_is_exhausted) {
    fake.limit = 700 * MIB;
    gm_init_once();
    size_t primary = PRIMARY.size;
    void *chain = NULL, *small = gm_alloc(24);
    size_t bytes = exhaust(32768, &chain) * 32768;
    expect(gm_sparse_arenas != NULL && (span_at(chain)->flags & GM_SPAN_SPARSE));
    if (!expect(bytes > primary + 64 * MIB)) diag("%zu MiB of %zu", bytes / MIB, fake.limit / MIB);
    expect_eq(PRIMARY.committed, PRIMARY.size);
    verify_all();
    /* All kinds of objects live there. */
    struct gm_span *s = span_at(chain);
    expect(s && s->start <= (uintptr_t)chain && what_is(chain) == GM_SLOT && gm_owns(chain));
    expect_eq(gm_usable_size(chain), 32768);
    expect(what_is((char *)chain + 16) == GM_INTERIOR && what_is((char *)chain + 1) == GM_MISALIGNED);
    expect_dies(SIGABRT, check_format("gomalloc: double free: %p", chain), gm_free(chain); gm_free(chain));
    free_chain(chain);
    gm_free(small);
    expect_all_home();
    /* And all of it can be had again. */
    chain = NULL;
    expect(exhaust(32768, &chain) * 32768 >= bytes); /* and not less: nothing was lost */
    free_chain(chain);
    expect_all_home();
}

/* One small and one large object of each kind, in whatever arena there is. */
static void round_of_all_sizes(bool sparse) {
    static void *p[GM_CLASSES + 3];
    size_t n = 0;
    for (unsigned cls = 1; cls < GM_CLASSES; cls++) p[n++] = gm_alloc(gm_class_size[cls]);
    p[n++] = gm_alloc(100000);
    p[n++] = gm_alloc(3 * MIB);
    p[n++] = gm_alloc_aligned(MIB, 5000);
    for (size_t i = 0; i < n; i++) {
        if (!expect(p[i])) return;
        expect_eq((span_at(p[i])->flags & GM_SPAN_SPARSE) != 0, sparse);
        check_fill(p[i], gm_usable_size(p[i]), i);
    }
    for (size_t i = 0; i < n; i++) {
        size_t size = gm_usable_size(p[i]);
        expect(check_filled(p[i], size, i));
        p[i] = gm_realloc(p[i], size * 2);
        expect(p[i] && check_filled(p[i], size, i));
    }
    verify_all();
    for (size_t i = 0; i < n; i++) gm_free(p[i]);
    expect_all_home();
}

TEST(without_a_primary_all_goes_the_slow_way) {
    fake_fail(FAKE_RESERVE, 0);
    fake_fail_from(FAKE_RESERVE, 1);
    gm_init_once();
    expect_eq(PRIMARY.size, 0);
    errno = 0;
    expect(gm_alloc(100) == NULL && errno == ENOMEM);
    gm_free(NULL);
    expect(gm_alloc_zeroed(100000) == NULL && gm_alloc_aligned(4096, 10) == NULL && gm_alloc_tiny(3) == NULL);
    fake_fail(FAKE_FALLIBLE, 0);
    round_of_all_sizes(true);
    void *tiny = gm_alloc_tiny(3);
    expect(tiny && gm_usable_size(tiny) >= 3);
    gm_free(tiny);
    expect_all_home();
}

TEST(an_object_larger_than_an_arena_gets_one_of_its_own) {
    fake.memory = 0;
    fake.refuse = NULL;
    fake_fail_from(FAKE_RESERVE, 1);
    gm_init_once();
    fake_fail(FAKE_FALLIBLE, 0);
    char *p = gm_alloc(200 * MIB);
    if (!expect(p)) return;
    for (size_t o = 0; o < 200 * MIB; o += 999999) expect(span_at(p + o) == span_at(p));
    p[0] = p[200 * MIB - 1] = 1;
    expect(what_is(p) == GM_LARGE && what_is(p + 64 * MIB) == GM_INTERIOR);
    gm_free(p);
    expect(what_is(p) == GM_FREED);
    gm_heap_verify();
}

TEST(an_arena_that_cannot_be_published_leaves_nothing_behind) {
    fake_fail_from(FAKE_RESERVE, 1);
    gm_init_once();
    fake_fail(FAKE_FALLIBLE, 0);
    gm_free(gm_alloc(10)); /* the first arena, the map's leaf, records */
    size_t before = gm_os_address_space_left() == SIZE_MAX ? fake.bytes[FAKE_RESERVED] + fake.committed : 0;
    for (int i = 0; i < 3; i++) {
        fake_fail_from(FAKE_COMMIT, 2); /* the index of the arena, then its first memory */
        expect(gm_alloc(70 * MIB) == NULL);
        fake_fail(FAKE_FALLIBLE, 0);
    }
    /* One arena was made and could not be filled; it is kept and tried again, not made anew. */
    expect_at_most(fake.bytes[FAKE_RESERVED] + fake.committed - before, 128 * MIB + 16 * MIB);
    void *p = gm_alloc(70 * MIB);
    expect(p);
    expect_at_most(fake.bytes[FAKE_RESERVED] + fake.committed - before, 128 * MIB + 16 * MIB);
    gm_heap_verify();
}

TEST(no_leaf_for_the_sparse_map) {
    fake_fail_from(FAKE_RESERVE, 1);
    gm_init_once();
    fake_fail(FAKE_FALLIBLE, 0);
    expect(gm_fix_get(&(struct gm_fix)GM_FIX_INIT_OWN(64, 64))); /* the record chunk is there */
    while (gm_meta_alloc_own(8192, 8) && gm_meta_mapped() <= 256 * 1024) {}
    while (gm_meta_mapped() <= 512 * 1024 && fake.calls[FAKE_MAP] < 3) gm_meta_alloc_own(8192, 8);
    size_t before = fake.bytes[FAKE_RESERVED] + fake.committed;
    fake_fail_from(FAKE_MAP, 1);
    size_t tries = 0;
    for (unsigned i = 0; i < 40; i++) tries += gm_arena_new(1) == NULL;
    fake_fail(FAKE_FALLIBLE, 0);
    if (tries) expect_at_most(fake.bytes[FAKE_RESERVED] + fake.committed - before, (40 - tries) * 80 * MIB);
}

TEST(a_request_beyond_all_address_space_is_refused) {
    for (unsigned shift = 33; shift < 64; shift++) {
        errno = 0;
        if (!expect(gm_alloc((size_t)1 << shift) == NULL && errno == ENOMEM)) diag("2^%u", shift);
        expect(gm_alloc_aligned((size_t)1 << shift, 100) == NULL);
    }
    expect(gm_alloc(SIZE_MAX) == NULL && gm_alloc_zeroed(SIZE_MAX - 4096) == NULL);
    expect(gm_alloc_aligned((size_t)1 << 63, SIZE_MAX) == NULL);
    void *p = gm_alloc(100);
    expect(p && !gm_realloc(p, SIZE_MAX) && !gm_realloc(p, (size_t)5 << 40));
    verify_all();
}

TEST(no_address_is_unsafe_to_ask_about) {
    struct check_rng rng = check_rng(1);
    void *p = gm_alloc(100);
    expect(what_is(p) == GM_SLOT);
    for (int i = 0; i < 200000; i++) {
        uint64_t r = check_random(&rng) >> check_below(&rng, 64);
        const void *q = (const void *)(i & 1 ? r : PRIMARY.base - 4 * MIB + r % (PRIMARY.size + 8 * MIB));
        enum gm_what w = what_is(q);
        bool committed = (uintptr_t)q - PRIMARY.base < PRIMARY.committed;
        expect_eq(w == GM_FOREIGN, !committed);
    }
}

TEST(lowering_the_limit_gives_back_what_is_reserved) {
    void *p = gm_alloc(5 * MIB);
    size_t reserved = fake.bytes[FAKE_RESERVED];
    gm_limit_address_space(64 * MIB);
    expect_at_most(PRIMARY.size, 34 * MIB);
    expect_at_most(fake.bytes[FAKE_RESERVED], 40 * MIB);
    expect(fake.bytes[FAKE_RESERVED] < reserved);
    /* What is left is used as before. */
    void *q = gm_alloc(20 * MIB);
    expect(q && !(span_at(q)->flags & GM_SPAN_SPARSE));
    verify_all();
    gm_limit_address_space(0); /* never below what is in use */
    expect(PRIMARY.size >= PRIMARY.committed);
    memset(p, 1, 5 * MIB);
    memset(q, 1, 20 * MIB);
    void *more = gm_alloc(30 * MIB);
    expect(more && (span_at(more)->flags & GM_SPAN_SPARSE));
    verify_all();
    gm_free(p);
    gm_free(q);
    gm_free(more);
    expect_all_home();
}

TEST(what_is_free_goes_back_once_memory_has_been_refused) {
    fake.limit = 700 * MIB;
    fake.commit_limit = 600 * MIB;
    gm_init_once();
    void *chain = NULL;
    exhaust(100000, &chain);
    expect(gm_sparse_arenas != NULL);
    size_t used = fake.bytes[FAKE_RESERVED] + fake.committed, ready = fake.committed;
    free_chain(chain);
    expect_at_most(fake.committed, 45 * MIB); /* of which most are tables, which stay */
    expect(ready > 400 * MIB);
    expect_at_most(fake.bytes[FAKE_RESERVED] + fake.committed, used - 128 * MIB); /* whole arenas */
    expect(gm_sparse_arenas == NULL);
    verify_all();
    /* What came back reads as zero when it is used again. */
    char *p = gm_alloc_zeroed(20 * MIB);
    expect(p && p[0] == 0 && p[5 * MIB] == 0 && p[20 * MIB - 1] == 0);
    memset(p, 1, 20 * MIB);
    gm_free(p);
    p = gm_alloc_zeroed(20 * MIB);
    for (size_t o = 0; o < 20 * MIB; o += 1000) expect_eq(p[o], 0);
    gm_free(p);
    expect_all_home();
}

TEST(a_refused_uncommit_changes_nothing) {
    fake.commit_limit = 100 * MIB;
    void *chain = NULL;
    exhaust(100000, &chain);
    fake_fail_from(FAKE_UNCOMMIT, 1);
    free_chain(chain);
    fake_fail(FAKE_FALLIBLE, 0);
    expect_all_home();
    char *p = gm_alloc_zeroed(20 * MIB);
    expect(p && p[0] == 0 && p[10 * MIB] == 0);
    gm_free(p);
    expect_all_home();
}

TEST(records_stay_when_reserved_space_goes_back) {
    void *p = gm_alloc(100);
    /* More records than such a small heap needs, then a chunk from elsewhere. */
    char *record[64];
    for (int i = 0; i < 64; i++) check_fill(record[i] = gm_meta_alloc_own(65536, 64), 65536, (uint64_t)i);
    fake_fail(FAKE_COMMIT, 1);
    size_t maps = fake.calls[FAKE_MAP];
    for (int i = 0; i < 100 && fake.calls[FAKE_MAP] == maps; i++) {
        fake_fail_from(FAKE_COMMIT, 1);
        gm_meta_alloc_own(65536, 64);
    }
    fake_fail(FAKE_FALLIBLE, 0);
    expect(fake.calls[FAKE_MAP] > maps);
    gm_limit_address_space(MIB);
    for (int i = 0; i < 64; i++) {
        if (!expect(fake_state_of(record[i]) == FAKE_READY)) return;
        expect(check_filled(record[i], 65536, (uint64_t)i));
    }
    gm_free(p);
    expect_all_home();
}

TEST(pages_of_64_kib) {
    fake.page = 65536;
    round_of_all_sizes(false);
    /* Whatever is asked of the system is made of whole pages of its own. */
    static void *p[400];
    for (int i = 0; i < 400; i++) p[i] = memset(gm_alloc(40000), 1, 40000);
    for (int i = 0; i < 400; i += 3) gm_free(p[i]);
    gm_trim();
    for (int i = 0; i < 400; i++) {
        if (i % 3 == 0) continue;
        expect(*(char *)p[i] == 1 && ((char *)p[i])[39999] == 1);
        gm_free(p[i]);
    }
    size_t back = gm_trim();
    expect(back >= 400 / 3 * 2 * 40960);
    expect_eq(fake.misaligned, 0);
    expect_all_home();
}

TEST(pages_of_64_kib_without_a_primary) {
    fake.page = 65536;
    fake_fail_from(FAKE_RESERVE, 1);
    gm_init_once();
    fake_fail(FAKE_FALLIBLE, 0);
    round_of_all_sizes(true);
}

TEST_MAIN()
