/* Slow halves of the scheduler's lock, and the check of its order. See lock.h.
 *
 * A release looks for sleepers first and then stores: after the store the lock may be gone, freed by whoever took it next. So a sleeper
 * that comes between the look and the store, some nanoseconds, is not woken, and therefore nobody sleeps for longer
 * than a millisecond without looking again. Closing that gap would take a read-modify-write in each release, a quarter of a
 * channel's round trip. */
#include "sched/lock.h"

#include "libgomalloc/os/os.h"

/* Sections last tens of nanoseconds; a sleep and its wake-up cost about 15 us. Each look takes the line away from the holder,
 * who then waits for it to give the lock back: so the looks become rarer, to one in half a microsecond, and the
 * holder may come again many times in between, with all the lock guards in its cache. */
enum { LOOKS = 16, RAREST = 32 /* pauses between two */ };

static void sleep_on(struct gs_lock *l) {
    static const int64_t LONGEST = 1000000;
    gm_add_relaxed(&l->sleepers, 1);
    struct gs_lock seen = { .word = gm_load_relaxed(&l->word) };
    if (seen.held) gm_os_futex_wait(&l->word, seen.word, LONGEST);
    gm_sub_relaxed(&l->sleepers, 1);
}

void gs_lock_slow(struct gs_lock *l) {
    for (;;) {
        for (int i = 0, pauses = 1; i < LOOKS; i++) {
            if (gm_load_relaxed(&l->held) == 0 && gs_lock_try(l)) return;
            for (int k = 0; k < pauses; k++) gm_cpu_relax();
            if (pauses < RAREST) pauses *= 2;
        }
        sleep_on(l);
    }
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
                 (mine.held[i].rank == rank && rank == GS_RANK_CHAN && mine.held[i].lock < l) ||
                 (mine.held[i].rank == rank && rank == GS_RANK_TIMER)); /* all of them, by who forks */
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
