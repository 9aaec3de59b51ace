/* Which threads are the library's own. The contract stands in os.h. Plain words, no lock: a collector asks while all
 * other threads stand still. */
#include "libgomalloc/os/os.h"

#include "libgomalloc/base/atomic.h"

enum { MOST = 64, CHANGING = -1 };
static struct {
    int tid;                      /* 0: free; CHANGING: becomes a thread's, which is not in the list yet */
    struct gm_os_own_stack stack; /* means something while tid is a thread's: it is filled in before */
} list[MOST];
static unsigned helpers; /* atomic */

/* A thread's, from where its caller's frame ends. A thread is stopped and looked at until its tid is there (release). */
static void fill_in(unsigned i, int tid, uintptr_t frame) {
    gm_store_relaxed(&list[i].stack.control_block, (uintptr_t)__builtin_thread_pointer());
    gm_store_relaxed(&list[i].stack.from, frame);
    gm_store_release(&list[i].tid, tid);
}

bool gm_os_enter_library_thread(void) {
    int tid = gm_os_gettid();
    for (unsigned i = 0; i < MOST; i++) {
        int there = gm_load_relaxed(&list[i].tid);
        if (there == tid) return true;
        if (there == CHANGING || (there != 0 && gm_os_thread_exists(there))) continue;
        if (!gm_cas_acq_rel(&list[i].tid, &there, CHANGING)) continue; /* it was free, or its thread has gone */
        fill_in(i, tid, (uintptr_t)__builtin_frame_address(0));
        return true;
    }
    return false;
}

void gm_os_leave_library_thread(void) {
    int tid = gm_os_gettid();
    for (unsigned i = 0; i < MOST; i++)
        if (gm_load_relaxed(&list[i].tid) == tid) gm_store_relaxed(&list[i].tid, 0);
}

bool gm_os_own_stack(unsigned *i, struct gm_os_own_stack *out) {
    for (; *i < MOST; ++*i) {
        int tid = gm_load_acquire(&list[*i].tid); /* pairs with fill_in */
        if (tid == 0 || tid == CHANGING) continue;
        out->from = gm_load_relaxed(&list[*i].stack.from);
        out->control_block = gm_load_relaxed(&list[*i].stack.control_block);
        ++*i;
        return true;
    }
    return false;
}

unsigned gm_os_helpers(void) { return gm_load_relaxed(&helpers); }
void gm_os_count_helper(int change) { gm_add_relaxed(&helpers, (unsigned)change); }

bool gm_os_is_library_thread(int tid) {
    for (unsigned i = 0; i < MOST; i++)
        if (gm_load_relaxed(&list[i].tid) == tid) return true;
    return false;
}

void gm_os_forget_library_threads(void) {
    gm_store_relaxed(&helpers, 0);
    for (unsigned i = 0; i < MOST; i++) gm_store_relaxed(&list[i].tid, 0);
}
