/* calloc: is memory cleared that is known to be zero, and is it cleared when it is not? Micro.
 *
 *   zeroed COUNT    COUNT blocks of 16 bytes to 64 KiB through 500 slots, read before they are written
 */
#include "bench.h"

enum { SLOTS = 500 };

/* The block must read as zero at both ends, in the middle and at one place of its own. */
static void check_zero(const unsigned char *block, size_t size, uint64_t where) {
    unsigned seen = block[0] | block[size - 1] | block[size / 2] | block[where % size];
    if (seen != 0) wrong("byte of a calloc block", seen, 0);
}

int main(int argc, char **argv) {
    uint64_t count = argument(argc, argv, 1, 1500000), taken = 0, given = 0;
    static void *slots[SLOTS];
    struct rng r = {2};
    for (uint64_t i = 0; i < count; i++) {
        void **slot = &slots[rng_below(&r, SLOTS)];
        size_t size = rng_size(&r, 12);
        if (*slot != NULL) {
            memset((char *)*slot + 8, 0xa5, 8); /* dirt that the next owner must not see */
            give(*slot, &given);
        }
        *slot = must(calloc(1, size + 16));
        check_zero(*slot, size + 16, rng_next(&r));
        taken += stamp(*slot, size + 16, i);
    }
    for (int k = 0; k < SLOTS; k++)
        if (slots[k] != NULL) give(slots[k], &given);
    return finish(taken, given);
}
