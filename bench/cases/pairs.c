/* malloc and free in pairs, nothing else: the price of the hit paths. Micro, outside the geometric means.
 *
 *   pairs lifo   SIZE COUNT    one block, freed at once: the best case of every cache
 *   pairs batch  SIZE COUNT    100 blocks, freed in the order they came (FIFO), then 100 freed backwards
 *   pairs random SIZE COUNT    1000 slots, one at random exchanged for a block of 8 .. SIZE bytes
 */
#include "bench.h"

enum { BATCH = 100, SLOTS = 1000 };

static uint64_t taken, given;

static void lifo(size_t size, uint64_t count) {
    for (uint64_t i = 0; i < count; i++) {
        void *block = take(size, i, &taken);
        give(block, &given);
    }
}

static void batch(size_t size, uint64_t count) {
    void *blocks[BATCH];
    for (uint64_t i = 0; i < count; i += 2 * BATCH) {
        for (int k = 0; k < BATCH; k++) blocks[k] = take(size, i + (uint64_t)k, &taken);
        for (int k = 0; k < BATCH; k++) give(blocks[k], &given);
        for (int k = 0; k < BATCH; k++) blocks[k] = take(size, i + (uint64_t)k, &taken);
        for (int k = BATCH; k-- > 0;) give(blocks[k], &given);
    }
}

static void random_sizes(size_t largest, uint64_t count) {
    static void *slots[SLOTS];
    struct rng r = {1};
    for (uint64_t i = 0; i < count; i++) {
        void **slot = &slots[rng_below(&r, SLOTS)];
        if (*slot != NULL) give(*slot, &given);
        *slot = take(8 + rng_below(&r, largest - 7), i, &taken);
    }
    for (int k = 0; k < SLOTS; k++)
        if (slots[k] != NULL) give(slots[k], &given);
}

int main(int argc, char **argv) {
    const char *mode = argc > 1 ? argv[1] : "lifo";
    size_t size = argument(argc, argv, 2, 64);
    uint64_t count = argument(argc, argv, 3, 20000000);
    if (size < 8) wrong("smallest size", size, 8);
    if (strcmp(mode, "lifo") == 0) lifo(size, count);
    else if (strcmp(mode, "batch") == 0) batch(size, count);
    else if (strcmp(mode, "random") == 0) random_sizes(size, count);
    else wrong("mode", 0, 1);
    return finish(taken, given);
}
