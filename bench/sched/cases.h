/* What the benchmarks of the scheduler share: the measured loop runs on goroutines, as Go's benchmarks do, and the
 * framework's own thread, a plain one, waits for it in a call of the library. */
#ifndef BENCH_SCHED_CASES_H
#define BENCH_SCHED_CASES_H

#include "bench/shim.h"
#include "gosched.h"

/* A wrong answer is no time: a line on stderr and the end. */
void must(bool holds, const char *what);
void must_go(void (*fn)(void *), void *arg);
gochan *must_make(size_t elem_size, size_t capacity);

/* In BENCH, a case whose iteration lasts: the time that passes counts, printed in ms. times: exactly so many iterations; 0: as
 * many as the framework likes. */
void add_long(const char *name, bench_fn *fn, int64_t times);

/* Runs body(n) on a goroutine with the clock on, n iterations in all. */
void on_goroutine(struct bench *b, void (*body)(int64_t n));

/* Runs fn(0) ... fn(count - 1) on a goroutine each and waits for all. */
void in_parallel(int count, void (*fn)(int index));
/* What falls to one of `count` if they divide n. */
static inline int64_t share(int64_t n, int count, int index) { return n / count + (index < n % count); }

/* CPU time of the process, seconds. */
double cpu_seconds(void);

#endif
