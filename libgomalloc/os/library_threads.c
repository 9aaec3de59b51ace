/* Which threads are the library's own. The contract stands in os.h. Plain words, no lock: a collector asks while all
 * other threads stand still. */
#include "libgomalloc/os/os.h"

#include "libgomalloc/base/atomic.h"

enum { MOST = 64 };
static int library_threads[MOST]; /* 0: free */
static unsigned helpers;          /* atomic */

bool gm_os_enter_library_thread(void) {
    int tid = gm_os_gettid();
    for (unsigned i = 0; i < MOST; i++) {
        int none = 0, there = gm_load_relaxed(&library_threads[i]);
        if (there == tid) return true;
        if (there != 0 && gm_os_thread_exists(there)) continue;
        none = there; /* free, or its thread has gone */
        if (gm_cas_acq_rel(&library_threads[i], &none, tid)) return true;
    }
    return false;
}

void gm_os_leave_library_thread(void) {
    int tid = gm_os_gettid();
    for (unsigned i = 0; i < MOST; i++)
        if (gm_load_relaxed(&library_threads[i]) == tid) gm_store_relaxed(&library_threads[i], 0);
}

unsigned gm_os_helpers(void) { return gm_load_relaxed(&helpers); }
void gm_os_count_helper(int change) { gm_add_relaxed(&helpers, (unsigned)change); }

bool gm_os_is_library_thread(int tid) {
    for (unsigned i = 0; i < MOST; i++)
        if (gm_load_relaxed(&library_threads[i]) == tid) return true;
    return false;
}

void gm_os_forget_library_threads(void) {
    gm_store_relaxed(&helpers, 0);
    for (unsigned i = 0; i < MOST; i++) gm_store_relaxed(&library_threads[i], 0);
}
