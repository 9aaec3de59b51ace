/* Names of functions, for dumps. See symbol.c. */
#ifndef GS_SYMBOL_H
#define GS_SYMBOL_H

#include "sched/gmp.h"
#include "sched/line.h"

struct gs_symbol {
    const char *function;      /* NULL: no name known */
    uintptr_t offset;          /* into the function; without one, into the file */
    const char *object;        /* path of the file, or what the loader calls it */
    struct gs_line line;
};

/* Files that were looked into, and answers. Zeroed is empty. One thread at a time. */
enum { GS_SYMBOL_FILES = 16, GS_SYMBOL_ANSWERS = 512 };
struct gs_symbols {
    struct gs_symbol_file {
        uintptr_t start;       /* of the object in memory; 0: free */
        const char *object;
        const uint8_t *text;   /* the file, mapped; NULL: could not be */
        size_t size;
        const void *symbols;   /* ElfW(Sym)[count] */
        size_t count;
        const char *strings;
        size_t strings_size;
        struct gs_line_tables lines;
    } files[GS_SYMBOL_FILES];
    struct {
        uintptr_t address;
        struct gs_symbol answer;
    } answers[GS_SYMBOL_ANSWERS];
    char program[512];         /* path of the program itself */
};

/* Strings live until gs_symbols_drop. Allocates nothing, takes no lock: for signal handlers too. */
struct gs_symbol gs_symbol_of(struct gs_symbols *s, uintptr_t address);
void gs_symbols_drop(struct gs_symbols *s);

#endif
