/* Free slots, for the marker: it need not ask what it may not scan. */
#ifndef GC_FREE_SLOTS_H
#define GC_FREE_SLOTS_H

#include "libgomalloc/gcview.h"

/* Sets the marks of all free slots up to 1 KiB in the first `bytes` of `a`, but class 8's: who finds one finds it marked
 * already. The world is held, or this is a snapshot of it. */
void gc_free_slots_mark(const struct gm_arena *a, size_t bytes);

#endif
