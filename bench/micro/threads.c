/* Threads that come and go: each allocates so many objects of 64 bytes and frees them, or leaves them to be freed by who
 * started it. An item is a thread. */
#include "bench/micro/micro.h"

enum { MOST = 1000 };

struct life {
    int64_t objects;
    bool leaves;
    void *object[MOST];
};

static void *live(void *arg) {
    struct life *l = arg;
    for (int64_t i = 0; i < l->objects; i++) *(char *)(l->object[i] = must(malloc(64))) = 1;
    for (int64_t i = 0; i < l->objects && !l->leaves; i++) free(l->object[i]);
    return NULL;
}

static void lives(struct bench *b, bool leaves) {
    static struct life l;
    l.objects = bench_arg(b, 0);
    l.leaves = leaves;
    BENCH_LOOP(b) {
        pthread_join(started(live, &l), NULL);
        for (int64_t i = 0; i < l.objects && leaves; i++) free(l.object[i]);
    }
    bench_items(b, bench_iterations(b));
}

static void threads(struct bench *b) { lives(b, false); }
static void threads_leaving(struct bench *b) { lives(b, true); }

BENCH(threads) {
    by_the_clock(bench_add("thread", threads, 0));
    by_the_clock(bench_add("thread", threads, 1));
    by_the_clock(bench_add("thread", threads, 100));
    by_the_clock(bench_add("thread", threads, 1000));
    by_the_clock(bench_add("thread-leaving", threads_leaving, 100));
}
