/* Address space: where the heap lies, and the way from an address to what is known of it.
 *
 * The primary arena is one reservation of (usually) 256 GiB. Beside its heap range lie three tables
 * over the whole range: the page table, 8 bytes per 8 KiB page, and the slot states, one byte per 16
 * bytes of heap and two per KiB. Only what the heap has grown to is readable; `limit16` says how far that is.
 *
 * A slot's state byte stands at its first 16 bytes: 0 while it is free (or is no start of a slot
 * at all), else its size class and the colour with which it was born. free() therefore needs no
 * page lookup: one load gives class, double free and interior pointer at once (malloc.c, essay).
 *
 * Slots above 1 KiB have their states in the second table: at most one of them starts in any KiB, and the
 * word's high byte says where in it, in units of 16 bytes. The first table is 0 over them, and not written.
 *
 * When the reservation is exhausted or cannot be had (RLIMIT_AS), further arenas of 64 MiB or more
 * come from anywhere; a sparse map, indexed by address / 64 MiB, finds them. They are served by the
 * slow paths only: correct, not fast. */
#ifndef GM_ARENA_H
#define GM_ARENA_H

#include "libgomalloc/base/atomic.h"
#include "libgomalloc/pageindex.h"
#include "libgomalloc/sizeclass.h"

#define GM_ARENA_SHIFT 26
#define GM_ARENA_SIZE ((size_t)1 << GM_ARENA_SHIFT)
#define GM_STATE_SHIFT 4             /* one state byte per 16 bytes */

#define GM_STATE_CLASS  0x7f         /* of a state byte: size class, 0 = free */
#define GM_STATE_COLOUR 0x80
#define GM_STATE_MEDIUM_SHIFT 10     /* for slots above 1 KiB: a word per KiB */

struct gm_span;

struct gm_arena {
    uintptr_t base;                  /* aligned to 64 MiB */
    size_t size;                     /* reserved */
    size_t committed;                /* ready memory from base on; changes under the heap lock */
    size_t grown;                    /* the most that `committed` has been: pages the index knows */
    uint8_t *state;                  /* of base; readable for `committed` bytes of heap */
    uint16_t *medium;                /* likewise, states of slots above 1 KiB; that of base is the word before it */
    uint64_t *pages;                 /* of base; likewise */
    uint64_t *marks;                 /* a bit per 16 bytes of `size`, for the collector; NULL without it */
    struct gm_pageindex index;       /* guarded by the heap lock */
    size_t index_bytes;              /* of its memory, for the size reserved at first */
    struct gm_arena *next;           /* list of all but the primary */
};

/* What the fast paths read, in one cache line; written under the heap lock when the heap grows. */
struct gm_space {
    uintptr_t base16;                /* base >> 4 */
    uintptr_t limit16;               /* committed >> 4: 0 until the heap exists */
    uintptr_t free_limit16;          /* the same; 0 while free() is ignored (hooks.h), so that all frees go the slow way */
    uint8_t *state;                  /* state byte of base */
    uint8_t *state_bias;             /* state - base16: state_bias[p >> 4] */
    uint16_t *medium;                /* word behind that of base */
    struct gm_arena primary;
    struct gm_pageindex_small small_index; /* the primary's, while it is small (a sparse arena's tables are small) */
} GM_ALIGNED(64);
extern GM_HIDDEN struct gm_space gm_space;

/* The colour bit of objects born now: a copy stands in each cache. Changes while the collector holds the world. */
extern GM_HIDDEN uint8_t gm_colour;

/* Keeps an object's address in a register or on the stack up to this point, where the collector sees it:
 * whoever is about to change an object's state and otherwise holds only its record says so. */
GM_INLINE void gm_gc_keep(uintptr_t p) { __asm__ volatile("" : : "r"(p) : "memory"); }

/* Page table entry: the span's record (64-aligned), which page of a small span this is (bits 0-5), how the
 * collector treats it (bits 48-50) and its class (bits 56-63; 0: large). Written with release under the heap lock, read anywhere.
 * A large span has entries for the pages up to the end of its first chunk and for the first page
 * of every further chunk, no others: a 1 GiB object costs 768 entries, not 131072. */
#define GM_ENTRY_FREED 1u            /* a large object, or a slot with a span to itself, started here and was freed */
#define GM_ENTRY_NOSCAN        (UINT64_C(1) << 48) /* holds no pointers */
#define GM_ENTRY_UNCOLLECTABLE (UINT64_C(1) << 49) /* its live slots are roots */
#define GM_ENTRY_TINY          (UINT64_C(1) << 50) /* slots are blocks of tiny objects */
#define GM_ENTRY_TREATMENT     (GM_ENTRY_NOSCAN | GM_ENTRY_UNCOLLECTABLE | GM_ENTRY_TINY)
GM_INLINE uint64_t gm_entry_make(struct gm_span *s, unsigned page, unsigned cls, uint64_t treatment) {
    return (uint64_t)(uintptr_t)s | page | treatment | (uint64_t)cls << 56;
}
GM_INLINE struct gm_span *gm_entry_span(uint64_t e) { return (struct gm_span *)(uintptr_t)(e & 0x0000ffffffffffc0u); }
GM_INLINE unsigned gm_entry_page(uint64_t e) { return e & 63; }
/* How far from the start of its small span p lies, by its page's entry. The record need not be looked at. */
GM_INLINE uintptr_t gm_entry_offset(uint64_t e, uintptr_t p) { return (uintptr_t)gm_entry_page(e) << GM_PAGE_SHIFT | (p & (GM_PAGE_SIZE - 1)); }
GM_INLINE unsigned gm_entry_class(uint64_t e) { return (unsigned)(e >> 56); }

/* Reserves the primary arena. False if not even a small one can be had (then only others exist). */
bool gm_arena_init(void);
/* The arena whose committed part holds p, or NULL. Any address; touches no unknown memory. */
struct gm_arena *gm_arena_of(const void *p);
/* The same for an address that is not in the primary. */
struct gm_arena *gm_arena_of_sparse(uintptr_t p);
/* More ready memory at the end of the committed part (heap lock). `bytes`: multiple of 64 KiB. */
bool gm_arena_commit(struct gm_arena *a, size_t bytes);
/* The reverse, for processes at their limits: the last `bytes`, whose pages are taken out of the index,
 * become reserved again. */
bool gm_arena_uncommit(struct gm_arena *a, size_t bytes);
/* Unmaps an arena other than the primary in which nothing is left (heap lock). */
void gm_arena_drop(struct gm_arena *a);
/* A further arena with room for `bytes` (heap lock); NULL if none can be had. */
struct gm_arena *gm_arena_new(size_t bytes);
/* Gives back reserved but uncommitted address space beyond `keep` bytes (heap lock). */
void gm_arena_shrink(struct gm_arena *a, size_t keep);
/* A mark bitmap for every arena, those to come included. `shared`: shared with children made by clone. False:
 * no memory for it (heap lock). */
bool gm_arena_make_marks(bool shared);
/* The same again, empty; for a child that has its parent's (heap lock). */
bool gm_arena_renew_marks(void);
/* Clears them. Not while anybody marks or sweeps; the arena stays. */
void gm_arena_clear_marks(struct gm_arena *a);
/* From now on the primary's tables that a marker reads at random ask for huge pages, where the heap is large (heap lock). */
void gm_arena_huge_tables(void);
/* The i-th huge page of its states, if there are so many (heap lock); else NULL. */
void *gm_arena_huge_state(size_t i);
/* The arena's tables, which end where its heap starts. */
GM_INLINE uintptr_t gm_arena_tables(const struct gm_arena *a) { return (uintptr_t)a->index.all_bits; }
/* Bytes of tables (states, page entries, bitmaps) in use, estimated: the states of pages that
 * are not backed are not either. */
size_t gm_arena_table_bytes(const struct gm_arena *a);

/* Walks all arenas: gm_arena_next(NULL) is the primary. */
extern GM_HIDDEN struct gm_arena *gm_sparse_arenas;
GM_INLINE struct gm_arena *gm_arena_next(struct gm_arena *a) {
    if (!a) return &gm_space.primary;
    return a == &gm_space.primary ? gm_load_acquire(&gm_sparse_arenas) : a->next;
}

/* Where the lowest of a's tables beside the index begins. */
GM_INLINE uintptr_t gm_arena_low(const struct gm_arena *a) { return (uintptr_t)(a->medium - (a->size >> GM_STATE_MEDIUM_SHIFT)); }
GM_INLINE size_t gm_arena_page_of(const struct gm_arena *a, uintptr_t p) { return (p - a->base) >> GM_PAGE_SHIFT; }
GM_INLINE uint8_t *gm_arena_state_of(const struct gm_arena *a, uintptr_t p) { /* of a slot up to 1 KiB */
    return a->state + ((p - a->base) >> GM_STATE_SHIFT);
}
GM_INLINE uint16_t *gm_arena_medium_of(const struct gm_arena *a, uintptr_t p) { /* above */
    return a->medium - 1 - ((p - a->base) >> GM_STATE_MEDIUM_SHIFT);
}
/* A medium slot's word with state 0, but for which the word is 0: where in its KiB it starts. */
#define GM_MEDIUM_PLACE(p) ((uint16_t)(((uintptr_t)(p) >> GM_STATE_SHIFT & 63) << 8))

/* The same in the primary arena, as the hit paths reckon: where p's states are, counted in 16 bytes from base. */
GM_INLINE uintptr_t gm_index16(const void *p) { return ((uintptr_t)p >> GM_STATE_SHIFT) - gm_space.base16; }
/* Rotated, so that one comparison (with limit16) refuses what is outside the heap, what is not a multiple of 16, and NULL. */
GM_INLINE uintptr_t gm_index16_checked(const void *p) {
    return ((uintptr_t)p >> GM_STATE_SHIFT | (uintptr_t)p << (64 - GM_STATE_SHIFT)) - gm_space.base16;
}
GM_INLINE uint16_t *gm_medium_at(uintptr_t i) { return &gm_space.medium[~(intptr_t)(i >> (GM_STATE_MEDIUM_SHIFT - GM_STATE_SHIFT))]; }
/* The class of the live slot above 1 KiB that starts there, by its word; 0: there is none. */
GM_INLINE size_t gm_medium_class(uintptr_t i, const uint16_t *word) {
    size_t state = gm_load_relaxed(word) ^ (i & 63) << 8;
    return state <= UINT8_MAX ? state & GM_STATE_CLASS : 0;
}

/* The state of the slot of class cls (not 8) that starts at p: what it is, and made what is said. */
GM_INLINE uint8_t gm_state_get(const struct gm_arena *a, uintptr_t p, unsigned cls) {
    /* acquire: who finds an object alive sees what was done before it came to life. */
    if (cls < GM_FIRST_MEDIUM) return gm_load_acquire(gm_arena_state_of(a, p));
    uint16_t word = (uint16_t)(gm_load_acquire(gm_arena_medium_of(a, p)) ^ GM_MEDIUM_PLACE(p));
    return word <= UINT8_MAX ? (uint8_t)word : 0;
}
GM_INLINE void gm_state_set(const struct gm_arena *a, uintptr_t p, unsigned cls, uint8_t state) {
    if (cls < GM_FIRST_MEDIUM) gm_store_relaxed(gm_arena_state_of(a, p), state);
    else gm_store_relaxed(gm_arena_medium_of(a, p), state ? (uint16_t)(GM_MEDIUM_PLACE(p) | state) : 0);
}
/* If it is *expected; else *expected is what it is. Both are live. */
GM_INLINE bool gm_state_cas(const struct gm_arena *a, uintptr_t p, unsigned cls, uint8_t *expected, uint8_t state) {
    if (cls < GM_FIRST_MEDIUM) return gm_cas_acq_rel(gm_arena_state_of(a, p), expected, state);
    uint16_t word = (uint16_t)(GM_MEDIUM_PLACE(p) | *expected);
    if (gm_cas_acq_rel(gm_arena_medium_of(a, p), &word, (uint16_t)(GM_MEDIUM_PLACE(p) | state))) return true;
    *expected = (uint8_t)word;
    return false;
}

#endif
