/* The core of the scheduler: goroutines begin, yield, park, are made ready, block and end, with one P and with several. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/wait.h>

#include "libgomalloc/base/atomic.h"
#include "sched/gosched.h"
#include "sched/proc.h"
#include "sched/stack.h"
#include "sched/state.h"
#include "tests/check.h"

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

static uint32_t count;

static void wait_for(uint32_t *word, uint32_t value) {
    while (gm_load_acquire(word) != value) usleep(100);
}
/* On a goroutine, in place of a plain thread's sleeping. */
static void yield_until(uint32_t *word, uint32_t value) {
    while (gm_load_acquire(word) != value) go_yield();
}
static void add_one(void *arg) { gm_add_acq_rel(&count, 1); }
/* Runs fn on a goroutine and waits for its end. */
static uint32_t ended;
static void (*to_run)(void);
static void runner(void *arg) {
    to_run();
    gm_store_release(&ended, 1);
}
static void on_goroutine(void (*fn)(void)) {
    to_run = fn;
    gm_store_relaxed(&ended, 0);
    expect_eq(go(runner, NULL), 0);
    wait_for(&ended, 1);
}

TEST(nothing_exists_before_the_first_go) {
    int threads = check_threads();
    expect_eq(threads, SANITIZED ? threads : 1);
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
    for (int i = 0; go_count() > 0 && i < 1000; i++) usleep(1000);
    expect_eq(go_count(), 0);
}

enum { MANY = SANITIZED ? 700 : 5000 }; /* ThreadSanitizer touches a megabyte for each that is alive */
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
    on_goroutine(three);
    expect_eq(order[0], 3);
    expect_eq(order[1], 1);
    expect_eq(order[2], 2);
}

static uint32_t stop;
static void hog(void *arg) {
    while (!gm_load_relaxed(&stop)) go_yield();
    add_one(NULL);
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

struct cell {
    struct gs_lock lock;
    struct gs_g *waiting;
    bool full;
    int value;
};
static void put(struct cell *c, int v) {
    gs_lock_acquire(&c->lock, GS_RANK_SYNC);
    while (c->full) {
        c->waiting = gs_self();
        gs_park_unlock(&c->lock, GS_WAIT_CHAN_SEND);
        gs_lock_acquire(&c->lock, GS_RANK_SYNC);
    }
    c->full = true;
    c->value = v;
    struct gs_g *w = c->waiting;
    c->waiting = NULL;
    gs_lock_release(&c->lock);
    if (w) gs_ready(w);
}
static int take(struct cell *c) {
    gs_lock_acquire(&c->lock, GS_RANK_SYNC);
    while (!c->full) {
        c->waiting = gs_self();
        gs_park_unlock(&c->lock, GS_WAIT_CHAN_RECV);
        gs_lock_acquire(&c->lock, GS_RANK_SYNC);
    }
    c->full = false;
    int v = c->value;
    struct gs_g *w = c->waiting;
    c->waiting = NULL;
    gs_lock_release(&c->lock);
    if (w) gs_ready(w);
    return v;
}

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

/* ---- blocking, threads */

static int pipes[2];
static void reads(void *arg) {
    char c;
    go_entersyscall();
    expect_eq(read(pipes[0], &c, 1), 1);
    go_exitsyscall();
    add_one(NULL);
}
static void writes_when_run(void *arg) {
    expect_eq(write(pipes[1], "xx", 2), 2);
    add_one(NULL);
}
TEST(a_blocked_call_hands_its_p_on) {
    go_maxprocs(1);
    expect_eq(pipe(pipes), 0);
    go(reads, NULL);
    go(reads, NULL);
    usleep(2000);
    go(writes_when_run, NULL);
    wait_for(&count, 3);
}

static void same_thread(void *arg) {
    go_lock_thread();
    pthread_t self = pthread_self();
    for (int i = 0; i < 200; i++) {
        go_yield();
        expect(pthread_equal(self, pthread_self()));
    }
    go_unlock_thread();
    go_yield();
    add_one(NULL);
}
TEST_LIMIT(a_locked_goroutine_stays_on_its_thread, 30) {
    go_maxprocs(3);
    for (int i = 0; i < 4; i++) go(same_thread, NULL);
    for (int i = 0; i < 20; i++) go(add_one, NULL);
    wait_for(&count, 24);
}

/* Locked ones in blocked calls, in parks and with all Ps taken by others; nested locks. */
static struct cell locked_cell;
static void locked_blocks(void *put_side) {
    go_lock_thread();
    go_lock_thread();
    pthread_t self = pthread_self();
    for (int i = 0; i < 300; i++) {
        if (put_side) put(&locked_cell, i);
        else expect_eq(take(&locked_cell), i);
        if (i % 50 == 0) {
            go_entersyscall();
            usleep(1000);
            go_exitsyscall();
        }
        if (i == 200) go_unlock_thread(); /* once is not enough */
        if (!expect(pthread_equal(self, pthread_self()))) break;
    }
    go_unlock_thread();
    go_unlock_thread(); /* once too often is nothing */
    add_one(NULL);
}
static void locked_with(int procs) {
    go_maxprocs(procs);
    for (int i = 0; i < 3; i++) go(hog, NULL);
    go(locked_blocks, NULL);
    go(locked_blocks, (void *)1);
    wait_for(&count, 2);
    gm_store_relaxed(&stop, 1);
    wait_for(&count, 5);
}
TEST_LIMIT(locked_goroutines_block_and_park_on_one_p, 30) { locked_with(1); }
TEST_LIMIT(locked_goroutines_block_and_park_on_two_ps, 30) { locked_with(2); }

/* Nothing else runs on a locked goroutine's thread, and a goroutine that ends locked frees it. */
static pthread_t locked_thread;
static uint32_t intruders;
static void looks_where(void *arg) {
    if (pthread_equal(locked_thread, pthread_self())) gm_add_relaxed(&intruders, 1);
    add_one(NULL);
}
static void locks_and_waits(void *arg) {
    go_lock_thread();
    locked_thread = pthread_self();
    for (int i = 0; i < 100; i++) go(looks_where, NULL);
    yield_until(&count, 100);
    expect_eq(gm_load_relaxed(&intruders), 0);
    gm_store_release(&ended, 1);
}
TEST_LIMIT(nothing_else_runs_on_a_locked_thread, 30) {
    go_maxprocs(2);
    go(locks_and_waits, NULL);
    wait_for(&ended, 1);
    for (int i = 0; i < 1000; i++) go(add_one, NULL);
    wait_for(&count, 1100);
}

/* At the limit of threads blocked calls keep their P's work waiting, until the first of them returns. */
TEST_LIMIT(no_thread_is_no_crash, 30) {
    go_maxprocs(2);
    go(add_one, NULL);
    wait_for(&count, 1);
    expect_eq(pipe(pipes), 0);
    gs_sched_lock();
    uint32_t before = gs_sched.m_count;
    gm_store_relaxed(&gs_sched.m_count, before + GS_MAX_THREADS);
    gs_sched_unlock();
    int threads = check_threads();
    for (int i = 0; i < 6; i++) go(reads, NULL);
    usleep(50000);
    expect_eq(check_threads(), threads);
    for (int i = 0; i < 6; i++) expect_eq(write(pipes[1], "x", 1), 1);
    go(add_one, NULL);
    wait_for(&count, 8);
}

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
static void tally(void *low, void *sp, void *high, void *arg) {
    expect(low <= sp && sp < high);
    expect_eq((char *)high - (char *)low, GS_STACK_DEFAULT);
    ++*(int *)arg;
}
TEST(all_stacks_are_found) {
    int n = 0;
    go_maxprocs(1);
    for (int i = 0; i < 5; i++) go(stays, NULL);
    usleep(2000);
    gs_walk_stacks(tally, &n);
    expect_eq(n, 5);
    gm_store_relaxed(&stop, 1);
    wait_for(&count, 5);
}

/* ---- processes */

static void forks(void *arg) {
    pid_t child = fork();
    if (child == 0) {
        gm_store_relaxed(&count, 0);
        for (int i = 0; i < 100; i++) go(add_one, NULL);
        yield_until(&count, 100);
        _exit(7);
    }
    int status = check_wait(child, 10);
    expect(WIFEXITED(status) && WEXITSTATUS(status) == 7);
    add_one(NULL);
}
TEST_LIMIT(the_child_of_a_fork_goes_on, 30) {
    if (SANITIZED) skip("the sanitizer does not support threads after a fork");
    go(hog, NULL);
    go(forks, NULL);
    wait_for(&count, 1);
    pid_t child = fork(); /* from a plain thread: no goroutine is left */
    if (child == 0) {
        gm_store_relaxed(&count, 0);
        for (int i = 0; i < 100; i++) go(add_one, NULL);
        wait_for(&count, 100);
        _exit(8);
    }
    int status = check_wait(child, 10);
    expect(WIFEXITED(status) && WEXITSTATUS(status) == 8);
}

/* What was asleep or set in the parent is so in the parent only, and both can set anew. */
static void rings(void *arg) { gm_add_acq_rel(&count, 1); }
static void sleeps_short(void *arg) {
    go_sleep(50000000);
    add_one(NULL);
}
TEST_LIMIT(sleeps_and_timers_stay_in_the_parent, 30) {
    if (SANITIZED) skip("the sanitizer does not support threads after a fork");
    go_maxprocs(2);
    for (int i = 0; i < 100; i++) go(sleeps_short, NULL);
    gotimer *t = gotimer_after(50000000, rings, NULL);
    usleep(10000);
    pid_t child = fork();
    if (child == 0) {
        usleep(100000);
        if (gm_load_acquire(&count) != 0 || go_count() != 0) _exit(1);
        gotimer_reset(t, 1000000);
        go(sleeps_short, NULL);
        wait_for(&count, 2);
        usleep(1000);
        _exit(go_count());
    }
    wait_for(&count, 101);
    int status = check_wait(child, 10);
    expect(WIFEXITED(status));
    expect_eq(WEXITSTATUS(status), 0);
}

/* Forks while others take and give stacks, timers and queues: no lock is left taken in a child. */
static void churns(void *arg) {
    while (!gm_load_relaxed(&stop)) {
        go_stack(32 << 10, rings, NULL);
        go_sleep(1000);
    }
}
TEST_LIMIT(a_fork_at_any_moment, 60) {
    if (SANITIZED) skip("the sanitizer does not support threads after a fork");
    go_maxprocs(3);
    for (int i = 0; i < 4; i++) go(churns, NULL);
    for (int i = 0; i < 100; i++) {
        pid_t child = fork();
        if (child == 0) {
            gm_store_relaxed(&count, 0);
            go_stack(32 << 10, rings, NULL);
            go(sleeps_short, NULL);
            wait_for(&count, 2);
            _exit(3);
        }
        int status = check_wait(child, 10);
        if (!expect(WIFEXITED(status) && WEXITSTATUS(status) == 3)) break;
    }
    gm_store_relaxed(&stop, 1);
}

static void execs(void *arg) { execl("/bin/sh", "sh", "-c", "ls /proc/self/fd | wc -l | grep -qx 4 && exit 42", (char *)NULL); }
TEST_LIMIT(exec_from_a_goroutine, 30) {
    if (SANITIZED) skip("the sanitizer does not support threads after a fork");
    pid_t child = fork();
    if (child == 0) {
        int p[2];
        for (int fd = 3; fd < 1024; fd++) close(fd);
        if (pipe(p) == 0) go_poll(p[0], POLLIN, 1000), close(p[0]), close(p[1]);
        go(hog, NULL);
        go(hog, NULL);
        go(execs, NULL);
        usleep(10000000);
        _exit(1);
    }
    int status = check_wait(child, 10);
    expect(WIFEXITED(status) && WEXITSTATUS(status) == 42);
}

/* ---- exit */

static uint32_t beats;
static void beat(void *arg) {
    for (;;) {
        gm_add_relaxed(&beats, 1);
        go_yield();
    }
}
static void computes(void *arg) {
    for (;;) gm_add_relaxed(&count, 1);
}
/* Registered before the first go(), so it runs after the stop. */
static void nothing_moves(void) {
    for (int i = 0; i < 200; i++) { /* a thread that got no time within the 10 ms stops when it gets some */
        uint32_t before = gm_load_relaxed(&beats);
        usleep(20000);
        if (before > 0 && gm_load_relaxed(&beats) == before) return;
    }
    _exit(9);
}
static struct gs_lock handler_lock;
static struct gs_g *waits_at_exit;
static void wakes(void *arg) {
    gs_lock_acquire(&handler_lock, GS_RANK_SYNC);
    struct gs_g *g = waits_at_exit;
    gs_lock_release(&handler_lock);
    gs_ready(g);
}
static void waits_for_a_goroutine(void) {
    go(wakes, NULL);
    gs_lock_acquire(&handler_lock, GS_RANK_SYNC);
    waits_at_exit = gs_self();
    gs_park_unlock(&handler_lock, GS_WAIT_SEM);
    uint32_t before = gm_load_relaxed(&beats);
    while (gm_load_relaxed(&beats) == before) go_sleep(100000); /* all run again */
}
static void exits_with(void *status) { exit((int)(intptr_t)status); }
static int exit_status(void (*handler)(void), bool on_a_goroutine, bool computing) {
    pid_t child = fork();
    if (child == 0) {
        atexit(handler);
        go_maxprocs(3);
        go(beat, NULL);
        if (computing) go(computes, NULL);
        while (gm_load_relaxed(&beats) < 1000) usleep(100);
        if (!on_a_goroutine) exit(5);
        go(exits_with, (void *)(intptr_t)5);
        usleep(10000000);
        _exit(1);
    }
    int status = check_wait(child, 10);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}
TEST_LIMIT(exit_stops_the_others, 30) {
    if (SANITIZED) skip("the sanitizer does not support threads after a fork");
    expect_eq(exit_status(nothing_moves, false, false), 5);
    expect_eq(exit_status(nothing_moves, true, false), 5);
    expect_eq(exit_status(nothing_moves, false, true), 5);
}
TEST_LIMIT(a_handler_of_exit_may_wait_for_a_goroutine, 30) {
    if (SANITIZED) skip("the sanitizer does not support threads after a fork");
    expect_eq(exit_status(waits_for_a_goroutine, false, false), 5);
    expect_eq(exit_status(waits_for_a_goroutine, true, false), 5);
}

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
TEST_LIMIT(very_many_alive_at_once, 200) {
    uint32_t n = SANITIZED ? 700 : check_stress() ? 1000000 : 20000;
    long before = check_rss_kib();
    sleepers = malloc(n * sizeof *sleepers);
    for (uintptr_t i = 0; i < n; i++)
        if (!expect_eq(go(sleeps, (void *)i), 0)) return;
    wait_for(&parked, n);
    uint32_t guarded = 0;
    for (uint32_t i = 0; i < n; i++) guarded += sleepers[i]->guard != GS_GUARD_CANARY;
    if (sleepers[0]->guard == GS_GUARD_INSTALL) expect_eq(guarded, n); /* where guards take no mappings, all have one */
    diag("%ld bytes resident for each of %u parked goroutines, %u with a guard page", (check_rss_kib() - before) * 1024 / (long)n, n, guarded);
    for (uint32_t i = 0; i < n; i++) gs_ready(sleepers[i]);
    wait_for(&count, n);
}

TEST_MAIN()
