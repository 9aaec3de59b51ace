/* A goroutine that used more stack than it has. See overflow.c. */
#ifndef GS_OVERFLOW_H
#define GS_OVERFLOW_H

#include "sched/gmp.h"

/* Handles SIGSEGV and SIGBUS from now on. False: refused. */
bool gs_overflow_watch(void);
/* Gives the calling thread a signal stack, unless it has one; before it first runs a goroutine. */
void gs_overflow_thread(struct gs_m *m);
/* Names the goroutine on stderr, with its stack as far as `context` (a signal handler's; NULL: the caller's) leads, and ends the
 * process. */
GM_NORETURN void gs_overflowed(struct gs_g *g, const void *context);

#endif
