/* What the tests of the allocator's parts share: looking at the whole of it from outside. */
#ifndef TESTS_UNIT_ALLOCATOR_H
#define TESTS_UNIT_ALLOCATOR_H

#include <errno.h>

#include "libgomalloc/cache.h"
#include "libgomalloc/central.h"
#include "libgomalloc/front.h"
#include "libgomalloc/gomalloc.h"
#include "libgomalloc/heap.h"
#include "libgomalloc/transfer.h"
#include "tests/check.h"

#define MIB ((size_t)1 << 20)

/* Everything that checks itself, checks itself; a broken invariant ends the test. */
static inline void verify_all(void) {
    gm_init_once();
    gm_heap_verify();
    gm_central_verify();
    if (gm_tc != &gm_no_cache) gm_cache_verify(gm_tc);
}

/* The calling thread's cache and all batches go home. Nothing is live any more: then every slot is home,
 * every span has gone back, and every page is free. */
static inline void expect_all_home(void) {
    struct gm_heap_stats h;
    gm_init_once();
    gm_reclaim(1);
    verify_all();
    for (unsigned cls = 1; cls < GM_CLASSES; cls++) {
        if (!expect_eq(gm_central_out(cls), 0)) diag("class %u", cls);
        if (!expect_eq(gm_central_span_bytes(cls), 0)) diag("class %u", cls);
        expect_eq(gm_transfer_count(cls), 0);
    }
    gm_heap_read_stats(&h);
    expect_eq(h.idle, h.committed);
    expect_eq(h.large_live, 0);
    expect_eq(h.large_live_requested, 0);
    expect_eq(h.large_mallocs, h.large_frees);
}

/* Succeeded, or failed as it should. */
static inline bool expect_sound(const void *p) { return p ? true : (expect_eq(errno, ENOMEM), false); }

static inline enum gm_what what_is(const void *p) {
    struct gm_span *s;
    size_t usable;
    return gm_what_is(p, &s, &usable);
}
static inline struct gm_span *span_at(const void *p) {
    struct gm_arena *a = gm_arena_of(p);
    return a ? gm_span_of(a, (uintptr_t)p) : NULL;
}

#endif
