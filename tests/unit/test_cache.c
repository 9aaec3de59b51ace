/* The thread caches: how arrays grow, what leaves them, threads that end, and frees by other threads.
 * The invariant behind all of it: whatever threads did, once they are gone everything is home. */
#include "tests/unit/allocator.h"

#include <pthread.h>

#include "libgomalloc/base/bits.h"

static unsigned in_bin(unsigned cls) { return gm_bin_count(gm_tc, gm_bin_of(cls)); }
static unsigned room(unsigned cls) { return gm_tc->capacity[gm_bin_of(cls)]; }

static unsigned largest_room(unsigned cls) {
    unsigned bytes = cls < GM_FIRST_MEDIUM ? 16384 : 8192, words = (unsigned)gm_min(128, bytes / gm_class_size[cls] + 1);
    return words <= 4 ? (words <= 2 ? 1 : 3) : (1u << gm_high_bit(words)) - 1;
}

TEST(before_the_first_allocation_there_is_none) {
    expect(gm_tc == &gm_no_cache);
    for (unsigned b = 0; b < GM_BINS; b++) expect(*gm_no_cache.top[b] == NULL && gm_no_cache.top[b] == gm_no_cache.limit[b]);
    gm_free(NULL);
    expect(gm_tc == &gm_no_cache);
    gm_free(gm_alloc(1));
    expect(gm_tc != &gm_no_cache && gm_tc->tid == gettid());
    expect(*gm_tc->top[GM_CLASS_8] == NULL && gm_tc->top[GM_CLASS_8] == gm_tc->limit[GM_CLASS_8]); /* stays so */
    expect(gm_tc->top[0] == gm_tc->limit[0]);
}

TEST(arrays_double_up_to_16_kib_or_127_slots) {
    static void *p[5000];
    for (unsigned cls = 1; cls < GM_CLASSES; cls++) {
        unsigned before = 0, largest = largest_room(cls);
        int objects = cls < GM_FIRST_MEDIUM ? 5000 : 500; /* until the bin is hot */
        for (int i = 0; i < objects; i++) {
            p[i] = gm_alloc(gm_class_size[cls]);
            unsigned now = room(cls);
            expect(now == before || before == 0 || now + 1 == (before + 1) * 2);
            before = now;
            expect_at_most(in_bin(cls), now);
        }
        if (!expect(before == largest)) diag("class %u has room for %u", cls, before);
        for (int i = 0; i < objects; i++) gm_free(p[i]);
        expect_at_most(in_bin(cls), before);
        expect_at_most((size_t)before * gm_class_size[cls], before == 1 ? 32768 : cls < GM_FIRST_MEDIUM ? 16384 : 3 * 4096);
        gm_cache_verify(gm_tc);
    }
    expect_all_home();
}

/* Takes and frees a few of every class in turn, again and again: no bin has an eighth of the misses. */
static void all_alike(void) {
    static void *p[GM_CLASSES][8];
    for (int round = 0; round < 200; round++) {
        for (unsigned cls = 1; cls < GM_CLASSES; cls++)
            for (int i = 0; i < 8; i++) p[cls][i] = gm_alloc(gm_class_size[cls]);
        for (unsigned cls = 1; cls < GM_CLASSES; cls++)
            for (int i = 0; i < 8; i++) gm_free(p[cls][i]);
    }
}

TEST(what_bins_keep_follows_the_heap) {
    all_alike();
    size_t held = 0;
    for (unsigned cls = 1; cls < GM_CLASSES; cls++) {
        held += (size_t)room(cls) * gm_class_size[cls];
        expect_at_most((size_t)room(cls) * gm_class_size[cls], cls < GM_FIRST_MEDIUM ? 8192 : gm_space.primary.committed >> 8);
    }
    expect_at_most(held, 512 * 1024);
    void *large = gm_alloc((size_t)32 << 20); /* now each may keep what it would if it were hot */
    all_alike();
    for (unsigned cls = GM_FIRST_MEDIUM; cls < GM_CLASSES; cls++) expect_eq(room(cls), largest_room(cls));
    gm_free(large);
    gm_cache_verify(gm_tc);
}

TEST(what_is_freed_last_is_handed_out_first) {
    void *a = gm_alloc(64), *b = gm_alloc(64);
    gm_free(a);
    gm_free(b);
    expect(gm_alloc(64) == b && gm_alloc(64) == a);
}

TEST(the_older_half_leaves_as_a_batch) {
    unsigned cls = gm_class_of(64);
    static void *p[400];
    for (int i = 0; i < 400; i++) p[i] = gm_alloc(64);
    unsigned n = 0;
    for (; n < 400 && gm_transfer_count(cls) == 0; n++) gm_free(p[n]);
    expect_eq(gm_transfer_count(cls), (largest_room(cls) + 1) / 2);
    for (unsigned i = 0; i < 10; i++) expect(gm_alloc(64) == p[n - 1 - i]); /* the newest stayed */
    verify_all();
}

TEST(arrays_inside_the_record_run_out) {
    static void *p[GM_CLASSES];
    for (int round = 0; round < 3; round++) {
        for (unsigned cls = 1; cls < GM_CLASSES; cls++) p[cls] = gm_alloc(gm_class_size[cls]);
        for (unsigned cls = 1; cls < GM_CLASSES; cls++) memset(p[cls], 1, gm_class_size[cls]);
        for (unsigned cls = 1; cls < GM_CLASSES; cls++) gm_free(p[cls]);
    }
    expect_at_most(gm_tc->inside_used, GM_CACHE_INSIDE);
    gm_cache_verify(gm_tc);
    expect_all_home();
}

TEST(verification_finds_what_is_wrong) {
    void *p = gm_alloc(64);
    gm_free(p);
    gm_cache_verify(gm_tc);
    uint8_t *state = gm_arena_state_of(&gm_space.primary, (uintptr_t)p);
    expect_dies(SIGABRT, NULL, *state = 5; gm_cache_verify(gm_tc));
    expect_dies(SIGABRT, NULL, *gm_tc->top[gm_class_of(64)] = (char *)p + 16; gm_cache_verify(gm_tc));
    expect_dies(SIGABRT, NULL, gm_central_give(gm_class_of(64), &p, 1); gm_cache_verify(gm_tc));
}

/* ---- threads that end */

static void *few_of_each(void *keep) {
    void *p[GM_CLASSES][3];
    for (unsigned cls = 1; cls < GM_CLASSES; cls++)
        for (int i = 0; i < 3; i++) p[cls][i] = gm_alloc(gm_class_size[cls]);
    for (unsigned cls = 1; cls < GM_CLASSES; cls++)
        for (int i = 0; i < 3; i++) gm_free(p[cls][i]);
    if (keep) gm_alloc_tiny(3);
    return NULL;
}

static void expect_living(unsigned n) {
    struct gm_cache_totals totals[GM_CLASSES];
    unsigned threads;
    gm_cache_totals(totals, &threads);
    expect_eq(threads, n);
}

TEST(a_threads_end_brings_its_cache_home) {
    gm_constructor(NULL);
    size_t bytes = 0;
    for (int i = 0; i < 20; i++) {
        pthread_t t;
        pthread_create(&t, NULL, few_of_each, NULL);
        pthread_join(t, NULL);
        expect_living(0);
        if (i == 0) bytes = gm_cache_record_bytes();
    }
    expect_eq(gm_cache_record_bytes(), bytes); /* the record is used again */
    expect_all_home();
}

static pthread_key_t key;
static void *late[8];
static int rounds;
static void allocate_late(void *value) { /* as thread-local destructors of libraries do, in every round */
    gm_free(late[rounds]);
    late[++rounds] = gm_alloc(100);
    gm_free(gm_alloc(8));
    gm_free(gm_alloc(50000));
    if (rounds < 6) pthread_setspecific(key, value);
}
static void *with_destructor(void *arg) {
    pthread_setspecific(key, arg);
    gm_free(gm_alloc(100));
    return NULL;
}

TEST(destructors_may_allocate_until_the_very_end) {
#if defined(__SANITIZE_THREAD__)
    skip("ThreadSanitizer bears nothing in the last round");
#endif
    for (int order = 0; order < 2; order++) {
        pthread_t t;
        rounds = 0;
        memset(late, 0, sizeof late);
        if (order == 0) pthread_key_create(&key, allocate_late);
        if (order == 0) gm_constructor(NULL);
        if (order == 1) pthread_key_delete(key), pthread_key_create(&key, allocate_late); /* another place in the table */
        pthread_create(&t, NULL, with_destructor, &rounds);
        pthread_join(t, NULL);
        expect(rounds >= 4);
        expect_living((unsigned)order); /* this thread has a cache from the second time on */
        gm_free(late[rounds]);
        gm_reclaim(1);
        gm_cache_flush(gm_tc);
    }
    expect_all_home();
}

/* ---- where the record lies */

/* What AMD's first-level cache takes for the same line, of addresses with the same bits 6 to 11 (Lipp and others, Take A Way, 2020). */
static unsigned way_hash(uintptr_t p) {
    unsigned h = 0;
    for (unsigned i = 0; i < 8; i++) h |= (unsigned)((p >> (12 + i) ^ p >> (i < 3 ? 27 - i : 17 + i)) & 1) << i;
    return h;
}

TEST(hot_pages_are_told_apart_by_the_cache) {
    gm_init_once();
    unsigned heap = way_hash(gm_space.primary.base), state = way_hash((uintptr_t)gm_space.primary.state), record = way_hash((uintptr_t)gm_cache_get());
    expect(heap != state);
    expect(heap != record);
    expect(state != record);
}

/* ---- parked threads */

static pthread_barrier_t gate;
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static void *park(void *arg) {
    void *p[3];
    pthread_mutex_lock(&turn); /* one after another: how many spans those that race take is the machine's business */
    for (int i = 0; i < 3; i++) p[i] = gm_alloc(100);
    pthread_mutex_unlock(&turn);
    pthread_barrier_wait(&gate);
    pthread_barrier_wait(&gate);
    for (int i = 0; i < 3; i++) gm_free(p[i]);
    return NULL;
}

TEST(many_threads_with_few_objects_share_spans) {
    enum { N = 64 };
    pthread_t t[N];
    gm_constructor(NULL);
    pthread_barrier_init(&gate, NULL, N + 1);
    for (int i = 0; i < N; i++) pthread_create(&t[i], NULL, park, NULL);
    pthread_barrier_wait(&gate);
    expect_living(N);
    expect_at_most(gm_central_span_bytes(gm_class_of(100)), N / 4 * GM_PAGE_SIZE); /* 64 if nothing were shared */
    pthread_barrier_wait(&gate);
    for (int i = 0; i < N; i++) pthread_join(t[i], NULL);
    expect_all_home();
}

/* ---- frees by other threads */

enum { BOXES = 512, TURNS = 40000 };
static void *box[BOXES];

static size_t some_size(struct check_rng *rng) {
    uint64_t r = check_below(rng, 1000);
    return r < 400 ? check_below(rng, 9) : r < 900 ? 9 + check_below(rng, 500) : r < 995 ? check_below(rng, 33000) : 33000 + check_below(rng, 300000);
}

static void expect_content(void *p) {
    size_t n = *(size_t *)p;
    size_t tail = 0;
    if (n >= 16) memcpy(&tail, (char *)p + n - 8, 8);
    if (n >= 16) expect_eq(tail, n ^ (uintptr_t)p);
}

static void *swap_about(void *arg) {
    struct check_rng rng = check_rng((unsigned)(uintptr_t)arg);
    int turns = TURNS;
    for (int i = 0; i < turns; i++) {
        size_t n = some_size(&rng);
        void *p = gm_alloc(n);
        if (!expect(p)) return NULL;
        if (n >= 8) *(size_t *)p = n;
        else gm_free(p), p = NULL;
        size_t tail = n ^ (uintptr_t)p;
        if (p && n >= 16) memcpy((char *)p + n - 8, &tail, 8);
        p = gm_exchange_acq_rel(&box[check_below(&rng, BOXES)], p);
        if (!p) continue;
        expect_content(p);
        if (i % 16 == 0) {
            size_t old = *(size_t *)p, new = old + 8;
            void *q = gm_realloc(p, new);
            expect(*(size_t *)q == old);
            p = q;
        }
        gm_free(p);
    }
    return NULL;
}

static void swap_among(unsigned threads) {
    pthread_t t[16];
    gm_constructor(NULL);
    for (uintptr_t i = 0; i < threads; i++) pthread_create(&t[i], NULL, swap_about, (void *)(i + 1));
    for (unsigned i = 0; i < threads; i++) pthread_join(t[i], NULL);
    verify_all();
    for (int i = 0; i < BOXES; i++) gm_free(box[i]);
    memset(box, 0, sizeof box);
    expect_living(1);
    expect_all_home();
}
TEST(two_threads_free_each_others_objects) { swap_among(2); }
TEST(sixteen_threads_free_each_others_objects) { swap_among(16); }

static void *queue[1024];
static void *producer(void *arg) {
    for (unsigned i = 0; i < 100000; i++) {
        uint64_t *p = gm_alloc(64);
        p[0] = p[7] = i;
        while (gm_load_relaxed(&queue[i % 1024])) sched_yield();
        gm_store_release(&queue[i % 1024], p);
    }
    return NULL;
}
static void *consumer(void *arg) {
    for (unsigned i = 0; i < 100000; i++) {
        uint64_t *p;
        while (!(p = gm_load_acquire(&queue[i % 1024]))) sched_yield();
        expect(p[0] == i && p[7] == i);
        gm_store_release(&queue[i % 1024], NULL);
        gm_free(p);
    }
    return NULL;
}
TEST(one_makes_another_frees) {
    pthread_t a, b;
    gm_constructor(NULL);
    pthread_create(&a, NULL, producer, NULL);
    pthread_create(&b, NULL, consumer, NULL);
    pthread_join(a, NULL);
    pthread_join(b, NULL);
    /* Memory went round: the heap did not grow with the number of objects. */
    expect_at_most(gm_space.primary.committed, 4 * MIB);
    expect_all_home();
}

TEST(a_disabled_cache_is_empty_and_stays_away) {
    gm_constructor(NULL);
    void *p = gm_alloc(100);
    gm_cache_disable();
    expect(gm_tc == &gm_no_cache && gm_always_slow);
    gm_free(p);
    p = gm_alloc(5);
    expect(gm_tc == &gm_no_cache && p);
    gm_free(p);
    expect_all_home();
}

TEST_MAIN()
