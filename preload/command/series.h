/* What a run looked like over time: samples of a process and of its heap. */
#ifndef GM_COMMAND_SERIES_H
#define GM_COMMAND_SERIES_H

#include "preload/command/process.h"
#include "preload/command/remote.h"

struct sample {
    double t;                /* seconds since the start */
    struct process_now p;
    bool heap;               /* the library was seen, and what follows is from it */
    uint64_t live, requested, inuse, idle, released, own; /* bytes; own: of the library's records */
    uint64_t mallocs, total_alloc;
};

/* At most SERIES_MAX samples: when they are full, every other is dropped and the interval doubles. */
#define SERIES_MAX 2000
struct series {
    struct sample sample[SERIES_MAX];
    unsigned n;
    double interval;         /* seconds between two samples now */
    uint64_t peak_rss, peak_inuse;
    struct gomalloc_stats last;      /* the last that was seen */
    struct gomalloc_stats at_peak;   /* when the most was in use */
    struct heap_map map_peak, map_last;
    double map_last_at, map_peak_at; /* seconds; when they were read */
    bool seen;               /* any sample has a heap */
    struct gm_pauses pauses;
};

/* One look at the process; `wanted`: the maps of the heap as well, now and then. */
void series_take(struct series *s, struct remote *r, pid_t pid, double t, bool maps);

#endif
