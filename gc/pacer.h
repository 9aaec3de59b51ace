/* When a cycle starts. Pure arithmetic: no clock, no heap inside. See cycle.c.
 *
 * goal     = live bytes after the last cycle * (1 + percent / 100), at least percent * 4 MiB / 100, at
 *            most what the memory limit leaves (Go's rule; there the goal also counts stacks and globals);
 * trigger  = goal, less what the program will allocate while marking runs beside it: the amount it
 *            allocated during the last marking, halfway smoothed, at most half of the way from live to goal. */
#ifndef GC_PACER_H
#define GC_PACER_H

#include "libgomalloc/base/compiler.h"

struct gc_pacer {
    int64_t percent;      /* negative: never by itself */
    int64_t limit;        /* soft limit on the heap in bytes; INT64_MAX: none */
    int64_t live;         /* bytes marked by the last cycle */
    int64_t runway;       /* bytes the program allocates while a cycle marks, smoothed */
    int64_t goal, trigger;
};

void gc_pacer_init(struct gc_pacer *p, int64_t percent, int64_t limit);
/* After marking: `live` bytes were marked; `allocated` bytes came while it ran (0 at a stop). */
void gc_pacer_cycle_done(struct gc_pacer *p, int64_t live, int64_t allocated);
void gc_pacer_set(struct gc_pacer *p, int64_t percent, int64_t limit);

#endif
