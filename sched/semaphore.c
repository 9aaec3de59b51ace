/* A weighted semaphore, with the semantics of golang.org/x/sync/semaphore: first come, first served, also where a later, smaller
 * request would fit; so large requests do not starve. What may be called off waits with a watch on its context. */
#include "sched/context.h"
#include "sched/defer.h"
#include "sched/sema.h"

struct request {
    struct gs_waiter waiter;
    struct gs_watch watch;
    gosem *s;
    int64_t n;
    bool called_off;           /* the semaphore's lock */
};

static struct gs_lock *lock_of(gosem *s) { return gs_public_lock(&s->lock); }
static struct gs_waitq *queue_of(gosem *s) { return gs_public_queue(&s->first); }

void gosem_init(gosem *s, int64_t size) { *s = (gosem){.size = size}; }

/* Those that fit, in their order, until one does not: served, and linked for gs_ready_list. The lock is held. */
static struct gs_g *serve(gosem *s) {
    struct gs_g *list = NULL, **end = &list;
    for (struct request *r; (r = (struct request *)queue_of(s)->first) && r->n <= s->size - s->used; end = &r->waiter.g->link) {
        gs_waitq_remove(queue_of(s), &r->waiter);
        s->used += r->n;
        r->waiter.success = true;
        *end = r->waiter.g;
    }
    *end = NULL;
    return list;
}

static bool take(gosem *s, int64_t n) {
    bool fits = n <= s->size - s->used && gs_waitq_empty(queue_of(s));
    if (fits) s->used += n;
    return fits;
}

bool gosem_try_acquire(gosem *s, int64_t n) {
    gs_lock_acquire(lock_of(s), GS_RANK_SYNC);
    bool got = take(s, n);
    gs_lock_release(lock_of(s));
    if (!got) gs_yield_if_asked();
    return got;
}

/* Its context was cancelled: out of the queue, unless it was served before. If it stood in front, others may fit now. */
static void call_off(struct gs_watch *w) {
    struct request *r = (struct request *)((char *)w - offsetof(struct request, watch));
    gosem *s = r->s;
    struct gs_g *woken = NULL;
    gs_lock_acquire(lock_of(s), GS_RANK_SYNC);
    r->called_off = true;
    if (r->waiter.queued) {
        gs_waitq_remove(queue_of(s), &r->waiter);
        woken = r->waiter.g;
        woken->link = serve(s);
    }
    gs_lock_release(lock_of(s));
    if (woken) gs_ready_list(woken);
}

static GM_NOINLINE int wait_for(gosem *s, gocontext *ctx, int64_t n) {
    struct request r = {.waiter = {.g = gs_self()}, .watch = {.cancelled = call_off}, .s = s, .n = n};
    if (ctx && !gs_context_watch(ctx, &r.watch)) return goctx_err(ctx);
    gs_lock_acquire(lock_of(s), GS_RANK_SYNC);
    r.waiter.success = take(s, n);
    if (r.waiter.success || r.called_off) {
        gs_lock_release(lock_of(s));
    } else {
        gs_waitq_push(queue_of(s), &r.waiter);
        gs_park_unlock(lock_of(s), GS_WAIT_SEM);
    }
    if (ctx) gs_context_unwatch(ctx, &r.watch);
    return r.waiter.success ? 0 : goctx_err(ctx);
}

int gosem_acquire_context(gosem *s, gocontext *ctx, int64_t n) { return gosem_try_acquire(s, n) ? 0 : wait_for(s, ctx, n); }
void gosem_acquire(gosem *s, int64_t n) { gosem_acquire_context(s, NULL, n); }

void gosem_release(gosem *s, int64_t n) {
    gs_lock_acquire(lock_of(s), GS_RANK_SYNC);
    s->used -= n;
    bool too_much = s->used < 0;
    struct gs_g *woken = too_much ? NULL : serve(s);
    gs_lock_release(lock_of(s));
    if (too_much) gs_panic_text("semaphore: released more than held");
    if (woken) gs_ready_list(woken);
    gs_yield_if_asked();
}
