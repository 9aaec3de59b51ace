/* Pools, for the collector. See pool.c. */
#ifndef GS_POOL_H
#define GS_POOL_H

#include "libgomalloc/base/compiler.h"

/* Once a cycle, before anything is marked, from a thread or goroutine that may run the program's code: while others run, and with
 * no lock held. What was put before the last call of this is dropped; what was put since goes with the next one, unless it is used. */
void gs_pools_gc(void);

#endif
