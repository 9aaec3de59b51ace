/* pages WORKLOAD: prints how many minor page faults a small, fixed workload takes. Each is a fresh page
 * touched: the most expensive thing an allocator does. The program's own tables are touched before. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { OBJECTS = 10 * 1024 * 1024 / 64, LARGE = 1000 };

static char *object[OBJECTS];

static long faults(void) {
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    return r.ru_minflt;
}

/* 10 MiB in objects of 64 bytes, written: 2560 pages of 4 KiB, and what is needed to manage them. */
static void small(void) {
    for (int i = 0; i < OBJECTS; i++) {
        object[i] = malloc(64);
        memset(object[i], 1, 64);
    }
}

/* The same, freed and allocated three times more: nothing fresh is needed. */
static void again(void) {
    for (int round = 0; round < 4; round++) {
        small();
        for (int i = 0; i < OBJECTS; i++) free(object[i]);
    }
}

/* 1000 large blocks of 40 to 295 KiB, one after another, each written at its start: the same memory serves. */
static void large(void) {
    for (int i = 0; i < LARGE; i++) {
        char *p = malloc((size_t)(40 + i % 256) * 1024);
        memset(p, 1, 4096);
        free(p);
    }
}

/* One object that grows by a page at a time to 4 MiB and goes, twenty times: it stays where it is, and comes back there. */
static void grow(void) {
    for (int round = 0; round < 20; round++) {
        char *p = NULL;
        for (size_t n = 4096; n <= 4 << 20; n += 4096) {
            p = realloc(p, n);
            p[n - 1] = 1;
        }
        free(p);
    }
}

/* One that doubles to 64 MiB, every page of it written once: what it had is not copied. */
static void doubling(void) {
    char *p = NULL;
    for (size_t n = 4096, was = 0; n <= 64 << 20; was = n, n *= 2) {
        p = realloc(p, n);
        for (size_t at = was; at < n; at += 4096) p[at] = 1;
    }
    free(p);
}

/* A hundred threads one after another, each with a hundred objects: all live on what the first one had. */
static void *a_life(void *unused) {
    char *mine[100];
    for (int i = 0; i < 100; i++) memset(mine[i] = malloc((size_t)(i % 40 + 1) * 16), 1, 16);
    for (int i = 0; i < 100; i++) free(mine[i]);
    return unused;
}
static void threads(void) {
    for (int i = 0; i < 100; i++) {
        pthread_t id;
        if (pthread_create(&id, NULL, a_life, NULL) == 0) pthread_join(id, NULL);
    }
}

/* One object of every size up to 2 KiB in steps of 16: what a small program looks like. */
static void every_size(void) {
    for (int i = 0; i < 128; i++) {
        object[i] = malloc((size_t)(i + 1) * 16);
        memset(object[i], 1, 16);
    }
}

int main(int argc, char **argv) {
    static const struct { const char *name; void (*run)(void); } workload[] = {
        { "small", small }, { "again", again }, { "large", large }, { "every_size", every_size },
        { "grow", grow }, { "doubling", doubling }, { "threads", threads },
    };
    memset(object, 1, sizeof object);
    free(malloc(100));
    for (unsigned i = 0; argc > 1 && i < sizeof workload / sizeof *workload; i++) {
        if (strcmp(argv[1], workload[i].name) != 0) continue;
        long before = faults();
        workload[i].run();
        long after = faults();
        printf("%ld\n", after - before);
        return 0;
    }
    return 2;
}
