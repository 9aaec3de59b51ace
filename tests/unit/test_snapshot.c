/* The process that marks on a snapshot: how long it lives, how many mark in it. */
#include "tests/check.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "gc/fork.h"
#include "gc/marking.h"

/* Shared with the child: it marks until it is told, 30 s at most. */
static volatile struct { int pid, go_on; } *marking;

static void rest(void) { nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL); }
static bool work(struct gc_fork_result *result) {
    marking->pid = (int)syscall(SYS_getpid);
    for (int i = 0; i < 15000 && !marking->go_on; i++) rest();
    return true;
}

static void *begin(void *arg) {
    expect(gc_fork_start(work));
    while (marking->pid == 0) rest();
    return NULL;
}

static void prepare(void) {
#if defined(__SANITIZE_THREAD__)
    skip("ThreadSanitizer does not live through a clone");
#endif
    marking = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (marking == MAP_FAILED) skip("no shared memory");
}

TEST_LIMIT(a_thread_may_end_while_what_it_has_begun_marks, 60) {
    pthread_t t;
    prepare();
    expect_eq(pthread_create(&t, NULL, begin, NULL), 0);
    expect_eq(pthread_join(t, NULL), 0);
    for (int i = 0; i < 30; i++) rest(); /* the thread's id is gone when it is joined; what the kernel does then, is done */
    marking->go_on = 1;
    unsigned outcome;
    while ((outcome = gc_fork_poll()) == 0) gc_fork_wait(5000000);
    expect_eq(outcome, 1u);
    expect_eq(marking->go_on, 1);
}

TEST_LIMIT(no_marking_outlives_its_process, 60) {
    prepare();
    expect_eq(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), 0); /* whom a process leaves behind becomes our child */
    pid_t parent = fork();
    if (parent == 0) {
        begin(NULL);
        _exit(0);
    }
    int status = -1;
    expect_eq(waitpid(parent, &status, 0), parent);
    expect_eq(status, 0);
    expect_eq(waitpid(marking->pid, &status, __WALL), marking->pid);
    expect_eq(status, 0); /* by itself: not killed, not at its end, which would be seconds away */
}

static void *wait_a_little(void *arg) {
    gc_fork_wait(30 * 1000 * 1000);
    return NULL;
}
/* By all threads together, for this child only. */
TEST_LIMIT(waiting_for_it_is_counted, 60) {
    prepare();
    pthread_t t;
    for (int round = 0; round < 2; round++) {
        marking->pid = marking->go_on = 0;
        begin(NULL);
        expect_eq(gc_fork_waited(), 0u);
        expect_eq(pthread_create(&t, NULL, wait_a_little, NULL), 0);
        wait_a_little(NULL);
        pthread_join(t, NULL);
        expect(gc_fork_waited() >= 58 * 1000 * 1000);
        marking->go_on = 1;
        while (gc_fork_poll() == 0) gc_fork_wait(5000000);
    }
}

/* As many CPUs as the program's threads left idle, to the nearest. */
TEST(what_the_program_leaves_idle_marks) {
    const int64_t much = INT64_C(1) << 30, ms = 1000000;
    expect_eq(gc_marking_workers(true, much, 2), 1u);
    expect_eq(gc_marking_workers(true, much, 16), 4u);
    expect_eq(gc_marking_workers(false, much, 16), 16u);
    expect_eq(gc_marking_workers(false, 1000, 16), 1u);
    gc_marking_waited(149 * ms, 100 * ms);
    expect_eq(gc_marking_workers(true, much, 16), 5u);
    expect_eq(gc_marking_workers(true, much, 2), 2u);
    expect_eq(gc_marking_workers(true, 1000, 2), 1u);
    gc_marking_waited(1600 * ms, 100 * ms);
    expect_eq(gc_marking_workers(true, much, 16), 16u);
    expect_eq(gc_marking_workers(false, much, 16), 16u);
    gc_marking_waited(49 * ms, 100 * ms);
    expect_eq(gc_marking_workers(true, much, 16), 4u);
    gc_marking_waited(0, 0);
    expect_eq(gc_marking_workers(true, much, 1), 1u);
}

/* ---- what is told of it */

static bool says_all(struct gc_fork_result *result) {
    result->objects = 7;
    return true;
}
static bool has_to_give_up(struct gc_fork_result *result) {
    result->incomplete = true;
    return false;
}
static bool dies(struct gc_fork_result *result) {
    syscall(SYS_kill, (int)syscall(SYS_getpid), SIGKILL);
    return true;
}
static unsigned outcome_of(bool (*what)(struct gc_fork_result *result)) {
    unsigned outcome;
    expect(gc_fork_start(what));
    while ((outcome = gc_fork_poll()) == 0) gc_fork_wait(5000000);
    return outcome;
}
TEST_LIMIT(what_a_marking_came_to, 60) {
    prepare();
    expect_eq(outcome_of(says_all), 1u);
    expect_eq(gc_fork_result()->objects, 7);
    expect_eq(outcome_of(has_to_give_up), 2u);
    expect(gc_fork_result()->incomplete);
    expect_eq(outcome_of(dies), 2u); /* nothing is told by a child that was killed */
    expect(!gc_fork_result()->incomplete); /* nor is that which the last one had said */
    expect_eq(outcome_of(says_all), 1u);
}

/* A child that is done is waited for by whoever comes by, or before the next is made: one at a time, and none is left a zombie. */
TEST_LIMIT(it_is_told_once_that_a_child_has_gone, 60) {
    prepare();
    expect(!gc_fork_tidy());
    expect_eq(outcome_of(says_all), 1u);
    while (!gc_fork_tidy()) rest();
    expect(!gc_fork_tidy());
    expect(waitpid(-1, NULL, __WALL | WNOHANG) < 0 && errno == ECHILD);
}
TEST_LIMIT(the_next_waits_for_the_last, 60) {
    prepare();
    for (int i = 0; i < 20; i++) expect_eq(outcome_of(says_all), 1u);
    gc_fork_abandon();
    expect(waitpid(-1, NULL, __WALL | WNOHANG) < 0 && errno == ECHILD);
}
TEST_LIMIT(one_that_is_abandoned_has_gone, 60) {
    prepare();
    begin(NULL);
    gc_fork_abandon();
    expect(kill(marking->pid, 0) < 0 && errno == ESRCH);
    gc_fork_abandon(); /* there is none */
    expect_eq(outcome_of(says_all), 1u);
}

/* The host's child has none, whatever its parent had. */
TEST_LIMIT(a_child_of_the_host_knows_nothing_of_it, 60) {
    prepare();
    begin(NULL);
    pid_t child = fork();
    if (child == 0) {
        gc_fork_forget();
        if (gc_fork_tidy() || outcome_of(says_all) != 1) _exit(1);
        gc_fork_abandon();
        _exit(marking->go_on ? 2 : 0);
    }
    expect_eq(check_wait(child, 20), 0);
    expect_eq(gc_fork_poll(), 0u); /* ours goes on */
    marking->go_on = 1;
    unsigned outcome;
    while ((outcome = gc_fork_poll()) == 0) gc_fork_wait(5000000);
    expect_eq(outcome, 1u);
}

TEST_MAIN()
