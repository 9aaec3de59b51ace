/* The hit paths of objects of at most 8 bytes, inlined into the slow halves of malloc and free: those get there by one test more
 * than the others' hit paths. See small8.c. */
#ifndef GM_SMALL8_H
#define GM_SMALL8_H

#include "libgomalloc/arena.h"
#include "libgomalloc/cache.h"
#include "libgomalloc/span.h"

/* Where the state of the slot of class 8 at p stands. */
GM_INLINE uint8_t *gm_small8_state_of(const struct gm_span *s, uintptr_t p) { return (uint8_t *)s->side + ((p - s->start) >> 3); }

/* Pops a slot for n bytes; NULL: the bin is empty. */
GM_INLINE void *gm_small8_pop(struct gm_cache *c, size_t n) {
    void *p = *c->top[GM_BIN_8];
    if (GM_UNLIKELY(p == NULL)) return NULL;
    gm_step_release(&c->top[GM_BIN_8], -1);
    gm_count_add(&c->mallocs[GM_CLASS_8], 1);
    gm_count_add(&c->requested[GM_CLASS_8], n);
    const struct gm_arena *a = &gm_space.primary; /* caches hold no others */
    struct gm_span *s = gm_entry_span(gm_load_relaxed(&a->pages[gm_arena_page_of(a, (uintptr_t)p)]));
    gm_store_relaxed(gm_small8_state_of(s, (uintptr_t)p), (uint8_t)(GM_CLASS_8 | gm_peek(c->colour)));
    return p;
}

/* Frees p into the thread's cache if it is a live slot of class 8 of the primary arena about which there is nothing to say (no
 * sample of the profile), and the bin has room; else nothing has happened. Any p. */
GM_INLINE bool gm_small8_push(void *p) {
    const struct gm_arena *a = &gm_space.primary;
    uintptr_t at = (uintptr_t)p;
    if ((at & 7) || (at >> GM_STATE_SHIFT) - gm_space.base16 >= gm_load_relaxed(&gm_space.free_limit16)) return false;
    uint64_t entry = gm_load_relaxed(&a->pages[gm_arena_page_of(a, at)]);
    if (gm_entry_class(entry) != GM_CLASS_8) return false;
    const struct gm_span *s = gm_entry_span(entry);
    if (at - s->start >= gm_class_slots[GM_CLASS_8] * UINT64_C(8)) return false;
    uint8_t *state = gm_small8_state_of(s, at);
    if ((gm_load_relaxed(state) & GM_STATE_CLASS) != GM_CLASS_8) return false;
    struct gm_cache *c = gm_load_relaxed(&gm_tc);
    void **top = c->top[GM_BIN_8];
    if (GM_UNLIKELY(top == c->limit[GM_BIN_8])) return false;
    gm_store_relaxed(state, 0);
    top[1] = p;
    gm_step_release(&c->top[GM_BIN_8], 1); /* as in fastpath.h */
    return true;
}

#endif
