/* fork in programs with many threads: the child must find a heap that it can use, whatever the
 * other threads were doing, and fork must not pay for each thread's cache. The time limits are the
 * hang detectors. */
#include "tests/check.h"

#include <pthread.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>

#define SLOTS 512

static atomic_int stop;
static void *_Atomic slot[SLOTS];

static void churn(struct check_rng *rng, int count) {
    for (int i = 0; i < count; i++) {
        size_t n = check_below(rng, 200) ? 1 + check_below(rng, 700) : 1 + check_below(rng, 200000);
        char *p = malloc(n);
        if (!p) abort();
        p[0] = p[n - 1] = 1;
        free(atomic_exchange(&slot[check_below(rng, SLOTS)], p));
    }
}

static void *churn_until_stopped(void *arg) {
    struct check_rng rng = check_rng((unsigned)(size_t)arg);
    while (!stop) churn(&rng, 100);
    return NULL;
}

static void *churn_a_little(void *arg) {
    struct check_rng rng = check_rng((unsigned)(size_t)arg);
    churn(&rng, 300);
    return NULL;
}

/* What a child does: a thousand objects, frees of what the parent's threads had allocated. */
static void be_a_child(unsigned seed) {
    struct check_rng rng = check_rng(seed);
    static char *mine[1000];
    for (int i = 0; i < 1000; i++) {
        size_t n = check_random_size(&rng, 100000);
        mine[i] = malloc(n);
        if (!mine[i]) _exit(10);
        check_fill(mine[i], n, n);
        if (!check_filled(mine[i], n, n)) _exit(11);
    }
    for (int i = 0; i < SLOTS; i++) free(atomic_exchange(&slot[i], NULL));
    for (int i = 0; i < 1000; i++) free(mine[i]);
}

static void start_churning(pthread_t *t, int count) {
    for (int i = 0; i < count; i++)
        expect_eq(pthread_create(&t[i], NULL, churn_until_stopped, (void *)(size_t)i), 0);
}

static void stop_churning(pthread_t *t, int count) {
    stop = 1;
    for (int i = 0; i < count; i++) pthread_join(t[i], NULL);
}

TEST_LIMIT(fork_beside_64_churning_threads, 120) {
    pthread_t t[64];
    start_churning(t, 64);
    int forks = check_stress() ? 10000 : 100;
    for (int i = 0; i < forks; i++) {
        pid_t child = fork();
        if (child == 0) {
            be_a_child(1000 + (unsigned)i);
            _exit(0);
        }
        if (!expect(child > 0) || !expect_eq(check_wait(child, 10), 0)) break;
    }
    stop_churning(t, 64);
}

static void *fork_in_thread(void *arg) {
    for (int i = 0; i < 20; i++) {
        pid_t child = fork();
        if (child == 0) {
            be_a_child((unsigned)(size_t)arg);
            /* The child starts threads, forks again, and leaves through exit. */
            pthread_t t;
            if (pthread_create(&t, NULL, churn_a_little, arg)) _exit(12);
            pthread_join(t, NULL);
            if (i % 4 == 0) {
                pid_t grandchild = fork();
                if (grandchild == 0) {
                    be_a_child(3);
                    _exit(0);
                }
                if (check_wait(grandchild, 10) != 0) _exit(13);
            }
            exit(0);
        }
        if (!expect(child > 0) || !expect_eq(check_wait(child, 10), 0)) break;
    }
    return NULL;
}

TEST_LIMIT(fork_in_several_threads_at_once, 120) {
    pthread_t t[8], f[4];
    start_churning(t, 8);
    for (size_t i = 0; i < 4; i++) pthread_create(&f[i], NULL, fork_in_thread, (void *)i);
    for (int i = 0; i < 4; i++) pthread_join(f[i], NULL);
    stop_churning(t, 8);
}

static void allocating_handler(void) {
    void *volatile p = malloc(100);
    free(p);
    p = malloc(100000);
    free(atomic_exchange(&slot[0], p));
}

TEST_LIMIT(fork_handlers_may_allocate, 60) {
    pthread_t t[8];
    pthread_atfork(allocating_handler, allocating_handler, allocating_handler);
    start_churning(t, 8);
    for (int i = 0; i < 100; i++) {
        pid_t child = fork();
        if (child == 0) {
            be_a_child(5);
            _exit(0);
        }
        if (!expect_eq(check_wait(child, 10), 0)) break;
    }
    stop_churning(t, 8);
}

extern char **environ;

TEST_LIMIT(vfork_spawn_and_system, 60) {
    pthread_t t[8];
    start_churning(t, 8);
    for (int i = 0; i < 20; i++) {
        char *arguments[] = {"true", NULL};
        pid_t child;
        expect_eq(posix_spawn(&child, "/bin/true", NULL, NULL, arguments, environ), 0);
        expect_eq(check_wait(child, 10), 0);
        child = vfork();
        if (child == 0) {
            execl("/bin/true", "true", NULL);
            _exit(1);
        }
        expect_eq(check_wait(child, 10), 0);
    }
    expect_eq(system("exit 3"), 3 << 8);
    stop_churning(t, 8);
}

/* A chain of forks, each generation allocating on what the last one left. */
TEST_LIMIT(generations, 60) {
    unsigned char *block[200];
    struct check_rng rng = check_rng(2);
    for (int i = 0; i < 200; i++) check_fill(block[i] = malloc(1000), 1000, (uint64_t)i);
    for (int generation = 0; generation < 50; generation++) {
        pid_t child = fork();
        if (child) {
            int status = check_wait(child, 50);
            _exit(status == 0 ? 0 : 1);
        }
        for (int i = 0; i < 200; i++) {
            if (!expect(check_filled(block[i], 1000, (uint64_t)i))) _exit(1);
            if (check_below(&rng, 3) == 0) {
                free(block[i]);
                check_fill(block[i] = malloc(1000), 1000, (uint64_t)i);
            }
        }
        pthread_t t;
        pthread_create(&t, NULL, churn_a_little, NULL);
        pthread_join(t, NULL);
    }
    _exit(0);
}

/* ---- what fork costs */

static pthread_barrier_t started;
static atomic_int allocate;

static void *park(void *arg) {
    (void)arg;
    if (allocate)
        for (size_t n = 8; n < 40000; n += n / 4 + 8) {
            void *volatile p = malloc(n);
            free(p);
        }
    pthread_barrier_wait(&started);
    for (;;) pause();
    return NULL;
}

static int compare(const void *a, const void *b) {
    return (*(const int64_t *)a > *(const int64_t *)b) - (*(const int64_t *)a < *(const int64_t *)b);
}

/* Of this thread, whatever else the machine does. */
static int64_t cpu_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int64_t median_fork_ns(void) {
    enum { FORKS = 101 };
    int64_t took[FORKS];
    for (int i = 0; i < FORKS; i++) {
        int64_t begin = cpu_ns();
        pid_t child = fork();
        if (child == 0) _exit(0);
        took[i] = cpu_ns() - begin;
        int status;
        waitpid(child, &status, 0);
    }
    qsort(took, FORKS, sizeof *took, compare);
    return took[FORKS / 2];
}

static void park_threads(int count) {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 65536);
    pthread_barrier_init(&started, NULL, (unsigned)count + 1);
    for (int i = 0; i < count; i++) {
        pthread_t t;
        if (pthread_create(&t, &attributes, park, NULL)) skip("too few threads can be made");
    }
    pthread_barrier_wait(&started);
}

/* 800 threads that have used the allocator against 800 that have not. What differs is the caches'
 * memory to copy page tables for, and what the fork handlers do. */
TEST_LIMIT(cost_does_not_grow_with_caches, 60) {
    int64_t took[2];
    for (int with = 0; with < 2; with++) {
        int ends[2];
        expect(pipe(ends) == 0);
        pid_t child = fork();
        if (child == 0) {
            allocate = with;
            park_threads(800);
            int64_t median = median_fork_ns();
            if (write(ends[1], &median, sizeof median) != sizeof median) _exit(1);
            _exit(0);
        }
        close(ends[1]);
        if (read(ends[0], &took[with], sizeof took[0]) != sizeof took[0]) skip("too few threads can be made");
        check_wait(child, 20);
    }
    diag("fork: %lld us with 800 idle threads, %lld us with 800 that have allocated", (long long)took[0] / 1000,
         (long long)took[1] / 1000);
    expect_at_most(took[1], took[0] + took[0] / 2 + 500000);
}

TEST_MAIN()
