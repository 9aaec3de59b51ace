/* The scheduler's lock: four bytes, so that it fits into every channel, mutex and queue.
 *
 * Taking it free costs one compare-and-swap, giving it back a plain load and store; held, it spins a little and then the
 * thread (not the goroutine) sleeps on a futex, for NAP_NS at a time: between the load and the store of a release
 * a mark that somebody sleeps can be lost, which costs the sleeper the rest of its nap and saves everybody else the
 * exchange (a third of a channel operation). Holders never park, never allocate and never call the host; sections
 * are tens of nanoseconds. gs_park_unlock gives a lock back after its holder has left its stack.
 *
 * Locks are taken upwards by rank only; all lie below the allocator's (base/lockrank.h), but nothing is
 * allocated under them. Debug builds check the order of what a thread holds. Locks of rank
 * GS_RANK_CHAN may be taken several at a time, in the order of their addresses (select.c). */
#ifndef GS_LOCK_H
#define GS_LOCK_H

#include "libgomalloc/base/atomic.h"
#include "libgomalloc/base/check.h"

enum gs_rank {
    GS_RANK_START = 1,   /* starting the scheduler, stopping the world (world.c) */
    GS_RANK_CONTEXT,     /* a context tree's node (context.c) */
    GS_RANK_POLL,        /* a descriptor's waiters (netpoll.c) */
    GS_RANK_MAP,         /* maps, pools (map.c, pool.c) */
    GS_RANK_TIMER,       /* timers of one P (timer.c) */
    GS_RANK_CHAN,        /* one channel (chan.c); ordered by address */
    GS_RANK_SYNC,        /* mutexes, wait groups, conditions, semaphores (sync.c, sem.c) */
    GS_RANK_STACK,       /* pools of stacks (stack.c) */
    GS_RANK_SCHED,       /* global queue, idle lists (proc.c) */
    GS_RANK_STANDIN,     /* records of plain threads (world.c): made on first use, whatever is held then */
    GS_RANK_COUNT
};

struct gs_lock {
    uint32_t word; /* 0 free, 1 held, 2 held and somebody may sleep */
};

void gs_lock_slow(struct gs_lock *l);
void gs_lock_wake(struct gs_lock *l);

#ifdef GM_DEBUG
void gs_lock_note_acquire(struct gs_lock *l, enum gs_rank rank);
void gs_lock_note_release(struct gs_lock *l);
#else
#define gs_lock_note_acquire(l, rank) ((void)(l), (void)(rank))
#define gs_lock_note_release(l) ((void)(l))
#endif

GM_INLINE void gs_lock_acquire(struct gs_lock *l, enum gs_rank rank) {
    uint32_t free_word = 0;
    gs_lock_note_acquire(l, rank);
    /* acquire: pairs with the release in gs_lock_release; what the last holder wrote is seen. */
    if (GM_UNLIKELY(!gm_cas_acquire(&l->word, &free_word, 1))) gs_lock_slow(l);
}

GM_INLINE void gs_lock_release(struct gs_lock *l) {
    gs_lock_note_release(l);
    bool sleeper = gm_load_relaxed(&l->word) == 2; /* may have to be woken */
    gm_store_release(&l->word, 0);                 /* pairs with the acquire above */
    if (GM_UNLIKELY(sleeper)) gs_lock_wake(l);
}

#endif
