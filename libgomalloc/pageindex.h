/* Finds n free pages at the lowest address among all chunks: a summary tree over the page bitmaps.
 *
 * Each node of the tree says of its range of pages: how many are free at its start, the longest run
 * inside, how many at its end (Go's mpallocSum). Fan-out 8; a search walks down from the root and
 * looks at a bitmap only at the end. Runs may cross chunks. Free neighbours coalesce by themselves:
 * they are just adjacent bits.
 *
 * Page numbers count from the start of the heap's reservation. No locking inside: the caller holds
 * the heap lock. No memory is allocated: the caller provides it, zeroed and untouched pages are fine
 * (zero means: nothing free), and only parts that belong to grown chunks are ever touched. */
#ifndef GM_PAGEINDEX_H
#define GM_PAGEINDEX_H

#include "libgomalloc/pagebits.h"

#define GM_NO_PAGE SIZE_MAX
#define GM_PAGEINDEX_LEVELS 7 /* 8^7 chunks of 2 MiB: 4 TiB */

struct gm_pagesum {
    uint32_t start, max, end; /* free pages at the start, longest run, at the end */
    uint32_t freed : 30;      /* level 0: when a page of the chunk was last freed, 0: never; the heap's, not the index's */
    uint32_t huge : 2;        /* level 0: likewise (huge.c) */
};

/* Its times: nanoseconds shifted by this (17 ms), modulo the mask. */
enum { GM_FREED_SHIFT = 24, GM_FREED_MASK = (1 << 30) - 1 };

struct gm_pageindex {
    struct gm_pagebits *bits;                       /* one per chunk */
    struct gm_pagesum *level[GM_PAGEINDEX_LEVELS];  /* level[0]: one per chunk; above: one per 8 below */
    unsigned levels;                                /* in use; the top one has at most 8 nodes */
    size_t chunks;                                  /* capacity */
    size_t grown;                                   /* chunks below this number may hold free pages */
    size_t search_from;                             /* no page below this one is free */
    size_t free_pages;                              /* pages with the free bit */
    size_t zero_pages;                              /* those of them with the zero bit as well */
    struct gm_pageindex_small *small;               /* where the nodes are now; NULL: in the memory given to init */
    void *summaries;                                /* that memory */
    struct gm_pagebits *all_bits;
};

/* The bits last: the heap touches as much of them as it has grown to. */
enum { GM_PAGEINDEX_SMALL = 64, GM_PAGEINDEX_SMALL_NODES = 64 + 8 + (GM_PAGEINDEX_LEVELS - 2) };
struct gm_pageindex_small {
    struct gm_pagesum nodes[GM_PAGEINDEX_SMALL_NODES];
    struct gm_pagebits bits[GM_PAGEINDEX_SMALL];
};

/* Bytes of memory needed for all summaries of `chunks` chunks (the bitmaps not counted). */
size_t gm_pageindex_bytes(size_t chunks);
/* `bits` and `summaries`: zeroed memory for `chunks` chunks, kept by the index for good. */
void gm_pageindex_init(struct gm_pageindex *ix, size_t chunks, struct gm_pagebits *bits, void *summaries);
/* Follows init. Until the index grows beyond GM_PAGEINDEX_SMALL chunks its nodes live in `small`, which is
 * zeroed: there they lie side by side, while the first nodes of large tables cost a page of memory each. */
void gm_pageindex_start_small(struct gm_pageindex *ix, struct gm_pageindex_small *small);

/* Adds never-used pages: free and zero. They must not have been added before. */
void gm_pageindex_grow(struct gm_pageindex *ix, size_t page, size_t n);
/* Lowest run of n free pages that starts at a multiple of `align` pages (power of two; 1: anywhere);
 * GM_NO_PAGE if there is none. Where a great many runs are long enough but lie badly for the alignment,
 * the answer may be another such run than the lowest. Changes nothing but the hint search_from. */
size_t gm_pageindex_find(struct gm_pageindex *ix, size_t n, size_t align);
/* Free -> used. All of them are free (asserted). Returns how many had the zero bit; it is cleared. */
size_t gm_pageindex_take(struct gm_pageindex *ix, size_t page, size_t n);
/* Used -> free. `zero`: their contents are known to be zero and not resident. */
void gm_pageindex_give(struct gm_pageindex *ix, size_t page, size_t n, bool zero);
/* How many pages from `page` on are free, looking at no more than `limit` of them. */
size_t gm_pageindex_run(const struct gm_pageindex *ix, size_t page, size_t limit);

/* For giving memory back: the highest run of free pages without the zero bit below page `below` (pages
 * from there on do not count; SIZE_MAX: from the top), at most `limit` pages of it (its upper end).
 * Returns its length and stores its first page; 0 if there is none. */
size_t gm_pageindex_next_dirty(const struct gm_pageindex *ix, size_t below, size_t limit, size_t *page);
/* Free pages were given back: sets their zero bit (some may have it already). */
void gm_pageindex_mark_zero(struct gm_pageindex *ix, size_t page, size_t n);
/* The contrary: what is free of them is backed, its zero bit goes. */
void gm_pageindex_mark_backed(struct gm_pageindex *ix, size_t page, size_t n);

/* Debug: recomputes everything and checks it against what is stored. */
void gm_pageindex_verify(const struct gm_pageindex *ix);

#endif
