/* Google Benchmark for C: what a benchmark written in C needs of it. shim.cpp has the other side, and main.
 *
 * A benchmark is a function and a list of int64_t arguments, registered by name before main:
 *
 *     static void pairs(struct bench *b) {
 *         size_t size = (size_t)bench_arg(b, 0);
 *         BENCH_LOOP(b) free(bench_kept(malloc(size)));
 *         bench_items(b, bench_iterations(b));
 *     }
 *     BENCH(pairs_64) { bench_add("pairs/64", pairs, 64); }
 *
 * The loop costs one decrement and one branch an iteration: Google Benchmark says beforehand how often it is to run, so the
 * count stays in a register. The framework runs the function several times with growing counts until the time is long
 * enough; what it leaves behind is its own business. With more than one thread each runs the function, and the loops begin
 * together.
 *
 * All calls that take a struct bench are for the thread that the function was called on, unless they say otherwise. Text
 * that is given away must stay. */
#ifndef BENCH_SHIM_H
#define BENCH_SHIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct bench;                  /* one run of one benchmark */
struct bench_case;             /* a registered benchmark */
typedef void bench_fn(struct bench *b);

/* ---- registering, before main. The answers are for the setters below and may be dropped. */
#define BENCH(name) static void __attribute__((constructor)) bench_register_##name(void)
struct bench_case *bench_add_n(const char *name, bench_fn *fn, const int64_t *args, size_t n);
#define bench_add(name, fn, ...) \
    bench_add_n((name), (fn), (const int64_t[]){ 0, ##__VA_ARGS__ } + 1, sizeof (int64_t[]){ 0, ##__VA_ARGS__ } / sizeof(int64_t) - 1)
void bench_threads(struct bench_case *c, int n);
/* The time counts that passed, and CPU time is the whole process's; the default is what the benchmark's thread used. */
void bench_wall_time(struct bench_case *c);
/* The time counts that bench_time gave. */
void bench_manual_time(struct bench_case *c);
/* Exactly so many iterations, whatever time that takes. */
void bench_fixed(struct bench_case *c, int64_t iterations);
/* Of the printed times. */
enum bench_unit { BENCH_NS, BENCH_US, BENCH_MS, BENCH_S };
void bench_unit(struct bench_case *c, enum bench_unit unit);

/* ---- in the function */
int64_t bench_arg(const struct bench *b, size_t i);
/* The clock runs from begin to end. begin: how many iterations, which somebody else may count (0 after bench_skip). */
int64_t bench_begin(struct bench *b);
void bench_end(struct bench *b);
#define BENCH_LOOP(b) \
    for (int64_t bench_left = bench_begin(b); bench_left > 0 || (bench_end(b), false); bench_left--)
int64_t bench_iterations(const struct bench *b);
/* Stops the clock, and lets it run again; each costs some hundred nanoseconds. */
void bench_pause(struct bench *b);
void bench_resume(struct bench *b);
/* The seconds of the iteration, where time is manual. */
void bench_time(struct bench *b, double seconds);
/* Of all iterations of this thread: printed as so many a second. */
void bench_items(struct bench *b, int64_t n);
void bench_bytes(struct bench *b, int64_t n);
/* A figure of its own, printed as it is (of several threads the sum). */
void bench_counter(struct bench *b, const char *name, double value);
void bench_label(struct bench *b, const char *text);
/* This run has no result; `why` is printed in its place. The function must return without running its loop on. */
void bench_skip(struct bench *b, const char *why);
int bench_thread_index(const struct bench *b);
int bench_thread_count(const struct bench *b);

/* The compiler takes p as used, and what it points to as read and written. */
static inline void *bench_kept(void *p) {
    __asm__ volatile("" : "+r"(p) : : "memory");
    return p;
}

#ifdef __cplusplus
}
#endif

#endif
