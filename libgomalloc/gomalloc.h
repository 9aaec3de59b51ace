/* gomalloc: statistics and memory control of the allocator that libgomalloc.so puts under a program.
 *
 * The allocation functions themselves keep the C library's names (malloc, free, ...). Everything
 * here may be called from any thread; none of it is async-signal-safe. Sizes are bytes. */
#ifndef GOMALLOC_H
#define GOMALLOC_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define GOMALLOC_VERSION "0.1.0"
#define GOMALLOC_MAX_SIZE_CLASSES 96
#define GOMALLOC_PAUSE_BUCKETS 20
#define GOMALLOC_PAUSE_NS 10000

/* One size class. mallocs - frees is the number of live objects of `size` bytes each. */
struct gomalloc_size_stats {
    uint64_t size;      /* bytes of one object of the class */
    uint64_t mallocs;   /* objects handed out since the start */
    uint64_t frees;     /* objects taken back since the start */
    uint64_t requested; /* bytes asked for since the start */
    uint64_t inuse;     /* bytes of the class's spans, free slots included */
};

/* The fields are those of Go's runtime.MemStats. The struct only grows at its end: pass
 * sizeof(struct gomalloc_stats) as your program was compiled with it. Counters of threads that run
 * during the call may be a few operations behind; in a quiescent program all figures are exact. */
struct gomalloc_stats {
    uint64_t heap_alloc;              /* bytes in live objects, rounded to size classes */
    uint64_t total_requested;         /* bytes asked for since the start */
    uint64_t heap_requested_estimate; /* bytes asked for in live objects; exact under stats:exact */
    uint64_t heap_inuse;              /* bytes of spans that hold objects or caches' free slots */
    uint64_t heap_idle;               /* bytes of pages in no span, or given back inside of one */
    uint64_t heap_released;           /* of heap_idle: not backed by memory */
    uint64_t heap_sys;                /* heap_inuse + heap_idle */
    uint64_t heap_objects;            /* live objects */
    uint64_t mspan_sys;               /* bytes of span records */
    uint64_t mcache_sys;              /* bytes of thread caches and transfer batches */
    uint64_t other_sys;               /* page tables, slot states, bitmaps and other records */
    uint64_t gc_sys;                  /* bytes of the collector's own structures */
    uint64_t stacks_sys;              /* bytes of goroutine stacks */
    uint64_t sys;                     /* sum of all *_sys */
    uint64_t mallocs;                 /* objects handed out since the start */
    uint64_t frees;                   /* objects taken back since the start */
    uint64_t total_alloc;             /* bytes handed out since the start, rounded to size classes */
    uint64_t next_gc;                 /* heap_alloc at which the next collection starts; 0: none */
    uint64_t last_gc_ns;              /* end of the last collection, ns since the epoch; 0: none */
    uint64_t pause_total_ns;
    uint64_t pause_max_ns;
    uint64_t num_gc;
    uint64_t num_forced_gc;
    uint64_t large_mallocs;           /* objects over 32 KiB handed out since the start */
    uint64_t large_frees;
    uint64_t large_requested;         /* bytes asked for in them */
    uint64_t threads;                 /* thread caches in use */
    uint64_t heap_goal;               /* bytes of heap_sys - heap_released that the scavenger leaves */
    uint64_t scavenged;               /* bytes given back to the kernel since the start */
    uint64_t scavenge_ns;             /* time the scavenger has worked since the start */
    uint64_t memory_limit;            /* the soft limit; 0: none */
    uint64_t by_size_count;           /* entries of by_size in use */
    struct gomalloc_size_stats by_size[GOMALLOC_MAX_SIZE_CLASSES];
    /* Pauses by length: pauses[i] counts those below GOMALLOC_PAUSE_NS << i that are in no bucket before; the last one has
     * the longer ones too. */
    uint64_t pauses[GOMALLOC_PAUSE_BUCKETS];
};

/* Fills the first `size` bytes of *out; fields this library does not know are set to 0. */
void gomalloc_read_stats(struct gomalloc_stats *out, size_t size);

/* Writes the statistics to a descriptor as "text", "json" or "openmetrics" (what a Prometheus
 * textfile collector takes). 0, -EINVAL for another format, or -errno of the write. */
int gomalloc_write_stats(int fd, const char *format);

/* Returns every free page to the kernel, the calling thread's cache included; the number of bytes
 * that went back. */
size_t gomalloc_scavenge(void);

/* Sets the soft memory limit in bytes (INT64_MAX: none) and returns the previous one; a negative
 * argument only asks. What counts is the library's own memory (sys - heap_released). Near the limit free
 * pages go back to the kernel before new ones are taken; allocation is never refused because of it. */
int64_t gomalloc_set_memory_limit(int64_t bytes);

#ifdef __cplusplus
}
#endif

#endif
