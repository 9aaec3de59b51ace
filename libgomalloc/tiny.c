/* The tiny allocator: pointer-free objects below 16 bytes share a 16-byte block (Go's tinyalloc).
 * Reached through the API only (gogc_malloc_noscan), because only the caller knows that there are no
 * pointers inside. See malloc.c for the overview.
 *
 * Each thread fills one open block after another; objects are aligned to 8, 4, 2 or 1 as their size is
 * a multiple of it. Unlike Go, C frees objects one by one, so each block has a word in the span's side
 * table: bit i of its low half, an object starts at byte i and lives; bit i of its high half, an
 * object (living or dead) ends with byte i. The word tells double frees and usable sizes exactly.
 *
 *   - The block's owner keeps a bit of its own set while the block is open: the start bit at its next
 *     free byte, which the next object takes over. When no start bit is left, the block goes home.
 *   - Bits are changed by atomic or/and: the owner adds objects while others free theirs. */
#include "libgomalloc/base/bits.h"
#include "libgomalloc/base/check.h"
#include "libgomalloc/base/lock.h"
#include "libgomalloc/central.h"
#include "libgomalloc/front.h"
#include "libgomalloc/heap.h"
#include "libgomalloc/nested.h"

enum { BLOCK = 16, STARTS = 0xffff };

static struct gm_lock tiny_lock = GM_LOCK_INIT(GM_RANK_TINY);
static struct gm_span *current; /* blocks are taken from it (tiny lock) */

static uint32_t *word_of(const struct gm_span *s, uintptr_t p) {
    return (uint32_t *)s->side + ((p - s->start) / BLOCK);
}
static struct gm_span *span_at(uintptr_t p) { return gm_span_of(gm_arena_of((void *)p), p); }

void gm_tiny_fork_lock(void) { gm_lock(&tiny_lock); }
void gm_tiny_fork_unlock(void) { gm_unlock(&tiny_lock); }

/* A block that is not at home has a state for the collector: "odd", see the page entry. */
static void set_state(const struct gm_span *s, uintptr_t block, uint8_t state) {
    gm_store_relaxed(gm_arena_state_of(s->arena, block), state);
}

/* A block with the start bit at its first byte set, or 0. */
static uintptr_t new_block(void) {
    void *block = NULL;
    gm_lock(&tiny_lock);
    if (!current || gm_span_take(current, &block, 1) == 0) {
        /* The full span stays as it is; its blocks come home one by one, the last frees it. */
        if (current) current->place = GM_PLACE_FULL;
        current = gm_central_odd_span(GM_CLASS_16, GM_SPAN_TINY);
        if (current) gm_span_take(current, &block, 1);
    }
    struct gm_span *s = current;
    if (block) gm_store_relaxed(word_of(s, (uintptr_t)block), 1);
    gm_unlock(&tiny_lock);
    if (block) set_state(s, (uintptr_t)block, (uint8_t)(GM_CLASS_8 | gm_load_relaxed(&gm_colour)));
    return (uintptr_t)block;
}

static void block_home(struct gm_span *s, uintptr_t block) {
    gm_lock(&tiny_lock);
    bool empty = gm_span_give_one(s, block) == s->nslots && s != current;
    gm_unlock(&tiny_lock);
    if (empty) gm_central_odd_gone(s);
}

/* Clears one start bit; true if it was set. The last one sends the block home. */
static bool drop(struct gm_span *s, uintptr_t p) {
    uint32_t bit = 1u << (p % BLOCK), before;
    /* acq_rel: whoever drops the last bit gives the block away, after all others are done with it. */
    before = __atomic_fetch_and(word_of(s, p), ~bit, __ATOMIC_ACQ_REL);
    if (!(before & bit)) return false;
    if ((before & STARTS & ~bit) == 0) {
        uintptr_t block = gm_align_down(p, BLOCK);
        set_state(s, block, 0);
        block_home(s, block);
    }
    return true;
}

void gm_tiny_reclaim(struct gm_span *s, uintptr_t block) {
    gm_store_relaxed(word_of(s, block), 0);
    block_home(s, block);
}

static void close_block(struct gm_cache *c) {
    if (c->tiny_next < c->tiny_end) drop(span_at(c->tiny_next), c->tiny_next);
    c->tiny_next = c->tiny_end = 0;
}

static uintptr_t natural_alignment(size_t n) { return n % 8 == 0 ? 8 : n % 4 == 0 ? 4 : n % 2 == 0 ? 2 : 1; }

void *gm_alloc_tiny(size_t n) {
    GM_ASSERT(n < BLOCK);
    if (n == 0) n = 1;
    if (gm_nested()) return gm_nested_alloc(n);
    gm_init_once();
    struct gm_cache *c = gm_cache_get();
    if (!c) return gm_alloc(n);
    uintptr_t p = gm_align_up(c->tiny_next, natural_alignment(n));
    if (c->tiny_next == 0 || p + n > c->tiny_end) {
        close_block(c);
        gm_store_relaxed(&gm_cache_close_tiny, close_block); /* idempotent */
        p = new_block();
        if (p == 0) return gm_alloc(n);
        c->tiny_next = p;
        c->tiny_end = p + BLOCK;
    }
    uint32_t *word = word_of(span_at(p), p), add = 1u << (p % BLOCK) | 1u << (16 + (p + n - 1) % BLOCK);
    if (p + n < c->tiny_end) add |= 1u << ((p + n) % BLOCK); /* ours: keeps the block open */
    __atomic_fetch_or(word, add, __ATOMIC_RELAXED);
    /* Alignment may have skipped bytes: the bit at the old place would never be dropped. */
    if (p != c->tiny_next) __atomic_fetch_and(word, ~(1u << (c->tiny_next % BLOCK)), __ATOMIC_RELAXED);
    c->tiny_next = p + n;
    return (void *)p;
}

size_t gm_tiny_usable(const struct gm_span *s, uintptr_t p) {
    uint32_t word = gm_load_relaxed(word_of(s, p)), at = p % BLOCK;
    uint32_t ends = word >> 16 >> at;
    return (word >> at & 1) && ends ? gm_low_bit(ends) + 1 : 0;
}

bool gm_tiny_free(struct gm_span *s, uintptr_t p) { return drop(s, p); }
