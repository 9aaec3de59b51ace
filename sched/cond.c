/* Waiting for a change: Go's sync.Cond.
 *
 * A wait takes a number while it still holds the mutex, then gives the mutex back, then queues. Signals go to numbers: the
 * next one that was not notified. So a signal that comes between taking the number and queueing is not lost: who comes to the
 * queue and finds its number notified does not wait. (Numbers wrap; the difference counts.) */
#include "sched/defer.h"
#include "sched/sema.h"

static struct gs_lock *lock_of(gocond *c) { return gs_public_lock(&c->lock); }
static struct gs_waitq *queue_of(gocond *c) { return gs_public_queue(&c->first); }

/* A copy's waiters would be in the original's queue. The first call says which is the original. */
static void check_copy(gocond *c) {
    gocond *original = gm_load_relaxed(&c->self);
    if (GM_LIKELY(original == c)) return;
    if (original || !gm_cas_relaxed(&c->self, &original, c))
        if (original != c) gs_panic_text("sync.Cond is copied");
}

void gocond_init(gocond *c, gomutex *m) { *c = (gocond){.m = m}; }

void gocond_wait(gocond *c) {
    check_copy(c);
    struct gs_waiter w = {.g = gs_self()};
    w.index = gm_add_relaxed(&c->waits, 1); /* seen by who signals after it had the mutex */
    gomutex_unlock(c->m);
    gs_lock_acquire(lock_of(c), GS_RANK_SYNC);
    if ((int32_t)(w.index - c->notified) < 0) {
        gs_lock_release(lock_of(c));
    } else {
        gs_waitq_push(queue_of(c), &w);
        gs_park_unlock(lock_of(c), GS_WAIT_COND);
    }
    gomutex_lock(c->m);
}

/* relaxed: a waiter that the caller must not miss took its number before it gave the mutex back, under which the
 * caller then changed what it signals. */
static bool nobody_waits(const gocond *c) { return gm_load_relaxed(&c->waits) == gm_load_relaxed(&c->notified); }

void gocond_signal(gocond *c) {
    struct gs_waiter *w = NULL;
    check_copy(c);
    if (nobody_waits(c)) return;
    gs_lock_acquire(lock_of(c), GS_RANK_SYNC);
    if (!nobody_waits(c)) {
        uint32_t number = c->notified;
        gm_store_relaxed(&c->notified, number + 1);
        for (w = queue_of(c)->first; w && w->index != number; w = w->next) {}
        if (w) gs_waitq_remove(queue_of(c), w);
    }
    gs_lock_release(lock_of(c));
    if (w) gs_ready(w->g);
}

void gocond_broadcast(gocond *c) {
    check_copy(c);
    if (nobody_waits(c)) return;
    gs_lock_acquire(lock_of(c), GS_RANK_SYNC);
    gm_store_relaxed(&c->notified, gm_load_relaxed(&c->waits));
    struct gs_g *woken = gs_waitq_take_all(queue_of(c));
    gs_lock_release(lock_of(c));
    if (woken) gs_ready_list(woken);
}
