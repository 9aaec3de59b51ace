/* The futex lock: one holder at a time, nobody forgotten, and the lock order that debug builds check. */
#include <pthread.h>
#include <time.h>

#include "libgomalloc/base/lock.h"
#include "tests/check.h"

enum { THREADS = 8, ROUNDS = 50000 };

static struct gm_lock one = GM_LOCK_INIT(GM_RANK_HEAP);
static uint64_t count, inside; /* guarded by the lock */

static void *counter(void *sleepy) {
    for (int i = 0; i < ROUNDS; i++) {
        gm_lock(&one);
        expect_eq(++inside, 1);
        count++;
        if (sleepy && i % 1000 == 0) usleep(100); /* longer than anybody spins: the others sleep */
        inside--;
        gm_unlock(&one);
    }
    return NULL;
}

static void race(bool sleepy) {
    pthread_t t[THREADS];
    for (int i = 0; i < THREADS; i++) expect_eq(pthread_create(&t[i], NULL, counter, sleepy ? &one : NULL), 0);
    for (int i = 0; i < THREADS; i++) pthread_join(t[i], NULL);
    expect_eq(count, (uint64_t)THREADS * ROUNDS);
    expect_eq(one.word, 0);
}
TEST(one_holder_at_a_time) { race(false); }
TEST(sleepers_are_woken) { race(true); }

static void *take(void *done) {
    struct timespec t;
    gm_lock(&one);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    expect_at_most(t.tv_sec * 1000000000 + t.tv_nsec, 150000000); /* of 300 ms: it slept */
    gm_store_release((int *)done, 1);
    gm_unlock(&one);
    return NULL;
}

TEST(a_held_lock_holds_and_lets_go) {
    pthread_t t;
    int done = 0;
    gm_lock(&one);
    expect(one.word != 0);
    pthread_create(&t, NULL, take, &done);
    usleep(300000); /* it sleeps in the kernel by now */
    expect_eq(gm_load_acquire(&done), 0);
    gm_unlock(&one);
    pthread_join(t, NULL);
    expect_eq(done, 1);
}

TEST(locks_held_are_counted) {
    struct gm_lock a, b;
    gm_lock_init(&a, GM_RANK_CENTRAL, 1);
    gm_lock_init(&b, GM_RANK_CENTRAL, 2);
    expect_eq(gm_locks_held, 0);
    gm_lock(&a);
    gm_lock(&b);
    expect_eq(gm_locks_held, 2);
    gm_unlock(&a); /* any order will do */
    gm_unlock(&b);
    expect_eq(gm_locks_held, 0);
}

TEST(locks_are_taken_upwards_only) {
#ifdef GM_DEBUG
    struct gm_lock central1, central2, heap, meta, low, high;
    gm_lock_init(&central1, GM_RANK_CENTRAL, 1);
    gm_lock_init(&central2, GM_RANK_CENTRAL, 2);
    gm_lock_init(&heap, GM_RANK_HEAP, 0);
    gm_lock_init(&meta, GM_RANK_META, 0);
    gm_lock_init(&low, GM_RANK_INIT, 0);
    gm_lock_init(&high, GM_RANK_COUNT, 0);
    gm_lock(&central1);
    gm_lock(&central2);
    gm_lock(&heap);
    gm_lock(&meta);
    gm_unlock(&heap);
    expect_dies(SIGABRT, NULL, gm_lock(&heap));     /* below one that is held */
    expect_dies(SIGABRT, NULL, gm_lock(&low));
    gm_unlock(&meta);
    gm_lock(&heap);
    gm_unlock(&heap);
    gm_unlock(&central1);
    expect_dies(SIGABRT, NULL, gm_lock(&central1)); /* same rank, lower index */
    expect_dies(SIGABRT, NULL, gm_lock(&central2)); /* itself */
    expect_dies(SIGABRT, NULL, gm_unlock(&heap));   /* not held */
    expect_dies(SIGABRT, NULL, gm_lock(&high));     /* no such rank */
    gm_unlock(&central2);
    gm_lock(&low);
    gm_unlock(&low);
#else
    skip("only debug builds check the order");
#endif
}

TEST_MAIN()
