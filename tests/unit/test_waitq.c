/* Queues of waiters: order, removal from anywhere, and one winner for a select that waits in many. */
#include <pthread.h>

#include "sched/waitq.h"
#include "tests/check.h"

enum { N = 16 };

static void expect_sound(const struct gs_waitq *q, unsigned n) {
    const struct gs_waiter *last = NULL;
    unsigned count = 0;
    for (const struct gs_waiter *w = q->first; w; last = w, w = w->next, count++) {
        expect(w->queued);
        expect_eq((uintptr_t)w->prev, (uintptr_t)last);
    }
    expect_eq((uintptr_t)q->last, (uintptr_t)last);
    expect_eq(count, n);
    expect_eq(gs_waitq_empty(q), n == 0);
}

TEST(zero_value_is_empty) {
    struct gs_waitq q = {0};
    expect(gs_waitq_empty(&q));
    expect(gs_waitq_pop(&q) == NULL);
    expect_sound(&q, 0);
}

TEST(first_come_first_served) {
    struct gs_waitq q = {0};
    struct gs_waiter w[N] = {0};
    for (unsigned i = 0; i < N; i++) gs_waitq_push(&q, &w[i]);
    expect_sound(&q, N);
    for (unsigned i = 0; i < N; i++) expect_eq(gs_waitq_pop(&q) - w, i);
    expect_sound(&q, 0);
}

TEST(push_front_goes_before_all) {
    struct gs_waitq q = {0};
    struct gs_waiter w[3] = {0};
    gs_waitq_push_front(&q, &w[1]);
    gs_waitq_push(&q, &w[2]);
    gs_waitq_push_front(&q, &w[0]);
    expect_sound(&q, 3);
    for (unsigned i = 0; i < 3; i++) expect_eq(gs_waitq_pop(&q) - w, i);
}

TEST(removing_a_popped_one_does_nothing) {
    struct gs_waitq q = {0};
    struct gs_waiter w[2] = {0};
    gs_waitq_push(&q, &w[0]);
    gs_waitq_push(&q, &w[1]);
    expect(gs_waitq_pop(&q) == &w[0]);
    gs_waitq_remove(&q, &w[0]);
    expect_sound(&q, 1);
    expect(gs_waitq_pop(&q) == &w[1]);
}

/* Random pushes, removals and pops against an array that says the same. */
TEST(like_a_plain_model) {
    struct check_rng rng = check_rng(1);
    struct gs_waitq q = {0};
    struct gs_waiter w[N] = {0};
    unsigned order[N], n = 0;
    for (unsigned step = 0; step < 20000; step++) {
        unsigned i = (unsigned)check_below(&rng, N), at = 0;
        while (at < n && order[at] != i) at++;
        if (at == n) {
            bool front = check_below(&rng, 4) == 0;
            if (front) memmove(order + 1, order, n * sizeof *order);
            order[front ? 0 : n] = i;
            n++;
            if (front) gs_waitq_push_front(&q, &w[i]);
            else gs_waitq_push(&q, &w[i]);
        } else if (check_below(&rng, 2)) {
            gs_waitq_remove(&q, &w[i]);
            memmove(order + at, order + at + 1, (--n - at) * sizeof *order);
        } else {
            expect_eq(gs_waitq_pop(&q) - w, order[0]);
            memmove(order, order + 1, --n * sizeof *order);
        }
        expect_sound(&q, n);
    }
}

TEST(pop_passes_over_a_select_already_won) {
    struct gs_waitq a = {0}, b = {0};
    uint32_t claim = 0;
    struct gs_waiter in_a = { .claim = &claim }, in_b = { .claim = &claim }, plain = {0};
    gs_waitq_push(&a, &in_a);
    gs_waitq_push(&b, &in_b);
    gs_waitq_push(&b, &plain);
    expect(gs_waitq_pop(&a) == &in_a);
    expect_eq(claim, 1);
    expect(gs_waitq_pop(&b) == &plain);
    expect(!in_b.queued);
    gs_waitq_remove(&b, &in_b); /* what the select does with its other cases */
    expect_sound(&b, 0);
}

/* One channel twice in a select: the second entry is not a second wake-up. */
TEST(a_select_twice_in_one_queue_is_woken_once) {
    struct gs_waitq q = {0};
    uint32_t claim = 0;
    struct gs_waiter w[2] = { { .claim = &claim }, { .claim = &claim } };
    gs_waitq_push(&q, &w[0]);
    gs_waitq_push(&q, &w[1]);
    expect(gs_waitq_pop(&q) == &w[0]);
    expect(gs_waitq_pop(&q) == NULL);
}

/* Each thread owns one queue (so needs no lock), and every select waits in all of them. */
enum { WAKERS = 4, SELECTS = 20000 };
static uint32_t claims[SELECTS];
static struct gs_waiter waiters[WAKERS][SELECTS];
static struct gs_waitq queues[WAKERS];
static uint32_t wakeups[SELECTS];
static pthread_barrier_t start;

static void *waker(void *queue) {
    struct gs_waitq *q = queue;
    pthread_barrier_wait(&start);
    for (struct gs_waiter *w; (w = gs_waitq_pop(q));) gm_add_relaxed(&wakeups[w->index], 1);
    return NULL;
}

TEST(one_waker_wins_a_select) {
    pthread_t t[WAKERS];
    pthread_barrier_init(&start, NULL, WAKERS);
    for (unsigned i = 0; i < WAKERS; i++)
        for (unsigned s = 0; s < SELECTS; s++) {
            waiters[i][s] = (struct gs_waiter){ .claim = &claims[s], .index = s };
            gs_waitq_push(&queues[i], &waiters[i][s]);
        }
    for (unsigned i = 0; i < WAKERS; i++) expect_eq(pthread_create(&t[i], NULL, waker, &queues[i]), 0);
    for (unsigned i = 0; i < WAKERS; i++) pthread_join(t[i], NULL);
    unsigned wrong = 0;
    for (unsigned s = 0; s < SELECTS; s++) wrong += wakeups[s] != 1;
    expect_eq(wrong, 0);
}

TEST_MAIN()
