/* Around calls that block the thread. See proc.c for the overview.
 *
 * Entering leaves the P in state SYSCALL, in nobody's hands: three plain stores. Leaving takes it back by compare-and-swap,
 * which succeeds unless sysmon, or whoever stops the world, has taken it away meanwhile by the same means; then any idle P will do,
 * and without one the goroutine goes into the global queue and its thread to sleep. */
#include "sched/gosched.h"
#include "sched/state.h"

void go_entersyscall(void) {
    struct gs_g *g = gs_self();
    if (!gs_is_goroutine(g)) return;
    struct gs_m *m = g->m;
    struct gs_p *p = m->p;
    gs_caller_here(&m->syscall);
    g->sp = __builtin_frame_address(0); /* for a collector: what lies above is live */
    gm_store_relaxed(&g->state, GS_G_SYSCALL);
    gm_store_relaxed(&p->syscall_tick, p->syscall_tick + 1);
    m->old_p = p;
    m->p = NULL;
    gm_store_release(&p->state, GS_P_SYSCALL); /* pairs with the acquire of whoever takes it */
}

void go_exitsyscall(void) {
    struct gs_g *g = gs_self();
    if (!gs_is_goroutine(g)) return;
    struct gs_m *m = g->m;
    uint32_t expected = GS_P_SYSCALL;
    int saved = gs_errno();
    if (GM_LIKELY(gm_cas_acquire(&m->old_p->state, &expected, GS_P_RUNNING))) {
        m->p = m->old_p;
    } else {
        gs_sched_lock();
        m->p = gs_sched.stopping ? NULL : gs_idle_get();
        gs_sched_unlock();
    }
    if (m->p) gm_store_relaxed(&g->state, GS_G_RUNNING);
    else gs_leave_without_p(g);
    gs_set_errno(saved);
}
