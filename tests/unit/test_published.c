/* Records of threads that block, under every interleaving: a record changes hands while a holder looks at it. What threads do
 * with them in a process is in tests/gc/blocked.c. */
#include "tests/unit/interleave.h"

#include "libgomalloc/os/os.h"
#include "libgomalloc/os/rawcall.h"
#define gm_rawcall(...) interleave_wait()
#define gm_os_futex_wait(...) (void)interleave_wait()
#define gm_os_futex_wake(...) ((void)0)
#include "gc/published.c"

enum { DEAD = 1 << 29 /* no thread's number */, HEIR = 4711 };
static struct record table[1];
static struct gm_blocked stale, fresh;
static int finds;
static bool claimed, as_it_was;

/* Who is found blocks as its record says, and has not been found before it has become whole. */
static bool found(int tid, uintptr_t sp, uintptr_t fs_base) {
    finds++;
    as_it_was &= tid == HEIR && sp == fresh.sp;
    return true;
}
static void holder(void) {
    if (take_one(&table[0], found)) put_back(&table[0]);
}
/* A thread's first blocking call, with the record of one that is gone. */
static void heir(void) {
    struct record *r = &table[0];
    claimed = claim(r, DEAD, HEIR, 1, 0);
    if (!claimed) return;
    r->frame = &fresh;
    become_blocked(r);
    become_running(r);
}

/* A cancelled thread unwinds out of its call and leaves the record as it is, doomed. */
static void cancelled_in_a_call(void) {
    fresh.sp = 1000;
    table[0] = (struct record){ .state = BLOCKED, .tid = DEAD, .frame = &stale, .doomed = 1 };
    finds = 0;
    claimed = false;
    as_it_was = true;
}
static bool whole(void) {
    const struct record *r = &table[0];
    return expect(as_it_was && finds <= 1) && expect_eq(r->tid, claimed ? HEIR : DEAD) && expect_eq(r->state, claimed ? RUNNING : BLOCKED) &&
           expect_eq(r->doomed, !claimed);
}
TEST(a_record_changes_hands_under_a_holders_eyes) { interleave(cancelled_in_a_call, heir, holder, whole); }

/* Whoever cancels a thread in its call may do so once the thread is not held, and will not be. */
static uint32_t unwinds, as_found;
static void canceller(void) {
    doom(HEIR, 1);
    __atomic_store_n(&unwinds, 1, __ATOMIC_RELAXED);
}
static void looker(void) {
    if (!take_one(&table[0], found)) return;
    as_found = __atomic_load_n(&unwinds, __ATOMIC_RELAXED);
    put_back(&table[0]);
}
static void blocks_in_a_call(void) {
    fresh.sp = 1000;
    records = table;
    used = 1;
    table[0] = (struct record){ .state = BLOCKED, .tid = HEIR, .thread = 1, .frame = &fresh };
    finds = 0;
    unwinds = as_found = 0;
    as_it_was = true;
}
static bool never_both(void) { return expect(as_it_was && !as_found) && expect_eq(table[0].state, BLOCKED); }
TEST(who_is_held_is_not_cancelled) { interleave(blocks_in_a_call, canceller, looker, never_both); }

TEST_MAIN()
