/* Objects of at most 8 bytes: class 8, two slots to a state byte. See malloc.c for the overview.
 *
 * The flat table of states has one byte per 16 bytes of heap, so it cannot tell these slots apart. Their
 * states live in a side table of the span, one byte a slot, and both fast paths fall through to their slow halves:
 * malloc because bin[1] is always empty, free because the flat table says 0 throughout such a
 * span. These look first whether it is such a slot (small8.h): still no lock and no atomic read-modify-write, only some
 * thirty instructions more for a pair; in return a short string costs 9 bytes instead of 17 (the C library: 32). */
#include "libgomalloc/small8.h"

#include "libgomalloc/central.h"
#include "libgomalloc/front.h"
#include "libgomalloc/profile.h"

void gm_small8_set(struct gm_span *s, uintptr_t p, uint8_t state) { gm_store_relaxed(gm_small8_state_of(s, p), state); }

void *gm_small8_alloc(struct gm_cache *c, size_t n) {
    void *p = gm_small8_pop(c, n);
    return p || !gm_cache_refill(c, GM_CLASS_8) ? p : gm_small8_pop(c, n);
}

uint8_t gm_small8_state(const struct gm_span *s, uintptr_t p) { return gm_load_relaxed(gm_small8_state_of(s, p)); }
bool gm_small8_live(const struct gm_span *s, uintptr_t p) { return gm_small8_state(s, p) != 0; }

bool gm_small8_free(struct gm_span *s, uintptr_t p) {
    uint8_t *state = gm_small8_state_of(s, p);
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
