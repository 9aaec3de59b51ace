/* What tests of the scheduler's core share: counting and waiting for it by means that are not under test, a goroutine that never
 * parks, and the least that can park: a cell for one value. */
#ifndef TESTS_UNIT_CORE_H
#define TESTS_UNIT_CORE_H

#include <errno.h>
#include <pthread.h>
#include <sys/wait.h>

#include "libgomalloc/base/atomic.h"
#include "sched/gosched.h"
#include "sched/proc.h"
#include "sched/state.h"
#include "tests/check.h"

static uint32_t count;

static inline void wait_for(uint32_t *word, uint32_t value) {
    while (gm_load_acquire(word) != value) usleep(100);
}
/* On a goroutine, in place of a plain thread's sleeping. */
static inline void yield_until(uint32_t *word, uint32_t value) {
    while (gm_load_acquire(word) != value) go_yield();
}
static inline void add_one(void *arg) { gm_add_acq_rel(&count, 1); }
/* Runs fn on a goroutine and waits for its end. */
static uint32_t ended;
static void (*to_run)(void);
static inline void runner(void *arg) {
    to_run();
    gm_store_release(&ended, 1);
}
static inline void on_goroutine(void (*fn)(void)) {
    to_run = fn;
    gm_store_relaxed(&ended, 0);
    expect_eq(go(runner, NULL), 0);
    wait_for(&ended, 1);
}

static uint32_t stop;
static inline void hog(void *arg) {
    while (!gm_load_relaxed(&stop)) go_yield();
    add_one(NULL);
}

/* Who runs is asked once a call, as proc.h wants it: behind a park the compiler may still hold the old thread's address. */
struct cell {
    struct gs_lock lock;
    struct gs_g *waiting;
    bool full;
    int value;
};
static GM_NOINLINE GM_UNUSED void put(struct cell *c, int v) {
    struct gs_g *self = gs_self();
    gs_lock_acquire(&c->lock, GS_RANK_SYNC);
    while (c->full) {
        c->waiting = self;
        gs_park_unlock(&c->lock, GS_WAIT_CHAN_SEND);
        gs_lock_acquire(&c->lock, GS_RANK_SYNC);
    }
    c->full = true;
    c->value = v;
    struct gs_g *w = c->waiting;
    c->waiting = NULL;
    gs_lock_release(&c->lock);
    if (w) gs_ready(w);
}
static GM_NOINLINE GM_UNUSED int take(struct cell *c) {
    struct gs_g *self = gs_self();
    gs_lock_acquire(&c->lock, GS_RANK_SYNC);
    while (!c->full) {
        c->waiting = self;
        gs_park_unlock(&c->lock, GS_WAIT_CHAN_RECV);
        gs_lock_acquire(&c->lock, GS_RANK_SYNC);
    }
    c->full = false;
    int v = c->value;
    struct gs_g *w = c->waiting;
    c->waiting = NULL;
    gs_lock_release(&c->lock);
    if (w) gs_ready(w);
    return v;
}

#endif
