/* A futex lock that knows its rank.
 *
 * Uncontended it costs one compare-and-swap; contended it spins a little and then sleeps in the
 * kernel. It never allocates and may be taken anywhere but in a signal handler. In debug builds
 * each thread keeps the locks it holds, and taking one whose rank is not above all of those is a
 * failed check: lockrank.h is the order, and it runs. */
#ifndef GM_BASE_LOCK_H
#define GM_BASE_LOCK_H

#include "libgomalloc/base/atomic.h"
#include "libgomalloc/base/lockrank.h"

struct gm_lock {
    uint32_t word;     /* 0 free, 1 held, 2 held and somebody may sleep */
    uint16_t rank;     /* of enum gm_lockrank */
    uint16_t index;    /* orders locks of one rank: a higher index is taken later */
};

#define GM_LOCK_INIT(r) { .word = 0, .rank = (r), .index = 0 }

void gm_lock_init(struct gm_lock *l, enum gm_lockrank rank, unsigned index);
void gm_lock_slow(struct gm_lock *l);
void gm_lock_wake(struct gm_lock *l);

#ifdef GM_DEBUG
void gm_lockrank_acquire(struct gm_lock *l); /* before taking it */
void gm_lockrank_release(struct gm_lock *l);
#else
#define gm_lockrank_acquire(l) ((void)(l))
#define gm_lockrank_release(l) ((void)(l))
#endif

/* How many locks this thread holds, those it is about to take or to give back included: what a
 * signal handler asks to know whether it interrupted somebody who holds one (nested.c). */
extern GM_HIDDEN GM_TLS volatile uint32_t gm_locks_held;

GM_INLINE void gm_lock(struct gm_lock *l) {
    uint32_t free_word = 0;
    gm_lockrank_acquire(l);
    gm_locks_held++;
    /* acquire: pairs with the release in gm_unlock; what the last holder wrote is seen. */
    if (GM_UNLIKELY(!gm_cas_acquire(&l->word, &free_word, 1))) gm_lock_slow(l);
}

/* Takes the lock if it is free. */
GM_INLINE bool gm_try_lock(struct gm_lock *l) {
    uint32_t free_word = 0;
    gm_lockrank_acquire(l);
    gm_locks_held++;
    if (gm_cas_acquire(&l->word, &free_word, 1)) return true;
    gm_lockrank_release(l);
    gm_locks_held--;
    return false;
}

GM_INLINE void gm_unlock(struct gm_lock *l) {
    gm_lockrank_release(l);
    /* release: pairs with the acquire above. 2 means that a sleeper may have to be woken. */
    if (GM_UNLIKELY(__atomic_exchange_n(&l->word, 0, __ATOMIC_RELEASE) == 2)) gm_lock_wake(l);
    gm_locks_held--;
}

#endif
