/* The marker's own tables of the primary arena, as small as can be, because they are read at random (mark.c):
 *
 *   unmarked   a bit for each slot: it is live and has no mark yet. The bit of a slot stands where its start says, in
 *              units of the largest power of two that is no larger than the slot (16 to 128), so that no two share one;
 *              there is a part for each unit
 *   page       two bytes a page: the class of its slots, and which of its span's pages it is. 0: to be looked up as any address
 *              is: large objects, slots above 1 KiB and of 8 bytes, spans of which a slot is pointer-free, uncollectable, watched or
 *              sampled
 *
 * They are there while grey is drained only, made of fresh memory each time: so they can have huge pages, and a snapshot child's
 * are its own. The bitmap that lasts and that the sweep reads (gcview.h) is read when they are filled and written when all is
 * marked: of a slot that has a bit here, it says nothing in between. */
#ifndef GC_GRANULES_H
#define GC_GRANULES_H

#include "libgomalloc/gcview.h"

#define GC_GRANULES_PAGE_SHIFT 7 /* of `page` */

/* How to find a slot's bit. `first`: the index of the bit that stands for address 0. */
struct gc_granule_class {
    uint64_t first;
    uint32_t reciprocal;
    uint16_t size;
    uint8_t shift;
};
extern struct gc_granules {
    uint64_t *unmarked;       /* atomic words */
    uint16_t *page;
    struct gc_granule_class cls[GM_CLASSES];
} gc_granules;

/* Makes them, for what of the primary arena there is now. False: no memory. */
bool gc_granules_make(void);
void gc_granules_drop(void);
/* By all workers at once; returns when all is filled. */
void gc_granules_fill(void);
/* The same; returns when there is nothing left to do for the caller. */
void gc_granules_copy_marks(void);
/* By one alone, after more was marked. */
void gc_granules_copy_again(void);

/* A bit that nobody needs, in a line of the worker's own. */
static inline uint64_t gc_granules_spare(unsigned worker) { return (uint64_t)worker * 8 * GM_CACHE_LINE; }

#endif
