/* The options of run and compare. */
#ifndef GM_COMMAND_OPTIONS_H
#define GM_COMMAND_OPTIONS_H

#include "libgomalloc/base/compiler.h"

enum { MAX_WITH = 8 };
struct options {
    char **argv;             /* the program and its arguments */
    const char *report, *stats, *profile, *lib;
    bool profile_set;        /* the sampling rate was given */
    char *settings;          /* for GOMALLOC: key:value,... or NULL */
    double interval;         /* seconds */
    bool quiet;
    unsigned runs;           /* compare */
    const char *with[MAX_WITH];
    unsigned n_with;
};
/* One more setting; value may be NULL when key holds both. */
void options_add(struct options *o, const char *key, const char *value);
/* Ends the command if they make no sense. */
void options_parse(struct options *o, int argc, char **argv);

#endif
