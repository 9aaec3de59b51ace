/* The size classes keep the promises that mksizeclass.c makes: for every size there is. */
#include "libgomalloc/base/bits.h"
#include "libgomalloc/pagebits.h"
#include "libgomalloc/sizeclass.h"
#include "tests/check.h"

TEST(every_size_gets_the_smallest_class_that_fits) {
    for (size_t n = 0; n <= GM_MEDIUM_MAX; n++) {
        unsigned cls = gm_class_of(n);
        if (!expect(cls > 0 && cls < GM_CLASSES && gm_class_size[cls] >= n)) diag("size %zu", n);
        if (n == 0) expect_eq(cls, GM_CLASS_16); /* a class that free tells apart by state bytes */
        else if (!expect(gm_class_size[cls - 1] < n)) diag("size %zu", n);
    }
    expect_eq(gm_class_size[0], 0);
    expect_eq(gm_class_size[GM_CLASS_8], 8);
    expect_eq(gm_class_size[GM_CLASS_16], 16);
    expect_eq(gm_class_size[GM_CLASSES - 1], GM_MEDIUM_MAX);
}

TEST(both_lookups_agree_where_they_meet) {
    expect_eq(gm_class_of_small(GM_SMALL_MAX), gm_class_of_medium(GM_SMALL_MAX));
    expect_eq(gm_class_size[gm_class_of(GM_SMALL_MAX)], GM_SMALL_MAX);
    expect(gm_class_of(GM_SMALL_MAX + 1) == gm_class_of(GM_SMALL_MAX) + 1);
}

TEST(rounding_wastes_at_most_an_eighth_above_128_bytes) {
    for (size_t n = 129; n <= GM_MEDIUM_MAX; n++) {
        size_t size = gm_class_size[gm_class_of(n)];
        if (!expect((size - n) * 8 <= size)) diag("size %zu", n);
    }
}

TEST(the_end_of_a_span_wastes_at_most_an_eighth) {
    for (unsigned cls = 1; cls < GM_CLASSES; cls++) {
        size_t bytes = gm_class_pages[cls] * GM_PAGE_SIZE, used = (size_t)gm_class_slots[cls] * gm_class_size[cls];
        if (!expect(used <= bytes && (bytes - used) * 8 <= bytes)) diag("class %u", cls);
        expect(bytes - used < gm_class_size[cls]); /* as many slots as fit */
    }
}

TEST(slots_are_aligned) {
    for (unsigned cls = 1; cls < GM_CLASSES; cls++) {
        size_t size = gm_class_size[cls];
        if (!expect(size % (cls == GM_CLASS_8 ? 8 : 16) == 0)) diag("class %u", cls);
        expect(size > gm_class_size[cls - 1]);
    }
    for (size_t n = 8; n <= GM_MEDIUM_MAX; n *= 2) expect_eq(gm_class_size[gm_class_of(n)], n);
}

TEST(reciprocals_divide_exactly) {
    for (unsigned cls = 1; cls < GM_CLASSES; cls++) {
        size_t bytes = gm_class_pages[cls] * GM_PAGE_SIZE, wrong = 0;
        for (uint64_t n = 0; n < bytes; n++) wrong += (n * gm_class_reciprocal[cls]) >> 32 != n / gm_class_size[cls];
        if (!expect_eq(wrong, 0)) diag("class %u", cls);
    }
}

TEST(page_entries_and_state_bytes_have_room) {
    expect_at_most(GM_CLASSES, 128); /* seven bits of a state byte */
    for (unsigned cls = 1; cls < GM_CLASSES; cls++) {
        expect_at_most(gm_class_pages[cls], 64); /* six bits of an entry */
        expect_at_most(gm_class_slots[cls], 1024);
    }
}

TEST_MAIN()
