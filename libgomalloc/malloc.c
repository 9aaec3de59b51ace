#include "libgomalloc/central.h"
#include "libgomalloc/fastpath.h"
#include "libgomalloc/front.h"

#include <errno.h>
#include <string.h>

#include "libgomalloc/heap.h"
#include "libgomalloc/nested.h"

GM_COLD void *gm_out_of_memory(void) {
    errno = ENOMEM;
    return NULL;
}

GM_COLD bool gm_reclaim(void) {
    struct gm_cache *c = gm_tc;
    if (c != &gm_no_cache) gm_cache_flush(c);
    gm_cache_flush_transfers();
    return true;
}

/* Marks a slot that came straight from a central list as allocated. */
static void *hand_out_direct(void *p, size_t n, unsigned cls) {
    struct gm_arena *a = gm_arena_of(p);
    if (cls == GM_CLASS_8) *((uint8_t *)gm_span_of(a, (uintptr_t)p)->side + (((uintptr_t)p & (GM_PAGE_SIZE - 1)) >> 3)) = GM_CLASS_8;
    else gm_store_relaxed(gm_arena_state_of(a, (uintptr_t)p), (uint8_t)cls);
    gm_cache_count_direct(cls, n);
    if (gm_load_relaxed(&gm_always_slow)) gm_exact_alloc(p, gm_class_size[cls], n);
    return p;
}

/* For threads without a cache, and when the reservation is exhausted. */
static GM_COLD void *alloc_direct(size_t n, unsigned cls) {
    void *p = gm_central_take_one(cls);
    if (!p && gm_reclaim()) p = gm_central_take_one(cls);
    return p ? hand_out_direct(p, n, cls) : gm_out_of_memory();
}

GM_NOINLINE void *gm_alloc_slow(size_t n, size_t class) {
    unsigned cls = (unsigned)class;
    if (gm_nested()) return gm_nested_alloc(gm_class_size[cls]);
    gm_init_once();
    struct gm_cache *c = gm_cache_get();
    if (!c) return alloc_direct(n, cls);
    if (cls == GM_CLASS_8) {
        void *p = gm_small8_alloc(c, n);
        return p ? p : alloc_direct(n, cls);
    }
    if (!gm_cache_refill(c, cls)) return alloc_direct(n, cls);
    return gm_alloc_pop(c, n, cls); /* not empty now: this is no recursion */
}

GM_NOINLINE void *gm_alloc_more(size_t n) {
    bool zero;
    if (GM_LIKELY(n <= GM_MEDIUM_MAX)) return gm_alloc_pop(gm_tc, n, gm_class_of_medium(n));
    return gm_large_alloc(n, 1, &zero);
}

void *gm_alloc_class(size_t n, unsigned cls) { return gm_alloc_pop(gm_tc, n, cls); }

void *gm_alloc(size_t n) { return gm_alloc_fast(n); }

void *gm_alloc_zeroed(size_t n) {
    void *p;
    if (n > GM_MEDIUM_MAX) {
        bool zero;
        p = gm_large_alloc(n, 1, &zero);
        if (!p || zero) return p;
    } else {
        p = gm_alloc_fast(n);
        if (GM_UNLIKELY(!p)) return NULL;
    }
    return memset(p, 0, n);
}

size_t gm_trim(void) {
    if (gm_nested()) return 0;
    gm_init_once();
    gm_reclaim();
    return gm_heap_scavenge(SIZE_MAX);
}
