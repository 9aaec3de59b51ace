/* Starting goroutines and waiting until they have ended, so many at a time. */
#include "bench/sched/cases.h"

static int batch;
static gowaitgroup spawned;

static void child(void *arg) { gowaitgroup_done(&spawned); }

static void spawn_and_join(int64_t n) {
    for (int64_t left = n; left > 0; left -= batch) {
        int count = left < batch ? (int)left : batch;
        gowaitgroup_add(&spawned, count);
        for (int i = 0; i < count; i++) must_go(child, NULL);
        gowaitgroup_wait(&spawned);
    }
}

static void spawn(struct bench *b) {
    batch = (int)bench_arg(b, 0);
    on_goroutine(b, spawn_and_join);
}
BENCH(spawn_1) { bench_wall_time(bench_add("spawn", spawn, 1)); }
BENCH(spawn_1000) { bench_wall_time(bench_add("spawn", spawn, 1000)); }
