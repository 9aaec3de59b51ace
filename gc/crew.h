/* Hands for marking: threads that live for one piece of work, while all others stand still. See crew.c. */
#ifndef GC_CREW_H
#define GC_CREW_H

#include "libgomalloc/base/compiler.h"

/* With the caller, who is the first of them. */
enum { GC_CREW_MAX = 16 };

/* Makes up to workers - 1 threads, which wait. The number there are, the caller included: gc_crew_run has to come
 * next. While the world is held and every signal is blocked, or in a snapshot child. */
unsigned gc_crew_hire(unsigned workers);
/* Calls fn(arg, 0) here and fn(arg, 1) ... fn(arg, workers - 1) on the hired, all of them; they are gone when it returns. */
void gc_crew_run(void (*fn)(void *arg, unsigned worker), void *arg, unsigned workers);

#endif
