/* fake os */
/* The fake operating system itself: what os.h allows works, all else ends the process. */
#include "libgomalloc/os/os.h"
#include "tests/check.h"
#include "tests/fake/os_fake.h"

#define KIB64 ((size_t)65536)
#define DIES(...) expect_dies(SIGABRT, NULL, __VA_ARGS__)

TEST(a_range_goes_through_its_states) {
    char *p = gm_os_reserve(NULL, 16 * KIB64, (size_t)1 << 26);
    expect(p && (uintptr_t)p % ((size_t)1 << 26) == 0);
    expect_eq(fake_state_of(p), FAKE_RESERVED);
    expect(gm_os_commit(p, KIB64));
    expect(fake_all(p, KIB64, FAKE_READY) && fake_state_of(p + KIB64) == FAKE_RESERVED);
    expect_eq(fake_resident(p, KIB64), 0);
    p[0] = 1;
    expect_eq(fake_resident(p, KIB64), 4096);
    expect(gm_os_commit(p, 2 * KIB64)); /* again, and more */
    expect_eq(p[0], 1);
    expect(gm_os_release(p, KIB64));
    expect_eq(fake_resident(p, KIB64), 0);
    expect_eq(p[0], 0);
    expect_eq(fake.bytes[FAKE_RELEASED] + fake.bytes[FAKE_READY], 2 * KIB64);
    expect_eq(fake.committed, 2 * KIB64);
    p[KIB64] = 7;
    expect(gm_os_uncommit(p + KIB64, KIB64));
    expect(fake_state_of(p + KIB64) == FAKE_RESERVED && fake.committed == KIB64);
    expect(gm_os_commit(p + KIB64, KIB64));
    expect_eq(p[KIB64], 0);
    gm_os_unmap(p, 16 * KIB64);
    expect_eq(fake.committed + fake.bytes[FAKE_RESERVED], 0);
}

TEST(pages_move_and_are_renewed) {
    char *a = gm_os_map(4 * KIB64), *b = gm_os_map(4 * KIB64);
    expect(a && b == a + 4 * KIB64); /* neighbours touch */
    strcpy(a, "moved");
    expect_eq(gm_os_move(a, b, KIB64), GM_MOVED);
    expect_str(b, "moved");
    expect_eq(a[0], 0);
    DIES(gm_os_move(b, a, 2 * KIB64)); /* half of it came by the move */
    expect(gm_os_renew(b, KIB64));
    expect_eq(b[0], 0);
    strcpy(a, "stays");
    strcpy(b, "lost");
    fake_fail_from(FAKE_MOVE, 1);
    expect_eq(gm_os_move(a, b, 2 * KIB64), GM_NOT_MOVED);
    expect_str(a, "stays");
    expect_eq(b[0], 0);
    fake.lose_target = true;
    expect_eq(gm_os_move(a, b, KIB64), GM_TARGET_LOST);
    expect_str(a, "stays");
    expect(fake_state_of(b) == FAKE_NONE && fake_state_of(b + KIB64) == FAKE_READY);
}

TEST(what_os_h_does_not_allow_dies) {
    char *p = gm_os_reserve(NULL, 4 * KIB64, 4096), *q = gm_os_reserve(NULL, 4 * KIB64, 4096);
    gm_os_commit(q, 4 * KIB64);
    expect(q == p + 4 * KIB64);
    DIES(gm_os_commit(p - KIB64, KIB64));
    DIES(gm_os_commit(p, 5 * KIB64));  /* into the other mapping */
    DIES(gm_os_unmap(p + KIB64, 4 * KIB64));
    DIES(gm_os_release(p, KIB64));     /* only reserved */
    DIES(gm_os_move(q, p, KIB64));
    DIES(gm_os_move(q, q, KIB64));
    DIES(gm_os_renew(p, KIB64));
    DIES(gm_os_uncommit(p, KIB64));
    DIES(gm_os_commit(p, 100));
    DIES(gm_os_reserve(NULL, KIB64, 12345));
    DIES(gm_os_name(p + 8 * KIB64, KIB64, "nothing"));
    gm_os_unmap(p, 4 * KIB64);
    DIES(gm_os_unmap(p, 4 * KIB64));
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) /* they end the process their own way */
    expect_dies(SIGSEGV, NULL, *p = 1);
#endif
}

TEST(calls_fail_when_told_to) {
    fake_fail(FAKE_MAP, 2);
    expect(gm_os_map(KIB64) && !gm_os_map(KIB64) && gm_os_map(KIB64));
    char *p = gm_os_reserve(NULL, 4 * KIB64, 4096);
    fake_fail_from(FAKE_FALLIBLE, 2);
    expect(gm_os_commit(p, KIB64) && !gm_os_commit(p, KIB64) && !gm_os_map(KIB64) && !gm_os_release(p, KIB64));
    fake_fail(FAKE_FALLIBLE, 0);
    expect(gm_os_map(KIB64));
    expect_eq(fake.failures, 4);
    expect_eq(fake.calls[FAKE_MAP], 5);
}

TEST(limits_hold) {
    fake.limit = 10 * KIB64;
    fake.commit_limit = 3 * KIB64;
    char *p = gm_os_reserve(NULL, 8 * KIB64, 4096);
    expect_eq(gm_os_address_space_left(), 2 * KIB64);
    expect(p && !gm_os_reserve(NULL, 3 * KIB64, 4096) && !gm_os_map(3 * KIB64));
    expect(gm_os_commit(p, 2 * KIB64) && gm_os_commit(p, 3 * KIB64) && !gm_os_commit(p, 4 * KIB64));
    expect(gm_os_release(p, KIB64) && !gm_os_map(KIB64)); /* released is still charged */
    expect_eq(fake.peak_committed, 3 * KIB64);
}

TEST(pages_of_64_kib) {
    fake.page = KIB64;
    char *p = gm_os_reserve(NULL, 4 * KIB64, KIB64);
    expect_eq(gm_os_page_size(), KIB64);
    DIES(gm_os_commit(p, 8192));
    gm_os_commit(p, 4 * KIB64);
    p[9000] = 1;
    expect(!gm_os_release(p, 8192)); /* the kernel would have taken p[9000] as well */
    expect(p[9000] == 1 && fake.misaligned == 1);
}

TEST(time_is_the_tests) {
    uint64_t t = gm_os_nanotime();
    fake_advance(1000000);
    expect(gm_os_nanotime() >= t + 1000000);
    expect(gm_os_nanotime() < t + 2000000);
}

TEST_MAIN()
