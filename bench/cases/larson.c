/* A server after Larson and Krishnan: connections come and go, and the objects of one are freed by another
 * thread.
 *
 *   larson THREADS GENERATIONS OPERATIONS
 *
 * THREADS chains run side by side. A chain owns 1000 slots with objects of 10 to 500 bytes, which the main
 * thread allocates and shuffles over all chains before anything starts. Each generation is a thread that
 * exchanges OPERATIONS objects at random places and hands its slots to a new thread before it ends: much of
 * what a thread frees was allocated by threads that are gone. */
#include <pthread.h>

#include "bench.h"

enum { SLOTS = 1000, SMALLEST = 10, LARGEST = 500, MAX_CHAINS = 256 };

struct chain {
    void *slots[SLOTS];
    struct rng rng;
    uint64_t generations, operations, taken, given;
};

static struct chain chains[MAX_CHAINS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t ended = PTHREAD_COND_INITIALIZER;
static uint64_t running;

static void *fresh(struct chain *c) {
    size_t size = SMALLEST + rng_below(&c->rng, LARGEST - SMALLEST + 1);
    return take(size, c->rng.state, &c->taken);
}

static void *generation(void *argument_chain);

static void hand_over(struct chain *c) {
    pthread_t next;
    int failed = pthread_create(&next, NULL, generation, c);
    if (failed != 0) wrong("pthread_create", (uint64_t)failed, 0);
    pthread_detach(next);
}

static void *generation(void *argument_chain) {
    struct chain *c = argument_chain;
    for (uint64_t i = 0; i < c->operations; i++) {
        void **slot = &c->slots[rng_below(&c->rng, SLOTS)];
        give(*slot, &c->given);
        *slot = fresh(c);
    }
    if (--c->generations > 0) {
        hand_over(c);
        return NULL;
    }
    pthread_mutex_lock(&lock);
    if (--running == 0) pthread_cond_signal(&ended);
    pthread_mutex_unlock(&lock);
    return NULL;
}

/* Fisher and Yates over the slots of all chains at once. */
static void shuffle(uint64_t threads) {
    struct rng r = {4};
    for (uint64_t i = threads * SLOTS; i-- > 1;) {
        uint64_t j = rng_below(&r, i + 1);
        void **a = &chains[i / SLOTS].slots[i % SLOTS], **b = &chains[j / SLOTS].slots[j % SLOTS];
        void *kept = *a;
        *a = *b;
        *b = kept;
    }
}

int main(int argc, char **argv) {
    uint64_t threads = argument(argc, argv, 1, 2), taken = 0, given = 0;
    if (threads < 1 || threads > MAX_CHAINS) wrong("number of threads", threads, 2);
    for (uint64_t t = 0; t < threads; t++) {
        chains[t].rng.state = 1000 + t;
        chains[t].generations = argument(argc, argv, 2, 100);
        chains[t].operations = argument(argc, argv, 3, 100000);
        for (int k = 0; k < SLOTS; k++) chains[t].slots[k] = fresh(&chains[t]);
    }
    shuffle(threads);
    running = threads;
    for (uint64_t t = 0; t < threads; t++) hand_over(&chains[t]);
    pthread_mutex_lock(&lock);
    while (running > 0) pthread_cond_wait(&ended, &lock);
    pthread_mutex_unlock(&lock);
    for (uint64_t t = 0; t < threads; t++) {
        for (int k = 0; k < SLOTS; k++) give(chains[t].slots[k], &chains[t].given);
        taken += chains[t].taken;
        given += chains[t].given;
    }
    return finish(taken, given);
}
