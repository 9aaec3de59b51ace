/* A program whose phases use other sizes: parse, build, optimise, write.
 *
 *   phases PHASES MEGABYTES
 *
 * Each phase allocates MEGABYTES of blocks from its own narrow range of sizes, then frees 95 % of them at
 * random places. The remaining 5 % stay for the rest of the run and sit between the holes. An allocator
 * that keeps freed memory bound to the old phase's sizes grows with every phase: peak RSS is the
 * interesting figure. */
#include "bench.h"

enum { RANGES = 8 };

static const size_t smallest[RANGES] = {16, 200, 48, 1500, 24, 6000, 100, 520};
static const size_t largest[RANGES] = {40, 320, 96, 3000, 64, 24000, 180, 900};

int main(int argc, char **argv) {
    uint64_t phases = argument(argc, argv, 1, 16), bytes = argument(argc, argv, 2, 32) << 20;
    uint64_t taken = 0, given = 0, kept = 0, room = bytes / 16;
    void **live = must(malloc(room * sizeof *live));
    void **survivors = must(malloc(phases * (room / 10) * sizeof *survivors));
    struct rng r = {5};
    for (uint64_t p = 0; p < phases; p++) {
        size_t low = smallest[p % RANGES], span = largest[p % RANGES] - low + 1;
        uint64_t count = 0;
        for (uint64_t total = 0; total < bytes && count < room;) {
            size_t size = low + rng_below(&r, span);
            live[count++] = take(size, p, &taken);
            total += size;
        }
        for (uint64_t k = 0; k < count; k++) {
            if (rng_below(&r, 100) < 5) survivors[kept++] = live[k];
            else give(live[k], &given);
        }
    }
    for (uint64_t k = 0; k < kept; k++) give(survivors[k], &given);
    free(survivors);
    free(live);
    return finish(taken, given);
}
