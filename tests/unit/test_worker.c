/* Threads of the scheduler: goroutines that block them, that are locked to them, and what is done when there is none. */
#include <sys/resource.h>

#include "tests/unit/core.h"

/* ---- blocking */

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

/* Nobody is about to come who was made before. */
static bool all_threads_are_there(void) {
    bool there = gm_load_relaxed(&gs_sched.sysmon_tid) != 0;
    gs_sched_lock();
    for (const struct gs_m *m = gs_sched.all_m; m; m = m->all_next) there &= gm_load_relaxed(&m->tid) != 0;
    gs_sched_unlock();
    return there;
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
    while (!all_threads_are_there()) usleep(1000);
    int threads = check_threads();
    for (int i = 0; i < 6; i++) go(reads, NULL);
    usleep(50000);
    expect_eq(check_threads(), threads);
    for (int i = 0; i < 6; i++) expect_eq(write(pipes[1], "x", 1), 1);
    go(add_one, NULL);
    wait_for(&count, 8);
}

/* None for a while: what was queued then runs as soon as there is one, and no record is lost on the way. */
static bool forbid_threads(struct rlimit *before) {
    struct rlimit none;
    if (geteuid() == 0 && setresuid(65534, 65534, 65534) != 0) return false; /* the limit is not root's */
    getrlimit(RLIMIT_NPROC, before);
    none = (struct rlimit){ 0, before->rlim_max };
    return setrlimit(RLIMIT_NPROC, &none) == 0;
}
static void *nothing(void *arg) { return arg; }
TEST_LIMIT(a_thread_is_made_when_there_is_one_to_be_had, 30) {
    if (CHECK_SANITIZED) skip("the sanitizer needs to make threads");
    struct rlimit before;
    pthread_t t;
    go_maxprocs(1);
    expect_eq(pipe(pipes), 0);
    go(reads, NULL); /* the only thread blocks, and its P goes to the next one */
    while (gm_load_relaxed(&gs_sched.idle_p_count) == 0) usleep(1000);
    if (!forbid_threads(&before) || pthread_create(&t, NULL, nothing, NULL) == 0) skip("threads cannot be forbidden here");
    usleep(100000); /* whoever was about to be made has been */
    uint32_t records = gm_load_relaxed(&gs_sched.m_made), threads = gm_load_relaxed(&gs_sched.m_count);
    for (uint32_t i = 0; i <= threads; i++) go(reads, NULL);
    go(add_one, NULL);
    usleep(200000);
    expect_eq(gm_load_acquire(&count), 0);
    expect_at_most(gm_load_relaxed(&gs_sched.m_made), records + 4); /* as many as try at once */
    expect_at_most(gm_load_relaxed(&gs_sched.m_count), threads + 4);
    expect_eq(setrlimit(RLIMIT_NPROC, &before), 0);
    wait_for(&count, 1);
    for (uint32_t i = 0; i < threads + 2; i++) expect_eq(write(pipes[1], "x", 1), 1);
    wait_for(&count, threads + 3);
}

TEST_MAIN()
