/* Words that wait for their marks: a worker has two batches of them, one that fills and one whose marks are on their way from
 * memory. Words of the primary arena only. For their worker alone; see mark.c. */
#ifndef GC_BATCH_H
#define GC_BATCH_H

#include "gc/work.h"
#include "libgomalloc/base/atomic.h"
#include "libgomalloc/gcview.h"

enum { GC_BATCH_FULL = 64, GC_BATCH_ROOM = 32 }; /* words; how many may join before a look whether it is full */

struct gc_batch {
    size_t n, prefetched;        /* those before have had their marks prefetched */
    uintptr_t word[GC_BATCH_FULL + GC_BATCH_ROOM];
};

/* The word of marks for the granule that an address of the primary arena lies in. `biased`: the table's address less that of the
 * word for address 0; the arena is aligned to more than a word speaks for, so no base need be subtracted. */
enum { GC_MARK_WORD_SHIFT = GM_STATE_SHIFT + 6 };
GM_INLINE uint64_t *gc_batch_mark(uintptr_t biased, uintptr_t p) { return (uint64_t *)(biased + (p >> GC_MARK_WORD_SHIFT << 3)); }
/* Which of its bits. */
GM_INLINE unsigned gc_batch_bit(uintptr_t p) { return p >> GM_STATE_SHIFT & 63; }

GM_INLINE void gc_batch_clear(struct gc_batch *b) { b->n = b->prefetched = 0; }

/* Of the even number of words [p, end), at most GC_BATCH_ROOM, those that lie in [base, base + limit) join. */
GM_INLINE void gc_batch_filter(struct gc_batch *b, const uintptr_t *p, const uintptr_t *end, uintptr_t base, uintptr_t limit) {
    size_t n = b->n;
    for (; p < end; p += 2) {
        uintptr_t first = gm_load_relaxed(p), second = gm_load_relaxed(p + 1);
        b->word[n] = first;
        n += first - base < limit;
        b->word[n] = second;
        n += second - base < limit;
    }
    b->n = n;
}

/* The marks of the next two words, which need not be there. As many as an object has on average: what is asked for in a burst
 * is dropped by the processor, which has some 24 lines on their way at once. */
GM_INLINE void gc_batch_prefetch_some(struct gc_batch *b, uintptr_t biased) {
    size_t k = b->prefetched;
    __builtin_prefetch(gc_batch_mark(biased, b->word[k]), 1);
    __builtin_prefetch(gc_batch_mark(biased, b->word[k + 1]), 1);
    b->prefetched = k + 2 < b->n ? k + 2 : b->n;
}
GM_INLINE void gc_batch_prefetch_rest(const struct gc_batch *b, uintptr_t biased) {
    for (size_t i = b->prefetched; i < b->n; i++) __builtin_prefetch(gc_batch_mark(biased, b->word[i]), 1);
}

/* Sets the marks; words whose mark was not set turn grey. `grey` has room for all of them and one more. No other worker is there.
 * Relaxed, here and below: a mark guards nothing but itself. */
GM_INLINE void gc_batch_settle_alone(const struct gc_batch *b, struct gc_buffer *grey, uintptr_t biased) {
    size_t n = grey->n;
    for (size_t i = 0; i < b->n; i++) {
        uintptr_t word = b->word[i];
        unsigned bit = gc_batch_bit(word);
        uint64_t *at = gc_batch_mark(biased, word), marks = gm_load_relaxed(at);
        gm_store_relaxed(at, marks | UINT64_C(1) << bit);
        grey->entry[n] = word;
        n += ~marks >> bit & 1;
    }
    grey->n = n;
}

/* The same beside others: what is unmarked at a look first, then one locked instruction for each of those. */
GM_INLINE void gc_batch_settle(struct gc_batch *b, struct gc_buffer *grey, uintptr_t biased) {
    size_t n = grey->n, unmarked = 0;
    for (size_t i = 0; i < b->n; i++) {
        uintptr_t word = b->word[i];
        bool marked = gm_load_relaxed(gc_batch_mark(biased, word)) >> gc_batch_bit(word) & 1;
        b->word[unmarked] = word;
        unmarked += !marked;
    }
    for (size_t i = 0; i < unmarked; i++) {
        uintptr_t word = b->word[i];
        uint64_t bit = UINT64_C(1) << gc_batch_bit(word);
        grey->entry[n] = word;
        n += !(__atomic_fetch_or(gc_batch_mark(biased, word), bit, __ATOMIC_RELAXED) & bit);
    }
    grey->n = n;
}

#endif
