/* Transparent huge pages: which chunks of the heap ask for one. See huge.c. */
#ifndef GM_HUGE_H
#define GM_HUGE_H

#include "libgomalloc/arena.h"

/* From the constructor, when the options are known. */
void gm_huge_start(void);
/* A further arena; [p, p + size) has become a new mapping: the option's general wish is told to the kernel. */
void gm_huge_tell(void *p, size_t size);
/* The heap has grown, no lock is held: looks, once, what the machine offers. */
void gm_huge_consider(void);

/* Heap lock for the rest, but where said otherwise. */

/* Whether growth should end at a chunk's end. */
bool gm_huge_wanted(void);
/* Pages have been taken for a span; nobody has touched them yet. `dense`: its slots are handed out one after another. */
void gm_huge_placed(struct gm_arena *a, size_t page, size_t n, bool dense);
/* Pages are about to go back to the kernel. True: gm_huge_split first, outside the lock. */
bool gm_huge_leave(struct gm_arena *a, size_t page, size_t n);
void gm_huge_split(struct gm_arena *a, size_t page, size_t n);
/* Whether a chunk has long been full: worth asking whether it is resident, without the lock, */
bool gm_huge_due(struct gm_arena *a, size_t chunk);
bool gm_huge_is_resident(const struct gm_arena *a, size_t chunk);
/* then to note that it becomes one huge page, if it is still due, and outside the lock to do so. It is not due again
 * before something of it has gone back. */
bool gm_huge_begin(struct gm_arena *a, size_t chunk, bool *ask);
bool gm_huge_collapse(struct gm_arena *a, size_t chunk, bool ask);
/* The i-th piece of the primary arena, its chunks and then its states, that a copy of the process can have split: NULL if that
 * is none. False: there are no more. What becomes small pages meanwhile, the kernel does not collapse. */
bool gm_huge_piece(size_t i, void **piece);

#endif
