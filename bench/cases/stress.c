/* Threads with a live set of their own that now and then trade objects with each other.
 *
 *   stress THREADS EPOCHS OPERATIONS
 *
 * Each thread holds 2000 slots of mixed sizes (16 bytes to 32 KiB, small ones most frequent, one in 5000 up
 * to 512 KiB) and exchanges OPERATIONS of them at random. One operation in sixteen swaps its object with
 * one of 1024 shared places instead, so that objects wander between threads at no fixed rhythm. At the end
 * of an epoch all threads free half of what they hold and end; new threads go on with the rest: freed by
 * others, and by threads not yet born. */
#include <pthread.h>
#include <stdatomic.h>

#include "bench.h"

enum { SLOTS = 2000, SHARED = 1024, MAX_THREADS = 256 };

struct worker {
    void *slots[SLOTS];
    struct rng rng;
    uint64_t operations, taken, given;
};

static struct worker workers[MAX_THREADS];
static _Atomic(void *) shared[SHARED];

static size_t pick_size(struct rng *r) { return rng_below(r, 5000) == 0 ? rng_size(r, 15) : rng_size(r, 11); }

static void exchange(struct worker *w, void **slot) {
    if (*slot != NULL) give(*slot, &w->given);
    *slot = take(pick_size(&w->rng), w->rng.state, &w->taken);
}

static void *work(void *argument_worker) {
    struct worker *w = argument_worker;
    for (uint64_t i = 0; i < w->operations; i++) {
        void **slot = &w->slots[rng_below(&w->rng, SLOTS)];
        if (i % 16 == 0) *slot = atomic_exchange(&shared[rng_below(&w->rng, SHARED)], *slot);
        else exchange(w, slot);
    }
    for (int k = 0; k < SLOTS; k += 2) {
        if (w->slots[k] != NULL) give(w->slots[k], &w->given);
        w->slots[k] = NULL;
    }
    return NULL;
}

static void epoch(uint64_t threads) {
    pthread_t ids[MAX_THREADS];
    for (uint64_t t = 0; t < threads; t++) {
        int failed = pthread_create(&ids[t], NULL, work, &workers[t]);
        if (failed != 0) wrong("pthread_create", (uint64_t)failed, 0);
    }
    for (uint64_t t = 0; t < threads; t++) pthread_join(ids[t], NULL);
}

int main(int argc, char **argv) {
    uint64_t threads = argument(argc, argv, 1, 2), epochs = argument(argc, argv, 2, 10), taken = 0, given = 0;
    if (threads < 1 || threads > MAX_THREADS) wrong("number of threads", threads, 2);
    for (uint64_t t = 0; t < threads; t++) {
        workers[t].rng.state = 3000 + t;
        workers[t].operations = argument(argc, argv, 3, 400000);
    }
    for (uint64_t e = 0; e < epochs; e++) epoch(threads);
    for (int k = 0; k < SHARED; k++)
        if (shared[k] != NULL) give(shared[k], &given);
    for (uint64_t t = 0; t < threads; t++) {
        for (int k = 0; k < SLOTS; k++)
            if (workers[t].slots[k] != NULL) give(workers[t].slots[k], &given);
        taken += workers[t].taken;
        given += workers[t].given;
    }
    /* Which sizes a thread draws does not depend on what it gets by trading: every run has the same sum. */
    return finish(taken, given);
}
