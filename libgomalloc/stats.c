/* Gathers the statistics. See malloc.c for the overview, gomalloc.h for what the fields mean.
 *
 * Nothing is counted twice and nearly nothing on the hit path: a malloc adds to two counters of its
 * thread's bin. Frees are not counted at all: what is live follows from what is out of the spans
 * and not in a cache or batch, and frees are mallocs minus that. The parts are read one after another,
 * so while other threads run the figures may be off by what they do meanwhile; live counts are
 * clamped at 0 and at mallocs. */
#include "libgomalloc/stats.h"

#include <errno.h>
#include <string.h>

#include "libgomalloc/base/bits.h"
#include "libgomalloc/base/print.h"
#include "libgomalloc/central.h"
#include "libgomalloc/conf.h"
#include "libgomalloc/front.h"
#include "libgomalloc/gomalloc.h"
#include "libgomalloc/heap.h"
#include "libgomalloc/hooks.h"
#include "libgomalloc/meta.h"
#include "libgomalloc/nested.h"
#include "libgomalloc/stats_format.h"
#include "libgomalloc/transfer.h"

GM_STATIC_ASSERT(GM_CLASSES <= GOMALLOC_MAX_SIZE_CLASSES, "by_size has room for every class");

static void add_classes(struct gomalloc_stats *s) {
    struct gm_cache_totals totals[GM_CLASSES];
    unsigned threads;
    gm_cache_totals(totals, &threads);
    s->threads = threads;
    s->by_size_count = GM_CLASSES - 1;
    for (unsigned cls = 1; cls < GM_CLASSES; cls++) {
        const struct gm_cache_totals *t = &totals[cls];
        struct gomalloc_size_stats *b = &s->by_size[cls - 1];
        uint64_t out = gm_central_out(cls), idle = t->cached + gm_transfer_count(cls);
        uint64_t live = gm_min(out > idle ? out - idle : 0, t->mallocs);
        b->size = gm_class_size[cls];
        b->mallocs = t->mallocs;
        b->frees = t->mallocs - live;
        b->requested = t->requested;
        b->inuse = gm_central_span_bytes(cls);
        s->mallocs += b->mallocs;
        s->frees += b->frees;
        s->total_alloc += b->mallocs * b->size;
        s->total_requested += b->requested;
        s->heap_alloc += live * b->size;
        s->heap_objects += live;
        if (t->mallocs) s->heap_requested_estimate += (uint64_t)((double)t->requested / (double)t->mallocs * (double)live);
    }
}

static void add_large(struct gomalloc_stats *s, const struct gm_heap_stats *h) {
    s->large_mallocs = h->large_mallocs;
    s->large_frees = h->large_frees;
    s->large_requested = h->large_requested;
    s->mallocs += h->large_mallocs;
    s->frees += h->large_frees;
    s->total_alloc += h->large_total;
    s->total_requested += h->large_requested;
    s->heap_alloc += h->large_live;
    s->heap_objects += h->large_mallocs - h->large_frees;
    if (gm_conf.stats == GM_STATS_EXACT) s->heap_requested_estimate = gm_exact_live_requested();
    s->heap_requested_estimate += h->large_live_requested;
}

static void read_stats(struct gomalloc_stats *s) {
    struct gm_heap_stats h;
    memset(s, 0, sizeof *s);
    if (gm_nested()) return; /* asked for by a handler that interrupted the allocator */
    gm_init_once();
    add_classes(s);
    gm_heap_read_stats(&h);
    add_large(s, &h);
    s->heap_idle = h.idle;
    s->heap_released = h.released;
    s->heap_sys = h.committed;
    s->heap_inuse = h.committed - h.idle;
    const struct gm_gc_numbers *gc = &gm_hooks.numbers;
    s->next_gc = gm_load_relaxed(&gc->next_gc);
    s->last_gc_ns = gm_load_relaxed(&gc->last_gc_ns);
    s->pause_total_ns = gm_load_relaxed(&gc->pause_total_ns);
    s->pause_max_ns = gm_load_relaxed(&gc->pause_max_ns);
    s->num_gc = gm_load_relaxed(&gc->num_gc);
    s->num_forced_gc = gm_load_relaxed(&gc->num_forced_gc);
    s->gc_sys = gm_load_relaxed(&gc->gc_sys);
    s->mspan_sys = gm_span_record_bytes();
    s->mcache_sys = gm_cache_record_bytes();
    size_t records = s->mspan_sys + s->mcache_sys, mapped = gm_meta_mapped();
    s->other_sys = h.tables + (mapped > records ? mapped - records : 0);
    s->sys = s->heap_sys + s->mspan_sys + s->mcache_sys + s->other_sys + s->gc_sys + s->stacks_sys;
}

GM_EXPORT void gomalloc_read_stats(struct gomalloc_stats *out, size_t size) {
    struct gomalloc_stats s;
    read_stats(&s);
    memcpy(out, &s, gm_min(size, sizeof s));
    if (size > sizeof s) memset((char *)out + sizeof s, 0, size - sizeof s);
}

GM_EXPORT int gomalloc_write_stats(int fd, const char *format) {
    struct gomalloc_stats s;
    read_stats(&s);
    return gm_stats_write(&s, fd, format);
}

GM_EXPORT size_t gomalloc_scavenge(void) { return gm_trim(); }

GM_EXPORT int64_t gomalloc_set_memory_limit(int64_t bytes) {
    /* The scavenger that honours it is not built yet: the value is kept and returned. */
    static int64_t limit = INT64_MAX;
    int64_t before = gm_load_relaxed(&limit);
    if (bytes >= 0) gm_store_relaxed(&limit, bytes);
    return before;
}

void gm_stats_print_exit(void) {
    gm_eprintf("gomalloc: statistics at exit\n");
    gomalloc_write_stats(2, "text");
}
