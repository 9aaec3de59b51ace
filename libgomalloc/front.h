/* What the files of the front share: malloc.c, free.c, realloc.c, align.c, large.c, small8.c, tiny.c. */
#ifndef GM_FRONT_H
#define GM_FRONT_H

#include "libgomalloc/alloc.h"
#include "libgomalloc/cache.h"
#include "libgomalloc/span.h"

/* First call into the library: tables and lists. Cheap when done. */
extern GM_HIDDEN bool gm_ready;
void gm_init(void);
GM_INLINE void gm_init_once(void) {
    if (GM_UNLIKELY(!gm_load_acquire(&gm_ready))) gm_init();
}

/* A slot of class cls for n bytes, by whatever path; NULL and ENOMEM. */
void *gm_alloc_class(size_t n, unsigned cls);
/* The last resort before NULL for n bytes: a collection, if there is a collector, and what lies in caches and batches
 * comes home. True: worth another try. */
bool gm_reclaim(size_t n);
/* errno = ENOMEM, NULL. */
void *gm_out_of_memory(void);

/* Large objects (large.c). gm_large_alloc: NULL and ENOMEM; flags, *zero as gm_heap_alloc_large. */
void *gm_large_alloc(size_t n, size_t align, unsigned flags, bool *zero);
/* False: it is no live object (any more). */
bool gm_large_free(struct gm_span *s);
/* The same for whoever has set its state to 0. */
void gm_large_release(struct gm_span *s);
/* Zeroes a large object by giving its memory back, if it is large enough for that to be worth it. */
bool gm_large_zero(void *p, size_t n);
/* n lies within the pages that the object has, and is no less than when they were counted: then nothing changes,
 * not even the count of what is asked for, which is exact only where that is wanted. */
GM_INLINE bool gm_large_has_room(const struct gm_span *s, size_t n) {
    return n >= s->requested && n <= gm_span_bytes(s) - gm_class_end_room && !gm_load_relaxed(&gm_always_slow) && !gm_load_relaxed(&gm_sampling) &&
           !(s->flags & GM_SPAN_SAMPLED);
}
/* p or its new place, or NULL with ENOMEM and p as it was. n > GM_MEDIUM_MAX. */
void *gm_large_realloc(struct gm_span *s, size_t n);

/* Class 8, whose slots the fast paths cannot tell apart (small8.c). */
void *gm_small8_alloc(struct gm_cache *c, size_t n);
void gm_small8_set(struct gm_span *s, uintptr_t p, uint8_t state);
bool gm_small8_free(struct gm_span *s, uintptr_t p); /* false: p is no live slot's start */
bool gm_small8_live(const struct gm_span *s, uintptr_t p);
uint8_t gm_small8_state(const struct gm_span *s, uintptr_t p);
/* The class in the state of a live slot of class 8 that is sampled (profile.c). */
#define GM_PROFILE_8 2

/* Tiny objects (tiny.c). */
bool gm_tiny_free(struct gm_span *s, uintptr_t p);
void gm_tiny_reclaim(struct gm_span *s, uintptr_t block); /* all its objects; the block's state is 0 */
size_t gm_tiny_usable(const struct gm_span *s, uintptr_t p); /* 0: no live object starts at p */
void gm_tiny_fork_lock(void);
void gm_tiny_fork_unlock(void);

/* stats:exact (exact.c): called on every allocation and free while it is on. */
void gm_exact_start(void);
void gm_exact_alloc(const void *p, size_t usable, size_t n);
void gm_exact_free(const void *p, size_t usable);
uint64_t gm_exact_live_requested(void);
extern GM_HIDDEN const uint64_t *const gm_exact_root; /* where that figure lies (endpoint.h) */

/* What an address is to the allocator: one answer for free, realloc, usable_size. */
enum gm_what {
    GM_FOREIGN,     /* in no arena */
    GM_SLOT,        /* start of a live slot; size in *usable */
    GM_SMALL8,      /* start of a live slot of class 8 */
    GM_TINY,        /* start of a live tiny object */
    GM_LARGE,       /* start of a live large object */
    GM_NESTED,      /* a block made for a signal handler (nested.c) */
    GM_FREED,       /* start of a slot or object that is free */
    GM_INTERIOR, GM_MISALIGNED, /* inside one */
    GM_UNKNOWN      /* in an arena, where nothing is */
};
/* Bytes of a plain live slot of the primary arena: its state says them, without a look at page table and span. 0: p is not so plain. */
GM_INLINE size_t gm_plain_size(const void *p) {
    uintptr_t i = gm_index16_checked(p);
    if (i >= gm_load_relaxed(&gm_space.limit16)) return 0;
    size_t cls = gm_load_relaxed(&gm_space.state[i]) & GM_STATE_CLASS;
    if (cls == 0) cls = gm_medium_class(i, gm_medium_at(i));
    return cls > GM_CLASS_8 ? gm_class_size[cls] : 0;
}
/* A new block with p's first bytes; p is freed. */
void *gm_realloc_move(void *p, size_t usable, size_t n);
void *gm_realloc_foreign(void *p, size_t n);
/* *span: its record, NULL for a plain slot of the primary arena, which may change its span while it is alive (guests.h). */
enum gm_what gm_what_is(const void *p, struct gm_span **span, size_t *usable);

#endif
