/* A program that closes a descriptor and opens a file gets the number it closed, whatever the library reads meanwhile. */
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/syscall.h>

#include "tests/check.h"

enum { WORKERS = 8, BLOCKS = 3000, TRIMS = 500 };
static atomic_int leave, over;
static atomic_long trims;
static sem_t go, filled;

/* Fills its cache and sleeps, over and over. */
static void *worker(void *unused) {
    for (;;) {
        while (sem_wait(&go) != 0) {}
        if (over) return NULL;
        static __thread void *p[BLOCKS];
        for (int i = 0; i < BLOCKS; i++) p[i] = malloc(100);
        for (int i = 0; i < BLOCKS; i++) free(p[i]);
        sem_post(&filled);
    }
}

/* Takes their caches: for each the library looks into /proc whether the thread sleeps. */
static void *trimmer(void *unused) {
    for (; !leave; trims++) {
        for (int i = 0; i < WORKERS; i++) sem_post(&go);
        for (int i = 0; i < WORKERS; i++) while (sem_wait(&filled) != 0) {}
        malloc_trim(0);
    }
    over = 1;
    for (int i = 0; i < WORKERS; i++) sem_post(&go);
    return NULL;
}

TEST_LIMIT(whoever_closes_0_and_opens_gets_0, 60) {
    pthread_t t[WORKERS + 1];
    long rounds = 0, others = 0;
    if (syscall(SYS_close_range, 1u << 30, ~0u, CLOSE_RANGE_UNSHARE) != 0 && unshare(CLONE_FILES) != 0) skip("no second table is allowed");
    sem_init(&go, 0, 0);
    sem_init(&filled, 0, 0);
    for (int i = 0; i < WORKERS; i++) pthread_create(&t[i], NULL, worker, NULL);
    pthread_create(&t[WORKERS], NULL, trimmer, NULL);
    for (int64_t end = check_now_ns() + INT64_C(8000000000); trims < TRIMS && others == 0 && check_now_ns() < end; rounds++) {
        close(0);
        int fd = open("/dev/null", O_RDONLY);
        others += fd != 0;
        if (fd > 0) close(fd);
    }
    leave = 1;
    for (int i = 0; i <= WORKERS; i++) pthread_join(t[i], NULL);
    diag("%ld rounds, %ld trims", rounds, (long)trims);
    expect_eq(others, 0);
}

TEST_MAIN()
