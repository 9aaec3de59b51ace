/* pages WORKLOAD: prints how many minor page faults a small, fixed workload takes. Each is a fresh page
 * touched: the most expensive thing an allocator does. The program's own tables are touched before. */
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
