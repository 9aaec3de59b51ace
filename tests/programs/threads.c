/* Threads that come and go: destructors that allocate and free during the exit, in several rounds;
 * very many short threads; very many parked ones; cancelled and detached ones; blocks that outlive
 * their thread. */
#include "tests/check.h"

#include <pthread.h>
#include <stdatomic.h>

static void *opaque(void *p) {
    void *volatile hidden = p;
    return hidden;
}

static void use(size_t n) {
    char *p = opaque(malloc(n));
    memset(p, 1, n);
    free(p);
}

TEST(one_thread_at_main) {
    use(100);
    use(1000000);
    expect_eq(check_threads(), 1);
}

/* ---- key destructors */

static pthread_key_t round_key, plain_key;
static atomic_long rounds, plain;

/* Frees, allocates, and sets the key again, so that the C library calls it for several rounds. */
static void next_round(void *p) {
    long left = *(long *)p;
    free(p);
    for (size_t n = 16; n < 100000; n *= 3) use(n);
    rounds++;
    if (left > 1) {
        long *again = malloc(sizeof *again);
        *again = left - 1;
        pthread_setspecific(round_key, again);
    }
}

static void count_and_free(void *p) {
    plain++;
    free(p);
}

static void *set_keys(void *arg) {
    long *left = malloc(sizeof *left);
    *left = 4; /* PTHREAD_DESTRUCTOR_ITERATIONS */
    pthread_setspecific(round_key, left);
    pthread_setspecific(plain_key, memset(malloc(10000), 1, 10000));
    char *out = malloc(500);
    check_fill(out, 500, (uint64_t)(size_t)arg);
    return out;
}

TEST_LIMIT(key_destructors_allocate_and_free, 30) {
    enum { THREADS = 4000 };
    pthread_key_create(&round_key, next_round);
    pthread_key_create(&plain_key, count_and_free);
    long before = 0;
    for (size_t i = 0; i < THREADS; i += 4) {
        pthread_t t[4];
        void *out;
        for (size_t k = 0; k < 4; k++) pthread_create(&t[k], NULL, set_keys, (void *)(i + k));
        for (size_t k = 0; k < 4; k++) {
            pthread_join(t[k], &out);
            expect(check_filled(out, 500, i + k));
            free(out);
        }
        if (i == THREADS / 4) before = check_rss_kib();
    }
    expect_eq(rounds, 4 * THREADS);
    expect_eq(plain, THREADS);
    expect_at_most(check_rss_kib(), before + 4096);
}

/* ---- many short threads */

static void *live_shortly(void *arg) {
    size_t n = (size_t)arg;
    void *p = opaque(malloc(16 + n % 1000)), *q = opaque(malloc(3000)), *r = opaque(calloc(1, 100 + n % 300));
    use(40000);
    free(p);
    free(q);
    return r;
}

TEST_LIMIT(short_threads_leave_nothing, 600) {
    size_t count = check_stress() ? 1000000 : 100000;
    long rss = 0;
    for (size_t i = 0; i < count; i += 2) {
        pthread_t t[2];
        void *out;
        for (size_t k = 0; k < 2; k++)
            if (!expect_eq(pthread_create(&t[k], NULL, live_shortly, (void *)(i + k)), 0)) return;
        for (size_t k = 0; k < 2; k++) {
            pthread_join(t[k], &out);
            free(out);
        }
        if (i == count / 5 / 2 * 2) rss = check_rss_kib();
    }
    diag("RSS %ld KiB after a fifth of %zu threads, %ld at the end", rss, count, check_rss_kib());
    expect_at_most(check_rss_kib(), rss + 512);
}

static void *leave_a_block(void *arg) {
    return memset(opaque(malloc(500)), (int)((size_t)arg & 0x7f), 500);
}

/* Blocks of dead threads, freed by one that never allocates itself. */
TEST_LIMIT(blocks_outlive_their_thread, 30) {
    long before = 0;
    for (size_t round = 0; round < 2000; round++) {
        pthread_t t;
        void *out[2];
        pthread_create(&t, NULL, leave_a_block, (void *)round);
        pthread_join(t, &out[0]);
        pthread_create(&t, NULL, live_shortly, (void *)round);
        pthread_join(t, &out[1]);
        expect_eq(((char *)out[0])[499], round & 0x7f);
        free(out[0]);
        free(out[1]);
        if (round == 400) before = check_rss_kib();
    }
    expect_at_most(check_rss_kib(), before + 1024);
}

static atomic_int ended;

static void *end_detached(void *arg) {
    free(live_shortly(arg));
    ended++;
    return NULL;
}

TEST_LIMIT(detached_threads, 30) {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    for (size_t i = 0; i < 2000; i++) {
        pthread_t t;
        while (pthread_create(&t, &attributes, end_detached, (void *)i)) usleep(1000);
    }
    while (ended < 2000) usleep(1000);
}

static void *loop_until_cancelled(void *arg) {
    (void)arg;
    for (;;) {
        for (int i = 0; i < 20; i++) use((size_t)i * 100 + 1);
        pthread_testcancel();
    }
    return NULL;
}

TEST_LIMIT(cancelled_threads, 30) {
    for (int i = 0; i < 200; i++) {
        pthread_t t;
        void *out;
        pthread_create(&t, NULL, loop_until_cancelled, NULL);
        usleep(200);
        pthread_cancel(t);
        pthread_join(t, &out);
        expect(out == PTHREAD_CANCELED);
    }
}

/* ---- many parked threads */

static atomic_int parked, allocating;

static void *park(void *arg) {
    (void)arg;
    /* Both kinds touch the same pages of their stacks. */
    char room[6000];
    memset(room, 1, sizeof room);
    opaque(room);
    if (allocating) {
        use(100);
        use(20);
        use(1000);
    }
    parked++;
    for (;;) pause();
    return NULL;
}

/* What count parked threads cost in KiB, or -1 if they cannot be made. */
static long cost_of_parked(int count, int allocate) {
    int ends[2];
    if (pipe(ends)) return -1;
    pid_t child = fork();
    if (child == 0) {
        pthread_attr_t attributes;
        pthread_attr_init(&attributes);
        pthread_attr_setstacksize(&attributes, 32768);
        allocating = allocate;
        long before = check_rss_kib();
        for (int i = 0; i < count; i++) {
            pthread_t t;
            if (pthread_create(&t, &attributes, park, NULL)) _exit(1);
        }
        while (parked < count) usleep(1000);
        long grown = check_rss_kib() - before;
        if (write(ends[1], &grown, sizeof grown) != sizeof grown) _exit(1);
        _exit(0);
    }
    long grown = -1;
    close(ends[1]);
    if (read(ends[0], &grown, sizeof grown) != sizeof grown) grown = -1;
    close(ends[0]);
    check_wait(child, 60);
    return grown;
}

TEST_LIMIT(parked_threads_cost_at_most_4_kib_each, 120) {
    const char *build = getenv("GM_BUILD_DIR");
    if (build && strstr(build, "debug")) skip("the debug build keeps more for each thread");
    int count = 10000;
    long without = cost_of_parked(count, 0);
    if (without < 0) without = cost_of_parked(count = 2000, 0);
    if (without < 0) skip("2000 threads cannot be made");
    long with = cost_of_parked(count, 1);
    if (!expect(with >= 0)) return;
    diag("%d parked threads: %ld KiB without, %ld KiB with allocations: %.2f KiB each", count, without, with,
         (double)(with - without) / count);
    expect_at_most(with - without, 4L * count);
}

TEST_MAIN()
