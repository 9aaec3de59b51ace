/* Threads trade objects through shared slots: whoever takes one checks its content, frees, keeps or
 * grows it, and puts another of its own there. Every way of allocating and freeing takes part, and
 * most blocks are freed by another thread than the one that allocated them. Threads come and go.
 *
 * GM_STRESS_SECONDS is the duration of each test (default 2); GM_SEED repeats the choices, though
 * not the interleaving. */
#include "tests/check.h"

#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#define SLOTS 1024
#define KEPT 64

/* At the start of each block; what follows is filled by the key. */
struct block {
    uint64_t key;
    size_t n; /* of the whole block */
    uint64_t sum;
};

static struct block *_Atomic slot[SLOTS];
static atomic_ulong traded;
static atomic_int stop;

static size_t rest(const struct block *b) {
    return b->n - sizeof *b;
}

static struct block *make(struct check_rng *rng, size_t largest) {
    size_t n = sizeof(struct block) + check_random_size(rng, largest);
    uint64_t how = check_below(rng, 16);
    struct block *b;
    if (how == 0) {
        b = calloc(1, n);
        if (b) expect(b->key == 0 && b->n == 0 && ((char *)b)[n - 1] == 0);
    } else if (how == 1) {
        size_t align = (size_t)16 << check_below(rng, 9);
        b = memalign(align, n);
        expect((uintptr_t)b % align == 0);
    } else if (how == 2) {
        b = realloc(malloc(check_below(rng, n) + 1), n);
    } else {
        b = malloc(n);
    }
    if (!b) {
        expect(!"memory");
        abort();
    }
    b->n = n;
    b->key = check_random(rng);
    b->sum = b->key ^ n;
    check_fill(b + 1, rest(b), b->key);
    return b;
}

static void check(struct block *b) {
    bool whole =
        b->sum == (b->key ^ b->n) && malloc_usable_size(b) >= b->n && check_filled(b + 1, rest(b), b->key);
    if (!expect(whole)) {
        diag("block %p: key %llx, size %zu", (void *)b, (unsigned long long)b->key, b->n);
        abort();
    }
}

static struct block *resize(struct check_rng *rng, struct block *b) {
    size_t n = sizeof *b + check_random_size(rng, 100000), kept = n < b->n ? n : b->n;
    b = realloc(b, n);
    if (!expect(b && check_filled(b + 1, kept - sizeof *b, b->key))) abort();
    b->n = n;
    b->sum = b->key ^ n;
    check_fill(b + 1, rest(b), b->key);
    return b;
}

static size_t largest_size;

static void trade(struct check_rng *rng, unsigned steps) {
    struct block *kept[KEPT] = {NULL};
    for (unsigned i = 0; i < steps && !stop; i++) {
        struct block *mine = make(rng, largest_size);
        struct block *other = atomic_exchange(&slot[check_below(rng, SLOTS)], mine);
        if (!other) continue;
        check(other);
        if (check_below(rng, 8) == 0) other = resize(rng, other);
        if (check_below(rng, 4) == 0) {
            struct block **place = &kept[check_below(rng, KEPT)], *old = *place;
            *place = other;
            other = old;
            if (!other) continue;
            check(other);
        }
        free(other);
        traded++;
    }
    for (int i = 0; i < KEPT; i++) free(kept[i]);
}

static void *trade_until_stopped(void *arg) {
    struct check_rng rng = check_rng((unsigned)(size_t)arg);
    while (!stop) trade(&rng, 1u << 30);
    return NULL;
}

static void *trade_shortly(void *arg) {
    struct check_rng rng = check_rng((unsigned)(size_t)arg);
    trade(&rng, 500);
    return NULL;
}

/* One that lives through many short ones. */
static void *bear_threads(void *arg) {
    for (size_t i = 1; !stop; i++) {
        pthread_t t;
        if (pthread_create(&t, NULL, trade_shortly, (void *)((size_t)arg * 1000000 + i)) == 0)
            pthread_join(t, NULL);
    }
    return NULL;
}

static double duration(void) {
    const char *s = getenv("GM_STRESS_SECONDS");
    double seconds = s ? strtod(s, NULL) : 2;
    return seconds > 0 ? seconds : 2;
}

static void run(size_t threads, void *(*role)(void *), size_t largest) {
    pthread_t t[64];
    largest_size = largest;
    for (size_t i = 0; i < threads; i++)
        if (!expect_eq(pthread_create(&t[i], NULL, role, (void *)(i + 1)), 0)) threads = i;
    usleep((useconds_t)(duration() * 1e6));
    while (traded <= 1000) usleep(10000);
    stop = 1;
    for (size_t i = 0; i < threads; i++) pthread_join(t[i], NULL);
    for (int i = 0; i < SLOTS; i++) {
        struct block *b = slot[i];
        if (b) check(b);
        free(b);
    }
    diag("%lu objects traded by %zu threads", (unsigned long)traded, threads);
}

TEST_LIMIT(threads_2, 3600) {
    run(2, trade_until_stopped, 100000);
}

TEST_LIMIT(threads_16, 3600) {
    run(16, trade_until_stopped, 100000);
}

TEST_LIMIT(threads_64, 3600) {
    run(64, trade_until_stopped, 100000);
}

TEST_LIMIT(threads_16_small, 3600) {
    run(16, trade_until_stopped, 500);
}

TEST_LIMIT(threads_8_large, 3600) {
    run(8, trade_until_stopped, 8 << 20);
}

TEST_LIMIT(short_threads_16, 3600) {
    run(16, bear_threads, 30000);
}

TEST_MAIN()
