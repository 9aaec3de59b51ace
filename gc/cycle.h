/* The collector's cycle. See cycle.c for the overview of gc/. */
#ifndef GC_CYCLE_H
#define GC_CYCLE_H

#include "libgomalloc/base/compiler.h"

/* Switches the collector on as the options say. From the library's constructor, while the process has one
 * thread; does nothing when gc is off. */
void gc_init(void);
bool gc_is_on(void);
/* A full cycle, from start to the last swept span. False: the world could not be held. */
bool gc_collect(void);
/* What a weak reference leads to (watch.h), NULL if it is gone. May wait for a marking to end. */
void *gc_weak_get(void *weak);
/* Automatic cycles on or off; the previous state. */
bool gc_enable(bool on);
/* GOGC; negative: only by the limit or by call. The previous value. */
int64_t gc_set_percent(int64_t percent);
/* No cycle begins, ends or marks at a stop between: around changes of what roots.h knows of the program. */
void gc_cycle_lock(void);
void gc_cycle_unlock(void);

/* Around the host's fork, outside all other locks. */
void gc_fork_prepare(void);
void gc_fork_parent(void);
void gc_fork_child(void);

#endif
