/* False sharing: threads do not find their first small objects on one line of the CPU's cache, neither when each allocates its
 * own (active) nor when each first frees what one thread had allocated side by side (passive). */
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>

#include "tests/check.h"

enum { THREADS = 8, OBJECTS = 3, LINE = 64 };

static struct worker {
    pthread_t thread;
    size_t size;
    void *inherited, *object[OBJECTS];
} worker[THREADS];

static pthread_barrier_t all_there, all_seen;

static void *work(void *arg) {
    struct worker *w = arg;
    free(w->inherited);
    for (int i = 0; i < OBJECTS; i++) w->object[i] = malloc(w->size);
    pthread_barrier_wait(&all_there);
    pthread_barrier_wait(&all_seen);
    for (int i = 0; i < OBJECTS; i++) free(w->object[i]);
    return NULL;
}

static bool on_one_line(const struct worker *a, const struct worker *b) {
    for (int i = 0; i < OBJECTS; i++)
        for (int k = 0; k < OBJECTS; k++)
            if ((uintptr_t)a->object[i] / LINE == (uintptr_t)b->object[k] / LINE) return true;
    return false;
}

static void try_size(size_t size, bool passive) {
    for (int t = 0; t < THREADS; t++) worker[t] = (struct worker){ .size = size, .inherited = passive ? malloc(size) : NULL };
    pthread_barrier_init(&all_there, NULL, THREADS + 1);
    pthread_barrier_init(&all_seen, NULL, THREADS + 1);
    for (int t = 0; t < THREADS; t++) expect(pthread_create(&worker[t].thread, NULL, work, &worker[t]) == 0);
    pthread_barrier_wait(&all_there);
    for (int a = 0; a < THREADS; a++)
        for (int b = 0; b < a; b++)
            if (!expect(!on_one_line(&worker[a], &worker[b]))) diag("size %zu: threads %d and %d share a line", size, b, a);
    pthread_barrier_wait(&all_seen);
    for (int t = 0; t < THREADS; t++) pthread_join(worker[t].thread, NULL);
}

TEST(own_objects_lie_apart) {
    for (size_t size = 8; size <= 64; size *= 2) try_size(size, false);
}

TEST(what_others_had_does_not_come_back) {
    for (size_t size = 8; size <= 64; size *= 2) try_size(size, true);
}

TEST_MAIN()
