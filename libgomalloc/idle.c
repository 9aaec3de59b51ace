/* Draining the caches of threads that sleep; see malloc.c for the overview, scavenge.c for who calls.
 *
 * A pool of a hundred threads that has worked off a burst and waits for the next holds what its caches hold, up
 * to some megabytes, and pins the spans its bins refill from. The owner alone changes its cache, without a lock
 * or an atomic operation, so nobody else may while the owner could be inside malloc or free; and a thread that
 * sleeps for ever will never do it itself.
 *
 *
 * WHY TAKING gm_tc AWAY IS NOT ENOUGH. The owner's hit path loads gm_tc, then the top of an array, and stores the
 * top last. It may be interrupted between any two of these, for any time; a barrier on all CPUs
 * (membarrier) orders what running threads see and says nothing about where a preempted one stands. A restartable
 * sequence could, for the price of two instructions on every malloc and free.
 *
 * WHAT IS ENOUGH: that the owner sleeps in a system call which the program itself has made, from before gm_tc was
 * taken away until after. The hit paths make no system calls, so whoever is inside one is in no hit path, nor in
 * a frame above one but for two cases treated below; and when it wakes up, it reads gm_tc anew.
 *
 *   1. Look: the owner sleeps in a call in which programs wait; remember its count of context switches (asleep_linux.c).
 *   2. Store gm_no_cache into the owner's gm_tc.
 *   3. Look again: it sleeps, and the count is the same. Then it has slept from 1 to 3, whatever happens now.
 *      The order of the store in 2 and the owner's next load is made by the kernel: the look takes the owner's
 *      scheduler locks after 2, its wake-up takes them after the look. What the owner wrote before it
 *      fell asleep is seen here by the same locks, the other way round.
 *   4. The cache has no owner any more: it goes home like that of a thread that has ended. The owner makes itself a new one
 *      at its next miss, which is its next malloc or free: all bins of gm_no_cache are empty and full.
 *
 * If 3 fails, the owner woke up and may be anywhere: just popping from its cache, or on its way to a new one. The
 * cache is then left alone, marked `lost`, and its owner takes it back at its next miss (cache.c, attach): there
 * it is in no hit path by construction. Storing it back from here would be wrong: a signal handler that
 * interrupted the hit path meanwhile relies on gm_tc being gm_no_cache until it returns (nested.c).
 *
 *
 * FRAMES ABOVE THE SYSTEM CALL that hold the cache in a register:
 *   - The allocator's own slow paths. They mark the cache busy, or wait for a lock of this library: such a futex
 *     lies in the library's data or records. Both are refused. Their other calls are not among those looked for.
 *   - A signal handler that interrupted malloc and sleeps. The trampoline that ran it (preload/signal.c) has put
 *     gm_tc away: it is not the cache that is looked for, which is refused. A handler installed
 *     behind the library's back by the bare system call, which interrupts malloc and then sleeps for
 *     seconds, is not seen; nothing that is known does so.
 *
 * THE OWNER'S MEMORY. Its gm_tc is written from here, so it must exist: a cache in the list has an owner
 * whose exit handler has not run, for that takes the threads lock, held here, to take it off. Threads whose exit
 * handler could not be armed are left out.
 *
 * COST. A look at a cache is a sum over its tops; the proof is four file reads on a thread made for them, about 50 us, for caches
 * that are worth it and have not changed for two looks. The caller bounds the time. */
#include "libgomalloc/idle.h"

#include "libgomalloc/arena.h"
#include "libgomalloc/base/lock.h"
#include "libgomalloc/cache.h"
#include "libgomalloc/central.h"
#include "libgomalloc/hooks.h"
#include "libgomalloc/os/os.h"
#include "libgomalloc/transfer.h"

#ifdef __SANITIZE_THREAD__
void __tsan_acquire(void *at);
#endif

extern const char __ehdr_start[] GM_HIDDEN, _end[] GM_HIDDEN; /* the library, its data included */

/* Changes whenever the owner allocates or frees, except that it may, rarely, come out the same. */
static uint32_t signature_of(const struct gm_cache *c) {
    uint64_t sum = 0;
    for (unsigned b = 0; b < GM_BINS; b++) sum += (uintptr_t)gm_load_relaxed(&c->top[b]) >> 3;
    for (unsigned cls = 0; cls < GM_FIRST_MEDIUM; cls++) sum += gm_load_relaxed(&c->mallocs[cls]) << 8;
    return (uint32_t)(sum ^ sum >> 32);
}

/* Whether it holds more than a sleeper may keep: in its arrays, or spans that bins refill from, which do not go back
 * to the heap when they empty. */
static bool holds_much(const struct gm_cache *c) {
    size_t bytes = 0;
    const struct gm_cache_more *more = gm_load_acquire(&c->more); /* pairs with the release in gm_cache_more */
    for (unsigned cls = 1; cls < GM_CLASSES; cls++) {
        unsigned bin = gm_bin_of(cls), n = gm_bin_count(c, bin);
        bytes += (size_t)n * gm_class_size[cls];
        if (bytes > GM_IDLE_KEEP || (more && gm_load_relaxed(&more->current[bin]))) return true;
    }
    return false;
}

/* An address in the library's data or its records. */
static bool is_ours(uintptr_t p) {
    const struct gm_arena *a = &gm_space.primary;
    return (p >= (uintptr_t)__ehdr_start && p < (uintptr_t)_end) || (p >= (uintptr_t)a->index.all_bits && p < a->base);
}

/* ThreadSanitizer's runtime sleeps on words of its own in the midst of any atomic operation, those of the hit paths too: a test with
 * threads that do not only sleep says no. */
#ifdef __SANITIZE_THREAD__
bool gm_idle_on_any_futex = true;
#else
enum { gm_idle_on_any_futex = 1 };
#endif
static bool asleep(const struct gm_cache *c, struct gm_os_asleep *at) {
    return gm_os_asleep(c->tid, at) && (at->futex == 0 || (gm_idle_on_any_futex && !is_ours(at->futex)));
}

/* Steps 1 to 3; without the last, c->lost stays. Apart, as it reads files. */
static void try_to_take(void *cache) {
    struct gm_cache *c = cache;
    struct gm_os_asleep before, after;
    if (!asleep(c, &before) || gm_load_relaxed(c->owner) != c || gm_load_relaxed(&c->busy)) return;
    /* seq_cst, and argued above; it has no partner among the owner's instructions. */
    gm_store_seq_cst(c->owner, &gm_no_cache);
    c->lost = true;
    gm_cache_lost++;
    if (!asleep(c, &after) || after.switches != before.switches || gm_load_relaxed(&c->busy)) return;
    c->lost = false;
    gm_cache_lost--;
    c->owner = NULL;
}

/* Threads lock. */
static bool take(struct gm_cache *c) {
    gm_os_apart(try_to_take, c);
    if (c->owner) return false;
#ifdef __SANITIZE_THREAD__
    __tsan_acquire(c); /* it cannot see the kernel's order; a test whose threads sleep says __tsan_release */
#endif
    return true;
}

/* Whether the cache was left alone since enough looks ago. Threads lock. */
static bool is_quiet(struct gm_cache *c) {
    uint32_t now = signature_of(c);
    if (now != c->signature) c->quiet = 0;
    c->signature = now;
    if (c->quiet < GM_IDLE_LOOKS) c->quiet++;
    return c->quiet == GM_IDLE_LOOKS;
}

/* The next cache to take, with the owner's hands off it; NULL: all were looked at. *left counts down. */
static struct gm_cache *next_quiet(unsigned *left, uint64_t until, bool at_once) {
    struct gm_cache *found = NULL;
    gm_cache_threads_lock();
    while (!found && *left > 0 && gm_os_nanotime() < until) {
        struct gm_cache *c = gm_cache_oldest_look();
        if (!c) break;
        --*left;
        if (gm_load_relaxed(&c->keyed) && c->owner && c != gm_load_relaxed(&gm_tc) && !c->lost && (at_once || is_quiet(c)) && holds_much(c) && take(c)) found = c;
    }
    gm_cache_threads_unlock();
    return found;
}

unsigned gm_idle_drain(uint64_t until, bool at_once) {
    if (gm_load_relaxed(&gm_hooks.on)) return 0; /* the collector walks the list of caches without the lock */
    unsigned taken = 0, left = gm_cache_living();
    for (struct gm_cache *c; (c = next_quiet(&left, until, at_once)) != NULL; taken++) gm_cache_retire(c);
    for (unsigned cls = 1; cls < GM_CLASSES && gm_os_nanotime() < until; cls++) {
        if (!at_once && !gm_transfer_is_quiet(cls)) continue;
        void *slots[GM_BATCH_MAX];
        for (unsigned n; (n = gm_transfer_get(cls, slots, true)) != 0;) gm_central_give(cls, slots, n);
    }
    return taken;
}

size_t gm_idle_tidy(uint64_t until, bool at_once) {
    gm_idle_drain(until, at_once);
    return gm_central_release_holes(until, at_once);
}
