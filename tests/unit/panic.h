/* Statements that must end their process as Go's unrecovered panics do: text on stderr, exit status 2. */
#ifndef TESTS_UNIT_PANIC_H
#define TESTS_UNIT_PANIC_H

#include <poll.h>
#include <sys/wait.h>

#include "tests/check.h"

/* stderr of a child that ran `body`, up to the first empty line, and its exit status; -1: a signal. */
static inline int panic_run(void (*body)(void), char *text, size_t size) {
    int ends[2], status;
    size_t used = 0;
    if (pipe(ends)) return -1;
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], 2);
        body();
        _exit(0);
    }
    close(ends[1]);
    for (ssize_t n; used < size - 1 && (n = read(ends[0], text + used, size - 1 - used)) > 0;) used += (size_t)n;
    text[used] = 0;
    char *end = strstr(text, "\n\n");
    if (end) *end = 0;
    close(ends[0]);
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

#define expect_panics(words, body)                          \
    do {                                                    \
        char text_[4096];                                   \
        expect_eq(panic_run(body, text_, sizeof text_), 2); \
        expect_str(text_, words);                           \
    } while (0)

#endif
