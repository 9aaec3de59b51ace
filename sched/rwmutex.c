/* Many readers or one writer: Go's sync.RWMutex.
 *
 * Writers exclude each other by a mutex, which the one that has it keeps until it leaves. It takes MANY from `readers`: while that is
 * negative, readers that come wait in reader_sema, and those that were in count `departing` down as they leave; the last
 * readies the writer, in writer_sema. The leaving writer gives MANY back, and a permit to each reader that came meanwhile.
 *
 * `departing` may go below 0: readers that leave between the writer's two additions count before it has said how many they are. The
 * one whose addition makes it 0, reader or writer, is the last, and there is exactly one. */
#include "sched/defer.h"
#include "sched/sema.h"

enum { MANY = 1 << 30 };

/* All of these are acquire and release: on `readers` a reader that comes pairs with the writer that left, a writer that comes with the readers
 * that left before; on `departing` the writer with those that leave after. Who waits in a semaphore sees through being readied. */
static int32_t add(int32_t *count, int32_t n) { return __atomic_add_fetch(count, n, __ATOMIC_ACQ_REL); }

void gorwmutex_rlock(gorwmutex *rw) {
    if (GM_UNLIKELY(add(&rw->readers, 1) < 0)) gs_sema_acquire(&rw->reader_sema, GS_WAIT_RWMUTEX_R);
}

bool gorwmutex_tryrlock(gorwmutex *rw) {
    int32_t n = gm_load_relaxed(&rw->readers);
    while (n >= 0)
        if (gm_cas_acquire(&rw->readers, &n, n + 1)) return true;
    gs_yield_if_asked();
    return false;
}

static GM_NOINLINE void runlock_slow(gorwmutex *rw, int32_t left) {
    if (left + 1 == 0 || left + 1 == -MANY) gs_fatal_text("sync: RUnlock of unlocked RWMutex");
    if (add(&rw->departing, -1) == 0) gs_sema_release(&rw->writer_sema, 1);
}

void gorwmutex_runlock(gorwmutex *rw) {
    int32_t left = add(&rw->readers, -1);
    if (GM_UNLIKELY(left < 0)) runlock_slow(rw, left);
    gs_yield_if_asked();
}

void gorwmutex_lock(gorwmutex *rw) {
    gomutex_lock(&rw->writers);
    int32_t in = add(&rw->readers, -MANY) + MANY;
    if (in != 0 && add(&rw->departing, in) != 0) gs_sema_acquire(&rw->writer_sema, GS_WAIT_RWMUTEX_W);
}

bool gorwmutex_trylock(gorwmutex *rw) {
    int32_t none = 0;
    if (!gomutex_trylock(&rw->writers)) return false;
    if (gm_cas_acquire(&rw->readers, &none, -MANY)) return true;
    gomutex_unlock(&rw->writers);
    return false;
}

void gorwmutex_unlock(gorwmutex *rw) {
    int32_t came = add(&rw->readers, MANY);
    if (came >= MANY) gs_fatal_text("sync: Unlock of unlocked RWMutex");
    if (came > 0) gs_sema_release(&rw->reader_sema, (uint32_t)came);
    gomutex_unlock(&rw->writers);
}
