/* Objects of at most 8 bytes: class 8, two slots to a state byte. See malloc.c for the overview.
 *
 * The flat table of states has one byte per 16 bytes of heap, so it cannot tell these slots apart. Their
 * states live in a side table of the span, one byte a slot, and both fast paths fall through to
 * here: malloc because bin[1] is always empty, free because the flat table says 0 throughout such a
 * span. Still no lock and no atomic read-modify-write, only some fifteen instructions more; in
 * return a short string costs 9 bytes instead of 17 (the C library: 32). */
#include "libgomalloc/central.h"
#include "libgomalloc/fastpath.h"
#include "libgomalloc/front.h"
#include "libgomalloc/profile.h"

static uint8_t *state_of(const struct gm_span *s, uintptr_t p) {
    return (uint8_t *)s->side + ((p - s->start) >> 3);
}

void gm_small8_set(struct gm_span *s, uintptr_t p, uint8_t state) { gm_store_relaxed(state_of(s, p), state); }

void *gm_small8_alloc(struct gm_cache *c, size_t n) {
    void *p = *c->top[GM_BIN_8];
    if (GM_UNLIKELY(p == NULL)) {
        if (!gm_cache_refill(c, GM_CLASS_8)) return NULL;
        p = *c->top[GM_BIN_8];
    }
    gm_store_relaxed(&c->top[GM_BIN_8], c->top[GM_BIN_8] - 1);
    const struct gm_arena *a = &gm_space.primary;
    struct gm_span *s = gm_entry_span(gm_load_relaxed(&a->pages[gm_arena_page_of(a, (uintptr_t)p)]));
    gm_small8_set(s, (uintptr_t)p, (uint8_t)(GM_CLASS_8 | c->colour));
    gm_count_add(&c->mallocs[GM_CLASS_8], 1);
    gm_count_add(&c->requested[GM_CLASS_8], n);
    return p;
}

uint8_t gm_small8_state(const struct gm_span *s, uintptr_t p) { return gm_load_relaxed(state_of(s, p)); }
bool gm_small8_live(const struct gm_span *s, uintptr_t p) { return gm_load_relaxed(state_of(s, p)) != 0; }

bool gm_small8_free(struct gm_span *s, uintptr_t p) {
    uint8_t *state = state_of(s, p);
    uint8_t was = gm_load_relaxed(state);
    if (was == 0) return false;
    gm_store_relaxed(state, 0);
    if (GM_UNLIKELY((was & GM_STATE_CLASS) == GM_PROFILE_8)) gm_profile_forget((void *)p);
    struct gm_cache *c = s->flags & GM_SPAN_SPARSE ? NULL : gm_cache_get();
    if (c && gm_cache_push(c, GM_BIN_8, (void *)p)) return true;
    bool first = c && gm_bin_is_new(c, GM_BIN_8); /* as in free.c */
    if (c) gm_cache_make_room(c, GM_CLASS_8);
    if (c && !first && gm_cache_push(c, GM_BIN_8, (void *)p)) return true;
    if (gm_load_relaxed(&gm_always_slow)) gm_exact_free((void *)p, 8);
    gm_cache_give_direct(GM_CLASS_8, (void *)p);
    return true;
}
