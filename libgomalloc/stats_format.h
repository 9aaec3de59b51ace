/* Statistics as text: for people, as JSON, as OpenMetrics, and as glibc's malloc_info XML.
 *
 * GM_STATS_FIELDS is the one table of what struct gomalloc_stats holds, in the struct's order; the text,
 * JSON and OpenMetrics writers and the man page are made of it, so that a field added here is in all of
 * them. The functions format only: where the figures come from is stats.c's business. */
#ifndef GM_STATS_FORMAT_H
#define GM_STATS_FORMAT_H

#include "libgomalloc/base/print.h"
#include "libgomalloc/gomalloc.h"

/* A gauge may go up and down, a counter only grows. OpenMetrics wants base units, so nanoseconds become
 * seconds there, and the unit and "_total" are appended to the metric's name. */
enum gm_stats_kind { GM_GAUGE, GM_COUNTER };
enum gm_stats_unit { GM_UNIT_NONE, GM_UNIT_BYTES, GM_UNIT_NS };

/* X(field of struct gomalloc_stats, kind, unit, OpenMetrics stem, help) */
#define GM_STATS_FIELDS(X) \
    X(heap_alloc, GAUGE, BYTES, "heap_alloc", "in live objects, rounded to size classes") \
    X(total_requested, COUNTER, BYTES, "requested", "asked for since the start") \
    X(heap_requested_estimate, GAUGE, BYTES, "heap_requested_estimate", \
      "asked for in live objects; exact under stats:exact") \
    X(heap_inuse, GAUGE, BYTES, "heap_inuse", "of spans that hold objects or free slots of caches") \
    X(heap_idle, GAUGE, BYTES, "heap_idle", "of pages in no span, or given back inside of one") \
    X(heap_released, GAUGE, BYTES, "heap_released", "of idle memory that is not backed") \
    X(heap_sys, GAUGE, BYTES, "heap_sys", "of the heap: in use and idle") \
    X(heap_objects, GAUGE, NONE, "heap_objects", "live objects") \
    X(mspan_sys, GAUGE, BYTES, "mspan_sys", "of span records") \
    X(mcache_sys, GAUGE, BYTES, "mcache_sys", "of thread caches and transfer batches") \
    X(other_sys, GAUGE, BYTES, "other_sys", "of page tables, slot states, bitmaps and other records") \
    X(gc_sys, GAUGE, BYTES, "gc_sys", "of the structures of the collector") \
    X(stacks_sys, GAUGE, BYTES, "stacks_sys", "of goroutine stacks") \
    X(sys, GAUGE, BYTES, "sys", "of everything above that ends in _sys") \
    X(mallocs, COUNTER, NONE, "mallocs", "objects handed out since the start") \
    X(frees, COUNTER, NONE, "frees", "objects taken back since the start") \
    X(total_alloc, COUNTER, BYTES, "alloc", "handed out since the start, rounded to size classes") \
    X(next_gc, GAUGE, BYTES, "next_gc", "heap_alloc at which the next collection starts; 0: none") \
    X(last_gc_ns, GAUGE, NS, "last_gc_timestamp", "end of the last collection since the epoch; 0: none") \
    X(pause_total_ns, COUNTER, NS, "pause", "all stop-the-world pauses together") \
    X(pause_max_ns, GAUGE, NS, "pause_max", "the longest pause") \
    X(num_gc, COUNTER, NONE, "gc_cycles", "collections since the start") \
    X(num_forced_gc, COUNTER, NONE, "gc_cycles_forced", "collections that the program asked for") \
    X(large_mallocs, COUNTER, NONE, "large_mallocs", "objects over 32 KiB handed out since the start") \
    X(large_frees, COUNTER, NONE, "large_frees", "objects over 32 KiB taken back since the start") \
    X(large_requested, COUNTER, BYTES, "large_requested", \
      "asked for in objects over 32 KiB since the start") \
    X(threads, GAUGE, NONE, "threads", "thread caches in use") \
    X(heap_goal, GAUGE, BYTES, "heap_goal", "of heap memory that the scavenger leaves") \
    X(scavenged, COUNTER, BYTES, "scavenged", "given back to the kernel since the start") \
    X(scavenge_ns, COUNTER, NS, "scavenge", "time the scavenger has worked") \
    X(memory_limit, GAUGE, BYTES, "memory_limit", "of the soft memory limit; 0: none") \
    X(by_size_count, GAUGE, NONE, "size_classes", "size classes, the entries of by_size in use")

/* X(field of struct gomalloc_size_stats, kind, unit, OpenMetrics stem, help); `size` is their label. */
#define GM_STATS_CLASS_FIELDS(X) \
    X(mallocs, COUNTER, NONE, "class_mallocs", "objects of a size class handed out since the start") \
    X(frees, COUNTER, NONE, "class_frees", "objects of a size class taken back since the start") \
    X(requested, COUNTER, BYTES, "class_requested", "asked for in a size class since the start") \
    X(inuse, GAUGE, BYTES, "class_inuse", "of the spans of a size class, free slots included")

/* Where the library's memory lies, for the json form: what stands in the operating system's tables about these
 * addresses is what the figures speak of. */
#define GM_STATS_RANGES 64
struct gm_stats_ranges {
    unsigned n; /* further ones are left out */
    struct { uintptr_t start, end; const char *what; } at[GM_STATS_RANGES];
};
void gm_stats_add_range(struct gm_stats_ranges *r, uintptr_t start, uintptr_t end, const char *what);

/* Writes *s to fd as "text", "json" or "openmetrics", with the ranges if there are some. 0, -EINVAL for another format,
 * or the write's -errno. */
int gm_stats_write(const struct gomalloc_stats *s, const struct gm_stats_ranges *ranges, int fd, const char *format);

/* Writes *s to o as malloc_info does, and flushes. 0 or the write's -errno. */
int gm_stats_malloc_info(const struct gomalloc_stats *s, struct gm_out *o);

#endif
