/* The bit work of one chunk against a model that looks at every page singly.
 *
 * Words meet at 64, 128 and 192, so most patterns are laid across these borders: every single run there
 * is, every pattern of 12 pages around each border, and random ones from sparse to dense. */
#include "tests/check.h"

#include "libgomalloc/pagebits.h"

#define PAGES 256u

static bool bit(const uint64_t *words, unsigned i) { return (words[i / 64] >> (i % 64)) & 1; }

/* -- The model ---------------------------------------------------------------------------------- */

static unsigned naive_run(const uint64_t *words, unsigned from) {
    unsigned i = from;
    while (i < PAGES && bit(words, i))
        i++;
    return i - from;
}

/* runs[i]: set bits from i on. */
static void all_runs(const uint64_t *words, unsigned runs[PAGES + 1]) {
    runs[PAGES] = 0;
    for (unsigned i = PAGES; i-- > 0;)
        runs[i] = bit(words, i) ? runs[i + 1] + 1 : 0;
}

static unsigned naive_find(const unsigned runs[PAGES + 1], unsigned from, unsigned n) {
    for (unsigned i = from; i < PAGES; i++)
        if (runs[i] >= n)
            return i;
    return PAGES;
}

/* -- Checks of one pattern ---------------------------------------------------------------------- */

static bool check_find(const uint64_t *words, unsigned from, unsigned n) {
    unsigned runs[PAGES + 1];
    all_runs(words, runs);
    return expect_eq(gm_pagebits_find(words, from, n), naive_find(runs, from, n));
}

static bool check_summary(const uint64_t *words) {
    struct gm_pagebits b = {.free = {words[0], words[1], words[2], words[3]}};
    unsigned runs[PAGES + 1], longest = 0, tail = 0, start, max, end;
    all_runs(words, runs);
    for (unsigned i = 0; i < PAGES; i++)
        longest = runs[i] > longest ? runs[i] : longest;
    while (tail < PAGES && bit(words, PAGES - 1 - tail))
        tail++;
    gm_pagebits_summary(&b, &start, &max, &end);
    bool ok = expect_eq(start, runs[0]);
    ok &= expect_eq(max, longest);
    return expect_eq(end, tail) && ok;
}

static bool check_last_dirty(const struct gm_pagebits *b, unsigned below) {
    unsigned end = below, first = 12345, run = 0;
    while (end > 0 && !(bit(b->free, end - 1) && !bit(b->zero, end - 1)))
        end--;
    while (run < end && bit(b->free, end - 1 - run) && !bit(b->zero, end - 1 - run))
        run++;
    bool ok = expect_eq(gm_pagebits_last_dirty(b, below, &first), run);
    return (run == 0 || expect_eq(first, end - run)) && ok;
}

/* Everything that only reads, with all lengths from a few places. */
static bool check_pattern(const uint64_t *words, struct check_rng *rng) {
    unsigned runs[PAGES + 1], from[3] = {0, (unsigned)check_below(rng, PAGES + 1), 64};
    bool ok = check_summary(words);
    all_runs(words, runs);
    for (unsigned k = 0; k < 3 && ok; k++)
        for (unsigned n = 1; n <= PAGES && ok; n += n < 70 ? 1 : 13)
            ok = expect_eq(gm_pagebits_find(words, from[k], n), naive_find(runs, from[k], n));
    for (unsigned i = 0; i <= PAGES && ok; i += 1 + (unsigned)check_below(rng, 9))
        ok = expect_eq(gm_pagebits_run(words, i), runs[i]);
    struct gm_pagebits b = {.free = {words[0], words[1], words[2], words[3]}};
    for (unsigned i = 0; i < GM_CHUNK_WORDS; i++)
        b.zero[i] = check_below(rng, 2) ? b.free[i] & check_random(rng) & check_random(rng) : 0;
    for (unsigned i = 0; i <= PAGES && ok; i += 1 + (unsigned)check_below(rng, 9))
        ok = check_last_dirty(&b, i);
    return ok && check_last_dirty(&b, PAGES);
}

static void random_words(struct check_rng *rng, uint64_t *words) {
    for (unsigned i = 0; i < GM_CHUNK_WORDS; i++) {
        uint64_t a = check_random(rng), b = check_random(rng), c = check_random(rng);
        switch (check_below(rng, 8)) {
        case 0: words[i] = 0; break;
        case 1: words[i] = ~UINT64_C(0); break;
        case 2: words[i] = a; break;
        case 3: words[i] = a & b & c; break;
        case 4: words[i] = a | b | c; break;
        case 5: words[i] = ~(a & b & c & (a >> 7) & (b << 11)); break;
        case 6: words[i] = ~UINT64_C(0) << (a % 64); break;
        default: words[i] = ~UINT64_C(0) >> (a % 64) & ~(UINT64_C(1) << (b % 64)); break;
        }
    }
}

/* -- Tests -------------------------------------------------------------------------------------- */

TEST(set_clear_count_of_every_range) {
    struct check_rng rng = check_rng(1);
    for (unsigned from = 0; from <= PAGES; from++) {
        for (unsigned n = 0; from + n <= PAGES; n++) {
            uint64_t before[GM_CHUNK_WORDS], set[GM_CHUNK_WORDS], clear[GM_CHUNK_WORDS];
            random_words(&rng, before);
            memcpy(set, before, sizeof set);
            memcpy(clear, before, sizeof clear);
            gm_pagebits_set(set, from, n);
            gm_pagebits_clear(clear, from, n);
            unsigned count = 0;
            bool ok = true;
            for (unsigned i = 0; i < PAGES; i++) {
                bool in = i >= from && i < from + n, was = bit(before, i);
                ok &= bit(set, i) == (in || was) && bit(clear, i) == (!in && was);
                count += in && was;
            }
            ok &= expect_eq(gm_pagebits_count(before, from, n), count);
            ok &= expect_eq(gm_pagebits_all(before, from, n), count == n);
            ok &= expect_eq(gm_pagebits_none(before, from, n), count == 0);
            ok &= gm_pagebits_all(set, from, n) && gm_pagebits_none(clear, from, n);
            if (!expect(ok)) {
                diag("from %u n %u", from, n);
                return;
            }
        }
    }
}

TEST(all_and_none_see_a_single_odd_page) {
    for (unsigned from = 0; from < PAGES; from += 5) {
        for (unsigned n = 1; from + n <= PAGES; n += 3) {
            for (unsigned i = 0; i < PAGES; i++) {
                uint64_t one[GM_CHUNK_WORDS] = {0}, rest[GM_CHUNK_WORDS];
                one[i / 64] = UINT64_C(1) << (i % 64);
                for (unsigned k = 0; k < GM_CHUNK_WORDS; k++)
                    rest[k] = ~one[k];
                bool in = i >= from && i < from + n;
                if (!expect(gm_pagebits_none(one, from, n) == !in && gm_pagebits_all(rest, from, n) == !in))
                    return;
            }
        }
    }
}

TEST(every_single_run) {
    for (unsigned from = 0; from < PAGES; from++) {
        for (unsigned n = 1; from + n <= PAGES; n++) {
            uint64_t words[GM_CHUNK_WORDS] = {0};
            gm_pagebits_set(words, from, n);
            bool ok = check_summary(words);
            ok &= expect_eq(gm_pagebits_find(words, 0, n), from);
            ok &= expect_eq(gm_pagebits_find(words, from, n), from);
            ok &= expect_eq(gm_pagebits_find(words, from + 1, n), PAGES);
            ok &= n == 1 || expect_eq(gm_pagebits_find(words, from + 1, n - 1), from + 1);
            ok &= n == 1 || expect_eq(gm_pagebits_find(words, 0, n - 1), from);
            ok &= n == PAGES || expect_eq(gm_pagebits_find(words, 0, n + 1), PAGES);
            ok &= expect_eq(gm_pagebits_run(words, from), n);
            ok &= expect_eq(gm_pagebits_run(words, from + n / 2), n - n / 2);
            ok &= from + n == PAGES || expect_eq(gm_pagebits_run(words, from + n), 0);
            if (!ok) {
                diag("run of %u at %u", n, from);
                return;
            }
        }
    }
}

TEST(every_single_hole) {
    for (unsigned from = 0; from < PAGES; from++) {
        for (unsigned n = 1; from + n <= PAGES; n++) {
            unsigned above = PAGES - from - n, first;
            struct gm_pagebits b = {.free = {~UINT64_C(0), ~UINT64_C(0), ~UINT64_C(0), ~UINT64_C(0)}};
            gm_pagebits_clear(b.free, from, n);
            bool ok = check_summary(b.free);
            ok &= from == 0 || expect_eq(gm_pagebits_find(b.free, 0, from), 0);
            ok &= expect_eq(gm_pagebits_find(b.free, 0, from + 1), above > from ? from + n : PAGES);
            ok &= expect_eq(gm_pagebits_last_dirty(&b, PAGES, &first), above > 0 ? above : from);
            ok &= above + from == 0 || expect_eq(first, above > 0 ? from + n : 0);
            ok &= expect_eq(gm_pagebits_last_dirty(&b, from + n, &first), from);
            if (!ok) {
                diag("hole of %u at %u", n, from);
                return;
            }
        }
    }
}

/* All patterns of 12 pages across each border of words and at both ends, in an empty or a full rest. */
TEST(every_pattern_at_a_border) {
    static const unsigned places[] = {0, 58, 122, 186, 244};
    for (unsigned place = 0; place < 5; place++) {
        for (unsigned pattern = 0; pattern < 2u << 12; pattern++) {
            uint64_t words[GM_CHUNK_WORDS];
            memset(words, pattern >> 12 ? 0xff : 0, sizeof words);
            gm_pagebits_clear(words, places[place], 12);
            for (unsigned i = 0; i < 12; i++)
                if (pattern >> i & 1)
                    gm_pagebits_set(words, places[place] + i, 1);
            bool ok = check_summary(words);
            for (unsigned n = 1; n <= 13; n++)
                ok = ok && check_find(words, 0, n) && check_find(words, places[place] + 5, n);
            for (unsigned i = 0; i < 12; i++)
                ok = ok && expect_eq(gm_pagebits_run(words, places[place] + i),
                                     naive_run(words, places[place] + i));
            struct gm_pagebits b = {.free = {words[0], words[1], words[2], words[3]}};
            ok = ok && check_last_dirty(&b, PAGES) && check_last_dirty(&b, places[place] + 7);
            if (!ok) {
                diag("pattern %x at %u", pattern, places[place]);
                return;
            }
        }
    }
}

TEST(random_patterns) {
    struct check_rng rng = check_rng(2);
    for (unsigned round = 0; round < 3000; round++) {
        uint64_t words[GM_CHUNK_WORDS];
        random_words(&rng, words);
        if (!check_pattern(words, &rng)) {
            diag("round %u: %016lx %016lx %016lx %016lx", round, words[0], words[1], words[2], words[3]);
            return;
        }
    }
}

TEST(zero_hides_pages_from_last_dirty) {
    struct gm_pagebits b = {{0}, {0}};
    unsigned first;
    expect_eq(gm_pagebits_last_dirty(&b, PAGES, &first), 0);
    gm_pagebits_set(b.free, 10, 200);
    gm_pagebits_set(b.zero, 100, 50);
    expect_eq(gm_pagebits_last_dirty(&b, PAGES, &first), 60);
    expect_eq(first, 150);
    expect_eq(gm_pagebits_last_dirty(&b, 150, &first), 90);
    expect_eq(first, 10);
    expect_eq(gm_pagebits_last_dirty(&b, 10, &first), 0);
    expect_eq(gm_pagebits_last_dirty(&b, 0, &first), 0);
}

TEST_MAIN()
