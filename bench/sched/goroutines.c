/* Goroutines themselves: yielding, a tree of a million, a million that wait. */
#include "bench/sched/cases.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- yield, eight goroutines that do nothing else */

enum { YIELDERS = 8 };
static int64_t yield_n;

static void yielder(int index) {
    for (int64_t i = share(yield_n, YIELDERS, index); i > 0; i--) go_yield();
}

static void yields(int64_t n) {
    yield_n = n;
    in_parallel(YIELDERS, yielder);
}

static void yield(struct bench *b) { on_goroutine(b, yields); }
BENCH(yield) { bench_wall_time(bench_add("yield", yield)); }

/* ---- skynet: a tree of goroutines, ten children to each, a million leaves that send their number up */

enum { LEAVES = 1000000, CHILDREN = 10 };

struct node {
    gochan *up;
    int64_t number, size;
};

static void skynet_node(void *arg) {
    struct node *self = arg;
    int64_t sum = self->number, part = self->size / CHILDREN;
    if (self->size > 1) {
        struct node children[CHILDREN];
        gochan *down = must_make(sizeof sum, 0);
        for (int i = 0; i < CHILDREN; i++) {
            children[i] = (struct node){ down, self->number + i * part, part };
            must_go(skynet_node, &children[i]);
        }
        sum = 0;
        for (int64_t i = 0, v; i < CHILDREN; i++) {
            gochan_recv(down, &v);
            sum += v;
        }
        gochan_free(down);
    }
    gochan_send(self->up, &sum);
}

static void skynets(int64_t n) {
    for (; n > 0; n--) {
        int64_t sum;
        struct node root = { must_make(sizeof sum, 0), 0, LEAVES };
        must_go(skynet_node, &root);
        gochan_recv(root.up, &sum);
        gochan_free(root.up);
        must(sum == (int64_t)LEAVES * (LEAVES - 1) / 2, "the sum of the tree");
    }
}

static void skynet(struct bench *b) { on_goroutine(b, skynets); }
BENCH(skynet) { add_long("skynet", skynet, 0); }

/* ---- parked: what a goroutine that waits adds to the resident set, at a million of them */

enum { PARKED = 1000000 };
static gochan *never;

static void wait_there(void *done) {
    gochan_send(done, NULL);
    gochan_recv(never, NULL);
}

static double resident(void) {
    char line[256];
    double kib = 0;
    FILE *f = fopen("/proc/self/status", "r");
    must(f != NULL, "/proc/self/status");
    while (fgets(line, sizeof line, f))
        if (strncmp(line, "VmRSS:", 6) == 0) kib = strtod(line + 6, NULL);
    fclose(f);
    return kib * 1024;
}

static double each_parked;

static void park_a_million(int64_t n) {
    gochan *done = must_make(0, 0);
    never = must_make(0, 0);
    double before = resident();
    for (int i = 0; i < PARKED; i++) {
        must_go(wait_there, done);
        gochan_recv(done, NULL);
    }
    go_yield(); /* the last one gets to where it waits */
    each_parked = (resident() - before) / PARKED;
    gochan_close(never);
    while (go_count() > 1) go_yield();
    gochan_free(never);
    gochan_free(done);
}

static void parked(struct bench *b) {
    on_goroutine(b, park_a_million);
    bench_counter(b, "figure", each_parked);
}
BENCH(parked) { add_long("parked", parked, 1); }
