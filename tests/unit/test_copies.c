/* fake os */
/* How a program is held back whose pages are copied while a child marks. */
#include "tests/check.h"

#include "gc/copies.h"
#include "tests/fake/os_fake.h"

#define MIB INT64_C(1048576)

/* Faults after which the nth rest was due. */
static uint64_t faults_until_rest(unsigned n) {
    uint64_t before = fake.faults;
    while (n > 0) {
        fake.faults++;
        n -= gc_copies_too_many();
    }
    return fake.faults - before;
}

/* 512 MiB: 64 MiB may be copied, 16384 pages. */
TEST(a_third_of_what_may_be_copied_is_free) {
    fake.faults = 123456;
    gc_copies_begin(512 * MIB);
    expect(!gc_copies_too_many());
    expect_eq(faults_until_rest(1), 16384 / 3);
    expect_eq(gc_copies_cost(), 16384 / 3 * UINT64_C(2500));
}

TEST(rests_come_the_more_often_the_less_is_left) {
    gc_copies_begin(512 * MIB);
    faults_until_rest(1);
    uint64_t last = faults_until_rest(1);
    expect_eq(last, (16384 - 16384 / 3) / 64);
    for (int i = 0; i < 200; i++) {
        uint64_t n = faults_until_rest(1);
        expect_at_most(n, last);
        last = n;
    }
    expect_eq(last, 16); /* past the bound too: nobody stands still for good */
    expect(fake.faults > 16384 * 3 / 4);
    expect_at_most(fake.faults, 16384 + 16 * 100);
}

TEST(after_a_rest_there_is_none_at_once) {
    gc_copies_begin(512 * MIB);
    faults_until_rest(100);
    expect(!gc_copies_too_many());
}

TEST(a_small_heap_may_have_four_mebibytes_copied) {
    gc_copies_begin(0);
    expect_eq(faults_until_rest(1), 1024 / 3);
    gc_copies_begin(-5);
    expect_eq(faults_until_rest(1), 1024 / 3);
}

TEST_MAIN()
