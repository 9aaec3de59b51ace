/* fake os */
/* The statistics against a model that counts along, after random operations and at every quiet moment. */
#include "tests/unit/allocator.h"

#include "libgomalloc/conf.h"

#include <pthread.h>

#include "libgomalloc/base/bits.h"
#include "tests/fake/os_fake.h"

static struct gomalloc_stats stats;
static const struct gomalloc_stats *now(void) {
    memset(&stats, 0xee, sizeof stats);
    gomalloc_read_stats(&stats, sizeof stats);
    return &stats;
}

struct model {
    uint64_t mallocs[GM_CLASSES], frees[GM_CLASSES], requested[GM_CLASSES]; /* class 0: large */
    uint64_t large_bytes, large_total;
};

static size_t class_of_usable(size_t usable) { return usable > GM_MEDIUM_MAX ? 0 : gm_class_of(usable); }

static void *model_alloc(struct model *m, size_t n) {
    void *p = gm_alloc(n);
    size_t usable = gm_usable_size(p), cls = class_of_usable(usable);
    m->mallocs[cls]++;
    m->requested[cls] += n;
    if (cls == 0) m->large_bytes += usable, m->large_total += usable;
    return p;
}
static void model_free(struct model *m, void *p) {
    size_t usable = gm_usable_size(p), cls = class_of_usable(usable);
    m->frees[cls]++;
    if (cls == 0) m->large_bytes -= usable;
    gm_free(p);
}

static void expect_consistent(const struct gomalloc_stats *s) {
    expect_eq(s->heap_sys, s->heap_inuse + s->heap_idle);
    expect(s->heap_released <= s->heap_idle && s->heap_alloc <= s->heap_inuse);
    expect_eq(s->sys, s->heap_sys + s->mspan_sys + s->mcache_sys + s->other_sys + s->gc_sys + s->stacks_sys);
    expect_eq(s->heap_objects, s->mallocs - s->frees);
    expect_eq(s->by_size_count, GM_CLASSES - 1);
    expect_eq(s->heap_sys, gm_space.primary.committed);
    for (unsigned cls = 1; cls < GM_CLASSES; cls++) {
        expect_eq(s->by_size[cls - 1].size, gm_class_size[cls]);
        expect(s->by_size[cls - 1].frees <= s->by_size[cls - 1].mallocs);
    }
    expect_eq(s->num_gc + s->next_gc + s->gc_sys + s->stacks_sys + s->pause_total_ns, 0);
}

static void expect_model(const struct model *m) {
    const struct gomalloc_stats *s = now();
    uint64_t mallocs = m->mallocs[0], frees = m->frees[0], requested = m->requested[0], alloc = m->large_bytes, total = m->large_total;
    expect_consistent(s);
    for (unsigned cls = 1; cls < GM_CLASSES; cls++) {
        const struct gomalloc_size_stats *b = &s->by_size[cls - 1];
        if (!expect_eq(b->mallocs, m->mallocs[cls]) | !expect_eq(b->frees, m->frees[cls]) | !expect_eq(b->requested, m->requested[cls]))
            diag("class %u", cls);
        mallocs += m->mallocs[cls];
        frees += m->frees[cls];
        requested += m->requested[cls];
        alloc += (m->mallocs[cls] - m->frees[cls]) * gm_class_size[cls];
        total += m->mallocs[cls] * gm_class_size[cls];
    }
    expect_eq(s->mallocs, mallocs);
    expect_eq(s->frees, frees);
    expect_eq(s->total_requested, requested);
    expect_eq(s->heap_alloc, alloc);
    expect_eq(s->total_alloc, total);
    expect_eq(s->large_mallocs, m->mallocs[0]);
    expect_eq(s->large_frees, m->frees[0]);
    expect_eq(s->large_requested, m->requested[0]);
    expect(s->heap_requested_estimate <= s->heap_alloc);
}

enum { N = 1500 };
static void *block[N];

TEST(random_operations_against_a_model) {
    static struct model m;
    struct check_rng rng = check_rng(1);
    for (int step = 0; step < 60000; step++) {
        unsigned k = (unsigned)check_below(&rng, N);
        if (block[k]) model_free(&m, block[k]), block[k] = NULL;
        else block[k] = model_alloc(&m, check_random_size(&rng, 300000));
        if (step % 1000 == 0) expect_model(&m);
        if (step % 10000 == 0) {
            gm_trim();
            expect_model(&m);
        }
    }
    for (unsigned k = 0; k < N; k++)
        if (block[k]) model_free(&m, block[k]);
    expect_model(&m);
    expect(stats.heap_alloc == 0 && stats.heap_objects == 0 && stats.heap_requested_estimate == 0);
    gm_trim();
    expect_model(&m);
    expect_eq(stats.heap_inuse, 0);
    expect_eq(stats.heap_released, stats.heap_sys);
    expect_all_home();
}

TEST(nothing_has_happened_yet) {
    const struct gomalloc_stats *s = now();
    expect_consistent(s);
    expect_eq(s->mallocs + s->heap_alloc + s->heap_sys + s->threads, 0);
}

TEST(sys_is_what_the_kernel_gave) {
    for (int i = 0; i < 20000; i++) gm_alloc((size_t)i % 3000);
    const struct gomalloc_stats *s = now();
    /* The page index of the whole reservation and the step of the tables lie beyond. */
    expect_at_most(s->sys, fake.committed);
    expect(s->sys > fake.committed * 9 / 10);
}

TEST(released_is_what_the_kernel_got_back) {
    static void *p[500];
    gm_conf.scavenge = GM_SCAVENGE_OFF; /* or some of it would have gone before */
    for (int i = 0; i < 500; i++) p[i] = memset(gm_alloc(20000), 1, 20000);
    for (int i = 0; i < 500; i++) gm_free(p[i]);
    const struct gomalloc_stats *s = now();
    expect(s->heap_released < 3 * MIB);
    const struct gm_arena *a = &gm_space.primary;
    size_t heap = fake_resident((void *)a->base, a->committed);
    size_t back = gomalloc_scavenge();
    expect_at_most(heap - fake_resident((void *)a->base, a->committed), back);
    expect(fake.bytes[FAKE_RELEASED] >= back);
    expect_at_most(fake.bytes[FAKE_RELEASED], 2 * (back / 16 * 17)); /* with the slot states over them, and whole chunks once more in one piece */
    s = now();
    expect_eq(s->heap_released, s->heap_idle);
    expect_eq(s->heap_inuse, 0);
}

/* The estimate is exact where all requests of a class are alike. */
TEST(the_estimate) {
    void *p[100];
    for (int i = 0; i < 100; i++) p[i] = gm_alloc(100);
    expect_eq(now()->heap_requested_estimate, 100 * 100);
    for (int i = 0; i < 50; i++) gm_free(p[i]);
    expect_eq(now()->heap_requested_estimate, 50 * 100);
    gm_alloc(100000);
    expect_eq(now()->heap_requested_estimate, 50 * 100 + 100000);
}

TEST(only_the_callers_size_is_written) {
    struct {
        struct gomalloc_stats s;
        char more[64];
    } big;
    memset(&big, 0xaa, sizeof big);
    gomalloc_read_stats(&big.s, 16);
    expect(((unsigned char *)&big)[16] == 0xaa);
    gomalloc_read_stats(&big.s, sizeof big);
    for (int i = 0; i < 64; i++) expect_eq(big.more[i], 0);
}

TEST(objects_of_ended_threads_still_count) {
    struct model m = {0};
    gm_constructor(NULL);
    for (int i = 0; i < 3; i++) {
        pthread_t t;
        void *(*run)(void *) = (void *(*)(void *))(void *)gm_alloc;
        pthread_create(&t, NULL, run, (void *)200);
        void *p;
        pthread_join(t, &p);
        m.mallocs[gm_class_of(200)]++;
        m.requested[gm_class_of(200)] += 200;
        if (i == 0) model_free(&m, p);
    }
    expect_model(&m);
    expect_eq(stats.threads, 1); /* this one's, made by its free */
}

/* ---- beside running threads figures may be a little old, never absurd */

static bool stop;
static void *churn(void *arg) {
    struct check_rng rng = check_rng((unsigned)(uintptr_t)arg);
    void *p[64] = {0};
    while (!gm_load_relaxed(&stop)) {
        unsigned k = (unsigned)check_below(&rng, 64);
        gm_free(p[k]);
        p[k] = gm_alloc(check_below(&rng, 2000));
    }
    for (int k = 0; k < 64; k++) gm_free(p[k]);
    return NULL;
}

TEST(reading_while_others_run) {
    pthread_t t[4];
    uint64_t before = 0;
    gm_constructor(NULL);
    for (uintptr_t i = 0; i < 4; i++) pthread_create(&t[i], NULL, churn, (void *)(i + 1));
    for (int i = 0; i < 2000; i++) {
        const struct gomalloc_stats *s = now();
        expect(s->mallocs >= before && s->frees <= s->mallocs);
        expect(s->heap_objects <= s->mallocs && s->heap_alloc <= s->total_alloc && s->heap_alloc < 64 * MIB);
        before = s->mallocs;
    }
    gm_store_relaxed(&stop, true);
    for (int i = 0; i < 4; i++) pthread_join(t[i], NULL);
    expect_eq(now()->heap_objects, 0);
    expect_all_home();
}

TEST(the_memory_limit_is_kept) {
    expect_eq(gomalloc_set_memory_limit(-1), INT64_MAX);
    expect_eq(gomalloc_set_memory_limit(1000000), INT64_MAX);
    expect_eq(gomalloc_set_memory_limit(-1), 1000000);
}

/* Tiny objects are counted as what they are, or not at all, but all figures agree. */
TEST(tiny_objects_in_the_figures) {
    for (int i = 0; i < 1000; i++) gm_alloc_tiny(3);
    const struct gomalloc_stats *s = now();
    expect_consistent(s);
    expect(s->total_requested <= s->total_alloc);
    expect(s->heap_requested_estimate <= s->heap_alloc || s->heap_alloc == 0);
}

TEST_MAIN()
