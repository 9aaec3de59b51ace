/* The global queue: the line and the piles, who comes first, and that nobody is lost or forgotten. Without threads: the
 * scheduler is never started but by the last test. */
#include "libgomalloc/base/atomic.h"
#include "libgomalloc/os/os.h"
#include "sched/gosched.h"
#include "sched/runq.h"
#include "sched/state.h"
#include "tests/check.h"

enum { MANY = 2000 };
static struct gs_g g[MANY];
static struct gs_p p;

/* g[from .. from + n - 1], linked */
static struct gs_g *chain(int from, int n) {
    for (int i = from; i < from + n; i++) g[i].link = i + 1 < from + n ? &g[i + 1] : NULL;
    return &g[from];
}
static void line(int from, int n) {
    chain(from, n);
    gs_global_put(&g[from], &g[from + n - 1], (unsigned)n);
}
static void pile(int from, int n) { gs_global_pile(chain(from, n), (unsigned)n); }

static int number(const struct gs_g *x) { return x ? (int)(x - g) : -1; }
static int from_ring(void) { return number(gs_runq_get(&p, false)); }

/* The time of the lowest pile: far away, or come. */
static void not_due(void) { gs_sched.pile_taken = INT64_MAX / 2; }
static void due(void) { gs_sched.pile_taken = (int64_t)gm_os_coarse_time() - 10000000; }

static void begin(unsigned procs) {
    gs_sched.procs = procs;
    not_due();
}

TEST(the_line_is_served_in_order) {
    begin(1);
    line(0, 3);
    line(3, 1);
    expect_eq(number(gs_global_get(&p, 1)), 0);
    expect_eq(gs_runq_length(&p), 0);
    expect_eq(number(gs_global_get(&p, 0)), 1);
    expect_eq(from_ring(), 2);
    expect_eq(from_ring(), 3);
    expect_eq(gs_sched.queue_count, 0);
    expect(gs_global_get(&p, 0) == NULL);
}

TEST(a_share_leaves_the_others_theirs) {
    begin(2);
    line(0, 10);
    expect_eq(number(gs_global_get(&p, 0)), 0); /* of 10 for two: 6 */
    expect_eq(gs_runq_length(&p), 5);
    expect_eq(gs_sched.queue_count, 4);
}

TEST(the_line_first_then_the_newest_pile_as_a_whole) {
    begin(1);
    pile(0, 129);
    pile(200, 129);
    line(400, 1);
    expect_eq(number(gs_global_get(&p, 0)), 400);
    expect_eq(gs_runq_length(&p), 0);
    expect_eq(number(gs_global_get(&p, 0)), 200);
    for (int i = 201; i <= 328; i++) expect_eq(from_ring(), i);
    expect_eq(from_ring(), -1);
    expect_eq(number(gs_global_get(&p, 0)), 0);
    expect_eq(gs_sched.queue_count, 0);
}

TEST(the_lowest_pile_has_its_turn) {
    begin(1);
    for (int i = 0; i < 3; i++) pile(i * 100, 2);
    expect(gs_global_get(&p, 1) == NULL);
    line(500, 2);
    expect_eq(number(gs_global_get(&p, 1)), 500);
    due();
    int64_t before = (int64_t)gm_os_coarse_time();
    expect_eq(number(gs_global_get(&p, 1)), 0);
    expect(gs_sched.pile_taken >= before); /* which was noted */
    not_due();
    expect_eq(number(gs_global_get(&p, 1)), 501);
    due();
    expect_eq(number(gs_global_get(&p, 1)), 1);
    due();
    expect_eq(number(gs_global_get(&p, 1)), 100); /* the one above is the lowest now */
    expect_eq(number(gs_global_get(&p, 0)), 200);
    expect_eq(from_ring(), 201);
    expect_eq(number(gs_global_get(&p, 0)), 101);
    expect_eq(gs_sched.queue_count, 0);
    expect(!gs_sched.pile_top && !gs_sched.pile_bottom && !gs_sched.queue_head);
}

static struct check_rng rng;
static uint32_t below(uint32_t n) { return (uint32_t)check_below(&rng, n); }

static uint8_t taken[MANY];
static int took;
static void take(int i) {
    if (i < 0) return;
    expect_eq(taken[i]++, 0);
    took++;
}

TEST(whatever_comes_goes_once) {
    rng = check_rng(0);
    for (int round = 0; round < 200; round++) {
        begin(1 + below(4));
        memset(taken, 0, sizeof taken);
        took = 0;
        for (int made = 0; took < MANY;) {
            int n = 1 + (int)below(129);
            if (n > MANY - made) n = MANY - made;
            if (n > 0 && below(2)) {
                (below(3) ? pile : line)(made, n);
                made += n;
            }
            if (below(2)) due();
            else not_due();
            take(number(gs_global_get(&p, below(3) ? 0 : 1)));
            for (unsigned k = below(2) ? below(200) : 0; k > 0; k--) take(from_ring());
            expect_eq(gs_sched.queue_count + gs_runq_length(&p) + (unsigned)took, made);
        }
        expect(!gs_sched.pile_top && !gs_sched.pile_bottom && !gs_sched.queue_head && !gs_sched.queue_tail);
    }
}

/* ---- a tree of goroutines, ten children to each, is worked off from its leaves */

enum { LEAVES = 10000 };
static uint32_t leaves;
static int most;

static void node(void *size) {
    intptr_t n = (intptr_t)size;
    int now = go_count();
    if (now > most) most = now;
    if (n == 1) gm_add_acq_rel(&leaves, 1);
    for (int i = 0; n > 1 && i < 10; i++) expect_eq(go(node, (void *)(n / 10)), 0);
}

TEST(a_tree_is_worked_off_from_its_leaves) {
#if defined(__SANITIZE_THREAD__)
    skip("ThreadSanitizer takes a millisecond to make a stack");
#endif
    go_maxprocs(1);
    expect_eq(go(node, (void *)(intptr_t)LEAVES), 0);
    while (gm_load_acquire(&leaves) != LEAVES) usleep(1000);
    diag("%d at a time", most);
    expect_at_most(most, LEAVES / 5); /* level by level it would be nearly all of them */
}

TEST_MAIN()
