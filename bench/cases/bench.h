/* What the synthetic cases share: numbers that are the same in every run, blocks that know what they are,
 * and an end that says whether the work was right.
 *
 * Every case does a fixed amount of work that its arguments give, never "as much as fits into a second":
 * under a faster allocator it ends earlier, and two runs under any allocators do exactly the same.
 *
 * Blocks are stamped when they are taken and checked when they are given back: the first word holds the
 * size and a key, the last byte depends on both. The sum of all words stamped must equal the sum of all
 * words read back. An allocator that hands the same memory out twice, loses the contents in realloc or
 * gives a block that is too short is found by that, and the case ends with status 1 instead of a good time.
 * */
#ifndef BENCH_H
#define BENCH_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* splitmix64: one addition and three multiplications' worth of work, so that the case measures the
 * allocator. */
struct rng {
    uint64_t state;
};

static inline uint64_t rng_next(struct rng *r) {
    uint64_t z = r->state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* 0 .. bound - 1; the bias of the multiplication is below one in a million for the bounds used here. */
static inline uint64_t rng_below(struct rng *r, uint64_t bound) { return (rng_next(r) >> 32) * bound >> 32; }

/* Sizes as programs ask for them: each doubling about half as frequent as the one before, from 16 bytes on,
 * with everything between the powers of two. `doublings` bounds the largest size: 16 << doublings. */
static inline size_t rng_size(struct rng *r, unsigned doublings) {
    uint64_t bits = rng_next(r);
    unsigned step = (unsigned)__builtin_ctzll(bits | (1ull << (doublings - 1)));
    size_t base = (size_t)16 << step;
    return base + (size_t)((bits >> 32) & (base - 1));
}

static inline void wrong(const char *what, uint64_t got, uint64_t want) {
    printf("WRONG: %s is %llu instead of %llu\n", what, (unsigned long long)got, (unsigned long long)want);
    fflush(stdout);
    _exit(1);
}

static inline void *must(void *block) {
    if (block == NULL) wrong("allocated block", 0, 1);
    return block;
}

/* The stamp of a block of at least 8 bytes and less than 4 GiB; answers the word for the caller's sum. */
static inline uint64_t stamp(void *block, size_t size, uint64_t key) {
    uint64_t word = (key << 32) | (uint32_t)size;
    memcpy(block, &word, sizeof word);
    if (size > sizeof word) ((unsigned char *)block)[size - 1] = (unsigned char)((word >> 32) * 31 + word);
    return word;
}

/* Reads the stamp back; the block is wrong if its last byte does not fit its first word. */
static inline uint64_t stamped(const void *block) {
    uint64_t word;
    memcpy(&word, block, sizeof word);
    size_t size = (uint32_t)word;
    if (size > sizeof word) {
        unsigned char last = ((const unsigned char *)block)[size - 1];
        unsigned char want = (unsigned char)((word >> 32) * 31 + word);
        if (last != want) wrong("last byte of a block", last, want);
    }
    return word;
}

static inline void *take(size_t size, uint64_t key, uint64_t *sum) {
    void *block = must(malloc(size));
    *sum += stamp(block, size, key);
    return block;
}

static inline void give(void *block, uint64_t *sum) {
    *sum += stamped(block);
    free(block);
}

/* The argument at `index` as a number. Work amounts have defaults, so that a case can be tried by its bare
 * name. */
static inline uint64_t argument(int argc, char **argv, int index, uint64_t missing) {
    return index < argc ? strtoull(argv[index], NULL, 10) : missing;
}

/* The end of a case: what was read back against what was written. */
static inline int finish(uint64_t taken, uint64_t given) {
    if (taken != given) wrong("sum of what was read back", given, taken);
    printf("right %llu\n", (unsigned long long)taken);
    return 0;
}

#endif
