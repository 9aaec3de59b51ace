/* Descriptors are the program's: a collection takes no number away, and keeps no file open. */
#include "tests/gc/hide.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/syscall.h>

enum { SLEEPERS = 4, COLLECTIONS = 500, HIGH = 500 };
static atomic_int leave;
static atomic_long collections;

static void *sleeper(void *unused) {
    while (!leave) usleep(2000);
    return NULL;
}

static void *collect(void *unused) {
    for (; !leave; collections++) gogc_collect();
    return NULL;
}

static void start(pthread_t *t) {
    if (!gogc_collect) skip("the library is not preloaded");
    for (int i = 0; i < SLEEPERS; i++) pthread_create(&t[i], NULL, sleeper, NULL);
    pthread_create(&t[SLEEPERS], NULL, collect, NULL);
}
static void end(pthread_t *t) {
    leave = 1;
    for (int i = 0; i <= SLEEPERS; i++) pthread_join(t[i], NULL);
}

TEST_LIMIT(whoever_closes_0_and_opens_gets_0, 60) {
    pthread_t t[SLEEPERS + 1];
    long rounds = 0, others = 0;
    if (syscall(SYS_close_range, 1u << 30, ~0u, CLOSE_RANGE_UNSHARE) != 0 && unshare(CLONE_FILES) != 0) skip("no second table is allowed");
    start(t);
    for (int64_t last = check_now_ns() + INT64_C(8000000000); collections < COLLECTIONS && others == 0 && check_now_ns() < last; rounds++) {
        close(0);
        int fd = open("/dev/null", O_RDONLY);
        others += fd != 0;
        if (fd > 0) close(fd);
    }
    end(t);
    diag("%ld rounds, %ld collections", rounds, (long)collections);
    expect_eq(others, 0);
}

/* ---- the child that marks on a snapshot */

/* The first process that a thread of this one has made; 0: none. */
static int first_child(void) {
    char path[300], text[64];
    struct dirent *e;
    DIR *d = opendir("/proc/self/task");
    int pid = 0;
    while (d && pid == 0 && (e = readdir(d)) != NULL) {
        snprintf(path, sizeof path, "/proc/self/task/%s/children", e->d_name);
        int fd = open(path, O_RDONLY);
        ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
        if (fd >= 0) close(fd);
        text[n > 0 ? n : 0] = 0;
        pid = atoi(text);
    }
    if (d) closedir(d);
    return pid;
}

/* Whether the process has the file HIGH. 1: yes; 0: no; -1: it is ending, and has none any more. */
static int has_file(int pid) {
    enum { EXITING = 4 }; /* PF_EXITING */
    char path[64], text[512];
    unsigned flags = EXITING;
    snprintf(path, sizeof path, "/proc/%d/fd/%d", pid, HIGH);
    bool there = readlink(path, text, sizeof text) > 0;
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *f = fopen(path, "r");
    if (f) {
        if (fscanf(f, "%*d (%*[^)]) %*c %*d %*d %*d %*d %*d %u", &flags) != 1) flags = EXITING;
        fclose(f);
    }
    return there ? 1 : flags & EXITING ? -1 : 0;
}

/* A pipe would not end for its reader as long as the child has the other side open. */
TEST_LIMIT(a_child_keeps_no_file_open, 60) {
    pthread_t t[SLEEPERS + 1];
    struct hide_object *heap = NULL;
    int pid, with = 0, without = 0, p[2];
    if (strcmp(getenv("GOMALLOC"), "gc:on,barrier:fork") != 0) skip("a stop makes no child");
    if (access("/proc/thread-self/children", R_OK) != 0) skip("the kernel does not tell of children");
    expect(pipe(p) == 0 && dup2(p[1], HIGH) == HIGH);
    for (int i = 0; i < 100000; i++) { /* some work for the child */
        struct hide_object *o = malloc(sizeof *o);
        o->next = heap;
        heap = o;
    }
    start(t);
    for (int64_t last = check_now_ns() + INT64_C(200000000000); without < 5 && check_now_ns() < last;) { /* some are over before we look */
        if ((pid = first_child()) == 0) continue;
        int has = has_file(pid);
        with += has == 1; /* it has just been made */
        without += has == 0;
    }
    end(t);
    diag("seen with files %d times, without %d times, %ld collections", with, without, (long)collections);
    expect_eq(without, 5);
}

TEST_MAIN()
