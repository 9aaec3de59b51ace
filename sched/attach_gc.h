/* Goroutines and the collector. See attach_gc.c. */
#ifndef GS_ATTACH_GC_H
#define GS_ATTACH_GC_H

#include "libgomalloc/base/compiler.h"

/* There is a collector: what is taken out of a buffer must not be left in it. */
extern GM_HIDDEN bool gs_collected;
/* Before the first goroutine. */
void gs_attach_gc(void);
/* Ages the pools if there has been a cycle since. On a thread or goroutine that holds no lock; cheap. */
void gs_pools_look(void);

#endif
