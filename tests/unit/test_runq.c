/* The queue of runnable goroutines under every interleaving: the owner and a thief run as coroutines that change places before
 * each atomic operation of runq.c, and all orders of these operations are tried, for several small cases. Afterwards every goroutine that was put
 * has been taken exactly once or is still queued. (Sequentially consistent interleavings; what the orders in runq.c add
 * for weaker machines is argued there and run by test_proc.c under ThreadSanitizer.) */
#include "tests/unit/interleave.h"

#include "sched/runq.c"

enum { GOROUTINES = 300 };

static struct gs_p own, other;
static struct gs_g g[GOROUTINES];
static uint8_t taken[GOROUTINES]; /* how often */
static int puts;                  /* goroutines put so far: g[0 .. puts-1] */

/* ---- the cases */

static void took(struct gs_g *x) {
    if (x) taken[x - g]++;
}
static void put_one(void) {
    struct gs_g *overflow;
    unsigned n;
    struct gs_g *x = &g[puts++];
    if (gs_runq_put(&own, x, &overflow, &n)) return;
    for (; overflow; overflow = overflow->link) took(overflow);
}
static void put_next(void) {
    struct gs_g *old = gs_runq_put_next(&own, &g[puts++]);
    struct gs_g *overflow;
    unsigned n;
    if (old && !gs_runq_put(&own, old, &overflow, &n))
        for (; overflow; overflow = overflow->link) took(overflow);
}
static void get_one(void) { took(gs_runq_get(&own, false)); }
static void get_ring_first(void) { took(gs_runq_get(&own, true)); }
static void steal(void) { took(gs_runq_steal(&other, &own, true)); }

static void put_get_get(void) { put_one(); get_one(); get_one(); }
static void get_put(void) { get_one(); put_one(); }
static void next_get(void) { put_next(); get_one(); }
static void next_ring(void) { put_next(); get_ring_first(); }
static void steal_twice(void) { steal(); steal(); }

static struct { int before; bool with_next; uint32_t start_at; } given;
static void prepare(void) {
    memset(&own, 0, sizeof own);
    memset(&other, 0, sizeof other);
    memset(taken, 0, sizeof taken);
    own.head = own.tail = given.start_at; /* near 2^32: the counters wrap */
    puts = 0;
    for (int i = 0; i < given.before; i++) put_one();
    if (given.with_next) put_next();
}
static bool each_is_taken_once(void) {
    for (struct gs_g *x; (x = gs_runq_get(&own, false));) took(x);
    for (struct gs_g *x; (x = gs_runq_get(&other, false));) took(x);
    for (int i = 0; i < puts; i++)
        if (taken[i] != 1) return expect_eq(taken[i], 1);
    return true;
}
static void explore(int before, bool with_next, void (*owner)(void), void (*thief)(void), uint32_t start_at) {
    gs_runq_alone = false;
    given.before = before;
    given.with_next = with_next;
    given.start_at = start_at;
    interleave(prepare, owner, thief, each_is_taken_once);
}

TEST_LIMIT(one_goroutine_two_takers, 60) { explore(1, false, get_one, steal, 0); }
TEST_LIMIT(the_last_of_two, 60) { explore(2, false, get_one, steal_twice, 0); }
TEST_LIMIT(put_and_get_against_a_thief, 60) { explore(1, false, put_get_get, steal, UINT32_MAX); }
TEST_LIMIT(the_place_before_the_queue, 60) { explore(0, true, get_one, steal, 0); }
TEST_LIMIT(a_new_next_against_a_thief, 60) { explore(0, true, next_get, steal, 0); }
TEST_LIMIT(the_ring_first, 60) { explore(1, true, next_ring, steal, 0); }
TEST_LIMIT(the_ring_wraps, 60) { explore(2, false, get_put, steal, UINT32_MAX - 1); }

static void overflow_put(void) { put_one(); }
TEST_LIMIT(an_overflow_moves_half_once, 60) {
    /* A thief that copies half a ring takes too many steps for all orders; so the order is sequential here. */
    struct gs_g *list;
    unsigned n;
    gs_runq_alone = false;
    for (int i = 0; i < GS_RUNQ; i++) expect(gs_runq_put(&own, &g[i], &list, &n));
    expect(!gs_runq_put(&own, &g[GS_RUNQ], &list, &n));
    expect_eq(n, GS_RUNQ / 2 + 1);
    for (unsigned i = 0; i < n - 1; i++, list = list->link) expect(list == &g[i]);
    expect(list == &g[GS_RUNQ] && list->link == NULL);
    expect_eq(gs_runq_length(&own), GS_RUNQ / 2);
    puts = GS_RUNQ + 1;
    overflow_put();
    expect_eq(gs_runq_length(&own), GS_RUNQ / 2 + 1);
}

TEST_MAIN()
