/* What an M runs next, in this order: every 61st time the global queue and the ring before `next`; its own queue; the global
 * queue; timers that are due; descriptors that became ready; half of another P's queue. If there is nothing it spins for a
 * while, gives its P up and sleeps. See proc.c for the overview, "waking" for why nothing is forgotten. */
#include "libgomalloc/base/check.h"
#include "libgomalloc/os/os.h"
#include "sched/runq.h"
#include "sched/state.h"

enum {
    FAIRNESS = 61,
    ROUNDS = 60,       /* of stealing before sleep: about 30 us, twice what a wake-up costs */
    FEW_ROUNDS = 4,    /* where lulls are longer than that, or known to end */
    PAUSES = 40,       /* between two rounds: half a microsecond */
    NEXT_ROUND = 4     /* from this round on, and in the last one, `next` may be stolen */
};

static struct gs_g *from_global(struct gs_p *p, unsigned max) {
    if (gm_load_relaxed(&gs_sched.queue_count) == 0) return NULL;
    gs_sched_lock();
    struct gs_g *g = gs_global_get(p, max);
    gs_sched_unlock();
    return g;
}

void gs_run_timers(int64_t late) {
    int64_t now = 0;
    for (unsigned i = 0, n = gm_load_acquire(&gs_sched.p_made); i < n; i++) {
        int64_t when = gm_load_relaxed(&gs_sched.p[i]->timer_next);
        if (when == 0) continue;
        if (now == 0) now = (int64_t)gm_os_nanotime();
        if (when <= now - late) gm_load_relaxed(&gs_hooks.run_timers)(gs_sched.p[i], now);
    }
}

static struct gs_g *from_poller(struct gs_p *p) {
    if (!gm_load_acquire(&gs_hooks.poll) || !gm_load_relaxed(&gs_hooks.poll_wanted)()) return NULL;
    gm_store_relaxed(&gs_sched.last_poll, (int64_t)gm_os_nanotime());
    struct gs_g *list = gm_load_relaxed(&gs_hooks.poll)(0);
    if (!list) return NULL;
    gs_ready_list(list);
    return gs_runq_get(p, false);
}

static struct gs_g *without_waiting(struct gs_p *p) {
    bool fair = p->tick % FAIRNESS == 0;
    struct gs_g *g;
    if (fair) {
        gs_run_timers(0);
        if ((g = from_global(p, 1))) return g;
    }
    if ((g = gs_runq_get(p, fair))) return g;
    gs_run_timers(0);
    if ((g = gs_runq_get(p, false))) return g;
    if ((g = from_global(p, 0))) return g;
    return from_poller(p);
}

static uint32_t random_of(struct gs_p *p) {
    uint32_t x = p->random;
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    return p->random = x;
}

/* One look at every other P, from a random one on. */
static struct gs_g *steal_round(struct gs_p *p) {
    uint32_t n = gm_load_relaxed(&gs_sched.procs), first = random_of(p) % n;
    for (uint32_t i = 0; i < n; i++) {
        struct gs_p *victim = gs_sched.p[(first + i) % n];
        if (victim == p) continue;
        struct gs_g *g = gs_runq_steal(p, victim, false);
        if (g) return g;
    }
    return NULL;
}

/* `next` of a P that has not switched for the time of a round: its goroutine runs on without parking. */
static struct gs_g *steal_next(struct gs_p *p) {
    for (uint32_t i = 0; i < gm_load_relaxed(&gs_sched.procs); i++) {
        struct gs_p *victim = gs_sched.p[i];
        if (victim == p || gm_load_relaxed(&victim->next) == NULL) continue;
        uint32_t tick = gm_load_relaxed(&victim->tick);
        for (int k = 0; k < 4 * PAUSES; k++) gm_cpu_relax();
        if (gm_load_relaxed(&victim->tick) != tick) continue;
        struct gs_g *g = gs_runq_steal(p, victim, true);
        if (g) return g;
    }
    return NULL;
}

static void stop_spinning(struct gs_m *m) {
    if (!m->spinning) return;
    gm_store_relaxed(&m->spinning, false);
    /* seq_cst: the look at the queues that follows comes after it in the order of all; partner: gs_wake_p. */
    __atomic_fetch_sub(&gs_sched.spinning, 1, __ATOMIC_SEQ_CST);
}

/* ---- what waking and spinning came to; see "waking" in proc.c. Samples that meet are lost. */

static void sample(uint32_t *average, int64_t ns) {
    static const int64_t MOST = 200000;
    int64_t before = gm_load_relaxed(average);
    gm_store_relaxed(average, (uint32_t)(before + ((ns < MOST ? ns : MOST) - before) / 4));
}

static void out_of_work(struct gs_m *m) {
    if (m->out_of_work != 0 || gm_load_relaxed(&gs_sched.procs) == 1) return;
    m->out_of_work = (int64_t)gm_os_nanotime();
    if (m->woken_for_work) sample(&gs_sched.worth, m->out_of_work - m->woken_for_work);
    m->woken_for_work = 0;
}

static void in_work(struct gs_m *m) {
    if (GM_LIKELY(m->out_of_work == 0)) return;
    sample(&gs_sched.lull, (int64_t)gm_os_nanotime() - m->out_of_work);
    m->out_of_work = 0;
}

/* A goroutine found while spinning: somebody else is to spin in our place, there may be more. */
static struct gs_g *found(struct gs_m *m, struct gs_g *g) {
    in_work(m);
    if (m->spinning) {
        stop_spinning(m);
        gs_wake_for_surplus(m->p);
    }
    return g;
}

static struct gs_g *spin(struct gs_m *m) {
    struct gs_p *p = m->p;
    uint32_t busy = gm_load_relaxed(&gs_sched.procs) - gm_load_relaxed(&gs_sched.idle_p_count);
    if (gm_load_relaxed(&gs_sched.procs) == 1) return NULL;
    if (!m->spinning) {
        if (2 * gm_load_relaxed(&gs_sched.spinning) >= busy) return NULL;
        gm_store_relaxed(&m->spinning, true);
        gm_add_relaxed(&gs_sched.spinning, 1);
    }
    /* Where a timer is due before the spinning would end, a thread is woken soon in any case. */
    bool brief = gm_load_relaxed(&gs_sched.lull) >= GS_LULL_PAYS || gs_earliest_timer() < m->out_of_work + GS_LULL_PAYS;
    int rounds = brief ? FEW_ROUNDS : ROUNDS;
    for (int round = 0; round < rounds && !gm_load_relaxed(&p->preempt); round++) {
        struct gs_g *g = steal_round(p);
        if (!g && (round >= NEXT_ROUND || round + 1 == rounds)) g = steal_next(p);
        if (!g) g = from_global(p, 0);
        if (g) return g;
        for (int k = 0; k < PAUSES; k++) gm_cpu_relax();
    }
    return NULL;
}

static bool work_anywhere(void) {
    if (gm_load_relaxed(&gs_sched.queue_count) > 0) return true;
    for (unsigned i = 0; i < gm_load_relaxed(&gs_sched.procs); i++) {
        struct gs_p *p = gs_sched.p[i];
        if (gm_load_relaxed(&p->head) != gm_load_relaxed(&p->tail)) return true;
    }
    return false;
}

/* Lets go of the P, unless there is work in the global queue after all. */
static bool let_go(struct gs_m *m) {
    gs_sched_lock();
    bool go = gs_sched.queue_count == 0 && !gs_sched.stopping;
    if (go) {
        gs_idle_put(m->p);
        m->p = NULL;
    }
    gs_sched_unlock();
    return go;
}

/* After letting go: work that came while we were counted as spinning woke nobody. */
static bool take_again(struct gs_m *m) {
    if (!m->spinning) return false;
    stop_spinning(m);
    if (!work_anywhere()) return false;
    gs_sched_lock();
    m->p = gs_sched.stopping ? NULL : gs_idle_get();
    gs_sched_unlock();
    return m->p != NULL;
}

struct gs_g *gs_find(struct gs_m *m) {
    for (;;) {
        if (!m->p) {
            if (!gs_keep_time(m)) gs_sleep_m(m);
            continue;
        }
        if (GM_UNLIKELY(gm_load_relaxed(&m->p->state) == GS_P_STOPPED)) gs_world_again(m);
        if (GM_UNLIKELY(gm_load_relaxed(&m->p->preempt))) {
            gm_store_relaxed(&m->p->preempt, 0);
            if (gm_load_relaxed(&gs_sched.stopping)) {
                stop_spinning(m);
                gs_stopped_here(m);
                continue;
            }
        }
        struct gs_g *g = without_waiting(m->p);
        if (g) return found(m, g);
        out_of_work(m);
        if ((g = spin(m))) return found(m, g);
        if (gm_load_relaxed(&m->p->preempt)) continue;
        if (!let_go(m)) {
            if (gm_load_relaxed(&gs_sched.stopping)) gm_store_relaxed(&m->p->preempt, 1);
            continue;
        }
        take_again(m);
    }
}
