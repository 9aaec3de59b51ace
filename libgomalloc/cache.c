/* See cache.h; malloc.c for the overview.
 *
 * Refill: a batch from transfer.h if there is one, else slots from the current span; both without a
 * lock. Overflow: the older half leaves as a batch through transfer.h, or to central when that is full.
 *
 * Fork: the child finds the caches of threads that no longer exist. Taking one over, it trusts a
 * slot only if its state byte says "free": a thread may have been stopped between any two stores of
 * the fast paths, whose order is such that a slot is then at worst lost, or in the array although
 * allocated (the pop not yet stored), never the other way round. A cache whose owner was inside a
 * slow path is dropped as it is: its slots are lost to the child, no more. */
#include "libgomalloc/cache.h"

#include <string.h>

#include "libgomalloc/arena.h"
#include "libgomalloc/base/bits.h"
#include "libgomalloc/base/check.h"
#include "libgomalloc/base/lock.h"
#include "libgomalloc/central.h"
#include "libgomalloc/guests.h"
#include "libgomalloc/heap.h"
#include "libgomalloc/meta.h"
#include "libgomalloc/os/os.h"
#include "libgomalloc/scavenge.h"
#include "libgomalloc/transfer.h"

/* Words of a bin's first array and of its largest (one word is the NULL); slots from which on a bin is
 * warm; bytes a bin may cache, of a class up to 1 KiB and above (where one slot is always allowed). */
enum { FIRST_WORDS = 4, MAX_WORDS = 128, WARM = 15, MAX_SMALL_BYTES = 16 * 1024, MAX_MEDIUM_BYTES = 8 * 1024,
       PART_SHIFT = 10, LEAST_SMALL_BYTES = 8 * 1024, MEDIUM_PARTS = 4 };

/* An empty array that is full as well: NULL is what a pop finds. */
static void *nothing[1];
struct gm_cache gm_no_cache = {
    .top = { [0 ... GM_BINS - 1] = nothing },
    .limit = { [0 ... GM_BINS - 1] = nothing },
    .until_sample = INT64_MIN / 4, /* threads count down and up in it without order: it stays negative */
};

GM_TLS struct gm_cache *gm_tc = &gm_no_cache;
static GM_TLS bool ending; /* this thread's exit handler has run for the last time */
bool gm_always_slow, gm_sampling;
void (*gm_cache_close_tiny)(struct gm_cache *c);

static struct gm_lock threads_lock = GM_LOCK_INIT(GM_RANK_THREADS);
static struct gm_list all = { &all, &all };         /* caches of living threads (threads lock) */
static struct gm_list orphans = { &orphans, &orphans }; /* of threads that a fork left behind */
static bool have_orphans;
static unsigned living;
unsigned gm_cache_lost;
static struct gm_cache_counts dead[GM_CLASSES]; /* of ended threads (threads lock) */
static struct gm_cache_counts direct[GM_CLASSES]; /* without a cache (atomic) */

static struct gm_fix caches = GM_FIX_INIT_OWN(GM_CACHE_BYTES, GM_CACHE_LINE);
static struct gm_fix mores = GM_FIX_INIT_OWN(sizeof(struct gm_cache_more), GM_CACHE_LINE);
/* Records of 8, 16, 32, 64, 128 words for arrays outside the cache's own record. The first also holds arrays of
 * fewer words: how much a bin may keep does not depend on where its array lies. */
enum { ARRAY_KINDS = 5 };
static struct gm_fix arrays[ARRAY_KINDS] = {
    GM_FIX_INIT_OWN(64, 64), GM_FIX_INIT_OWN(128, 64), GM_FIX_INIT_OWN(256, 64), GM_FIX_INIT_OWN(512, 64), GM_FIX_INIT_OWN(1024, 64),
};
static struct gm_fix *arrays_of(unsigned words) { return &arrays[words < 8 ? 0 : gm_high_bit(words) - 3]; }

const struct gm_cache_roots gm_cache_roots = { &all, &orphans, dead, direct, &caches, &mores, arrays, ARRAY_KINDS };

static unsigned exit_key;
static bool exit_key_made;

/* ---- a cache's life */

/* A miss of the bin. True: it is hot, an eighth of the thread's last misses were its own. */
static bool note_miss(struct gm_cache *c, unsigned bin) {
    enum { EPOCH = 240, HOT = EPOCH / 8 };
    if (++c->misses == EPOCH) {
        c->misses = 0;
        memset(c->missed, 0, sizeof c->missed);
    }
    return ++c->missed[bin] >= HOT;
}

/* What bins of 16 KiB each would hold in all threads is more than a small heap: unless a bin is hot, it gets its part of the heap
 * for each thread. Whether it may have an array of so many words, one of which is the NULL. */
static bool may_have(unsigned cls, unsigned words, bool hot) {
    size_t size = gm_class_size[cls], bytes = size * (words == FIRST_WORDS ? 2 : words - 1); /* three where two fit */
    size_t part = gm_load_relaxed(&gm_space.primary.committed) >> gm_high_bit(gm_load_relaxed(&living) | 1) >> PART_SHIFT;
    if (words > MAX_WORDS) return false;
    if (cls < GM_FIRST_MEDIUM) return bytes <= (hot ? MAX_SMALL_BYTES : gm_min(gm_max(part, LEAST_SMALL_BYTES), MAX_SMALL_BYTES));
    if (words <= 2) return hot || size <= part * MEDIUM_PARTS;
    return bytes <= (hot ? MAX_MEDIUM_BYTES : gm_min(part / 2, MAX_MEDIUM_BYTES));
}

static void reset(struct gm_cache *c) {
    memset(c, 0, sizeof *c);
    c->until_sample = GM_SAMPLE_UNSET;
    for (unsigned b = 0; b < GM_BINS; b++) c->top[b] = c->limit[b] = nothing;
}

void (*gm_cache_before_second)(void);

/* The cache the thread has already: a signal handler came first, or it was being taken away when the thread woke up
 * (idle.c). NULL: none. Threads lock. */
static struct gm_cache *take_back(void) {
    struct gm_cache *c = gm_load_relaxed(&gm_tc);
    if (c != &gm_no_cache) return c;
    for (struct gm_list *l = gm_cache_lost ? all.next : &all; l != &all; l = l->next) {
        c = gm_list_entry(l, struct gm_cache, link);
        if (!c->lost || c->owner != &gm_tc) continue;
        c->lost = false;
        gm_cache_lost--;
        gm_store_relaxed(&gm_tc, c);
        return c;
    }
    return NULL;
}

/* The collector turns all colours over while this thread is held, wherever that is, by the list of caches. So
 * the cache is in the list first, and then takes the colour until it has the current one. */
static void take_colour(struct gm_cache *c) {
    do {
        gm_store_relaxed(&c->colour, gm_load_relaxed(&gm_colour));
        __atomic_signal_fence(__ATOMIC_SEQ_CST);
    } while (gm_load_relaxed(&c->colour) != gm_load_relaxed(&gm_colour));
}

/* gm_list_push for readers that stop the writer anywhere and follow `next`: the node leads on before it is led to. */
static void push_visibly(struct gm_list *head, struct gm_list *node) {
    gm_store_relaxed(&node->next, head->next);
    node->prev = head;
    head->next->prev = node;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    gm_store_release(&head->next, node);
}

static struct gm_cache *attach(void) {
    /* Relaxed: a thread sees that the one that made it has a cache, and threads are what matters. */
    if (gm_load_relaxed(&living) != 0 && gm_cache_before_second) gm_cache_before_second();
    if (gm_load_relaxed(&gm_tc) != &gm_no_cache) return gm_load_relaxed(&gm_tc);
    struct gm_cache *c = gm_fix_get(&caches);
    if (!c) return NULL;
    reset(c);
    c->tid = gm_os_gettid();
    c->owner = &gm_tc;
    gm_lock(&threads_lock);
    struct gm_cache *had = take_back();
    if (!had) {
        push_visibly(&all, &c->link);
        gm_count_add(&living, 1);
        gm_store_relaxed(&gm_tc, c);
    }
    gm_unlock(&threads_lock);
    if (had) {
        gm_fix_put(&caches, c);
        return had;
    }
    take_colour(c);
    return c;
}

/* Arms the exit handler. Setting a key may allocate (a second-level table in the C library): by now
 * gm_tc is set, so that comes back to an ordinary cache. */
static void arm(struct gm_cache *c) {
    gm_store_relaxed(&c->keyed, 1);
    if (!gm_os_thread_key_set(exit_key, c)) gm_store_relaxed(&c->keyed, 0); /* no memory for it: tried again at the next miss */
}

struct gm_cache *gm_cache_get(void) {
    struct gm_cache *c = gm_load_relaxed(&gm_tc);
    if (GM_UNLIKELY(gm_load_relaxed(&have_orphans))) gm_cache_adopt_orphan();
    if (c == &gm_no_cache && (ending || gm_load_relaxed(&gm_always_slow) || !(c = attach()))) return NULL;
    if (GM_UNLIKELY(!c->keyed) && gm_load_acquire(&exit_key_made)) arm(c);
    return c;
}

/* The flag comes before what it covers and goes after it, in the order a fork or signal sees. */
static void set_busy(struct gm_cache *c) {
    gm_store_relaxed(&c->busy, 1);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}
static void clear_busy(struct gm_cache *c) { gm_store_release(&c->busy, 0); }

struct gm_cache_more *gm_cache_more(struct gm_cache *c) {
    if (c->more) return c->more;
    struct gm_cache_more *m = gm_fix_get(&mores);
    if (!m) return NULL;
    memset(m, 0, sizeof *m);
    gm_store_release(&c->more, m);
    return m;
}

/* Lets go of the bin's current span. */
static void release_current(struct gm_cache *c, unsigned bin) {
    if (!c->more || !c->more->current[bin]) return;
    gm_central_release(c->more->current[bin]);
    gm_store_relaxed(&c->more->current[bin], NULL);
}

static void add_to_dead(struct gm_cache *c) {
    for (unsigned cls = 0; cls < GM_CLASSES; cls++) {
        struct gm_cache_counts n = gm_cache_counts(c, cls);
        dead[cls].mallocs += n.mallocs;
        dead[cls].requested += n.requested;
    }
}

static bool is_inside(const struct gm_cache *c, unsigned bin) { return c->inside_array[bin / 8] >> bin % 8 & 1; }

/* Readers of statistics may see a mixture of old and new: gm_bin_count copes. */
static void set_array(struct gm_cache *c, unsigned bin, void **top, void **limit, unsigned capacity) {
    gm_store_relaxed(&c->top[bin], top);
    gm_store_relaxed(&c->limit[bin], limit);
    gm_store_relaxed(&c->capacity[bin], (uint8_t)capacity);
}

static void free_array(struct gm_cache *c, unsigned bin) {
    unsigned capacity = c->capacity[bin];
    void **array = is_inside(c, bin) ? NULL : c->limit[bin] - capacity;
    set_array(c, bin, nothing, nothing, 0);
    c->inside_array[bin / 8] &= (uint8_t)~(1u << bin % 8);
    if (capacity && array) gm_fix_put(arrays_of(capacity + 1), array);
}

/* Busy: a fork at this moment must not make its child take over what is being taken apart. */
static void discard(struct gm_cache *c) {
    set_busy(c);
    for (unsigned b = 1; b < GM_BINS; b++) free_array(c, b);
    gm_lock(&threads_lock);
    add_to_dead(c);
    gm_list_remove(&c->link);
    c->owner = NULL;
    gm_count_add(&living, -1u);
    bool last = living == 0;
    gm_unlock(&threads_lock);
    if (last) gm_scavenge_thread_gone();
    if (c->more) gm_fix_put(&mores, c->more);
    gm_fix_put(&caches, c);
}

/* Other exit handlers, in this round and the three that may follow, still allocate and free: they do so
 * without a cache, straight from and to the central lists, as does the C library after the last. */
static void at_thread_exit(void *value) {
    struct gm_cache *armed = value; /* was this thread's, and may be another's by now */
    gm_lock(&threads_lock);
    struct gm_cache *c = gm_cache_mine();
    if (!c) c = take_back();
    if (armed != c && armed->owner == &gm_tc) armed->owner = NULL; /* put away in a handler that never returns */
    bool last = !c && living == 0;
    gm_unlock(&threads_lock);
    ending = true;
    if (last) gm_scavenge_thread_gone();
    if (!c) return;
    gm_cache_flush(c);
    gm_store_relaxed(&gm_tc, &gm_no_cache);
    discard(c);
}

void gm_cache_arm_exit_handler(void) {
    if (exit_key_made || !gm_os_thread_key(at_thread_exit, &exit_key)) return;
    gm_store_release(&exit_key_made, true); /* pairs with the acquire in gm_cache_get */
}

void gm_cache_disable(void) {
    gm_store_relaxed(&gm_always_slow, true);
    struct gm_cache *c = gm_cache_mine();
    if (!c) return;
    gm_cache_flush(c);
    gm_store_relaxed(&gm_tc, &gm_no_cache);
    if (!c->keyed) discard(c); /* else its exit handler would find it gone */
}

/* ---- arrays */

/* Doubles the array of a bin, or makes its first one. Failing to is no harm. */
static void grow_array(struct gm_cache *c, unsigned cls) {
    unsigned bin = gm_bin_of(cls), had = c->capacity[bin] ? c->capacity[bin] + 1u : 0, words = had ? had * 2 : FIRST_WORDS;
    void **array = NULL;
    bool hot = note_miss(c, bin);
    if (!had && !may_have(cls, words, hot)) words = 2;
    if (!may_have(cls, words, hot)) return;
    bool inside = words <= FIRST_WORDS && c->inside_used + words <= GM_CACHE_INSIDE;
    if (inside) {
        array = &c->inside[c->inside_used];
        c->inside_used = (uint16_t)(c->inside_used + words);
    } else {
        array = gm_fix_get(arrays_of(words));
        if (!array) return;
    }
    unsigned n = gm_bin_count(c, bin);
    array[0] = NULL;
    memcpy(array + 1, gm_bin_first(c, bin), n * sizeof *array);
    free_array(c, bin);
    if (inside) c->inside_array[bin / 8] |= (uint8_t)(1u << bin % 8);
    set_array(c, bin, array + n, array + words - 1, words - 1);
}

/* How many slots a cold bin takes: half its room, but at first one large or a cache line of small ones, so
 * that neighbours in the span are not two threads' first objects in one line. */
static unsigned cold_refill(unsigned cls, unsigned capacity) {
    unsigned size = gm_class_size[cls], first = size >= GM_CACHE_LINE ? 1 : GM_CACHE_LINE / size;
    return (unsigned)gm_min(capacity, gm_max(first, capacity <= FIRST_WORDS ? 1 : (capacity + 1) / 2));
}

#ifdef GM_DEBUG
/* The expensive walkers, at the seam every miss passes: the cache often, the whole heap rarely. */
static void verify_now_and_then(struct gm_cache *c) {
    static GM_TLS unsigned misses;
    misses++;
    if (misses % 64 == 0) gm_cache_verify(c);
    if (misses % 4096 != 0) return;
    gm_central_verify();
    gm_heap_verify();
}
#endif

/* Near the memory limit a thread keeps what it needs at once: it empties its cache each time the limit was reached, has no
 * spans of its own, and takes and keeps little. */
static GM_COLD void drain(struct gm_cache *c) {
    uint32_t now = gm_load_relaxed(&gm_heap_squeezes), before = c->drained;
    c->drained = now;
    if (now != before) gm_cache_flush(c);
}
static unsigned urgent_refill(unsigned cls, unsigned capacity) {
    enum { BYTES = 1024 };
    return (unsigned)gm_min(capacity, gm_max(BYTES / gm_class_size[cls], 1));
}

bool gm_cache_refill(struct gm_cache *c, unsigned cls) {
    unsigned bin = gm_bin_of(cls);
    void *slots[GM_BATCH_MAX];
    bool urgent = gm_load_relaxed(&gm_heap_urgent);
    if (GM_UNLIKELY(urgent)) drain(c);
    set_busy(c);
    grow_array(c, cls);
    unsigned capacity = c->capacity[bin], n = 0;
    if (capacity) {
        n = gm_transfer_get(cls, slots, false);
        if (n > capacity) { /* a fuller cache than ours sent it */
            gm_central_give(cls, slots + capacity, n - capacity);
            n = capacity;
        }
        struct gm_cache_more *more = n == 0 && capacity >= WARM && !urgent ? gm_cache_more(c) : NULL;
        if (more) n = gm_central_refill(cls, &more->current[bin], slots, (unsigned)gm_min((capacity + 1) / 2, GM_BATCH_MAX));
        else if (n == 0) n = gm_central_take(cls, slots, urgent ? urgent_refill(cls, capacity) : cold_refill(cls, capacity));
        memcpy(gm_bin_first(c, bin), slots, n * sizeof *slots);
        gm_store_relaxed(&c->top[bin], gm_bin_first(c, bin) + n - 1);
    }
    GM_EXPENSIVE(verify_now_and_then(c));
    clear_busy(c);
    return n != 0;
}

/* Sends slots away: as a batch if a place is free, else home. */
static void send(unsigned cls, void **slots, unsigned n) {
    while (n) {
        unsigned k = (unsigned)gm_min(n, GM_BATCH_MAX);
        size_t bytes = gm_max(gm_central_span_bytes(cls), gm_central_out(cls) * gm_class_size[cls]); /* much may lie as guests */
        if (!gm_transfer_put(cls, slots, k, bytes)) gm_central_give(cls, slots, k);
        slots += k;
        n -= k;
    }
}

void gm_cache_make_room(struct gm_cache *c, unsigned cls) {
    unsigned bin = gm_bin_of(cls), before = c->capacity[bin];
    bool urgent = gm_load_relaxed(&gm_heap_urgent);
    if (GM_UNLIKELY(urgent)) drain(c);
    if (c->top[bin] != c->limit[bin]) return;
    set_busy(c);
    if (!urgent || !before) grow_array(c, cls);
    if (c->capacity[bin] == before && before) { /* as large as it gets: the older half leaves */
        void **first = gm_bin_first(c, bin);
        unsigned n = gm_bin_count(c, bin), leave = (n + 1) / 2;
        send(cls, first, leave);
        memmove(first, first + leave, (n - leave) * sizeof *first);
        gm_store_relaxed(&c->top[bin], c->top[bin] - leave);
    }
    clear_busy(c);
}

/* ---- flushing */

static void flush_bin(struct gm_cache *c, unsigned cls) {
    unsigned bin = gm_bin_of(cls), n = gm_bin_count(c, bin);
    if (n) gm_central_give(cls, gm_bin_first(c, bin), n);
    gm_store_relaxed(&c->top[bin], c->top[bin] - n);
    release_current(c, bin);
}

void gm_cache_flush(struct gm_cache *c) {
    set_busy(c);
    void (*close_tiny)(struct gm_cache *) = gm_load_relaxed(&gm_cache_close_tiny);
    if (c->tiny_next && close_tiny) close_tiny(c);
    for (unsigned cls = 1; cls < GM_CLASSES; cls++) flush_bin(c, cls);
    clear_busy(c);
}

void gm_cache_give_direct(unsigned cls, void *slot) { gm_central_give(cls, &slot, 1); }

void gm_cache_count_direct(unsigned cls, size_t requested) {
    gm_add_relaxed(&direct[cls].mallocs, 1);
    gm_add_relaxed(&direct[cls].requested, requested);
}

/* ---- caches of sleeping threads (idle.c) */

struct gm_cache *gm_cache_oldest_look(void) {
    if (gm_list_empty(&all)) return NULL;
    struct gm_cache *c = gm_list_entry(all.prev, struct gm_cache, link);
    gm_list_remove(&c->link);
    gm_list_push(&all, &c->link);
    return c;
}

unsigned gm_cache_living(void) { return gm_load_relaxed(&living); }

void gm_cache_retire(struct gm_cache *c) {
    gm_cache_flush(c);
    discard(c);
}

/* ---- fork */

void gm_cache_threads_lock(void) { gm_lock(&threads_lock); }
void gm_cache_threads_unlock(void) { gm_unlock(&threads_lock); }

void gm_cache_fork_child(void) {
    struct gm_cache *mine = gm_cache_mine();
    if (mine) {
        gm_list_remove(&mine->link);
        mine->tid = gm_os_gettid();
    }
    if (!gm_list_empty(&all)) { /* splice: what an earlier fork left may still be there */
        all.prev->next = orphans.next;
        orphans.next->prev = all.prev;
        orphans.next = all.next;
        all.next->prev = &orphans;
        gm_list_init(&all);
        gm_store_relaxed(&have_orphans, true);
    }
    gm_store_relaxed(&living, 0);
    gm_cache_lost = 0;
    if (mine) {
        gm_list_push(&all, &mine->link);
        gm_store_relaxed(&living, 1);
    }
}

void gm_cache_fork_child_alone(void) {
    struct gm_cache *mine = gm_cache_mine();
    if (mine) mine->tid = gm_os_gettid();
}

/* Of the slots in an abandoned array, those that are really free go home. */
static void adopt_bin(struct gm_cache *c, unsigned cls) {
    unsigned bin = gm_bin_of(cls), n = gm_bin_count(c, bin);
    for (unsigned i = 0; i < n; i++) {
        void *slot = gm_bin_first(c, bin)[i];
        if (cls != GM_CLASS_8 && gm_state_get(&gm_space.primary, (uintptr_t)slot, cls) == 0)
            gm_central_give(cls, &slot, 1);
    }
    release_current(c, bin);
}

void gm_cache_adopt_orphan(void) {
    struct gm_cache *c = NULL;
    gm_lock(&threads_lock);
    if (!gm_list_empty(&orphans)) {
        c = gm_list_entry(orphans.next, struct gm_cache, link);
        gm_list_remove(&c->link);
        add_to_dead(c);
    } else {
        gm_store_relaxed(&have_orphans, false);
    }
    gm_unlock(&threads_lock);
    if (!c) return;
    if (!c->busy)
        for (unsigned cls = 1; cls < GM_CLASSES; cls++) adopt_bin(c, cls);
    for (unsigned b = 1; !c->busy && b < GM_BINS; b++) free_array(c, b);
    if (!c->busy && c->more) gm_fix_put(&mores, c->more);
    if (!c->busy) gm_fix_put(&caches, c);
}

void gm_cache_adopt_orphans(void) {
    while (gm_load_relaxed(&have_orphans)) gm_cache_adopt_orphan();
}
