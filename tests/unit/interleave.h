/* Lock-free code under every interleaving of two actors: coroutines that change places before each atomic operation. The code
 * is included behind this header, which is what gives its operations that step:
 *
 *     #include "tests/unit/interleave.h"
 *     #include "sched/runq.c"
 *
 * The orders are sequentially consistent ones; what weaker orders leave open is argued where the code stands. */
#ifndef TESTS_UNIT_INTERLEAVE_H
#define TESTS_UNIT_INTERLEAVE_H

#include <ucontext.h>

#include "libgomalloc/base/atomic.h"
#include "tests/check.h"

static void interleave_step(void);
/* In place of a futex's wait: the other one goes on first. */
static inline long interleave_wait(void);

#define __atomic_load_n(p, order) (interleave_step(), __atomic_load_n((p), order))
#define __atomic_store_n(p, v, order) (interleave_step(), __atomic_store_n((p), (v), order))
#define __atomic_exchange_n(p, v, order) (interleave_step(), __atomic_exchange_n((p), (v), order))
#define __atomic_fetch_add(p, v, order) (interleave_step(), __atomic_fetch_add((p), (v), order))
#define __atomic_fetch_sub(p, v, order) (interleave_step(), __atomic_fetch_sub((p), (v), order))
#define __atomic_sub_fetch(p, v, order) (interleave_step(), __atomic_sub_fetch((p), (v), order))
#define __atomic_compare_exchange_n(p, e, v, weak, good, bad) \
    (interleave_step(), __atomic_compare_exchange_n((p), (e), (v), weak, good, bad))

enum { INTERLEAVE_STEPS = 200 };
static struct {
    ucontext_t back, actor[2];
    void (*body[2])(void);
    bool running[2];
    int current;                       /* actor that runs, -1: none */
    int waits;                         /* actor that lets the other one go first, -1: none */
    uint8_t choice[INTERLEAVE_STEPS];  /* who went on at each step at which both could */
    int depth, fixed;                  /* choices of this run; of those, given by the last one */
} interleave_state = { .current = -1, .waits = -1 };
static char interleave_stack[2][64 << 10];

static void interleave_step(void) {
    if (interleave_state.current >= 0) swapcontext(&interleave_state.actor[interleave_state.current], &interleave_state.back);
}

static inline long interleave_wait(void) {
    interleave_state.waits = interleave_state.current;
    interleave_step();
    return 0;
}

static void interleave_start(int i) {
    interleave_state.body[i]();
    interleave_state.running[i] = false;
}

static inline void interleave_prepare(int i) {
    ucontext_t *c = &interleave_state.actor[i];
    getcontext(c);
    c->uc_stack.ss_sp = interleave_stack[i];
    c->uc_stack.ss_size = sizeof interleave_stack[i];
    c->uc_link = &interleave_state.back;
    makecontext(c, (void (*)(void))interleave_start, 1, i);
    interleave_state.running[i] = true;
}

static inline void interleave_once(void) {
    interleave_state.depth = 0;
    interleave_prepare(0);
    interleave_prepare(1);
    while (interleave_state.running[0] || interleave_state.running[1]) {
        int who = interleave_state.running[0] ? 0 : 1;
        if (interleave_state.running[0] && interleave_state.running[1] && interleave_state.waits >= 0) {
            who = !interleave_state.waits;
        } else if (interleave_state.running[0] && interleave_state.running[1]) {
            if (interleave_state.depth >= INTERLEAVE_STEPS) exit(3);
            if (interleave_state.depth >= interleave_state.fixed) interleave_state.choice[interleave_state.depth] = 0;
            who = interleave_state.choice[interleave_state.depth++];
        }
        interleave_state.waits = -1;
        interleave_state.current = who;
        swapcontext(&interleave_state.back, &interleave_state.actor[who]);
        interleave_state.current = -1;
    }
}

/* The next untried order: false when there is none. */
static inline bool interleave_advance(void) {
    int *depth = &interleave_state.depth;
    while (*depth > 0 && interleave_state.choice[*depth - 1] == 1) --*depth;
    if (*depth == 0) return false;
    interleave_state.choice[*depth - 1] = 1;
    interleave_state.fixed = *depth;
    return true;
}

/* Runs `one` and `other` in all orders of their operations, from the state that `before` makes; `good` looks at what they
 * have made of it, and ends the walk if it is not. */
static inline void interleave(void (*before)(void), void (*one)(void), void (*other)(void), bool (*good)(void)) {
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
    skip("the sanitizer does not know these stacks");
#endif
    long orders = 0;
    interleave_state.body[0] = one;
    interleave_state.body[1] = other;
    interleave_state.fixed = 0;
    do {
        before();
        interleave_once();
        orders++;
        if (!good()) {
            diag("in order %ld", orders);
            return;
        }
    } while (interleave_advance());
    diag("%ld orders", orders);
    expect(orders > 10);
}

#endif
