/* Message passing after Lever and Boreham: producers only allocate, consumers only free.
 *
 *   xmalloc PRODUCERS CONSUMERS MESSAGES
 *
 * Each producer makes MESSAGES blocks of 16 bytes to 1 KiB in batches of 120 and queues the batches;
 * consumers take batches, check the blocks and free them. The queue holds at most 64 batches, so the live
 * set stays near 8000 blocks, and whatever grows beyond that is the allocator's. A batch is an array of
 * pointers inside the queue: the queue itself allocates nothing. */
#include <pthread.h>

#include "bench.h"

enum { BATCH = 120, DEPTH = 64, MAX_THREADS = 256, DOUBLINGS = 6 };

struct batch {
    void *blocks[BATCH];
    unsigned count;
};

static struct batch queue[DEPTH];
static unsigned head, filled;
static uint64_t producing;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t not_empty = PTHREAD_COND_INITIALIZER, not_full = PTHREAD_COND_INITIALIZER;

struct worker {
    pthread_t thread;
    uint64_t seed, messages, sum;
} __attribute__((aligned(128)));

static void put(const struct batch *b) {
    pthread_mutex_lock(&lock);
    while (filled == DEPTH) pthread_cond_wait(&not_full, &lock);
    queue[(head + filled++) % DEPTH] = *b;
    pthread_cond_signal(&not_empty);
    pthread_mutex_unlock(&lock);
}

/* Answers 0 when all producers have ended and nothing is left. */
static int get(struct batch *b) {
    pthread_mutex_lock(&lock);
    while (filled == 0 && producing > 0) pthread_cond_wait(&not_empty, &lock);
    int got = filled > 0;
    if (got) {
        *b = queue[head];
        head = (head + 1) % DEPTH;
        filled--;
        pthread_cond_signal(&not_full);
    }
    pthread_mutex_unlock(&lock);
    return got;
}

static void *produce(void *argument_worker) {
    struct worker *w = argument_worker;
    struct rng r = {w->seed};
    struct batch b;
    for (uint64_t left = w->messages; left > 0; left -= b.count) {
        b.count = left < BATCH ? (unsigned)left : BATCH;
        for (unsigned k = 0; k < b.count; k++) b.blocks[k] = take(rng_size(&r, DOUBLINGS), left + k, &w->sum);
        put(&b);
    }
    pthread_mutex_lock(&lock);
    if (--producing == 0) pthread_cond_broadcast(&not_empty);
    pthread_mutex_unlock(&lock);
    return NULL;
}

static void *consume(void *argument_worker) {
    struct worker *w = argument_worker;
    struct batch b;
    while (get(&b))
        for (unsigned k = 0; k < b.count; k++) give(b.blocks[k], &w->sum);
    return NULL;
}

int main(int argc, char **argv) {
    static struct worker workers[2 * MAX_THREADS];
    uint64_t producers = argument(argc, argv, 1, 1), consumers = argument(argc, argv, 2, 1);
    uint64_t taken = 0, given = 0;
    if (producers < 1 || producers > MAX_THREADS) wrong("number of producers", producers, 1);
    if (consumers < 1 || consumers > MAX_THREADS) wrong("number of consumers", consumers, 1);
    producing = producers;
    for (uint64_t t = 0; t < producers + consumers; t++) {
        struct worker *w = &workers[t];
        w->seed = 2000 + t;
        w->messages = argument(argc, argv, 3, 5000000);
        int failed = pthread_create(&w->thread, NULL, t < producers ? produce : consume, w);
        if (failed != 0) wrong("pthread_create", (uint64_t)failed, 0);
    }
    for (uint64_t t = 0; t < producers + consumers; t++) {
        pthread_join(workers[t].thread, NULL);
        *(t < producers ? &taken : &given) += workers[t].sum;
    }
    return finish(taken, given);
}
