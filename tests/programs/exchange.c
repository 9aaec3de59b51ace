/* Producer and consumer: memory that one thread allocates and another frees must come back to the
 * first, also when the second never allocates. What is resident stays near what is alive. */
#include "tests/check.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#define RING (1 << 19)

static void *ring[RING];
static unsigned short length[RING];
static unsigned long capacity; /* of the ring, in blocks */
static atomic_ulong head, tail; /* next to fill, next to free */
static atomic_ulong live;       /* bytes asked for, not freed */
static atomic_int stop;
static size_t smallest, largest;

static void *produce(void *arg) {
    struct check_rng rng = check_rng((unsigned)(size_t)arg);
    while (!stop) {
        unsigned long at = head;
        if (at - tail >= capacity) {
            sched_yield();
            continue;
        }
        size_t n = smallest + check_below(&rng, largest - smallest + 1);
        ring[at % RING] = memset(malloc(n), (int)(at & 0x7f), n);
        length[at % RING] = (unsigned short)n;
        live += n;
        head = at + 1;
    }
    return NULL;
}

/* Keeps the ring nearly full, so that the live bytes are nearly constant. */
static void *consume(void *arg) {
    (void)arg;
    while (!stop) {
        unsigned long at = tail;
        if (head - at < capacity - capacity / 16) {
            sched_yield();
            continue;
        }
        unsigned char *p = ring[at % RING];
        size_t n = length[at % RING];
        if (p[0] != (at & 0x7f) || p[n - 1] != (at & 0x7f)) {
            expect(!"content of a block");
            stop = 1;
        }
        free(p);
        live -= n;
        tail = at + 1;
    }
    return NULL;
}

static void exchange(unsigned long blocks, size_t low, size_t high) {
    if (check_in_valgrind()) skip("valgrind");
    capacity = blocks;
    smallest = low;
    largest = high;
    memset(ring, 1, sizeof ring);
    memset(length, 1, sizeof length);
    long before = check_rss_kib(), worst = 0, sum = 0, most = 0;
    int samples = 0;
    pthread_t p, c;
    pthread_create(&p, NULL, produce, (void *)1);
    pthread_create(&c, NULL, consume, NULL);
    while (tail < capacity && !stop) usleep(1000);
    for (int i = 0; (i < 100 || tail <= 2 * capacity) && !stop; i++) {
        usleep(10000);
        /* The live bytes swing by a sixteenth, as the ring fills and drains. Resident memory is held against
         * the most that has been alive: a swing of milliseconds is no reason to give memory back. */
        long rss = check_rss_kib() - before, alive = (long)(live >> 10);
        if (alive > most) most = alive;
        if (rss * 100 / most > worst) worst = rss * 100 / most;
        sum += rss * 100 / most;
        samples++;
    }
    stop = 1;
    pthread_join(p, NULL);
    pthread_join(c, NULL);
    long steady = samples ? sum / samples : 0;
    diag("%lu blocks passed; RSS %ld %% of %ld KiB alive, at worst %ld %%", (unsigned long)tail, steady, most, worst);
    expect(tail > 2 * capacity);
    expect(samples > 0);
    expect_at_most(steady, 125);
}

TEST_LIMIT(rss_of_one_size, 60) {
    exchange(RING, 64, 64);
}

TEST_LIMIT(rss_of_many_sizes, 60) {
    exchange(65536, 200, 2000);
}

/* The roles of threads move on: each generation frees what the one before it left. */
static void *next_generation(void *arg) {
    void **block = arg;
    for (int i = 0; i < 20000; i++) {
        free(block[i]);
        block[i] = memset(malloc(200), 1, 200);
    }
    return NULL;
}

TEST_LIMIT(rss_over_generations, 60) {
    static void *block[20000];
    long before = 0;
    for (int i = 0; i < 200; i++) {
        pthread_t t;
        pthread_create(&t, NULL, next_generation, block);
        pthread_join(t, NULL);
        if (i == 20) before = check_rss_kib();
    }
    expect_at_most(check_rss_kib(), before + before / 4);
}

/* Phases: all threads allocate, then all free the neighbour's; the next phase reuses it all. */
static pthread_barrier_t barrier;
static void *mine[4][20000];

static void *phases(void *arg) {
    size_t me = (size_t)arg;
    for (int phase = 0; phase < 40; phase++) {
        size_t n = 100 + (size_t)(phase % 4) * 100;
        for (int i = 0; i < 20000; i++) mine[me][i] = memset(malloc(n), 1, n);
        pthread_barrier_wait(&barrier);
        for (int i = 0; i < 20000; i++) free(mine[(me + 1) % 4][i]);
        pthread_barrier_wait(&barrier);
    }
    return NULL;
}

TEST_LIMIT(rss_over_phases, 60) {
    pthread_t t[4];
    long before = check_rss_kib();
    pthread_barrier_init(&barrier, NULL, 4);
    for (size_t i = 0; i < 4; i++) pthread_create(&t[i], NULL, phases, (void *)i);
    for (int i = 0; i < 4; i++) pthread_join(t[i], NULL);
    /* The largest phase holds 4 x 20000 x 400 bytes: 31250 KiB. */
    diag("RSS %ld KiB", check_rss_kib() - before);
    expect_at_most(check_rss_kib() - before, 31250 * 3 / 2 + 4096);
}

TEST_MAIN()
