/* When a collection starts: pacer.c, which is arithmetic. */
#include "gc/pacer.h"

#include "tests/check.h"

#define MIB INT64_C(1048576)
#define MS  UINT64_C(1000000)

static struct gc_pacer pacer(int64_t percent, int64_t live) {
    struct gc_pacer p;
    gc_pacer_init(&p, percent, INT64_MAX);
    gc_pacer_cycle_done(&p, live, 0, 0);
    return p;
}

TEST(the_goal_is_what_lives_and_percent_of_it) {
    expect_eq(pacer(100, 100 * MIB).goal, 200 * MIB);
    expect_eq(pacer(50, 100 * MIB).goal, 150 * MIB);
    expect_eq(pacer(300, 100 * MIB).goal, 400 * MIB);
    expect_eq(pacer(100, 100 * MIB).trigger, 200 * MIB);
}

TEST(roots_count_as_work_but_not_as_heap) {
    struct gc_pacer p = pacer(100, 10 * MIB);
    gc_pacer_cycle_done(&p, 10 * MIB, 30 * MIB, 0);
    expect_eq(p.goal, 50 * MIB);
}

TEST(a_small_heap_counts_as_four_mebibytes) {
    expect_eq(pacer(100, 0).goal, 4 * MIB);
    expect_eq(pacer(100, MIB).goal, 5 * MIB);
    expect_eq(pacer(1, MIB).goal, 2 * MIB); /* one at the least */
}

TEST(no_percent_is_only_the_limit) {
    struct gc_pacer p = pacer(-1, 100 * MIB);
    expect_eq(p.goal, INT64_MAX);
    expect_eq(p.trigger, INT64_MAX);
    gc_pacer_set(&p, -1, 300 * MIB);
    expect_eq(p.goal, 300 * MIB);
    gc_pacer_set(&p, 100, 150 * MIB);
    expect_eq(p.goal, 150 * MIB);
    gc_pacer_set(&p, 100, 90 * MIB); /* above it already: each cycle must be worth something */
    expect_eq(p.goal, 101 * MIB);
}

TEST(percents_beyond_all_measure_do_not_overflow) {
    const int64_t all = INT64_C(1) << 47; /* addresses */
    struct gc_pacer p = pacer(INT64_MAX, all);
    expect(p.goal > all && p.trigger > all);
    gc_pacer_set(&p, INT64_MAX, 2 * all);
    expect_eq(p.goal, 2 * all);
}

/* It begins so much before the goal as the program allocates while it marks; half of the way at the most. */
TEST(the_runway_is_smoothed_and_bounded) {
    struct gc_pacer p = pacer(100, 100 * MIB);
    gc_pacer_cycle_done(&p, 100 * MIB, 0, 20 * MIB);
    expect_eq(p.trigger, 190 * MIB);
    gc_pacer_cycle_done(&p, 100 * MIB, 0, 20 * MIB);
    expect_eq(p.trigger, 185 * MIB);
    gc_pacer_cycle_done(&p, 100 * MIB, 0, 900 * MIB);
    expect_eq(p.trigger, 150 * MIB);
    for (int i = 0; i < 40; i++) gc_pacer_cycle_done(&p, 100 * MIB, 0, -5);
    expect_eq(p.trigger, 200 * MIB);
}

TEST(dear_cycles_get_room_and_cheap_ones_lose_it) {
    struct gc_pacer p = pacer(100, 2 * MIB);
    int64_t small = p.goal;
    for (int i = 0; i < 3; i++) gc_pacer_cost(&p, 20 * MS, 100 * MS);
    gc_pacer_cycle_done(&p, 2 * MIB, 0, 0);
    expect_eq(p.goal, 10 * MIB);
    gc_pacer_cost(&p, 10 * MS, 100 * MS); /* neither */
    gc_pacer_cycle_done(&p, 2 * MIB, 0, 0);
    expect_eq(p.goal, 10 * MIB);
    for (int i = 0; i < 30; i++) gc_pacer_cost(&p, 20 * MS, 100 * MS);
    gc_pacer_cycle_done(&p, 2 * MIB, 0, 0);
    expect_eq(p.goal, 34 * MIB);
    for (int i = 0; i < 30; i++) gc_pacer_cost(&p, 1 * MS, 100 * MS);
    gc_pacer_cycle_done(&p, 2 * MIB, 0, 0);
    expect_eq(p.goal, small);
}

/* Where the next cycle begins of a program that allocates so many MiB a second at first, and so many from then_at MiB on. */
static int64_t begins_at(uint64_t cost, unsigned cpus, int first, int then_at, int then) {
    struct gc_pacer p = pacer(100, 400 * MIB);
    for (int i = 0; i < 30; i++) {
        gc_pacer_snapshot(&p, cost, cpus);
        gc_pacer_cycle_done(&p, 400 * MIB, 0, 0);
        expect_eq(p.goal, 800 * MIB);
    }
    int64_t heap = 400 * MIB;
    uint64_t time = 0;
    for (unsigned looks = 0; heap < p.trigger || (expect(++looks < 20) && gc_pacer_waits(&p, heap, time)); heap += MIB)
        time += 1000 * MS / (unsigned)(heap < then_at * MIB ? first : then);
    return heap;
}
/* Work of a fourteenth of what the CPUs can do, between a quarter of the way and the goal. */
TEST(snapshots_come_sooner_where_they_are_cheap) {
    expect_eq(begins_at(10 * MS, 2, 100, 0, 100), 500 * MIB);
    int64_t between = begins_at(250 * MS, 2, 100, 0, 100);
    expect(between >= 575 * MIB && between <= 600 * MIB);
    expect_eq(begins_at(250 * MS, 64, 100, 0, 100), 500 * MIB);
    expect_eq(begins_at(5000 * MS, 2, 100, 0, 100), 800 * MIB);
    expect_eq(begins_at(250 * MS, 2, 1000, 800, 1000), 800 * MIB);
}
TEST(a_change_of_pace_is_noticed) {
    int64_t slows_down = begins_at(250 * MS, 2, 1000, 550, 10);
    expect(slows_down >= 550 * MIB && slows_down <= 600 * MIB);
}
TEST(after_a_stop_the_goal_is_the_trigger_again) {
    struct gc_pacer p = pacer(100, 400 * MIB);
    gc_pacer_snapshot(&p, 100 * MS, 2);
    gc_pacer_cycle_done(&p, 400 * MIB, 0, 0);
    expect_eq(p.trigger, 500 * MIB);
    gc_pacer_snapshot(&p, 0, 2);
    gc_pacer_cycle_done(&p, 400 * MIB, 0, 0);
    expect_eq(p.trigger, 800 * MIB);
    expect(!gc_pacer_waits(&p, 500 * MIB, 0));
}
TEST(the_runway_counts_for_snapshots_too) {
    struct gc_pacer p = pacer(100, 400 * MIB);
    for (int i = 0; i < 40; i++) {
        gc_pacer_snapshot(&p, 250 * MS, 2);
        gc_pacer_cycle_done(&p, 400 * MIB, 0, 50 * MIB);
    }
    expect(gc_pacer_waits(&p, 749 * MIB, MS));
    expect(p.trigger <= 751 * MIB);
    expect(!gc_pacer_waits(&p, 751 * MIB, MS));
}

TEST_MAIN()
