/* Large blocks: 100 KiB to 16 MiB, each doubling equally frequent, through 16 slots; every page is written.
 *
 *   large COUNT
 *
 * Asks whether freed large blocks are used again or go back to the kernel and are faulted in anew each
 * time. */
#include "bench.h"

enum { SLOTS = 16, PAGE = 4096, SMALLEST = 100 * 1024, LARGEST = 16 * 1024 * 1024 };

static size_t pick_size(struct rng *r) {
    size_t base = (size_t)SMALLEST << rng_below(r, 7);
    size_t size = base + rng_below(r, base);
    return size < LARGEST ? size : LARGEST;
}

static void write_pages(unsigned char *block, size_t size) {
    for (size_t at = PAGE; at + 1 < size; at += PAGE) block[at] = (unsigned char)(at >> 12);
}

static void check_pages(const unsigned char *block, size_t size) {
    for (size_t at = PAGE; at + 1 < size; at += PAGE)
        if (block[at] != (unsigned char)(at >> 12))
            wrong("page of a large block", block[at], (at >> 12) & 0xff);
}

int main(int argc, char **argv) {
    uint64_t count = argument(argc, argv, 1, 3000), taken = 0, given = 0;
    static void *slots[SLOTS];
    struct rng r = {6};
    for (uint64_t i = 0; i < count + SLOTS; i++) {
        void **slot = i < count ? &slots[rng_below(&r, SLOTS)] : &slots[i - count];
        if (*slot != NULL) {
            check_pages(*slot, (uint32_t)stamped(*slot));
            give(*slot, &given);
            *slot = NULL;
        }
        if (i >= count) continue;
        size_t size = pick_size(&r);
        *slot = take(size, i, &taken);
        write_pages(*slot, size);
    }
    return finish(taken, given);
}
