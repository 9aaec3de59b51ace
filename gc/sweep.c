/* See sweep.h.
 *
 * A page's states are 512 bytes of the flat table, its marks 64 bytes of the bitmap: one byte of the bitmap
 * speaks for eight state bytes. So eight states are judged together by a few operations on a word and
 * changed by one compare-and-swap, whatever the class; nothing is known of spans, and none need stand still.
 * A word may hold the states of up to eight slots, and a free that stores one of them makes the exchange
 * fail: it is then judged again. Slots that were taken lie in one page, so in one span, and go home as one
 * batch. (Instead of a span's lock, or a look at its record: the batch finds its span by the slots, which the
 * sweeper owns by then, so the span is there.)
 *
 * What goes home is cleared. The next object in the slot may be one that its owner fills slowly or never, a buffer say,
 * and would keep alive whatever the dead one pointed to: one such word can hold a whole list of dead objects.
 *
 * The slots of a page above 1 KiB are at most eight: each has a word of its own.
 *
 * Pages are claimed in address order under a lock, some at a time; the sweep itself holds none. */
#include "gc/sweep.h"

#include <string.h>

#include "libgomalloc/base/atomic.h"
#include "libgomalloc/base/bits.h"
#include "libgomalloc/base/check.h"
#include "libgomalloc/base/lock.h"
#include "libgomalloc/gcview.h"
#include "libgomalloc/os/os.h"

enum { CLAIM_PAGES = 64, PAGE_SLOTS = GM_PAGE_SIZE / 8, PAGE_WORDS = GM_PAGE_SIZE / 16 / 8 };

static struct gm_lock lock = GM_LOCK_INIT(GM_RANK_SWEEP);
static struct {
    struct gm_arena *arena;   /* NULL: all pages are claimed (sweep lock) */
    size_t page;              /* next to claim (sweep lock) */
    bool pinned;              /* arenas are (sweep lock) */
    uint8_t white;            /* colour bit of what existed at the flip; constant during a sweep */
    uint32_t under_way;       /* claims not yet swept (sweep lock); futex word */
} next;
static struct gc_sweep_totals totals; /* atomic */

/* ---- one page */

#define LOW_BITS  UINT64_C(0x0101010101010101)
#define HIGH_BITS UINT64_C(0x8080808080808080)

/* 0x80 in each byte whose bit in `bits` is set. */
static inline uint64_t spread(uint8_t bits) {
    uint64_t picked = (bits * LOW_BITS) & UINT64_C(0x8040201008040201);
    return ((picked + ~HIGH_BITS) | picked) & HIGH_BITS;
}

struct page {
    struct gm_arena *arena;
    uintptr_t start;
    unsigned n;               /* slots taken */
    unsigned cls;             /* their class: of one page all are the same, but for odd ones */
    bool odd;                 /* the state of one or more says GM_CLASS_8 */
    struct gc_sweep_totals t;
    void *slot[PAGE_SLOTS];
};

/* Eight states at once: those of white slots that are marked (`recolour`) and that are not (`dead`), as 0x80 a byte. */
static inline uint64_t white_states(uint64_t w, uint8_t white) {
    return gm_gc_live_states(w) & (white ? w : ~w);
}

static inline void take_slots(struct page *p, unsigned word, uint64_t states, uint64_t dead) {
    for (; dead; dead &= dead - 1) {
        unsigned byte = gm_low_bit(dead) / 8;
        unsigned cls = states >> (byte * 8) & GM_STATE_CLASS;
        if (cls == GM_CLASS_8) p->odd = true;
        else p->cls = cls;
        p->slot[p->n++] = (void *)(p->start + (word * 8 + byte) * 16);
    }
}

static inline void sweep_word(struct page *p, uint64_t *at, unsigned word, uint8_t marks) {
    uint64_t states = gm_load_relaxed(at);
    for (;;) {
        uint64_t white = white_states(states, next.white);
        if (white == 0) return;
        uint64_t recolour = white & spread(marks), dead = white & ~recolour;
        uint64_t cleared = (dead >> 7) * 0xff;
        /* acquire: what the program did to an object comes before we give its slot away. */
        if (!gm_cas_acquire(at, &states, (states ^ recolour) & ~cleared)) continue;
        p->t.live_objects += gm_popcount(recolour);
        if (dead) take_slots(p, word, states, dead);
        return;
    }
}

static void give(struct page *p) {
    if (p->n == 0) return;
    p->t.freed_objects += p->n;
    if (p->odd) return gm_gc_give_odd(p->slot, p->n);
    for (unsigned i = 0; i < p->n; i++) memset(p->slot[i], 0, gm_class_size[p->cls]);
    gm_gc_give(p->cls, p->slot, p->n);
}

static void sweep_slots(struct page *p, unsigned size) {
    uint64_t *states = (uint64_t *)gm_arena_state_of(p->arena, p->start), *marks = gm_gc_mark_word(p->arena, p->start);
    for (unsigned i = 0; i < PAGE_WORDS; i++)
        sweep_word(p, &states[i], i, (uint8_t)(gm_load_relaxed(&marks[i / 8]) >> i % 8 * 8));
    p->t.freed_bytes = (uint64_t)p->n * size;
    p->t.live_bytes = p->t.live_objects * size;
    give(p);
}

/* Slots above 1 KiB have a word each, one at most in a KiB. */
static void sweep_medium(struct page *p, unsigned size) {
    for (unsigned i = 0; i < GM_PAGE_SIZE >> GM_STATE_MEDIUM_SHIFT; i++) {
        uint16_t *at = gm_arena_medium_of(p->arena, p->start + (i << GM_STATE_MEDIUM_SHIFT)), word = gm_load_relaxed(at);
        while (word & GM_STATE_CLASS && (word & GM_STATE_COLOUR) == next.white) {
            uintptr_t slot = p->start + (i << GM_STATE_MEDIUM_SHIFT) + (uintptr_t)(word >> 8 << GM_STATE_SHIFT);
            bool marked = gm_gc_marked(p->arena, slot);
            /* acquire: what the program did to an object comes before we give its slot away. */
            if (!gm_cas_acquire(at, &word, marked ? (uint16_t)(word ^ GM_STATE_COLOUR) : 0)) continue;
            if (marked) p->t.live_objects++;
            else p->slot[p->n++] = (void *)slot;
            if (!marked && (word & GM_STATE_CLASS) == GM_CLASS_8) p->odd = true;
            else if (!marked) p->cls = word & GM_STATE_CLASS;
            break;
        }
    }
    p->t.freed_bytes = (uint64_t)p->n * size;
    p->t.live_bytes = p->t.live_objects * size;
    give(p);
}

static void sweep_pairs(struct page *p) {
    uint64_t kept = 0;
    p->n = gm_gc_sweep_small8(p->arena, gm_arena_page_of(p->arena, p->start), next.white, p->slot, &kept);
    p->t = (struct gc_sweep_totals){ p->n, p->n * 8, kept, kept * 8 };
    if (p->n) gm_gc_give(GM_CLASS_8, p->slot, p->n);
}

/* The record may be another's by now, if the object was freed since the entry was read; but then its state
 * is not white, because nothing is born white. */
static void sweep_large(struct page *p, struct gm_span *s) {
    uint8_t white = GM_LARGE_LIVE | next.white, state = white;
    if (gm_load_relaxed(&s->start) != p->start || gm_load_acquire(&s->state) != white) return;
    size_t bytes = (size_t)gm_load_relaxed(&s->npages) << GM_PAGE_SHIFT;
    if (gm_gc_marked(p->arena, p->start)) {
        if (!gm_cas_acquire(&s->state, &state, state ^ GM_STATE_COLOUR)) return;
        p->t = (struct gc_sweep_totals){ .live_objects = 1, .live_bytes = bytes };
    } else {
        if (!gm_cas_acquire(&s->state, &state, 0)) return;
        p->t = (struct gc_sweep_totals){ .freed_objects = 1, .freed_bytes = bytes };
        gm_gc_give_large(s);
    }
}

static void add(struct gc_sweep_totals *sum, const struct gc_sweep_totals *t) {
    sum->freed_objects += t->freed_objects;
    sum->freed_bytes += t->freed_bytes;
    sum->live_objects += t->live_objects;
    sum->live_bytes += t->live_bytes;
}

static void sweep_pages(struct gm_arena *a, size_t from, size_t to) {
    struct gc_sweep_totals sum = { 0 };
    struct page p;
    for (size_t page = from; page < to; page++) {
        /* acquire: pairs with the release in heap.c where entries are written. */
        uint64_t e = gm_load_acquire(&a->pages[page]);
        if (e <= GM_ENTRY_FREED) continue;
        p.arena = a;
        p.start = a->base + (page << GM_PAGE_SHIFT);
        p.n = 0;
        p.odd = false;
        p.t = (struct gc_sweep_totals){ 0 };
        unsigned cls = gm_entry_class(e);
        if (cls == 0) sweep_large(&p, gm_entry_span(e));
        else if (cls == GM_CLASS_8) sweep_pairs(&p);
        else if (cls >= GM_FIRST_MEDIUM) sweep_medium(&p, gm_class_size[cls]);
        else sweep_slots(&p, gm_class_size[cls]);
        add(&sum, &p.t);
    }
    gm_add_relaxed(&totals.freed_objects, sum.freed_objects);
    gm_add_relaxed(&totals.freed_bytes, sum.freed_bytes);
    gm_add_relaxed(&totals.live_objects, sum.live_objects);
    gm_add_relaxed(&totals.live_bytes, sum.live_bytes);
}

/* ---- all pages */

void gc_sweep_begin(void) {
    gm_gc_pin_arenas();
    gm_lock(&lock);
    GM_ASSERT(!next.pinned && next.under_way == 0);
    next.white = gm_load_relaxed(&gm_colour) ^ GM_STATE_COLOUR;
    next.pinned = true;
    next.page = 0;
    totals = (struct gc_sweep_totals){ 0 };
    /* release: gc_sweep_some looks at it without the lock first. */
    gm_store_release(&next.arena, gm_arena_next(NULL));
    gm_unlock(&lock);
}

/* The next pages; false: there are none. */
static bool claim(struct gm_arena **a, size_t *from, size_t *to) {
    if (gm_load_acquire(&next.arena) == NULL) return false;
    gm_lock(&lock);
    while ((*a = next.arena) != NULL) {
        size_t end = gm_load_acquire(&(*a)->committed) >> GM_PAGE_SHIFT;
        if (next.page < end) {
            *from = next.page;
            *to = next.page = gm_min(end, next.page + CLAIM_PAGES);
            next.under_way++;
            break;
        }
        next.page = 0;
        gm_store_release(&next.arena, gm_arena_next(*a));
    }
    gm_unlock(&lock);
    return *a != NULL;
}

static void claim_done(void) {
    gm_lock(&lock);
    if (next.under_way) next.under_way--; /* none: in the child of a fork by a handler that has interrupted this */
    bool last = next.under_way == 0 && next.arena == NULL && next.pinned;
    if (last) next.pinned = false;
    gm_unlock(&lock);
    if (!last) return;
    gm_gc_unpin_arenas();
    gm_os_futex_wake(&next.under_way, INT32_MAX);
}

/* Who finds the end with nothing under way ends the sweep; the claim_done of the last claim does it else. */
static void end_if_last(void) {
    gm_lock(&lock);
    bool last = next.under_way == 0 && next.arena == NULL && next.pinned;
    if (last) next.pinned = false;
    gm_unlock(&lock);
    if (last) gm_gc_unpin_arenas();
}

bool gc_sweep_some(size_t pages) {
    struct gm_arena *a;
    size_t from, to;
    for (size_t done = 0; done < pages; done += to - from) {
        if (!claim(&a, &from, &to)) {
            end_if_last();
            return false;
        }
        sweep_pages(a, from, to);
        claim_done();
    }
    return true;
}

void gc_sweep_finish(void) {
    while (gc_sweep_some(CLAIM_PAGES)) continue;
    for (uint32_t n; (n = gm_load_acquire(&next.under_way)) != 0;) gm_os_futex_wait(&next.under_way, n, 1000000);
}

bool gc_sweep_done(void) { return gm_load_acquire(&next.arena) == NULL && gm_load_acquire(&next.under_way) == 0; }

void gc_sweep_fork_child(void) {
    gm_lock_init(&lock, GM_RANK_SWEEP, 0);
    next.arena = NULL;
    next.under_way = 0;
    if (next.pinned) gm_gc_unpin_arenas();
    next.pinned = false;
}

void gc_sweep_totals(struct gc_sweep_totals *out) {
    out->freed_objects = gm_load_relaxed(&totals.freed_objects);
    out->freed_bytes = gm_load_relaxed(&totals.freed_bytes);
    out->live_objects = gm_load_relaxed(&totals.live_objects);
    out->live_bytes = gm_load_relaxed(&totals.live_bytes);
}
