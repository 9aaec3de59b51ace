/* Objects that somebody wants to hear of: finalizers and weak references. See watch.c. All functions but those that
 * say otherwise: any thread, no lock held. */
#ifndef GC_WATCH_H
#define GC_WATCH_H

#include "libgomalloc/base/compiler.h"

/* fn(obj, arg) once nothing but weak references and itself leads to obj. fn NULL takes it away. 0; -EINVAL: obj is no
 * live object's start, or a tiny one; -ENOMEM. */
int gc_watch_set_finalizer(void *obj, void (*fn)(void *obj, void *arg), void *arg);
/* A weak reference, or NULL with errno as above. */
void *gc_watch_weak(void *obj);
void gc_watch_weak_free(void *weak);
/* The object, NULL if it is gone. *doubtful: a marking is under way that has not reached it; ask again after it. */
void *gc_watch_weak_get(void *weak, bool *doubtful);

/* ---- for the cycle */

/* Nobody changes anything between: around a stop, and a fork of the host. */
void gc_watch_lock(void);
void gc_watch_unlock(void);
/* World held, or in a snapshot child: what finalizable objects lead to, and what is about to be finalized, is kept. */
void gc_watch_mark(void);
/* After marking and the flip, before the sweep, by whoever holds the cycle lock: references to dead objects are
 * cleared, dead objects with a finalizer come to life for it. */
void gc_watch_settle(void);
/* Marks are being made: weak references to objects that have none are doubtful. Atomic. */
void gc_watch_marking(bool under_way);
/* Child of a host's fork: the finalizers' thread is not there. The lock is held. */
void gc_watch_fork_child(void);

#endif
