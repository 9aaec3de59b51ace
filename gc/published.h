/* Threads that block in calls that the library wraps: they say where they stand, and need no signal. See
 * published.c; hooks.h has what the wrappers see. For world.c alone. */
#ifndef GC_PUBLISHED_H
#define GC_PUBLISHED_H

#include "libgomalloc/base/compiler.h"

/* Wrapped calls publish from now on. False: no memory; they never will. */
bool gc_published_start(void);
/* Takes every thread that blocks now: it will not leave its call before let_go. Calls found for each, unless that
 * answers false: then the thread is left as it is. Nothing is taken in the child of a fork that ran no fork handlers. */
void gc_published_take(bool (*found)(int tid, uintptr_t sp, uintptr_t fs_base));
/* The others have been stopped by signal, wherever they were: whoever blocks shall begin again. While held. */
void gc_published_others_stopped(void);
void gc_published_let_go(void);
void gc_published_fork_child(void);

#endif
