/* Thousands of short processes, as a shell script or a configure run starts them.
 *
 *   startup COUNT
 *
 * Each is fork and exec of `true`, waited for before the next: the time is that of loading the allocator
 * and making its first heap, COUNT times. */
#include <sys/wait.h>

#include "bench.h"

int main(int argc, char **argv) {
    uint64_t count = argument(argc, argv, 1, 1000), good = 0;
    for (uint64_t i = 0; i < count; i++) {
        pid_t child = fork();
        if (child == 0) {
            execl("/bin/true", "true", (char *)NULL);
            _exit(127);
        }
        int status = -1;
        if (child < 0 || waitpid(child, &status, 0) != child) wrong("fork", 0, 1);
        good += WIFEXITED(status) && WEXITSTATUS(status) == 0;
    }
    return finish(count, good);
}
