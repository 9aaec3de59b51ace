/* The options of run and compare. */
#ifndef GM_COMMAND_OPTIONS_H
#define GM_COMMAND_OPTIONS_H

#include "libgomalloc/base/compiler.h"

enum { MAX_WITH = 8 };
struct options {
    char **argv;             /* the program and its arguments */
    const char *report, *stats, *library;
    char *settings;          /* for GOMALLOC: key:value,... or NULL */
    double interval;         /* seconds */
    bool quiet;
    unsigned runs;           /* compare */
    const char *with[MAX_WITH];
    unsigned n_with;
};
/* Ends the command if they make no sense. */
void options_parse(struct options *o, int argc, char **argv);

#endif
