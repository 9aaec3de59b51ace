/* goonce: one call, seen by all; panics and go_exit count; recursion waits for ever. */
#include "tests/unit/crew.h"

static goonce once;
static uint32_t calls, waited;
static uint64_t plain;

static void count_it(void *arg) {
    plain = 42;
    crew_up(&calls);
    go_sleep(2000000);
    plain = 43;
}
static void call_it(unsigned who) {
    for (int i = 0; i < 20; i++) {
        goonce_do(&once, count_it, NULL);
        if (plain != 43) expect(!"returned before the first call did");
    }
}
TEST(one_call_and_all_wait_for_it) {
    go_maxprocs(4);
    crew(30, 4, call_it);
    expect_eq(calls, 1);
}

static void keep(void *arg) { *(int *)arg += 1; }
TEST(only_the_first_function_counts) {
    int a = 0, b = 0;
    goonce_do(&once, keep, &a);
    goonce_do(&once, keep, &b);
    expect_eq(a, 1);
    expect_eq(b, 0);
}

static void panics(void *arg) {
    crew_up(&calls);
    go_panic(arg);
}
static void *caught;
static void catch_it(void *arg) { caught = go_recover(); }
static void guarded(void) {
    GO_DEFER(catch_it, NULL);
    goonce_do(&once, panics, &caught);
    expect(!"not reached");
}
TEST(a_panic_counts_as_done) {
    guarded();
    expect(caught == &caught);
    goonce_do(&once, panics, NULL);
    expect_eq(calls, 1);
    expect(gomutex_trylock(&once.m));
}

static void exits(void *arg) {
    crew_up(&calls);
    go_exit();
}
static void exits_in_once(void *arg) { goonce_do(&once, exits, NULL); }
TEST(go_exit_counts_as_done) {
    go(exits_in_once, NULL);
    crew_wait(&calls, 1);
    goonce_do(&once, exits, NULL); /* waits for the deferred calls of the other */
    expect_eq(calls, 1);
}

static void again(void *arg) {
    crew_up(&calls);
    goonce_do(&once, again, NULL);
    crew_up(&waited);
}
static void recursive(void *arg) { goonce_do(&once, again, NULL); }
TEST(recursion_waits_for_ever) {
    go(recursive, NULL);
    crew_wait(&calls, 1);
    crew_pause();
    expect_eq(crew_get(&waited), 0);
    expect_eq(go_count(), 1);
}

TEST_MAIN()
