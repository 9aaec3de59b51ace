/* Caches taken from threads that sleep: only from those, whole, and while all others go on. */
#include "tests/unit/allocator.h"

#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/wait.h>
#include <time.h>

#include "libgomalloc/idle.h"
#include "libgomalloc/os/os.h"

#ifdef __SANITIZE_THREAD__
void __tsan_release(void *at);
/* Falling asleep orders what a thread has done before what is done to its cache: by the kernel, unseen. */
static void before_sleep(void) { __tsan_release(gm_load_relaxed(&gm_tc)); }
#else
static void before_sleep(void) {}
#endif

enum { OBJECTS = 2000, OBJECT = 64 };

static void nap(long us) {
    struct timespec t = { us / 1000000, us % 1000000 * 1000 };
    before_sleep();
    nanosleep(&t, NULL);
}

static unsigned drain(void) { return gm_idle_drain(gm_os_nanotime() + UINT64_C(60000000000), true); }

/* A thread that has filled its cache and then does one of these. */
struct owner {
    pthread_t thread;
    sem_t go, ready;
    enum { SLEEPS, SPINS, WAITS_FOR_A_CHILD, WAITS_FOR_OUR_LOCK, ENDS } does;
    int tid;
    bool stop;
};

static void use(void) {
    static __thread void *p[OBJECTS];
    for (int i = 0; i < OBJECTS; i++) p[i] = memset(gm_alloc(OBJECT), i, OBJECT);
    for (int i = 0; i < OBJECTS; i++) {
        expect(*(unsigned char *)p[i] == (unsigned char)i);
        gm_free(p[i]);
    }
}

static void *owner_main(void *arg) {
    struct owner *o = arg;
    use();
    o->tid = gettid();
    sem_post(&o->ready);
    before_sleep();
    if (o->does == WAITS_FOR_OUR_LOCK) while (sem_wait(&o->go) != 0) {}
    if (o->does == SPINS) while (!gm_load_relaxed(&o->stop)) {}
    if (o->does == WAITS_FOR_A_CHILD) {
        pid_t child = fork();
        if (child == 0) {
            pause();
            _exit(0);
        }
        gm_store_relaxed(&o->tid, -child);
        waitpid(child, NULL, 0);
    }
    if (o->does == WAITS_FOR_OUR_LOCK) {
        gm_heap_lock();
        gm_heap_unlock();
    }
    before_sleep();
    while (sem_wait(&o->go) != 0) {}
    if (o->does != ENDS) use();
    return NULL;
}

/* Until it waits for the program. */
static void wait_asleep(struct owner *o) {
    struct gm_os_asleep at = { 0 };
    while (!(gm_os_asleep(o->tid, &at) && at.futex == (uintptr_t)&o->go)) nap(200);
}

static void start(struct owner *o, int does) {
    memset(o, 0, sizeof *o);
    o->does = does;
    sem_init(&o->go, 0, 0);
    sem_init(&o->ready, 0, 0);
    gm_init_once();
    gm_cache_arm_exit_handler();
    pthread_create(&o->thread, NULL, owner_main, o);
    while (sem_wait(&o->ready) != 0) {}
    if (does == SLEEPS || does == ENDS || does == WAITS_FOR_OUR_LOCK) wait_asleep(o);
    else nap(50000);
}
static void finish(struct owner *o) {
    gm_store_relaxed(&o->stop, true);
    sem_post(&o->go);
    pthread_join(o->thread, NULL);
}

static size_t cached(void) {
    static struct gm_cache_totals totals[GM_CLASSES];
    unsigned threads;
    size_t bytes = 0;
    gm_cache_totals(totals, &threads);
    for (unsigned cls = 1; cls < GM_CLASSES; cls++) bytes += totals[cls].cached * gm_class_size[cls];
    return bytes;
}

TEST(a_sleeper_loses_its_cache_and_makes_a_new_one) {
    struct owner o;
    struct gm_cache_totals before[GM_CLASSES], after[GM_CLASSES];
    unsigned threads, cls = gm_class_of(OBJECT);
    start(&o, SLEEPS);
    gm_cache_totals(before, &threads);
    expect_eq(threads, 1);
    expect(cached() > 0);
    expect_eq(drain(), 1);
    expect_eq(cached(), 0);
    gm_cache_totals(after, &threads);
    expect_eq(threads, 0);
    expect_eq(after[cls].mallocs, before[cls].mallocs);
    expect_eq(drain(), 0);
    finish(&o);
    gm_cache_totals(after, &threads);
    expect_eq(threads, 0);
    expect_eq(after[cls].mallocs, 2 * OBJECTS);
    expect_all_home();
}

TEST(a_thread_ends_without_the_cache_it_lost) {
    struct owner o;
    start(&o, ENDS);
    expect_eq(drain(), 1);
    finish(&o);
    expect_all_home();
}

TEST(a_hundred_sleepers_keep_less_than_4_kib_each) {
    enum { THREADS = 100 };
    struct owner *o = calloc(THREADS, sizeof *o); /* the library takes futexes in the program's data for its own here */
    for (int i = 0; i < THREADS; i++) start(&o[i], SLEEPS);
    size_t before = cached();
    for (int i = 0; i < 3; i++) drain();
    diag("cached before %zu, after %zu bytes", before, cached());
    expect_at_most(cached(), THREADS * GM_IDLE_KEEP);
    for (int i = 0; i < THREADS; i++) finish(&o[i]);
    free(o);
    expect_all_home();
}

TEST(who_runs_keeps_its_cache) {
    struct owner o;
    start(&o, SPINS);
    size_t before = cached();
    for (int i = 0; i < 200; i++) expect_eq(drain(), 0);
    expect_eq(cached(), before);
    finish(&o);
}

/* The child might share the thread's memory. */
TEST(who_waits_for_a_child_keeps_its_cache) {
    struct owner o;
    start(&o, WAITS_FOR_A_CHILD);
    while (gm_load_relaxed(&o.tid) > 0) nap(1000);
    nap(50000);
    expect_eq(drain(), 0);
    kill(-gm_load_relaxed(&o.tid), SIGKILL);
    finish(&o);
}

enum { WANTED, HELD, RELEASED };
static void *holder(void *heap) {
    gm_heap_lock();
    gm_store_relaxed((int *)heap, HELD);
    while (gm_load_relaxed((int *)heap) != RELEASED) usleep(1000);
    gm_heap_unlock();
    return NULL;
}

/* It may hold its cache in a register there. */
TEST(who_waits_for_the_library_keeps_its_cache) {
    struct owner *o = calloc(1, sizeof *o);
    struct gm_os_asleep at = { 0 };
    start(o, WAITS_FOR_OUR_LOCK);
    int heap = WANTED;
    gm_cache_flush_transfers();
    pthread_t h;
    pthread_create(&h, NULL, holder, &heap);
    while (gm_load_relaxed(&heap) != HELD) nap(1000);
    sem_post(&o->go);
    for (int i = 0; i < 60000 && !(gm_os_asleep(o->tid, &at) && at.futex && at.futex != (uintptr_t)&o->go); i++) nap(1000);
    expect(at.futex && at.futex != (uintptr_t)&o->go);
    expect_eq(drain(), 0);
    gm_store_relaxed(&heap, RELEASED);
    pthread_join(h, NULL);
    wait_asleep(o);
    expect_eq(drain(), 1); /* it waits for the program now */
    finish(o);
    free(o);
}

TEST(only_what_has_not_changed_for_two_looks) {
    struct owner o;
    start(&o, SLEEPS);
    uint64_t later = gm_os_nanotime() + UINT64_C(60000000000);
    for (int i = 1; i < GM_IDLE_LOOKS + 1; i++) {
        unsigned taken = gm_idle_drain(later, false);
        expect_eq(taken, i == GM_IDLE_LOOKS);
    }
    finish(&o);
}

TEST(batches_that_nobody_takes_go_home) {
    unsigned cls = gm_class_of(OBJECT);
    gm_cache_arm_exit_handler();
    use();
    expect(gm_transfer_count(cls) > 0);
    uint64_t later = gm_os_nanotime() + UINT64_C(60000000000);
    gm_idle_drain(later, false);
    expect(gm_transfer_count(cls) > 0);
    gm_idle_drain(later, false);
    expect_eq(gm_transfer_count(cls), 0);
}

/* ---- the race: threads that sleep for moments, beside one that takes caches all the time */

static bool over;

static void *sleepy(void *arg) {
    enum { LIVE = 64 };
    struct { unsigned char *p; size_t n; } block[LIVE] = { 0 };
    struct check_rng rng = check_rng((unsigned)(uintptr_t)arg);
    while (!gm_load_relaxed(&over)) {
        for (int k = (int)check_below(&rng, 300); k > 0; k--) {
            unsigned i = (unsigned)check_below(&rng, LIVE);
            if (block[i].p) {
                if (!check_filled(block[i].p, block[i].n, (uintptr_t)block[i].p)) {
                    expect(!"a block has been handed out twice");
                    gm_store_relaxed(&over, true);
                }
                gm_free(block[i].p);
            }
            block[i].n = 1 + check_below(&rng, check_below(&rng, 8) ? 200 : 3000);
            block[i].p = gm_alloc(block[i].n);
            check_fill(block[i].p, block[i].n, (uintptr_t)block[i].p);
        }
        if (check_below(&rng, 4)) nap((long)check_below(&rng, 100)); /* wakes up within the look, often */
    }
    for (int i = 0; i < LIVE; i++) gm_free(block[i].p);
    return NULL;
}

TEST_LIMIT(threads_that_doze_lose_nothing, 200) {
    enum { THREADS = 6 };
    pthread_t t[THREADS];
    const char *asked = getenv("GM_STRESS_SECONDS");
    uint64_t end = gm_os_nanotime() + (asked ? strtoull(asked, NULL, 10) : 3) * 1000000000u;
    unsigned taken = 0, lost = 0;
#ifdef __SANITIZE_THREAD__
    gm_idle_on_any_futex = false;
#endif
    gm_init_once();
    gm_cache_arm_exit_handler();
    for (uintptr_t i = 0; i < THREADS; i++) pthread_create(&t[i], NULL, sleepy, (void *)(i + 1));
    while ((gm_os_nanotime() < end || (taken == 0 && gm_os_nanotime() < end + 60000000000u)) && !gm_load_relaxed(&over)) {
        taken += drain();
        gm_cache_threads_lock();
        lost += gm_cache_lost;
        gm_cache_threads_unlock();
    }
    gm_store_relaxed(&over, true);
    for (int i = 0; i < THREADS; i++) pthread_join(t[i], NULL);
    diag("%u caches taken; %u times one was lost to an owner that woke up", taken, lost);
    expect(taken > 0);
    expect_eq(gm_cache_lost, 0);
    expect_all_home();
}

TEST_MAIN()
