/* The hit paths of malloc and free: what nearly every call executes, and all it executes. No lock, no
 * atomic read-modify-write, no call (tests/golden holds them to it and counts their instructions).
 * Their misses are tail calls. See malloc.c for the overview. */
#ifndef GM_FASTPATH_H
#define GM_FASTPATH_H

#include "libgomalloc/arena.h"
#include "libgomalloc/cache.h"

/* The slow halves, malloc.c and free.c. */
GM_HIDDEN void *gm_alloc_slow(size_t n, size_t cls, struct gm_cache *c); /* n <= GM_SMALL_MAX; the bin of cls, c's, is empty */
GM_HIDDEN void *gm_alloc_slow_uncounted(size_t n, size_t cls); /* the same of any class, that no sample has counted */
GM_HIDDEN void *gm_alloc_more(size_t n);               /* n > GM_SMALL_MAX */
GM_HIDDEN void gm_free_odd(void *p);                   /* no slot of ours starts at p that is allocated */
GM_HIDDEN void gm_free_full(void *p, size_t cls);    /* the bin of cls has no room; 0: the first table says nothing of p; 1: as gm_free_odd */

/* Pops a slot of class cls < GM_FIRST_MEDIUM for n bytes; what `missed` answers, if there is none. */
GM_INLINE void *gm_alloc_pop_or(struct gm_cache *c, size_t n, size_t cls, void *(*missed)(size_t, size_t, struct gm_cache *)) {
    void *p = *c->top[cls];
    GM_FORGET_RESULT(p);
    uintptr_t i = (uintptr_t)p >> GM_STATE_SHIFT; /* 0: NULL. The shift says so, and spares a test */
    if (GM_UNLIKELY(i == 0)) return missed(n, cls, c);
    GM_FORGET(cls);
    gm_step_release(&c->top[cls], -1);
    GM_FORGET(cls);
    gm_count_add(&c->mallocs[cls], 1);
    GM_FORGET(cls);
    gm_count_add(&c->requested[cls], n);
    gm_store_relaxed(&gm_space.state_bias[i], (uint8_t)(cls | gm_peek(c->colour)));
    return p;
}

GM_INLINE void *gm_alloc_pop(struct gm_cache *c, size_t n, size_t cls) { return gm_alloc_pop_or(c, n, cls, gm_alloc_slow); }

/* The same for the other classes. */
GM_INLINE void *gm_alloc_pop_medium(struct gm_cache *c, size_t n, size_t cls) {
    void *p = *c->top[cls];
    struct gm_cache_more *more = c->more;
    if (GM_UNLIKELY(p == NULL || more == NULL)) return gm_alloc_slow_uncounted(n, cls);
    gm_step_release(&c->top[cls], -1);
    gm_count_add(&more->mallocs[cls - GM_FIRST_MEDIUM], 1);
    gm_count_add(&more->requested[cls - GM_FIRST_MEDIUM], n);
    uintptr_t i = gm_index16(p);
    gm_store_relaxed(gm_medium_at(i), (uint16_t)(cls | c->colour | (i & 63) << 8));
    return p;
}

GM_INLINE void *gm_alloc_fast(size_t n) {
    if (GM_UNLIKELY(n > GM_SMALL_MAX)) return gm_alloc_more(n);
    return gm_alloc_pop(gm_load_relaxed(&gm_tc), n, gm_class_of_small(n));
}

GM_INLINE void gm_free_fast(void *p) {
    uintptr_t i = gm_index16_checked(p);
    if (GM_UNLIKELY(i >= gm_peek(gm_space.free_limit16))) return gm_free_odd(p);
    uint8_t *state = &gm_space.state[i];
    /* Class 0, no live slot, or one above 1 KiB: bin 0 is always full, so that needs no test of its own. */
    size_t cls = gm_load_relaxed(state) & GM_STATE_CLASS;
    struct gm_cache *c = gm_load_relaxed(&gm_tc);
    void **top = c->top[cls];
    GM_FORGET(cls);
    if (GM_UNLIKELY(top == c->limit[cls])) return gm_free_full(p, cls);
    gm_store_relaxed(state, 0);
    top[1] = p;
    GM_FORGET(cls);
    /* release: a fork in another thread must not see the new top before the slot (cache.c). */
    gm_step_release(&c->top[cls], 1);
}

#endif
