/* Sweeping: white objects that are marked turn black, those that are not go home. After the flip, any time,
 * page by page in address order, by any number of threads, beside malloc and free. See cycle.c; the rule
 * for a slot stands in gcview.h. */
#ifndef GC_SWEEP_H
#define GC_SWEEP_H

#include "libgomalloc/base/compiler.h"

/* After marking and the flip: everything is unswept. Takes allocator locks: the world is not held. */
void gc_sweep_begin(void);
/* Sweeps at least the next `pages` pages of 8 KiB, if as many are left. False: none is left to take (others may
 * still be at theirs). Any thread that holds no lock. */
bool gc_sweep_some(size_t pages);
/* All of it; returns when nobody sweeps any more. Must be over before the next gc_mark_begin. */
void gc_sweep_finish(void);
bool gc_sweep_done(void);
/* Child of a host's fork: the sweep is given up, white objects stay as they are (so the next cycle must not
 * flip before it marks, but may treat them as it finds them). */
void gc_sweep_fork_child(void);

struct gc_sweep_totals {
    uint64_t freed_objects, freed_bytes, live_objects, live_bytes; /* live: white and marked */
};
/* Since gc_sweep_begin. */
void gc_sweep_totals(struct gc_sweep_totals *out);

#endif
