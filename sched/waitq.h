/* Queues of goroutines that wait for something, first come first served: a channel's senders, its
 * receivers, those who want a semaphore. Go's waitq and sudog.
 *
 * A waiter lies on the stack of the goroutine that waits and belongs to the queue from gs_waitq_push
 * until it is popped or removed; its owner returns only after that. Nothing here allocates.
 *
 * Locking: the queue's links are guarded by the lock of whatever owns the queue (the channel's, say).
 * A select waits in several queues under several locks at once, so two wakers can find it in the same
 * moment. `claim` decides between them: a word that all waiters of one select share, 0 until the first
 * waker makes it 1. gs_waitq_pop passes over waiters whose select somebody else has already won; the
 * select itself takes those out of their queues when it runs again, under each queue's lock.
 *
 * A queue whose words are all 0 is empty and ready to use. */
#ifndef GS_WAITQ_H
#define GS_WAITQ_H

#include "libgomalloc/base/atomic.h"
#include "libgomalloc/base/check.h"

struct gs_g;

struct gs_waiter {
    struct gs_waiter *next, *prev; /* in its queue: the queue's lock */
    struct gs_g *g;                /* who waits; constant while queued */
    void *elem;                    /* where the value is or goes, on the owner's stack or heap; may be NULL */
    uint32_t *claim;               /* of a select, else NULL; constant while queued */
    uint32_t index;                /* which case of the select; owner's */
    bool success;                  /* woken by a value (true) or by a close; written by the waker before it readies g */
    bool queued;                   /* in a queue: the queue's lock */
};

struct gs_waitq {
    struct gs_waiter *first, *last;
};

/* Under the queue's lock, or without it as a guess: `first` is written by atomic stores for that.
 * acquire: the caller's next read is a later one (chan.c's refusals without the lock). */
GM_INLINE bool gs_waitq_empty(const struct gs_waitq *q) { return gm_load_acquire(&q->first) == NULL; }

GM_INLINE void gs_waitq_push(struct gs_waitq *q, struct gs_waiter *w) {
    GM_ASSERT(!w->queued);
    w->next = NULL;
    w->prev = q->last;
    if (q->last) q->last->next = w;
    else gm_store_relaxed(&q->first, w);
    q->last = w;
    w->queued = true;
}

/* In front of all others: a waiter of a mutex that was woken once and lost the race for it. */
GM_INLINE void gs_waitq_push_front(struct gs_waitq *q, struct gs_waiter *w) {
    GM_ASSERT(!w->queued);
    w->prev = NULL;
    w->next = q->first;
    if (q->first) q->first->prev = w;
    else q->last = w;
    gm_store_relaxed(&q->first, w);
    w->queued = true;
}

/* Takes w out wherever it stands; nothing happens if a waker has popped it before. */
GM_INLINE void gs_waitq_remove(struct gs_waitq *q, struct gs_waiter *w) {
    if (!w->queued) return;
    if (w->prev) w->prev->next = w->next;
    else gm_store_relaxed(&q->first, w->next);
    if (w->next) w->next->prev = w->prev;
    else q->last = w->prev;
    w->next = w->prev = NULL;
    w->queued = false;
}

/* True for one caller only, the one that may wake the select. acquire: pairs with the release half of the
 * claim that came first, so a loser also sees what its rival did before. What the winner then writes into
 * the waiter reaches the owner through readying it, not through this word. */
GM_INLINE bool gs_waiter_claim(struct gs_waiter *w) {
    uint32_t unclaimed = 0;
    return w->claim == NULL || gm_cas_acq_rel(w->claim, &unclaimed, 1);
}

/* The longest waiting one that is still to be had, which is then the caller's to wake; NULL if none. */
GM_INLINE struct gs_waiter *gs_waitq_pop(struct gs_waitq *q) {
    for (struct gs_waiter *w = q->first; w; w = q->first) {
        gs_waitq_remove(q, w);
        if (gs_waiter_claim(w)) return w;
    }
    return NULL;
}

#endif
