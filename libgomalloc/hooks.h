/* What the allocator asks of a collector above it. The lower side owns this header; gc/ fills it in when
 * it is switched on, and until then every hook is one predictable test on a slow path.
 *
 * heap_out counts the bytes that are out of the spans: live objects, and slots in caches and batches.
 * It moves with refills and flushes, never on the hit paths. */
#ifndef GM_HOOKS_H
#define GM_HOOKS_H

#include "libgomalloc/base/atomic.h"

/* A thread that is about to block publishes where it stands: all its registers and what the call was given lie
 * at or above `sp`. It may be scanned then without being stopped. For calls whose frames below `sp` need no scan. */
struct gm_blocked {
    uintptr_t sp;
    struct gm_blocked *outer;    /* what was published when this was, by whom a handler interrupted */
    bool published;
};
struct gm_blocking {
    void (*enter)(struct gm_blocked *b);
    /* Waits while the world is held. True: a stop has interrupted the call, and no handler of the host's. */
    bool (*leave)(struct gm_blocked *b);
    /* Around a signal handler of the host's: what it interrupted, or NULL. in() only if out() gave something, and not
     * at all if the handler leaves by a jump. */
    struct gm_blocked *(*step_out)(void);
    void (*step_in)(struct gm_blocked *b);
    /* Before a thread (a pthread_t) is cancelled: it will unwind from where it blocks. */
    void (*before_cancel)(uintptr_t thread);
    /* Before vfork: two processes will use this thread's storage for a time. */
    void (*before_vfork)(void);
};

struct gm_hooks {
    bool on;                     /* heap_out is kept (written once, before the host has threads) */
    uint32_t armed;              /* atomic: poll wants to be called */
    int64_t heap_out;            /* atomic, bytes */
    int64_t trigger;             /* atomic: heap_out from which on `armed` is set */
    /* Called by an allocating thread that holds no lock, whose cache is consistent. May take long; keeps errno. */
    void (*poll)(void);
    /* A class has no slot at home and would grow. True: slots may have come home, look again. No lock is held. */
    bool (*before_growth)(void);
    /* About once a second, on the scavenger's thread if there is one. May take long. */
    void (*tick)(void);
    /* There is no memory for n bytes. As poll; collects, if that may help. */
    void (*out_of_memory)(size_t n);
    /* The program has set another memory limit. */
    void (*limit_changed)(void);
    /* An object is freed whose free takes the slow path; asked for while `watched`. Keeps errno. */
    void (*freed)(uintptr_t p);
    uint32_t watched;            /* atomic */
    uint32_t unforked;           /* atomic: the program keeps memory out of its forks, so no copy of it is whole */
    /* Around the host's fork, before all locks and after them; NULL while off. */
    void (*fork_prepare)(void), (*fork_parent)(void), (*fork_child)(void);
    /* Around calls that block the thread; NULL while off. Written once, before the host has threads. */
    const struct gm_blocking *blocking;
    /* Atomic: memory lies idle. A thread that is about to sleep asks gm_before_sleep (alloc.h). */
    uint32_t idle;
    /* Set by whoever runs the host's signal handlers: no handler is there that step_out is not called for. */
    bool (*handlers_known)(void);
};
extern GM_HIDDEN struct gm_hooks gm_hooks;

/* True: free() leaves blocks to the collector (free:ignore). */
extern GM_HIDDEN bool gm_free_ignored;

/* Bytes left the spans (positive) or came home. */
GM_INLINE void gm_hooks_moved(int64_t bytes) {
    if (GM_LIKELY(!gm_load_relaxed(&gm_hooks.on))) return;
    int64_t now = __atomic_add_fetch(&gm_hooks.heap_out, bytes, __ATOMIC_RELAXED);
    if (bytes > 0 && now >= gm_load_relaxed(&gm_hooks.trigger)) gm_store_relaxed(&gm_hooks.armed, 1);
}
/* Bytes the program may still take before the next collection gives back as many; 0 without one. */
GM_INLINE size_t gm_hooks_room(void) {
    int64_t trigger = gm_load_relaxed(&gm_hooks.trigger), out = gm_load_relaxed(&gm_hooks.heap_out);
    return gm_load_relaxed(&gm_hooks.on) && trigger < INT64_MAX && trigger > out ? (size_t)(trigger - out) : 0;
}
GM_INLINE void gm_hooks_poll(void) {
    if (GM_UNLIKELY(gm_load_relaxed(&gm_hooks.armed))) gm_hooks.poll();
}

/* The slow path of free, before anything is done. */
GM_INLINE void gm_hooks_freed(const void *p) {
    if (GM_UNLIKELY(gm_load_acquire(&gm_hooks.watched))) gm_hooks.freed((uintptr_t)p);
}

/* A class is about to grow: true if it is worth looking for slots again first. */
GM_INLINE bool gm_hooks_before_growth(void) {
    return GM_UNLIKELY(gm_load_relaxed(&gm_hooks.on)) && gm_hooks.before_growth();
}

#endif
