/* Thread churn: threads that live for 2000 allocations each, and leave half of their blocks to a successor.
 *
 *   churn THREADS WIDTH
 *
 * THREADS threads in all, WIDTH at a time. Each frees the blocks that its predecessor in the same lane
 * left, takes 2000 of 16 bytes to 4 KiB, frees half of them and ends. The cost of making and ending a
 * thread cache, and the memory that ended threads leave behind. Not fewer allocations: the kernel ends a
 * thread only after its CPU time has been counted, and with more threads than work these 5 us each would
 * look like foreign load. */
#include <pthread.h>

#include "bench.h"

enum { BLOCKS = 2000, MAX_WIDTH = 64 };

struct lane {
    void *left[BLOCKS];
    struct rng rng;
    uint64_t taken, given;
};

static void *live_short(void *argument_lane) {
    struct lane *l = argument_lane;
    for (int k = 0; k < BLOCKS; k++) {
        if (l->left[k] != NULL) give(l->left[k], &l->given);
        l->left[k] = take(rng_size(&l->rng, 8), l->rng.state, &l->taken);
    }
    for (int k = 0; k < BLOCKS; k += 2) {
        give(l->left[k], &l->given);
        l->left[k] = NULL;
    }
    return NULL;
}

int main(int argc, char **argv) {
    static struct lane lanes[MAX_WIDTH];
    uint64_t threads = argument(argc, argv, 1, 5000), width = argument(argc, argv, 2, 8);
    uint64_t taken = 0, given = 0;
    if (width < 1 || width > MAX_WIDTH) wrong("threads at a time", width, 8);
    for (uint64_t t = 0; t < width; t++) lanes[t].rng.state = 4000 + t;
    for (uint64_t done = 0; done < threads; done += width) {
        pthread_t ids[MAX_WIDTH];
        for (uint64_t t = 0; t < width; t++) {
            int failed = pthread_create(&ids[t], NULL, live_short, &lanes[t]);
            if (failed != 0) wrong("pthread_create", (uint64_t)failed, 0);
        }
        for (uint64_t t = 0; t < width; t++) pthread_join(ids[t], NULL);
    }
    for (uint64_t t = 0; t < width; t++) {
        for (int k = 0; k < BLOCKS; k++)
            if (lanes[t].left[k] != NULL) give(lanes[t].left[k], &lanes[t].given);
        taken += lanes[t].taken;
        given += lanes[t].given;
    }
    return finish(taken, given);
}
