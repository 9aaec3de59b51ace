/* fake os */
/* The central lists and the batches between threads: every slot is always in exactly one place. */
#include "tests/unit/allocator.h"

#include <pthread.h>

#include "libgomalloc/base/bits.h"
#include "tests/fake/os_fake.h"

/* ---- conservation. The model knows which slots are out (in hand, or in a batch). */

enum { MAX_SPANS = 4000, MAX_HELD = 6000 };
static struct gm_span *known[MAX_SPANS]; /* by page */
static uint8_t out_now[8 << 20];         /* by (address - base) / 8 */
static void *held[MAX_HELD + 65 * 64]; /* batches come beyond it */
static unsigned nheld, nbatched;

static uint8_t *mark(const void *slot) { return &out_now[((uintptr_t)slot - gm_space.primary.base) / 8]; }

static void got(unsigned cls, void **slots, unsigned n) {
    for (unsigned i = 0; i < n; i++) {
        struct gm_span *s = span_at(slots[i]);
        if (!expect(s && s->cls == cls && gm_span_slot(s, gm_span_index(s, (uintptr_t)slots[i])) == (uintptr_t)slots[i])) return;
        if (!expect_eq(*mark(slots[i]), 0)) return; /* else it is in two hands */
        *mark(slots[i]) = 1;
        known[gm_arena_page_of(&gm_space.primary, s->start)] = s;
        held[nheld++] = slots[i];
    }
}

static unsigned pick(struct check_rng *rng, void **slots, unsigned want) {
    unsigned n = 0;
    for (; n < want && nheld; n++) {
        unsigned k = (unsigned)check_below(rng, nheld);
        slots[n] = held[k];
        held[k] = held[--nheld];
    }
    return n;
}

/* Each slot of each span: home, or out by the model; never both, never neither. */
static void expect_conserved(unsigned cls) {
    size_t out = 0;
    for (size_t page = 0; page < MAX_SPANS; page++) {
        struct gm_span *s = span_at((void *)(gm_space.primary.base + page * GM_PAGE_SIZE));
        if (!s || gm_arena_page_of(&gm_space.primary, s->start) != page) continue;
        unsigned home = 0;
        for (unsigned i = 0; i < s->nslots; i++) {
            bool is_home = s->home[i / 64] >> (i & 63) & 1, is_out = *mark((void *)gm_span_slot(s, i));
            if (!expect(is_home != is_out)) return;
            home += is_home;
            out += is_out;
        }
        expect_eq(s->nfree, home);
        expect_eq(s->place == GM_PLACE_FULL, s->place != GM_PLACE_CURRENT && home == 0);
    }
    expect_eq(out, nheld + nbatched);
    expect_eq(gm_central_out(cls), out);
    expect_eq(gm_transfer_count(cls), nbatched);
}

static void conserve(unsigned cls, int steps) {
    struct check_rng rng = check_rng(cls);
    struct gm_span *current[3] = {0};
    void *slots[GM_BATCH_MAX];
    gm_init_once();
    for (int step = 0; step < steps; step++) {
        unsigned what = (unsigned)check_below(&rng, 100), want = 1 + (unsigned)check_below(&rng, 64), n;
        bool filling = step / 200 % 2 == 0;
        if (what < (filling ? 45 : 15) && nheld + 64 < MAX_HELD) {
            n = gm_central_refill(cls, &current[what % 3], slots, want);
            expect(n > 0 && n <= want);
            got(cls, slots, n);
        } else if (what < 60 && nheld + 64 < MAX_HELD) {
            n = what % 2 ? gm_central_take(cls, slots, want) : (slots[0] = gm_central_take_one(cls)) != NULL;
            expect(n > 0);
            got(cls, slots, n);
        } else if (what < 85) {
            n = pick(&rng, slots, want);
            for (unsigned i = 0; i < n; i++) *mark(slots[i]) = 0;
            if (n) gm_central_give(cls, slots, n);
        } else if (what < 92) {
            n = pick(&rng, slots, want);
            if (n && gm_transfer_put(cls, slots, n, gm_central_span_bytes(cls))) {
                nbatched += n;
            } else {
                for (unsigned i = 0; i < n; i++) held[nheld++] = slots[i];
            }
        } else if (what < 98) {
            n = gm_transfer_get(cls, slots, what & 1);
            for (unsigned i = 0; i < n; i++) expect_eq(*mark(slots[i]), 1), *mark(slots[i]) = 0;
            got(cls, slots, n);
            nbatched -= n;
        } else if (current[what % 3]) {
            gm_central_release(current[what % 3]);
            current[what % 3] = NULL;
        }
        if (step % 50 == 0) {
            expect_conserved(cls);
            gm_central_verify();
        }
    }
    for (int i = 0; i < 3; i++)
        if (current[i]) gm_central_release(current[i]);
    while (nheld) {
        unsigned n = pick(&rng, slots, 64);
        gm_central_give(cls, slots, n);
    }
    expect_all_home();
}
TEST(slots_of_8_bytes_are_conserved) { conserve(GM_CLASS_8, 3000); }
TEST(slots_of_16_bytes_are_conserved) { conserve(GM_CLASS_16, 3000); }
TEST(slots_of_640_bytes_are_conserved) { conserve(gm_class_of(640), 4000); }
TEST(slots_of_4_kib_are_conserved) { conserve(gm_class_of(4096), 4000); }

/* ---- order */

/* Takes whole spans of the class, all slots out, and gives share[i] slots of the ith back. */
static void *full[5][1024];
static void fill_and_give(unsigned cls, const unsigned *share, unsigned spans) {
    gm_init_once();
    for (unsigned k = 0; k < spans; k++) {
        struct gm_span *current = NULL;
        for (unsigned n = 0; n < gm_class_slots[cls];) {
            unsigned m = gm_central_refill(cls, &current, full[k] + n, gm_class_slots[cls] - n);
            n += m;
        }
        gm_central_release(current);
    }
    for (unsigned k = 0; k < spans; k++)
        if (share[k]) gm_central_give(cls, full[k], share[k]);
}

TEST(the_fullest_span_is_taken_first) {
    unsigned cls = gm_class_of(128), slots = gm_class_slots[cls]; /* 64 */
    unsigned share[5] = {slots * 9 / 10, slots / 10, slots * 6 / 10, slots * 4 / 10, 0};
    fill_and_give(cls, share, 5);
    gm_central_verify();
    static const unsigned order[] = {1, 3, 2, 0};
    for (unsigned k = 0; k < 4; k++) {
        void *slot[64];
        unsigned n = gm_central_take(cls, slot, 64), from = order[k];
        expect_eq(n, share[from]);
        expect(span_at(slot[0]) == span_at(full[from][0]));
    }
    expect_eq(gm_central_span_bytes(cls), 5 * GM_PAGE_SIZE);
}

TEST(a_span_that_fills_up_goes_back_at_once) {
    unsigned cls = gm_class_of(1024), none[3] = {0};
    fill_and_give(cls, none, 3);
    expect_eq(gm_central_span_bytes(cls), 3 * GM_PAGE_SIZE);
    for (unsigned k = 0; k < 3; k++) {
        void *start = (void *)span_at(full[k][0])->start;
        for (unsigned i = 0; i < 8; i++) gm_central_give(cls, &full[k][i], 1);
        expect(span_at(start) == NULL);
        expect_eq(gm_central_span_bytes(cls), (2 - k) * GM_PAGE_SIZE);
    }
    expect_all_home();
}

TEST(a_current_span_is_kept_when_it_fills_up) {
    unsigned cls = gm_class_of(1024);
    struct gm_span *current = NULL;
    void *out[8];
    gm_init_once();
    expect_eq(gm_central_refill(cls, &current, out, 8), 8);
    struct gm_span *s = current;
    gm_central_give(cls, out, 8);
    expect(span_at((void *)s->start) == s && s->place == GM_PLACE_CURRENT);
    expect_eq(gm_central_refill(cls, &current, out, 8), 8);
    expect(current == s);
    gm_central_give(cls, out, 8);
    gm_central_release(current);
    expect_eq(gm_central_span_bytes(cls), 0);
    expect_all_home();
}

TEST(batches_are_bounded_and_come_out_whole) {
    unsigned cls = gm_class_of(64);
    struct gm_span *current = NULL;
    void *slots[64], *back[64];
    unsigned put = 0;
    gm_init_once();
    gm_central_refill(cls, &current, slots, 64);
    /* The places do not look at what is in them: one batch may stand for many. */
    while (put < 1000 && gm_transfer_put(cls, slots, 64, 1)) put++;
    expect(put > 0);
    expect_at_most(put * 64 * 64, 32 * 1024); /* the least that a class may keep */
    while (put < 1000 && gm_transfer_put(cls, slots, 64, 100 * MIB)) put++;
    expect_eq(put, 64);
    expect_eq(gm_transfer_count(cls), 64 * 64);
    expect(!gm_transfer_put(cls, slots, 1, 100 * MIB));
    for (unsigned i = 0; i < put; i++) {
        expect_eq(gm_transfer_get(cls, back, i & 1), 64);
        expect(memcmp(back, slots, sizeof slots) == 0);
    }
    expect_eq(gm_transfer_get(cls, back, true), 0);
    expect_eq(gm_transfer_get(cls + 1, back, true), 0);
    unsigned large = gm_class_of(32768), some = gm_transfer_put(large, slots, 1, 0); /* one at most */
    expect(!gm_transfer_put(large, slots, 64, 0) || some == 0);
    while (gm_transfer_get(large, back, true)) {}
    expect(gm_transfer_put(large, slots, 2, 100 * MIB));
    expect_eq(gm_transfer_get(large, back, true), 2);
}

TEST(no_record_for_a_batch) {
    unsigned cls = gm_class_of(64);
    void *slots[64] = {0};
    fake_fail_from(FAKE_FALLIBLE, 1);
    expect(!gm_transfer_put(cls, slots, 64, MIB));
    fake_fail(FAKE_FALLIBLE, 0);
    expect(gm_transfer_put(cls, slots, 64, MIB));
    expect_eq(gm_transfer_get(cls, slots, true), 64);
}

/* ---- threads */

enum { CROWD = 8, TURNS = 4000 };
static void *shared_slots[256];

static void *exchange(void *arg) {
    struct check_rng rng = check_rng((unsigned)(uintptr_t)arg);
    unsigned cls = gm_class_of(64);
    struct gm_span *current = NULL;
    void *slots[64];
    for (int i = 0; i < TURNS; i++) {
        unsigned n = 0, want = 1 + (unsigned)check_below(&rng, 64);
        if (i & 1) n = gm_transfer_get(cls, slots, false);
        if (n == 0) n = i & 2 ? gm_central_refill(cls, &current, slots, want) : gm_central_take(cls, slots, want);
        for (unsigned k = 0; k < n; k++) {
            *(void **)slots[k] = arg; /* ours alone, so nobody else writes here */
            ((void **)slots[k])[1] = slots[k];
        }
        for (unsigned k = 0; k < n; k++) {
            expect(*(void **)slots[k] == arg);
            unsigned at = (unsigned)check_below(&rng, 256);
            slots[k] = gm_exchange_acq_rel(&shared_slots[at], slots[k]);
        }
        unsigned left = 0;
        for (unsigned k = 0; k < n; k++) {
            if (!slots[k]) continue;
            expect(((void **)slots[k])[1] == slots[k]);
            slots[left++] = slots[k];
        }
        if (left && !(i & 4 && gm_transfer_put(cls, slots, left, gm_central_span_bytes(cls)))) gm_central_give(cls, slots, left);
        if (i % 100 == 0 && current) gm_central_release(current), current = NULL;
    }
    if (current) gm_central_release(current);
    return NULL;
}

TEST(threads_lose_nothing_and_share_nothing) {
    pthread_t t[CROWD];
    gm_init_once();
    for (uintptr_t i = 0; i < CROWD; i++) pthread_create(&t[i], NULL, exchange, (void *)(i + 1));
    for (int i = 0; i < CROWD; i++) pthread_join(t[i], NULL);
    gm_central_verify();
    for (int i = 0; i < 256; i++)
        if (shared_slots[i]) gm_central_give(gm_class_of(64), &shared_slots[i], 1);
    expect_all_home();
}

/* Pages inside of spans whose slots are all at home go back, and are counted so as long as nobody takes a slot there. */
TEST(holes_go_back_and_come_again) {
    enum { N = 4000, SIZE = 1024 };
    static unsigned char *p[N];
    struct gm_heap_stats h;
    struct gomalloc_stats s;
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < N; i++) check_fill(p[i] = gm_alloc(SIZE), SIZE, (uint64_t)i);
        for (int i = 0; i < N; i++)
            if (i % 20) gm_free(p[i]);
        gm_reclaim(0);
        gm_heap_read_stats(&h);
        uint64_t before = h.scavenged;
        expect_eq(h.holes, 0);
        expect_eq(gm_central_release_holes(UINT64_MAX, false), 0); /* first it looks */
        size_t done = gm_central_release_holes(UINT64_MAX, false);
        expect_eq(done, N / 20 * 4096); /* spans of two such pages, one of them with a live slot */
        expect_eq(gm_central_release_holes(UINT64_MAX, true), 0); /* nothing has changed */
        gm_heap_read_stats(&h);
        expect_eq(h.holes, done);
        expect_eq(h.scavenged, before + done);
        gomalloc_read_stats(&s, sizeof s);
        expect_eq(s.heap_released, h.released + done);
        for (int i = 0; i < N; i += 20) expect(check_filled(p[i], SIZE, (uint64_t)i));
        verify_all();
        for (int i = 1; i < N; i++)
            if (i % 20) p[i] = gm_alloc(SIZE); /* all of them are in use again */
        gm_heap_read_stats(&h);
        expect_eq(h.holes, 0);
        for (int i = 0; i < N; i++) gm_free(p[i]);
        gm_reclaim(0);
    }
    /* A span with holes that goes back to the heap as a whole. */
    for (int i = 0; i < N; i++) p[i] = gm_alloc(SIZE);
    for (int i = 0; i < N; i++)
        if (i % 20) gm_free(p[i]);
    gm_reclaim(0);
    expect(gm_central_release_holes(UINT64_MAX, true) > 0);
    for (int i = 0; i < N; i += 20) gm_free(p[i]);
    expect_all_home();
    gm_heap_read_stats(&h);
    expect_eq(h.holes, 0);
}

TEST_MAIN()
