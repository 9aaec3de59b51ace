/* Words that point into the primary arena, from when a worker finds them until what they point to is marked, and grey if it was
 * not: a queue of each worker's own. See mark.c for why things are done in groups. */
#ifndef GC_WORDS_H
#define GC_WORDS_H

#include "gc/granules.h"
#include "gc/work.h"

/* An entry is the start of a slot that has a bit in gc_granules and was marked, with its class; or one of these, as no address
 * has the high bits. */
enum { CLASS_SHIFT = 48, WORD_BIT = 62 };
#define PIECE_ENTRY (UINT64_C(1) << 63)       /* where a piece of a marked object begins: its start, for example */
#define WORD_ENTRY (UINT64_C(1) << WORD_BIT)  /* any word that points into the primary arena, but to none of those slots */
#define ROOT_ENTRY (UINT64_C(1) << 61)        /* any word that points into the primary arena */
static inline bool is_plain(uintptr_t entry) { return entry >> 61 == 0; }
static inline uintptr_t address_of(uintptr_t entry) { return entry & gm_mask(0, CLASS_SHIFT); }

enum { GC_WORDS_GROUP = 8, GC_WORDS_AT_ONCE = 32, GC_WORDS_MAX = 256 };

/* Words that point into the primary arena, in the order they were found: first those whose bits have been asked for. Of these,
 * `word` is what is to be grey if `bit` is set. */
struct gc_words {
    size_t n, marked, asked;     /* [0, marked) are done with, [marked, asked) asked for, [asked, n) new */
    uintptr_t word[GC_WORDS_MAX];
    uint64_t bit[GC_WORDS_MAX];
};

/* The even number of words [p, end), at most GC_WORDS_AT_ONCE: those that lie in [base, base + limit) join the queue. */
static inline void gc_words_filter(struct gc_words *q, const uintptr_t *p, const uintptr_t *end, uintptr_t base, uintptr_t limit) {
    size_t n = q->n;
    for (; p < end; p += 2) {
        uintptr_t first = gm_load_relaxed(p), second = gm_load_relaxed(p + 1);
        q->word[n] = first;
        n += first - base < limit;
        q->word[n] = second;
        n += second - base < limit;
    }
    q->n = n;
}

/* Of a line that will be written: without that another worker's copy would be taken away only then. The compiler says so on no
 * x86-64 unless told that every processor knows the instruction; those that do not, pass over it. */
GM_INLINE void prefetch_own(const uint64_t *p) {
#if defined(__x86_64__)
    __asm__("prefetchw %0" : : "m"(*p));
#else
    __builtin_prefetch(p, 1);
#endif
}

/* Takes a group of words to the slots they point into, or makes them entries to be looked up, and asks for their bits. */
GM_INLINE void gc_words_ask(uintptr_t base, uint64_t spare, uintptr_t *word, uint64_t *at) {
    #pragma GCC unroll 8
    for (unsigned i = 0; i < GC_WORDS_GROUP; i++) {
        uintptr_t p = word[i], page = (p - base) >> GM_PAGE_SHIFT;
        unsigned record = gm_load_relaxed(&gc_granules.page[page]), cls = record & ((1 << GC_GRANULES_PAGE_SHIFT) - 1);
        const struct gc_granule_class *c = &gc_granules.cls[cls];
        uintptr_t start = (p & ~(uintptr_t)(GM_PAGE_SIZE - 1)) - ((uintptr_t)(record >> GC_GRANULES_PAGE_SHIFT) << GM_PAGE_SHIFT);
        start += ((p - start) * c->reciprocal >> 32) * c->size;
        uint64_t bit = c->first + (start >> c->shift);
        word[i] = cls ? start | (uintptr_t)cls << CLASS_SHIFT : p | WORD_ENTRY;
        at[i] = bit = cls ? bit : spare;
        prefetch_own(&gc_granules.unmarked[bit >> 6]);
    }
}

/* Marks what `count` of the words point to; what had no mark turns grey. No other worker is there. */
static inline void gc_words_mark_alone(struct gc_buffer *grey, const uintptr_t *word, const uint64_t *at, size_t count) {
    size_t n = grey->n;
    #pragma GCC unroll 8
    for (size_t i = 0; i < count; i++) {
        uint64_t *bits = &gc_granules.unmarked[at[i] >> 6], before = gm_load_relaxed(bits);
        gm_store_relaxed(bits, before & ~(UINT64_C(1) << (at[i] & 63)));
        grey->entry[n] = word[i]; /* there is room for all of them, and one more */
        n += (before >> (at[i] & 63) | word[i] >> WORD_BIT) & 1;
    }
    grey->n = n;
}

/* The same beside others: what is unmarked at a look first, then one locked instruction for each of those. Relaxed: a mark
 * guards nothing but itself (mark.c). */
static inline void gc_words_mark_beside_others(struct gc_buffer *grey, uintptr_t *word, uint64_t *at, size_t count) {
    size_t n = grey->n, unmarked = 0;
    #pragma GCC unroll 8
    for (size_t i = 0; i < count; i++) {
        uintptr_t p = word[i];
        uint64_t bit = at[i], before = gm_load_relaxed(&gc_granules.unmarked[bit >> 6]);
        word[unmarked] = p;
        at[unmarked] = bit;
        unmarked += (before >> (bit & 63) | p >> WORD_BIT) & 1;
    }
    for (size_t i = 0; i < unmarked; i++) {
        uint64_t bit = UINT64_C(1) << (at[i] & 63);
        uint64_t before = __atomic_fetch_and(&gc_granules.unmarked[at[i] >> 6], ~bit, __ATOMIC_RELAXED);
        grey->entry[n] = word[i];
        n += (before >> (at[i] & 63) | word[i] >> WORD_BIT) & 1;
    }
    grey->n = n;
}

/* What is done with makes way. */
static void gc_words_make_room(struct gc_words *q) {
    size_t n = q->n - q->marked;
    for (size_t i = 0; i < n; i++) {
        q->word[i] = q->word[q->marked + i];
        q->bit[i] = q->bit[q->marked + i];
    }
    q->asked -= q->marked;
    q->marked = 0;
    q->n = n;
}

#endif
