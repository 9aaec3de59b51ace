/* From what the parts count to struct gomalloc_stats: arithmetic only. Two gather the parts: stats.c in its own
 * process, and the command in that of another (endpoint.h). */
#ifndef GM_STATS_SUM_H
#define GM_STATS_SUM_H

#include "libgomalloc/cache.h"
#include "libgomalloc/gomalloc.h"
#include "libgomalloc/heap.h"

struct gm_stats_parts {
    struct gm_cache_totals totals[GM_CLASSES];
    unsigned threads;
    uint64_t out[GM_CLASSES];        /* slots not at home */
    uint64_t transfer[GM_CLASSES];   /* slots in batches */
    uint64_t span_bytes[GM_CLASSES];
    struct gm_heap_stats heap;
    uint64_t span_records, cache_records, meta_used; /* bytes */
    uint64_t scavenge_ns;
    size_t memory_limit;             /* SIZE_MAX: none */
    uint64_t exact_live;             /* bytes asked for in live small objects, if `exact` */
    bool exact;
};

/* Fills *s, but for the figures of collector and scheduler. */
void gm_stats_sum(const struct gm_stats_parts *p, struct gomalloc_stats *s);

#endif
