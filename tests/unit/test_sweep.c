/* The sweep beside malloc, free and hand-over: threads that stand still only at barriers, where the test turns
 * the colours over, keep lists of blocks whose content they check; sweepers run while they go on. Whatever
 * the lists hold is marked; what they dropped is found by nobody and has to be gone in the end. */
#include "tests/unit/allocator.h"

#include <pthread.h>

#include "gc/mark.h"
#include "gc/sweep.h"
#include "libgomalloc/alloc.h"
#include "libgomalloc/gcview.h"

enum { THREADS = 3, BLOCKS = 400, CYCLES = 40 };

struct block {
    struct block *next;      /* found by the marker through the first of a chain */
    uint64_t key, size;
};
static struct block *chain[THREADS][BLOCKS];
static struct block *passed[THREADS][64];   /* handed to the next thread, atomic: roots as well */
static pthread_barrier_t gate;
static bool over;
static uint64_t dropped_bytes;

static size_t size_of(struct check_rng *rng) {
    if (check_below(rng, 300) == 0) return 33000 + check_below(rng, 200000);
    return sizeof(struct block) + check_below(rng, 10) * check_below(rng, 120);
}

static struct block *make(struct check_rng *rng, struct block *next) {
    size_t n = size_of(rng);
    struct block *b = gm_alloc_zeroed(n);
    b->next = next;
    b->size = n;
    b->key = check_random(rng) | 1;
    check_fill(b + 1, n - sizeof *b, b->key);
    return b;
}
static bool whole(const struct block *b) { return b->key & 1 && check_filled(b + 1, b->size - sizeof *b, b->key); }

static void free_all(struct block *b) {
    while (b) {
        struct block *next = b->next;
        expect(whole(b));
        b->key = 0;
        gm_free(b);
        b = next;
    }
}

static void step(struct check_rng *rng, unsigned me) {
    struct block **at = &chain[me][check_below(rng, BLOCKS)];
    void *small = gm_alloc(1 + check_below(rng, 8)); /* class 8 beside it */
    switch (check_below(rng, 8)) {
    case 0: case 1: case 2: *at = make(rng, check_below(rng, 4) ? *at : NULL); break; /* drops a chain now and then */
    case 3: case 4: free_all(*at), *at = NULL; break;
    case 5: /* to the next thread, who frees or keeps it */
        *at = __atomic_exchange_n(&passed[(me + 1) % THREADS][check_below(rng, 64)], *at, __ATOMIC_ACQ_REL);
        break;
    case 6: free_all(__atomic_exchange_n(&passed[me][check_below(rng, 64)], NULL, __ATOMIC_ACQ_REL)); break;
    default:
        if (*at) {
            struct block *b = *at;
            size_t n = size_of(rng), old = b->size;
            *at = b = gm_realloc(b, n);
            b->size = n;
            if (old > n || !check_filled(b + 1, old - sizeof *b, b->key)) expect(check_filled(b + 1, gm_min(old, n) - sizeof *b, b->key));
            check_fill(b + 1, n - sizeof *b, b->key);
        }
    }
    if (check_below(rng, 2)) gm_free(small);
}

static void *mutate(void *arg) {
    unsigned me = (unsigned)(uintptr_t)arg;
    struct check_rng rng = check_rng(me + 10);
    for (;;) {
        for (int i = 0; i < 1500; i++) step(&rng, me);
        pthread_barrier_wait(&gate); /* held ... */
        pthread_barrier_wait(&gate); /* ... released */
        if (over) break;
    }
    return NULL;
}

static void *sweep(void *arg) {
    while (gc_sweep_some(3)) continue;
    return NULL;
}

/* All threads stand at the gate: what they have lies in chain and passed. */
static void cycle(void) {
    expect(gc_mark_begin(false));
    gc_mark_at_stop();
    gc_mark_root_range((uintptr_t)chain, (uintptr_t)(chain + THREADS), 8, false);
    gc_mark_root_range((uintptr_t)passed, (uintptr_t)(passed + THREADS), 8, false);
    gc_mark_drain(1, NULL);
    gm_gc_flip();
    gc_sweep_begin();
}

TEST_LIMIT(a_sweep_beside_everything, 120) {
    pthread_t t[THREADS], s[2];
    gm_cache_arm_exit_handler();
    pthread_barrier_init(&gate, NULL, THREADS + 1);
    for (unsigned i = 0; i < THREADS; i++) pthread_create(&t[i], NULL, mutate, (void *)(uintptr_t)i);
    for (int n = 0; n < (check_stress() ? 1000 : CYCLES); n++) {
        pthread_barrier_wait(&gate);
        cycle();
        pthread_barrier_wait(&gate);
        for (int i = 0; i < 2; i++) pthread_create(&s[i], NULL, sweep, NULL);
        for (int i = 0; i < 2; i++) pthread_join(s[i], NULL);
        gc_sweep_finish();
        struct gc_sweep_totals totals;
        gc_sweep_totals(&totals);
        dropped_bytes += totals.freed_bytes;
    }
    pthread_barrier_wait(&gate);
    over = true;
    pthread_barrier_wait(&gate);
    for (unsigned i = 0; i < THREADS; i++) pthread_join(t[i], NULL);
    expect(dropped_bytes > 100000);
    for (unsigned i = 0; i < THREADS; i++) {
        for (int k = 0; k < BLOCKS; k++) free_all(chain[i][k]), chain[i][k] = NULL;
        for (int k = 0; k < 64; k++) free_all(passed[i][k]), passed[i][k] = NULL;
    }
    for (int n = 0; n < 2; n++) { /* what was dropped during the last one */
        cycle();
        gc_sweep_finish();
    }
    expect_all_home();
}

TEST_MAIN()
