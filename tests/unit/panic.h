/* Statements that must end their process as Go's unrecovered panics do: text on stderr, exit status 2. */
#ifndef TESTS_UNIT_PANIC_H
#define TESTS_UNIT_PANIC_H

#include <sys/wait.h>

#include "tests/check.h"

/* stderr of a child that ran `body`, up to the first empty line, and its exit status; -1: a signal. */
static inline int panic_run(void (*body)(void), char *text, size_t size) {
    int status = check_in_child(body, text, size);
    char *end = strstr(text, "\n\n");
    if (end) *end = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

#define expect_panics(words, body)                          \
    do {                                                    \
        char text_[4096];                                   \
        expect_eq(panic_run(body, text_, sizeof text_), 2); \
        expect_str(text_, words);                           \
    } while (0)

#endif
