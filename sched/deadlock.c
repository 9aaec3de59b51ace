/* "all goroutines are asleep": when to say so, and never when it is not so.
 *
 * A deadlock is when nobody is left who could make anybody ready:
 *   - every P is idle, every M asleep for want of work, every goroutine waits for another one (not for time or a descriptor);
 *   - no timer is set, no descriptor waited for;
 *   - every thread of the process, the library's own aside, sleeps in a call of gosched.h. A thread anywhere else, in read(2), in
 *     pthread_join, computing, means no verdict. A main thread that has ended (pthread_exit) does not count.
 *
 * These are many facts, and they are read one after the other while a thread that was looked at first may be woken by
 * one that is looked at last. So all are read twice: P's ticks count each time a goroutine was run, a stand-in's `parks`
 * each time its thread slept or woke. If everybody was found still both times and no count has moved, everybody was still
 * throughout the time from the end of the first look to the beginning of the second: a thread that is still does
 * nothing, so nothing changes any more. Who was made ready but does not run yet has `wake` set, or is no waiting goroutine.
 *
 * Who looks: sysmon, once all Ps are idle, when a plain thread falls asleep or ends, and while a thread that never called the
 * library stands in the way, at growing intervals, as nobody tells when that one is gone. Before the first go() there is no sysmon:
 * the thread that falls asleep looks itself. */
#include "sched/deadlock.h"

#include <unistd.h>

#include "libgomalloc/base/print.h"
#include "libgomalloc/os/os.h"
#include "sched/dump.h"
#include "sched/proc.h"
#include "sched/sanitize.h"
#include "sched/state.h"

static const int64_t SOON = 1000000, LATE = INT64_C(8000000000);
static int64_t nap;            /* atomic: between two looks; 0: begin with a short one */

enum verdict { MOVING /* or waiting for what will come */, STILL, STRANGER /* still, but for threads we know nothing of */ };
struct look {
    uint64_t moves;            /* ticks and parks */
    unsigned goroutines;
};

/* ---- the scheduler's side */

/* Asleep on its own, with the goroutine it is locked to waiting: not in the idle list. */
GS_UNCHECKED static bool locked_asleep(const struct gs_m *m) {
    const struct gs_g *g = gm_load_relaxed(&m->locked_g);
    return g && gm_load_relaxed(&g->state) == GS_G_WAITING && !gm_load_relaxed(&m->p) && !gm_load_relaxed(&m->next_p) &&
           gm_load_acquire(&m->wake) == 0;
}

static bool threads_asleep(void) {
    unsigned asleep = gs_sched.idle_m_count + (gs_sched.keeper != NULL);
    for (const struct gs_m *m = gs_sched.all_m; m; m = m->all_next) asleep += locked_asleep(m);
    return asleep == gs_sched.m_count && gs_sched.idle_p_count == gs_sched.procs && gs_sched.queue_count == 0 && !gs_sched.stopping;
}

static bool nothing_due(struct look *l) {
    for (unsigned i = 0, n = gm_load_acquire(&gs_sched.p_made); i < n; i++) {
        if (gm_load_relaxed(&gs_sched.p[i]->timer_next) != 0) return false;
        l->moves += gm_load_relaxed(&gs_sched.p[i]->tick);
    }
    return !gm_load_acquire(&gs_hooks.poll) || !gm_load_relaxed(&gs_hooks.poll_wanted)();
}

static bool waits_for_others(struct gs_g *g, void *arg) {
    struct look *l = arg;
    enum gs_wait why = gm_load_relaxed(&g->wait_reason);
    l->goroutines++;
    if (gm_load_relaxed(&g->state) == GS_G_WAITING && why != GS_WAIT_SLEEP && why != GS_WAIT_IO) return true;
    l->goroutines = UINT32_MAX;
    return false;
}

/* ---- the plain threads' side */

/* The lock is held. */
static bool is_ours(int tid) {
    const struct gs_m *m = gs_sched.all_m;
    if (tid == gm_load_relaxed(&gs_sched.sysmon_tid)) return true;
    while (m && gm_load_relaxed(&m->tid) != tid) m = m->all_next;
    return m != NULL;
}

static struct gs_g *standin_of(int tid) {
    struct gs_g *g = gm_load_acquire(&gs_sched.all_g);
    while (g && !((gm_load_relaxed(&g->flags) & GS_G_STANDIN) && gm_load_relaxed(&g->tid) == tid)) g = g->all_next;
    return g;
}

/* The main thread stays in the list after pthread_exit. */
static bool is_ended(int tid) { return tid == gm_os_getpid() && gm_os_main_ended(); }

/* A thread of the library's own (gm_os_is_library_thread) touches no goroutine. */
static enum verdict thread(int tid, struct look *l) {
    const struct gs_g *g = standin_of(tid);
    if (g) {
        uint32_t parks = gm_load_acquire(&g->parks); /* pairs with the release in park_thread */
        if (parks & 1 && gm_load_acquire(&g->wake) == 0) {
            l->moves += parks;
            return STILL;
        }
        return is_ended(tid) ? STILL : MOVING;
    }
    return is_ours(tid) || is_ended(tid) || gm_os_is_library_thread(tid) ? STILL : STRANGER;
}

struct census {
    struct look *look;
    unsigned seen;
    enum verdict verdict;
};
static bool count(int tid, void *arg) {
    struct census *c = arg;
    enum verdict one = thread(tid, c->look);
    c->seen++;
    if (one != STILL) c->verdict = one;
    return one != MOVING;
}

/* Apart. */
static void count_all(void *census) { gm_os_each_number("/proc/self/task", count, census); }

static enum verdict threads(struct look *l) {
    struct census c = { .look = l, .verdict = STILL };
    gs_sched_lock(); /* here: what runs apart takes no lock */
    gm_os_apart(count_all, &c);
    gs_sched_unlock();
    return c.seen == 0 ? MOVING : c.verdict;
}

/* ---- the verdict */

static enum verdict look(struct look *l) {
    *l = (struct look){ .moves = 0 };
    if (gm_load_acquire(&gs_sched.started)) {
        gs_sched_lock();
        bool asleep = threads_asleep();
        gs_sched_unlock();
        if (!asleep || !nothing_due(l)) return MOVING;
        gs_walk(waits_for_others, l);
        if (l->goroutines == UINT32_MAX) return MOVING;
    }
    return threads(l);
}

GM_NORETURN static void report(unsigned goroutines, bool anybody) {
    struct gm_out o;
    gm_out_init(&o, 2);
    gm_out_str(&o, goroutines || anybody ? "fatal error: all goroutines are asleep - deadlock!\n"
                                         : "fatal error: no goroutines (main called go_exit) - deadlock!\n");
    gs_dump_begin_last_words();
    gm_out_flush(&o);
    gs_dump_last_words_of_all();
    _exit(2);
}

int64_t gs_deadlock_look(void) {
    struct look first, second;
    int64_t again = gm_load_relaxed(&nap);
    int saved = gs_errno();
    enum verdict v = look(&first);
    if (v == STILL) {
        v = look(&second);
        if (v == STILL && first.moves == second.moves) report(first.goroutines, first.moves != 0 && gm_load_relaxed(&gs_sched.blocked_standins) > 0);
        if (v == STILL) v = STRANGER; /* it moved: look again */
    }
    gs_set_errno(saved);
    again = v == MOVING ? 0 : again == 0 ? SOON : again < LATE ? again * 2 : LATE;
    gm_store_relaxed(&nap, again);
    return v == MOVING ? -1 : again;
}

void gs_deadlock_suspected(void) {
    uint32_t asleep = 1;
    gm_store_relaxed(&nap, 0);
    if (!gm_load_acquire(&gs_sched.started)) {
        if (gm_load_relaxed(&gs_sched.blocked_standins) == gm_load_relaxed(&gs_sched.standins)) gs_deadlock_look();
    } else if (gm_load_relaxed(&gs_sched.sysmon_asleep) == 1 && gm_cas_release(&gs_sched.sysmon_asleep, &asleep, 2)) {
        gm_os_futex_wake(&gs_sched.sysmon_asleep, 1);
    }
}
