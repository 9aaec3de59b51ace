/* fake os */
/* Memory for the library's own records. */
#include "libgomalloc/base/bits.h"
#include "libgomalloc/meta.h"
#include "libgomalloc/os/os.h"
#include "tests/check.h"
#include "tests/fake/os_fake.h"

static bool zero(const char *p, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (p[i]) return false;
    return true;
}

TEST(records_are_aligned_zero_and_apart) {
    enum { N = 3000 };
    static char *at[N];
    static size_t size[N];
    struct check_rng rng = check_rng(1);
    for (int i = 0; i < N; i++) {
        size_t align = (size_t)1 << check_below(&rng, 13);
        size[i] = 1 + check_below(&rng, i % 100 == 0 ? 300000 : 500);
        at[i] = gm_meta_alloc_own(size[i], align);
        if (!expect(at[i] && gm_is_aligned((uintptr_t)at[i], align))) return;
        expect(zero(at[i], size[i]));
        check_fill(at[i], size[i], (uint64_t)i);
    }
    size_t sum = 0;
    for (int i = 0; i < N; i++) {
        sum += size[i];
        expect(check_filled(at[i], size[i], (uint64_t)i));
    }
    expect(gm_meta_mapped() >= sum);
    expect_eq(gm_meta_mapped(), fake.bytes[FAKE_READY]);
    expect_at_most(gm_meta_mapped(), sum * 2 + 1024 * 1024);
}

TEST(little_address_space_is_used_sparingly) {
    fake.limit = 128 * 1024; /* less than a chunk */
    size_t got = 0;
    while (gm_meta_alloc_own(1000, 8)) got += 1000;
    expect(got > 100 * 1024);
    expect_at_most(gm_meta_mapped(), fake.limit);
    fake.limit = SIZE_MAX;
    expect(gm_meta_alloc_own(1000, 8)); /* and goes on once there is more */
}

TEST(a_refusal_leaves_all_as_it_was) {
    char *first = gm_meta_alloc_own(64, 64);
    expect(first);
    fake_fail_from(FAKE_MAP, 1);
    expect(!gm_meta_alloc_own(10 << 20, 8));
    char *second = gm_meta_alloc_own(64, 64); /* the chunk at hand still serves */
    expect(second == first + 64);
    fake_fail(FAKE_FALLIBLE, 0);
    expect(gm_meta_alloc_own(10 << 20, 8));
}

TEST(fixed_records_are_reused) {
    struct gm_fix f = GM_FIX_INIT_OWN(128, 64);
    enum { N = 1000 };
    static uint64_t *r[N];
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < N; i++) {
            r[i] = gm_fix_get(&f);
            if (!expect(r[i] && gm_is_aligned((uintptr_t)r[i], 64))) return;
            /* new: zero; used before: as it was left, but for the first word */
            uint64_t want = round ? 0xabcd : 0;
            for (unsigned w = 1; w < 16; w++) expect_eq(r[i][w], want);
            for (unsigned w = 0; w < 16; w++) r[i][w] = i;
        }
        expect_eq(f.in_use, N);
        expect_eq(f.total, N);
        for (unsigned i = 0; i < N; i++) {
            for (unsigned w = 0; w < 16; w++) expect_eq(r[i][w], i); /* nobody has it beside us */
            for (unsigned w = 0; w < 16; w++) r[i][w] = 0xabcd;
            gm_fix_put(&f, r[i]);
        }
        expect_eq(f.in_use, 0);
    }
}

TEST(fixed_records_may_be_refused) {
    struct gm_fix f = GM_FIX_INIT_OWN(4096, 4096);
    fake_fail_from(FAKE_MAP, 1);
    expect(!gm_fix_get(&f));
    expect_eq(f.in_use + f.total, 0);
    fake_fail(FAKE_FALLIBLE, 0);
    expect(gm_fix_get(&f));
}

TEST(mappings_that_touch_are_one) {
    /* The fake's maps lie side by side: nothing is lost between them. */
    for (int i = 0; i < 600; i++) expect(gm_meta_alloc_own(4096, 8));
    expect_at_most(gm_meta_mapped(), 600 * 4096 + 256 * 1024);
}

TEST_MAIN()
