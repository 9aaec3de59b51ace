/* See sema.h. */
#include "sched/sema.h"

void gs_sema_acquire(struct gosched_sema *s, enum gs_wait reason) {
    gs_lock_acquire(gs_public_lock(&s->lock), GS_RANK_SYNC);
    if (s->permits > 0) {
        s->permits--;
        gs_lock_release(gs_public_lock(&s->lock));
        return;
    }
    struct gs_waiter w = {.g = gs_self()};
    gs_waitq_push(gs_public_queue(&s->first), &w);
    gs_park_unlock(gs_public_lock(&s->lock), reason);
}

bool gs_sema_try_acquire(struct gosched_sema *s) {
    gs_lock_acquire(gs_public_lock(&s->lock), GS_RANK_SYNC);
    bool got = s->permits > 0;
    if (got) s->permits--;
    gs_lock_release(gs_public_lock(&s->lock));
    return got;
}

void gs_sema_release(struct gosched_sema *s, uint32_t n) {
    struct gs_g *woken = NULL, **end = &woken;
    struct gs_waiter *w;
    gs_lock_acquire(gs_public_lock(&s->lock), GS_RANK_SYNC);
    for (; n > 0 && (w = gs_waitq_pop(gs_public_queue(&s->first))); n--) {
        w->g->link = NULL;
        *end = w->g;
        end = &w->g->link;
    }
    s->permits += n;
    gs_lock_release(gs_public_lock(&s->lock));
    if (!woken) return;
    if (woken->link) gs_ready_list(woken);
    else gs_ready(woken);
}
