/* The slow half of free, and what any address is to the allocator. See malloc.c for the overview.
 *
 * The crimes are told apart here, off the hot path: the fast path only knows that no live slot
 * starts at the address. The verdict follows from the page table (is there a span, of what class),
 * the reciprocal of its size (does a slot start here) and the state byte. */
#include "libgomalloc/base/check.h"
#include "libgomalloc/central.h"
#include "libgomalloc/fastpath.h"
#include "libgomalloc/front.h"
#include "libgomalloc/guests.h"
#include "libgomalloc/heap.h"
#include "libgomalloc/hooks.h"
#include "libgomalloc/nested.h"
#include "libgomalloc/noscan.h"
#include "libgomalloc/profile.h"
#include "libgomalloc/scavenge.h"
#include "libgomalloc/small8.h"

static struct gm_foreign foreign;

void gm_set_foreign(const struct gm_foreign *f) { foreign = *f; }

static enum gm_what what_in_span(const struct gm_span *s, uintptr_t p, size_t *usable) {
    if (s->cls == 0) {
        *usable = gm_span_bytes(s);
        if (p == s->start) return gm_load_relaxed(&s->state) ? GM_LARGE : GM_FREED;
        return p & 15 ? GM_MISALIGNED : GM_INTERIOR;
    }
    *usable = gm_class_size[s->cls];
    if (s->flags & GM_SPAN_TINY) {
        *usable = gm_tiny_usable(s, p);
        return *usable ? GM_TINY : GM_FREED;
    }
    unsigned i = gm_span_index(s, p);
    if (i >= gm_class_slots[s->cls] || gm_span_slot(s, i) != p) return p & (s->cls == GM_CLASS_8 ? 7 : 15) ? GM_MISALIGNED : GM_INTERIOR;
    if (s->cls == GM_CLASS_8) return gm_small8_live(s, p) ? GM_SMALL8 : GM_FREED;
    return gm_state_get(s->arena, p, s->cls) ? GM_SLOT : GM_FREED;
}

/* What the states alone say: a live object's span may be made into another while somebody looks (guests.c). UNKNOWN:
 * there is no plain live slot. */
static enum gm_what what_by_state(const struct gm_arena *a, uintptr_t p, size_t *usable) {
    unsigned cls;
    if (gm_entry_class(gm_load_relaxed(&a->pages[gm_arena_page_of(a, p)])) <= GM_CLASS_8) return GM_UNKNOWN;
    uintptr_t start = gm_guests_find(a, p, &cls);
    if (start == 0 || cls == GM_CLASS_8) return GM_UNKNOWN;
    *usable = gm_class_size[cls];
    return start == p ? GM_SLOT : p & 15 ? GM_MISALIGNED : GM_INTERIOR;
}

enum gm_what gm_what_is(const void *address, struct gm_span **span, size_t *usable) {
    uintptr_t p = (uintptr_t)address;
    enum gm_what what;
    struct gm_arena *a = gm_arena_of(address);
    *span = NULL;
    if (!a) return (*usable = gm_nested_size(address)) != 0 ? GM_NESTED : GM_FOREIGN;
    if (a == &gm_space.primary && (what = what_by_state(a, p, usable)) != GM_UNKNOWN) return what;
    struct gm_span *s = *span = gm_span_of(a, p);
    if (s) return what_in_span(s, p, usable);
    bool freed = gm_load_relaxed(&a->pages[gm_arena_page_of(a, p)]) == GM_ENTRY_FREED;
    return freed && gm_is_aligned(p, GM_PAGE_SIZE) ? GM_FREED : GM_UNKNOWN;
}

/* A slot of the primary arena whose state is 0 goes to the thread's cache, or home. So does the first one of a thread that has
 * allocated none of the class: it would come right back, and may lie on a line with what another thread uses (passive false
 * sharing). Not the second: what only frees has to collect. */
static void put_back(void *p, unsigned cls) {
    struct gm_cache *c = gm_cache_get();
    if (c) {
        bool first = gm_class_size[cls] < GM_CACHE_LINE && gm_bin_is_new(c, cls);
        gm_cache_make_room(c, cls);
        if (!first && gm_cache_push(c, cls, p)) return;
    } else if (gm_load_relaxed(&gm_always_slow)) {
        gm_exact_free(p, gm_class_size[cls]);
    }
    gm_cache_give_direct(cls, p);
}

static void free_slot(struct gm_span *s, void *p) {
    unsigned cls = s->cls;
    gm_state_set(s->arena, (uintptr_t)p, cls, 0);
    if (GM_UNLIKELY(gm_load_relaxed(&gm_profile.used))) gm_profile_forget(p);
    if (!gm_span_is_odd(s) && !(s->flags & GM_SPAN_SPARSE)) return put_back(p, cls);
    if (GM_UNLIKELY(gm_load_relaxed(&gm_always_slow))) gm_exact_free(p, gm_class_size[cls]);
    if (gm_span_is_odd(s)) gm_odd_give(s, p);
    else gm_central_give(cls, &p, 1);
}

static GM_NOINLINE void free_odd(void *p) {
    struct gm_span *s;
    size_t usable;
    gm_hooks_freed(p);
    if (GM_UNLIKELY(gm_free_ignored) && gm_arena_of(p)) return;
    enum gm_what what = gm_what_is(p, &s, &usable);
    if (gm_nested() && what < GM_NESTED && what != GM_FOREIGN) return gm_nested_defer(p);
    switch (what) {
    case GM_FOREIGN:
        if (!foreign.free) gm_misuse(GM_CRIME_FREE_UNKNOWN, p);
        foreign.free(p);
        return;
    case GM_NESTED: gm_nested_release(p); return;
    case GM_SLOT: if (s) free_slot(s, p); else gm_free(p); return; /* outside the primary arena, of a span of noscan.c, or sampled */
    case GM_SMALL8:
        if (gm_small8_free(s, (uintptr_t)p)) return;
        gm_misuse(GM_CRIME_DOUBLE_FREE, p);
    case GM_TINY:
        if (gm_tiny_free(s, (uintptr_t)p)) return;
        gm_misuse(GM_CRIME_DOUBLE_FREE, p);
    case GM_LARGE:
        if (!gm_large_free(s)) gm_misuse(GM_CRIME_DOUBLE_FREE, p);
        return;
    case GM_FREED: gm_misuse(GM_CRIME_DOUBLE_FREE, p);
    case GM_INTERIOR: gm_misuse(GM_CRIME_FREE_INTERIOR, p);
    case GM_MISALIGNED: gm_misuse(GM_CRIME_FREE_MISALIGNED, p);
    case GM_UNKNOWN: gm_misuse(GM_CRIME_FREE_UNKNOWN, p);
    }
}

GM_NOINLINE void gm_free_odd(void *p) {
    if (p == NULL || (!gm_load_relaxed(&gm_hooks.watched) && gm_small8_push(p))) return;
    free_odd(p);
}

static GM_NOINLINE void free_full(void *p, unsigned cls) {
    if (cls <= GM_CLASS_8) return gm_free_odd(p); /* no live slot, or an odd one (gcview.h) */
    if (gm_nested()) return gm_nested_defer(p);
    if (GM_UNLIKELY(gm_load_relaxed(&gm_nested_deferred))) gm_nested_drain(gm_free);
    gm_state_set(&gm_space.primary, (uintptr_t)p, cls, 0);
    put_back(p, cls);
    gm_scavenge_poll(); /* behind it: there may be no other call */
}

/* The first table of states says nothing of p, which is in the primary arena: here is the hit path of slots above 1 KiB. */
static inline void free_medium(void *p) {
    uintptr_t i = gm_index16(p);
    uint16_t *word = gm_medium_at(i);
    size_t cls = gm_medium_class(i, word);
    struct gm_cache *c = gm_load_relaxed(&gm_tc);
    void **top = c->top[cls];
    if (GM_UNLIKELY(top == c->limit[cls])) return free_full(p, (unsigned)cls);
    gm_store_relaxed(word, 0);
    top[1] = p;
    gm_step_release(&c->top[cls], 1);
}

GM_NOINLINE void gm_free_full(void *p, size_t cls) {
    if (cls == 0) return free_medium(p);
    free_full(p, (unsigned)cls);
}

void gm_free(void *p) { gm_free_fast(p); }

size_t gm_usable_size(const void *p) {
    struct gm_span *s;
    size_t usable = gm_plain_size(p); /* programs that keep accounts ask this of every block, twice */
    if (usable) return usable;
    if (p == NULL) return 0;
    switch (gm_what_is(p, &s, &usable)) {
    case GM_FOREIGN: return foreign.usable_size ? foreign.usable_size((void *)(uintptr_t)p) : 0;
    case GM_SLOT: case GM_SMALL8: case GM_TINY: case GM_LARGE: case GM_NESTED: return usable;
    case GM_FREED: gm_misuse(GM_CRIME_USABLE_FREED, p);
    default: return 0;
    }
}

bool gm_owns(const void *p) {
    struct gm_span *s;
    size_t usable;
    enum gm_what w = gm_what_is(p, &s, &usable);
    return w == GM_SLOT || w == GM_SMALL8 || w == GM_TINY || w == GM_LARGE;
}

void *gm_realloc_foreign(void *p, size_t n) {
    if (!foreign.realloc) gm_misuse(GM_CRIME_REALLOC_UNKNOWN, p);
    return foreign.realloc(p, n);
}
