/* Finalizers and weak references. See watch.h, cycle.c for the overview, gogc.h for the rules as a program sees them.
 *
 * A table by address, of records the collector does not look at: what is in them keeps nothing alive by itself. An
 * object that is in the table has another class in its state byte ("odd, see the page entry", gcview.h), so that free()
 * of it takes the slow path and takes it out of the table: no later object at the address inherits anything. Objects
 * whose frees go that way anyway (large ones, 8 bytes, pointer-free spans) need no such sign.
 *
 * ORDER. While marking, the contents of a finalizable object are roots, the object itself is not. So whatever a
 * finalizable object leads to lives until that finalizer has run, and of a chain of such objects the first one goes
 * first, the next one a cycle later. Objects with finalizers that lead to each other in a circle never go.
 *
 * RESURRECTION. A dead object with a finalizer is marked by hand, so the sweep leaves it; its finalizer is taken away
 * and runs once, on a thread of its own that the collector treats as one of the program's. If the finalizer stores the
 * object somewhere it simply lives on; else a later cycle reclaims it. Weak references to it were cleared before.
 *
 * A WEAK REFERENCE AND A MARKING. The snapshot child marks what was reachable when it was made; after a stop the threads go on a
 * moment before the references to the dead are cleared. Whoever takes a pointer out of a weak reference in that time may be bringing
 * back what is not marked. So from the stop until references are settled (`marking`, set while the world is held) one to a white object
 * without a mark is doubtful, and its reader waits. */
#include "gc/watch.h"

#include <errno.h>

#include "gc/cycle.h"
#include "gc/mark.h"
#include "libgomalloc/base/atomic.h"
#include "libgomalloc/base/bits.h"
#include "libgomalloc/base/lock.h"
#include "libgomalloc/gcview.h"
#include "libgomalloc/hooks.h"
#include "libgomalloc/meta.h"
#include "libgomalloc/os/os.h"

#define SECOND_NS INT64_C(1000000000)
enum { FIRST_BUCKETS = 512 };

struct watch {
    struct watch *next;                   /* in its bucket, or of those that are ready */
    uintptr_t object;                     /* 0: a weak reference to what is gone */
    void (*fn)(void *obj, void *arg);     /* NULL: a weak reference */
    void *arg;
};

static struct gm_lock lock = GM_LOCK_INIT(GM_RANK_WATCH);
static struct watch **table;              /* this and all below: the lock */
static size_t buckets, entries;
static struct gm_fix records = GM_FIX_INIT_OWN(sizeof(struct watch), 8);
static struct watch *ready, **ready_end = &ready; /* to be finalized, oldest first */
static bool running;                      /* there is a thread for them */
static uint32_t news;                     /* futex: moves when something becomes ready */
static uint32_t marking;                  /* atomic */

void gc_watch_lock(void) { gm_lock(&lock); }
void gc_watch_unlock(void) { gm_unlock(&lock); }
void gc_watch_marking(bool under_way) { gm_store_release(&marking, under_way); }

/* ---- the table */

static struct watch **bucket_of(uintptr_t p) { return &table[(p >> 3) * UINT64_C(0x9e3779b97f4a7c15) >> 32 & (buckets - 1)]; }

static bool make_room(void) {
    if (entries < buckets) return true;
    size_t before = buckets, n = before ? before * 2 : FIRST_BUCKETS;
    struct watch **old = table, **new = gm_os_map(n * sizeof *new);
    if (!new) return before != 0; /* longer chains, then */
    table = new;
    buckets = n;
    for (size_t i = 0; i < before; i++) {
        for (struct watch *w = old[i], *next; w; w = next) {
            next = w->next;
            w->next = *bucket_of(w->object);
            *bucket_of(w->object) = w;
        }
    }
    if (old) gm_os_unmap(old, before * sizeof *old);
    return true;
}

static struct watch *first_of(uintptr_t p) {
    struct watch *w = buckets ? *bucket_of(p) : NULL;
    while (w && w->object != p) w = w->next;
    return w;
}

/* Takes w, which *at points to, out; the last of its object takes the sign off. */
static void take_out(struct watch **at) {
    struct watch *w = *at;
    *at = w->next;
    entries--;
    gm_store_relaxed(&gm_hooks.watched, (uint32_t)(entries != 0));
    if (!first_of(w->object)) gm_gc_watch(w->object, false);
}

static struct watch *put_in(uintptr_t p) {
    struct watch *w = make_room() ? gm_fix_get(&records) : NULL;
    if (!w) return NULL;
    *w = (struct watch){ .object = p, .next = *bucket_of(p) };
    *bucket_of(p) = w;
    entries++;
    gm_gc_watch(p, true);
    return w;
}

/* Whether an object can be watched. Its owner is the caller, so it stays. */
static bool is_object(uintptr_t p) {
    struct gm_gc_object o;
    return gm_gc_find(p, &o) && o.live && !o.tiny && (o.start == p || (o.kind == GM_GC_PAIR && p - o.start == 8));
}

/* Somebody frees p. */
static void freed(uintptr_t p) {
    int saved = errno;
    gm_lock(&lock);
    for (struct watch **at = buckets ? bucket_of(p) : NULL, *w; at && (w = *at) != NULL;) {
        if (w->object != p) {
            at = &w->next;
            continue;
        }
        take_out(at);
        w->object = 0;
        if (w->fn) gm_fix_put(&records, w); /* a weak reference stays its owner's */
    }
    gm_unlock(&lock);
    errno = saved;
}

/* Under the lock. The first thing there is to watch. */
static void listen(void) {
    if (!gm_hooks.freed) gm_hooks.freed = freed;
    if (!gm_hooks.fork_prepare) { /* without a collector there is only our lock to keep */
        gm_hooks.fork_prepare = gc_fork_prepare;
        gm_hooks.fork_parent = gc_fork_parent;
        gm_hooks.fork_child = gc_fork_child;
    }
    gm_store_release(&gm_hooks.watched, 1);
}

/* ---- the finalizers' thread */

/* The next one that is ready, NULL if there is none. */
static struct watch *next_ready(void) {
    gm_lock(&lock);
    struct watch *w = ready;
    if (w && (ready = w->next) == NULL) ready_end = &ready;
    gm_unlock(&lock);
    return w;
}

/* False: there is none. In a frame of its own: the last object shall not live as long as the thread waits. */
static GM_NOINLINE bool run_next(void) {
    struct watch *w = next_ready();
    if (!w) return false;
    void (*fn)(void *, void *) = w->fn;
    void *object = (void *)w->object, *arg = w->arg;
    gm_fix_put(&records, w);
    fn(object, arg);
    return true;
}

static void run(void) {
    gm_os_leave_library_thread(); /* what it runs is the program's: held and looked at like any other */
    for (uint32_t seen = gm_load_acquire(&news);; seen = gm_load_acquire(&news)) {
        while (run_next()) continue;
        gm_os_futex_wait(&news, seen, SECOND_NS);
        if (gm_os_threads_alive() <= gm_os_helpers()) return; /* nobody else is left: the process ends */
    }
}

/* Where a program may make a thread, so may we. */
static void have_thread(void) {
    gm_lock(&lock);
    bool start = !running;
    running = true;
    gm_unlock(&lock);
    if (!start || gm_os_thread_start(run, "finalizers")) return;
    gm_lock(&lock);
    running = false; /* tried again with the next finalizer */
    gm_unlock(&lock);
}

/* ---- for programs */

int gc_watch_set_finalizer(void *obj, void (*fn)(void *obj, void *arg), void *arg) {
    uintptr_t p = (uintptr_t)obj;
    if (!is_object(p)) return -EINVAL;
    gm_lock(&lock);
    struct watch **at = buckets ? bucket_of(p) : NULL, *w = NULL;
    for (; at && (w = *at) != NULL; at = &w->next)
        if (w->object == p && w->fn) break;
    if (!fn && w) {
        take_out(at);
        gm_fix_put(&records, w);
    } else if (fn) {
        listen();
        if (!w) w = put_in(p);
        if (w) {
            w->arg = arg;
            w->fn = fn;
        }
    }
    gm_unlock(&lock);
    if (fn && !w) return -ENOMEM;
    if (fn) have_thread();
    return 0;
}

void *gc_watch_weak(void *obj) {
    if (!is_object((uintptr_t)obj)) {
        errno = EINVAL;
        return NULL;
    }
    gm_lock(&lock);
    listen();
    struct watch *w = put_in((uintptr_t)obj);
    gm_unlock(&lock);
    if (!w) errno = ENOMEM;
    return w;
}

void gc_watch_weak_free(void *weak) {
    struct watch *w = weak;
    if (!w) return;
    gm_lock(&lock);
    if (w->object) {
        struct watch **at = bucket_of(w->object);
        while (*at != w) at = &(*at)->next;
        take_out(at);
    }
    gm_fix_put(&records, w);
    gm_unlock(&lock);
}

/* White and without a mark. The object is in the table, so it is there. */
static bool is_unmarked(uintptr_t p) {
    struct gm_gc_object o;
    return gm_gc_find(p, &o) && o.arena->marks && gm_gc_is_white(&o, p) && !gm_gc_marked(o.arena, o.start);
}

void *gc_watch_weak_get(void *weak, bool *doubtful) {
    struct watch *w = weak;
    gm_lock(&lock);
    void *object = (void *)w->object;
    *doubtful = object && gm_load_acquire(&marking) && is_unmarked(w->object);
    gm_unlock(&lock);
    return *doubtful ? NULL : object;
}

/* ---- for the cycle */

static void mark_contents(uintptr_t p) {
    struct gm_gc_object o;
    if (gm_gc_find(p, &o) && !o.noscan) gc_mark_root_range(o.start, o.start + o.size, sizeof(uintptr_t), false);
}

void gc_watch_mark(void) {
    for (size_t i = 0; i < buckets; i++) {
        for (const struct watch *w = table[i]; w; w = w->next) {
            if (!w->fn) continue;
            gc_mark_root_word((uintptr_t)w->arg, true);
            mark_contents(w->object);
        }
    }
    for (const struct watch *w = ready; w; w = w->next) {
        gc_mark_root_word((uintptr_t)w->arg, true);
        gc_mark_object(w->object);
    }
}

/* Goes over the table: takes out what is dead of one kind. */
static void sort_out(bool finalizers) {
    for (size_t i = 0; i < buckets; i++) {
        for (struct watch **at = &table[i], *w; (w = *at) != NULL;) {
            if (!w->fn == finalizers || !is_unmarked(w->object)) {
                at = &w->next;
                continue;
            }
            take_out(at);
            if (finalizers) {
                w->next = NULL;
                *ready_end = w;
                ready_end = &w->next;
                gm_gc_mark_by_hand(w->object);
            } else {
                w->object = 0;
            }
        }
    }
}

void gc_watch_settle(void) {
    gm_lock(&lock);
    if (entries) {
        sort_out(false); /* first: after the other they would seem alive */
        sort_out(true);
    }
    gm_store_release(&marking, 0);
    bool wake = ready != NULL;
    gm_unlock(&lock);
    if (!wake) return;
    gm_add_relaxed(&news, 1);
    gm_os_futex_wake(&news, 1);
}

void gc_watch_fork_child(void) {
    running = false;
    gm_store_relaxed(&marking, 0);
}
