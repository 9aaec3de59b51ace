/* The page index: single properties, some too large for random steps (heaps of a quarter TiB), and memory that must not be
 * touched. test_pageindex_random.c does all operations at random. */
#include <sys/mman.h>

#include "tests/unit/pageindex_model.h"

TEST(nothing_is_free_at_first) {
    struct model m;
    model_init(&m, 600, 1);
    size_t page;
    expect_eq(gm_pageindex_find(&m.ix, 1, 1), GM_NO_PAGE);
    expect_eq(gm_pageindex_run(&m.ix, 0, SIZE_MAX), 0);
    expect_eq(gm_pageindex_next_dirty(&m.ix, SIZE_MAX, SIZE_MAX, &page), 0);
    gm_pageindex_verify(&m.ix);
}

TEST(levels_follow_the_capacity) {
    static const size_t chunks[] = {1, 8, 9, 64, 65, 512, 513, 4096, 4097, 131072, (size_t)1 << 21};
    static const unsigned levels[] = {1, 1, 2, 2, 3, 3, 4, 4, 5, 6, 7};
    for (unsigned i = 0; i < sizeof chunks / sizeof *chunks; i++) {
        struct gm_pageindex ix;
        gm_pageindex_init(&ix, chunks[i], NULL, NULL);
        expect_eq(ix.levels, levels[i]);
        uintptr_t top = (uintptr_t)ix.level[ix.levels - 1];
        expect(gm_pageindex_bytes(chunks[i]) >= top + sizeof(struct gm_pagesum));
    }
}

TEST(every_length_across_chunks) {
    struct model m;
    model_init(&m, 20, 1);
    grow(&m, 0, m.pages);
    for (size_t n = 1; n <= m.pages; n++) {
        expect_eq(gm_pageindex_find(&m.ix, n, 1), 0);
        expect_eq(gm_pageindex_run(&m.ix, m.pages - n, SIZE_MAX), n);
    }
    expect_eq(gm_pageindex_find(&m.ix, m.pages + 1, 1), GM_NO_PAGE);
    expect_eq(gm_pageindex_find(&m.ix, SIZE_MAX, 1), GM_NO_PAGE);
    expect_eq(gm_pageindex_find(&m.ix, SIZE_MAX, (size_t)1 << 63), GM_NO_PAGE);
    expect_eq(gm_pageindex_find(&m.ix, m.pages, (size_t)1 << 63), 0);
}

/* Everything used but one run, at each place near each border of chunks and of groups of them. */
TEST(one_run_at_each_border) {
    static const size_t lengths[] = {1, 2, 3, 63, 64, 65, 255, 256, 257, 511, 512, 513, 2048, 2049, 4600};
    struct model m;
    model_init(&m, 100, 1);
    grow(&m, 0, m.pages);
    take(&m, 0, m.pages);
    for (size_t chunk = 1; chunk < 80; chunk++) {
        for (unsigned i = 0; i < sizeof lengths / sizeof *lengths; i++) {
            size_t n = lengths[i], page = chunk * GM_CHUNK_PAGES - below(&m, gm_min(n + 2, GM_CHUNK_PAGES));
            gm_pageindex_give(&m.ix, page, n, false);
            bool ok = expect_eq(gm_pageindex_find(&m.ix, n, 1), page);
            ok &= expect_eq(gm_pageindex_find(&m.ix, n + 1, 1), GM_NO_PAGE);
            ok &= expect_eq(gm_pageindex_run(&m.ix, page, SIZE_MAX), n);
            ok &= expect_eq(gm_pageindex_run(&m.ix, page - 1, SIZE_MAX), 0);
            size_t first = 0;
            ok &= expect_eq(gm_pageindex_next_dirty(&m.ix, SIZE_MAX, SIZE_MAX, &first), n);
            ok &= expect_eq(first, page);
            gm_pageindex_verify(&m.ix);
            gm_pageindex_take(&m.ix, page, n);
            gm_pageindex_verify(&m.ix);
            if (!ok) {
                diag("%zu pages at %zu", n, page);
                return;
            }
        }
    }
}

/* Spans freed in any order become one run again. */
TEST(neighbours_coalesce_over_chunks) {
    struct model m;
    model_init(&m, 20, 2);
    grow(&m, 0, m.pages);
    enum { PIECE = 20, PIECES = 20 * 256 / PIECE };
    bool given[PIECES] = {false};
    take(&m, 0, m.pages);
    for (unsigned left = PIECES; left > 0;) {
        size_t piece = below(&m, PIECES);
        if (given[piece])
            continue;
        given[piece] = true;
        give(&m, piece * PIECE, PIECE, false);
        left--;
    }
    gm_pageindex_verify(&m.ix);
    expect_eq(gm_pageindex_find(&m.ix, m.pages, 1), 0);
    size_t page = 1;
    expect_eq(gm_pageindex_next_dirty(&m.ix, SIZE_MAX, SIZE_MAX, &page), m.pages);
    expect_eq(page, 0);
}

TEST(lowest_address_after_a_hole_low_down) {
    struct model m;
    model_init(&m, 600, 3);
    grow(&m, 0, m.pages);
    for (unsigned i = 0; i < 3000; i++) { /* the hint runs ahead, over many chunks */
        expect_eq(gm_pageindex_find(&m.ix, 40, 1), 40 * i);
        take(&m, 40 * i, 40);
    }
    give(&m, 4000, 7, false);
    expect_eq(gm_pageindex_find(&m.ix, 8, 1), 120000);
    expect_eq(gm_pageindex_find(&m.ix, 7, 1), 4000);
    give(&m, 360, 3, false);
    expect_eq(gm_pageindex_find(&m.ix, 1, 1), 360);
    expect_eq(gm_pageindex_find(&m.ix, 4, 1), 4000);
    gm_pageindex_verify(&m.ix);
}

TEST(the_hint_leaves_full_chunks_behind) {
    struct model m;
    model_init(&m, 600, 3);
    grow(&m, 0, m.pages);
    take(&m, 100, 500 * GM_CHUNK_PAGES); /* not where the hint points: it stays at 0 */
    take(&m, 0, 100);
    expect_eq(gm_pageindex_find(&m.ix, 1, 1), 100 + 500 * GM_CHUNK_PAGES);
    expect_eq(m.ix.search_from / GM_CHUNK_PAGES, 500);
    gm_pageindex_verify(&m.ix);
}

/* -- Alignment ---------------------------------------------------------------------------------- */

TEST(alignment_up_to_thousands_of_chunks) {
    struct model m;
    model_init(&m, 5000, 4);
    grow(&m, 1, m.pages - 1);
    for (size_t align = 2; align < m.pages; align *= 2) {
        expect_eq(gm_pageindex_find(&m.ix, 1, align), align);
        expect_eq(gm_pageindex_find(&m.ix, m.pages - align, align), align);
        expect_eq(gm_pageindex_find(&m.ix, m.pages - align + 1, align), GM_NO_PAGE);
    }
    expect_eq(gm_pageindex_find(&m.ix, 1, (size_t)1 << 40), GM_NO_PAGE);
    take(&m, 4096 * GM_CHUNK_PAGES, 1);
    expect_eq(gm_pageindex_find(&m.ix, 1, 4096 * GM_CHUNK_PAGES), GM_NO_PAGE);
    expect_eq(gm_pageindex_find(&m.ix, 3000, 2048 * GM_CHUNK_PAGES), 2048 * GM_CHUNK_PAGES);
    expect_eq(gm_pageindex_find(&m.ix, 2048 * GM_CHUNK_PAGES + 1, 1024 * GM_CHUNK_PAGES),
              1024 * GM_CHUNK_PAGES);
}

/* Every run is long enough and none is aligned: answers must stay correct and quick. */
TEST(aligned_search_among_unlucky_runs) {
    struct model m;
    model_init(&m, 2000, 5);
    grow(&m, 0, m.pages);
    take(&m, 0, m.pages);
    for (size_t i = 0; i + 8 <= m.pages; i += 8)
        give(&m, i + 1, 6, false);
    for (size_t align = 8; align < m.pages; align *= 2)
        expect_eq(gm_pageindex_find(&m.ix, 6, align), GM_NO_PAGE);
    give(&m, 16007, 2, false); /* a run of 12, and even that has no aligned 6: it is one page short */
    take(&m, 16013, 2);
    for (size_t align = 8; align < m.pages; align *= 2)
        expect_eq(gm_pageindex_find(&m.ix, 6, align), GM_NO_PAGE);
    expect_eq(gm_pageindex_find(&m.ix, 6, 1), 1);
    expect_eq(gm_pageindex_find(&m.ix, 5, 2), 2);
    give(&m, m.pages - 4096, 1, false); /* the only place, at the far end */
    expect_eq(gm_pageindex_find(&m.ix, 6, 8), m.pages - 4096);
    give(&m, m.pages - 2001, 2, false); /* now 14 pages with room to align in; both are valid answers */
    for (unsigned i = 0; i < 20000; i++) {
        size_t page = gm_pageindex_find(&m.ix, 6, 8);
        if (!expect(page != GM_NO_PAGE && page % 8 == 0 && naive_run(&m, page, 6) == 6))
            return;
    }
}

/* Allocations that each leave an unlucky run behind: quadratic without a bound on the tries. */
TEST(many_aligned_allocations) {
    struct gm_pageindex ix;
    size_t chunks = 131072, blocks = 50000;
    gm_pageindex_init(&ix, chunks, calloc(chunks + 1, sizeof(struct gm_pagebits)),
                      calloc(1, gm_pageindex_bytes(chunks)));
    ix.bits = (struct gm_pagebits *)gm_align_up((uintptr_t)ix.bits, 64);
    gm_pageindex_grow(&ix, 0, blocks * 128 + 1000);
    for (size_t i = 0; i < blocks; i++) {
        size_t page = gm_pageindex_find(&ix, 8, 128);
        if (!expect(page != GM_NO_PAGE && page % 128 == 0))
            return;
        gm_pageindex_take(&ix, page, 8);
    }
    gm_pageindex_verify(&ix);
}

/* -- Giving back -------------------------------------------------------------------------------- */

TEST(next_dirty_is_bounded_by_what_is_grown) {
    struct gm_pageindex ix;
    size_t chunks = 131072, page;
    struct gm_pagebits *bits = aligned_alloc(64, chunks * sizeof *bits);
    memset(bits, 0, chunks * sizeof *bits);
    gm_pageindex_init(&ix, chunks, bits, calloc(1, gm_pageindex_bytes(chunks)));
    gm_pageindex_grow(&ix, 0, 1000);
    gm_pageindex_take(&ix, 500, 10);
    gm_pageindex_give(&ix, 500, 10, false);
    for (unsigned i = 0; i < 1000000; i++) {
        if (!expect(gm_pageindex_next_dirty(&ix, SIZE_MAX, 4, &page) == 4 && page == 506))
            return;
        if (!expect(gm_pageindex_find(&ix, 1001, 1) == GM_NO_PAGE))
            return;
    }
}

/* -- Memory that is not there ------------------------------------------------------------------- */

static void *reserve(size_t bytes) {
    void *p = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        skip("no address space");
    return p;
}

static void commit(void *from, size_t bytes) {
    uintptr_t start = gm_align_down((uintptr_t)from, 4096), end = gm_align_up((uintptr_t)from + bytes, 4096);
    expect_eq(mprotect((void *)start, end - start, PROT_READ | PROT_WRITE), 0);
}

/* Only what belongs to grown chunks is accessible. The summaries lie so that the nodes of one level end at
 * a page's end, the bitmaps do so for 64 chunks: there the first one too many is a crash. */
static void touch_only(size_t grown, unsigned exact_level) {
    struct gm_pageindex ix;
    size_t chunks = 131072, pages = grown * GM_CHUNK_PAGES, page;
    char *summaries = reserve(gm_pageindex_bytes(chunks) + 4096);
    gm_pageindex_init(&ix, chunks, reserve(chunks * sizeof(struct gm_pagebits)), summaries);
    uintptr_t end = (uintptr_t)(ix.level[exact_level] + ((grown - 1) >> 3 * exact_level) + 1);
    gm_pageindex_init(&ix, chunks, ix.bits, summaries + (gm_align_up(end, 4096) - end));
    commit(ix.bits, grown * sizeof(struct gm_pagebits));
    for (unsigned k = 0; k < ix.levels; k++)
        commit(ix.level[k], (((grown - 1) >> 3 * k) + 1) * sizeof(struct gm_pagesum));
    expect_eq(gm_pageindex_find(&ix, 1, 1), GM_NO_PAGE);
    gm_pageindex_grow(&ix, 0, pages);
    expect_eq(gm_pageindex_find(&ix, pages, 1), 0);
    expect_eq(gm_pageindex_find(&ix, pages, (size_t)1 << 30), 0);
    expect_eq(gm_pageindex_find(&ix, pages + 1, 1), GM_NO_PAGE);
    expect_eq(gm_pageindex_run(&ix, 0, SIZE_MAX), pages);
    gm_pageindex_take(&ix, 0, pages - 1);
    expect_eq(gm_pageindex_find(&ix, 1, 1), pages - 1);
    expect_eq(gm_pageindex_find(&ix, 1, (size_t)1 << 30), GM_NO_PAGE);
    gm_pageindex_give(&ix, 0, 5, false);
    expect_eq(gm_pageindex_find(&ix, 6, 1), GM_NO_PAGE);
    expect_eq(gm_pageindex_run(&ix, pages - 1, SIZE_MAX), 1);
    expect_eq(gm_pageindex_run(&ix, pages, SIZE_MAX), 0);
    expect_eq(gm_pageindex_next_dirty(&ix, SIZE_MAX, SIZE_MAX, &page), 5);
    expect_eq(gm_pageindex_next_dirty(&ix, pages, SIZE_MAX, &page), 5);
    gm_pageindex_take(&ix, pages - 1, 1);
    gm_pageindex_take(&ix, 0, 5);
    expect_eq(gm_pageindex_find(&ix, 1, 1), GM_NO_PAGE);
    gm_pageindex_verify(&ix);
}

TEST(touches_only_what_is_grown) {
    static const size_t grown[] = {1, 3, 8, 61, 64, 65, 1021, 1024, 4096 - 7 * 8, 8192};
    for (unsigned i = 0; i < sizeof grown / sizeof *grown; i++)
        for (unsigned level = 0; level < 3; level++)
            touch_only(grown[i], level);
}

/* A gap in what is grown counts as used. */
TEST(no_run_crosses_a_gap) {
    struct model m;
    model_init(&m, 600, 9);
    grow(&m, 0, 3 * GM_CHUNK_PAGES);
    grow(&m, 8 * GM_CHUNK_PAGES, 70 * GM_CHUNK_PAGES);
    grow(&m, 512 * GM_CHUNK_PAGES, 80 * GM_CHUNK_PAGES);
    check_step(&m);
    expect_eq(gm_pageindex_find(&m.ix, 3 * GM_CHUNK_PAGES + 1, 1), 8 * GM_CHUNK_PAGES);
    expect_eq(gm_pageindex_find(&m.ix, 70 * GM_CHUNK_PAGES + 1, 1), 512 * GM_CHUNK_PAGES);
    expect_eq(gm_pageindex_find(&m.ix, 80 * GM_CHUNK_PAGES + 1, 1), GM_NO_PAGE);
}

/* -- Broken callers ----------------------------------------------------------------------------- */

TEST(contradictions_end_the_process) {
    struct model m;
    model_init(&m, 20, 7);
    grow(&m, 0, 10 * GM_CHUNK_PAGES);
    take(&m, 100, 300);
    expect_dies(SIGABRT, NULL, gm_pageindex_take(&m.ix, 99, 2));
    expect_dies(SIGABRT, NULL, gm_pageindex_take(&m.ix, 399, 2));
    expect_dies(SIGABRT, NULL, gm_pageindex_take(&m.ix, 10 * GM_CHUNK_PAGES - 1, 2));
    expect_dies(SIGABRT, NULL, gm_pageindex_give(&m.ix, 99, 2, false));
    expect_dies(SIGABRT, NULL, gm_pageindex_give(&m.ix, 399, 2, true));
    expect_dies(SIGABRT, NULL, gm_pageindex_give(&m.ix, 15 * GM_CHUNK_PAGES, 1, true));
    expect_dies(SIGABRT, NULL, gm_pageindex_give(&m.ix, 100, SIZE_MAX, true));
    expect_dies(SIGABRT, NULL, gm_pageindex_grow(&m.ix, 20 * GM_CHUNK_PAGES - 1, 2));
    expect_dies(SIGABRT, NULL, gm_pageindex_grow(&m.ix, 0, 1));
    expect_dies(SIGABRT, NULL, gm_pageindex_mark_zero(&m.ix, 100, 1));
    gm_pageindex_verify(&m.ix);
}

TEST(verify_notices) {
    struct model m;
    model_init(&m, 600, 8);
    grow(&m, 0, m.pages);
    take(&m, 0, 1000);
    expect_dies(SIGABRT, NULL, (m.ix.free_pages++, gm_pageindex_verify(&m.ix)));
    expect_dies(SIGABRT, NULL, (m.ix.zero_pages--, gm_pageindex_verify(&m.ix)));
    expect_dies(SIGABRT, NULL, (m.ix.search_from++, gm_pageindex_verify(&m.ix)));
    expect_dies(SIGABRT, NULL, (m.ix.bits[0].zero[0]++, gm_pageindex_verify(&m.ix)));
    expect_dies(SIGABRT, NULL, (m.ix.level[0][599].end--, gm_pageindex_verify(&m.ix)));
    expect_dies(SIGABRT, NULL, (m.ix.level[2][1].start--, gm_pageindex_verify(&m.ix)));
    expect_dies(SIGABRT, NULL, (m.ix.level[m.ix.levels - 1][0].max--, gm_pageindex_verify(&m.ix)));
    gm_pageindex_verify(&m.ix);
}

TEST_MAIN()
