/* The keeper, the thread without a P that sleeps until the next timer or descriptor, while a P is held by another thread: what
 * that one leaves behind when it runs out of work must not wait for as long as the keeper had wanted to sleep. */
#include <fcntl.h>

#include "sched/netpoll.h"
#include "tests/unit/core.h"
#include "tests/unit/parked.h"

enum { MS = 1000000 };
static const int64_t HOUR = INT64_C(3600000000000);
static uint32_t may_return, rang;
static int pipes[2];

static bool keeper_there(void) {
    gs_sched_lock();
    bool there = gs_sched.keeper != NULL;
    gs_sched_unlock();
    return there;
}

static void sleeps_long(void *arg) { go_sleep(HOUR); }
/* Comes back when another M has its P. */
static void blocks(void *arg) {
    go_entersyscall();
    wait_for(&may_return, 1);
    go_exitsyscall();
    add_one(NULL);
}
/* Holds the P until the M that came back without one keeps the time. */
static void holds(void (*then)(void)) {
    gm_store_release(&may_return, 1);
    while (!keeper_there()) usleep(200);
    then();
    gm_store_release(&rang, 1);
}
static void (*next_call)(void);
static void holds_then(void *arg) { holds(next_call); }
static void begin(void (*then)(void)) {
    next_call = then;
    go_maxprocs(1);
    go(sleeps_long, NULL);
    go(blocks, NULL);
    go(holds_then, NULL);
}

static void naps(void) { go_sleep(20 * MS); }
TEST(a_nearer_timer_is_kept) {
    begin(naps);
    wait_for(&rang, 1);
    wait_for(&count, 1);
}

static void reads(void) {
    char c = 0;
    expect_eq(go_read(pipes[0], &c, 1), 1);
    expect_eq(c, 'x');
}
TEST(the_first_descriptor_of_all_is_waited_for) {
    expect_eq(pipe(pipes), 0);
    begin(reads);
    parked_wait(2);
    wait_for(&count, 1);
    usleep(20000); /* until all threads sleep, if they do */
    expect_eq(write(pipes[1], "x", 1), 1);
    wait_for(&rang, 1);
}

/* Goroutines that only yield never come to the poller: sysmon does. */
static uint32_t reading;
static void reads_beside(void *arg) {
    gm_store_release(&reading, 1);
    reads();
    gm_store_release(&rang, 1);
}
TEST(a_descriptor_is_looked_at_while_others_run) {
    expect_eq(pipe(pipes), 0);
    go_maxprocs(1);
    go(hog, NULL);
    go(hog, NULL);
    go(reads_beside, NULL);
    wait_for(&reading, 1);
    parked_wait(1);
    expect_eq(write(pipes[1], "x", 1), 1);
    wait_for(&rang, 1);
    gm_store_relaxed(&stop, 1);
    wait_for(&count, 2);
}

/* A number used again is found out although the keeper, who has nothing to check any more, sleeps without end. */
static void reads_once(void *fd) {
    char c;
    expect_eq(go_read((int)(intptr_t)fd, &c, 1), 1);
    add_one(NULL);
}
TEST(a_number_used_again_is_found_out_while_the_keeper_sleeps) {
#ifdef __SANITIZE_THREAD__
    skip("for ThreadSanitizer closing a descriptor that others use is a race");
#endif
    int waits[2], again[2];
    expect_eq(pipe(waits), 0);
    expect_eq(pipe(pipes), 0);
    expect_eq(pipe(again), 0);
    go_maxprocs(1);
    go(reads_once, (void *)(intptr_t)pipes[0]); /* is registered now */
    parked_wait(1);
    expect_eq(write(pipes[1], "x", 1), 1);
    wait_for(&count, 1);
    go(reads_once, (void *)(intptr_t)waits[0]); /* so that somebody keeps the poller */
    parked_wait(1);
    go(blocks, NULL); /* makes a second M */
    while (!keeper_there()) usleep(200);
    gm_store_release(&may_return, 1);
    wait_for(&count, 2);
    for (int i = 0; i < 500 && gs_poll_has_young(); i++) usleep(1000);
    usleep(30000);
    expect_eq(dup2(again[0], pipes[0]), pipes[0]); /* the kernel forgets the registration */
    go(reads_once, (void *)(intptr_t)pipes[0]);
    parked_wait(2);
    expect_eq(write(again[1], "y", 1), 1);
    wait_for(&count, 3);
    expect_eq(write(waits[1], "z", 1), 1);
    wait_for(&count, 4);
}

/* The bell rings where nobody hears it, as when the program closes it at that very moment: what the keeper was given to do is done
 * by another thread. */
static bool rings_nothing(void) { return true; }
TEST(a_called_keeper_that_does_not_come_is_written_off) {
    expect_eq(pipe(pipes), 0);
    go_maxprocs(1);
    go(reads_once, (void *)(intptr_t)pipes[0]);
    parked_wait(1);
    while (!keeper_there()) usleep(200);
    bool (*interrupt)(void) = gm_load_relaxed(&gs_hooks.interrupt);
    gm_store_relaxed(&gs_hooks.interrupt, rings_nothing);
    go(add_one, NULL);
    wait_for(&count, 1);
    gm_store_relaxed(&gs_hooks.interrupt, interrupt);
    for (uint32_t i = 2; i < 100; i++) { /* and all is as it was: others keep the time */
        go(add_one, NULL);
        wait_for(&count, i);
    }
    expect_eq(write(pipes[1], "x", 1), 1);
    wait_for(&count, 100);
}

TEST_MAIN()
