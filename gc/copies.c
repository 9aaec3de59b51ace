/* See copies.h, and cycle.c for the overview.
 *
 * Each page costs the program a fault and a copy, some 2.5 us, and the process and its child together 4 KiB. A program that writes all
 * over its heap comes to a standstill in such faults for much of the marking anyway. So an eighth of the heap is what may be copied:
 * past a third of that allocating threads rest now and then, the more often the nearer it is, and never for good. A program that just
 * allocates, or writes to few places, is not held back.
 *
 * Copies are not told apart from other faults, such as first touches of fresh memory, of which there are few (huge pages). */
#include "gc/copies.h"

#include "libgomalloc/base/atomic.h"
#include "libgomalloc/base/bits.h"
#include "libgomalloc/os/os.h"

enum { COST_NS = 2500, SHARE = 8, FREE_SHARE = 3, PAGES_MIN = 1024, SLICES = 64, SLICE_MIN = 16 };

static uint64_t at_start;          /* faults of the process before (cycle lock) */
static uint64_t allowed, most;     /* atomic: faults after which the next rest is due, and that should not be exceeded */

void gc_copies_begin(int64_t live) {
    uint64_t pages = gm_max(live > 0 ? (uint64_t)live / SHARE / gm_os_page_size() : 0, PAGES_MIN);
    at_start = gm_os_faults();
    gm_store_relaxed(&most, at_start + pages);
    gm_store_relaxed(&allowed, at_start + pages / FREE_SHARE);
}

uint64_t gc_copies_cost(void) { return (gm_os_faults() - at_start) * COST_NS; }

bool gc_copies_too_many(void) {
    uint64_t faults = gm_os_faults(), bound = gm_load_relaxed(&most);
    if (faults < gm_load_relaxed(&allowed)) return false;
    uint64_t left = faults < bound ? bound - faults : 0;
    gm_store_relaxed(&allowed, faults + gm_max(left / SLICES, SLICE_MIN));
    return true;
}
