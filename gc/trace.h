/* What is told of a cycle: the gctrace line in Go's format, and the collector's part of the statistics. */
#ifndef GC_TRACE_H
#define GC_TRACE_H

#include "libgomalloc/base/compiler.h"

struct gc_trace {
    uint64_t start;                      /* monotonic, ns */
    uint64_t first_pause, last_pause;    /* ns the world stood still, at the start and at the end */
    uint64_t mark_ns, mark_cpu_ns;       /* beside the program */
    int64_t heap_start, heap_end, live;  /* bytes */
    int64_t roots;                       /* bytes scanned that are not of the heap */
    int64_t goal;                        /* that this cycle was started for */
    const char *barrier;
    bool forced;
};

/* The process begins: what the times in the trace count from. The figures go into the endpoint. */
void gc_trace_init(void);
/* The world stood still for `ns`. */
void gc_trace_pause(uint64_t ns);
/* Bytes of the collector's own records and bitmaps. */
void gc_trace_memory(uint64_t bytes);
/* Marking is over. next: the goal of the next cycle. */
void gc_trace_cycle(const struct gc_trace *t, int64_t next);
/* A cycle was given up: one line on stderr under gctrace. */
void gc_trace_given_up(const char *why);

#endif
