/* gosem: weights, order, contexts, misuse. */
#include "tests/unit/crew.h"

static gosem s;
static uint32_t step, done, in_use;

TEST(takes_and_gives) {
    gosem_init(&s, 3);
    expect(gosem_try_acquire(&s, 2));
    expect(!gosem_try_acquire(&s, 2));
    expect(gosem_try_acquire(&s, 1));
    expect(!gosem_try_acquire(&s, 1));
    gosem_release(&s, 3);
    gosem_acquire(&s, 3);
    gosem_release(&s, 3);
    expect(!gosem_try_acquire(&s, 4));
    expect(gosem_try_acquire(&s, 0));
    static gosem zero; /* has no units */
    expect(!gosem_try_acquire(&zero, 1));
    gosem_acquire(&zero, 0);
}

enum { SIZE = 10 };
static void hammer(unsigned who) {
    struct check_rng rng = check_rng(who);
    for (unsigned i = 0; i < crew_times(2000); i++) {
        uint32_t n = 1 + (uint32_t)check_below(&rng, SIZE);
        if (check_below(&rng, 4)) gosem_acquire(&s, n);
        else if (!gosem_try_acquire(&s, n)) continue;
        if (__atomic_add_fetch(&in_use, n, __ATOMIC_RELAXED) > SIZE) expect(!"too many");
        if (check_below(&rng, 8) == 0) go_yield();
        __atomic_fetch_sub(&in_use, n, __ATOMIC_RELAXED);
        gosem_release(&s, n);
    }
}
TEST_LIMIT(never_more_than_there_are, 60) {
    go_maxprocs(4);
    gosem_init(&s, SIZE);
    crew(12, 4, hammer);
    expect_eq(s.used, 0);
    expect(s.first == NULL);
}

static char order[16];
static void take_many(void *arg) {
    gosem_acquire(&s, 3);
    strcat(order, "3");
    gosem_release(&s, 3);
    crew_up(&done);
}
static void take_one(void *arg) {
    gosem_acquire(&s, 1);
    strcat(order, "1");
    gosem_release(&s, 1);
    crew_up(&done);
}
TEST(the_small_do_not_overtake_the_large) {
    go_maxprocs(1);
    gosem_init(&s, 3);
    gosem_acquire(&s, 2);
    go(take_many, NULL);
    crew_pause();
    go(take_one, NULL);
    crew_pause();
    expect(!gosem_try_acquire(&s, 1)); /* one is free, but somebody waits */
    expect_str(order, "");
    gosem_release(&s, 2);
    crew_wait(&done, 2);
    expect_str(order, "31");
}

static gocontext *ctx;
static void (*cancel)(gocontext *);
static int result;
static void take_with_context(void *n) {
    result = gosem_acquire_context(&s, ctx, (int64_t)(intptr_t)n);
    crew_up(&step);
}
TEST(a_context_calls_it_off) {
    ctx = goctx_with_cancel(goctx_background(), &cancel);
    gosem_init(&s, 2);
    expect_eq(gosem_acquire_context(&s, ctx, 1), 0);
    go(take_with_context, (void *)2);
    crew_pause();
    expect_eq(crew_get(&step), 0);
    cancel(ctx);
    crew_wait(&step, 1);
    expect_eq(result, -ECANCELED);
    expect_eq(s.used, 1);
    expect(s.first == NULL);
    expect_eq(gosem_acquire_context(&s, ctx, 1), 0); /* free: taken all the same */
    expect_eq(gosem_acquire_context(&s, ctx, 1), -ECANCELED);
    goctx_release(ctx);
    ctx = goctx_with_timeout(goctx_background(), 1000000, NULL);
    expect_eq(gosem_acquire_context(&s, ctx, 5), -ETIMEDOUT); /* more than there will ever be, on a plain thread */
    goctx_release(ctx);
}
/* The large one in front held the others up: its end lets them go. */
TEST(calling_off_the_first_serves_the_next) {
    go_maxprocs(2);
    ctx = goctx_with_cancel(goctx_background(), &cancel);
    gosem_init(&s, 3);
    gosem_acquire(&s, 2);
    go(take_with_context, (void *)3);
    crew_pause();
    go(take_one, NULL);
    crew_pause();
    expect_eq(crew_get(&done), 0);
    cancel(ctx);
    crew_wait(&done, 1);
    crew_wait(&step, 1);
    expect_eq(result, -ECANCELED);
    goctx_release(ctx);
}

/* Cancelling while units come: each request gets its units or the error, and the sum is right in the end. */
static void race(unsigned who) {
    struct check_rng rng = check_rng(who);
    for (unsigned i = 0; i < crew_times(400); i++) {
        gocontext *c = goctx_with_timeout(goctx_background(), (int64_t)check_below(&rng, 30000), NULL);
        int64_t n = 1 + (int64_t)check_below(&rng, 3);
        int error = gosem_acquire_context(&s, c, n);
        if (error == 0) gosem_release(&s, n);
        else expect_eq(error, -ETIMEDOUT);
        goctx_release(c);
    }
}
TEST_LIMIT(cancelling_races_with_release, 60) {
    go_maxprocs(4);
    gosem_init(&s, 3);
    crew(8, 2, race);
    expect_eq(s.used, 0);
    expect(s.first == NULL);
}

/* Cancelled in the moments in which it goes to sleep. */
static uint32_t round_number;
static void wait_closely(uint32_t *word, uint32_t value) {
    for (unsigned i = 1; crew_get(word) < value; i++)
        if (i % 4096 == 0) sched_yield(); /* who is waited for may need this CPU */
}
static void *cancels(void *arg) {
    struct check_rng rng = check_rng(50);
    for (uint32_t i = 1; i <= crew_rounds(1000); i++) {
        wait_closely(&round_number, i);
        for (uint64_t n = check_below(&rng, 400); n > 0; n--) __asm__ volatile("");
        goctx_cancel(__atomic_load_n(&ctx, __ATOMIC_ACQUIRE));
        wait_closely(&step, i);
    }
    return NULL;
}
TEST_LIMIT(cancelling_while_it_goes_to_sleep, 60) {
    pthread_t t;
    gosem_init(&s, 0);
    pthread_create(&t, NULL, cancels, NULL);
    for (uint32_t i = 1; i <= crew_rounds(1000); i++) {
        __atomic_store_n(&ctx, goctx_with_cancel(goctx_background(), NULL), __ATOMIC_RELEASE);
        crew_up(&round_number);
        if (gosem_acquire_context(&s, ctx, 1) != -ECANCELED) expect(!"acquired");
        goctx_retain(ctx);
        crew_up(&step);
        goctx_release(ctx);
    }
    pthread_join(t, NULL);
    expect(s.first == NULL);
}

static void too_much(void) {
    gosem_init(&s, 2);
    gosem_acquire(&s, 1);
    gosem_release(&s, 2);
}
TEST(misuse) { expect_panics("panic: semaphore: released more than held", too_much); }

TEST_MAIN()
