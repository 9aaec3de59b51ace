/* A stop of the world for a piece of work, with this thread's own registers where they can be scanned. See cycle.c. */
#ifndef GC_STOP_H
#define GC_STOP_H

#include "libgomalloc/base/compiler.h"

/* Holds the world for f; the time it stood is *pause. False: it could not be held, which the trace says, or f
 * said so. Under the lock of the cycle; takes those of watches and of the list of caches meanwhile. */
bool gc_stop(bool (*f)(void), uint64_t *pause);
/* Runs f with all callee-saved registers of this thread on its stack from `from` on. */
bool gc_stop_spilled(bool (*f)(uintptr_t from));

#endif
