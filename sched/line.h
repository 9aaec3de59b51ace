/* Lines of the source, from an object's line table. See line.c. */
#ifndef GS_LINE_H
#define GS_LINE_H

#include "libgomalloc/base/compiler.h"

/* The sections of a file that it needs; size 0: the file has it not. */
struct gs_line_tables {
    struct gs_section {
        const uint8_t *data;
        size_t size;
    } lines, line_strings, strings; /* .debug_line, .debug_line_str, .debug_str */
};

struct gs_line {
    const char *base, *directory, *file; /* the path's parts; the first two may be "" */
    unsigned line;             /* 0: not known */
};

/* The line of an address of the file (not of memory). Nothing is allocated; the strings lie in the tables. */
struct gs_line gs_line_of(const struct gs_line_tables *t, uint64_t address);

#endif
