/* Objects the collector treats in a way of their own: pointer-free ones, which it never scans, and
 * uncollectable ones, which are roots until they are freed. Each kind has spans of its own. Their slots
 * never enter a thread cache, so both calls take a lock; free, realloc and usable size are the ordinary
 * ones. Any thread, any time. */
#ifndef GM_NOSCAN_H
#define GM_NOSCAN_H

#include "libgomalloc/base/compiler.h"

struct gm_span;

/* `n` bytes that hold no pointers, zeroed if asked; NULL and ENOMEM. Below 16 bytes it is a tiny object. */
void *gm_alloc_noscan(size_t n, bool zeroed);
/* `n` zeroed bytes, scanned (or not) and alive until gm_free. */
void *gm_alloc_uncollectable(size_t n, bool noscan);

/* realloc for an object of these kinds: it stays what it is. NULL and ENOMEM: p is as it was. */
void *gm_odd_realloc(struct gm_span *s, void *p, size_t usable, size_t n);

/* For the allocator: a slot of such a span, state 0 by now, goes home. */
void gm_odd_give(struct gm_span *s, void *slot);
void gm_odd_fork_lock(void);
void gm_odd_fork_unlock(void);

#endif
