/* aligned_alloc and posix_memalign for alignments of 16 bytes to 4 KiB, most of them a cache line. Micro.
 *
 *   aligned COUNT    COUNT blocks through 1000 slots
 */
#include "bench.h"

enum { SLOTS = 1000 };

static void *aligned(struct rng *r, size_t alignment, size_t size) {
    void *block = NULL;
    if (rng_next(r) & 1) block = aligned_alloc(alignment, (size + alignment - 1) & ~(alignment - 1));
    else if (posix_memalign(&block, alignment, size) != 0) block = NULL;
    uint64_t off = (uintptr_t)must(block) & (alignment - 1);
    if (off != 0) wrong("offset from the alignment", off, 0);
    return block;
}

int main(int argc, char **argv) {
    uint64_t count = argument(argc, argv, 1, 4000000), taken = 0, given = 0;
    static void *slots[SLOTS];
    struct rng r = {3};
    for (uint64_t i = 0; i < count; i++) {
        void **slot = &slots[rng_below(&r, SLOTS)];
        size_t alignment = rng_below(&r, 4) != 0 ? 64 : (size_t)16 << rng_below(&r, 9);
        size_t size = rng_size(&r, 8);
        if (*slot != NULL) give(*slot, &given);
        *slot = aligned(&r, alignment, size);
        taken += stamp(*slot, size, i);
    }
    for (int k = 0; k < SLOTS; k++)
        if (slots[k] != NULL) give(slots[k], &given);
    return finish(taken, given);
}
