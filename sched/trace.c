/* schedtrace and scheddetail: Go's lines, on stderr, every so many milliseconds from the first go() on. Written by sysmon.
 *
 *   SCHED 1004ms: gomaxprocs=2 idleprocs=0 threads=4 spinningthreads=0 idlethreads=1 runqueue=3 [12 0]
 *
 * scheddetail adds gcwaiting, nmidlelocked, stopwait and sysmonwait to it, and a line for each P, M and G; -1 is nobody. sysmon is the last
 * M. The format is Go 1.19's, word for word (tests/programs/schedtrace.sh compares). The figures are read without stopping anybody, so they need not be of one moment. */
#include "libgomalloc/base/print.h"
#include "libgomalloc/conf.h"
#include "libgomalloc/os/os.h"
#include "sched/runq.h"
#include "sched/sanitize.h"
#include "sched/state.h"
#include "sched/timer.h"

/* sysmon is a thread as well, in Go's count too. */
enum { SYSMON = 1, SORTED_UP_TO = 2000 };

const char *gs_wait_text(enum gs_wait reason) {
    static const char *const text[] = {
#define X(name, words) words,
        GS_WAIT_REASONS(X)
#undef X
    };
    return reason < GS_WAIT_COUNT ? text[reason] : "";
}

GS_UNCHECKED static void head(struct gm_out *o, int64_t now) {
    gm_out_printf(o, "SCHED %lldms: gomaxprocs=%u idleprocs=%u threads=%u spinningthreads=%u", (long long)(now - gs_sched.start_time) / 1000000,
                  gs_sched.procs, gs_sched.idle_p_count, gs_sched.m_count + SYSMON, gm_load_relaxed(&gs_sched.spinning));
    gm_out_printf(o, " idlethreads=%u runqueue=%u", gs_sched.idle_m_count, gs_sched.queue_count);
}

GS_UNCHECKED static void put_p(struct gm_out *o, const struct gs_p *p) {
    const struct gs_m *m = gs_sched.all_m;
    while (m && gm_load_relaxed(&m->p) != p) m = m->all_next;
    uint32_t h = gm_load_relaxed(&p->head), t = gm_load_relaxed(&p->tail);
    gm_out_printf(o, "  P%u: status=%u schedtick=%u syscalltick=%u m=%d", p->id, gm_load_relaxed(&p->state), gm_load_relaxed(&p->tick),
                  gm_load_relaxed(&p->syscall_tick), m ? (int)m->id : -1);
    gm_out_printf(o, " runqsize=%u gfreecnt=%u timerslen=%u\n", t - h, gm_load_relaxed(&p->free_count) + (gm_load_relaxed(&p->full) ? GS_MAGAZINE : 0), gs_timers_waiting(p));
}

GS_UNCHECKED static void put_m(struct gm_out *o, const struct gs_m *m) {
    const struct gs_p *p = gm_load_relaxed(&m->p);
    const struct gs_g *g = gm_load_relaxed(&m->g), *locked = gm_load_relaxed(&m->locked_g);
    gm_out_printf(o, "  M%u: p=%d curg=%lld mallocing=0 throwing=0 preemptoff= locks=0 dying=0", m->id, p ? (int)p->id : -1,
                  g ? (long long)g->id : -1);
    gm_out_printf(o, " spinning=%s blocked=%s lockedg=%lld\n", gm_load_relaxed(&m->spinning) ? "true" : "false", p == NULL && g == NULL ? "true" : "false",
                  locked ? (long long)locked->id : -1);
}

static void put_sysmon(struct gm_out *o) {
    gm_out_printf(o, "  M%u: p=-1 curg=-1 mallocing=0 throwing=0 preemptoff= locks=0 dying=0 spinning=false blocked=%s lockedg=-1\n",
                  gs_sched.m_made, gs_sched.sysmon_asleep ? "true" : "false");
}

GS_UNCHECKED static void put_g(struct gm_out *o, const struct gs_g *g) {
    const struct gs_m *m = gm_load_relaxed(&g->m), *locked = gm_load_relaxed(&g->locked_m);
    uint32_t state = gm_load_relaxed(&g->state);
    gm_out_printf(o, "  G%llu: status=%u(%s) m=%d lockedm=%d\n", (unsigned long long)g->id, state, state == GS_G_DEAD ? "" : gs_wait_text(gm_load_relaxed(&g->wait_reason)),
                  m ? (int)m->id : -1, locked ? (int)locked->id : -1);
}

/* Threads of locked goroutines that wait for them. */
GS_UNCHECKED static unsigned locked_idle(void) {
    unsigned n = 0;
    for (const struct gs_m *m = gs_sched.all_m; m; m = m->all_next) n += gm_load_relaxed(&m->locked_g) && !gm_load_relaxed(&m->g);
    return n;
}

/* In the order of their numbers, unless there are too many to sort. */
static void put_goroutines(struct gm_out *o) {
    unsigned n = 0;
    uint64_t id = 0;
    for (const struct gs_g *g = gm_load_acquire(&gs_sched.all_g); g; g = g->all_next) n++;
    if (n <= SORTED_UP_TO) {
        for (const struct gs_g *g; (g = gs_next_by_id(id)); id = gm_load_relaxed(&g->id)) put_g(o, g);
        return;
    }
    for (const struct gs_g *g = gm_load_acquire(&gs_sched.all_g); g; g = g->all_next)
        if (!(gm_load_relaxed(&g->flags) & GS_G_STANDIN)) put_g(o, g);
}

static void put_detail(struct gm_out *o) {
    gm_out_printf(o, " gcwaiting=%u nmidlelocked=%u stopwait=%u sysmonwait=%u\n", gs_sched.stopping, locked_idle(), gs_sched.stop_wait, gs_sched.sysmon_asleep != 0);
    for (unsigned i = 0; i < gs_sched.procs; i++) put_p(o, gs_sched.p[i]);
    put_sysmon(o);
    for (const struct gs_m *m = gs_sched.all_m; m; m = m->all_next) put_m(o, m);
    put_goroutines(o);
}

void gs_trace(int64_t now) {
    static int64_t last;
    struct gm_out o;
    if (last == 0) last = gs_sched.start_time;
    if (gm_conf.schedtrace <= 0 || now - last < gm_conf.schedtrace * 1000000 || gs_procs() == 0) return;
    last = now;
    gm_out_init(&o, 2);
    gs_sched_lock();
    head(&o, now);
    if (gm_conf.scheddetail > 0) {
        put_detail(&o);
    } else {
        gm_out_str(&o, " [");
        for (unsigned i = 0; i < gs_sched.procs; i++) gm_out_printf(&o, i ? " %u" : "%u", gs_runq_length(gs_sched.p[i]));
        gm_out_str(&o, "]\n");
    }
    gm_out_flush(&o);
    gs_sched_unlock();
}
