/* Error groups: golang.org/x/sync/errgroup. What a member does last is to leave the wait group: after that the group may be gone. */
#include <errno.h>

#include "libgomalloc/alloc.h"
#include "libgomalloc/base/print.h"
#include "sched/defer.h"
#include "sched/sema.h"

struct member {
    gogroup *group;
    int (*fn)(void *);
    void *arg;
};

static void leave(void *group) {
    gogroup *g = group;
    gm_sub_relaxed(&g->running, 1);
    if (g->limited) gs_sema_release(&g->places, 1);
    gowaitgroup_done(&g->members);
}

/* The one that sets err cancels. relaxed: it travels by the wait group. */
static void fail(gogroup *g, int err) {
    int none = 0;
    if (gm_cas_relaxed(&g->err, &none, err) && g->ctx) goctx_cancel_cause(g->ctx, err);
}

/* Deferred, so that go_exit in fn leaves as well. */
static void run(void *arg) {
    struct member m = *(struct member *)arg;
    gm_free(arg);
    GO_DEFER(leave, m.group);
    int err = m.fn(m.arg);
    if (err) fail(m.group, err);
}

/* With a place taken, which is given back on failure. */
static int start(gogroup *g, int (*fn)(void *), void *arg) {
    struct member *m = gm_alloc(sizeof *m);
    int error = -ENOMEM;
    gowaitgroup_add(&g->members, 1);
    gm_add_relaxed(&g->running, 1);
    if (m) {
        *m = (struct member){g, fn, arg};
        error = go(run, m);
    }
    if (error) {
        gm_free(m);
        leave(g);
    }
    return error;
}

int gogroup_go(gogroup *g, int (*fn)(void *), void *arg) {
    if (g->limited) gs_sema_acquire(&g->places, GS_WAIT_SEM);
    return start(g, fn, arg);
}

int gogroup_try_go(gogroup *g, int (*fn)(void *), void *arg) {
    if (g->limited && !gs_sema_try_acquire(&g->places)) return -EAGAIN;
    return start(g, fn, arg);
}

GM_NORETURN static GM_COLD void refuse_limit(uint32_t running) {
    struct gm_out *o = gm_alloc(sizeof *o); /* the panic's value: it lives for ever */
    if (!o) gs_panic_text("errgroup: modify limit while goroutines in the group are still active");
    gm_out_init(o, -1);
    gm_out_printf(o, "errgroup: modify limit while %u goroutines in the group are still active", running);
    gm_out_flush(o);
    gs_panic_text(o->text);
}

void gogroup_set_limit(gogroup *g, int n) {
    uint32_t running = gm_load_relaxed(&g->running);
    if (running) refuse_limit(running);
    g->limited = n >= 0;
    g->places.permits = n >= 0 ? (uint32_t)n : 0;
}

gocontext *gogroup_context(gogroup *g, gocontext *parent) {
    gocontext *ctx = goctx_with_cancel(parent, NULL);
    if (ctx) g->ctx = goctx_retain(ctx);
    return ctx;
}

int gogroup_wait(gogroup *g) {
    gowaitgroup_wait(&g->members);
    int err = gm_load_relaxed(&g->err);
    if (g->ctx) {
        goctx_cancel_cause(g->ctx, err);
        goctx_release(g->ctx);
        g->ctx = NULL;
    }
    return err;
}
