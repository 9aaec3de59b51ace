/* What the cases of single paths share. They ask malloc for everything and name no allocator: the same program runs under
 * any that is preloaded. An item is one object's life, unless a case says otherwise; run prints nanoseconds an item, of
 * CPU time with one thread and of the time that passed with more. */
#ifndef BENCH_MICRO_H
#define BENCH_MICRO_H

#include <pthread.h>

#include "bench/cases/bench.h"
#include "bench/shim.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* For cases with threads of their own, and for those that the framework runs on n threads at once. */
static inline void by_the_clock(struct bench_case *c) { bench_wall_time(c); }
static inline void on_threads(struct bench_case *c, int n) {
    bench_threads(c, n);
    by_the_clock(c);
}

static inline pthread_t started(void *(*run)(void *), void *arg) {
    pthread_t id;
    int failed = pthread_create(&id, NULL, run, arg);
    if (failed != 0) wrong("pthread_create", (uint64_t)failed, 0);
    return id;
}

/* Every page of the block is written once: what the kernel takes for memory is part of the price. */
static inline void write_pages(void *block, size_t size) {
    for (size_t at = 0; at < size; at += 4096) ((volatile char *)block)[at] = 1;
}

#endif
