/* What the programs of this folder share. Each commits one crime against the allocator; its first
 * line is the line that must then stand on stderr, with ADDR for the address that it gives to
 * crime(), which prints it on stdout for run.sh. After the line the library ends it by SIGABRT.
 *
 * `make` builds them; `LD_PRELOAD=build/libgomalloc.so build/tests/misuse/NAME` shows one. */
#ifndef TESTS_MISUSE_CRIME_H
#define TESTS_MISUSE_CRIME_H

#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Says at which address the crime is about to happen, and hides from the compiler what p is. */
static inline void *crime(void *p) {
    char line[40];
    int n = snprintf(line, sizeof line, "0x%lx\n", (unsigned long)(uintptr_t)p);
    if (write(STDOUT_FILENO, line, (size_t)n) != n) _exit(3);
    void *volatile hidden = p;
    return hidden;
}

/* A use of the allocator that no compiler can drop. */
static inline void *get(size_t n) {
    void *volatile p = malloc(n);
    if (!p) _exit(4);
    memset(p, 0x5a, n);
    return p;
}

static inline void give(void *p) {
    void *volatile hidden = p;
    free(hidden);
}

#endif
