/* See cases.h. */
#include "bench/sched/cases.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

void must(bool holds, const char *what) {
    if (holds) return;
    fprintf(stderr, "WRONG: %s\n", what);
    _Exit(1);
}

void must_go(void (*fn)(void *), void *arg) { must(go(fn, arg) == 0, "go"); }

gochan *must_make(size_t elem_size, size_t capacity) {
    gochan *c = gochan_make(elem_size, capacity);
    must(c != NULL, "gochan_make");
    return c;
}

void add_long(const char *name, bench_fn *fn, int64_t times) {
    struct bench_case *c = bench_add(name, fn);
    bench_wall_time(c);
    bench_unit(c, BENCH_MS);
    if (times > 0) bench_fixed(c, times);
}

struct job {
    void (*body)(int64_t n);
    int64_t n;
    gochan *done;
};

static void run_job(void *arg) {
    struct job *j = arg;
    j->body(j->n);
    gochan_send(j->done, NULL);
}

void on_goroutine(struct bench *b, void (*body)(int64_t n)) {
    struct job j = { .body = body, .done = must_make(0, 1) };
    j.n = bench_begin(b);
    must_go(run_job, &j);
    gochan_recv(j.done, NULL);
    bench_end(b);
    gochan_free(j.done);
}

struct part {
    void (*fn)(int index);
    int index;
    gochan *done;
};

static void run_part(void *arg) {
    struct part *p = arg;
    p->fn(p->index);
    gochan_send(p->done, NULL);
}

void in_parallel(int count, void (*fn)(int index)) {
    struct part parts[count];
    gochan *done = must_make(0, (size_t)count);
    for (int i = 0; i < count; i++) {
        parts[i] = (struct part){ fn, i, done };
        must_go(run_part, &parts[i]);
    }
    for (int i = 0; i < count; i++) gochan_recv(done, NULL);
    gochan_free(done);
}

double cpu_seconds(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + 1e-6 * (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}
