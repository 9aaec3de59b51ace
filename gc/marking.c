/* See marking.h, and cycle.c for the overview. */
#include "gc/marking.h"

#include "gc/crew.h"
#include "gc/fork.h"
#include "gc/mark.h"
#include "gc/roots.h"
#include "gc/watch.h"
#include "libgomalloc/base/bits.h"
#include "libgomalloc/os/os.h"

enum { WORTH_A_CREW = 4 << 20 };
static int64_t work; /* bytes */

bool gc_marking_held(uintptr_t program_from, int64_t expected, bool all) {
    work = expected;
    gc_roots_own_stack(program_from); /* our own frames are not looked at: addresses of objects that were swept lie about in them */
    gc_mark_at_stop();
    if (all) gc_mark_free_slots(); /* else in the child: the threads stand still here */
    gc_roots_scan_registers();
    return gc_roots_scan_held(all);
}

static unsigned spare; /* CPUs that the program did not use while the last child marked, as its threads waited for the child */

void gc_marking_waited(uint64_t waited_ns, uint64_t mark_ns) { spare = (unsigned)((waited_ns + mark_ns / 2) / (mark_ns + 1)); }

unsigned gc_marking_workers(bool beside, int64_t bytes, unsigned cpus) {
    if (bytes < WORTH_A_CREW) return 1;
    return beside ? (unsigned)gm_min(gm_max(cpus / 4, 1u) + spare, cpus) : cpus;
}

static bool mark_all(bool beside, bool scanned) {
    gc_mark_free_slots();
    if (!scanned && !gc_roots_scan_private()) return false;
    gc_watch_mark();
    gc_mark_drain(gc_crew_hire(gc_marking_workers(beside, work, gm_os_cpus())), gc_crew_run);
    return true;
}

bool gc_marking_all(bool scanned) { return mark_all(false, scanned); }

bool gc_marking_child(struct gc_fork_result *result) {
    if (!mark_all(true, false)) {
        result->incomplete = gc_roots_incomplete();
        return false;
    }
    struct gc_mark_totals t;
    gc_mark_totals(&t);
    result->objects = t.objects;
    result->bytes = t.bytes;
    result->scanned_bytes = t.scanned_bytes;
    result->root_bytes = gc_roots_bytes();
    return true;
}
