/* Threads of the scheduler: making, waking and putting them to sleep. See proc.c for the overview and the rule of waking.
 *
 * An M without a P sleeps on its own futex word, in the list of idle Ms, until somebody writes the P it is to have into next_p
 * and sets the word. One of the idle Ms may be the keeper: it sleeps until the earliest timer is due or a descriptor
 * becomes ready, and is not in the list; who needs an M and finds the list empty claims it and rings the poller's bell. Until
 * the claimed one has left the poller (`in_poller`) there is no other keeper, who could hear the bell in its place. Time
 * is kept all the same: the claimed one has a P, and who runs out of work while holding the last P becomes the keeper.
 *
 * So: while a timer is pending or somebody waits for a descriptor, a P is held or there is a keeper. gs_hand_off, which can make the
 * last P idle without an M that looks, wakes one for that.
 *
 * There can be a keeper while every P is held: an M that came back from a blocked call and found none, or one that slept on when
 * others were woken. Then a timer that is due before the keeper wakes is nobody else's business as long as a P is held, and so is a
 * descriptor, if the keeper sleeps outside of the poller. So whoever makes a P idle looks whether the keeper sleeps for too
 * long (keeper_late), and has it claimed and called for that P: it finds nothing to do and begins anew.
 *
 * tests/unit/test_waking.c runs who goes idle and who brings something through all orders of their steps. */
#include <limits.h>
#include <pthread.h>
#include <string.h>

#include "libgomalloc/base/check.h"
#include "libgomalloc/meta.h"
#include "libgomalloc/os/os.h"
#include "sched/gosched.h"
#include "sched/overflow.h"
#include "sched/runq.h"
#include "sched/sanitize.h"
#include "sched/state.h"

void gs_idle_put(struct gs_p *p) {
    gm_store_relaxed(&p->state, GS_P_IDLE);
    p->link = gs_sched.idle_p;
    gs_sched.idle_p = p;
    gm_store_relaxed(&gs_sched.idle_p_count, gs_sched.idle_p_count + 1);
}

struct gs_p *gs_idle_get(void) {
    struct gs_p *p = gs_sched.idle_p;
    if (!p) return NULL;
    gs_sched.idle_p = p->link;
    gm_store_relaxed(&gs_sched.idle_p_count, gs_sched.idle_p_count - 1);
    gm_store_relaxed(&p->state, GS_P_RUNNING);
    if (gm_load_relaxed(&gs_sched.sysmon_asleep)) {
        gm_store_relaxed(&gs_sched.sysmon_asleep, 0);
        gm_os_futex_wake(&gs_sched.sysmon_asleep, 1);
    }
    return p;
}

static void *worker(void *arg) {
    struct gs_m *m = arg;
    gm_store_relaxed(&m->tid, gm_os_gettid());
    m->error = gosched_errno_location();
    m->current = &gs_current;
    gs_overflow_thread(m);
    m->g0.flags = GS_G_STANDIN;
    m->g0.m = m;
    gs_fiber_thread(&m->g0);
    gs_current = &m->g0;
    gs_schedule(m);
}

/* A record without a thread: of one that could not be made, or new. NULL: no memory. */
static struct gs_m *spare_record(void) {
    gs_sched_lock();
    struct gs_m *m = gs_sched.spare_m;
    if (m) gs_sched.spare_m = m->link;
    gs_sched_unlock();
    if (!m && (m = gm_meta_alloc(sizeof *m, GM_CACHE_LINE))) m->id = gm_add_relaxed(&gs_sched.m_made, 1);
    return m;
}

static void enlist(struct gs_m *m) {
    gs_sched_lock();
    gm_store_relaxed(&gs_sched.m_count, gs_sched.m_count + 1);
    m->all_next = gs_sched.all_m;
    gs_sched.all_m = m;
    gs_sched_unlock();
}

/* No thread came of it. m->all_next leads on whoever looks through the list without the lock. */
static void take_off(struct gs_m *m) {
    gs_sched_lock();
    struct gs_m **at = &gs_sched.all_m;
    while (*at != m) at = &(*at)->all_next;
    *at = m->all_next;
    gm_store_relaxed(&gs_sched.m_count, gs_sched.m_count - 1);
    m->link = gs_sched.spare_m;
    gs_sched.spare_m = m;
    gs_sched_unlock();
}

bool gs_worker_new(struct gs_p *p, bool spinning) {
    pthread_attr_t attributes;
    pthread_t thread;
    if (gm_load_relaxed(&gs_sched.m_count) >= GS_MAX_THREADS || pthread_attr_init(&attributes) != 0) return false;
    struct gs_m *m = spare_record();
    if (!m) return false;
    m->p = p;
    gm_store_relaxed(&m->spinning, spinning);
    enlist(m);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    int error = pthread_create(&thread, &attributes, worker, m);
    pthread_attr_destroy(&attributes);
    if (error) take_off(m);
    return error == 0;
}

static void give(struct gs_m *m, struct gs_p *p, bool spinning) {
    m->next_p = p;
    gm_store_relaxed(&m->spinning, spinning);
    gm_store_release(&m->wake, 1); /* pairs with the acquire in gs_sleep_m: next_p is seen */
    gm_os_futex_wake(&m->wake, 1);
}

/* The keeper is to be called and given a P. The lock is held. */
static struct gs_m *claim(void) {
    struct gs_m *m = gs_sched.keeper;
    gm_store_relaxed(&gs_sched.claimed, m);
    gs_sched.keeper = NULL;
    gm_count_add(&gs_sched.claims, 1); /* sysmon reads it without the lock */
    return m;
}

/* m sleeps where nobody reaches it. The lock is held. */
static void write_off(struct gs_m *m) {
    m->unheard = true;
    gs_sched.in_poller = false;
    gm_store_relaxed(&gs_sched.claimed, NULL);
}

void gs_keeper_lost(void) {
    gs_sched_lock();
    struct gs_m *m = gs_sched.keeper;
    gs_sched.keeper = NULL;
    if (m) write_off(m);
    gs_sched_unlock();
}

/* Wakes the keeper, which was claimed, to take p. False: the bell is broken (netpoll_epoll.c) and it sleeps on. Then it is written
 * off until something else wakes it, and another M is to be found. */
static bool call_keeper(struct gs_m *m, struct gs_p *p, bool spinning) {
    if (gm_load_relaxed(&gs_hooks.interrupt) && GM_UNLIKELY(!gm_load_relaxed(&gs_hooks.interrupt)())) {
        gs_sched_lock();
        bool asleep = m->polling;
        if (asleep) write_off(m);
        gs_sched_unlock();
        if (asleep) return false;
    }
    give(m, p, spinning);
    return true;
}

/* The P that a called keeper was given and has not come for; NULL: there is none. */
static struct gs_p *take_from_deaf(uint32_t claims, bool *spinning) {
    struct gs_p *p = NULL;
    gs_sched_lock();
    struct gs_m *m = gs_sched.claimed;
    if (m && gs_sched.claims == claims && gm_load_acquire(&m->wake)) { /* acquire: pairs with the release in give */
        p = m->next_p;
        *spinning = m->spinning;
        m->next_p = NULL;
        gm_store_relaxed(&m->spinning, false);
        gm_store_relaxed(&m->wake, 0);
        write_off(m);
    }
    gs_sched_unlock();
    return p;
}

static const int64_t DEAF_NS = 50000000;
void gs_keeper_look(int64_t now) {
    static uint32_t seen;
    static int64_t since;
    uint32_t claims = gm_load_relaxed(&gs_sched.claims);
    if (!gm_load_relaxed(&gs_sched.claimed) || claims != seen) {
        seen = claims;
        since = now;
    } else if (now - since > DEAF_NS) {
        bool spinning;
        struct gs_p *p = take_from_deaf(claims, &spinning);
        if (p) gs_start_m(p, spinning);
    }
}

void gs_start_m(struct gs_p *p, bool spinning) {
    gs_sched_lock();
    struct gs_m *m = gs_sched.idle_m;
    bool keeper = !m && gs_sched.keeper;
    if (m) {
        gs_sched.idle_m = m->link;
        gs_sched.idle_m_count--;
    } else if (keeper) {
        m = claim();
    }
    gs_sched_unlock();
    if (keeper && call_keeper(m, p, spinning)) return;
    if (m && !keeper) {
        give(m, p, spinning);
        return;
    }
    if (gs_worker_new(p, spinning)) return;
    if (spinning) gm_sub_relaxed(&gs_sched.spinning, 1);
    gs_sched_lock(); /* no thread: p's work is for whoever comes back first, and sysmon tries again */
    for (struct gs_g *g; (g = gs_runq_get(p, false));) gs_global_put(g, g, 1);
    gs_idle_put(p);
    gs_sched_unlock();
}

void gs_wake_p(void) {
    uint32_t nobody = 0;
    if (gm_load_relaxed(&gs_sched.idle_p_count) == 0) return;
    /* What was queued before comes before this look in the order of all (an addition of 0, as ThreadSanitizer does not know
     * fences); partner: stop_spinning in find.c. */
    if (__atomic_fetch_add(&gs_sched.spinning, 0, __ATOMIC_SEQ_CST) != 0 || !gm_cas_acq_rel(&gs_sched.spinning, &nobody, 1)) return;
    gs_sched_lock();
    struct gs_p *p = gs_sched.stopping ? NULL : gs_idle_get();
    gs_sched_unlock();
    if (p) gs_start_m(p, true);
    else gm_sub_relaxed(&gs_sched.spinning, 1);
}

/* Woken with a P, or not (a locked goroutine's M always with one). */
void gs_sleep_m(struct gs_m *m) {
    if (!m->locked_g) {
        gs_sched_lock();
        m->link = gs_sched.idle_m;
        gs_sched.idle_m = m;
        gs_sched.idle_m_count++;
        gs_sched_unlock();
    }
    while (gm_load_acquire(&m->wake) == 0) gm_os_futex_wait(&m->wake, 0, -1);
    gm_store_relaxed(&m->wake, 0);
    int64_t now = (int64_t)gm_os_nanotime();
    gm_store_relaxed(&gs_sched.clock, now); /* sysmon may have slept as well */
    if (m->spinning) m->woken_for_work = now;
    m->p = m->next_p;
    m->next_p = NULL;
}

int64_t gs_earliest_timer(void) {
    int64_t first = INT64_MAX;
    for (unsigned i = 0, n = gm_load_acquire(&gs_sched.p_made); i < n; i++) {
        int64_t when = gm_load_relaxed(&gs_sched.p[i]->timer_next);
        if (when != 0 && when < first) first = when;
    }
    return first;
}

/* Many are due soon after the earliest: they are waited for. */
static bool timers_dense(int64_t earliest) {
    for (unsigned i = 0, n = gm_load_acquire(&gs_sched.p_made); i < n; i++)
        if (gm_load_relaxed(&gs_sched.p[i]->timer_next) == earliest) return gm_load_relaxed(&gs_sched.p[i]->timers_dense);
    return false;
}

static bool poll_wanted(void) { return gm_load_acquire(&gs_hooks.poll) && gm_load_relaxed(&gs_hooks.poll_wanted)(); }

/* There is a keeper, and it sleeps for longer than it may: something is due at `first`, or it does not see what is waited for.
 * The lock is held. */
static bool keeper_late(int64_t first) {
    if (!gs_sched.keeper) return false;
    return gs_sched.keeper_until > first || (poll_wanted() && (!gs_sched.keeper_polls || gm_load_relaxed(&gs_hooks.poll_late)()));
}

/* The last P is to become idle and nobody would keep the time. The lock is held. */
static bool keeper_missing(void) {
    if (gs_sched.idle_p_count + 1 < gs_sched.procs) return false;
    int64_t first = gs_earliest_timer();
    return gs_sched.in_poller ? keeper_late(first) : first != INT64_MAX || poll_wanted();
}

void gs_hand_off(struct gs_p *p) {
    bool work = !gs_runq_empty(p);
    gs_sched_lock();
    bool stop = gs_sched.stopping;
    work |= gs_sched.queue_count > 0 || keeper_missing();
    if (stop) {
        gm_store_relaxed(&p->state, GS_P_STOPPED);
        gm_store_relaxed(&gs_sched.stop_wait, gs_sched.stop_wait - 1);
        gm_os_futex_wake(&gs_sched.stop_wait, 1);
    } else if (!work) {
        gs_idle_put(p);
    } else {
        gm_store_relaxed(&p->state, GS_P_RUNNING);
    }
    gs_sched_unlock();
    if (work && !stop) gs_start_m(p, false);
}

/* ---- the keeper */

/* False: m is not; *late then, if there is one that is to be called. */
static bool become_keeper(struct gs_m *m, bool *poll, int64_t *earliest, bool *late) {
    bool wanted = poll_wanted();
    gs_sched_lock();
    int64_t until = gs_earliest_timer();
    bool keep = !m->locked_g && !gs_sched.in_poller && !gs_sched.stopping && (until != INT64_MAX || wanted);
    *late = !keep && keeper_late(until);
    *poll = gm_load_relaxed(&gs_hooks.poll) != NULL; /* also if nobody waits yet: somebody may while we sleep */
    if (keep) {
        gs_sched.keeper = m;
        gs_sched.in_poller = m->polling = true;
        gs_sched.keeper_until = until;
        gs_sched.keeper_polls = *poll;
    }
    gs_sched_unlock();
    *earliest = until;
    return keep;
}

/* Afterwards m has a P if it was claimed, or if there was an idle one. */
static void end_keeping(struct gs_m *m) {
    gs_sched_lock();
    bool claimed = gs_sched.keeper != m && !m->unheard;
    if (!m->unheard) gs_sched.in_poller = false;
    if (gs_sched.keeper == m) gs_sched.keeper = NULL;
    if (gs_sched.claimed == m) gm_store_relaxed(&gs_sched.claimed, NULL);
    if (!claimed) m->p = gs_sched.stopping ? NULL : gs_idle_get();
    m->polling = m->unheard = false;
    gs_sched_unlock();
    if (!claimed) return;
    while (gm_load_acquire(&m->wake) == 0) gm_os_futex_wait(&m->wake, 0, -1); /* who claimed it is about to */
    gm_store_relaxed(&m->wake, 0);
    m->p = m->next_p;
    m->next_p = NULL;
}

/* For an idle P, if there still is one: whoever holds the last one comes by here as well. */
static void call_late_keeper(void) {
    gs_sched_lock();
    struct gs_p *p = !gs_sched.stopping && keeper_late(gs_earliest_timer()) ? gs_idle_get() : NULL;
    struct gs_m *keeper = p ? claim() : NULL;
    gs_sched_unlock();
    if (p && !call_keeper(keeper, p, false)) gs_start_m(p, false);
}

bool gs_keep_time(struct gs_m *m) {
    bool poll, late;
    int64_t until;
    if (!become_keeper(m, &poll, &until, &late)) {
        if (late) call_late_keeper();
        return false;
    }
    int64_t wait = -1;
    if (until != INT64_MAX) {
        wait = until - (int64_t)gm_os_nanotime();
        if (wait > -GS_GATHER && timers_dense(until)) wait += GS_GATHER;
        if (wait < 0) wait = 0;
    }
    struct gs_g *list = NULL;
    if (poll) list = gm_load_relaxed(&gs_hooks.poll)(wait);
    else if (wait != 0) gm_os_futex_wait(&m->wake, 0, wait);
    int64_t now = (int64_t)gm_os_nanotime();
    gm_store_relaxed(&gs_sched.last_poll, now);
    gm_store_relaxed(&gs_sched.clock, now);
    end_keeping(m);
    if (list) gs_ready_list(list);
    if (!m->p) gs_sleep_m(m);
    return true;
}

/* Without an idle P there is nothing to do now: see keeper_late. */
void gs_timer_added(int64_t when) {
    struct gs_m *keeper = NULL;
    gs_sched_lock();
    bool late = gs_sched.keeper ? gs_sched.keeper_until > when : gs_sched.idle_p_count == gs_sched.procs;
    struct gs_p *p = late && !gs_sched.stopping ? gs_idle_get() : NULL;
    if (p && gs_sched.keeper) keeper = claim();
    gs_sched_unlock();
    if (!p) return;
    if (!keeper) {
        gs_start_m(p, false);
        return;
    }
    if (!call_keeper(keeper, p, false)) gs_start_m(p, false);
}
