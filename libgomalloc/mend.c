/* See mend.h, and huge.c for the overview.
 *
 * The background thread does the work (scavenge.c): while the kernel collapses a page, faults of the program wait, and the kernel lets
 * them in between two. A process that has no such thread does it on the allocator's slow paths.
 *
 * Steps are claimed by a counter, so it does not matter who takes them, or that a copy goes while the last is still being made up for. */
#include "libgomalloc/mend.h"

#include "libgomalloc/base/atomic.h"
#include "libgomalloc/heap.h"
#include "libgomalloc/huge.h"
#include "libgomalloc/os/os.h"

enum { SHARE = 4 };           /* of an allocating thread's time */

static uint32_t due;          /* atomic */
static size_t next;           /* atomic: the piece to look at */
static uint64_t not_before;   /* atomic, a guess: of the next step of an allocating thread */

bool gm_mend_due(void) { return gm_load_relaxed(&due) != 0; }

void gm_mend_begin(void) {
    gm_store_relaxed(&next, 0);
    gm_store_relaxed(&due, 1);
}

void gm_mend_stop(void) { gm_store_relaxed(&due, 0); }

static bool take(void **piece) {
    bool any;
    gm_heap_lock();
    do any = gm_huge_piece(gm_add_relaxed(&next, 1), piece);
    while (any && !*piece);
    gm_heap_unlock();
    return any;
}

uint64_t gm_mend_step(void) {
    void *piece;
    if (!gm_mend_due()) return 0;
    if (!take(&piece)) {
        gm_store_relaxed(&due, 0);
        return 0;
    }
    uint64_t start = gm_os_nanotime();
    gm_os_collapse(piece, GM_CHUNK_SIZE); /* it may have been given back: then it is not collapsed, and need not be */
    return gm_os_nanotime() - start + 1;
}

void gm_mend_inline(void) {
    uint64_t now = gm_os_nanotime();
    if (!gm_mend_due() || now < gm_load_relaxed(&not_before)) return;
    gm_store_relaxed(&not_before, now + SHARE * gm_mend_step());
}
