/* The per-thread cache (Go's mcache): per size class a small array of free slots. The pop and push
 * that malloc and free inline live in fastpath.h; everything here is the miss side.
 *
 * A record is less than a 4 KiB page and starts with what the fast paths touch. Arrays are stacks with a
 * NULL below their first entry, so that "empty" costs no second comparison. They start with room for 3
 * slots inside the record, and double each time they run over or dry, up to 127 slots or 16 KiB of
 * cached bytes a class, 8 KiB above 1 KiB a slot. While the heap is small for its number of threads, only bins
 * that are hot, those that the thread misses most often, get as much; the others stay at 8 KiB, or above
 * 1 KiB a slot at one or none (a class with few calls then takes and gives single slots, under its lock).
 *
 * A bin is cold while its array is small. A cold bin takes its few slots from a span that many threads
 * share, so that ten thousand threads with three objects each do not hold thirty thousand spans; a
 * warm one has a span to itself, and its refills need no lock.
 *
 * Who writes: the owning thread only. Others read counters for statistics (aligned words; a reader
 * may see them a little old); and take the whole cache from an owner who provably sleeps (idle.c). The child of a fork owns the caches of the threads that are gone
 * (gm_cache_adopt_orphans). */
#ifndef GM_CACHE_H
#define GM_CACHE_H

#include "libgomalloc/base/atomic.h"
#include "libgomalloc/base/list.h"
#include "libgomalloc/sizeclass.h"

struct gm_fix;
struct gm_span;

/* Bins are numbered as the classes, but for class 8, whose own bin must stay empty (malloc.c): its
 * slots are kept in one more. */
#define GM_BINS  (GM_CLASSES + 1)
#define GM_BIN_8 GM_CLASSES
GM_INLINE unsigned gm_bin_of(unsigned cls) { return cls == GM_CLASS_8 ? GM_BIN_8 : cls; }

#define GM_CACHE_BYTES 2496
#define GM_CACHE_INSIDE 28   /* words for first arrays */

/* What only busy threads need: counters of the classes above 1024 bytes, and the warm bins' spans. */
struct gm_cache_more {
    struct gm_span *current[GM_BINS];    /* refills come from here; NULL while the bin is cold */
    uint64_t mallocs[GM_CLASSES - GM_FIRST_MEDIUM];
    uint64_t requested[GM_CLASSES - GM_FIRST_MEDIUM];
};

/* Four parallel arrays rather than an array of bins: with eight bytes an element the hit paths
 * address them by scaled index, which saves four instructions a malloc+free pair. */
struct gm_cache {
    void **top[GM_BINS];             /* last slot in the array; at the NULL below the first: empty */
    void **limit[GM_BINS];           /* last entry of the array; top == limit: full */
    uint64_t mallocs[GM_FIRST_MEDIUM];   /* slots handed out to the program by this thread */
    uint64_t requested[GM_FIRST_MEDIUM]; /* bytes asked for in them */
    uint8_t colour;          /* GM_STATE_COLOUR bit that new objects get */
    uint8_t busy;            /* the owner is inside a slow path: contents may be half moved */
    uint8_t keyed;           /* the exit handler is armed */
    int tid;
    uint8_t quiet;           /* looks at which nothing had changed (idle.c; threads lock) */
    bool lost;               /* the owner shall take it back at its next miss (threads lock) */
    uint32_t signature;      /* at the last look */
    struct gm_cache **owner; /* the owner's gm_tc; NULL: it was taken from it (threads lock) */
    int64_t until_sample;    /* bytes to the next sampled allocation (profile.h) */
    struct gm_list link;     /* of all caches (threads lock) */
    uintptr_t tiny_next, tiny_end; /* free part of the thread's current tiny block */
    uint16_t inside_used;
    uint32_t drained;        /* gm_heap_squeezes when it was last emptied near the memory limit */
    struct gm_cache_more *more;      /* NULL until the thread needs it */
    uint8_t capacity[GM_BINS];        /* slots of the array, which begins at limit - capacity */
    uint8_t misses, missed[GM_BINS];  /* of all bins and each since the counts began anew (cache.c) */
    uint8_t inside_array[(GM_BINS + 7) / 8]; /* bit: the array lies in the record itself */
    void *inside[GM_CACHE_INSIDE];
};
GM_STATIC_ASSERT(sizeof(struct gm_cache) <= GM_CACHE_BYTES, "a parked thread costs less than a page");

/* The thread's cache. Before the first allocation, and once the thread is ending, it is gm_no_cache,
 * whose bins are empty and full at once: both fast paths fall through to their slow halves. */
extern GM_HIDDEN GM_TLS struct gm_cache *gm_tc;
extern GM_HIDDEN struct gm_cache gm_no_cache;

/* Allocations are sampled. Atomic (profile.h). */
extern GM_HIDDEN bool gm_sampling;
/* gm_cache.until_sample: it has not been drawn. All caches are told so before sampling starts. */
#define GM_SAMPLE_UNSET (INT64_MIN / 2)
void gm_cache_unset_samples(void);
/* The thread's cache, if it has one now. */
GM_INLINE struct gm_cache *gm_cache_mine(void) {
    struct gm_cache *c = gm_load_relaxed(&gm_tc); /* the drainer of idle caches writes it (idle.c) */
    return c != &gm_no_cache ? c : NULL;
}

/* True while every allocation has to take the slow path (stats:exact). Read-mostly. */
extern GM_HIDDEN bool gm_always_slow;

/* The calling thread's own cache, made if need be (not in nested mode: see nested.h); NULL if it cannot have one: it is ending, memory
 * is exhausted, or everything is to go the slow way. */
struct gm_cache *gm_cache_get(void);

/* Called before a cache is made while there is another; NULL: nobody asks. */
extern GM_HIDDEN void (*gm_cache_before_second)(void);

/* c->more, made if need be; NULL: no memory. */
struct gm_cache_more *gm_cache_more(struct gm_cache *c);
/* Makes the class's bin non-empty; false: out of memory. */
bool gm_cache_refill(struct gm_cache *c, unsigned cls);
/* The thread has not had a slot of the bin yet: what it frees there is another thread's. */
GM_INLINE bool gm_bin_is_new(const struct gm_cache *c, unsigned bin) { return c->capacity[bin] == 0; }
/* Makes room in the class's bin; failing to is no harm. */
void gm_cache_make_room(struct gm_cache *c, unsigned cls);

/* Pushes a free slot; false: the bin is full. */
GM_INLINE bool gm_cache_push(struct gm_cache *c, size_t bin, void *slot) {
    void **top = c->top[bin];
    if (top == c->limit[bin]) return false;
    top[1] = slot;
    /* release: a fork in another thread must not see the new top before the slot (cache.c). */
    gm_store_release(&c->top[bin], top + 1);
    return true;
}

/* Slots in a bin. Another thread's may be in motion, its array just being replaced: then it is a guess. */
GM_INLINE unsigned gm_bin_count(const struct gm_cache *c, unsigned bin) {
    unsigned capacity = gm_load_relaxed(&c->capacity[bin]);
    ptrdiff_t n = gm_load_relaxed(&c->top[bin]) - (gm_load_relaxed(&c->limit[bin]) - capacity);
    return n < 0 ? 0 : n > (ptrdiff_t)capacity ? capacity : (unsigned)n;
}

/* The array's first entry. */
GM_INLINE void **gm_bin_first(const struct gm_cache *c, unsigned bin) { return c->limit[bin] - c->capacity[bin] + 1; }

/* Lets go of the thread's open tiny block (tiny.c, above this layer; NULL until that is used). */
extern GM_HIDDEN void (*gm_cache_close_tiny)(struct gm_cache *c);
/* Hands everything in the cache to the central lists. */
void gm_cache_flush(struct gm_cache *c);
/* The same for the transfer batches of all classes. */
void gm_cache_flush_transfers(void);
/* Gives one free slot back from a thread without a cache. */
void gm_cache_give_direct(unsigned cls, void *slot);
/* Counts an allocation by a thread without a cache. */
void gm_cache_count_direct(unsigned cls, size_t requested);

/* Turns the colour over, of all caches and of those to come; and the open tiny blocks' addresses. For the
 * collector, while every other thread is held. */
void gm_cache_flip(void);
void gm_cache_each_tiny(void (*fn)(void *arg, uintptr_t p), void *arg);

/* Sums over all caches, living and dead, of class cls. */
struct gm_cache_totals {
    uint64_t mallocs, requested, cached; /* cached: slots in arrays now */
};
void gm_cache_totals(struct gm_cache_totals totals[GM_CLASSES], unsigned *threads);
size_t gm_cache_record_bytes(void);

/* Constructor: threads' exits can be seen from now on. */
void gm_cache_arm_exit_handler(void);
/* Every allocation of every thread takes the slow path from now on (called while single-threaded). */
void gm_cache_disable(void);

/* For idle.c. The cache that has not been looked at for longest; it counts as looked at now (threads lock). */
struct gm_cache *gm_cache_oldest_look(void);
unsigned gm_cache_living(void);
extern GM_HIDDEN unsigned gm_cache_lost; /* caches so marked (threads lock) */
/* A cache taken from its owner goes home, and its record with it. */
void gm_cache_retire(struct gm_cache *c);

/* Where the records lie, for a reader in another process (endpoint.h). `fixes`: n_fixes kinds of records. */
struct gm_cache_counts { uint64_t mallocs, requested; };
struct gm_cache_roots {
    const struct gm_list *all, *orphans;      /* of struct gm_cache, by link */
    const struct gm_cache_counts *dead, *direct; /* GM_CLASSES each */
    const struct gm_fix *caches, *mores, *arrays;
    uint64_t n_arrays;
};
extern GM_HIDDEN const struct gm_cache_roots gm_cache_roots;

/* What the cache has handed out of the class. */
GM_INLINE struct gm_cache_counts gm_cache_counts(const struct gm_cache *c, unsigned cls) {
    if (cls < GM_FIRST_MEDIUM)
        return (struct gm_cache_counts){ gm_load_relaxed(&c->mallocs[cls]), gm_load_relaxed(&c->requested[cls]) };
    /* acquire: pairs with the release in gm_cache_more. */
    const struct gm_cache_more *m = gm_load_acquire(&c->more);
    unsigned i = cls - GM_FIRST_MEDIUM;
    return m ? (struct gm_cache_counts){ gm_load_relaxed(&m->mallocs[i]), gm_load_relaxed(&m->requested[i]) }
             : (struct gm_cache_counts){ 0 };
}

void gm_cache_threads_lock(void); /* for fork */
void gm_cache_threads_unlock(void);
/* Child of a fork: all caches but the caller's belong to nobody now. Constant time. */
void gm_cache_fork_child(void);
/* The same where the parent had one thread: no lock was held, nobody was left behind. */
void gm_cache_fork_child_alone(void);
/* Takes over what one such cache holds, if there is one. Called on slow paths. */
void gm_cache_adopt_orphan(void);
/* The same for all of them. */
void gm_cache_adopt_orphans(void);
/* Debug: every slot in the cache is free, of the right class, and in it once. */
void gm_cache_verify(struct gm_cache *c);

#endif
