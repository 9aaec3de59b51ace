/* Waiting until others wait, by their records instead of by the clock: how long it takes until a goroutine has parked is up
 * to the machine. A park stores its state before it lets go of the lock of what it waits for, so whoever takes that
 * lock afterwards finds it queued. */
#ifndef TESTS_UNIT_PARKED_H
#define TESTS_UNIT_PARKED_H

#include <unistd.h>

#include "sched/state.h"

/* Goroutines in the state; plain threads that park count as well, those of the scheduler do not. */
static inline unsigned parked_in(enum gs_state state) {
    unsigned n = 0;
    for (struct gs_g *g = gm_load_acquire(&gs_sched.all_g); g; g = g->all_next) n += gm_load_relaxed(&g->state) == state;
    return n;
}

/* Until at least so many wait. */
static inline void parked_wait(unsigned n) {
    while (parked_in(GS_G_WAITING) < n) usleep(200);
}

#endif
