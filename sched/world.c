/* The start of the scheduler, stand-ins, stopping all Ps and changing their number; fork. See proc.c for the overview.
 *
 * A stopped world: every P is in state STOPPED. Idle Ps and those in syscalls are taken; the others' holders are asked by the
 * `preempt` flag and come to gs_stopped_here at their goroutine's next call. A goroutine that computes without calling
 * holds the stop up: C code cannot be interrupted at an arbitrary place. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "libgomalloc/alloc.h"
#include "libgomalloc/base/check.h"
#include "libgomalloc/conf.h"
#include "libgomalloc/meta.h"
#include "libgomalloc/os/os.h"
#include "sched/deadlock.h"
#include "sched/quit.h"
#include "sched/attach_gc.h"
#include "sched/gosched.h"
#include "sched/local.h"
#include "sched/overflow.h"
#include "sched/runq.h"
#include "sched/sanitize.h"
#include "sched/stack.h"
#include "sched/state.h"
#include "sched/timer.h"
#include "sched/trim.h"

static struct gs_lock start_lock;

/* ---- stand-ins of plain threads */

static struct gs_lock standin_lock;
static unsigned standin_key;
static struct gs_g *free_standins; /* linked */

static void thread_ends(void *standin) {
    struct gs_g *g = standin;
    if (g->locals) gs_locals_end(g);
    gs_current = NULL;
    gm_store_relaxed(&g->tid, 0);
    gm_sub_relaxed(&gs_sched.standins, 1);
    gs_lock_acquire(&standin_lock, GS_RANK_STANDIN);
    g->link = free_standins;
    free_standins = g;
    gs_lock_release(&standin_lock);
    gs_deadlock_suspected();
}

struct gs_g *gs_standin(void) {
    static bool key_made;
    gs_lock_acquire(&standin_lock, GS_RANK_STANDIN);
    if (!key_made) key_made = gm_os_thread_key(thread_ends, &standin_key);
    struct gs_g *g = free_standins;
    if (g) free_standins = g->link;
    gs_lock_release(&standin_lock);
    if (!g) g = gs_new_record();
    if (!g) gm_fatal("out of memory for a thread's record");
    gm_store_relaxed(&g->flags, GS_G_STANDIN);
    gm_store_relaxed(&g->tid, gm_os_gettid());
    gm_store_relaxed(&g->state, GS_G_RUNNING);
    g->wake = 0;
    gm_os_thread_key_set(standin_key, g);
    gm_add_relaxed(&gs_sched.standins, 1);
    gs_current = g;
    return g;
}

/* ---- the start */

static unsigned cpus(void) {
    cpu_set_t set;
    int saved = gs_errno();
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    gs_set_errno(saved);
    return n < 1 ? 1 : n > GS_MAX_PROCS ? GS_MAX_PROCS : (unsigned)n;
}

/* Makes the records up to n; false: no memory, some may have been made. */
static bool make_procs(unsigned n) {
    for (unsigned i = gs_sched.p_made; i < n; i++) {
        struct gs_p *p = gm_meta_alloc(sizeof *p, GM_CACHE_LINE);
        if (!p) return false;
        p->id = i;
        p->random = 2463534242u + i;
        p->state = GS_P_DEAD;
        gs_sched.p[i] = p;
        gm_store_release(&gs_sched.p_made, i + 1);
    }
    return true;
}

static void stop_at_exit(void);

int gs_start(void) {
    int error = 0;
    gs_lock_acquire(&start_lock, GS_RANK_START);
    if (!gs_sched.started) {
        unsigned n = gs_sched.wanted ? gs_sched.wanted : gm_conf.maxprocs > 0 ? (unsigned)gm_conf.maxprocs : cpus();
        gs_sched.start_time = (int64_t)gm_os_nanotime(); /* sysmon reads it */
        gm_store_relaxed(&gs_sched.clock, gs_sched.start_time);
        if (!make_procs(n)) error = -ENOMEM;
        else if (!gs_sysmon_start()) error = -EAGAIN;
        if (!error) {
            gs_fork_handlers();
            gs_attach_gc();
            atexit(stop_at_exit);
            gs_overflow_watch();
            gs_quit_listen();
            gs_runq_alone = n == 1;
            gs_sched.worth = 2 * GS_WORK_PAYS;
            gs_sched_lock();
            gm_store_release(&gs_sched.procs, n);
            for (unsigned i = n; i-- > 0;) gs_idle_put(gs_sched.p[i]);
            gs_sched_unlock();
            gm_store_release(&gs_sched.started, 1); /* pairs with the acquire in go_stack */
        }
    }
    gs_lock_release(&start_lock);
    return error;
}

/* ---- stopping */

void gs_stopped_here(struct gs_m *m) {
    struct gs_p *p = m->p;
    m->p = NULL;
    gs_hand_off(p);
    gs_sleep_m(m);
}

/* Takes what nobody runs on; the lock is held. */
static void take_unheld(void) {
    struct gs_p *p;
    uint32_t waits = gs_sched.stop_wait;
    while ((p = gs_sched.idle_p)) {
        gs_sched.idle_p = p->link;
        gm_store_relaxed(&gs_sched.idle_p_count, gs_sched.idle_p_count - 1);
        gm_store_relaxed(&p->state, GS_P_STOPPED);
        waits--;
    }
    for (unsigned i = 0; i < gs_sched.procs; i++) {
        uint32_t expected = GS_P_SYSCALL;
        p = gs_sched.p[i];
        if (gm_cas_acquire(&p->state, &expected, GS_P_STOPPED)) waits--;
        else if (expected == GS_P_RUNNING) gm_store_relaxed(&p->preempt, 1);
    }
    gm_store_relaxed(&gs_sched.stop_wait, waits);
}

/* The caller keeps its P, if it has one. Waits no longer than so many nanoseconds; who comes later stops all the same. */
static void stop_world(struct gs_m *m, int64_t longest) {
    static const int64_t LOOK_AGAIN = 200000;
    int64_t start = (int64_t)gm_os_nanotime();
    gs_sched_lock();
    gm_store_relaxed(&gs_sched.stopping, 1);
    gs_sched.stop_wait = gs_sched.procs - (m ? 1 : 0);
    if (m) gm_store_relaxed(&m->p->state, GS_P_STOPPED);
    take_unheld();
    gs_sched_unlock();
    for (uint32_t waits; (waits = gm_load_acquire(&gs_sched.stop_wait)) != 0;) {
        if ((int64_t)gm_os_nanotime() - start > longest) return;
        gm_os_futex_wait(&gs_sched.stop_wait, waits, LOOK_AGAIN);
        gs_sched_lock();
        take_unheld();
        gs_sched_unlock();
    }
}

/* A P that is to be no more: its goroutines go to the global queue, its dead ones to the common list. Locked. */
static void drain(struct gs_p *p) {
    for (struct gs_g *g; (g = gs_runq_get(p, false));) gs_global_put(g, g, 1);
    gs_give_up_dead(p);
    gm_store_relaxed(&p->state, GS_P_DEAD);
}

static void start_world(struct gs_m *m, unsigned n) {
    gs_sched_lock();
    for (unsigned i = n; i < gs_sched.procs; i++) drain(gs_sched.p[i]);
    if (m && m->p->id >= n) m->p = gs_sched.p[0];
    gm_store_release(&gs_sched.procs, n);
    gs_runq_alone = n == 1;
    struct gs_p *busy = NULL;
    for (unsigned i = n; i-- > 0;) {
        struct gs_p *p = gs_sched.p[i];
        gm_store_relaxed(&p->preempt, 0);
        if (m && p == m->p) {
            gm_store_relaxed(&p->state, GS_P_RUNNING);
        } else if (gs_runq_empty(p)) {
            gs_idle_put(p);
        } else {
            gm_store_relaxed(&p->state, GS_P_RUNNING);
            p->link = busy;
            busy = p;
        }
    }
    gm_store_relaxed(&gs_sched.stopping, 0);
    gs_sched_unlock();
    for (struct gs_p *p; (p = busy);) {
        busy = p->link;
        gs_start_m(p, false);
    }
    gs_wake_p();
}

static uint32_t stopper; /* 1: somebody stops the world, one at a time */

/* False: the process is about to end with the world stopped. Goroutines that wait yield, so that they can be stopped. */
static bool begin_stop(struct gs_g *self) {
    uint32_t nobody = 0;
    while (!gm_cas_acquire(&stopper, &nobody, 1)) {
        nobody = 0;
        if (gm_load_relaxed(&gs_sched.exiter)) return false;
        if (gs_is_goroutine(self)) gs_yield();
        else gm_os_futex_wait(&stopper, 1, 1000000);
    }
    return true;
}

static void end_stop(void) {
    gm_store_release(&stopper, 0);
    gm_os_futex_wake(&stopper, 1);
}

int go_maxprocs(int n) {
    unsigned before = gm_load_acquire(&gs_sched.started) ? gs_procs() : 0;
    if (before == 0) {
        before = gs_sched.wanted ? gs_sched.wanted : gm_conf.maxprocs > 0 ? (unsigned)gm_conf.maxprocs : cpus();
        if (n >= 1) gs_sched.wanted = n > GS_MAX_PROCS ? GS_MAX_PROCS : (unsigned)n;
        return (int)before;
    }
    unsigned wanted = n > GS_MAX_PROCS ? GS_MAX_PROCS : (unsigned)n;
    if (n < 1 || wanted == before) return (int)before;
    struct gs_g *self = gs_self();
    if (!begin_stop(self)) return (int)before;
    before = gs_procs();
    if (make_procs(wanted)) {
        stop_world(self->m, INT64_MAX);
        start_world(self->m, wanted);
    }
    end_stop();
    return (int)before;
}

/* ---- exit: nobody runs beside the program's handlers and destructors. A handler that waits for a goroutine starts them
 * again; one that is registered after the first go() runs before all this. */

static void stop_at_exit(void) {
    static const int64_t LONGEST = 10000000; /* a goroutine that computes without a call does not hold up the exit */
    struct gs_g *self = gs_self();
    if (!begin_stop(self)) return;
    gm_store_relaxed(&gs_sched.exiter, self);
    stop_world(self->m, LONGEST);
}

void gs_world_again(struct gs_m *m) {
    gm_store_relaxed(&gs_sched.exiter, NULL);
    start_world(m, gs_procs());
    end_stop();
}

/* ---- fork: the child keeps the thread that called fork and, if that ran a goroutine, the goroutine with its P. The other
 * threads are gone, and with them all goroutines: those that ran are cut off in the middle, so the ones that wait for them would
 * wait for ever. Their stacks stay as they are, their sleeps and all timers are
 * off; go() works and starts new threads. Locks of the scheduler are taken across the fork in the order of their ranks, so
 * that what they guard is whole in the child. */

static void fork_prepare(void) {
    gs_lock_acquire(&start_lock, GS_RANK_START);
    gs_timers_fork_prepare();
    gs_stack_fork_prepare();
    gs_sched_lock();
    gs_lock_acquire(&standin_lock, GS_RANK_STANDIN);
}

static void fork_parent(void) {
    gs_lock_release(&standin_lock);
    gs_sched_unlock();
    gs_stack_fork_parent();
    gs_timers_fork_parent();
    gs_lock_release(&start_lock);
}

static void forget_others(struct gs_g *self) {
    for (struct gs_g *g = gs_sched.all_g; g; g = g->all_next) {
        if (g->flags & GS_G_STANDIN) g->tid = g == self ? gm_os_gettid() : 0;
        else if (g != self && g->state != GS_G_IDLE) g->state = GS_G_IDLE;
    }
    gs_sched.queue_head = gs_sched.queue_tail = gs_sched.pile_top = gs_sched.pile_bottom = NULL;
    gs_sched.queue_count = gs_sched.spinning = gs_sched.stopping = 0;
    gs_sched.idle_p = NULL;
    gs_sched.idle_p_count = gs_sched.idle_m_count = gs_sched.m_count = 0;
    gs_sched.idle_m = gs_sched.all_m = gs_sched.spare_m = gs_sched.keeper = gs_sched.claimed = NULL;
    gs_sched.m_made = 0;
    gs_sched.blocked_standins = gs_sched.made = gs_sched.ended = 0;
    gs_sched.sysmon_asleep = 0;
    gs_sched.in_poller = false;
    gs_sched.exiter = NULL;
    stopper = 0;
}

static void fork_child(void) {
    struct gs_g *self = gs_current;
    struct gs_m *m = self ? self->m : NULL;
    forget_others(self);
    for (unsigned i = gs_sched.procs; i-- > 0;) {
        struct gs_p *p = gs_sched.p[i];
        p->head = p->tail = 0;
        p->next = NULL;
        p->preempt = 0;
        p->made = p->ended = 0;
        if (m && (m->p ? m->p : m->old_p) == p) {
            p->made = 1;
            continue;
        }
        p->free = p->full = NULL; /* its thread may have been moving them */
        p->free_count = 0;
        gs_idle_put(p);
    }
    if (m) {
        m->tid = gm_os_gettid();
        m->id = gs_sched.m_made++;
        gs_sched.m_count = 1;
        m->all_next = NULL;
        gs_sched.all_m = m;
    }
    gs_lock_reset(&standin_lock);
    gs_lock_reset(&gs_sched.lock);
    gs_stack_fork_child();
    gs_timers_fork_child();
    gs_lock_reset(&start_lock);
    gs_trim_fork_child();
    if (gm_load_relaxed(&gs_hooks.fork_child)) gm_load_relaxed(&gs_hooks.fork_child)();
    gs_sysmon_start();
}

/* In a program that has only been linked with the archive nobody else minds the allocator's locks. First, so that they are
 * taken last. */
bool gs_fork_handlers(void) {
    if (!gm_load_relaxed(&gm_forks_minded) && pthread_atfork(gm_fork_prepare, gm_fork_parent, gm_fork_child) == 0) gm_store_relaxed(&gm_forks_minded, true);
    return pthread_atfork(fork_prepare, fork_parent, fork_child) == 0;
}
