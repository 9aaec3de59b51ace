/* When a cycle starts. Pure arithmetic: no clock, no heap inside. See cycle.c.
 *
 * goal     = live bytes after the last cycle + percent / 100 of those and of the bytes of roots that were scanned (at
 *            least of 4 MiB): Go's rule. At most what the memory limit leaves;
 *            And never less than `room` after the last cycle: a heap so small that collecting it takes more than an
 *            eighth of the time gets twice the room, up to 32 MiB, and loses it again when it takes less than a 32nd;
 * trigger  = goal, less what the program will allocate while marking runs beside it: the amount it
 *            allocated during the last marking, halfway smoothed, at most half of the way from live to goal. */
/* A SNAPSHOT needs memory of its own, a page for each that the program writes to while the child marks. So where cycles mark on
 * snapshots the next begins before that, when so much time has passed that the collector's work is a fourteenth of what the CPUs can do,
 * but not before a quarter of the way to the goal. Sooner is less memory for more work, and the other way round. The clock is
 * asked on the way, again and again, rather than bytes reckoned from it beforehand: a program that has just built its
 * heap goes on at another pace. */
#ifndef GC_PACER_H
#define GC_PACER_H

#include "libgomalloc/base/compiler.h"

struct gc_pacer {
    int64_t percent;      /* negative: never by itself */
    int64_t limit;        /* soft limit on the heap in bytes; INT64_MAX: none */
    int64_t live;         /* bytes marked by the last cycle */
    int64_t roots;        /* bytes of stacks, globals and other memory it scanned besides */
    int64_t runway;       /* bytes the program allocates while a cycle marks, smoothed */
    int64_t room;         /* bytes allocated between two cycles at the least */
    uint64_t rest;        /* ns between two cycles on snapshots; 0: the last was none */
    int64_t goal, trigger, latest; /* at the trigger gc_pacer_waits is asked; from `latest` on a cycle is due whatever the time */
};

void gc_pacer_init(struct gc_pacer *p, int64_t percent, int64_t limit);
/* After marking: `live` bytes were marked, `roots` scanned; `allocated` bytes came while it ran (0 at a stop). */
void gc_pacer_cycle_done(struct gc_pacer *p, int64_t live, int64_t roots, int64_t allocated);
/* Before it: what the cycle took, standing still and marking beside, and the time since the one before. */
void gc_pacer_cost(struct gc_pacer *p, uint64_t cost_ns, uint64_t since_ns);
/* The same of a cycle on a snapshot, with the time the program took for copying pages. 0: it was none. */
void gc_pacer_snapshot(struct gc_pacer *p, uint64_t cost_ns, unsigned cpus);
/* The heap has come to the trigger, since_ns after the last marking. False: begin. True: it is too early, there is a new trigger. */
bool gc_pacer_waits(struct gc_pacer *p, int64_t heap, uint64_t since_ns);
void gc_pacer_set(struct gc_pacer *p, int64_t percent, int64_t limit);

#endif
