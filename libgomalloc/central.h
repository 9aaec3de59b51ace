/* The central lists: per size class, the spans that have slots at home. The middle level between the
 * thread caches and the page heap. Thread-safe; each class has its own lock.
 *
 * Most traffic never comes here: caches first exchange batches through transfer.h, and refill from a
 * span that is their own for the time (its place is CURRENT) without a lock. */
#ifndef GM_CENTRAL_H
#define GM_CENTRAL_H

#include "libgomalloc/room.h"

/* Up to `want` slots of class cls, from *current, or from the next span with room, which becomes
 * *current. Only slots in the primary arena. 0: the heap is exhausted. */
unsigned gm_central_refill(unsigned cls, struct gm_span **current, void **out, unsigned want);
/* Up to `want` slots of class cls from a span that stays in its list, shared: for bins that need few. Only
 * slots in the primary arena. 0: the heap is exhausted. */
unsigned gm_central_take(unsigned cls, void **out, unsigned want);
/* One slot wherever it may lie, for threads without a cache and for exhausted reservations. NULL: none. */
void *gm_central_take_one(unsigned cls);
/* Takes free slots back (state 0, in no cache). Spans that become empty go to the heap. */
void gm_central_give(unsigned cls, void **slots, unsigned n);
/* A cache lets go of its current span. */
void gm_central_release(struct gm_span *current);
/* A span that is in no list and its owner's to take from and give to: of tiny blocks (class 16), of slots the
 * collector treats in their own way. NULL: none. */
struct gm_span *gm_central_odd_span(unsigned cls, unsigned flags);
/* All of its slots are home again. */
void gm_central_odd_gone(struct gm_span *s);
/* Its owner has taken slots from such a span (negative: given them back); for the statistics. */
void gm_central_odd_out(unsigned cls, int slots);

#endif
