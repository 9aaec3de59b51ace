/* What the programs of this folder share: memory that nobody gives back (or, built WITH_FREE, that is), and the longest time between two looks at the clock.
 *
 * The same sources are built twice: as they are, to run with the library's collector put in front, and with WITH_LIBGC, for
 * the C collector that distributions have. WITH_FREE everything is freed by hand, as in any other program. */
#ifndef BENCH_GARBAGE_H
#define BENCH_GARBAGE_H

#ifdef WITH_LIBGC
#define GC_THREADS
#include <gc/gc.h>
#define new_memory(bytes) GC_MALLOC(bytes)
#define begin_memory() GC_INIT()
#else
#define new_memory(bytes) malloc(bytes)
#define begin_memory() ((void)0)
#endif

#ifdef WITH_FREE
#define old_memory(p) free(p)
#else
#define old_memory(p) ((void)(p))
#endif

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { THREADS_MAX = 16 };

static inline void must(int holds, const char *what) {
    if (holds) return;
    fprintf(stderr, "WRONG: %s\n", what);
    exit(1);
}

static inline void *must_new(size_t bytes) {
    void *p = new_memory(bytes);
    must(p != NULL, "no memory");
    return p;
}

static inline int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

/* Of one thread: how long it was held up at most. */
struct gaps {
    int64_t last, longest;
};

static inline void gap_begin(struct gaps *g) { g->last = now_ns(); }
static inline void gap_look(struct gaps *g) {
    int64_t now = now_ns();
    if (now - g->last > g->longest) g->longest = now - g->last;
    g->last = now;
}

struct worker {
    int64_t (*fn)(int index, struct gaps *gaps);
    struct gaps gaps;
    int64_t steps;
    int index;
};

static inline void *worker_main(void *arg) {
    struct worker *w = arg;
    gap_begin(&w->gaps);
    w->steps = w->fn(w->index, &w->gaps);
    return NULL;
}

/* Runs fn on so many threads and prints what the runner reads: millions of steps a second, and the longest gap in ms.
 * fn gets the thread's number and answers its steps. */
static inline void run_threads(int threads, int64_t (*fn)(int index, struct gaps *gaps)) {
    static struct worker workers[THREADS_MAX];
    pthread_t thread[THREADS_MAX];
    int64_t steps = 0, longest = 0, start = now_ns();
    must(threads >= 1 && threads <= THREADS_MAX, "the number of threads");
    for (int i = 0; i < threads; i++) {
        workers[i] = (struct worker){ .fn = fn, .index = i };
        must(pthread_create(&thread[i], NULL, worker_main, &workers[i]) == 0, "pthread_create");
    }
    for (int i = 0; i < threads; i++) {
        pthread_join(thread[i], NULL);
        steps += workers[i].steps;
        if (workers[i].gaps.longest > longest) longest = workers[i].gaps.longest;
    }
    printf("%.3f %.2f\n", (double)steps / (double)(now_ns() - start) * 1e3, (double)longest * 1e-6);
}

#endif
