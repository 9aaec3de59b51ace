/* Goroutines and plain threads that do the same thing together; waiting for things without the means that are tested. */
#ifndef TESTS_UNIT_CREW_H
#define TESTS_UNIT_CREW_H

#include <pthread.h>

#include "libgomalloc/alloc.h"
#include "sched/gosched.h"
#include "tests/unit/panic.h"
#include "tests/unit/parked.h"

/* How often something is tried: 20 times as often with STRESS=1. Where each time goroutines are made, or processes, less often under
 * ThreadSanitizer, for which they cost 100 times as much. */
static inline unsigned crew_times(unsigned n) { return check_stress() ? 20 * n : n; }
#ifdef __SANITIZE_THREAD__
static inline unsigned crew_rounds(unsigned n) { return crew_times(n / 10); }
#else
static inline unsigned crew_rounds(unsigned n) { return crew_times(n); }
#endif

static inline uint32_t crew_get(uint32_t *word) { return __atomic_load_n(word, __ATOMIC_ACQUIRE); }
static inline void crew_up(uint32_t *word) { __atomic_fetch_add(word, 1, __ATOMIC_ACQ_REL); }
static inline void crew_wait(uint32_t *word, uint32_t value) {
    while (crew_get(word) < value) go_yield(), usleep(50);
}
/* A goroutine is on its way, or queued for it. Plain threads are not counted: they run, as this one does. */
static inline bool crew_moves(void) {
    const struct gs_g *self = gs_self();
    for (struct gs_g *g = gm_load_acquire(&gs_sched.all_g); g; g = g->all_next) {
        uint32_t state = gm_load_relaxed(&g->state);
        if (g != self && !(gm_load_relaxed(&g->flags) & GS_G_STANDIN) && (state == GS_G_RUNNABLE || state == GS_G_RUNNING)) return true;
    }
    return false;
}
/* Long enough for whoever could go on to have gone on: on a busy machine that is until all goroutines wait, or some seconds, if
 * there are such that never do. */
static inline void crew_pause(void) {
    for (int i = 0; i < 40; i++) go_yield(), usleep(500);
    for (int i = 0; i < 5000 && crew_moves(); i++) go_yield(), usleep(1000);
}

/* Forks n times while `busy` runs again and again on another thread; in each child `check` must hold and come to an end. */
static struct {
    void (*busy)(void);
    uint32_t over;
} crew_forks_state __attribute__((unused));
static inline void *crew_busy(void *arg) {
    while (!crew_get(&crew_forks_state.over)) crew_forks_state.busy();
    return NULL;
}
static inline void crew_forks(unsigned n, void (*busy)(void), bool (*check)(void)) {
    pthread_t t;
    gm_free(gm_alloc(1)); /* the allocator is up, and minds forks, as where it is preloaded or there was a goroutine */
    if (!gm_forks_minded) pthread_atfork(gm_fork_prepare, gm_fork_parent, gm_fork_child);
    gm_forks_minded = true;
    crew_forks_state.busy = busy;
    pthread_create(&t, NULL, crew_busy, NULL);
    for (unsigned i = 0; i < n; i++) {
        pid_t child = fork();
        if (child == 0) _exit(!check());
        int status = check_wait(child, 10);
        if (!expect(WIFEXITED(status) && WEXITSTATUS(status) == 0)) break;
    }
    crew_up(&crew_forks_state.over);
    pthread_join(t, NULL);
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
