/* What the programs that read and write tables of figures (summary.c, page.c) have in common. Each is one source file with a
 * static table of allocators; TABLE_PROGRAM, defined before, is its name in messages. */
#ifndef BENCH_TABLE_H
#define BENCH_TABLE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_ALLOCS = 16, NAME = 64, METRICS = 4 };

static const char *const metric_name[METRICS] = { "wall", "cpu", "rss", "faults" };

/* In the order in which they come; `base` is the place of glibc, to which all ratios are, -1 before it has come. */
static char allocs[MAX_ALLOCS][NAME];
static int alloc_count, base = -1;

static void die(const char *what, const char *detail) {
    fprintf(stderr, TABLE_PROGRAM ": %s %s\n", what, detail);
    exit(2);
}

static int alloc_of(const char *name) {
    for (int a = 0; a < alloc_count; a++)
        if (strcmp(allocs[a], name) == 0) return a;
    if (alloc_count == MAX_ALLOCS) die("too many allocators at", name);
    snprintf(allocs[alloc_count], NAME, "%s", name);
    if (strcmp(name, "glibc") == 0) base = alloc_count;
    return alloc_count++;
}

#endif
