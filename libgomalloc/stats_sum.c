/* See stats_sum.h; stats.c for why frees are not counted. */
#include "libgomalloc/stats_sum.h"

#include <string.h>

#include "libgomalloc/arena.h"
#include "libgomalloc/base/bits.h"

GM_STATIC_ASSERT(GM_CLASSES <= GOMALLOC_MAX_SIZE_CLASSES, "by_size has room for every class");

static void add_classes(const struct gm_stats_parts *p, struct gomalloc_stats *s) {
    s->threads = p->threads;
    s->by_size_count = GM_CLASSES - 1;
    for (unsigned cls = 1; cls < GM_CLASSES; cls++) {
        const struct gm_cache_totals *t = &p->totals[cls];
        struct gomalloc_size_stats *b = &s->by_size[cls - 1];
        uint64_t out = p->out[cls], idle = t->cached + p->transfer[cls];
        uint64_t live = gm_min(out > idle ? out - idle : 0, t->mallocs);
        b->size = gm_class_size[cls];
        b->mallocs = t->mallocs;
        b->frees = t->mallocs - live;
        b->requested = t->requested;
        b->inuse = p->span_bytes[cls];
        s->mallocs += b->mallocs;
        s->frees += b->frees;
        s->total_alloc += b->mallocs * b->size;
        s->total_requested += b->requested;
        s->heap_alloc += live * b->size;
        s->heap_objects += live;
        if (t->mallocs) s->heap_requested_estimate += (uint64_t)((double)t->requested / (double)t->mallocs * (double)live);
    }
}

static void add_large(const struct gm_stats_parts *p, struct gomalloc_stats *s) {
    const struct gm_heap_stats *h = &p->heap;
    s->large_mallocs = h->large_mallocs;
    s->large_frees = h->large_frees;
    s->large_requested = h->large_requested;
    s->mallocs += h->large_mallocs;
    s->frees += h->large_frees;
    s->total_alloc += h->large_total;
    s->total_requested += h->large_requested;
    s->heap_alloc += h->large_live;
    s->heap_objects += h->large_mallocs - h->large_frees;
    if (p->exact) s->heap_requested_estimate = p->exact_live;
    s->heap_requested_estimate += h->large_live_requested;
}

void gm_stats_sum(const struct gm_stats_parts *p, struct gomalloc_stats *s) {
    memset(s, 0, sizeof *s);
    add_classes(p, s);
    add_large(p, s);
    s->heap_idle = p->heap.idle + p->heap.holes; /* what went back inside of spans is as idle */
    s->heap_released = p->heap.released + p->heap.holes;
    s->heap_sys = p->heap.committed;
    s->heap_inuse = p->heap.committed - s->heap_idle;
    s->heap_goal = p->heap.goal;
    s->scavenged = p->heap.scavenged;
    s->scavenge_ns = p->scavenge_ns;
    s->memory_limit = p->memory_limit >= GM_LIMIT_OF_GROUP ? 0 : p->memory_limit;
    s->mspan_sys = p->span_records;
    s->mcache_sys = p->cache_records;
    uint64_t records = s->mspan_sys + s->mcache_sys;
    /* No state of the first table is ever written over a large object or a slot above 1 KiB. But a kernel page of states speaks for
     * 64 KiB, and the spans of such slots are shorter: if they lie together, all of them are left out, and if at random, as many as lie
     * among their like. Programs are seen to be between the two, and this is the middle: from either it is (1 - among) / 32 of the bytes
     * in such spans, which is 1/128 of what is in use at the most (where they are half of it). If each lay between spans of smaller slots
     * none would be left out, and it would be (1 + among) / 32 of their bytes too low. */
    uint64_t medium = 0, large = p->heap.large_live;
    for (unsigned cls = GM_FIRST_MEDIUM; cls < GM_CLASSES; cls++) medium += p->span_bytes[cls];
    double among = (double)gm_min(large + medium, s->heap_inuse) / (double)(s->heap_inuse + 1);
    uint64_t unwritten = gm_min((large + (uint64_t)((double)medium * (1 + among) / 2)) >> GM_STATE_SHIFT, p->heap.tables);
    s->other_sys = p->heap.tables - unwritten + (p->meta_used > records ? p->meta_used - records : 0);
    s->sys = s->heap_sys + s->mspan_sys + s->mcache_sys + s->other_sys + s->gc_sys + s->stacks_sys;
}
