/* fake os */
/* Every call to the operating system fails once, at every position of a fixed run, and from every position
 * on for a while. The answer is success or NULL and ENOMEM, nothing is lost or damaged by it, and once
 * the system gives again all is as if nothing had happened. And: memory that is strictly accounted. */
#include "tests/unit/allocator.h"

#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "libgomalloc/base/bits.h"
#include "libgomalloc/conf.h"
#include "tests/fake/os_fake.h"

/* ---- the run: touches every path that calls the system; remembers what it holds */

enum { MOST = 3000 };
static struct { unsigned char *p; size_t n; } live[MOST];
static unsigned nlive, refused;

/* Both ends of a block. */
static void fill(unsigned char *p, size_t n, uint64_t key) {
    size_t part = gm_min(n, 1000);
    check_fill(p, part, key);
    if (n > 2000) check_fill(p + n - part, part, key + 1);
}
static bool filled(const unsigned char *p, size_t n, uint64_t key) {
    size_t part = gm_min(n, 1000);
    return check_filled(p, part, key) && (n <= 2000 || check_filled(p + n - part, part, key + 1));
}

static void keep(void *p, size_t n) {
    if (!expect_sound(p)) {
        refused++;
        return;
    }
    live[nlive].p = p;
    live[nlive].n = n;
    fill(p, n, nlive++);
}

static void drop(unsigned from, unsigned step) {
    unsigned kept = 0;
    for (unsigned i = 0; i < nlive; i++) {
        if (!live[i].p) continue;
        expect(filled(live[i].p, live[i].n, i));
        if (i >= from && i % step == 0) {
            gm_free(live[i].p);
            live[i].p = NULL;
        }
        kept += live[i].p != NULL;
    }
}

static void grow_some(void) {
    for (unsigned i = 0; i < nlive; i += 7) {
        if (!live[i].p) continue;
        size_t n = live[i].n * 2 + 10;
        void *p = gm_realloc(live[i].p, n);
        if (!expect_sound(p)) { /* the block is as it was */
            refused++;
            expect(filled(live[i].p, live[i].n, i));
            continue;
        }
        live[i].p = p;
        expect(filled(p, gm_min(live[i].n, 1000), i));
        live[i].n = n;
        fill(p, n, i);
    }
}

static void *of_a_thread(void *arg) {
    void *p[300];
    for (size_t i = 0; i < 300; i++) {
        p[i] = gm_alloc(i * 11);
        expect_sound(p[i]);
    }
    for (size_t i = 0; i < 300; i++) gm_free(p[i]);
    return NULL;
}

static void run(void) {
    pthread_t t;
    gm_constructor(NULL);
    for (unsigned cls = 1; cls < GM_CLASSES; cls++)
        for (unsigned i = 0; i < 1 + 20000u / gm_class_size[cls] % 20; i++) keep(gm_alloc(gm_class_size[cls]), gm_class_size[cls]);
    for (size_t n = 33000; n < MIB; n = n * 3 / 2) keep(gm_alloc(n), n);
    for (size_t a = 8192; a < 8 * MIB; a *= 16) keep(gm_alloc_aligned(a, 5000), 5000);
    for (size_t i = 1; i < 16; i++) keep(gm_alloc_tiny(i), i);
    if (pthread_create(&t, NULL, of_a_thread, NULL) == 0) pthread_join(t, NULL);
    drop(10, 2);
    gm_trim();
    grow_some();
    for (size_t i = 0; i < 40; i++) {
        unsigned char *z = gm_alloc_zeroed(i * i * 60);
        if (!expect_sound(z)) continue;
        size_t sum = 0;
        for (size_t k = 0; k < i * i * 60; k++) sum += z[k];
        expect_eq(sum, 0);
        keep(z, i * i * 60);
    }
    gm_alloc(0);
    drop(5, 3);
    gm_trim();
    grow_some();
    struct gomalloc_stats s;
    gomalloc_read_stats(&s, sizeof s);
    gm_limit_address_space(64 * MIB);
    keep(gm_alloc(2 * MIB), 2 * MIB);
}

/* After it: all in order, all that was refused can be had, and all comes home. */
static void aftermath(void) {
    fake_fail(FAKE_FALLIBLE, 0);
    verify_all();
    refused = 0;
    for (unsigned cls = 1; cls < GM_CLASSES; cls++) keep(gm_alloc(gm_class_size[cls]), gm_class_size[cls]);
    keep(gm_alloc(5 * MIB), 5 * MIB);
    keep(gm_alloc_aligned(MIB, MIB), MIB);
    keep(gm_alloc_tiny(3), 3);
    expect_eq(refused, 0);
    drop(0, 1);
    gm_trim();
    verify_all();
    struct gm_heap_stats h;
    gm_heap_read_stats(&h);
    expect_eq(h.large_live, 0);
    /* A tiny span, and the object of no bytes; without a key for its exit a thread's cache is lost. */
    if (fake.failed[FAKE_KEY] + fake.failed[FAKE_KEY_SET] == 0) expect_at_most(h.committed - h.idle, 3 * GM_PAGE_SIZE);
}

/* Of each process: a smaller world, which is sooner set up, and a limit of its own. */
static void begin(void) {
    fake.space = (size_t)512 << 20;
    alarm(60);
}

static int wait_for(pid_t pid) {
    int status = -1;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {}
    return status;
}

/* One fresh process each; true if the failure that was asked for came to pass. */
static bool once(void (*prepare)(size_t), size_t n) {
    int *hit = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t pid = fork();
    if (pid == 0) {
        begin();
        prepare(n);
        run();
        *hit = fake.failures > 0;
        aftermath();
        _exit(0);
    }
    bool fine = expect_eq(wait_for(pid), 0), was_hit = *hit;
    if (!fine) diag("failing at call %zu", n);
    munmap(hit, 4096);
    return fine && was_hit;
}

static void each_position(void (*prepare)(size_t), size_t step) {
    size_t n = 1;
    while (once(prepare, n)) n += step;
    diag("%zu positions", n / step);
    expect(n > 4 || step > 1);
}

#define KIND(name, kind) \
    static void fail_##name(size_t n) { fake_fail(kind, n); } \
    TEST_LIMIT(each_##name##_fails_once, 60) { each_position(fail_##name, 1); }
static void fail_reserve(size_t n) { fake_fail(FAKE_RESERVE, n); }
TEST(each_reserve_fails_once) { for (size_t n = 1; once(fail_reserve, n);) n++; }
KIND(commit, FAKE_COMMIT)
KIND(release, FAKE_RELEASE)
static void fail_any(size_t n) { fake_fail(FAKE_FALLIBLE, n); }
TEST_LIMIT(each_call_of_any_kind_fails_once, 60) { each_position(fail_any, 1); }

static void fail_from(size_t n) { fake_fail_from(FAKE_FALLIBLE, n); }
TEST_LIMIT(everything_fails_from_some_call_on, 60) { each_position(fail_from, 1); }
static void fail_from_64k(size_t n) {
    fake.page = 65536;
    fake_fail_from(FAKE_FALLIBLE, n);
}
TEST_LIMIT(the_same_with_pages_of_64_kib, 60) { each_position(fail_from_64k, 3); }

/* Without a reservation, in arenas from anywhere. */
static size_t countdown;
static bool refuse_primary(enum fake_kind kind, const void *p, size_t size) {
    if (kind == FAKE_RESERVE && gm_space.primary.size == 0 && !gm_ready) return true;
    return countdown && --countdown == 0;
}
static void fail_sparse(size_t n) {
    fake.refuse = refuse_primary;
    gm_init_once();
    fake.failures = 0;
    countdown = n;
}
TEST_LIMIT(each_call_fails_once_without_a_reservation, 60) { each_position(fail_sparse, 2); }

/* Some calls fail, at random, all the time. */
static struct check_rng dice;
static bool now_and_then(enum fake_kind kind, const void *p, size_t size) { return check_below(&dice, 4) == 0; }
static void fail_randomly(size_t n) {
    dice = check_rng((unsigned)n);
    fake.refuse = now_and_then;
}
static void at_random(size_t n) {
    pid_t pid = fork();
    if (pid == 0) {
        begin();
        fail_randomly(n);
        run();
        fake.refuse = NULL;
        aftermath();
        _exit(0);
    }
    if (!expect_eq(wait_for(pid), 0)) diag("run %zu", n);
}
TEST(calls_fail_at_random) {
    for (size_t n = 1; n <= 40; n++) at_random(n);
}

/* ---- the options' start may fail as well */

TEST(no_table_for_exact_figures) {
    static char *environment[] = {"GOMALLOC=stats:exact", NULL};
    gm_init_once();
    fake_fail_from(FAKE_FALLIBLE, 1);
    gm_constructor(environment);
    fake_fail(FAKE_FALLIBLE, 0);
    void *p = gm_alloc(100);
    struct gomalloc_stats s;
    gomalloc_read_stats(&s, sizeof s);
    expect(s.heap_requested_estimate >= 100 && s.heap_requested_estimate <= 112);
    gm_free(p);
    expect_all_home();
}

/* ---- strict accounting (vm.overcommit_memory = 2) */

TEST(strictly_accounted_memory) {
    for (size_t limit = 2; limit <= 128; limit *= 4) {
        pid_t pid = fork();
        if (pid == 0) {
            begin();
            fake.commit_limit = limit * MIB;
            void *chain = NULL, *p;
            size_t bytes = 0;
            for (size_t n = 16; (p = gm_alloc(n)) != NULL; n = n < 5000 ? n + 16 : 16) {
                *(void **)p = chain;
                chain = p;
                bytes += n;
            }
            expect_eq(errno, ENOMEM);
            expect_at_most(fake.peak_committed, fake.commit_limit);
            if (!expect(bytes > limit * MIB / (limit < 8 ? 4 : 2))) diag("%zu KiB of %zu MiB", bytes / 1024, limit);
            verify_all();
            for (; chain; chain = p) p = *(void **)chain, gm_free(chain);
            expect_all_home();
            p = gm_alloc(limit * MIB / 2); /* one large block where all the small ones were */
            expect(p);
            gm_free(p);
            expect_all_home();
            _exit(0);
        }
        if (!expect_eq(wait_for(pid), 0)) diag("%zu MiB", limit);
    }
}

TEST(a_small_process_is_charged_little) {
    fake.space = (size_t)400 << 30;
    fake.memory = (size_t)16 << 30;
    for (int i = 0; i < 100; i++) gm_alloc(100);
    expect_at_most(fake.committed, 24 * MIB);
}

TEST_MAIN()
