/* Goroutines and plain threads that do the same thing together; waiting for things without the means that are tested. */
#ifndef TESTS_UNIT_CREW_H
#define TESTS_UNIT_CREW_H

#include <pthread.h>

#include "sched/gosched.h"
#include "tests/unit/panic.h"

static inline uint32_t crew_get(uint32_t *word) { return __atomic_load_n(word, __ATOMIC_ACQUIRE); }
static inline void crew_up(uint32_t *word) { __atomic_fetch_add(word, 1, __ATOMIC_ACQ_REL); }
static inline void crew_wait(uint32_t *word, uint32_t value) {
    while (crew_get(word) < value) go_yield(), usleep(50);
}
/* Long enough for whoever could go on to have gone on. */
static inline void crew_pause(void) {
    for (int i = 0; i < 40; i++) go_yield(), usleep(500);
}

static struct {
    void (*fn)(unsigned i);
    uint32_t ended;
} crew_state __attribute__((unused));

static inline void crew_goroutine(void *i) {
    crew_state.fn((unsigned)(uintptr_t)i);
    crew_up(&crew_state.ended);
}
static inline void *crew_thread(void *i) {
    crew_goroutine(i);
    return NULL;
}

/* fn(0 .. goroutines-1) on goroutines, the next numbers on threads; returns when all have. */
static inline void crew(unsigned goroutines, unsigned threads, void (*fn)(unsigned i)) {
    pthread_t t[16];
    crew_state.fn = fn;
    crew_state.ended = 0;
    for (unsigned i = 0; i < goroutines; i++) expect_eq(go(crew_goroutine, (void *)(uintptr_t)i), 0);
    for (unsigned i = 0; i < threads; i++) expect_eq(pthread_create(&t[i], NULL, crew_thread, (void *)(uintptr_t)(goroutines + i)), 0);
    for (unsigned i = 0; i < threads; i++) pthread_join(t[i], NULL);
    crew_wait(&crew_state.ended, goroutines + threads);
}

#endif
