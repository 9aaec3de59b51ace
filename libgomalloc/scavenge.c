/* When idle pages go back to the kernel. What may go and in which order is heap.c's business, how much and
 * how fast pace.c's; see malloc.c for the overview.
 *
 * A process with one thread gets no helper: programs count their threads, and unshare refuses those that
 * have more than one. There the work is done inline, on the slow paths of malloc and free, and what time
 * has passed since the heap fell is credited, so that a few allocations after a rest give back all that is
 * due. Once the program has started a thread, a background thread does it, whether anybody allocates or not,
 * and takes the caches of sleeping threads as well (idle.c).
 *
 * A process with one thread that falls asleep after a fall of its heap, such as a database's backend between two
 * queries, would keep the memory: nobody is there to look again. Where it sleeps in poll or epoll_wait, it is woken twice
 * a second, for some seconds, to do the work (preload/block.c); elsewhere nobody can. So besides a part of what it falls by goes back at
 * once, as far as the time for it is saved up: half a percent of what has passed, 10 ms at most (some 100 MiB).
 * A program that works in rounds would take it all again each time. So what it takes is watched: if that is soon more
 * than half of what it gave back, falls count from then on once in ten seconds and then once a minute, but for deeper ones.
 *
 * The thread is made where the program itself has just called pthread_create, right behind that call: whatever
 * locks the program holds there did not keep it from making a thread, and nobody waits for ours. Never
 * inside malloc, which may have been called with the loader's or the C library's locks held. Its signals
 * are blocked, but for those by which the C library makes all threads change their user.
 *
 * The C library ends a process with its last thread. Ours must not count: when it is left alone (main may
 * have ended by pthread_exit) it ends too, and the process with it. It looks once a second, and right away
 * when the last thread that had a cache has gone.
 *
 * The child of a fork has no such thread and works inline, until it starts threads itself. */
#include "libgomalloc/scavenge.h"

#include "libgomalloc/base/bits.h"
#include "libgomalloc/base/print.h"
#include "libgomalloc/conf.h"
#include "libgomalloc/hooks.h"
#include "libgomalloc/huge.h"
#include "libgomalloc/mend.h"
#include "libgomalloc/os/os.h"
#include "libgomalloc/pace.h"

#define SECOND_NS UINT64_C(1000000000)
#define LOOK_NS   (SECOND_NS / 10)
enum { LEAST_WORK = 64 * 1024, EAGER_SLACK = 1024 * 1024 };

static uint32_t working;            /* atomic: somebody is in step() */
static uint64_t next_look;          /* atomic: inline work is not looked for before; coarse time */
static struct gm_pace pace;         /* its account; only whoever is working */
static uint64_t worked_ns, traced_ns, released_bytes; /* likewise; the first is read anywhere */

static gm_scavenge_tidy tidy_above; /* from the constructor on */
static uint64_t started;            /* when the constructor ran */
static uint32_t background;         /* atomic: the thread exists */
static uint32_t wake_word;          /* futex */
static uint32_t called;             /* atomic: it was moved for work, not for a thread's end */

const uint64_t *const gm_scavenge_root = &worked_ns;
uint64_t gm_scavenge_worked(void) { return gm_load_relaxed(&worked_ns); }

/* Go's line. */
static void trace(bool forced, uint64_t now) {
    if (!gm_conf.scavtrace || released_bytes == 0 || (!forced && now - traced_ns < SECOND_NS)) return;
    struct gm_heap_stats s;
    gm_heap_read_stats(&s);
    size_t used = s.committed - s.idle, retained = s.committed - s.released;
    gm_eprintf("scav %lu KiB work (bg), %lu KiB work (eager), %lu KiB now, %lu%% util%s\n",
               forced ? 0ul : (unsigned long)(released_bytes >> 10), forced ? (unsigned long)(released_bytes >> 10) : 0ul,
               (unsigned long)(s.released >> 10), (unsigned long)(used * 100 / gm_max(retained, 1)),
               forced ? " (forced)" : "");
    released_bytes = 0;
    traced_ns = now;
}

/* Bytes beyond what is to be kept. */
static size_t excess_of(const struct gm_heap_need *n) {
    size_t keep = gm_conf.scavenge == GM_SCAVENGE_EAGER ? n->used + EAGER_SLACK : n->goal, have = n->used + n->dirty;
    return have > keep && have - keep >= LEAST_WORK ? gm_min(have - keep, n->dirty) : 0;
}

/* A piece of work, if there is any and its time has come. Returns ns until the next look makes sense. */
static uint64_t step(void) {
    struct gm_heap_need need;
    gm_heap_read_need(&need);
    uint64_t now = gm_os_nanotime();
    size_t excess = excess_of(&need);
    uint64_t budget = gm_pace_budget(&pace, now, excess, need.goal);
    if (excess == 0) {
        gm_heap_release_tables();
        return LOOK_NS;
    }
    size_t done;
    uint64_t start = gm_os_thread_time(); /* on a busy machine the clock would charge us with others' time */
    if (gm_conf.scavenge == GM_SCAVENGE_EAGER) done = gm_heap_scavenge(excess);
    else if (budget > 0) done = gm_heap_scavenge_idle(excess, now + 4 * budget);
    else return SECOND_NS / 100;
    uint64_t spent = gm_os_thread_time() - start;
    gm_pace_spent(&pace, spent);
    gm_store_relaxed(&worked_ns, worked_ns + spent);
    released_bytes += done;
    trace(false, now);
    return done ? SECOND_NS / 100 : LOOK_NS;
}

static bool begin(void) {
    uint32_t nobody = 0;
    return gm_cas_acquire(&working, &nobody, 1); /* pairs with the release in end */
}
static void end(void) { gm_store_release(&working, 0); }

/* Of falls, by who has begun: the start of the last, and how long none counts after it; how low the use then went. `given` bytes
 * went back; what is to be thought of that is not known yet while it is not 0. `floor`: a use below which it has fallen in rounds. */
static struct { uint64_t burst, interval, given, unbacked; size_t low, floor; } falls;
#define FALL_INTERVAL (SECOND_NS * 3 / 10)

/* If the program has meanwhile taken half as much memory again that it gave back, that was no fall but a round of its work: for a
 * good while only what goes deeper is one. After ten seconds without it was one. */
static void judge_fall(uint64_t now) {
    enum { FIRST = 10, LONGEST = 60 };
    if (falls.given == 0) return;
    bool regretted = gm_load_relaxed(&gm_heap_unbacked) - falls.unbacked > falls.given / 2;
    if (!regretted && now - falls.burst < 10 * SECOND_NS) return;
    if (regretted) falls.interval = falls.interval < FIRST * SECOND_NS ? FIRST * SECOND_NS : LONGEST * SECOND_NS, falls.floor = falls.low;
    else falls.interval = FALL_INTERVAL;
    falls.given = 0;
}

/* The heap has fallen, and who knows whether there will be another call. */
static void fall(void) {
    enum { SHARE = 200, MOST_NS = 10000000, BURST_NS = 50000000, LARGE_FALL = 2 << 20 };
    if (falls.burst == 0) falls.burst = started - BURST_NS, falls.interval = FALL_INTERVAL; /* nor one so soon after the program's start */
    static int64_t account; /* ns */
    static size_t lowest;   /* use when all of the burst was worked off; all by who has begun */
    static uint64_t counted;
    struct gm_heap_need need;
    uint64_t now = gm_os_nanotime();
    gm_store_relaxed(&gm_heap_fallen, false);
    gm_heap_read_need(&need);
    if (now - falls.burst > BURST_NS) {
        judge_fall(now);
        if (need.used < falls.low) falls.low = need.used;
        bool deeper = need.used < falls.floor - falls.floor / 8;
        if (now - falls.burst < (deeper ? FALL_INTERVAL : falls.interval) || need.dirty < LARGE_FALL) return;
        if (falls.given && !deeper) falls.interval = gm_min(2 * falls.interval, 10 * SECOND_NS); /* they follow each other */
        falls.burst = now;
        falls.low = need.used;
        falls.given = 0;
        falls.unbacked = gm_load_relaxed(&gm_heap_unbacked);
        lowest = SIZE_MAX;
    }
    if (need.used < falls.low) falls.low = need.used;
    if (need.used >= lowest) return; /* it went up and down again: another round, not more of the fall */
    uint64_t start = gm_os_thread_time(); /* as in step */
    account += (int64_t)((now - counted) / SHARE);
    if (account > MOST_NS) account = MOST_NS;
    counted = now;
    if (account <= 0) return;
    /* Of what a collection has freed, the next one's worth is needed. */
    size_t keep = need.used / 16 + LEAST_WORK + gm_hooks_room(), want = need.dirty > keep + LEAST_WORK ? need.dirty - keep : 0;
    size_t done = want ? gm_heap_scavenge_until(want, now + 4 * (uint64_t)account) : 0;
    released_bytes += done;
    falls.given += done;
    lowest = done >= want ? need.used : SIZE_MAX; /* the rest of it is worked off whatever comes between */
    uint64_t spent = gm_os_thread_time() - start;
    account -= (int64_t)spent;
    gm_store_relaxed(&worked_ns, worked_ns + spent);
}

GM_COLD void gm_scavenge_inline(void) {
    if (gm_conf.scavenge == GM_SCAVENGE_OFF || gm_load_relaxed(&background)) return;
    if (gm_load_relaxed(&gm_heap_fallen) && begin()) {
        fall();
        end();
    }
    uint64_t now = gm_os_coarse_time();
    bool eager = gm_conf.scavenge == GM_SCAVENGE_EAGER;
    if ((!eager && now < gm_load_relaxed(&next_look)) || !begin()) return;
    gm_store_relaxed(&next_look, now + step());
    end();
}

uint64_t gm_scavenge_asleep(unsigned looks) {
    uint64_t now = gm_os_nanotime(), start = gm_os_thread_time();
    if (gm_conf.scavenge == GM_SCAVENGE_OFF || gm_load_relaxed(&background) || looks > GM_SCAVENGE_LOOKS) return 0;
    if (looks == 0 || !begin()) return SECOND_NS / 2;
    if (looks == GM_SCAVENGE_LOOKS) { /* for five seconds nobody has needed anything */
        if (tidy_above) released_bytes += tidy_above(now + SECOND_NS / 50, true);
        released_bytes += gm_heap_scavenge_until(SIZE_MAX, now + SECOND_NS / 20);
        gm_heap_release_tables();
        gm_store_relaxed(&worked_ns, worked_ns + (gm_os_thread_time() - start));
    } else {
        step();
    }
    end();
    return SECOND_NS / 2;
}

size_t gm_scavenge_all(void) {
    size_t done = tidy_above ? tidy_above(UINT64_MAX, true) : 0;
    done += gm_heap_scavenge(SIZE_MAX);
    gm_heap_release_tables();
    if (gm_conf.scavtrace && begin()) {
        released_bytes += done;
        trace(true, gm_os_nanotime());
        end();
    }
    return done;
}

/* ---- the background thread */

/* True when the process consists of the library's threads alone. What has just ended is given a little time to go. */
static bool left_alone(bool soon) {
    for (int i = 0; i < (soon ? 50 : 1); i++) {
        if (gm_os_threads_alive() <= gm_os_helpers()) return true;
        if (soon) gm_os_futex_wait(&wake_word, gm_load_relaxed(&wake_word), (int64_t)SECOND_NS / 500);
    }
    return false;
}

/* Chunks that have long been dense become huge pages (huge.c). The look goes round the primary arena. */
static void collapse(uint64_t until) {
    static size_t next;
    struct gm_arena *a = &gm_space.primary;
    size_t chunks = gm_load_relaxed(&a->committed) / GM_CHUNK_SIZE;
    for (size_t looks = 0; looks < chunks && gm_os_nanotime() < until; looks++, next++) {
        bool ask;
        if (next >= chunks) next = 0;
        gm_heap_lock();
        bool go = gm_huge_due(a, next);
        gm_heap_unlock();
        if (!go || !gm_huge_is_resident(a, next)) continue;
        gm_heap_lock();
        go = gm_huge_begin(a, next, &ask);
        gm_heap_unlock();
        if (go) gm_huge_collapse(a, next, ask);
    }
}

/* Once a second, for at most a hundredth of that time: the caches of sleeping threads, and dense chunks. */
static void tidy(void) {
    static uint64_t next;
    uint64_t now = gm_os_nanotime(), start = gm_os_thread_time();
    if (!tidy_above || now < next || !begin()) return;
    released_bytes += tidy_above(now + SECOND_NS / 100, false);
    collapse(now + SECOND_NS / 100);
    gm_store_relaxed(&worked_ns, worked_ns + (gm_os_thread_time() - start));
    end();
    next = now + SECOND_NS;
}

/* Until it is done or somebody calls. */
static void mend(uint32_t seen) {
    while (gm_load_relaxed(&wake_word) == seen && gm_mend_step() != 0) continue;
}

static void run(void) {
    for (uint32_t seen = gm_load_relaxed(&wake_word), woken = seen;; seen = woken) {
        uint64_t rest = SECOND_NS;
        tidy();
        if (gm_load_relaxed(&gm_heap_pending) && begin()) {
            rest = step();
            end();
        }
        mend(woken);
        if (gm_hooks.tick) gm_hooks.tick();
        gm_os_futex_wait(&wake_word, woken, (int64_t)rest);
        woken = gm_load_relaxed(&wake_word);
        bool work = gm_load_relaxed(&called);
        gm_store_relaxed(&called, 0);
        if ((woken != seen || rest == SECOND_NS) && left_alone(woken != seen && !work)) return;
    }
}

void gm_scavenge_threads_started(void) {
    uint32_t none = 0;
    if (gm_conf.scavenge == GM_SCAVENGE_OFF || gm_load_relaxed(&background)) return;
    if (!gm_cas_acquire(&background, &none, 1)) return;
    if (!gm_os_thread_start(run, "gomalloc")) gm_store_relaxed(&background, 0);
}

void gm_scavenge_thread_gone(void) {
    if (!gm_load_relaxed(&background)) return;
    gm_add_relaxed(&wake_word, 1);
    gm_os_futex_wake(&wake_word, 1);
}

void gm_scavenge_wake(void) {
    if (!gm_load_relaxed(&background)) return;
    gm_store_relaxed(&called, 1); /* if it slips past a look at it, the thread looks longer than it need for others that end */
    gm_scavenge_thread_gone();
}

bool gm_scavenge_has_thread(void) { return gm_load_relaxed(&background) != 0; }

void gm_scavenge_fork_child(void) {
    gm_os_forget_library_threads();
    gm_store_relaxed(&background, 0);
    gm_store_relaxed(&working, 0); /* the thread that was may be left behind; the record is at worst behind */
}

void gm_scavenge_init(gm_scavenge_tidy tidy_idle) {
    tidy_above = gm_heap_squeeze = tidy_idle;
    started = gm_os_start_time();
    int64_t limit = gm_conf.memlimit;
    if (limit == GM_CONF_CGROUP) gm_heap_set_memory_limit(GM_LIMIT_OF_GROUP);
    else if (limit >= 0) gm_heap_set_memory_limit((size_t)limit);
}
