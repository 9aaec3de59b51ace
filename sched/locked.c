/* Goroutines that are locked to their thread. See proc.c for the overview.
 *
 * The M of such a goroutine runs nothing else: while the goroutine waits it sleeps, without a P and not in the list of idle
 * Ms. Whoever takes the goroutine from a queue gives its own P to that M and looks for another one. */
#include "libgomalloc/os/os.h"
#include "sched/gosched.h"
#include "sched/state.h"

/* The goroutine that m is locked to has left: m's P goes to somebody else until it is to run again. */
void gs_wait_for_locked(struct gs_m *m) {
    if (m->p) {
        struct gs_p *p = m->p;
        m->p = NULL;
        gs_hand_off(p);
    }
    gs_sleep_m(m);
}

/* g may only run on another M: that one gets our P. */
void gs_pass_to_locked(struct gs_m *m, struct gs_g *g) {
    struct gs_p *p = m->p;
    struct gs_m *to = g->locked_m;
    m->p = NULL;
    to->next_p = p;
    to->picked = g;
    gm_store_release(&to->wake, 1); /* pairs with the acquire in gs_sleep_m */
    gm_os_futex_wake(&to->wake, 1);
    gs_sleep_m(m);
}

void go_lock_thread(void) {
    struct gs_g *g = gs_self();
    if (!gs_is_goroutine(g)) return;
    if (g->lock_depth++ == 0) {
        g->locked_m = g->m;
        g->m->locked_g = g;
    }
}

void go_unlock_thread(void) {
    struct gs_g *g = gs_self();
    if (!gs_is_goroutine(g) || g->lock_depth == 0 || --g->lock_depth > 0) return;
    g->m->locked_g = NULL;
    g->locked_m = NULL;
}
