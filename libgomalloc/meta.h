/* Memory for the library's own records: never from the heap, never returned to the kernel, always
 * zero when fresh. Two kinds: permanent, and fixed-size records that are reused (Go's persistentalloc
 * and fixalloc). And two more: the allocator's own records, which hold addresses of objects that mean nothing
 * (slots in a cache, the start of a span), are not looked at by the collector; all others are, like any memory.
 * Records of one gm_fix keep their type for ever, so a stale pointer to one reads
 * stale data, never unmapped memory. Thread-safe; takes the meta lock, the highest of all. */
#ifndef GM_META_H
#define GM_META_H

#include "libgomalloc/base/compiler.h"

/* `align` a power of two up to 4096. NULL if the kernel has no more. _own: the allocator's. */
void *gm_meta_alloc(size_t size, size_t align);
void *gm_meta_alloc_own(size_t size, size_t align);
/* Calls fn for the memory that all _own records lie in (but for what was mapped after the 64th time). No lock: for the
 * collector, while others are held. */
void gm_meta_each_own(void (*fn)(void *arg, uintptr_t low, uintptr_t high), void *arg);
/* Address space to take memory of the allocator's own from before any other: [p, p + size), reserved. It lies in the heap's own
 * reservation, so that records can still be had when an address-space limit is reached. */
void gm_meta_set_region(void *p, size_t size);
/* Makes at least the first `bytes` of the region ready, so that records can be had as well when the
 * kernel refuses more memory (data limit, strict accounting). False: refused. */
bool gm_meta_commit(size_t bytes);
/* Gives the region's address space beyond `size` back, as far as it is not in use. */
void gm_meta_shrink_region(size_t size);
/* Bytes mapped for all records so far. */
size_t gm_meta_mapped(void);
extern GM_HIDDEN const size_t *const gm_meta_root; /* where that figure lies (endpoint.h) */

struct gm_fix {
    size_t size, align;
    void *free;          /* linked through the records' first words */
    size_t in_use;       /* records handed out */
    size_t total;        /* records ever made */
    bool own;            /* the allocator's */
};
#define GM_FIX_INIT(bytes, alignment) { .size = (bytes), .align = (alignment) }
#define GM_FIX_INIT_OWN(bytes, alignment) { .size = (bytes), .align = (alignment), .own = true }

/* A record; its contents are what gm_fix_put left (zero if it is new), but for its first word. */
void *gm_fix_get(struct gm_fix *f);
void gm_fix_put(struct gm_fix *f, void *record);

void gm_meta_lock(void);   /* for fork */
void gm_meta_unlock(void);

#endif
