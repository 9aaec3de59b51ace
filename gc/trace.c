/* See trace.h. */
#include "gc/trace.h"
#include "gc/world.h"

#include <stddef.h>
#include <time.h>

#include "libgomalloc/base/atomic.h"
#include "libgomalloc/base/bits.h"
#include "libgomalloc/base/print.h"
#include "libgomalloc/conf.h"
#include "libgomalloc/endpoint.h"
#include "libgomalloc/os/os.h"

/* The collector's part of the statistics: what the fields of struct gomalloc_stats of these names say. Written
 * under the cycle lock, read anywhere. */
static struct {
    uint64_t next_gc, last_gc_ns, pause_total_ns, pause_max_ns, num_gc, num_forced_gc, gc_sys;
} numbers;
static struct gm_pauses pauses;
static uint64_t started;

void gc_trace_init(void) {
    started = gm_os_nanotime();
#define NUMBER(name) gm_endpoint_add(offsetof(struct gomalloc_stats, name), &numbers.name)
    NUMBER(next_gc);
    NUMBER(last_gc_ns);
    NUMBER(pause_total_ns);
    NUMBER(pause_max_ns);
    NUMBER(num_gc);
    NUMBER(num_forced_gc);
    NUMBER(gc_sys);
#undef NUMBER
    gm_endpoint.pauses = &pauses;
}

/* The first bucket whose bound is above it. */
static unsigned bucket_of(uint64_t ns) {
    unsigned i = 0;
    while (i < GOMALLOC_PAUSE_BUCKETS - 1 && ns >= (uint64_t)GOMALLOC_PAUSE_NS << i) i++;
    return i;
}

void gc_trace_pause(uint64_t ns) {
    gm_add_relaxed(&pauses.by_length[bucket_of(ns)], 1);
    gm_add_relaxed(&numbers.pause_total_ns, ns);
    if (ns > numbers.pause_max_ns) gm_store_relaxed(&numbers.pause_max_ns, ns);
    pauses.entry[pauses.count % GM_PAUSES].at_ns = gm_os_nanotime();
    pauses.entry[pauses.count % GM_PAUSES].length_ns = ns;
    gm_store_release(&pauses.count, pauses.count + 1); /* pairs with the reader's copy: the entry is whole */
}

void gc_trace_memory(uint64_t bytes) { gm_store_relaxed(&numbers.gc_sys, bytes); }

static uint64_t wall_clock(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static double ms(uint64_t ns) { return (double)ns / 1e6; }
static uint64_t mb(int64_t bytes) { return (uint64_t)(bytes > 0 ? bytes : 0) >> 20; }

/* Go's fields: "first+beside+last ms clock", then the same in CPU time with assist/background/idle. The
 * percentage is the time the world stood still and the marking CPU, of the CPU time there was. */
static void print_line(const struct gc_trace *t, uint64_t number) {
    uint64_t now = gm_os_nanotime(), since = now - started;
    unsigned procs = gm_os_cpus();
    static uint64_t spent; /* by the collector; under the cycle lock */
    spent += t->first_pause + t->last_pause + t->mark_cpu_ns;
    struct gm_out o;
    gm_out_init(&o, 2);
    gm_out_printf(&o, "gc %lu @%.3fs %lu%%: ", number, (double)since / 1e9, since ? spent * 100 / (since * procs) : 0);
    gm_out_printf(&o, "%.3f+%.3f+%.3f ms clock, ", ms(t->first_pause), ms(t->mark_ns), ms(t->last_pause));
    gm_out_printf(&o, "%.3f+0/%.3f/0+%.3f ms cpu, ", ms(t->first_pause), ms(t->mark_cpu_ns), ms(t->last_pause));
    gm_out_printf(&o, "%lu->%lu->%lu MB, %lu MB goal, 0 MB stacks, %lu MB globals, %u P, %s%s\n", mb(t->heap_start), mb(t->heap_end),
                  mb(t->live), mb(t->goal), mb(t->roots), procs, t->barrier, t->forced ? " (forced)" : "");
    gm_out_flush(&o);
}

void gc_trace_cycle(const struct gc_trace *t, int64_t next) {
    gm_add_relaxed(&numbers.num_gc, 1);
    if (t->forced) gm_add_relaxed(&numbers.num_forced_gc, 1);
    gm_store_relaxed(&numbers.last_gc_ns, wall_clock());
    gm_store_relaxed(&numbers.next_gc, next == INT64_MAX ? 0 : (uint64_t)next);
    if (gm_conf.gctrace > 0) print_line(t, numbers.num_gc);
}

void gc_trace_given_up(const char *why) {
    if (gm_conf.gctrace > 0) gm_eprintf("gomalloc: no collection: %s\n", why);
}

uint64_t gc_world_cycles(void) { return gm_load_relaxed(&numbers.num_gc); }
