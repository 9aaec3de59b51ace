/* OVERVIEW. How memory travels, and why the structures are what they are. Every other file of this
 * folder says only what is its own and refers to here.
 *
 * The design is the Go runtime's: spans of pages, size classes, a cache per worker, a central list per
 * class, a page heap. What differs is what C asks for: objects are freed one by one, by any thread;
 * misuse has to be told; and a conservative collector (gc/) must find the state of any slot without
 * walking lists.
 *
 *
 * THE ROUTES        -> hit path        => on a miss, one layer down each
 *
 *   malloc    preload/libc.c -> fastpath.h: size to class (sizeclass.h), pop from the thread's array
 *             => cache.c refill: a batch from transfer.c, else slots from the bin's current span
 *             => central.c: the fullest span with room => room.c: room in other classes' spans => heap.c: a new span
 *             => pageindex.c: lowest free run => arena.c: grow => os/
 *   over 1 KiB: the same by the medium table (gm_alloc_more); over 32 KiB: large.c -> heap.c
 *   free      preload/libc.c -> fastpath.h: state byte, push to the thread's array
 *             over 1 KiB: no such byte; the same by the states by KiB (gm_free_full, free.c)
 *             => cache.c: array full: the older half leaves as a batch through transfer.c,
 *             => central.c: or home to its spans; a span whose slots are all home => heap.c
 *             free.c: everything that is no plain live slot: large, class 8, tiny, foreign, crimes
 *
 *
 * THE STATE OF A SLOT is one byte at a fixed distance: state[(p - base) / 16] (arena.h). It is 0 while
 * the slot is free, and while it is live it holds the size class and one colour bit. So free reads
 * one byte and knows the class (no page lookup), that the slot is live (else: double free), and that a
 * slot starts here (else: interior pointer, as only starts are ever non-zero). malloc stores the
 * thread's current colour, so a collector has objects born black for nothing; marker and sweeper change
 * the byte by compare-and-swap from "live, white" only, so a free that comes between is never undone.
 * As the byte names the class, an object may lie in a span of another class: what nearly empty spans hold pinned
 * takes in objects of all sizes (room.c, guests.c) while caches and hit paths know nothing of it.
 * A slot in a cache, a batch or a register of malloc is simply free to the sweeper: there is no
 * moment at which a slot in nobody's hands could be swept a second time.
 *
 * Measured in a spike (single-file allocators, equal but for this; instructions for one malloc+free
 * pair, loop included, in the modes LIFO / batches of 100 / random sizes; RSS at 10^6 live objects):
 *
 *                                       instructions   free of cold  RSS over none,    double free after
 *                                                      objects, ns   16/64/256/1000 B  a write to it
 *   no state at all                     46 / 49 / 56   10.6          -                 missed
 *   A  flat table, class in the byte    57 / 60 / 67   25.8          6.1 % each        found
 *   B  table per span, by page entry    88 / 91 / 98   14.3          6.6/1.6/.4/.15 %  found
 *   C  keyed word in the freed slot     64 / 67 / 74   39.1          0                 missed
 *
 * A was taken: fewest instructions of those that check, certain detection, and the shortest free. Its
 * price is 1/16 of the heap's size in memory and a cache line of states for each KiB of objects freed
 * at random. (After tuning the product stands at 45 / 48 / 58.) C touches objects that are cold when they
 * are freed, cannot tell a double free once the program has written to the object, and gives a
 * collector nothing. B is the better one for sweeping, at 30 instructions a pair.
 *
 * Slots above 1 KiB do not pay that price: their states are in a second flat table, two bytes for each KiB, in which
 * at most one of them starts; the second byte says where in it, so that interior pointers are still told. It costs
 * their free 14 instructions more and takes 1/500 of their memory (SQLite: 108.5 to 98.5 MB with the classes that came
 * with it, redis 253 to 246, where glibc has 92 and 222).
 *
 * Class 8 has two slots to a byte; it keeps its states in a table of the span and both fast paths fall
 * through to small8.c for it. Large objects need no byte: their span record says what they are.
 *
 *
 * FREED SLOTS LIE IN ARRAYS, not in lists through the objects: freeing touches no cold memory, and a
 * write after free cannot corrupt the allocator. The array's top is the only thing malloc and free
 * change besides the state and two counters.
 *
 * Frees by other threads need no owner: the freeing thread's array takes the slot, and what overflows
 * moves as a batch through transfer.c, or home. Measured in the same spike (2e7 objects of 64 bytes from
 * one thread to another, seconds wall, one pair / eight pairs of threads on two cores; a median of 5,
 * the first column scatters by a factor of two):
 *
 *   locked central list only            0.81 / 0.54
 *   16 atomic batch pointers a class    0.42 / 0.37
 *   tagged lock-free stack of batches   0.41 / 0.23       glibc 1.52 / 0.22, tcmalloc 0.79 / 0.95,
 *   16 batches in place                 0.40 / 0.25       jemalloc 0.88 / 0.54, mimalloc 2 0.26 / 0.14
 *
 * The mechanism makes no difference beyond noise, the capacity does (16, 64, 160 places: 0.23, 0.18,
 * 0.16 s for eight pairs, whatever the mechanism). So it is the simplest that has no ABA problem, places
 * that hold NULL or a batch, with room that follows the size of the class.
 *
 *
 * LOOKUP. One reservation of 256 GiB first: p - base < size is one comparison, and the tables are flat.
 * The sparse map of 64 MiB arenas costs 5 instructions more a lookup (10 against 15, inlined, loop
 * included; 0.80 against 0.87 ns over random pointers to 1 GiB, 15.3 against 16.2 ns in a dependent
 * chain). It serves what does not fit: processes with an address-space limit, and heaps past the
 * reservation. Its slots never enter a cache (the fast paths address states from the one base), so such
 * a process is correct and slow rather than every process a little slower.
 *
 *
 * ZEROING. calloc of a large object clears only what is not known to be zero (pages never touched, or
 * given back to the kernel: a bit per page). Small objects are always cleared: at most 32 KiB that
 * the caller is about to use anyway, against a mark per slot that says whether it was ever handed out.
 *
 * THREADS THAT SLEEP hold what their caches hold. Once a second the scavenger's thread looks for caches that
 * nothing has changed in, proves that their owners sleep in the kernel, and hands them home: idle.c.
 *
 * LOCKS, in the order of lockrank.h: init, threads, tiny, odd, one per class (central), heap, profile, meta, and the
 * collector's own around them. The hit paths take none, a common miss takes none (transfer, current span). */
#include "libgomalloc/central.h"
#include "libgomalloc/fastpath.h"
#include "libgomalloc/front.h"

#include <errno.h>
#include <string.h>

#include "libgomalloc/heap.h"
#include "libgomalloc/hooks.h"
#include "libgomalloc/nested.h"
#include "libgomalloc/profile.h"
#include "libgomalloc/scavenge.h"
#include "libgomalloc/small8.h"

GM_COLD void *gm_out_of_memory(void) {
    errno = ENOMEM;
    return NULL;
}

/* Brings home what lies in this thread's cache and in batches. */
static GM_COLD void flush(void) {
    struct gm_cache *c = gm_cache_mine();
    if (c) gm_cache_flush(c);
    gm_cache_flush_transfers();
}

GM_COLD bool gm_reclaim(size_t n) {
    if (gm_load_relaxed(&gm_hooks.on)) gm_hooks.out_of_memory(n);
    flush();
    return true;
}

/* Marks a slot that came straight from a central list as allocated. */
static void *hand_out_direct(void *p, size_t n, unsigned cls) {
    struct gm_arena *a = gm_arena_of(p);
    uint8_t state = (uint8_t)(cls | gm_load_relaxed(&gm_colour));
    if (cls == GM_CLASS_8) gm_small8_set(gm_span_of(a, (uintptr_t)p), (uintptr_t)p, state);
    else gm_state_set(a, (uintptr_t)p, cls, state);
    gm_cache_count_direct(cls, n);
    if (gm_load_relaxed(&gm_always_slow)) gm_exact_alloc(p, gm_class_size[cls], n);
    return p;
}

/* For threads without a cache, and when the reservation is exhausted. */
static GM_COLD void *alloc_direct(size_t n, unsigned cls) {
    void *p = gm_central_take_one(cls);
    if (!p && gm_reclaim(n)) p = gm_central_take_one(cls);
    return p ? hand_out_direct(p, n, cls) : gm_out_of_memory();
}

/* A class that has no span yet is asked for: for the first few times a class up to twice as large
 * does, if it has one. A small process allocates one or two objects each of some twenty classes, and
 * every class's first span costs it a page. Returns cls itself where it should have its own span. */
static GM_COLD unsigned borrowed_class(unsigned cls) {
    enum { TIMES = 6 };
    static uint8_t asked[GM_CLASSES];
    size_t size = gm_class_size[cls];
    if (size > GM_SMALL_MAX || gm_central_span_bytes(cls) != 0 || gm_load_relaxed(&asked[cls]) >= TIMES) return cls;
    gm_store_relaxed(&asked[cls], (uint8_t)(gm_load_relaxed(&asked[cls]) + 1));
    for (unsigned k = cls + 1; k < GM_CLASSES && gm_class_size[k] <= 2 * size + 16; k++)
        if (gm_central_span_bytes(k) != 0) return k;
    return cls;
}

/* The bin of cls was found empty. With `exactly` no other class will do. */
static void *alloc_missed(size_t n, unsigned cls, bool exactly) {
    if (gm_nested()) return gm_nested_alloc(gm_class_size[cls]);
    gm_init_once();
    if (GM_UNLIKELY(gm_load_relaxed(&gm_nested_deferred))) gm_nested_drain(gm_free);
    gm_scavenge_poll();
    gm_profile_poll();
    gm_hooks_poll();
    struct gm_cache *c = gm_cache_get();
    if (!c) return alloc_direct(n, cls);
    if (cls == GM_CLASS_8) {
        void *p = gm_small8_alloc(c, n);
        return p ? p : alloc_direct(n, cls);
    }
    unsigned k = exactly ? cls : borrowed_class(cls);
    /* Making the cache may have allocated, and so filled the bin. */
    if (*c->top[k] == NULL && !gm_cache_refill(c, k)) return alloc_direct(n, cls);
    /* Neither is empty now: this is no recursion. */
    if (k < GM_FIRST_MEDIUM) return gm_alloc_pop(c, n, k);
    return gm_cache_more(c) ? gm_alloc_pop_medium(c, n, k) : alloc_direct(n, k);
}

/* While allocations are sampled (profile.c). */
static GM_NOINLINE void *alloc_counted(size_t n, unsigned cls, bool exactly) {
    struct gm_cache *c = gm_cache_mine();
    bool due = c && gm_profile_due(c, n);
    void *p = alloc_missed(n, cls, exactly);
    if (!p || gm_nested()) return p;
    if (!c) due = gm_profile_due(c = gm_cache_mine(), n); /* the thread's first, or it has no cache */
    if (due) gm_profile_record(c, p, n);
    return p;
}

/* Class 8 has its slots in a bin of their own, so that it comes by here when there are some. */
static inline void *pop_short(size_t n, size_t cls, struct gm_cache *c) { return cls == GM_CLASS_8 ? gm_small8_pop(c, n) : NULL; }

/* An ordinary miss, or what was told class 0 and is to be sampled, or cannot be counted here (no cache, no distance drawn). */
static GM_NOINLINE void *take_back(size_t n, size_t cls, struct gm_cache *c) {
    gm_count_add(&c->until_sample, (int64_t)n);
    void *p = pop_short(n, cls, c);
    return p ? p : gm_alloc_slow_uncounted(n, cls);
}
static GM_NOINLINE void *alloc_missed_small(size_t n, size_t cls, struct gm_cache *c) {
    void *p = pop_short(n, cls, c);
    return p ? p : alloc_missed(n, (unsigned)cls, false);
}

/* A miss; or, while allocations are sampled, every one, told class 0: to count, and pop. There every instruction is one in every
 * malloc, so the one comparison tells both: while they are not sampled, until_sample is negative (gm_no_cache's always), and where
 * some is left over from when they were, a miss comes here a few times for nothing. */
GM_NOINLINE void *gm_alloc_slow(size_t n, size_t cls, struct gm_cache *c) {
    if (GM_UNLIKELY(gm_count_down(&c->until_sample, (int64_t)n))) return take_back(n, cls, c);
    cls = gm_classes_true->small[n];
    return gm_alloc_pop_or(c, n, cls, alloc_missed_small);
}

GM_NOINLINE void *gm_alloc_slow_uncounted(size_t n, size_t cls) {
    return cls ? alloc_missed(n, (unsigned)cls, false) : alloc_counted(n, gm_class_of(n), false);
}

GM_NOINLINE void *gm_alloc_more(size_t n) {
    bool zero;
    if (GM_LIKELY(n <= GM_MEDIUM_MAX)) return gm_alloc_pop_medium(gm_load_relaxed(&gm_tc), n, gm_class_of_medium(n));
    return gm_large_alloc(n, 1, 0, &zero);
}

void *gm_alloc_class(size_t n, unsigned cls) {
    if (GM_UNLIKELY(gm_load_relaxed(&gm_sampling))) return alloc_counted(n, cls, true);
    struct gm_cache *c = gm_load_relaxed(&gm_tc);
    if (*c->top[cls] == NULL) return alloc_missed(n, cls, true);
    return cls < GM_FIRST_MEDIUM ? gm_alloc_pop(c, n, cls) : gm_alloc_pop_medium(c, n, cls);
}

void *gm_alloc(size_t n) { return gm_alloc_fast(n); }

void *gm_alloc_zeroed(size_t n) {
    void *p;
    if (n > GM_MEDIUM_MAX) {
        bool zero;
        p = gm_large_alloc(n, 1, 0, &zero);
        if (!p || zero || gm_large_zero(p, n)) return p;
    } else {
        p = gm_alloc_fast(n);
        if (GM_UNLIKELY(!p)) return NULL;
    }
    return memset(p, 0, n);
}

uint64_t gm_before_sleep(unsigned looks) {
    if (gm_nested() || !gm_load_relaxed(&gm_ready)) return 0;
    if (looks == GM_SCAVENGE_LOOKS) flush();
    return gm_scavenge_asleep(looks);
}

size_t gm_trim(void) {
    if (gm_nested()) return 0;
    gm_init_once();
    flush();
    return gm_scavenge_all();
}
