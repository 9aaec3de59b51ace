/* Mutual exclusion: Go's sync.Mutex.
 *
 * NORMAL MODE. Who comes takes the mutex if it is free, before those who wait: it runs already, they would first have to.
 * unlock wakes one waiter (WOKEN keeps others from waking a second), which tries again and, if it loses, goes back to
 * the front of the queue.
 * STARVATION MODE. A waiter that has waited for more than 1 ms when it goes back switches to it. Now unlock hands the mutex
 * over: LOCKED stays set, so nobody who comes can take it, and the first of the queue owns it when it wakes. Ends with an
 * owner who was the last in the queue or waited less than 1 ms.
 *
 *   state   LOCKED     owned
 *           WOKEN      somebody is awake on its way to the mutex: unlock need not wake
 *           STARVING   unlock hands over; only with LOCKED
 *           WAITERS    the queue is not empty; changes under the queue's lock only
 *
 * What there is to decide at unlock is decided while the mutex is still LOCKED, and its last touch is the one that frees it, or
 * is made under the queue's lock before those who still wait can be woken. So a program may free the memory of a mutex
 * as soon as it has locked and unlocked it for the last time, although another thread's unlock has not returned yet. */
#include "libgomalloc/os/os.h"
#include "sched/defer.h"
#include "sched/sema.h"

enum { LOCKED = 1, WOKEN = 2, STARVING = 4, WAITERS = 8 };
enum { SPINS = 4, PAUSES = 30 };               /* Go's: about a microsecond in all */
static const int64_t STARVES_AFTER = 1000000;  /* ns */

static struct gs_lock *lock_of(gomutex *m) { return gs_public_lock(&m->lock); }
static struct gs_waitq *queue_of(gomutex *m) { return gs_public_queue(&m->first); }

/* One who came to a locked mutex. */
struct comer {
    struct gs_g *g;
    int64_t since;             /* when it first went to sleep; 0: not yet */
    unsigned spins;
    bool awoke;                /* WOKEN stands for it */
    bool starving;
};

enum outcome { IT_IS_FREE, WOKEN_UP, HANDED_OVER };

static enum outcome wait_in_queue(gomutex *m, struct comer *c) {
    struct gs_waiter w = {.g = c->g};
    gs_lock_acquire(lock_of(m), GS_RANK_SYNC);
    uint32_t s = gm_load_relaxed(&m->state), next;
    do {
        if (!(s & LOCKED)) {
            gs_lock_release(lock_of(m));
            return IT_IS_FREE;
        }
        next = (c->awoke ? s & ~WOKEN : s) | WAITERS | (c->starving ? STARVING : 0);
    } while (!gm_cas_relaxed(&m->state, &s, next)); /* who wakes us takes the queue's lock first */
    if (c->since) gs_waitq_push_front(queue_of(m), &w);
    else gs_waitq_push(queue_of(m), &w), c->since = (int64_t)gm_os_nanotime();
    gs_park_unlock(lock_of(m), GS_WAIT_MUTEX);
    return w.success ? HANDED_OVER : WOKEN_UP;
}

/* A spinner is awake: while it spins nobody need be woken. */
static uint32_t spin(gomutex *m, struct comer *c, uint32_t s) {
    if (!c->awoke && (s & (WOKEN | WAITERS)) == WAITERS) c->awoke = gm_cas_relaxed(&m->state, &s, s | WOKEN);
    for (int i = 0; i < PAUSES; i++) gm_cpu_relax();
    c->spins++;
    return gm_load_relaxed(&m->state);
}

static GM_NOINLINE void lock_slow(gomutex *m) {
    struct comer c = {.g = gs_self()};
    uint32_t s = gm_load_relaxed(&m->state);
    for (;;) {
        if (!(s & LOCKED)) {
            /* acquire: pairs with the releases in gomutex_unlock and wake_one. */
            if (gm_cas_acquire(&m->state, &s, (c.awoke ? s & ~WOKEN : s) | LOCKED)) return;
            continue;
        }
        if (!(s & STARVING) && c.spins < SPINS && gs_worth_spinning(c.g)) {
            s = spin(m, &c, s);
            continue;
        }
        enum outcome o = wait_in_queue(m, &c);
        int64_t waited = o == IT_IS_FREE ? 0 : (int64_t)gm_os_nanotime() - c.since;
        if (o == HANDED_OVER) {
            /* What the last owner wrote is seen through being readied. The owner ends starvation if it has not starved itself. */
            if (waited < STARVES_AFTER) __atomic_fetch_and(&m->state, ~(uint32_t)STARVING, __ATOMIC_RELAXED);
            return;
        }
        if (o == WOKEN_UP) {
            c.awoke = true; /* unlock has set WOKEN for us */
            c.starving |= waited > STARVES_AFTER;
            c.spins = 0;
        }
        s = gm_load_relaxed(&m->state);
    }
}

void gomutex_lock(gomutex *m) {
    uint32_t unlocked = 0;
    /* acquire: pairs with the releases in gomutex_unlock and wake_one. */
    if (GM_UNLIKELY(!gm_cas_acquire(&m->state, &unlocked, LOCKED))) lock_slow(m);
}

bool gomutex_trylock(gomutex *m) {
    uint32_t s = gm_load_relaxed(&m->state);
    if (!(s & LOCKED) && gm_cas_acquire(&m->state, &s, s | LOCKED)) return true;
    gs_yield_if_asked();
    return false;
}

/* The queue is not empty, and only the owner takes from it. */
static void wake_one(gomutex *m) {
    struct gs_waiter *w = NULL;
    gs_lock_acquire(lock_of(m), GS_RANK_SYNC);
    bool last = queue_of(m)->first == queue_of(m)->last;
    uint32_t s = gm_load_relaxed(&m->state), next;
    do {
        if (s & STARVING) next = last ? s & ~(STARVING | WAITERS) : s;
        else if (s & WOKEN) next = s & ~LOCKED; /* a spinner was faster */
        else next = ((s & ~LOCKED) | WOKEN) & ~(last ? WAITERS : 0);
        /* release: pairs with the acquires of who locks next. */
    } while (!gm_cas_release(&m->state, &s, next));
    if ((s & STARVING) || !(s & WOKEN)) w = gs_waitq_pop(queue_of(m));
    if (w) w->success = s & STARVING;
    gs_lock_release(lock_of(m));
    if (!w) return;
    gs_ready(w->g);
    if (s & STARVING) gs_yield(); /* it runs in our place, at once */
}

static GM_NOINLINE void unlock_slow(gomutex *m, uint32_t s) {
    for (;;) {
        if (!(s & LOCKED)) gs_fatal_text("sync: unlock of unlocked mutex");
        if ((s & WAITERS) && ((s & STARVING) || !(s & WOKEN))) {
            wake_one(m);
            return;
        }
        if (gm_cas_release(&m->state, &s, s & ~LOCKED)) return;
    }
}

void gomutex_unlock(gomutex *m) {
    uint32_t s = LOCKED;
    /* release: pairs with the acquires in gomutex_lock, lock_slow and gomutex_trylock. */
    if (GM_UNLIKELY(!gm_cas_release(&m->state, &s, 0))) unlock_slow(m, s);
    gs_yield_if_asked(); /* who waits for another's change looks for it in a loop of lock and unlock */
}
