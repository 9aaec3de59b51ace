/* Where the page heap finds its pages: among the free ones of its arenas, or by growing. All of it under the heap lock. */
#ifndef GM_GROW_H
#define GM_GROW_H

#include "libgomalloc/arena.h"

enum { GM_GROW_STEP = 64 * 1024, GM_GROW_MIN = 1024 * 1024 };

/* The first free run in any arena (or only in the primary one); else the first arena that can grow; else a new one. NULL: out
 * of memory. The run begins at *page, which is aligned to align_pages in memory. */
struct gm_arena *gm_grow_find(size_t npages, size_t align_pages, bool anywhere, size_t *page);

/* So many free pages at the end of the arena, by committing more if need be. False: out of memory. */
bool gm_grow(struct gm_arena *a, size_t npages);

/* The kernel has refused memory: from now on what is free at the heap's end, and whole arenas, go back, so
 * that the rest of the process can have them. */
extern GM_HIDDEN bool gm_grow_tight;
void gm_grow_relieve(struct gm_arena *a);
extern GM_HIDDEN unsigned gm_grow_pins; /* threads that walk the arenas without the lock: none may go */

#endif
