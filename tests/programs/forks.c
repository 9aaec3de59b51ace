/* The ways in which a process with one thread forks, and those in which it gets its second one without
 * pthread_create: the library registers its fork handlers late (preload/fork.c), and must not be late. */
#include "tests/check.h"

#include <dlfcn.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

static size_t address_space(void) {
    unsigned long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f || fscanf(f, "%lu", &pages) != 1) abort();
    fclose(f);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

/* Under a limit the library gives up address space that it has reserved, if the process counts as its own. */
static bool is_its_own(size_t gib) {
    struct rlimit l = { gib << 30, RLIM_INFINITY };
    size_t before = address_space();
    return setrlimit(RLIMIT_AS, &l) == 0 && address_space() < before && address_space() < gib << 30;
}

/* The exit status of a child that has just been forked: 0 if all is well. */
static int be_a_child(void) {
    if (!is_its_own(16)) return 10;
    for (int i = 0; i < 1000; i++) {
        size_t n = (size_t)(i % 100 + 1) * 400;
        char *p = malloc(n);
        if (!p) return 11;
        p[0] = p[n - 1] = 1;
        free(p);
    }
    pid_t child = fork(); /* and once more */
    if (child == 0) _exit(is_its_own(8) ? 0 : 12);
    return check_wait(child, 10);
}

TEST(the_process_itself) { expect(is_its_own(32)); }

TEST(fork_of_one_thread) {
    pid_t child = fork();
    if (child == 0) _exit(be_a_child());
    expect_eq(check_wait(child, 20), 0);
}

TEST(fork_by_its_other_name) {
    pid_t (*other)(void) = (pid_t (*)(void))dlsym(RTLD_DEFAULT, "__fork");
    if (!expect(other != NULL)) return;
    pid_t child = other();
    if (child == 0) _exit(be_a_child());
    expect_eq(check_wait(child, 20), 0);
}

TEST(forkpty_of_one_thread) {
    int master;
    pid_t child = forkpty(&master, NULL, NULL, NULL);
    if (child < 0) return; /* no terminals here */
    if (child == 0) _exit(be_a_child());
    expect_eq(check_wait(child, 20), 0);
}

TEST(daemon_of_one_thread) {
    int way[2];
    char answer = 99;
    expect_eq(pipe(way), 0);
    pid_t child = fork();
    if (child == 0) {
        if (daemon(1, 1) != 0) _exit(1);
        answer = (char)be_a_child();
        _exit(write(way[1], &answer, 1) != 1);
    }
    expect_eq(check_wait(child, 20), 0);
    close(way[1]);
    expect_eq(read(way[0], &answer, 1), 1);
    expect_eq(answer, 0);
}

static atomic_int stop, allocated;

static void churn(void) {
    void *kept[64] = { NULL };
    for (unsigned i = 0; !stop; i++) {
        free(kept[i % 64]);
        kept[i % 64] = malloc(i * 37 % 60000 + 1);
        allocated = 1;
    }
    for (unsigned i = 0; i < 64; i++) free(kept[i]);
}
static int churn_c11(void *arg) { (void)arg; churn(); return 0; }
static void churn_timer(union sigval v) { (void)v; churn(); }

/* While another thread allocates all the time, its locks included. */
static void fork_often(void) {
    while (!allocated) usleep(100);
    for (int i = 0; i < 100; i++) {
        pid_t child = fork();
        if (child == 0) _exit(be_a_child());
        if (!expect_eq(check_wait(child, 20), 0)) break;
    }
    stop = 1;
}

TEST_LIMIT(beside_a_thread_of_c11, 60) {
    thrd_t t;
    expect_eq(thrd_create(&t, churn_c11, NULL), thrd_success);
    fork_often();
    thrd_join(t, NULL);
}

TEST_LIMIT(beside_a_thread_that_the_c_library_made, 60) {
    timer_t timer;
    struct sigevent event = { .sigev_notify = SIGEV_THREAD, .sigev_notify_function = churn_timer };
    struct itimerspec soon = { .it_value.tv_nsec = 1000 };
    expect_eq(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
    expect_eq(timer_settime(timer, 0, &soon, NULL), 0);
    fork_often();
}

/* Handlers run last registered first before the fork, first registered first after it. */
static void allocating(void) {
    static void *kept;
    free(kept);
    kept = malloc(100000);
    free(malloc(50000));
}

TEST_LIMIT(handlers_of_others_may_allocate, 60) {
    thrd_t t;
    __extension__ int (*registering)(void (*)(void), void (*)(void), void (*)(void), void *) =
        (int (*)(void (*)(void), void (*)(void), void (*)(void), void *))dlsym(RTLD_DEFAULT, "__register_atfork");
    if (!expect(registering != NULL)) return;
    expect_eq(registering(allocating, allocating, allocating, NULL), 0);
    expect_eq(thrd_create(&t, churn_c11, NULL), thrd_success);
    fork_often();
    thrd_join(t, NULL);
}

TEST_MAIN()
