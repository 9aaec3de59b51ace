/* schedtrace and scheddetail print Go's lines, which Go's users and tools read. */
#include <fcntl.h>
#include <stdio.h>

#include "libgomalloc/conf.h"
#include "sched/gosched.h"
#include "tests/check.h"

static bool stop;
static void runs(void *arg) {
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) go_yield();
}

static char text[65536];
static unsigned records(void) {
    unsigned n = 0;
    for (const char *at = text; (at = strstr(at, "SCHED ")); at++) n++;
    return n;
}

/* What stderr gets while two goroutines run, but for what was begun before they were there: two records and the beginning of another. */
static void trace(bool detail) {
    int pipes[2], keep = dup(2);
    expect_eq(pipe2(pipes, O_NONBLOCK), 0);
    dup2(pipes[1], 2);
    gm_conf.schedtrace = 20;
    gm_conf.scheddetail = detail;
    go_maxprocs(2);
    go(runs, NULL);
    go(runs, NULL);
    while (read(pipes[0], text, sizeof text) > 0) continue; /* from before everything was there */
    memset(text, 0, sizeof text);
    for (size_t used = 0; records() < 4; usleep(1000)) {
        ssize_t n = read(pipes[0], text + used, sizeof text - 1 - used);
        if (n > 0) used += (size_t)n;
    }
    __atomic_store_n(&stop, true, __ATOMIC_RELAXED);
    dup2(keep, 2);
    const char *second = strstr(strstr(text, "SCHED ") + 1, "SCHED ");
    memmove(text, second, strlen(second) + 1);
}

TEST(a_line_an_interval) {
    int ms, procs, idle, threads, spinning, sleeping, queue, a, b;
    trace(false);
    expect_eq(sscanf(text, "SCHED %dms: gomaxprocs=%d idleprocs=%d threads=%d spinningthreads=%d idlethreads=%d runqueue=%d [%d %d]\n",
                     &ms, &procs, &idle, &threads, &spinning, &sleeping, &queue, &a, &b), 9);
    expect(ms >= 20 && ms < 60000);
    expect_eq(procs, 2);
    expect(threads >= 2);
    char *second = strchr(text, '\n');
    expect(second && strncmp(second + 1, "SCHED ", 6) == 0);
}

TEST(detail_has_a_line_for_each) {
    trace(true);
    expect(strstr(text, " gcwaiting=0 nmidlelocked=0 stopwait=0 sysmonwait=0\n") != NULL);
    expect(strstr(text, "\n  P0: status=") != NULL && strstr(text, "\n  P1: status=") != NULL);
    expect(strstr(text, " timerslen=0\n") != NULL);
    expect(strstr(text, "\n  M0: p=") != NULL);
    expect(strstr(text, " mallocing=0 throwing=0 preemptoff= locks=0 dying=0 spinning=") != NULL);
    expect(strstr(text, "\n  G1: status=") != NULL && strstr(text, "\n  G2: status=") != NULL);
    expect(strstr(text, " lockedm=-1\n") != NULL);
}

TEST_MAIN()
