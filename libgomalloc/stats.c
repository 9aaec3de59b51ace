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
#include "libgomalloc/endpoint.h"
#include "libgomalloc/front.h"
#include "libgomalloc/gomalloc.h"
#include "libgomalloc/heap.h"
#include "libgomalloc/hooks.h"
#include "libgomalloc/meta.h"
#include "libgomalloc/nested.h"
#include "libgomalloc/scavenge.h"
#include "libgomalloc/stats_format.h"
#include "libgomalloc/stats_sum.h"
#include "libgomalloc/transfer.h"

static void gather(struct gm_stats_parts *p) {
    gm_cache_totals(p->totals, &p->threads);
    for (unsigned cls = 1; cls < GM_CLASSES; cls++) {
        p->out[cls] = gm_central_out(cls);
        p->transfer[cls] = gm_transfer_count(cls);
        p->span_bytes[cls] = gm_central_span_bytes(cls);
    }
    gm_heap_read_stats(&p->heap);
    p->span_records = gm_span_record_bytes();
    p->cache_records = gm_cache_record_bytes();
    p->meta_used = gm_meta_used();
    p->scavenge_ns = gm_scavenge_worked();
    p->memory_limit = gm_heap_memory_limit();
    p->exact = gm_conf.stats == GM_STATS_EXACT;
    p->exact_live = p->exact ? gm_exact_live_requested() : 0;
}

static void read_stats(struct gomalloc_stats *s) {
    struct gm_stats_parts parts;
    memset(s, 0, sizeof *s);
    if (gm_nested()) return; /* asked for by a handler that interrupted the allocator */
    gm_init_once();
    gather(&parts);
    gm_stats_sum(&parts, s);
    for (const struct gm_endpoint_counter *c = gm_endpoint.counter; c < gm_endpoint.counter + GM_ENDPOINT_COUNTERS && c->at; c++)
        *(uint64_t *)((char *)s + c->offset) += gm_load_relaxed(c->at);
    for (unsigned i = 0; gm_endpoint.pauses && i < GOMALLOC_PAUSE_BUCKETS; i++) s->pauses[i] = gm_load_relaxed(&gm_endpoint.pauses->by_length[i]);
    s->sys += s->gc_sys + s->stacks_sys;
}

static void list_ranges(struct gm_stats_ranges *r) {
    r->n = 0;
    if (gm_nested()) return;
    for (struct gm_arena *a = gm_arena_next(NULL); a; a = gm_arena_next(a)) {
        gm_stats_add_range(r, gm_arena_tables(a), a->base, "tables and records");
        gm_stats_add_range(r, a->base, a->base + gm_load_acquire(&a->committed), "heap");
    }
    for (struct gm_meta_mapping *m = gm_load_acquire(&gm_meta_mappings); m; m = m->next)
        gm_stats_add_range(r, (uintptr_t)m, (uintptr_t)m + m->size, "records");
}

GM_EXPORT void gomalloc_read_stats(struct gomalloc_stats *out, size_t size) {
    struct gomalloc_stats s;
    read_stats(&s);
    memcpy(out, &s, gm_min(size, sizeof s));
    if (size > sizeof s) memset((char *)out + sizeof s, 0, size - sizeof s);
}

GM_EXPORT int gomalloc_write_stats(int fd, const char *format) {
    struct gomalloc_stats s;
    struct gm_stats_ranges ranges;
    read_stats(&s);
    list_ranges(&ranges);
    return gm_stats_write(&s, &ranges, fd, format);
}

GM_EXPORT size_t gomalloc_scavenge(void) { return gm_trim(); }

GM_EXPORT int64_t gomalloc_set_memory_limit(int64_t bytes) {
    size_t before = gm_heap_memory_limit();
    if (bytes >= 0) gm_heap_set_memory_limit(bytes == INT64_MAX ? SIZE_MAX : (size_t)bytes);
    if (bytes >= 0 && gm_load_relaxed(&gm_hooks.on)) gm_hooks.limit_changed();
    return before > INT64_MAX ? INT64_MAX : (int64_t)before;
}

void gm_stats_print_exit(void) {
    gm_eprintf("gomalloc: statistics at exit\n");
    gomalloc_write_stats(2, "text");
}
