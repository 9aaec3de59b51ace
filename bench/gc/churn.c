/* churn MIB STEPS THREADS: a live set of 64-byte records in chains of four, of which a step puts a new one in front of a
 * random chain and drops the last. Each thread has its part of the chains; STEPS are for each. */
#include "bench/gc/garbage.h"

struct record {
    struct record *next;
    uint64_t key, values[6];
};

enum { CHAIN = 4 };
static struct record **chains; /* all threads' */
static size_t chains_each;
static int64_t steps_each;

static struct record *record_new(uint64_t key, struct record *next) {
    struct record *r = must_new(sizeof *r);
    r->next = next;
    r->key = key;
    for (int i = 0; i < 6; i++) r->values[i] = key + (uint64_t)i;
    return r;
}

static uint64_t random_next(uint64_t *x) {
    *x ^= *x << 13;
    *x ^= *x >> 7;
    return *x ^= *x << 17;
}

/* The new one goes in front, the one behind the third is dropped; what is dropped must be as it was made. */
static void step(struct record **chain, uint64_t key) {
    struct record *r = *chain = record_new(key, *chain);
    for (int i = 1; i < CHAIN; i++) r = r->next;
    struct record *old = r->next;
    must(old && old->values[5] == old->key + 5 && !old->next, "a record");
    r->next = NULL;
    old_memory(old);
}

static int64_t churn(int index, struct gaps *gaps) {
    struct record **own = chains + (size_t)index * chains_each;
    uint64_t x = 88172645463325252u + (uint64_t)index * 7919;
    for (size_t i = 0; i < chains_each; i++)
        for (int k = 0; k < CHAIN; k++) own[i] = record_new(i, own[i]);
    gap_begin(gaps); /* it did not look while it filled them */
    for (int64_t i = 0; i < steps_each; i++) {
        uint64_t r = random_next(&x);
        step(&own[(r >> 32) % chains_each], r);
        gap_look(gaps);
    }
    return steps_each;
}

int main(int argc, char **argv) {
    must(argc == 4, "churn MIB STEPS THREADS");
    begin_memory();
    int threads = atoi(argv[3]);
    chains_each = ((size_t)atoi(argv[1]) << 20) / sizeof(struct record) / CHAIN / (size_t)threads;
    steps_each = atoll(argv[2]);
    size_t bytes = chains_each * (size_t)threads * sizeof *chains;
    chains = must_new(bytes);
    memset(chains, 0, bytes);
    run_threads(threads, churn);
    return 0;
}
