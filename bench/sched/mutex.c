/* One mutex, eight goroutines that do nothing but take it, count, and give it back. */
#include "bench/sched/cases.h"

enum { TAKERS = 8 };
static gomutex mutex;
static int64_t mutex_n, counted;

static void taker(int index) {
    for (int64_t i = share(mutex_n, TAKERS, index); i > 0; i--) {
        gomutex_lock(&mutex);
        counted++;
        gomutex_unlock(&mutex);
    }
}

static void takes(int64_t n) {
    mutex_n = n;
    in_parallel(TAKERS, taker);
}

static void mutex_8(struct bench *b) {
    counted = 0;
    on_goroutine(b, takes);
    must(counted == mutex_n, "what was counted under the mutex");
}
BENCH(mutex_8) { bench_wall_time(bench_add("mutex", mutex_8)); }
