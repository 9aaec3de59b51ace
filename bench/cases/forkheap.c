/* fork with a big heap, as a database does for its snapshots.
 *
 *   forkheap MEGABYTES FORKS
 *
 * The parent holds MEGABYTES of small and middle-sized blocks. Each child frees and allocates 5000 of them,
 * checks some of the others and ends. The cost is page tables copied, pages copied on write (which blocks
 * share a page with what the allocator writes to?), and whatever the allocator does around fork itself. */
#include <sys/wait.h>

#include "bench.h"

enum { EXCHANGED = 5000 };

static void **blocks;
static uint64_t count;

static void child(uint64_t seed) {
    struct rng r = {seed};
    uint64_t seen = 0, expected = 0;
    for (int i = 0; i < EXCHANGED; i++) {
        void **slot = &blocks[rng_below(&r, count)];
        give(*slot, &seen);
        *slot = take(rng_size(&r, 7), seed, &expected);
        stamped(blocks[rng_below(&r, count)]);
    }
    _exit(seen != 0 && expected != 0 ? 0 : 1);
}

int main(int argc, char **argv) {
    uint64_t bytes = argument(argc, argv, 1, 128) << 20, forks = argument(argc, argv, 2, 30);
    uint64_t taken = 0, given = 0;
    struct rng r = {8};
    blocks = must(malloc(bytes / 16 * sizeof *blocks));
    for (uint64_t total = 0; total < bytes; count++) {
        size_t size = rng_size(&r, 7);
        blocks[count] = take(size, count, &taken);
        total += size;
    }
    for (uint64_t i = 0; i < forks; i++) {
        pid_t pid = fork();
        if (pid == 0) child(9000 + i);
        int status = -1;
        if (pid < 0 || waitpid(pid, &status, 0) != pid) wrong("fork", 0, 1);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) wrong("status of a child", (uint64_t)status, 0);
    }
    for (uint64_t i = 0; i < count; i++) give(blocks[i], &given);
    free(blocks);
    return finish(taken, given);
}
