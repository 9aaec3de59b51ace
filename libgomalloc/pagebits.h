/* Which pages of one chunk are free: pure bit work on 256 pages of 8 KiB (2 MiB, one huge page).
 *
 * Two bits a page. `free`: in no span and usable. `zero`: known to read as zero and not backed by
 * memory, because it was never touched or was given back to the kernel. All-zero memory is the
 * state of a chunk that has not been grown yet: nothing in it is free. One cache line. */
#ifndef GM_PAGEBITS_H
#define GM_PAGEBITS_H

#include "libgomalloc/base/bits.h"

#define GM_PAGE_SHIFT 13
#define GM_PAGE_SIZE ((size_t)1 << GM_PAGE_SHIFT)
#define GM_CHUNK_SHIFT 21
#define GM_CHUNK_SIZE ((size_t)1 << GM_CHUNK_SHIFT)
#define GM_CHUNK_PAGES (GM_CHUNK_SIZE / GM_PAGE_SIZE)
#define GM_CHUNK_WORDS (GM_CHUNK_PAGES / 64)

struct gm_pagebits {
    uint64_t free[GM_CHUNK_WORDS];
    uint64_t zero[GM_CHUNK_WORDS];
} GM_ALIGNED(64);

/* Sets or clears bits [from, from + n) of one of the two bitmaps. */
void gm_pagebits_set(uint64_t *words, unsigned from, unsigned n);
void gm_pagebits_clear(uint64_t *words, unsigned from, unsigned n);
/* How many of bits [from, from + n) are set. */
unsigned gm_pagebits_count(const uint64_t *words, unsigned from, unsigned n);
/* Whether all of bits [from, from + n) are set, or none of them. */
bool gm_pagebits_all(const uint64_t *words, unsigned from, unsigned n);
bool gm_pagebits_none(const uint64_t *words, unsigned from, unsigned n);
/* How many bits are set without a gap from `from` on, up to the end of the chunk. */
unsigned gm_pagebits_run(const uint64_t *words, unsigned from);
/* First position of a run of n set bits at or after `from`; GM_CHUNK_PAGES if there is none. n in 1..256. */
unsigned gm_pagebits_find(const uint64_t *words, unsigned from, unsigned n);
/* Free pages at the start, longest run, and at the end: each 0..256. */
void gm_pagebits_summary(const struct gm_pagebits *b, unsigned *start, unsigned *max, unsigned *end);
/* The highest run of pages below `below` (0..256) that are free but not zero; pages from `below` on do
 * not count. Returns its length and stores its first page; 0 if there is none. */
unsigned gm_pagebits_last_dirty(const struct gm_pagebits *b, unsigned below, unsigned *first);

#endif
