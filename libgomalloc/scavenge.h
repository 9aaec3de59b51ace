/* The scavenger: gives idle pages back to the kernel, at a pace. See scavenge.c. */
#ifndef GM_SCAVENGE_H
#define GM_SCAVENGE_H

#include "libgomalloc/heap.h"

/* Called on the allocator's slow paths, with no lock held and the caller's cache in order. */
void gm_scavenge_inline(void);
GM_INLINE void gm_scavenge_poll(void) {
    if (GM_UNLIKELY(gm_load_relaxed(&gm_heap_pending))) gm_scavenge_inline();
}

/* The only thread is about to sleep, in a call that can be cut into pieces; it has slept through `looks` of them. Gives back
 * what is due; ns after which to ask again, 0: never. */
uint64_t gm_scavenge_asleep(unsigned looks);
enum { GM_SCAVENGE_LOOKS = 10 }; /* at the last of them all that is idle goes back */

/* Gives back what lies above this layer: in the caches of sleeping threads, in holes of spans (idle.h). Bytes. */
typedef size_t (*gm_scavenge_tidy)(uint64_t until, bool at_once);
/* Constructor: the options are known. */
void gm_scavenge_init(gm_scavenge_tidy tidy_above);
/* The program has just started a thread of its own, and is at a point where it could start another: the
 * background thread may be made. */
void gm_scavenge_threads_started(void);
/* A thread of the program has ended, perhaps the last. */
void gm_scavenge_thread_gone(void);
/* There is work for the background thread now, where there is one. */
void gm_scavenge_wake(void);
bool gm_scavenge_has_thread(void);
/* Child of a fork: the background thread is not there. */
void gm_scavenge_fork_child(void);
/* Everything free goes back, now. The bytes. */
size_t gm_scavenge_all(void);
/* ns the scavenger has worked since the start. */
uint64_t gm_scavenge_worked(void);
extern GM_HIDDEN const uint64_t *const gm_scavenge_root; /* where that figure lies (endpoint.h) */

#endif
