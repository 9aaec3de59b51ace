/* Short-lived children of a small process, as a server that forks for each request makes them.
 *
 *   forks CHILDREN
 *
 * The parent holds 500 small objects. Each child, waited for before the next, exchanges a hundred of them, takes 50 more and
 * one buffer of 64 KiB, and ends without exec. The price of fork itself, of what the allocator does around it, and of the
 * pages that the child's first allocations copy. */
#include <sys/wait.h>

#include "bench.h"

enum { OBJECTS = 500, EXCHANGED = 100, MORE = 50, BUFFER = 65536 };

static void *object[OBJECTS];

static void child(uint64_t seed) {
    struct rng r = {seed};
    uint64_t seen = 0, expected = 0;
    for (int i = 0; i < EXCHANGED; i++) {
        void **slot = &object[rng_below(&r, OBJECTS)];
        give(*slot, &seen);
        *slot = take(rng_size(&r, 6), seed, &expected);
    }
    for (int i = 0; i < MORE; i++) take(rng_size(&r, 6), seed, &expected);
    void *buffer = take(BUFFER, seed, &expected);
    memset((char *)buffer + 8, 1, 4096);
    _exit(seen != 0 && (uint32_t)stamped(buffer) == BUFFER ? 0 : 1);
}

int main(int argc, char **argv) {
    uint64_t children = argument(argc, argv, 1, 1000), taken = 0, given = 0;
    struct rng r = {12};
    for (int i = 0; i < OBJECTS; i++) object[i] = take(rng_size(&r, 6), (uint64_t)i, &taken);
    for (uint64_t i = 0; i < children; i++) {
        pid_t pid = fork();
        if (pid == 0) child(i);
        int status = -1;
        if (pid < 0 || waitpid(pid, &status, 0) != pid) wrong("fork", 0, 1);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) wrong("status of a child", (uint64_t)status, 0);
    }
    for (int i = 0; i < OBJECTS; i++) give(object[i], &given);
    return finish(taken, given);
}
