/* fake os */
/* Room in nearly empty spans: what few survivors leave free is used before fresh memory, whatever the sizes; nothing
 * is lost, nothing lies in two hands, and what asks about an address gets the right answer.
 *
 * The clock is the fake's: it bounds the looks for room, and on a busy machine the real one lets them find anything or nothing. */
#include "tests/unit/allocator.h"

#include <pthread.h>

#include "libgomalloc/base/bits.h"
#include "libgomalloc/gcview.h"
#include "libgomalloc/guests.h"
#include "libgomalloc/profile.h"

/* One object, filled by its address; its size stands beside it. */
struct object { unsigned char *p; uint32_t size; };

static struct object make(size_t size) {
    struct object o = { gm_alloc(size), (uint32_t)size };
    if (expect_sound(o.p)) check_fill(o.p, size, (uintptr_t)o.p);
    return o;
}
static void end(struct object *o) {
    expect(check_filled(o->p, o->size, (uintptr_t)o->p));
    gm_free(o->p);
    o->p = NULL;
}

static size_t small_bytes(void) {
    size_t sum = 0;
    for (unsigned cls = 1; cls < GM_CLASSES; cls++) sum += gm_central_span_bytes(cls);
    return sum;
}

/* ---- one span */

TEST(a_span_becomes_hosts_and_its_objects_guests) {
    unsigned cls = gm_class_of(640), slots = gm_class_slots[cls], pages = gm_class_pages[cls]; /* 51 in four pages: some lie across two */
    gm_init_once();
    struct gm_span *s = gm_heap_alloc_small(cls, false, 0), *host[4];
    void *slot[64];
    expect_eq(gm_span_take(s, slot, slots), slots);
    bool out[64] = { 0 };
    unsigned given, home = 0;
    for (unsigned i = 0; i < slots; i++) { /* lowest last in slot[] */
        out[i] = i % 7 == 3 || i == 12 || i == 50;
        if (!out[i]) gm_span_give(s, &slot[slots - 1 - i], 1, &given), home++;
    }
    expect_eq(s->nfree, home);
    for (unsigned k = 0; k < pages; k++) gm_guests_move_in(host[k] = gm_span_new(GM_CLASS_HOST), s, k);
    gm_heap_replace(host, pages);
    unsigned units = 0;
    for (unsigned k = 0; k < pages; k++) units += host[k]->nfree, gm_span_verify(host[k]);
    expect_eq(units * 16, pages * GM_PAGE_SIZE - (slots - home) * 640);
    for (unsigned i = 0; i < slots; i++) {
        uintptr_t from = s->start + i * 640, end = from + 640;
        for (uintptr_t to; out[i] && from < end; from = to) {
            to = gm_min(end, gm_align_up(from + 1, GM_PAGE_SIZE));
            struct gm_span *h = span_at((void *)from);
            expect(h == host[(from - s->start) / GM_PAGE_SIZE]);
            gm_guests_give(h, from, to);
            expect(gm_guests_run(h, from) >= (to - from) / 16);
        }
    }
    for (unsigned k = 0; k < pages; k++) {
        expect_eq(host[k]->nfree, 512);
        expect_eq(gm_guests_longest(host[k]), 512);
        expect_eq(gm_guests_run(host[k], host[k]->start + 160), 512);
    }
}

TEST(guests_fill_runs_and_are_aligned) {
    gm_init_once();
    struct gm_span *s = gm_heap_alloc_small(GM_CLASS_HOST, false, 0);
    void *slot[512], *guest[64];
    unsigned given;
    expect_eq(gm_span_take(s, slot, 512), 512);
    gm_span_give(s, slot + 512 - 37, 37, &given); /* units 0..36 */
    expect_eq(gm_guests_longest(s), 37);
    unsigned cls = gm_class_of(256); /* aligned to 256 */
    expect_eq(gm_guests_take(s, cls, guest, 64), 2);
    expect((uintptr_t)guest[1] == s->start && (uintptr_t)guest[0] == s->start + 256); /* the lowest on top */
    expect_eq(s->nfree, 5);
    expect_eq(gm_guests_take(s, cls, guest, 64), 0);
    expect_eq(gm_guests_take(s, gm_class_of(80), guest, 64), 1);
    expect((uintptr_t)guest[0] == s->start + 512);
    expect_eq(gm_guests_longest(s), 0);
    gm_guests_give(s, s->start + 256, s->start + 592);
    expect_eq(gm_guests_run(s, s->start + 300), 21);
    expect_eq(gm_guests_longest(s), 21);
    gm_span_verify(s);
}

/* ---- the whole */

enum { MANY = 400000 };
static struct object live[MANY];

static const uint16_t low[] = { 16, 200, 48, 1500, 24, 6000, 100, 520 }, high[] = { 40, 320, 96, 3000, 64, 24000, 180, 900 };

/* Rounds of `bytes` each, of other sizes each time, of which a twentieth stays. Returns the most bytes of spans. */
static size_t rounds(size_t bytes, unsigned n, struct check_rng *rng) {
    size_t most = 0;
    unsigned kept = 0;
    for (unsigned round = 0; round < n; round++) {
        unsigned i = kept, left = kept;
        size_t before = small_bytes();
        for (size_t sum = 0; sum < bytes && i < MANY; sum += live[i++].size)
            live[i] = make(low[round % 8] + check_below(rng, high[round % 8] - low[round % 8] + 1u));
        most = gm_max(most, small_bytes());
        diag("round %u: %lu KiB in spans, before %lu", round, (unsigned long)(small_bytes() >> 10), (unsigned long)(before >> 10));
        verify_all();
        for (; kept < i; kept++) {
            if (check_below(rng, 20)) end(&live[kept]);
            else live[left++] = live[kept];
        }
        kept = left;
        verify_all();
    }
    for (unsigned i = 0; i < kept; i++) end(&live[i]);
    return most;
}

TEST_LIMIT(other_sizes_fit_between_survivors, 120) {
    enum { ROUND = 8 << 20 };
    struct check_rng rng = check_rng(1);
    size_t most = rounds(ROUND, 8, &rng); /* with survivors of seven rounds, 11 MiB are alive at the end */
    expect(gm_guests_ever);
    expect(!gm_gc_start(false)); /* page entries do not tell their sizes */
    expect_at_most(most, 4 * ROUND); /* under 3; 8 and more without */
    expect_all_home();
}

TEST_LIMIT(none_once_a_collector_or_sampling_needs_the_grid, 120) {
    enum { ROUND = 8 << 20 };
    struct check_rng rng = check_rng(2);
    gm_init_once();
    gm_central_no_guests();
    rounds(ROUND, 4, &rng);
    expect(!gm_guests_ever);
    expect_all_home();
}

TEST_LIMIT(sampling_begins_while_there_are_guests, 120) {
    enum { ROUND = 8 << 20, N = 20000 };
    struct check_rng rng = check_rng(3);
    static struct object o[N];
    rounds(ROUND, 3, &rng);
    for (int i = 0; i < N; i++) o[i] = make(100 + check_below(&rng, 500));
    gm_store_relaxed(&gm_profile.request, 1);
    gm_profile_obey();
    for (int i = 0; i < N; i++) {
        end(&o[i]);
        o[i] = make(100 + check_below(&rng, 500));
    }
    for (int i = 0; i < N; i++) end(&o[i]);
    expect_eq(gm_profile.n_samples, 0);
    expect_all_home();
}

TEST_LIMIT(an_address_in_a_guest_is_what_it_is, 120) {
    struct check_rng rng = check_rng(4);
    unsigned n = 0, guests = 0;
    for (; n < 200000; n++) live[n] = make(30);
    for (unsigned i = 0; i < n; i++)
        if (check_below(&rng, 20)) end(&live[i]);
    for (unsigned i = 0; i < n; i++)
        if (!live[i].p) live[i] = make(i % 8 ? 16 : 300);
    for (unsigned i = 0; i < n; i++) {
        struct gm_span *s;
        size_t usable;
        unsigned char *p = live[i].p;
        if (live[i].size != 300) continue;
        guests += span_at(p)->cls == GM_CLASS_HOST;
        expect_eq(gm_what_is(p, &s, &usable), GM_SLOT);
        expect_eq(usable, 320);
        expect_eq(gm_usable_size(p), 320);
        expect_eq(gm_what_is(p + 160, &s, &usable), GM_INTERIOR);
        expect_eq(gm_what_is(p + 8, &s, &usable), GM_MISALIGNED);
        if (i % 16 == 0) continue;
        p = gm_realloc(p, 310); /* in place */
        expect(p == live[i].p);
        expect(check_filled(p, 300, (uintptr_t)p));
        check_fill(p, 300, (uintptr_t)p);
    }
    diag("%u guests", guests);
    expect(guests > 5000); /* 14000 */
    for (unsigned i = 0; i < n; i++) {
        unsigned char *p = live[i].p;
        end(&live[i]);
        if (i % 1000 == 0) expect_eq(what_is(p), GM_FREED);
    }
    expect_all_home();
}

/* The states of what is above 1 KiB stand in a table of their own; a host takes in both kinds. */
TEST_LIMIT(guests_above_a_kib_among_smaller_ones, 120) {
    enum { SMALL_GUEST = 48, LARGE_GUEST = 1500, USABLE = 1536 };
    struct check_rng rng = check_rng(5);
    unsigned n = 0, guests = 0;
    for (; n < 200000; n++) live[n] = make(30);
    for (unsigned i = 0; i < n; i++)
        if (check_below(&rng, 200)) end(&live[i]);
    for (unsigned i = 0; i < n; i++)
        if (!live[i].p && i % 16 == 0) live[i] = make(i % 64 ? SMALL_GUEST : LARGE_GUEST);
    for (unsigned i = 0; i < n; i++) {
        struct gm_span *s;
        size_t usable;
        unsigned char *p = live[i].p;
        if (!p || live[i].size != LARGE_GUEST) continue;
        guests += span_at(p)->cls == GM_CLASS_HOST;
        expect_eq(gm_what_is(p, &s, &usable), GM_SLOT);
        expect_eq(usable, USABLE);
        for (unsigned at = 16; at < USABLE; at += 16) expect_eq(gm_what_is(p + at, &s, &usable), GM_INTERIOR);
        expect_eq(gm_what_is(p + 1032, &s, &usable), GM_MISALIGNED);
        expect(gm_realloc(p, LARGE_GUEST + 20) == p);
    }
    diag("%u guests", guests);
    expect(guests > 1000); /* 2200 */
    for (unsigned i = 0, told = 0; i < n; i++) {
        unsigned char *p = live[i].p;
        bool guest = p && live[i].size == LARGE_GUEST && span_at(p)->cls == GM_CLASS_HOST;
        if (!p) continue;
        if (guest && told++ % 100 == 0) {
            expect_dies(SIGABRT, check_format("gomalloc: free of an interior pointer: %p", (void *)(p + 1040)), gm_free(p + 1040));
            expect_dies(SIGABRT, check_format("gomalloc: double free: %p", (void *)p), gm_free(p); gm_free(p));
        }
        end(&live[i]);
        if (guest) expect_eq(what_is(p), GM_FREED);
    }
    expect_all_home();
}

/* ---- threads, which free each other's objects, and ask about theirs while spans become hosts */

enum { CROWD = 4, SHARED = 4096 };
static struct object shared[SHARED];
static pthread_mutex_t shared_lock[SHARED];

static void *crowd(void *arg) {
    enum { OWN = 20000 };
    struct check_rng rng = check_rng(10 + (unsigned)(uintptr_t)arg);
    struct object *own = gm_alloc(OWN * sizeof *own);
    memset(own, 0, OWN * sizeof *own);
    for (unsigned round = 0; round < 12; round++) {
        for (unsigned i = 0; i < OWN / (round % 4 == 3 ? 8 : 1); i++) {
            unsigned k = (unsigned)check_below(&rng, OWN), w = (unsigned)check_below(&rng, SHARED);
            if (own[k].p) end(&own[k]);
            own[k] = make(round % 5 == 4 ? 16 + check_below(&rng, check_below(&rng, 8) ? 500 : 7985) : low[round % 8] % 2000 + check_below(&rng, 200));
            if (i % 8) continue;
            struct object mine = own[k];
            pthread_mutex_lock(&shared_lock[w]);
            own[k] = shared[w];
            shared[w] = mine;
            pthread_mutex_unlock(&shared_lock[w]);
        }
        for (unsigned k = 0; k < OWN; k++) {
            if (!own[k].p) continue;
            if (check_below(&rng, 16)) end(&own[k]);
            else {
                unsigned char *before = own[k].p;
                expect(gm_usable_size(before) >= own[k].size);
                own[k].p = gm_realloc(before, own[k].size); /* it stays, but where a larger class had lent the slot (malloc.c) */
                if (own[k].p == before) continue;
                expect(check_filled(own[k].p, own[k].size, (uintptr_t)before));
                check_fill(own[k].p, own[k].size, (uintptr_t)own[k].p);
            }
        }
    }
    for (unsigned k = 0; k < OWN; k++)
        if (own[k].p) end(&own[k]);
    gm_free(own);
    gm_cache_flush(gm_cache_get());
    return NULL;
}

TEST_LIMIT(threads_share_hosts, 240) {
    pthread_t t[CROWD];
    gm_init_once();
    for (int i = 0; i < SHARED; i++) pthread_mutex_init(&shared_lock[i], NULL);
    for (uintptr_t i = 0; i < CROWD; i++) pthread_create(&t[i], NULL, crowd, (void *)i);
    for (int i = 0; i < CROWD; i++) pthread_join(t[i], NULL);
    for (int i = 0; i < SHARED; i++)
        if (shared[i].p) end(&shared[i]);
    diag("guests: %d", (int)gm_load_relaxed(&gm_guests_ever));
    expect_all_home();
}

TEST_MAIN()
