/* The scheduler's lock: four bytes, so that it fits into every channel, mutex and queue.
 *
 * Taking it free costs one compare-and-swap, giving it back a load and a store (lock.c says what
 * that leaves open). Held, it spins a little and then the thread (not
 * the goroutine) sleeps on a futex. Holders never park, never allocate and never call the host; sections
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
    GS_RANK_CONTEXT,     /* a tree of contexts (context.c) */
    GS_RANK_POLL,        /* a descriptor's waiters (netpoll.c) */
    GS_RANK_TIMER,       /* timers of one P (timer.c) */
    GS_RANK_CHAN,        /* one channel (chan.c); ordered by address */
    GS_RANK_SYNC,        /* who waits for a mutex, wait group, condition, semaphore (sema.h); shelves of pools, keys */
    GS_RANK_STACK,       /* pools of stacks (stack.c) */
    GS_RANK_SCHED,       /* global queue, idle lists (proc.c) */
    GS_RANK_STANDIN,     /* records of plain threads (world.c): made on first use, whatever is held then */
    GS_RANK_COUNT
};

struct gs_lock {
    union {
        uint32_t word;         /* all 0: free; what sleepers sleep on */
        struct {
            uint8_t held;
            uint8_t unused;
            uint16_t sleepers; /* threads in, or on their way into, the futex */
        };
    };
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

GM_INLINE bool gs_lock_try(struct gs_lock *l) {
    uint8_t free_byte = 0;
    /* acquire: pairs with the release in gs_lock_release; what the last holder wrote is seen. */
    return gm_cas_acquire(&l->held, &free_byte, 1);
}

GM_INLINE void gs_lock_acquire(struct gs_lock *l, enum gs_rank rank) {
    gs_lock_note_acquire(l, rank);
    if (GM_UNLIKELY(!gs_lock_try(l))) gs_lock_slow(l);
}

/* In the child of a fork, whose other threads are gone. */
GM_INLINE void gs_lock_reset(struct gs_lock *l) {
    gs_lock_note_release(l);
    l->word = 0;
}

GM_INLINE void gs_lock_release(struct gs_lock *l) {
    gs_lock_note_release(l);
    bool sleepers = gm_load_relaxed(&l->sleepers) != 0;
    gm_store_release(&l->held, 0); /* pairs with the acquire above; *l may be gone from here on */
    if (GM_UNLIKELY(sleepers)) gs_lock_wake(l);
}

/* Waits until whoever holds the lock, as far as the caller has seen, has given it back. For one who knows by other means
 * that nobody will take it, or that those who do touch nothing of what it guards. */
GM_INLINE void gs_lock_pass(struct gs_lock *l, enum gs_rank rank) {
    /* acquire: pairs with the release in gs_lock_release; what the last holder wrote is seen. */
    if (GM_LIKELY(gm_load_acquire(&l->held) == 0)) return;
    gs_lock_acquire(l, rank);
    gs_lock_release(l);
}

#endif
