/* Slow halves of the futex lock, and the run-time check of the lock order. See lock.h. */
#include "libgomalloc/base/lock.h"

#include "libgomalloc/base/check.h"
#include "libgomalloc/os/os.h"

/* How often to look again before sleeping. Critical sections here are tens to hundreds of
 * nanoseconds; a sleep and its wake-up cost about 15 us on the machines measured. */
enum { SPINS = 100 };

GM_TLS volatile uint32_t gm_locks_held;

void gm_lock_init(struct gm_lock *l, enum gm_lockrank rank, unsigned index) {
    l->word = 0;
    l->rank = (uint16_t)rank;
    l->index = (uint16_t)index;
}


void gm_lock_slow(struct gm_lock *l) {
    for (int i = 0; i < SPINS; i++) {
        uint32_t w = 0;
        if (gm_load_relaxed(&l->word) == 0 && gm_cas_acquire(&l->word, &w, 1)) return;
        gm_cpu_relax();
    }
    /* From here on the word is 2 whenever it is ours, so that our unlock wakes the next sleeper:
     * we cannot know whether there is one. acquire pairs with the release in gm_unlock. */
    while (gm_exchange_acquire(&l->word, 2) != 0) gm_os_futex_wait(&l->word, 2, -1);
}

void gm_lock_wake(struct gm_lock *l) { gm_os_futex_wake(&l->word, 1); }

#ifdef GM_DEBUG
/* What this thread holds. Deep enough for fork, which takes every lock there is. */
enum { MAX_HELD = 128 };
static GM_TLS struct {
    unsigned n;
    struct gm_lock *lock[MAX_HELD];
} held;

void gm_lockrank_acquire(struct gm_lock *l) {
    for (unsigned i = 0; i < held.n; i++) {
        const struct gm_lock *h = held.lock[i];
        GM_CHECK(h->rank < l->rank || (h->rank == l->rank && h->index < l->index));
    }
    GM_CHECK(l->rank > 0 && l->rank < GM_RANK_COUNT && held.n < MAX_HELD);
    held.lock[held.n++] = l;
}

void gm_lockrank_release(struct gm_lock *l) {
    for (unsigned i = held.n; i-- > 0;) {
        if (held.lock[i] != l) continue;
        for (; i + 1 < held.n; i++) held.lock[i] = held.lock[i + 1];
        held.n--;
        return;
    }
    GM_CHECK(!"unlock of a lock this thread does not hold");
}
#endif
