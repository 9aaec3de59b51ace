/* What becomes of goroutines when their process forks, executes another program or ends. */
#include <poll.h>

#include "tests/unit/core.h"

/* ---- fork and exec */

static void forks(void *arg) {
    pid_t child = fork();
    if (child == 0) {
        gm_store_relaxed(&count, 0);
        for (int i = 0; i < 100; i++) go(add_one, NULL);
        yield_until(&count, 100);
        _exit(7);
    }
    int status = check_wait(child, 20);
    expect(WIFEXITED(status) && WEXITSTATUS(status) == 7);
    add_one(NULL);
}
TEST_LIMIT(the_child_of_a_fork_goes_on, 30) {
    if (CHECK_SANITIZED) skip("the sanitizer does not support threads after a fork");
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
    int status = check_wait(child, 20);
    expect(WIFEXITED(status) && WEXITSTATUS(status) == 8);
}

/* What was asleep or set in the parent is so in the parent only, and both can set anew. */
static void rings(void *arg) { gm_add_acq_rel(&count, 1); }
static void sleeps_short(void *arg) {
    go_sleep(50000000);
    add_one(NULL);
}
TEST_LIMIT(sleeps_and_timers_stay_in_the_parent, 30) {
    if (CHECK_SANITIZED) skip("the sanitizer does not support threads after a fork");
    go_maxprocs(2);
    for (int i = 0; i < 100; i++) go(sleeps_short, NULL);
    gotimer *t = gotimer_after(50000000, rings, NULL);
    usleep(10000);
    pid_t child = fork();
    if (child == 0) {
        uint32_t before = gm_load_acquire(&count); /* not 0 if it took long to get here */
        usleep(100000);
        if (gm_load_acquire(&count) != before || go_count() != 0) _exit(1);
        gotimer_reset(t, 1000000);
        go(sleeps_short, NULL);
        wait_for(&count, before + 2);
        while (go_count() > 0) usleep(1000);
        _exit(0);
    }
    wait_for(&count, 101);
    int status = check_wait(child, 20);
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
    if (CHECK_SANITIZED) skip("the sanitizer does not support threads after a fork");
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
        int status = check_wait(child, 20);
        if (!expect(WIFEXITED(status) && WEXITSTATUS(status) == 3)) break;
    }
    gm_store_relaxed(&stop, 1);
}

/* Nor the allocator's: a program that is linked with the archive has nobody else who minds them. */
static void makes_and_frees(void *size) { gochan_free(gochan_make(8, (size_t)(uintptr_t)size)); }
static void allocates(void *seed) {
    struct check_rng rng = check_rng((unsigned)(uintptr_t)seed);
    while (!gm_load_relaxed(&stop)) {
        for (int i = 0; i < 100; i++) go(makes_and_frees, (void *)(uintptr_t)check_below(&rng, 12000));
        go_yield();
    }
}
TEST_LIMIT(a_fork_while_others_allocate, 60) {
    if (CHECK_SANITIZED) skip("the sanitizer does not support threads after a fork");
    go_maxprocs(3);
    for (uintptr_t i = 0; i < 4; i++) go(allocates, (void *)i);
    for (unsigned i = 0; i < (check_stress() ? 5000 : 100); i++) {
        pid_t child = fork();
        if (child == 0) {
            gm_store_relaxed(&count, 0);
            for (uintptr_t n = 1; n < 10000; n *= 2) makes_and_frees((void *)n);
            go_stack(64 << 10, rings, NULL);
            wait_for(&count, 1);
            _exit(3);
        }
        int status = check_wait(child, 20);
        if (!expect(WIFEXITED(status) && WEXITSTATUS(status) == 3)) break;
    }
    gm_store_relaxed(&stop, 1);
}

/* A timer whose call was under way on another thread at the fork is over in the child: freeing it does not wait for that. */
enum { TIMERS = 8 };
static gotimer *again_and_again[TIMERS];
static void set_again(void *i) {
    if (!gm_load_relaxed(&stop)) gotimer_reset(again_and_again[(uintptr_t)i], 1);
}
TEST_LIMIT(a_fork_while_timers_run, 60) {
    if (CHECK_SANITIZED) skip("the sanitizer does not support threads after a fork");
    go_maxprocs(3);
    for (uintptr_t i = 0; i < TIMERS; i++) again_and_again[i] = gotimer_after(INT64_MAX, set_again, (void *)i);
    for (uintptr_t i = 0; i < TIMERS; i++) gotimer_reset(again_and_again[i], 1);
    for (unsigned i = 0; i < (check_stress() ? 5000 : 300); i++) {
        pid_t child = fork();
        if (child == 0) {
            for (int k = 0; k < TIMERS; k++) gotimer_free(again_and_again[k]);
            _exit(3);
        }
        int status = check_wait(child, 20);
        if (!expect(WIFEXITED(status) && WEXITSTATUS(status) == 3)) break;
    }
    gm_store_relaxed(&stop, 1);
}

static void execs(void *arg) { execl("/bin/sh", "sh", "-c", "ls /proc/self/fd | wc -l | grep -qx 4 && exit 42", (char *)NULL); }
TEST_LIMIT(exec_from_a_goroutine, 30) {
    if (CHECK_SANITIZED) skip("the sanitizer does not support threads after a fork");
    pid_t child = fork();
    if (child == 0) {
        int p[2];
        for (int fd = 3; fd < 1024; fd++) close(fd);
        if (pipe(p) == 0) go_poll(p[0], POLLIN, 1000), close(p[0]), close(p[1]);
        go(hog, NULL);
        go(hog, NULL);
        go(execs, NULL);
        sleep(60);
        _exit(1);
    }
    int status = check_wait(child, 20);
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
        sleep(60);
        _exit(1);
    }
    int status = check_wait(child, 20);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}
TEST_LIMIT(exit_stops_the_others, 30) {
    if (CHECK_SANITIZED) skip("the sanitizer does not support threads after a fork");
    expect_eq(exit_status(nothing_moves, false, false), 5);
    expect_eq(exit_status(nothing_moves, true, false), 5);
    expect_eq(exit_status(nothing_moves, false, true), 5);
}
TEST_LIMIT(a_handler_of_exit_may_wait_for_a_goroutine, 30) {
    if (CHECK_SANITIZED) skip("the sanitizer does not support threads after a fork");
    expect_eq(exit_status(waits_for_a_goroutine, false, false), 5);
    expect_eq(exit_status(waits_for_a_goroutine, true, false), 5);
}

TEST_MAIN()
