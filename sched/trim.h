/* Giving back the unused pages of stacks of goroutines that wait. See trim.c. */
#ifndef GS_TRIM_H
#define GS_TRIM_H

#include "sched/gmp.h"

/* g was about to run and has `hold` set: waits until its stack is let go of. */
void gs_trim_wait(struct gs_g *g);
/* sysmon, while goroutines run: some of those that have waited for long. */
void gs_trim_some(int64_t now);
/* sysmon, while none does, since `idle_since`: all of them, once. Nanoseconds until it wants to be called again; -1: not. */
int64_t gs_trim_idle(int64_t now, int64_t idle_since);
void gs_trim_fork_child(void);

#endif
