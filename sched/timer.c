/* Timers. See proc.c for the overview.
 *
 * Each P has a heap of its own, 4 children to a node: half the levels of a binary heap, and the four that are
 * compared lie in one cache line (the array begins three entries into its memory). An entry holds the time beside the pointer,
 * so moving through the heap touches nothing but the heap; on the way down the sixteen that come after the next four are
 * fetched ahead, and the earliest of four is found without a branch, which would be mispredicted once a level. There are
 * two kinds of entries:
 *
 *   sleepers   a goroutine in go_sleep (low bit of the pointer set). Nobody stops a sleep, so a sleeper needs to
 *              know neither its place nor its heap: a million of them never touch their stacks on the way.
 *   timers     struct gs_timer, which can be stopped and set. It keeps its place, and stays with the heap where it
 *              was made: stop and set lock that one heap, change it, and know exactly whether they came in time.
 *              (Go marks stopped timers and cleans up later; with one lock and a known place nothing is left over.)
 *
 * Whoever runs a timer takes it out under the lock, then calls it without: so after a stop that returned false, run may
 * still be under way, which is what Go's Stop says too. `running` counts those calls; gs_timer_done waits for it, and only
 * then may the record's memory go.
 *
 * A heap has places for all its timers from the moment they are made (`used` counts them, and sleepers), so only making
 * a timer and falling asleep can meet a lack of memory. The first is an error; the second sleeps the thread.
 *
 * Who runs them: the owner of the P on its way through the scheduler, a thief that finds nothing else to do, sysmon if all
 * are busy. The scheduler looks at p->timer_next, written here under the lock, read there without: a reader that
 * comes too early is corrected by gs_timer_added, which is called after the store.
 *
 * To sleep and be woken costs some 10 us of CPU time, ten times what a timer costs. So where at least five are due within a tenth
 * of a millisecond (GS_GATHER) one waking at its end does for them all; the kernel itself adds half as much, and Go's poller sleeps
 * for no less than a millisecond. A million sleepers over two seconds: 12500 wakings and 1.21 s of CPU time at one P without,
 * 2700 and 1.00 with it; at two Ps 1.50 and 0.98. One timer, or few, are as exact as the kernel makes them. */
#include "sched/timer.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <time.h>

#include "libgomalloc/meta.h"
#include "libgomalloc/os/os.h"
#include "sched/gosched.h"
#include "sched/proc.h"

enum { CHILDREN = 4, FIRST_BYTES = 4096, PAD = 3 /* entries before the first: children of i are in line i + 1 */ };

struct entry {
    int64_t when;
    uintptr_t who;             /* struct gs_timer *, or struct gs_g * | SLEEPER */
};
enum { SLEEPER = 1 };

struct gs_timers {
    struct gs_lock lock;
    uint32_t count;            /* entries in the heap */
    uint32_t used;             /* places promised: timers, set or not, and sleepers */
    uint32_t capacity;
    bool busy;                 /* somebody runs what is due, one at a time, so that it is run in order */
    struct gs_timer *current;  /* the one that is called, or just was; NULL also when it has gone since */
    bool forking;              /* the lock is held across a fork */
    struct entry *heap;
    struct gs_p *p;
};

int64_t gs_deadline_in(int64_t ns) {
    int64_t now = (int64_t)gm_os_nanotime();
    if (ns < 0) ns = 0;
    return ns > INT64_MAX - now ? INT64_MAX : now + ns;
}

/* ---- the heap; all under h->lock */

static void put(struct gs_timers *h, uint32_t at, struct entry e) {
    h->heap[at] = e;
    if (!(e.who & SLEEPER)) ((struct gs_timer *)e.who)->place = at + 1;
}

static void sift_up(struct gs_timers *h, uint32_t at, struct entry e) {
    while (at > 0) {
        uint32_t parent = (at - 1) / CHILDREN;
        if (h->heap[parent].when <= e.when) break;
        put(h, at, h->heap[parent]);
        at = parent;
    }
    put(h, at, e);
}

/* The earliest of the children, the first of which is given; there is one. */
GM_INLINE uint32_t earliest(const struct entry *heap, uint32_t first, uint32_t count) {
    if (GM_LIKELY(first + CHILDREN <= count)) {
        uint32_t a = first + (heap[first + 1].when < heap[first].when), b = first + 2 + (heap[first + 3].when < heap[first + 2].when);
        return a ^ ((a ^ b) & -(uint32_t)(heap[b].when < heap[a].when));
    }
    uint32_t best = first;
    for (uint32_t c = first + 1; c < count; c++)
        if (heap[c].when < heap[best].when) best = c;
    return best;
}

static void sift_down(struct gs_timers *h, uint32_t at, struct entry e) {
    for (uint32_t first; (first = at * CHILDREN + 1) < h->count;) {
        for (uint32_t c = first; c < first + CHILDREN; c++) __builtin_prefetch(&h->heap[c * CHILDREN + 1], 1);
        uint32_t best = earliest(h->heap, first, h->count);
        if (h->heap[best].when >= e.when) break;
        put(h, at, h->heap[best]);
        at = best;
    }
    put(h, at, e);
}

static void take_out(struct gs_timers *h, uint32_t at) {
    struct entry gone = h->heap[at], last = h->heap[h->count - 1];
    gm_store_relaxed(&h->count, h->count - 1);
    if (!(gone.who & SLEEPER)) ((struct gs_timer *)gone.who)->place = 0;
    if (at == h->count) return;
    if (at > 0 && h->heap[(at - 1) / CHILDREN].when > last.when) sift_up(h, at, last);
    else sift_down(h, at, last);
}

unsigned gs_timers_waiting(const struct gs_p *p) {
    const struct gs_timers *h = gm_load_acquire((struct gs_timers **)&p->timers);
    return h ? gm_load_relaxed(&h->count) : 0;
}

/* The root and its children are due within GS_GATHER. */
static bool is_dense(const struct gs_timers *h) {
    if (h->count <= CHILDREN) return false;
    for (unsigned i = 1; i <= CHILDREN; i++)
        if (h->heap[i].when - h->heap[0].when > GS_GATHER) return false;
    return true;
}

static int64_t publish(struct gs_timers *h) {
    int64_t next = h->count ? h->heap[0].when : 0;
    bool dense = is_dense(h);
    /* relaxed: see the head of the file; a thief that reads an old time finds out under the lock. */
    if (gm_load_relaxed(&h->p->timer_next) != next) gm_store_relaxed(&h->p->timer_next, next);
    if (gm_load_relaxed(&h->p->timers_dense) != dense) gm_store_relaxed(&h->p->timers_dense, dense);
    return next;
}

/* True if the entry is the earliest now, so that sleepers have to hear of it. */
static bool insert(struct gs_timers *h, struct entry e) {
    gm_store_relaxed(&h->count, h->count + 1);
    sift_up(h, h->count - 1, e);
    return publish(h) == e.when;
}

/* ---- heaps of Ps, and their places */

static int64_t run_timers(struct gs_p *p, int64_t now);

/* The heap of the caller's P, made on first use. NULL: no memory. */
static struct gs_timers *home(void) {
    struct gs_p *p = gs_proc(gs_procs_id());
    struct gs_timers *h = gm_load_acquire((struct gs_timers **)&p->timers), *none = NULL;
    if (h) return h;
    h = gm_meta_alloc(sizeof *h, GM_CACHE_LINE);
    if (!h) return NULL;
    *h = (struct gs_timers){ .p = p };
    gm_store_relaxed(&gs_hooks.run_timers, run_timers);
    /* release: pairs with the acquire above and in run_timers; another thread on this P's behalf may have been first. */
    return __atomic_compare_exchange_n((struct gs_timers **)&p->timers, &none, h, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE) ? h : none;
}

/* Room for more than `seen` places. The new array is mapped without the lock; if somebody else was faster it is not needed. */
static bool grow(struct gs_timers *h, uint32_t seen) {
    size_t now = seen ? (seen + PAD) * sizeof(struct entry) : 0, bytes = seen ? 2 * now : FIRST_BYTES, old = 0;
    struct entry *fresh = bytes / sizeof(struct entry) < UINT32_MAX / CHILDREN ? gm_os_map(bytes) : NULL;
    if (!fresh) return false;
    gs_lock_acquire(&h->lock, GS_RANK_TIMER);
    if (h->capacity == seen) {
        struct entry *before = h->heap;
        h->heap = fresh + PAD;
        if (h->count) memcpy(h->heap, before, h->count * sizeof *fresh);
        gm_store_relaxed(&h->capacity, (uint32_t)(bytes / sizeof *fresh) - PAD);
        fresh = before ? before - PAD : NULL;
        old = now;
    } else {
        old = bytes;
    }
    gs_lock_release(&h->lock);
    if (fresh) gm_os_unmap(fresh, old);
    return true;
}

/* ---- running what is due */

/* The timer at the top is due: out of the heap, or on to its next time, and then called with the lock given back. */
static void run_top(struct gs_timers *h, int64_t now) {
    struct gs_timer *t = (struct gs_timer *)h->heap[0].who;
    if (t->period > 0) {
        int64_t late = (now - t->when) / t->period;
        t->when = t->when > INT64_MAX - (late + 1) * t->period ? INT64_MAX : t->when + (late + 1) * t->period;
        sift_down(h, 0, (struct entry){ t->when, (uintptr_t)t });
    } else {
        take_out(h, 0);
    }
    publish(h);
    gm_add_relaxed(&t->running, 1); /* under the lock, so gs_timer_done sees the timer in the heap or this */
    h->current = t;
    gs_lock_release(&h->lock);
    t->run(t, now);
    /* release: pairs with the acquire in gs_timer_done; run is through with the record. */
    __atomic_fetch_sub(&t->running, 1, __ATOMIC_RELEASE);
    gs_lock_acquire(&h->lock, GS_RANK_TIMER);
    h->current = NULL;
}

static int64_t run_timers(struct gs_p *p, int64_t now) {
    struct gs_timers *h = gm_load_acquire((struct gs_timers **)&p->timers);
    struct gs_g *ready = NULL, *last = NULL;
    if (!h) return 0;
    gs_lock_acquire(&h->lock, GS_RANK_TIMER);
    bool mine = !h->busy;
    h->busy = true;
    while (mine && h->count && h->heap[0].when <= now) {
        uintptr_t who = h->heap[0].who;
        if (!(who & SLEEPER)) {
            run_top(h, now);
            continue;
        }
        struct gs_g *g = (struct gs_g *)(who & ~(uintptr_t)SLEEPER);
        __builtin_prefetch(g, 1);
        take_out(h, 0);
        h->used--;
        if (last) last->link = g; /* its record has come meanwhile */
        else ready = g;
        last = g;
    }
    int64_t next = publish(h);
    if (mine) h->busy = false;
    gs_lock_release(&h->lock);
    if (!ready) return next;
    last->link = NULL;
    gs_ready_list(ready);
    return next;
}

/* ---- timers */

int gs_timer_init(struct gs_timer *t, void (*run)(struct gs_timer *t, int64_t now)) {
    int error = gs_start();
    struct gs_timers *h = error ? NULL : home();
    if (!h) return error ? error : -ENOMEM;
    *t = (struct gs_timer){ .home = h, .run = run };
    for (;;) {
        gs_lock_acquire(&h->lock, GS_RANK_TIMER);
        uint32_t capacity = h->capacity;
        bool room = h->used < capacity;
        if (room) h->used++;
        gs_lock_release(&h->lock);
        if (room) return 0;
        if (!grow(h, capacity)) return -ENOMEM;
    }
}

bool gs_timer_set(struct gs_timer *t, int64_t when, int64_t period) {
    struct gs_timers *h = t->home;
    gs_lock_acquire(&h->lock, GS_RANK_TIMER);
    bool waited = t->place != 0;
    if (waited) take_out(h, t->place - 1);
    t->when = when;
    t->period = period;
    bool first = insert(h, (struct entry){ when, (uintptr_t)t });
    gs_lock_release(&h->lock);
    if (first) gs_timer_added(when);
    return waited;
}

bool gs_timer_stop(struct gs_timer *t) {
    struct gs_timers *h = t->home;
    gs_lock_acquire(&h->lock, GS_RANK_TIMER);
    bool waited = t->place != 0;
    if (waited) {
        take_out(h, t->place - 1);
        publish(h);
    }
    gs_lock_release(&h->lock);
    return waited;
}

void gs_timer_done(struct gs_timer *t) {
    struct gs_timers *h = t->home;
    do {
        gs_timer_stop(t); /* again after a wait: run may have set it */
        while (gm_load_acquire(&t->running)) sched_yield();
        gs_lock_acquire(&h->lock, GS_RANK_TIMER);
        bool over = t->place == 0 && gm_load_relaxed(&t->running) == 0;
        if (over) h->used--;
        if (over && h->current == t) h->current = NULL;
        gs_lock_release(&h->lock);
        if (over) return;
    } while (true);
}

/* ---- go_sleep */

struct sleep {
    struct gs_timers *home;
    int64_t until;
    bool full;
};

static bool fall_asleep(struct gs_g *g, void *arg) {
    struct sleep *s = arg;
    struct gs_timers *h = s->home;
    int64_t until = s->until; /* once the lock is free, *s may be gone */
    gs_lock_acquire(&h->lock, GS_RANK_TIMER);
    bool room = h->used < h->capacity, first = false;
    if (room) {
        h->used++;
        first = insert(h, (struct entry){ until, (uintptr_t)g | SLEEPER });
    } else {
        s->full = true;
    }
    gs_lock_release(&h->lock);
    if (first) gs_timer_added(until);
    return room;
}

static void sleep_thread(int64_t until) {
    int saved = errno;
    struct timespec t = { .tv_sec = until / 1000000000, .tv_nsec = until % 1000000000 };
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR) {}
    errno = saved;
}

void go_sleep(int64_t ns) {
    if (ns <= 0) return;
    struct gs_g *g = gs_self();
    struct sleep s = { .until = gs_deadline_in(ns) };
    if (!gs_is_goroutine(g)) {
        sleep_thread(s.until);
        return;
    }
    s.home = home();
    while (s.home) {
        uint32_t capacity = gm_load_relaxed(&s.home->capacity);
        s.full = false;
        gs_park(fall_asleep, &s, GS_WAIT_SLEEP);
        if (!s.full) return;
        if (!grow(s.home, capacity)) break;
    }
    go_entersyscall();
    sleep_thread(s.until);
    go_exitsyscall();
}

/* ---- fork: all that was due later was due in the parent */

static struct gs_timers *heap_of(unsigned i) { return gm_load_acquire((struct gs_timers **)&gs_proc(i)->timers); }

void gs_timers_fork_prepare(void) {
    for (unsigned i = 0; i < gs_procs_made(); i++) {
        struct gs_timers *h = heap_of(i);
        if (!h) continue;
        gs_lock_acquire(&h->lock, GS_RANK_TIMER);
        h->forking = true;
    }
}

void gs_timers_fork_parent(void) {
    for (unsigned i = 0; i < gs_procs_made(); i++) {
        struct gs_timers *h = heap_of(i);
        if (!h || !h->forking) continue; /* made meanwhile */
        h->forking = false;
        gs_lock_release(&h->lock);
    }
}

void gs_timers_fork_child(void) {
    for (unsigned i = 0; i < gs_procs_made(); i++) {
        struct gs_timers *h = heap_of(i);
        if (!h) continue;
        while (h->count > 0) {
            if (h->heap[h->count - 1].who & SLEEPER) h->used--;
            else ((struct gs_timer *)h->heap[h->count - 1].who)->place = 0;
            h->count--;
        }
        if (h->current) gm_store_relaxed(&h->current->running, 0); /* who called it is not here */
        h->current = NULL;
        h->busy = h->forking = false;
        publish(h);
        gs_lock_reset(&h->lock);
    }
}
