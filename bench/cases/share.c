/* False sharing: does the allocator put objects of different threads on one cache line?
 *
 *   share active  THREADS ROUNDS WRITES    every thread allocates, writes and frees its own object
 *   share passive THREADS ROUNDS WRITES    each first frees an object that the main thread took beside theirs
 *
 * After Berger's cache-thrash (active) and cache-scratch (passive). The objects are 8 bytes; each round
 * writes its object WRITES times. Two threads on one line cost several times what two threads on two lines
 * do. In the passive form, a thread cache that reuses what was just freed gives the shared line straight
 * back to the threads. */
#include <pthread.h>

#include "bench.h"

enum { SIZE = 8, MAX_THREADS = 64 };

struct worker {
    pthread_t thread;
    void *inherited;
    uint64_t rounds, writes, sum;
} __attribute__((aligned(128)));

static void *work(void *argument_worker) {
    struct worker *w = argument_worker;
    uint64_t sum = 0; /* in a register: the workers' own lines must not be the ones that are shared */
    free(w->inherited);
    for (uint64_t i = 0; i < w->rounds; i++) {
        volatile unsigned char *object = must(malloc(SIZE));
        object[i % SIZE] = 0;
        for (uint64_t k = 0; k < w->writes; k++) object[i % SIZE]++;
        sum += object[i % SIZE];
        free((void *)object);
    }
    w->sum = sum;
    return NULL;
}

int main(int argc, char **argv) {
    static struct worker workers[MAX_THREADS];
    int passive = argc > 1 && strcmp(argv[1], "passive") == 0;
    uint64_t threads = argument(argc, argv, 2, 2), rounds = argument(argc, argv, 3, 20000);
    uint64_t writes = argument(argc, argv, 4, 20000), sum = 0;
    if (threads < 1 || threads > MAX_THREADS) wrong("number of threads", threads, 2);
    for (uint64_t t = 0; passive && t < threads; t++) workers[t].inherited = must(malloc(SIZE));
    for (uint64_t t = 0; t < threads; t++) {
        workers[t].rounds = rounds;
        workers[t].writes = writes;
        int failed = pthread_create(&workers[t].thread, NULL, work, &workers[t]);
        if (failed != 0) wrong("pthread_create", (uint64_t)failed, 0);
    }
    for (uint64_t t = 0; t < threads; t++) {
        pthread_join(workers[t].thread, NULL);
        sum += workers[t].sum;
    }
    return finish(threads * rounds * (writes % 256), sum);
}
