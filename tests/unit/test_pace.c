/* How much is kept, and at what pace the rest goes: pace.c, with a clock of the test's own. */
#include "libgomalloc/pace.h"

#include "tests/check.h"

#define MS UINT64_C(1000000)
static const size_t MIB = 1 << 20;

TEST(keeps_the_peak_for_three_seconds_and_a_tenth_more) {
    struct gm_pace p = {0};
    uint64_t t = 100000 * MS;
    gm_pace_need(&p, t, 100 * MIB);
    gm_pace_need(&p, t += MS, 1 * MIB);
    expect_eq(gm_pace_goal(&p, t), 110 * MIB);
    expect_eq(gm_pace_goal(&p, t + 2700 * MS), 110 * MIB);
    expect_eq(gm_pace_goal(&p, t + 3000 * MS), MIB + MIB / 10);
}

TEST(a_need_that_only_lasts_counts_as_long_as_it_lasts) {
    struct gm_pace p = {0};
    uint64_t t = 100000 * MS;
    gm_pace_need(&p, t, 100 * MIB);
    expect_eq(gm_pace_goal(&p, t += 60000 * MS), 110 * MIB);
    gm_pace_need(&p, t, 0);
    expect_eq(gm_pace_goal(&p, t + 2700 * MS), 110 * MIB);
    expect_eq(gm_pace_goal(&p, t + 3000 * MS), 0);
}

TEST(rounds_shorter_than_the_window_keep_what_they_use) {
    struct gm_pace p = {0};
    uint64_t t = 100000 * MS;
    for (int i = 0; i < 100; i++) {
        gm_pace_need(&p, t, 50 * MIB);
        gm_pace_need(&p, t += 1000 * MS, 2 * MIB);
        expect_eq(gm_pace_goal(&p, t += 1000 * MS), 55 * MIB);
    }
}

/* Share of the time that may be worked, in hundredths, over ten seconds. */
static unsigned share(size_t excess, size_t goal) {
    struct gm_pace p = {0};
    uint64_t t = 1000000 * MS, worked = 0;
    gm_pace_spent(&p, gm_pace_budget(&p, t, excess, goal));
    for (int i = 0; i < 1000; i++) {
        uint64_t budget = gm_pace_budget(&p, t += 10 * MS, excess, goal);
        gm_pace_spent(&p, budget);
        worked += budget;
    }
    return (unsigned)(worked * 100 / (10000 * MS));
}

TEST(works_a_hundredth_of_the_time_and_a_fifth_after_a_fall) {
    expect_eq(share(2 * MIB, 100 * MIB), 1);
    expect_eq(share(200 * MIB, 100 * MIB), 20);
}

TEST(a_fall_is_worked_off_to_the_end) {
    struct gm_pace p = {0};
    gm_pace_budget(&p, MS, 200 * MIB, 100 * MIB);
    expect(p.falling);
    gm_pace_budget(&p, 2 * MS, MIB, 100 * MIB);
    expect(p.falling);
    gm_pace_budget(&p, 3 * MS, 0, 100 * MIB);
    expect(!p.falling);
}

TEST(a_rest_is_credited_up_to_a_second_of_work) {
    struct gm_pace p = {0};
    uint64_t t = 1000000 * MS;
    gm_pace_spent(&p, gm_pace_budget(&p, t, 200 * MIB, MIB));
    expect_eq(gm_pace_budget(&p, t += 1000 * MS, 200 * MIB, MIB), 200 * MS);
    expect_eq(gm_pace_budget(&p, t += 1000000 * MS, 200 * MIB, MIB), 1000 * MS);
}

TEST(what_was_overdrawn_is_paid_first) {
    struct gm_pace p = {0};
    uint64_t t = 1000000 * MS, budget = gm_pace_budget(&p, t, 200 * MIB, MIB);
    gm_pace_spent(&p, budget + 100 * MS);
    expect_eq(gm_pace_budget(&p, t += 400 * MS, 200 * MIB, MIB), 0);
    expect(gm_pace_budget(&p, t += 200 * MS, 200 * MIB, MIB) > 0);
}

TEST_MAIN()
