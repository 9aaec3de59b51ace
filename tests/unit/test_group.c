/* Error groups. */
#include "tests/unit/crew.h"

static gogroup g;
static uint32_t ran, inside, most, gate;

static int ok(void *arg) {
    crew_up(&ran);
    return 0;
}
static int fails(void *arg) {
    crew_up(&ran);
    return (int)(intptr_t)arg;
}
TEST(all_have_ended_when_wait_returns) {
    go_maxprocs(2);
    expect_eq(gogroup_wait(&g), 0);
    for (int i = 0; i < 100; i++) expect_eq(gogroup_go(&g, ok, NULL), 0);
    expect_eq(gogroup_wait(&g), 0);
    expect_eq(ran, 100);
}

static int fails_later(void *arg) {
    crew_wait(&gate, 1);
    return 9;
}
TEST(the_first_error_counts) {
    go_maxprocs(2);
    gogroup_go(&g, fails_later, NULL);
    gogroup_go(&g, ok, NULL);
    gogroup_go(&g, fails, (void *)5);
    crew_wait(&ran, 2);
    while (__atomic_load_n(&g.err, __ATOMIC_RELAXED) == 0) usleep(200);
    crew_up(&gate);
    expect_eq(gogroup_wait(&g), 5);
    expect_eq(gogroup_wait(&g), 5);
}

static int counted(void *arg) {
    uint32_t n = __atomic_add_fetch(&inside, 1, __ATOMIC_RELAXED);
    if (n > crew_get(&most)) __atomic_store_n(&most, n, __ATOMIC_RELAXED);
    go_yield();
    __atomic_fetch_sub(&inside, 1, __ATOMIC_RELAXED);
    return 0;
}
TEST(limit) {
    go_maxprocs(2);
    gogroup_set_limit(&g, 3);
    for (int i = 0; i < 200; i++) expect_eq(gogroup_go(&g, counted, NULL), 0);
    expect_eq(gogroup_wait(&g), 0);
    expect(most >= 1 && most <= 3);
    gogroup_set_limit(&g, -1);
    for (int i = 0; i < 20; i++) expect_eq(gogroup_try_go(&g, counted, NULL), 0);
    expect_eq(gogroup_wait(&g), 0);
}
static int held(void *arg) {
    crew_up(&ran);
    crew_wait(&gate, 1);
    return 0;
}
TEST(try_go_refuses_at_the_limit) {
    go_maxprocs(4);
    gogroup_set_limit(&g, 2);
    expect_eq(gogroup_try_go(&g, held, NULL), 0);
    expect_eq(gogroup_try_go(&g, held, NULL), 0);
    expect_eq(gogroup_try_go(&g, held, NULL), -EAGAIN);
    crew_up(&gate);
    gogroup_wait(&g);
    expect_eq(ran, 2);
    expect_eq(gogroup_try_go(&g, held, NULL), 0);
    gogroup_wait(&g);
    gogroup_set_limit(&g, 0);
    expect_eq(gogroup_try_go(&g, held, NULL), -EAGAIN);
}

static gocontext *ctx;
static int until_cancelled(void *arg) {
    gochan_recv(goctx_done(ctx), NULL);
    return goctx_err(ctx);
}
TEST(an_error_cancels_the_context) {
    ctx = gogroup_context(&g, goctx_background());
    for (int i = 0; i < 5; i++) gogroup_go(&g, until_cancelled, NULL);
    crew_pause();
    expect_eq(goctx_err(ctx), 0);
    gogroup_go(&g, fails, (void *)11);
    expect_eq(gogroup_wait(&g), 11);
    expect_eq(goctx_err(ctx), -ECANCELED);
    expect_eq(goctx_cause(ctx), 11);
    goctx_release(ctx);
}
TEST(wait_cancels_the_context) {
    ctx = gogroup_context(&g, goctx_background());
    gogroup_go(&g, ok, NULL);
    expect_eq(gogroup_wait(&g), 0);
    expect_eq(goctx_err(ctx), -ECANCELED);
    goctx_release(ctx);
}
TEST(a_parents_cancellation_reaches_the_members) {
    gocontext *parent = goctx_with_cancel(goctx_background(), NULL);
    ctx = gogroup_context(&g, parent);
    gogroup_go(&g, until_cancelled, NULL);
    goctx_cancel(parent);
    expect_eq(gogroup_wait(&g), -ECANCELED);
    goctx_release(ctx);
    goctx_release(parent);
}

static int exits(void *arg) {
    crew_up(&ran);
    go_exit();
}
TEST(go_exit_in_a_member_is_its_end) {
    gogroup_set_limit(&g, 1);
    gogroup_go(&g, exits, NULL);
    gogroup_go(&g, ok, NULL);
    expect_eq(gogroup_wait(&g), 0);
    expect_eq(ran, 2);
}

static __attribute__((noinline)) void one_on_the_stack(void) {
    gogroup mine = {0};
    gogroup_go(&mine, ok, NULL);
    gogroup_go(&mine, ok, NULL);
    gogroup_wait(&mine);
    memset(&mine, 0xee, sizeof mine);
    __asm__ volatile("" : : "r"(&mine) : "memory");
}
static void many_groups(unsigned who) {
    for (unsigned i = 0; i < crew_rounds(200); i++) one_on_the_stack();
}
TEST_LIMIT(memory_may_go_after_wait, 60) {
    go_maxprocs(4);
    crew(6, 2, many_groups);
    expect_eq(ran, 8 * crew_rounds(200) * 2);
}

static void limit_too_late(void) {
    gogroup_go(&g, held, NULL);
    gogroup_set_limit(&g, 4);
}
TEST(misuse) {
    expect_panics("panic: errgroup: modify limit while 1 goroutines in the group are still active", limit_too_late);
}

TEST_MAIN()
