/* The child of a fork: its one thread goes on, and takes over what the caches of the others held, whatever
 * they were doing at that moment. */
#include "tests/unit/allocator.h"

#include <pthread.h>

#include "libgomalloc/base/lock.h"
#include "libgomalloc/meta.h"

/* fork as preload/ does it by pthread_atfork; the child runs `run` and its failures count here. */
static void in_child(void (*run)(void)) {
    gm_fork_prepare();
    pid_t pid = fork();
    if (pid == 0) {
        gm_fork_child();
        run();
        _exit(0);
    }
    gm_fork_parent();
    expect_eq(check_wait(pid, 10), 0);
}

static void work(void) {
    static void *p[2000];
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < 2000; i++) check_fill(p[i] = gm_alloc(i * 2), i * 2, i);
        for (size_t i = 0; i < 2000; i++) {
            expect(check_filled(p[i], i * 2, i));
            gm_free(p[i]);
        }
        gm_free(gm_alloc(MIB));
    }
    verify_all();
}

static void *mine[100];
static void child_of_one(void) {
    struct gm_cache_totals totals[GM_CLASSES];
    unsigned threads;
    expect_eq(gm_tc->tid, gettid());
    gm_cache_totals(totals, &threads);
    expect_eq(threads, 1);
    for (size_t i = 0; i < 100; i++) {
        expect(check_filled(mine[i], 100 * i, i));
        gm_free(mine[i]);
    }
    expect_all_home();
    work();
    expect_all_home();
}

TEST(one_thread) {
    for (size_t i = 0; i < 100; i++) check_fill(mine[i] = gm_alloc(100 * i), 100 * i, i);
    in_child(child_of_one);
    for (size_t i = 0; i < 100; i++) {
        expect(check_filled(mine[i], 100 * i, i));
        gm_free(mine[i]);
    }
    expect_all_home();
}

TEST(before_the_first_allocation) { in_child(work); }

TEST(no_lock_is_held_in_either) {
    gm_alloc(10);
    in_child(work);
    expect_eq(gm_locks_held, 0);
    work();
}

/* ---- other threads' caches */

enum { PARKED = 8 };
static pthread_barrier_t gate;
static void *their[PARKED][GM_CLASSES];

static void *park(void *arg) {
    void **keep = arg, *p[GM_CLASSES][12];
    for (unsigned cls = 2; cls < GM_CLASSES; cls++)
        for (int i = 0; i < 12; i++) p[cls][i] = gm_alloc(gm_class_size[cls]);
    for (unsigned cls = 2; cls < GM_CLASSES; cls++) {
        keep[cls] = p[cls][0];
        for (int i = 1; i < 12; i++) gm_free(p[cls][i]);
    }
    pthread_barrier_wait(&gate);
    pthread_barrier_wait(&gate);
    return NULL;
}

static uint64_t out_of_all(void) {
    uint64_t n = 0;
    for (unsigned cls = 2; cls < GM_CLASSES; cls++) n += gm_central_out(cls);
    return n;
}

static void adopt_all(void) {
    for (int i = 0; i < PARKED + 1; i++) gm_cache_get(); /* one each slow path */
}

static void child_adopts(void) {
    expect(out_of_all() > PARKED * (GM_CLASSES - 2));
    adopt_all();
    gm_reclaim(1);
    verify_all();
    expect_eq(out_of_all(), PARKED * (GM_CLASSES - 2)); /* what is live */
    for (int t = 0; t < PARKED; t++)
        for (unsigned cls = 2; cls < GM_CLASSES; cls++) gm_free(their[t][cls]);
    expect_all_home();
    struct gomalloc_stats s;
    gomalloc_read_stats(&s, sizeof s);
    expect_eq(s.heap_objects, 0);
    expect(s.mallocs >= PARKED * 12 * (GM_CLASSES - 2)); /* the dead threads' counts stay */
    work();
    expect_all_home();
}

/* One cache is found in the middle of a slow path: what it held is lost, nothing else. */
static struct gm_cache *victim;
static void child_finds_one_busy(void) {
    adopt_all();
    gm_reclaim(1);
    verify_all();
    uint64_t live = PARKED * (GM_CLASSES - 2);
    expect(out_of_all() > live && out_of_all() < live + 4000);
    for (int t = 0; t < PARKED; t++)
        for (unsigned cls = 2; cls < GM_CLASSES; cls++) gm_free(their[t][cls]);
    work();
    gm_reclaim(1);
    verify_all();
}

/* One was stopped between the stores of the fast paths. */
static void *twice;
static void child_distrusts(void) {
    adopt_all();
    verify_all();
    /* The slot that was allocated but still in the array is not given out again. */
    for (int i = 0; i < 1000; i++) expect(gm_alloc(gm_class_size[5]) != twice);
    verify_all();
}

static struct gm_cache *cache_of_some_thread(void) {
    return gm_list_entry(gm_tc->link.next->next, struct gm_cache, link); /* the list's head may come first */
}

static void with_parked(int what) {
    pthread_t t[PARKED];
    gm_constructor(NULL);
    gm_free(gm_alloc(16));
    pthread_barrier_init(&gate, NULL, PARKED + 1);
    for (int i = 0; i < PARKED; i++) pthread_create(&t[i], NULL, park, their[i]);
    pthread_barrier_wait(&gate);
    victim = cache_of_some_thread();
    if (what == 1) {
        victim->busy = 1;
        in_child(child_finds_one_busy);
        victim->busy = 0;
    } else if (what == 2) {
        twice = *victim->top[5];
        uint8_t *state = gm_arena_state_of(&gm_space.primary, (uintptr_t)twice);
        *state = 5;
        in_child(child_distrusts);
        *state = 0;
    } else {
        in_child(child_adopts);
        in_child(child_adopts); /* again: the first child's work was its own */
    }
    pthread_barrier_wait(&gate);
    for (int i = 0; i < PARKED; i++) pthread_join(t[i], NULL);
    for (int i = 0; i < PARKED; i++)
        for (unsigned cls = 2; cls < GM_CLASSES; cls++) gm_free(their[i][cls]);
    expect_all_home();
}
TEST(what_others_cached_is_adopted) { with_parked(0); }
TEST(a_cache_in_motion_is_dropped) { with_parked(1); }
TEST(a_slot_in_the_hands_of_a_dead_thread_is_not_trusted) { with_parked(2); }

/* A grandchild inherits the orphans of two generations. */
static void grandchild(void) {
    adopt_all();
    gm_reclaim(1);
    verify_all();
    work();
}
static void *idle(void *arg) {
    gm_free(gm_alloc(500));
    pause();
    return NULL;
}
static void child_with_threads(void) {
    pthread_t t;
    for (int i = 0; i < 3; i++) pthread_create(&t, NULL, idle, NULL);
    usleep(20000);
    in_child(grandchild);
    work();
}
TEST(orphans_of_two_generations) {
#if defined(__SANITIZE_THREAD__)
    skip("ThreadSanitizer allows no threads in the child of a process that had some");
#endif
    pthread_t t[3];
    gm_alloc(10);
    for (int i = 0; i < 3; i++) pthread_create(&t[i], NULL, idle, NULL);
    usleep(20000);
    in_child(child_with_threads);
}

/* ---- while others are at work */

static bool stop;
static void *churn(void *arg) {
    struct check_rng rng = check_rng((unsigned)(uintptr_t)arg);
    void *p[100] = {0};
    while (!gm_load_relaxed(&stop)) {
        unsigned k = (unsigned)check_below(&rng, 100);
        gm_free(p[k]);
        p[k] = gm_alloc(check_random_size(&rng, 200000));
    }
    for (int k = 0; k < 100; k++) gm_free(p[k]);
    return NULL;
}

static void child_of_many(void) {
    verify_all();
    work();
    adopt_all();
    work();
    verify_all();
}

TEST_LIMIT(forks_amid_the_traffic, 60) {
    pthread_t t[4];
    gm_constructor(NULL);
    for (uintptr_t i = 0; i < 4; i++) pthread_create(&t[i], NULL, churn, (void *)(i + 1));
    for (int i = 0; i < (check_stress() ? 200 : 25); i++) in_child(child_of_many);
    gm_store_relaxed(&stop, true);
    for (int i = 0; i < 4; i++) pthread_join(t[i], NULL);
    expect_all_home();
}

TEST_MAIN()
