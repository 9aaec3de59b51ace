/* The core of the scheduler: goroutines begin, yield, park, are made ready and end, with one P and with several. What blocks
 * threads is in test_worker.c, what happens to the process in test_process.c. */
#include <fcntl.h>
#include <sys/syscall.h>

#include "sched/stack.h"
#include "tests/unit/core.h"

TEST(nothing_exists_before_the_first_go) {
    int threads = check_threads();
    expect_eq(threads, CHECK_SANITIZED ? threads : 1);
    expect_eq(go_count(), 0);
    expect_eq(go_id(), 0);
    go_yield();
    expect(go_maxprocs(0) >= 1);
    expect_eq(check_threads(), threads);
    expect_eq(gs_stack_mapped(), 0);
}

TEST(goroutines_run_and_end) {
    for (int i = 0; i < 1000; i++) expect_eq(go(add_one, NULL), 0);
    wait_for(&count, 1000);
    while (go_count() > 0) usleep(1000);
}

enum { MANY = CHECK_SANITIZED ? 700 : 5000 }; /* ThreadSanitizer touches a megabyte for each that is alive */
static void makes_many(void) {
    for (int i = 0; i < MANY; i++) expect_eq(go(add_one, NULL), 0);
    yield_until(&count, MANY);
}
TEST(a_full_ring_overflows) {
    go_maxprocs(1);
    on_goroutine(makes_many);
}
TEST(a_full_ring_is_stolen_from) {
    go_maxprocs(4);
    on_goroutine(makes_many);
}

static uint8_t seen_id[4096];
static void note_id(void *arg) {
    uint64_t id = go_id();
    if (expect(id > 0 && id < sizeof seen_id)) expect_eq(gm_add_relaxed(&seen_id[id], 1), 0);
    add_one(NULL);
}
TEST(ids_are_unique) {
    for (int i = 0; i < 1000; i++) go(note_id, NULL);
    wait_for(&count, 1000);
}

static void exits(void *arg) {
    add_one(NULL);
    go_exit();
    expect(!"reached");
}
TEST(exit_ends_the_goroutine) {
    go(exits, NULL);
    wait_for(&count, 1);
}

/* ---- order */

static int order[8];
static uint32_t placed;
static void place(void *n) { order[placed++] = (int)(intptr_t)n; }
/* Again where the machine took so long that it was asked to yield between two of them. */
static void three(void) {
    enum { SOON = 5000000 }; /* half a slice, ns */
    for (bool late = true; late;) {
        go_yield();
        int64_t start = check_now_ns();
        placed = 0;
        for (intptr_t i = 1; i <= 3; i++) go(place, (void *)i);
        late = check_now_ns() - start > SOON;
        yield_until(&placed, 3);
    }
}
TEST(the_newest_goes_first_the_others_in_turn) {
    go_maxprocs(1);
    for (int i = 0; i < 50 && order[0] != 3; i++) { /* whose time is over yields in go(): then the newest is somebody else's turn */
        placed = 0;
        on_goroutine(three);
    }
    expect_eq(order[0], 3);
    expect_eq(order[1], 1);
    expect_eq(order[2], 2);
}

TEST(the_global_queue_is_not_starved) {
    go_maxprocs(1);
    go(hog, NULL);
    go(hog, NULL);
    usleep(1000);
    go(add_one, NULL); /* from a plain thread: into the global queue */
    wait_for(&count, 1);
    gm_store_relaxed(&stop, 1);
    wait_for(&count, 3);
}

/* ---- parking */

enum { TRADES = 20000, PAIRS = 8 };
static struct cell cells[PAIRS];
static void producer(void *cell) {
    for (int i = 0; i < TRADES; i++) put(cell, i);
    add_one(NULL);
}
static void consumer(void *cell) {
    for (int i = 0; i < TRADES; i++)
        if (!expect_eq(take(cell), i)) break;
    add_one(NULL);
}
static void trade(int procs) {
    go_maxprocs(procs);
    for (int i = 0; i < PAIRS; i++) {
        go(producer, &cells[i]);
        go(consumer, &cells[i]);
    }
    wait_for(&count, 2 * PAIRS);
}
TEST_LIMIT(nobody_is_forgotten_on_one_p, 60) { trade(1); }
TEST_LIMIT(nobody_is_forgotten_on_two_ps, 60) { trade(2); }
TEST_LIMIT(nobody_is_forgotten_on_five_ps, 60) { trade(5); }

static void *plain_consumer(void *cell) {
    for (int i = 0; i < 2000; i++)
        if (!expect_eq(take(cell), i)) break;
    return NULL;
}
static void short_producer(void *cell) {
    for (int i = 0; i < 2000; i++) put(cell, i);
    add_one(NULL);
}
TEST_LIMIT(plain_threads_park_as_well, 30) {
    pthread_t t[2];
    for (int i = 0; i < 2; i++) {
        pthread_create(&t[i], NULL, plain_consumer, &cells[i]);
        go(short_producer, &cells[i]);
    }
    for (int i = 0; i < 2; i++) pthread_join(t[i], NULL);
    wait_for(&count, 2);
}

static bool refuse(struct gs_g *g, void *times) {
    ++*(int *)times;
    return false;
}
static void refused(void) {
    int times = 0;
    gs_park(refuse, &times, GS_WAIT_SEM);
    gs_park(refuse, &times, GS_WAIT_SEM);
    expect_eq(times, 2);
}
TEST(a_park_can_be_refused) {
    on_goroutine(refused);
    refused();
}

/* ---- from many threads */

static void *spawns(void *n) {
    for (intptr_t i = 0; i < (intptr_t)n; i++) expect_eq(go(add_one, NULL), 0);
    return NULL;
}
TEST_LIMIT(go_from_many_threads, 60) {
    enum { THREADS = 8, EACH = 2000 };
    pthread_t t[THREADS];
    for (int i = 0; i < THREADS; i++) pthread_create(&t[i], NULL, spawns, (void *)(intptr_t)EACH);
    for (int i = 0; i < THREADS; i++) pthread_join(t[i], NULL);
    wait_for(&count, THREADS * EACH);
}

/* ---- the number of Ps */

static void yields(void *arg) {
    for (int i = 0; i < 20000; i++) go_yield();
    add_one(NULL);
}
static void resizes(void *arg) {
    for (int i = 0; i < 50; i++) {
        go_maxprocs(1 + i % 4);
        go_yield();
    }
    add_one(NULL);
}
TEST_LIMIT(maxprocs_changes_while_they_run, 60) {
    go_maxprocs(2);
    for (int i = 0; i < 10; i++) go(yields, NULL);
    go(resizes, NULL);
    for (int i = 0; i < 50; i++) go_maxprocs(4 - i % 4);
    wait_for(&count, 11);
    go_maxprocs(3);
    expect_eq(go_maxprocs(0), 3);
}

/* ---- stacks */

static void stays(void *arg) { hog(NULL); }
static bool tally(struct gs_g *g, void *arg) {
    if (gm_load_relaxed(&g->state) != GS_G_RUNNING) expect((char *)g->stack_low <= (char *)g->sp && (char *)g->sp < (char *)g->stack_high);
    expect_eq((char *)g->stack_high - (char *)g->stack_low, GS_STACK_DEFAULT);
    ++*(int *)arg;
    return true;
}
TEST(all_stacks_are_found) {
    int n = 0;
    go_maxprocs(1);
    for (int i = 0; i < 5; i++) go(stays, NULL);
    usleep(2000);
    gs_walk(tally, &n);
    expect_eq(n, 5);
    gm_store_relaxed(&stop, 1);
    wait_for(&count, 5);
}

/* ---- many */

static uint32_t parked;
static bool note_parked(struct gs_g *g, void *arg) {
    gm_add_acq_rel(&parked, 1);
    return true;
}
static struct gs_g **sleepers;
static void sleeps(void *i) {
    sleepers[(uintptr_t)i] = gs_self();
    gs_park(note_parked, NULL, GS_WAIT_SEM);
    add_one(NULL);
}
/* What an overflow would do, tried by the kernel on its behalf: a byte written to the first and to the last address of the
 * guard. The stack above can be written, of which some are asked, as that takes a page. */
static bool can_be_written(const char *at) {
    static int zeros = -1;
    if (zeros < 0) zeros = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    errno = 0;
    long n = syscall(SYS_read, zeros, at, 1);
    return n == 1 || !expect_eq(errno, EFAULT);
}
static uint32_t guards_that_hold(uint32_t n) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uint32_t good = 0;
    for (uint32_t i = 0; i < n; i++) {
        const struct gs_g *g = sleepers[i];
        if (g->guard == GS_GUARD_CANARY) continue;
        bool holds = !can_be_written(g->stack_low - page) && !can_be_written(g->stack_low - 1);
        if (i % 1024 == 0) holds &= can_be_written(g->stack_low);
        good += holds;
    }
    return good;
}
TEST_LIMIT(very_many_alive_at_once, 200) {
    uint32_t n = CHECK_SANITIZED ? 700 : check_stress() ? 1000000 : 20000;
    long before = check_rss_kib();
    sleepers = malloc(n * sizeof *sleepers);
    for (uintptr_t i = 0; i < n; i++)
        if (!expect_eq(go(sleeps, (void *)i), 0)) return;
    wait_for(&parked, n);
    uint32_t guarded = 0;
    for (uint32_t i = 0; i < n; i++) guarded += sleepers[i]->guard != GS_GUARD_CANARY;
    if (sleepers[0]->guard == GS_GUARD_INSTALL) expect_eq(guarded, n); /* where guards take no mappings, all have one */
    diag("%ld bytes resident for each of %u parked goroutines, %u with a guard page", (check_rss_kib() - before) * 1024 / (long)n, n, guarded);
    expect_eq(guards_that_hold(n), guarded);
    for (uint32_t i = 0; i < n; i++) gs_ready(sleepers[i]);
    wait_for(&count, n);
}

TEST_MAIN()
