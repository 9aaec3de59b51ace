/* Going idle against what comes meanwhile, in all orders (interleave.h): an M that has run out of work lets go of its P, looks again,
 * keeps the time or sleeps, while another thread queues a goroutine, sets a timer or waits for a descriptor. find.c and worker.c as
 * they are; there is no sysmon that would set right what they forget. */
#undef GM_DEBUG /* which locks a thread holds is noted there, and the two actors are one thread */
#include "tests/unit/interleave.h"

#include <limits.h>
#include <pthread.h>

#define gs_lock_slow model_lock_slow
#define gs_find model_find
#define gs_run_timers model_run_timers
#define gs_idle_put model_idle_put
#define gs_idle_get model_idle_get
#define gs_worker_new model_worker_new
#define gs_keeper_lost model_keeper_lost
#define gs_start_m model_start_m
#define gs_wake_p model_wake_p
#define gs_sleep_m model_sleep_m
#define gs_earliest_timer model_earliest_timer
#define gs_hand_off model_hand_off
#define gs_keep_time model_keep_time
#define gs_timer_added model_timer_added
#define gs_keeper_look model_keeper_look

#include "libgomalloc/meta.h"
#include "libgomalloc/os/os.h"
#include "sched/overflow.h"
#include "sched/runq.h"
#include "sched/sanitize.h"
#include "sched/state.h"

/* Time stands still: what ends a sleep is a wake-up. */
static void sleep_on(uint32_t *word, uint32_t value) {
    interleave_step();
    while (*(volatile uint32_t *)word == value) interleave_wait();
}
static int threads_made;
static int make_thread(pthread_t *t, const pthread_attr_t *a, void *(*fn)(void *), void *arg) {
    threads_made++;
    return 0;
}
enum { NOW = 1000, SOON = 2000, LATE = 1000000000 };
#define gm_os_nanotime() ((uint64_t)NOW)
#define gm_os_futex_wait(word, value, ns) sleep_on((word), (value))
#define gm_os_futex_wake(word, n) ((void)0)
#define pthread_create make_thread

#include "sched/find.c"
#include "sched/worker.c"

void model_lock_slow(struct gs_lock *l) {
    while (!gs_lock_try(l)) interleave_wait();
}

static struct gs_m m[2];
static struct gs_p p[2];
static struct gs_g task;
static bool ran;

/* ---- a poller with a bell */

static bool wanted, rung;
static bool poll_is_wanted(void) { return gm_load_acquire(&wanted); }
static bool never(void) { return false; }
static bool ring_bell(void) {
    gm_store_release(&rung, true);
    return true;
}
static struct gs_g *poll(int64_t ns) {
    while (ns != 0 && !gm_load_acquire(&rung)) interleave_wait();
    if (ns != 0) gm_store_release(&rung, false);
    return NULL;
}
static void install_poller(void) {
    gm_store_relaxed(&gs_hooks.interrupt, ring_bell);
    gm_store_relaxed(&gs_hooks.poll_wanted, poll_is_wanted);
    gm_store_relaxed(&gs_hooks.poll_late, never);
    gm_store_release(&gs_hooks.poll, poll);
}

/* ---- the beginnings */

/* m[1] holds the last P; the others' are held by goroutines that run on. */
static void with_procs(unsigned procs) {
    memset(&gs_sched, 0, sizeof gs_sched);
    memset(&gs_hooks, 0, sizeof gs_hooks);
    memset(m, 0, sizeof m);
    memset(p, 0, sizeof p);
    memset(&task, 0, sizeof task);
    threads_made = 0;
    ran = wanted = rung = false;
    gs_sched.procs = gs_sched.p_made = procs;
    gs_sched.started = 1;
    gs_sched.m_count = procs;
    gs_sched.lull = INT_MAX; /* little spinning, or there are too many orders */
    gs_runq_alone = procs == 1;
    for (unsigned i = 0; i < procs; i++) {
        gs_sched.p[i] = &p[i];
        p[i].id = i;
        p[i].random = 1 + i;
        p[i].state = GS_P_RUNNING;
        p[i].tick = 1;
    }
    m[1].p = &p[procs - 1];
}
static void one_p(void) { with_procs(1); }
static void two_ps(void) { with_procs(2); }
static void nothing_to_do(struct gs_m *who) {
    if (model_find(who) == &task) ran = true;
}

/* ---- a goroutine from a plain thread */

static void queues(void) {
    gs_sched_lock();
    gs_global_put(&task, &task, 1);
    gs_sched_unlock();
    model_wake_p();
}
static void second_is_idle(void) { nothing_to_do(&m[1]); }
static bool it_ran(void) { return expect(ran || threads_made > 0); }
static void in_orders(int bound, void (*before)(void), void (*one)(void), void (*other)(void), bool (*good)(void), bool may_wait) {
    interleave_state.bound = check_stress() ? bound + 1 : bound;
    interleave_state.may_wait = may_wait;
    interleave(before, one, other, good);
}
TEST_LIMIT(a_goroutine_for_the_only_p, 60) { in_orders(3, one_p, queues, second_is_idle, it_ran, true); }
TEST_LIMIT(a_goroutine_for_one_of_two_ps, 60) { in_orders(3, two_ps, queues, second_is_idle, it_ran, true); }
static void two_ps_spinning(void) {
    two_ps();
    m[1].spinning = true;
    gs_sched.spinning = 1;
}
TEST_LIMIT(a_goroutine_while_somebody_spins, 60) { in_orders(3, two_ps_spinning, queues, second_is_idle, it_ran, true); }

/* ---- time: the first has no P, and may be the keeper of a late timer when the second sets a nearer one */

static void keeps_late(void) {
    one_p();
    p[0].timer_next = LATE;
}
static void first_is_idle(void) { nothing_to_do(&m[0]); }
static void sets_a_nearer_timer(void) {
    gm_store_relaxed(&p[0].timer_next, SOON);
    model_timer_added(SOON);
    nothing_to_do(&m[1]);
}
static bool time_is_kept(void) {
    return expect(interleave_state.stuck) && expect((gs_sched.keeper && gs_sched.keeper_until == SOON) || threads_made > 0);
}
TEST_LIMIT(a_nearer_timer_and_a_keeper, 60) { in_orders(2, keeps_late, first_is_idle, sets_a_nearer_timer, time_is_kept, true); }

static void sets_it_in_a_call(void) {
    gm_store_relaxed(&p[0].timer_next, SOON);
    model_timer_added(SOON);
    m[1].p = NULL;
    model_hand_off(&p[0]); /* as sysmon for a P whose goroutine blocks */
}
TEST_LIMIT(a_nearer_timer_and_a_p_handed_off, 60) { in_orders(2, keeps_late, first_is_idle, sets_it_in_a_call, time_is_kept, true); }

/* ---- descriptors: the first that is ever waited for, while somebody may keep the time outside of the poller */

static void waits_for_a_descriptor(void) {
    install_poller();
    model_timer_added(0);
    gm_store_release(&wanted, true);
    nothing_to_do(&m[1]);
}
static bool somebody_polls(void) {
    return expect(interleave_state.stuck) && expect((gs_sched.keeper && gs_sched.keeper_polls) || threads_made > 0);
}
TEST_LIMIT(the_first_descriptor_and_a_keeper, 60) { in_orders(2, keeps_late, first_is_idle, waits_for_a_descriptor, somebody_polls, true); }

/* The keeper in the poller is claimed for a goroutine, and comes. */
static void keeps_polling(void) {
    one_p();
    install_poller();
    wanted = true;
    m[1].p = NULL;
    p[0].state = GS_P_IDLE;
    gs_sched.idle_p = &p[0];
    gs_sched.idle_p_count = 1;
}
TEST_LIMIT(a_goroutine_for_the_keeper, 60) { in_orders(3, keeps_polling, queues, first_is_idle, it_ran, true); }

TEST_MAIN()
