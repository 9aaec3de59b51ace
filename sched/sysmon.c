/* A thread without a P that looks at the others every 0.2 to 1 ms while any P runs, and sleeps when none does: takes Ps
 * away from blocked calls, asks goroutines that ran for 10 ms to yield at their next call, polls when nobody did for 10 ms, runs
 * timers that nobody ran, finds others for a P that nobody came for (worker.c), gives back unused pages of stacks, and wakes a P for
 * work that the waking rule of proc.c left to wait, or for which no thread could be made. */
#include <pthread.h>

#include "libgomalloc/conf.h"
#include "libgomalloc/os/os.h"
#include "sched/attach_gc.h"
#include "sched/deadlock.h"
#include "sched/runq.h"
#include "sched/state.h"
#include "sched/trim.h"

static const int64_t SHORTEST = 200000, LONGEST = 1000000, SLICE = 10000000;

/* A call that lasted since the last look, with work waiting or nobody else there to do it; after a slice in any case, so
 * that its timers and the poller are somebody's business. */
static bool retake(struct gs_p *p, int64_t now) {
    uint32_t tick = gm_load_relaxed(&p->syscall_tick), expected = GS_P_SYSCALL;
    if (p->seen_syscall_tick != tick) {
        p->seen_syscall_tick = tick;
        p->seen_syscall_since = now;
        return false;
    }
    bool work = !gs_runq_empty(p) || gm_load_relaxed(&gs_sched.queue_count) > 0;
    if (!work && gm_load_relaxed(&gs_sched.idle_p_count) > 0 && now - p->seen_syscall_since < SLICE) return false;
    if (!gm_cas_acquire(&p->state, &expected, GS_P_RUNNING)) return false;
    gs_hand_off(p);
    return true;
}

static void slice(struct gs_p *p, int64_t now) {
    uint32_t tick = gm_load_relaxed(&p->tick);
    unsigned waiting = gs_runq_length(p);
    bool same = p->seen_tick == tick;
    if (!same) {
        p->seen_tick = tick;
        p->seen_since = now;
    } else if (now - p->seen_since >= SLICE) {
        gm_store_relaxed(&p->preempt, 1);
    }
    if (waiting > 1 || (waiting > 0 && same)) gs_wake_p();
}

static bool look(int64_t now) {
    bool did = false;
    for (unsigned i = 0, n = gm_load_acquire(&gs_sched.procs); i < n; i++) {
        struct gs_p *p = gs_sched.p[i];
        uint32_t state = gm_load_relaxed(&p->state);
        if (state == GS_P_SYSCALL) did |= retake(p, now);
        else if (state == GS_P_RUNNING) slice(p, now);
    }
    gs_keeper_look(now);
    gs_trim_some(now);
    gs_pools_look();
    gs_run_timers(LONGEST); /* those of Ps whose goroutines do not come through the scheduler */
    /* What was queued while somebody spun, who then found something else. */
    if (gm_load_relaxed(&gs_sched.queue_count) > 0) gs_wake_p();
    if (gm_load_acquire(&gs_hooks.poll) && gm_load_relaxed(&gs_hooks.poll_wanted)() && now - gm_load_relaxed(&gs_sched.last_poll) > SLICE) {
        gm_store_relaxed(&gs_sched.last_poll, now);
        struct gs_g *list = gm_load_relaxed(&gs_hooks.poll)(0);
        if (list) gs_ready_list(list);
        did |= list != NULL;
    }
    return did;
}

/* Of two times to wait the shorter; negative is for ever. */
static int64_t sooner(int64_t a, int64_t b) { return a < 0 || (b >= 0 && b < a) ? b : a; }

static void sleep_while_idle(void) {
    gs_sched_lock();
    bool idle = gs_sched.idle_p_count == gs_sched.procs && gs_sched.procs > 0 && gs_sched.queue_count == 0 && !gs_sched.stopping;
    if (idle) gm_store_relaxed(&gs_sched.sysmon_asleep, 1);
    gs_sched_unlock();
    int64_t since = (int64_t)gm_os_nanotime();
    for (uint32_t poked = 2; idle && gm_load_relaxed(&gs_sched.sysmon_asleep); poked = 2) {
        gm_cas_acquire(&gs_sched.sysmon_asleep, &poked, 1); /* pairs with the release in gs_deadlock_suspected */
        int64_t line = gm_conf.schedtrace > 0 ? gm_conf.schedtrace * 1000000 : -1;
        int64_t wait = sooner(sooner(gs_deadlock_look(), line), gs_trim_idle((int64_t)gm_os_nanotime(), since));
        gm_os_futex_wait(&gs_sched.sysmon_asleep, 1, wait);
        gs_trace((int64_t)gm_os_nanotime());
    }
}

static void *sysmon(void *arg) {
    static uint32_t never; /* slept on for the time only */
    int64_t nap = SHORTEST;
    gm_store_relaxed(&gs_sched.sysmon_tid, gm_os_gettid());
    for (;;) {
        sleep_while_idle();
        gm_os_futex_wait(&never, 0, nap);
        int64_t now = (int64_t)gm_os_nanotime();
        gm_store_relaxed(&gs_sched.clock, now);
        gs_trace(now);
        nap = look(now) ? SHORTEST : nap * 2 < LONGEST ? nap * 2 : LONGEST;
    }
    return NULL;
}

bool gs_sysmon_start(void) {
    pthread_attr_t attributes;
    pthread_t thread;
    if (pthread_attr_init(&attributes) != 0) return false;
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    int error = pthread_create(&thread, &attributes, sysmon, NULL);
    pthread_attr_destroy(&attributes);
    return error == 0;
}
