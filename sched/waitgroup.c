/* Waiting for a number of things to end: Go's sync.WaitGroup.
 *
 * One word of 64 bits holds the counter (upper half) and the number of those who wait, so the addition that makes the counter 0
 * learns in the same moment whether there is somebody to wake. If not, it does not touch the object again: who then sees 0
 * may free it. If so, the object stays until they are woken. They register and queue under the lock, in one step for whoever wakes.
 *
 * Who made the counter 0 owns the queue without taking the lock, as soon as it has seen it free: each of those it has counted
 * had registered while holding it, so none is between registering and queueing any more; and who comes
 * later finds the counter 0 and leaves the queue alone. Nobody may add either, until all who waited have returned: so the
 * word is looked at and stored, as in Go. A join is four locked instructions: the addition, two to wait, the last done. */
#include "sched/defer.h"
#include "sched/sema.h"

static const char misuse[] = "sync: WaitGroup misuse: Add called concurrently with Wait";

static struct gs_lock *lock_of(gowaitgroup *wg) { return gs_public_lock(&wg->lock); }

/* The counter is 0 and somebody waits: from here to the store of 0 nobody may change the word. */
static GM_NOINLINE void wake_all(gowaitgroup *wg, uint64_t state) {
    if (GM_UNLIKELY(gm_load_relaxed(&wg->state) != state)) gs_panic_text(misuse);
    gm_store_relaxed(&wg->state, 0); /* the next users come by way of those who are readied */
    gs_lock_pass(lock_of(wg), GS_RANK_SYNC);
    struct gs_g *woken = gs_waitq_take_all(gs_public_queue(&wg->first));
    if (!woken->link) gs_ready(woken);
    else gs_ready_list(woken);
}

void gowaitgroup_add(gowaitgroup *wg, int delta) {
    /* release: what was done before is seen by the one that makes it 0 (acquire), and through it by who waits; or by a
     * wait that finds 0 here. */
    uint64_t state = __atomic_add_fetch(&wg->state, (uint64_t)(int64_t)delta << 32, __ATOMIC_ACQ_REL);
    int32_t counter = (int32_t)(state >> 32);
    uint32_t waiters = (uint32_t)state;
    if (GM_UNLIKELY(counter < 0)) gs_panic_text("sync: negative WaitGroup counter");
    if (GM_UNLIKELY(waiters != 0 && delta > 0 && counter == delta)) gs_panic_text(misuse);
    if (GM_UNLIKELY(counter == 0 && waiters != 0)) wake_all(wg, state);
}

void gowaitgroup_done(gowaitgroup *wg) { gowaitgroup_add(wg, -1); }

void gowaitgroup_wait(gowaitgroup *wg) {
    uint64_t state = gm_load_acquire(&wg->state); /* pairs with the addition that made it 0 */
    if (state >> 32 == 0) return;
    gs_lock_acquire(lock_of(wg), GS_RANK_SYNC);
    /* release: pairs with the addition that makes it 0, whose caller then sees that the lock is held. */
    while (state >> 32 != 0 && !__atomic_compare_exchange_n(&wg->state, &state, state + 1, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {}
    if (state >> 32 == 0) {
        gs_lock_release(lock_of(wg));
        return;
    }
    struct gs_waiter w = {.g = gs_self()};
    gs_waitq_push(gs_public_queue(&wg->first), &w);
    gs_park_unlock(lock_of(wg), GS_WAIT_WAITGROUP);
    if (gm_load_relaxed(&wg->state) != 0) gs_panic_text("sync: WaitGroup is reused before previous Wait has returned");
}
