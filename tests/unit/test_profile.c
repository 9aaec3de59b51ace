/* Allocation sites: at rate 1 every block, exactly, whatever path it comes and goes by; sampled, without bias. */
#include "tests/unit/allocator.h"

#include <math.h>
#include <pthread.h>
#include <sys/wait.h>

#include "libgomalloc/conf.h"
#include "libgomalloc/noscan.h"
#include "libgomalloc/profile.h"

struct totals { uint64_t live_objects, live_bytes, all_objects, all_bytes, sites; };
static struct totals totals(void) {
    struct totals t = { 0 };
    gm_profile_lock();
    for (unsigned b = 0; gm_profile.sites && b < GM_PROFILE_SITES; b++) {
        for (struct gm_profile_site *s = gm_profile.sites[b]; s; s = s->next) {
            t.sites++;
            t.live_objects += s->live_objects;
            t.live_bytes += s->live_bytes;
            t.all_objects += s->all_objects;
            t.all_bytes += s->all_bytes;
        }
    }
    expect_eq(t.sites, gm_profile.n_sites);
    expect_eq(t.live_objects, gm_profile.n_samples);
    gm_profile_unlock();
    return t;
}

static void start(const char *option) {
    char *environment[] = {(char *)option, NULL};
    gm_constructor(environment);
    expect(gm_sampling);
}

static void turn(int64_t rate) {
    gm_store_relaxed(&gm_profile.request, rate);
    for (int i = 0; i < 300; i++) gm_free(gm_alloc(100000)); /* large objects pass a slow path each */
    gm_free(gm_alloc(GM_SMALL_MAX)); /* and this thread's next miss turns its cache */
    void *p[600];
    for (int i = 0; i < 600; i++) p[i] = gm_alloc(GM_SMALL_MAX);
    for (int i = 0; i < 600; i++) gm_free(p[i]);
    expect_eq(gm_profile.rate, rate);
    expect_eq(gm_sampling, rate != 0);
}

enum { N = 3000 };
static struct { void *p; size_t n; } block[N];

static void random_run(size_t max, int steps) {
    struct check_rng rng = check_rng((unsigned)max);
    uint64_t live = 0, bytes = 0;
    start("GOMALLOC=profile:1");
    struct totals before = totals();
    for (int step = 0; step < steps; step++) {
        unsigned k = (unsigned)check_below(&rng, N);
        size_t n = check_below(&rng, 10) ? check_below(&rng, max) : check_below(&rng, 9);
        if (block[k].p) {
            gm_free(block[k].p);
            block[k].p = NULL;
            live--;
            bytes -= block[k].n;
        } else {
            if (step % 11 == 0 && n >= 16) block[k].p = step % 2 ? gm_alloc_noscan(n, true) : gm_alloc_uncollectable(n, false);
            else block[k].p = step % 5 ? gm_alloc(n) : step % 7 ? gm_alloc_zeroed(n) : gm_alloc_aligned(64, n);
            block[k].n = n;
            live++;
            bytes += n;
        }
        if (step % 500 == 0) {
            struct totals t = totals();
            if (!expect_eq(t.live_objects - before.live_objects, live) || !expect_eq(t.live_bytes - before.live_bytes, bytes)) return;
            verify_all();
        }
    }
    for (unsigned k = 0; k < N; k++) gm_free(block[k].p);
    expect_eq(totals().live_objects, before.live_objects);
    expect_eq(totals().live_bytes, before.live_bytes);
    expect_eq(gm_profile.dropped, 0);
    expect(gm_profile.buckets <= 2 * N);
    expect_all_home();
}
TEST_LIMIT(every_small_block, 60) { random_run(400, 30000); }
TEST_LIMIT(every_block, 60) { random_run(50000, 20000); }
TEST_LIMIT(every_large_block, 60) { random_run(500000, 3000); }

TEST(realloc_is_an_end_and_a_birth) {
    start("GOMALLOC=profile:1");
    struct totals before = totals();
    void *p = gm_alloc(10);
    static const size_t sizes[] = {100, 5000, 33000, 70000, 4000000, 3000000, 40000, 200, 9};
    for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        p = gm_realloc(p, sizes[i]);
        expect_eq(totals().live_objects - before.live_objects, 1);
        if (sizes[i] > 64) expect_eq(totals().live_bytes - before.live_bytes, sizes[i]);
    }
    gm_free(p);
    expect_eq(totals().live_objects, before.live_objects);
    expect_all_home();
}

TEST(a_sampled_slot_is_an_ordinary_one_to_all_others) {
    start("GOMALLOC=profile:1");
    for (size_t n = 1; n <= 40000; n = n * 3 + 1) {
        char *p = gm_alloc(n);
        expect(gm_usable_size(p) >= n && gm_owns(p) && !gm_owns(p + 1));
        gm_free(p);
        expect_dies(SIGABRT, NULL, gm_free(p));
    }
}

static __attribute__((noinline)) void *here(size_t n) {
    void *p = gm_alloc(n);
    __asm__ volatile("" : : "r"(p) : "memory");
    return p;
}
static __attribute__((noinline)) void *there(size_t n) {
    void *p = gm_alloc(n);
    __asm__ volatile("nop" : : "r"(p) : "memory");
    return p;
}
TEST(two_calls_are_two_sites) {
    start("GOMALLOC=profile:1");
    gm_free(gm_alloc(1)); /* the first comes by another way through the allocator, whose frames are seen here */
    uint64_t sites = totals().sites;
    for (int i = 0; i < 10; i++) {
        here(10 + i);
        there(20 + i);
    }
    expect_eq(totals().sites - sites, 2);
}

/* The sum of the samples, each counted for what it stands for, against the truth: within six deviations. */
static void unbiased(size_t n, uint64_t count, int64_t rate) {
    uint64_t all = totals().all_objects;
    for (uint64_t i = 0; i < count; i++) gm_free(gm_alloc(n));
    double taken = (double)(totals().all_objects - all), p = -expm1(-(double)n / (double)rate), mean = (double)count * p;
    if (!expect(fabs(taken - mean) <= 6 * sqrt(mean * (1 - p)) + 2)) diag("size %zu: %.0f samples, not %.0f", n, taken, mean);
}
TEST_LIMIT(sampling_has_no_bias, 60) {
    start("GOMALLOC=profile:4096");
    unbiased(8, 1000000, 4096);
    unbiased(64, 200000, 4096);
    unbiased(1000, 50000, 4096);
    unbiased(5000, 20000, 4096);
    unbiased(100000, 1000, 4096);
}
/* The first of a thread is as likely as any other. */
static void *one_alloc(void *arg) {
    gm_free(gm_alloc(64));
    return NULL;
}
TEST_LIMIT(no_bias_at_a_threads_start, 60) {
    start("GOMALLOC=profile:4096");
    uint64_t all = totals().all_objects;
    for (int i = 0; i < 3000; i++) {
        pthread_t t;
        pthread_create(&t, NULL, one_alloc, NULL);
        pthread_join(t, NULL);
    }
    expect_at_most(totals().all_objects - all, 300); /* 3000 x 64 bytes are 47 samples */
}

TEST(on_and_off) {
    char *none[] = {NULL};
    gm_constructor(none);
    void *before = gm_alloc(48);
    expect(!gm_sampling && !gm_profile.samples);
    turn(1);
    uint64_t live = totals().live_objects;
    void *during = here(48);
    expect_eq(totals().live_objects, live + 1);
    turn(0);
    uint64_t all = totals().all_objects;
    for (int i = 0; i < 100; i++) gm_free(here(48));
    expect_eq(totals().all_objects, all);
    gm_free(before);
    expect(totals().live_objects >= 1);
    live = totals().live_objects;
    gm_free(during); /* is forgotten although nothing is sampled any more */
    expect_eq(totals().live_objects, live - 1);
    turn(1);
    expect(gm_classes != gm_classes_true);
    turn(0);
    expect(gm_classes == gm_classes_true);
    expect_all_home();
}

TEST(with_exact_statistics) {
    char *environment[] = {"GOMALLOC=profile:1,stats:exact", NULL};
    gm_constructor(environment);
    struct totals before = totals();
    void *p[100];
    for (size_t i = 0; i < 100; i++) p[i] = gm_alloc(i * 20 + 1);
    expect_eq(totals().live_objects - before.live_objects, 100);
    for (size_t i = 0; i < 100; i++) gm_free(p[i]);
    expect_eq(totals().live_objects, before.live_objects);
    expect_eq(gm_exact_live_requested(), 0);
}

static void *some(void *arg) {
    void **kept = arg;
    for (int i = 0; i < 500; i++) {
        void *p[20];
        for (size_t k = 0; k < 20; k++) p[k] = gm_alloc(k * 90 + 1);
        for (size_t k = 0; k < 20; k++) gm_free(p[k]);
    }
    return *kept = gm_alloc(77);
}
static void threads(int64_t rate) {
    pthread_t t[4];
    void *kept[4];
    for (int round = 0; round < 6; round++) {
        for (int i = 0; i < 4; i++) pthread_create(&t[i], NULL, some, &kept[i]);
        if (round % 2) gm_store_relaxed(&gm_profile.request, round % 4 == 1 ? 0 : rate);
        for (int i = 0; i < 4; i++) pthread_join(t[i], NULL);
        for (int i = 0; i < 4; i++) gm_free(kept[i]);
    }
}
TEST_LIMIT(threads_while_it_is_switched, 60) {
    start("GOMALLOC=profile:1");
    uint64_t live = totals().live_objects;
    threads(1);
    expect_eq(totals().live_objects, live);
    verify_all();
}
TEST_LIMIT(threads_sampled, 60) {
    start("GOMALLOC=profile:2000");
    threads(2000);
    verify_all();
}

TEST(after_fork_the_child_goes_on) {
    start("GOMALLOC=profile:1");
    void *p = gm_alloc(30);
    gm_fork_prepare();
    pid_t pid = fork();
    if (pid == 0) gm_fork_child();
    else gm_fork_parent();
    uint64_t live = totals().live_objects;
    gm_free(p);
    void *q = gm_alloc(40);
    expect_eq(totals().live_objects, live);
    gm_free(q);
    if (pid == 0) _exit(0);
    expect_eq(check_wait(pid, 10), 0);
}

TEST_MAIN()
