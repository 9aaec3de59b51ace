/* The page index against a model (pageindex_model.h), at random.
 *
 * Sequences of all operations run in heaps of one, two, four and five levels. After each step the index verifies itself; every
 * answer is compared with the model's, so "lowest address" and "coalesced across chunks" are not special cases here. */
#include "tests/unit/pageindex_model.h"

static size_t random_length(struct model *m) {
    switch (below(m, 10)) {
    case 0: return 1 + below(m, 4 * GM_CHUNK_PAGES);
    case 1: return 1 + below(m, GM_CHUNK_PAGES);
    case 2: return 1 + below(m, 64);
    case 3: return (1 + below(m, 3)) * GM_CHUNK_PAGES;
    default: return 1 + below(m, 8);
    }
}

static size_t random_align(struct model *m) {
    if (below(m, 3) > 0)
        return 1;
    return (size_t)1 << below(m, below(m, 4) > 0 ? 6 : 24);
}

/* Pages arrive in pieces that need not be whole chunks; sometimes a gap is left for ever. */
static void random_grow(struct model *m, size_t step) {
    size_t page = m->end + (below(m, 4) > 0 ? 0 : below(m, below(m, 4) > 0 ? 300 : 6000));
    if (page >= m->pages)
        return;
    grow(m, page, 1 + below(m, gm_min(step, m->pages - page)));
}

static bool random_take(struct model *m) {
    size_t n = random_length(m), align = random_align(m);
    size_t page = naive_find(m, n, align);
    if (!expect_eq(gm_pageindex_find(&m->ix, n, align), page)) {
        diag("find n %zu align %zu", n, align);
        return false;
    }
    return page == GM_NO_PAGE || take(m, page, n);
}

/* A run of used pages, whole or in part, goes back: so free runs of any shape come about. */
static void random_give(struct model *m) {
    size_t page = below(m, m->end);
    for (size_t tries = 0; m->page[page] != USED; tries++, page = (page + 1) % m->end)
        if (tries == m->end)
            return;
    size_t limit = random_length(m), n;
    while (page > 0 && m->page[page - 1] == USED && below(m, 30) > 0)
        page--;
    for (n = 0; page + n < m->end && n < limit && m->page[page + n] == USED;)
        n++;
    give(m, page, n, below(m, 5) == 0);
}

static bool random_release(struct model *m) {
    size_t limit = below(m, 3) > 0 ? 1 + below(m, 300) : SIZE_MAX, page = 0, expected;
    size_t from = below(m, 2) > 0 ? SIZE_MAX : below(m, m->end + 600);
    size_t n = naive_next_dirty(m, from, limit, &expected);
    bool ok = expect_eq(gm_pageindex_next_dirty(&m->ix, from, limit, &page), n);
    if (!ok || (n > 0 && !expect_eq(page, expected))) {
        diag("next_dirty below %zu limit %zu", from, limit);
        return false;
    }
    if (n > 0 && below(m, 2) > 0)
        mark_zero(m, page, n);
    return true;
}

static bool random_run(struct model *m) {
    size_t page = below(m, gm_min(m->end + 300, m->pages));
    size_t limit = below(m, 2) > 0 ? SIZE_MAX : below(m, 2000), n = naive_run(m, page, limit);
    if (!expect_eq(gm_pageindex_run(&m->ix, page, limit), n))
        return false;
    if (n > 0 && below(m, 20) == 0) /* whatever is in it */
        mark_zero(m, page, n);
    return true;
}

static bool random_step(struct model *m, size_t grow_step, unsigned busy) {
    unsigned kind = (unsigned)below(m, 100);
    if (m->end == 0 || kind < 3)
        random_grow(m, grow_step);
    else if (kind < 3 + busy)
        return random_take(m);
    else if (kind < 80)
        random_give(m);
    else if (kind < 90)
        return random_release(m);
    else
        return random_run(m);
    return true;
}

/* `busy` of 77 changes take pages: the phases fill the heap, then empty it, and so on. */
static void random_sequence(size_t chunks, unsigned stream, unsigned steps, size_t grow_step) {
    struct model m;
    model_init(&m, chunks, stream);
    unsigned busy = 60;
    for (unsigned i = 0; i < steps; i++) {
        if (i % 200 == 199)
            busy = 15 + (unsigned)below(&m, 55);
        if (!random_step(&m, grow_step, busy) || !check_step(&m)) {
            diag("%zu chunks, stream %u, step %u", chunks, stream, i);
            break;
        }
    }
    model_free(&m);
}

/* Slow builds and busy machines do fewer rounds instead of failing. */
static bool time_left(int64_t since) { return check_now_ns() - since < INT64_C(2500000000); }

TEST(random_in_3_chunks) {
    int64_t start = check_now_ns();
    for (unsigned round = 0; round < 60 && time_left(start); round++)
        random_sequence(3, 100 + round, 1000, 200);
}
TEST(random_in_20_chunks) {
    int64_t start = check_now_ns();
    for (unsigned round = 0; round < 20 && time_left(start); round++)
        random_sequence(20, 200 + round, 1500, 600);
}
TEST(random_in_600_chunks) {
    int64_t start = check_now_ns();
    for (unsigned round = 0; round < 4 && time_left(start); round++)
        random_sequence(600, 300 + round, 1000, 4000 << 2 * round);
}
TEST(random_in_5000_chunks) {
    int64_t start = check_now_ns();
    for (unsigned round = 0; round < 4 && time_left(start); round++)
        random_sequence(5000, 400 + round, 300, 20000 << 2 * round);
}

TEST(a_release_walk_meets_every_dirty_page_once) {
    struct model m;
    model_init(&m, 600, 6);
    grow(&m, 0, m.pages);
    take(&m, 0, m.pages);
    for (unsigned i = 0; i < 2000; i++)
        random_give(&m);
    size_t end = SIZE_MAX, page, n, seen = 0, dirty = m.free_pages - m.zero_pages;
    while ((n = gm_pageindex_next_dirty(&m.ix, end, 32, &page)) > 0) {
        if (!expect(n <= 32 && page + n <= end && naive_run(&m, page, n) == n))
            return;
        seen += n;
        if (below(&m, 2) > 0) /* the others fail to be released: the walk goes on below them all the same */
            mark_zero(&m, page, n);
        end = page;
    }
    expect_eq(seen, dirty);
    check_step(&m);
}

/* A quarter TiB of capacity with little of it in use: nothing may depend on the capacity. */
TEST_MAIN()
