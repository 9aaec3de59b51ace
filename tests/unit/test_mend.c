/* fake os */
/* Huge pages that a copy of the process has split: all of them and nothing else are collapsed again. */
#include "tests/unit/allocator.h"

#include "libgomalloc/base/bits.h"
#include "libgomalloc/huge.h"
#include "libgomalloc/mend.h"
#include "tests/fake/os_fake.h"

enum { CHUNKS = 3 };

/* A heap large enough for huge pages, of which about so many chunks have asked for one. Whose first such span lies where. */
static struct gm_span *huge_heap(void) {
    bool zero;
    struct gm_span *first = NULL;
    unsigned cls = gm_class_of(1024), n = CHUNKS * GM_CHUNK_PAGES / gm_class_pages[gm_class_of(1024)];
    fake.huge = GM_OS_HUGE_ASKED;
    gm_init_once();
    gm_heap_alloc_large(40 * GM_CHUNK_PAGES, 1, (size_t)40 * GM_CHUNK_SIZE, 0, &zero);
    for (unsigned i = 0; i < n; i++) {
        struct gm_span *s = gm_heap_alloc_small(cls, true, 0);
        if (!first && fake.huge_asked) first = s;
    }
    return first;
}

static unsigned steps(void) {
    unsigned n = 0;
    while (gm_mend_step() != 0) n++;
    expect(!gm_mend_due());
    return n;
}

TEST(whatever_asked_is_collapsed_once) {
    huge_heap();
    unsigned asked = fake.huge_asked;
    expect(asked >= 2);
    expect(!gm_mend_due());
    expect_eq(gm_mend_step(), 0);
    expect_eq(fake.collapsed, 0);
    gm_mend_begin();
    expect(gm_mend_due());
    expect_eq(steps(), asked);
    expect_eq(fake.collapsed, asked);
    expect_eq(gm_mend_step(), 0);
    gm_mend_begin();
    gm_mend_step();
    gm_mend_begin(); /* another copy has gone meanwhile: from the beginning */
    expect_eq(steps(), asked);
    expect_eq(fake.collapsed, 2 * asked + 1);
}

TEST(it_stops_for_another_copy) {
    huge_heap();
    gm_mend_begin();
    gm_mend_step();
    gm_mend_stop();
    expect(!gm_mend_due());
    expect_eq(steps(), 0);
    expect_eq(fake.collapsed, 1);
}

TEST(what_has_small_pages_by_now_stays_so) {
    struct gm_span *first = huge_heap();
    unsigned asked = fake.huge_asked;
    gm_heap_free(first);
    gm_heap_scavenge(SIZE_MAX);
    gm_mend_begin();
    expect_eq(steps(), asked - 1);
}

TEST(a_marker_has_its_states_collapsed_too) {
    huge_heap();
    unsigned asked = fake.huge_asked;
    gm_heap_lock();
    gm_arena_huge_tables();
    gm_heap_unlock();
    expect(gm_arena_huge_state(0) != NULL);
    gm_mend_begin();
    expect(steps() > asked);
}

TEST(without_huge_pages_there_is_nothing) {
    bool zero;
    gm_init_once();
    gm_heap_alloc_large(40 * GM_CHUNK_PAGES, 1, (size_t)40 * GM_CHUNK_SIZE, 0, &zero);
    gm_mend_begin();
    expect_eq(steps(), 0);
    expect_eq(fake.collapsed, 0);
}

/* No thread of the library's: an allocating one does it, some of the time. */
TEST(inline_a_step_now_and_then) {
    huge_heap();
    unsigned asked = fake.huge_asked;
    fake.tick = 1000;
    gm_mend_inline();
    expect_eq(fake.collapsed, 0);
    gm_mend_begin();
    gm_mend_inline();
    expect_eq(fake.collapsed, 1);
    gm_mend_inline(); /* not before four times what that took */
    expect_eq(fake.collapsed, 1);
    fake_advance(10000);
    gm_mend_inline();
    expect_eq(fake.collapsed, 2);
    for (int i = 0; i < 100; i++) fake_advance(10000), gm_mend_inline();
    expect_eq(fake.collapsed, asked);
    expect(!gm_mend_due());
}

TEST_MAIN()
