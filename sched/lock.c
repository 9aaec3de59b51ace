/* Slow halves of the scheduler's lock, and the check of its order. See lock.h. */
#include "sched/lock.h"

#include "libgomalloc/os/os.h"

/* Sections last tens of nanoseconds; a sleep and its wake-up cost about 15 us. */
enum { SPINS = 200 };
static const int64_t NAP_NS = 200000;

void gs_lock_slow(struct gs_lock *l) {
    for (int i = 0; i < SPINS; i++) {
        uint32_t w = 0;
        if (gm_load_relaxed(&l->word) == 0 && gm_cas_acquire(&l->word, &w, 1)) return;
        gm_cpu_relax();
    }
    /* From here on the word is 2 whenever it is ours: we cannot know whether another one sleeps, so our
     * release wakes. acquire pairs with the release in gs_lock_release, which may overwrite the mark. */
    while (gm_exchange_acquire(&l->word, 2) != 0) gm_os_futex_wait(&l->word, 2, NAP_NS);
}

void gs_lock_wake(struct gs_lock *l) { gm_os_futex_wake(&l->word, 1); }

#ifdef GM_DEBUG
/* What this thread holds. A select may hold many channels: beyond the table only the number is kept. */
enum { TABLE = 32 };
static GM_TLS struct {
    unsigned n;
    struct {
        struct gs_lock *lock;
        enum gs_rank rank;
    } held[TABLE];
} mine;

GM_NOINLINE void gs_lock_note_acquire(struct gs_lock *l, enum gs_rank rank) {
    GM_CHECK(rank > 0 && rank < GS_RANK_COUNT);
    for (unsigned i = 0; i < mine.n && i < TABLE; i++) {
        GM_CHECK(mine.held[i].rank < rank ||
                 (mine.held[i].rank == rank && rank == GS_RANK_CHAN && mine.held[i].lock < l));
    }
    if (mine.n < TABLE) {
        mine.held[mine.n].lock = l;
        mine.held[mine.n].rank = rank;
    }
    mine.n++;
}

GM_NOINLINE void gs_lock_note_release(struct gs_lock *l) {
    GM_CHECK(mine.n > 0);
    for (unsigned i = mine.n < TABLE ? mine.n : TABLE; i-- > 0;) {
        if (mine.held[i].lock != l) continue;
        for (; i + 1 < mine.n && i + 1 < TABLE; i++) mine.held[i] = mine.held[i + 1];
        break;
    }
    mine.n--;
}
#endif
