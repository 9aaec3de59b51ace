/* Nobody can go on: see deadlock.c. */
#ifndef GS_DEADLOCK_H
#define GS_DEADLOCK_H

#include "sched/gmp.h"

/* A plain thread has gone to sleep in a call of the library, or is about to end: look soon. */
void gs_deadlock_suspected(void);
/* sysmon, while every P is idle: does not return from a deadlock. Returns after how many ns to look again; -1: not before
 * something happens. */
int64_t gs_deadlock_look(void);

#endif
