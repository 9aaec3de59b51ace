/* Lock-free code under every interleaving of two actors: coroutines that change places before each atomic operation. The code
 * is included behind this header, which is what gives its operations that step:
 *
 *     #include "tests/unit/interleave.h"
 *     #include "sched/runq.c"
 *
 * The orders are sequentially consistent ones; what weaker orders leave open is argued where the code stands. Where all orders are
 * too many, interleave_state.bound says how often at most an actor is interrupted that could have gone on. */
#ifndef TESTS_UNIT_INTERLEAVE_H
#define TESTS_UNIT_INTERLEAVE_H

#include <setjmp.h>
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

enum { INTERLEAVE_STEPS = 1000, INTERLEAVE_WAITS = 250 /* in one order: nobody will end this */ };
static struct {
    jmp_buf back, actor[2];            /* changed between without a system call, of which swapcontext makes one */
    ucontext_t first[2];               /* the stacks the actors begin on */
    bool begun[2];
    void (*body[2])(void);
    bool running[2];
    int current;                       /* actor that runs, -1: none */
    int waits;                         /* actor that lets the other one go first, -1: none */
    uint8_t choice[INTERLEAVE_STEPS];  /* at each step at which both could go on: 1, not the one that was on */
    int depth, fixed;                  /* choices of this run; of those, given by the last one */
    int last;                          /* who was on */
    int bound, interrupted;            /* how often it may be interrupted, 0: any number; how often it was */
    unsigned waited;
    bool stuck;                        /* who is left waits for what nobody will do */
    bool may_wait;                     /* as it should: `good` looks at how */
} interleave_state = { .current = -1, .waits = -1 };
static char interleave_stack[2][64 << 10];

static __attribute__((noinline)) void interleave_switch(jmp_buf from, jmp_buf to) {
    if (_setjmp(from) == 0) _longjmp(to, 1);
}

static void interleave_step(void) {
    if (interleave_state.current >= 0) interleave_switch(interleave_state.actor[interleave_state.current], interleave_state.back);
}

static inline long interleave_wait(void) {
    interleave_state.waits = interleave_state.current;
    interleave_state.stuck = ++interleave_state.waited > INTERLEAVE_WAITS;
    interleave_step();
    return 0;
}

/* An actor, order after order. */
static void interleave_act(int i) {
    for (;;) {
        interleave_state.body[i]();
        interleave_state.running[i] = false;
        interleave_switch(interleave_state.actor[i], interleave_state.back);
    }
}

static void interleave_begin(int i) {
    ucontext_t *c = &interleave_state.first[i];
    getcontext(c);
    c->uc_stack.ss_sp = interleave_stack[i];
    c->uc_stack.ss_size = sizeof interleave_stack[i];
    makecontext(c, (void (*)(void))interleave_act, 1, i);
    interleave_state.begun[i] = true;
    setcontext(c);
}

/* Until its next step, or its end. */
static __attribute__((noinline)) void interleave_go_on(int i) {
    interleave_state.current = i;
    if (interleave_state.begun[i]) interleave_switch(interleave_state.back, interleave_state.actor[i]);
    else if (_setjmp(interleave_state.back) == 0) interleave_begin(i);
    interleave_state.current = -1;
}

/* Both can go on, and nobody waits. */
static inline int interleave_choose(void) {
    if (interleave_state.bound && interleave_state.interrupted == interleave_state.bound) return interleave_state.last;
    if (interleave_state.depth >= INTERLEAVE_STEPS) exit(3);
    if (interleave_state.depth >= interleave_state.fixed) interleave_state.choice[interleave_state.depth] = 0;
    int other = interleave_state.choice[interleave_state.depth++];
    interleave_state.interrupted += other;
    return interleave_state.last ^ other;
}

static inline void interleave_once(void) {
    interleave_state.depth = interleave_state.last = interleave_state.interrupted = 0;
    interleave_state.waited = 0;
    interleave_state.stuck = false;
    interleave_state.running[0] = interleave_state.running[1] = true;
    while (interleave_state.running[0] || interleave_state.running[1]) {
        int who = interleave_state.running[0] ? 0 : 1;
        if (interleave_state.running[0] && interleave_state.running[1])
            who = interleave_state.waits >= 0 ? !interleave_state.waits : interleave_choose();
        interleave_state.waits = -1;
        interleave_state.last = who;
        interleave_go_on(who);
        if (!interleave_state.stuck) continue;
        interleave_state.waits = -1;
        interleave_state.begun[0] = interleave_state.begun[1] = false; /* where they are they stay */
        return;
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
        if (!good() || (!interleave_state.may_wait && !expect(!interleave_state.stuck))) {
            diag("in order %ld", orders);
            return;
        }
    } while (interleave_advance());
    diag("%ld orders", orders);
    expect(orders > 10);
}

#endif
