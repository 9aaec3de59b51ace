/* A model of the page index that keeps one byte a page and looks at all of them, and steps that do the same to both. */
#ifndef TESTS_UNIT_PAGEINDEX_MODEL_H
#define TESTS_UNIT_PAGEINDEX_MODEL_H

#include "libgomalloc/base/check.h"
#include "libgomalloc/pageindex.h"
#include "tests/check.h"

enum page_state { UNKNOWN, USED, DIRTY, ZERO }; /* the last two are free */

struct model {
    struct gm_pageindex ix;
    struct gm_pageindex_small small;
    uint8_t *page;
    size_t pages, end; /* capacity; pages from `end` on are unknown */
    size_t free_pages, zero_pages;
    struct check_rng rng;
};

static inline void model_init(struct model *m, size_t chunks, unsigned stream) {
    struct gm_pagebits *bits = aligned_alloc(64, chunks * sizeof *bits);
    void *summaries = calloc(1, gm_pageindex_bytes(chunks));
    memset(bits, 0, chunks * sizeof *bits);
    *m = (struct model){.pages = chunks * GM_CHUNK_PAGES, .rng = check_rng(stream)};
    m->page = calloc(m->pages, 1);
    gm_pageindex_init(&m->ix, chunks, bits, summaries);
    if (stream % 2) gm_pageindex_start_small(&m->ix, &m->small); /* a start in either place */
}

static inline void model_free(struct model *m) {
    free(m->ix.all_bits);
    free(m->ix.summaries);
    free(m->page);
}

static size_t below(struct model *m, size_t n) { return check_below(&m->rng, n); }

/* -- What the model answers --------------------------------------------------------------------- */

static inline size_t naive_find(const struct model *m, size_t n, size_t align) {
    for (size_t i = 0; i < m->end;) {
        size_t first = i;
        while (i < m->end && m->page[i] >= DIRTY)
            i++;
        size_t start = gm_align_up(first, align);
        if (start < i && i - start >= n)
            return start;
        i++;
    }
    return GM_NO_PAGE;
}

static inline size_t naive_run(const struct model *m, size_t page, size_t limit) {
    size_t i = page;
    while (i < m->end && i - page < limit && m->page[i] >= DIRTY)
        i++;
    return i - page;
}

static inline size_t naive_next_dirty(const struct model *m, size_t below_page, size_t limit, size_t *page) {
    size_t end = gm_min(below_page, m->end), n = 0;
    while (end > 0 && m->page[end - 1] != DIRTY)
        end--;
    while (n < end && n < limit && m->page[end - 1 - n] == DIRTY)
        n++;
    *page = end - n;
    return n;
}

/* -- Steps: each does the same to both ---------------------------------------------------------- */

static inline void grow(struct model *m, size_t page, size_t n) {
    memset(m->page + page, ZERO, n);
    m->end = gm_max(m->end, page + n);
    m->free_pages += n;
    m->zero_pages += n;
    gm_pageindex_grow(&m->ix, page, n);
}

static inline bool take(struct model *m, size_t page, size_t n) {
    size_t zeros = 0;
    for (size_t i = page; i < page + n; i++)
        zeros += m->page[i] == ZERO;
    memset(m->page + page, USED, n);
    m->free_pages -= n;
    m->zero_pages -= zeros;
    return expect_eq(gm_pageindex_take(&m->ix, page, n), zeros);
}

static inline void give(struct model *m, size_t page, size_t n, bool zero) {
    memset(m->page + page, zero ? ZERO : DIRTY, n);
    m->free_pages += n;
    m->zero_pages += zero ? n : 0;
    gm_pageindex_give(&m->ix, page, n, zero);
}

static inline void mark_zero(struct model *m, size_t page, size_t n) {
    for (size_t i = page; i < page + n; i++) {
        m->zero_pages += m->page[i] == DIRTY;
        m->page[i] = ZERO;
    }
    gm_pageindex_mark_zero(&m->ix, page, n);
}

static inline bool check_step(const struct model *m) {
    gm_pageindex_verify(&m->ix);
    return expect_eq(m->ix.free_pages, m->free_pages) && expect_eq(m->ix.zero_pages, m->zero_pages);
}

#endif
