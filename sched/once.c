/* A call that is made once: Go's sync.Once. */
#include "sched/defer.h"
#include "sched/gosched.h"
#include "sched/proc.h"

static void unlock(void *m) { gomutex_unlock(m); }
/* release: pairs with the acquire in goonce_do. */
static void mark_done(void *o) { gm_store_release(&((goonce *)o)->done, 1); }

/* Deferred, as fn may end by a panic or by go_exit. `done` is set after fn only: who comes meanwhile waits for the mutex. */
static GM_NOINLINE void do_slow(goonce *o, void (*fn)(void *), void *arg) {
    gomutex_lock(&o->m);
    GO_DEFER(unlock, &o->m);
    if (gm_load_relaxed(&o->done)) return;
    GO_DEFER(mark_done, o);
    fn(arg);
}

void goonce_do(goonce *o, void (*fn)(void *), void *arg) {
    if (GM_UNLIKELY(!gm_load_acquire(&o->done))) do_slow(o, fn, arg);
}
