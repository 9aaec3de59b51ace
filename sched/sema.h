/* The sleeping half of a semaphore: permits that are not there yet are waited for in the order of coming. Under the
 * read-write mutex, the pool of an error group, and whatever else counts.
 *
 * WHERE WAITERS STAND: in the object itself (a lock and two pointers, 24 bytes), not in a table keyed by address as Go has
 * it. Go's objects are 8 bytes that way, but strangers share the table's locks, each operation hashes, and a tree orders
 * the addresses of one bucket. In C, where nobody counts on sizeof(mutex) == 8, the object is the better place: its line is
 * in the cache already. The price, that an object must outlive those who touch it, is met by the order of steps:
 * whoever wakes somebody touches the object for the last time before the woken one can run.
 *
 * gosched.h declares the record, as it is part of public ones: a lock of rank GS_RANK_SYNC, which guards the rest; permits; a
 * queue, which has waiters only while there are no permits. */
#ifndef GS_SEMA_H
#define GS_SEMA_H

#include "sched/gosched.h"
#include "sched/proc.h"
#include "sched/waitq.h"

/* A lock and a queue as gosched.h declares them: it knows neither type. */
GM_INLINE struct gs_lock *gs_public_lock(uint32_t *word) { return (struct gs_lock *)word; }
GM_INLINE struct gs_waitq *gs_public_queue(struct gs_waiter **first) { return (struct gs_waitq *)first; }

/* Everybody out of q, linked by g->link, first in front. The queue's lock is held. */
GM_INLINE struct gs_g *gs_waitq_take_all(struct gs_waitq *q) {
    struct gs_g *list = NULL, **end = &list;
    for (struct gs_waiter *w; (w = gs_waitq_pop(q)); end = &w->g->link) *end = w->g;
    *end = NULL;
    return list;
}

/* Takes a permit, waits for one if there is none. */
void gs_sema_acquire(struct gosched_sema *s, enum gs_wait reason);
bool gs_sema_try_acquire(struct gosched_sema *s);
/* n permits: first to those who wait, the rest is kept. The object may go away as soon as everybody who had to wait has run. */
void gs_sema_release(struct gosched_sema *s, uint32_t n);

#endif
