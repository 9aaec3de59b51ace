/* Allocates, grows and frees for its host: opened with RTLD_DEEPBIND its malloc and free are the C
 * library's own, and in a namespace of its own it has a C library of its own. */
#define EXPORT __attribute__((visibility("default")))
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

EXPORT void *deep_make(size_t n);
EXPORT void *deep_grow(void *p, size_t n);
EXPORT void deep_drop(void *p);
EXPORT char *deep_line(void);
EXPORT int deep_self(void);

void *deep_make(size_t n) {
    return memset(malloc(n), 2, n);
}

void *deep_grow(void *p, size_t n) {
    return realloc(p, n);
}

void deep_drop(void *p) {
    free(p);
}

/* A block that the C library itself has allocated. */
char *deep_line(void) {
    char *line = NULL;
    size_t size = 0;
    FILE *f = fopen("/proc/self/status", "r");
    if (!f || getline(&line, &size, f) < 0) return NULL;
    fclose(f);
    return line;
}

/* Churns by itself; 0 if its heap is whole. */
int deep_self(void) {
    static unsigned char *v[300];
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 300; i++) {
            size_t n = (size_t)i * 97 + 1;
            v[i] = calloc(1, n);
            if (!v[i] || v[i][n - 1]) return 1;
            memset(v[i], i, n);
        }
        for (int i = 0; i < 300; i++) {
            int k = i * 7 % 300;
            if (v[k][0] != (unsigned char)k) return 2;
            free(v[k]);
        }
    }
    return 0;
}
