/* A million goroutines asleep until instants drawn from two seconds: the CPU time from when the last one was started
 * until the last one has ended. */
#include "bench/sched/cases.h"

#include <time.h>

enum { SLEEPERS = 1000000 };
/* Until the first one wakes, by when the last is asleep unless the machine is busy, and until the last one wakes. ns */
static const int64_t LEAD = INT64_C(8000000000), SPREAD = INT64_C(2000000000);

static int64_t begin;
static int64_t ended;
static gochan *all_ended;
static double used;

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static void sleeper(void *until) {
    go_sleep(begin + (int64_t)(intptr_t)until - now());
    if (__atomic_add_fetch(&ended, 1, __ATOMIC_RELAXED) == SLEEPERS) gochan_send(all_ended, NULL);
}

/* False: the first ones woke before the last was asleep; all have ended all the same. */
static bool sleep_once(int64_t lead) {
    uint64_t x = 88172645463325252u;
    all_ended = must_make(0, 1);
    ended = 0;
    begin = now() + lead;
    for (int i = 0; i < SLEEPERS; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        must_go(sleeper, (void *)(intptr_t)(x % (uint64_t)SPREAD));
        if (i % 128 == 127) go_yield();
    }
    bool in_time = now() < begin;
    double before = cpu_seconds();
    gochan_recv(all_ended, NULL);
    used = cpu_seconds() - before;
    gochan_free(all_ended);
    return in_time;
}

static void sleep_all(int64_t n) {
    for (int64_t lead = LEAD; !sleep_once(lead); lead *= 2) {}
}

static void timers(struct bench *b) {
    on_goroutine(b, sleep_all);
    bench_counter(b, "figure", used);
}
BENCH(timers) { add_long("timers", timers, 1); }
